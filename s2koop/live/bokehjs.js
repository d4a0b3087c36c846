// Makes BokehJS available in this page, from Python and not from a network, and says when it is there.

function install(source) {
  const script = document.createElement("script");
  script.textContent = source;
  document.head.append(script);
  script.remove();
}

function render({ model, el }) {
  el.className = "s2koop-bokehjs";
  const tell = () => model.send({ kind: window.Bokeh ? "ready" : "missing" });
  const receive = (message) => {
    if (message.kind !== "source") return;
    // Several charts may ask at once; a second copy would orphan the first one's figures.
    if (!window.Bokeh) install(message.source);
    tell();
  };
  model.on("msg:custom", receive);
  tell();
  return () => model.off("msg:custom", receive);
}

export default { render };

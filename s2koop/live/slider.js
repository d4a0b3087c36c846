// A native range input with a name and a spoken value: the slider of ipywidgets has neither.

function render({ model, el }) {
  const root = document.createElement("label");
  root.className = "s2koop-range s2koop-side";
  const name = document.createElement("span");
  const input = document.createElement("input");
  const text = document.createElement("output");
  const track = document.createElement("span");
  input.type = "range";
  track.style.cssText = "position: relative; flex: 1; display: flex; min-width: 100px";
  const ticks = document.createElement("span");
  track.append(input, ticks);
  text.setAttribute("aria-hidden", "true"); // the slider speaks its value itself
  root.append(name, track, text);
  el.append(root);

  // A small triangle below the track; the thumb, 16 pixels wide, stays inside of it.
  const tick = (mark) => {
    const node = document.createElement("span");
    const share = (mark - model.get("low")) / (model.get("high") - model.get("low"));
    node.className = "s2koop-tick";
    node.style.cssText = "position: absolute; top: 15px; border: 5px solid transparent; border-bottom: 7px solid currentColor; "
      + `border-top: 0; pointer-events: none; transform: translateX(-5px); left: calc(8px + ${share} * (100% - 16px))`;
    return node;
  };

  const draw = () => {
    const texts = model.get("texts");
    name.textContent = model.get("name");
    Object.assign(input, {
      min: String(model.get("low")), max: String(model.get("high")), step: String(model.get("step")),
      disabled: model.get("disabled"),
    });
    input.value = String(model.get("value"));
    ticks.replaceChildren(...model.get("marks").map(tick));
    const at = Math.round((model.get("value") - model.get("low")) / model.get("step"));
    text.textContent = texts[at] ?? `${Number(model.get("value").toFixed(4))} ${model.get("unit")}`.trim();
    input.setAttribute("aria-valuetext", text.textContent);
  };
  input.addEventListener("input", () => {
    model.set("value", Number(input.value));
    model.save_changes();
    draw();
  });
  const names = ["name", "value", "low", "high", "step", "texts", "unit", "disabled", "marks"].map((n) => `change:${n}`);
  for (const event of names) model.on(event, draw);
  draw();
  return () => { for (const event of names) model.off(event, draw); };
}

export default { render };

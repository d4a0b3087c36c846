// Thumbnails as buttons: each can be reached by keys, has a name, and becomes the query when it is pressed.

function render({ model, el }) {
  const list = document.createElement("div");
  list.className = "s2koop-gallery s2koop-side";
  list.setAttribute("role", "group");
  el.append(list);

  function item({ uri, heading, place, position, first }) {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    const title = document.createElement("b");
    const where = document.createElement("span");
    button.type = "button";
    button.className = first ? "s2koop-thumbnail s2koop-query" : "s2koop-thumbnail";
    button.title = first ? `query, ${place}` : `Look for what is like ${heading}, ${place}`;
    picture.src = uri;
    picture.alt = "";
    title.textContent = heading;
    where.textContent = place;
    button.append(picture, title, where);
    button.addEventListener("click", () => model.send({ kind: "pick", position }));
    return button;
  }

  function draw() {
    // What had the focus keeps it: who walks along the row is not thrown out of it.
    const held = [...list.children].indexOf(document.activeElement);
    list.setAttribute("aria-label", model.get("name"));
    list.replaceChildren(...model.get("items").map(item));
    if (held >= 0) list.children[Math.min(held, list.children.length - 1)]?.focus();
  }
  model.on("change:items", draw);
  model.on("change:name", draw);
  draw();
  return () => { model.off("change:items", draw); model.off("change:name", draw); };
}

export default { render };

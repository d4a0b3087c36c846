// What the view puts into the page: every control is a native element with a name, so that keys and readers work.

const KEYS = [
  ["Arrow keys", "move the crosshair, with Shift by ten"],
  ["Page Up, Page Down", "next and previous date"],
  ["Home, End", "first and last date"],
  ["Space", "play"],
  ["+, −, 0", "zoom in, zoom out, all"],
  ["[, ]", "move the divider of two pictures"],
  ["R", "begin a region at the crosshair, and end it", "region"],
  ["Escape", "drop the region", "region"],
  ["W", "withhold the observation of this date, or give it back", "withhold"],
];

// The keys that a view answers.
const keysOf = (tools) => KEYS.filter(([, , tool]) => !tool || tools.includes(tool));
const helpOf = (tools) => keysOf(tools).map(([key, text]) => `${key}: ${text}`).join(". ") + ".";

function make(tag, parent, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

function button(parent, text, name) {
  const node = make("button", parent, "s2koop-button", { type: "button", "aria-label": name, title: name });
  node.textContent = text;
  return node;
}

// One picture: heading, canvas and colour bar. Only the first can have the focus; the others repeat its crosshair.
function buildPanel(parent, first) {
  const root = make("div", parent, "s2koop-panel");
  const title = make("strong", root, "s2koop-title");
  const canvas = make("canvas", root, "s2koop-canvas", first
    ? { tabindex: "0", role: "application", "aria-roledescription": "map" }
    : { role: "img" });
  const scale = make("div", root, "s2koop-scale");
  const low = make("span", scale, "s2koop-number");
  const bar = make("canvas", scale, "s2koop-bar", { width: "255", height: "1", "aria-hidden": "true" });
  const high = make("span", scale, "s2koop-number");
  const label = make("span", scale, "s2koop-label");
  const missing = make("span", scale, "s2koop-missing");
  make("span", missing, "s2koop-swatch", { "aria-hidden": "true" });
  make("span", missing, "s2koop-number").textContent = "no data";
  return { root, title, canvas, scale, low, bar, high, label };
}

function build(el, tools) {
  const root = make("div", el, "s2koop-cube");
  const status = make("div", root, "s2koop-status", { role: "status" });
  const stage = make("div", root, "s2koop-stage");
  const panels = [true, false, false, false].map((first) => buildPanel(stage, first));
  const controls = make("div", root, "s2koop-controls");
  const play = button(controls, "▶", "Play");
  const slider = make("input", controls, "s2koop-slider", { type: "range", min: "0", "aria-label": "Date" });
  const date = make("output", controls, "s2koop-date", { "aria-live": "off" });
  const row = make("div", root, "s2koop-tools");
  const closer = button(row, "+", "Zoom in");
  const farther = button(row, "−", "Zoom out");
  const whole = button(row, "All", "Show all of the picture");
  const draw = button(row, "Region", "Draw a region with the pointer");
  draw.hidden = !tools.includes("region");
  const keys = make("details", row, "s2koop-keys");
  make("summary", keys, "").textContent = "Keys";
  const list = make("dl", keys, "");
  for (const [key, text] of keysOf(tools)) {
    make("dt", list, "").textContent = key;
    make("dd", list, "").textContent = text;
  }
  const readout = make("div", root, "s2koop-readout", { role: "status", "aria-live": "polite" });
  return { root, status, stage, panels, play, slider, date, closer, farther, whole, draw, readout };
}

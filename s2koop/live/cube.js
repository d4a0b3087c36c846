// The picture of a stack of uint8 frames: drawing, scrubbing, playing and picking happen here, without Python.

const STEP_MS = 200; // five dates a second
const MAX_HEIGHT = 380;
const HELP = "Arrow keys move the crosshair, with Shift by ten pixels. Page Up and Page Down change the date, "
  + "Home and End go to the first and last. Space plays.";

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function make(tag, parent, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// One frame, or nothing yet, as a small canvas with a pixel per cell.
function paint(picture, index) {
  const [, rows, cols] = picture.size;
  const levels = bytes(picture.levels).subarray(index * rows * cols, (index + 1) * rows * cols);
  const colours = bytes(picture.colours);
  const image = new ImageData(cols, rows);
  for (let i = 0; i < levels.length; i++) {
    const from = 3 * levels[i];
    image.data[4 * i] = colours[from];
    image.data[4 * i + 1] = colours[from + 1];
    image.data[4 * i + 2] = colours[from + 2];
    image.data[4 * i + 3] = 255;
  }
  const cell = document.createElement("canvas");
  cell.width = cols;
  cell.height = rows;
  cell.getContext("2d").putImageData(image, 0, 0);
  return cell;
}

// Dark line under a light one: visible on every colour of every palette.
function strokeTwice(context, width) {
  for (const [colour, extra] of [["rgba(0,0,0,.6)", 2], ["#fff", 0]]) {
    context.strokeStyle = colour;
    context.lineWidth = width + extra;
    context.stroke();
  }
}

function drawCrosshair(context, x, y, width, height) {
  const gap = 9;
  context.beginPath();
  context.moveTo(0, y); context.lineTo(x - gap, y);
  context.moveTo(x + gap, y); context.lineTo(width, y);
  context.moveTo(x, 0); context.lineTo(x, y - gap);
  context.moveTo(x, y + gap); context.lineTo(x, height);
  context.rect(x - 5, y - 5, 10, 10);
  strokeTwice(context, 1);
}

function drawScaleBar(context, metresPerPixel, width, height) {
  const longest = 0.3 * width * metresPerPixel;
  const power = 10 ** Math.floor(Math.log10(longest));
  const metres = power * [5, 2, 1].find((step) => step * power <= longest);
  const length = metres / metresPerPixel;
  const text = metres >= 1000 ? `${metres / 1000} km` : `${metres} m`;
  context.beginPath();
  context.moveTo(12, height - 16); context.lineTo(12, height - 11);
  context.lineTo(12 + length, height - 11); context.lineTo(12 + length, height - 16);
  strokeTwice(context, 1.5);
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0,0,0,.75)";
  context.lineWidth = 3;
  context.strokeText(text, 12 + length / 2, height - 20);
  context.fillStyle = "#fff";
  context.fillText(text, 12 + length / 2, height - 20);
}

// Every part of the page that this view owns.
function build(el) {
  const root = make("div", el, "s2koop-cube");
  const head = make("div", root, "s2koop-head");
  const title = make("strong", head, "s2koop-title");
  const status = make("span", head, "s2koop-status", { role: "status" });
  const stage = make("div", root, "s2koop-stage");
  const canvas = make("canvas", stage, "s2koop-canvas", {
    tabindex: "0", role: "application", "aria-roledescription": "map",
  });
  const scale = make("div", root, "s2koop-scale");
  const low = make("span", scale, "s2koop-number");
  const bar = make("canvas", scale, "s2koop-bar", { width: "255", height: "1", "aria-hidden": "true" });
  const high = make("span", scale, "s2koop-number");
  const label = make("span", scale, "s2koop-label");
  make("span", scale, "s2koop-swatch", { "aria-hidden": "true" });
  make("span", scale, "s2koop-number").textContent = "no data";
  const controls = make("div", root, "s2koop-controls");
  const play = make("button", controls, "s2koop-play", { type: "button" });
  const slider = make("input", controls, "s2koop-slider", { type: "range", min: "0", "aria-label": "Date" });
  const date = make("output", controls, "s2koop-date");
  const readout = make("div", root, "s2koop-readout", { role: "status", "aria-live": "polite" });
  return { root, title, status, stage, canvas, low, bar, high, label, play, slider, date, readout };
}

function render({ model, el }) {
  const parts = build(el);
  const { canvas, slider, play } = parts;
  let cell = null;
  let timer = null;

  const ready = () => (model.get("picture").levels?.byteLength ?? 0) > 0;
  const count = () => model.get("picture").size[0];

  function setIndex(index) {
    if (!ready()) return;
    model.set("index", clamp(index, 0, count() - 1));
    model.save_changes();
  }

  function setPixel(row, col) {
    if (!ready()) return;
    const [rows, cols] = model.get("picture").shape;
    model.set("pixel", [clamp(row, 0, rows - 1), clamp(col, 0, cols - 1)]);
    model.save_changes();
  }

  function togglePlay(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => setIndex((model.get("index") + 1) % count()), STEP_MS) : null;
    play.textContent = on ? "❚❚" : "▶";
    play.setAttribute("aria-label", on ? "Pause" : "Play");
    // Five read-outs a second would only bury a listener.
    parts.readout.setAttribute("aria-live", on ? "off" : "polite");
  }

  function drawFrame() {
    if (!ready()) return;
    const picture = model.get("picture");
    const index = clamp(model.get("index"), 0, count() - 1);
    cell = paint(picture, index);
    slider.max = String(count() - 1);
    slider.value = String(index);
    slider.setAttribute("aria-valuetext", picture.dates[index]);
    parts.date.textContent = `${picture.dates[index]}  (${index + 1} of ${count()})`;
    drawStage();
  }

  function drawStage() {
    if (!cell) return;
    const { shape, stride, metres } = model.get("picture");
    const width = Math.min(parts.stage.clientWidth, (MAX_HEIGHT * shape[1]) / shape[0]);
    if (width < 1) return;
    const zoom = width / shape[1];
    const height = shape[0] * zoom;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    context.drawImage(cell, 0, 0, cell.width * stride * zoom, cell.height * stride * zoom);
    const [row, col] = model.get("pixel");
    drawCrosshair(context, (col + 0.5) * zoom, (row + 0.5) * zoom, width, height);
    if (metres) drawScaleBar(context, metres / zoom, width, height);
  }

  function drawScale() {
    if (!ready()) return;
    const { colours, range, label } = model.get("picture");
    const image = new ImageData(255, 1);
    const from = bytes(colours);
    for (let i = 0; i < 255; i++) image.data.set([...from.subarray(3 * i + 3, 3 * i + 6), 255], 4 * i);
    parts.bar.getContext("2d").putImageData(image, 0, 0);
    parts.root.style.setProperty("--s2koop-no-data", `rgb(${from.subarray(0, 3).join(",")})`);
    const digits = clamp(2 - Math.floor(Math.log10(range[1] - range[0])), 2, 5);
    parts.low.textContent = range[0].toFixed(digits);
    parts.high.textContent = range[1].toFixed(digits);
    parts.label.textContent = label;
  }

  function drawText() {
    parts.title.textContent = model.get("title");
    parts.status.textContent = model.get("status");
    parts.readout.textContent = model.get("readout");
    canvas.setAttribute("aria-label", `${model.get("title")}. ${HELP}`);
  }

  function pick(event) {
    const box = canvas.getBoundingClientRect();
    const [rows, cols] = model.get("picture").shape;
    setPixel(
      Math.floor(((event.clientY - box.top) / box.height) * rows),
      Math.floor(((event.clientX - box.left) / box.width) * cols),
    );
  }

  function onKey(event) {
    const step = event.shiftKey ? 10 : 1;
    const [row, col] = model.get("pixel");
    const index = model.get("index");
    const actions = {
      ArrowUp: () => setPixel(row - step, col),
      ArrowDown: () => setPixel(row + step, col),
      ArrowLeft: () => setPixel(row, col - step),
      ArrowRight: () => setPixel(row, col + step),
      PageUp: () => setIndex(index + 1),
      PageDown: () => setIndex(index - 1),
      Home: () => setIndex(0),
      End: () => setIndex(count() - 1),
      " ": () => togglePlay(timer === null),
    };
    if (!ready() || !(event.key in actions)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    actions[event.key]();
  }

  // Notebook 7 takes arrow keys before they arrive: listen at the window, but only while the canvas has focus.
  const listen = () => window.addEventListener("keydown", onKey, true);
  const unlisten = () => window.removeEventListener("keydown", onKey, true);

  canvas.addEventListener("focus", listen);
  canvas.addEventListener("blur", unlisten);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pick(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons === 1 && canvas.hasPointerCapture(event.pointerId)) pick(event);
  });
  slider.addEventListener("input", () => setIndex(Number(slider.value)));
  // Keep the arrow keys on the slider from moving between the cells of the notebook.
  slider.addEventListener("keydown", (event) => event.stopPropagation());
  play.addEventListener("click", () => ready() && togglePlay(timer === null));

  const listeners = {
    "change:picture": () => { drawFrame(); drawScale(); },
    "change:index": drawFrame,
    "change:pixel": drawStage,
    "change:title": drawText,
    "change:status": drawText,
    "change:readout": drawText,
  };
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  const resized = new ResizeObserver(drawStage);
  resized.observe(parts.stage);

  togglePlay(false);
  drawText();
  drawFrame();
  drawScale();

  return () => {
    clearInterval(timer);
    unlisten();
    resized.disconnect();
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
  };
}

export default { render };

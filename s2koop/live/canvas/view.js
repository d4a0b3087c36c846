// The view: up to four linked pictures, scrubbed, played, zoomed, swiped and picked in the browser, without Python.

const STEP_MS = 200; // five dates a second
const MAX_HEIGHT = 380;
const MAX_ZOOM = 64;
const FAR_DAYS = 15; // a picture of another month would only mislead
const NAMES = ["panel_1", "panel_2", "panel_3", "panel_4"];

function render({ model, el }) {
  const parts = build(el, model.get("tools"));
  const { slider, play } = parts;
  const main = parts.panels[0].canvas;
  const cells = NAMES.map(() => ({ panel: null, index: -1, cell: null }));
  const view = { row: 0, col: 0, zoom: 1 };
  let timer = null;
  let drawing = false;
  let anchor = null;
  let asked = null;

  const panel = (slot) => model.get(NAMES[slot]);
  const first = () => panel(0);
  const ready = () => filled(first());
  const count = () => first().size[0];
  const shape = () => first().shape;
  const mode = () => model.get("mode");
  const can = (tool) => model.get("tools").includes(tool);
  const current = () => clamp(model.get("index"), 0, count() - 1);

  // Which slots are seen, and on which frame of its own each of them stands.
  function shown() {
    const slots = mode() === "grid" ? [0, 1, 2, 3] : [0];
    return slots.filter((slot) => filled(panel(slot)));
  }

  function frameOf(slot) {
    if (slot === 0) return current();
    const days = panel(slot).days;
    const own = first().days;
    if (!days?.length || !own?.length) return clamp(current(), 0, panel(slot).size[0] - 1);
    const day = own[current()];
    let best = 0;
    for (let i = 1; i < days.length; i++) if (Math.abs(days[i] - day) < Math.abs(days[best] - day)) best = i;
    return Math.abs(days[best] - day) <= FAR_DAYS ? best : -1;
  }

  function cellOf(slot) {
    const kept = cells[slot];
    const index = frameOf(slot);
    if (kept.panel !== panel(slot) || kept.index !== index) {
      Object.assign(kept, { panel: panel(slot), index, cell: index < 0 ? null : paint(panel(slot), index) });
    }
    return kept;
  }

  function set(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  const setIndex = (index) => ready() && set("index", clamp(index, 0, count() - 1));

  function setPixel(row, col) {
    if (!ready()) return;
    const [rows, cols] = shape();
    set("pixel", [clamp(row, 0, rows - 1), clamp(col, 0, cols - 1)]);
  }

  function setRegion(from, to, done) {
    if (!ready() || !can("region")) return;
    const [rows, cols] = shape();
    const edge = (a, b, most) => [clamp(Math.min(a, b), 0, most - 1), clamp(Math.max(a, b), 0, most - 1) + 1];
    const [r0, r1] = edge(from.row, to.row, rows);
    const [c0, c1] = edge(from.col, to.col, cols);
    anchor = done ? null : { row: from.row, col: from.col, box: [r0, c0, r1, c1] };
    if (done) {
      toggleDrawing(false);
      // One cell is a pick, not a region.
      set("region", (r1 - r0) * (c1 - c0) > 1 ? [r0, c0, r1, c1] : []);
    }
    drawStage();
  }

  function dropRegion() {
    anchor = null;
    toggleDrawing(false);
    set("region", []);
    drawStage();
  }

  function markRegion() {
    if (!ready()) return;
    const [row, col] = model.get("pixel");
    if (anchor) setRegion(anchor, { row, col }, true);
    else setRegion({ row, col }, { row, col }, false);
  }

  function toggleDrawing(on) {
    drawing = on;
    parts.draw.setAttribute("aria-pressed", String(on));
  }

  function togglePlay(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => setIndex((model.get("index") + 1) % count()), STEP_MS) : null;
    play.textContent = on ? "❚❚" : "▶";
    play.setAttribute("aria-label", on ? "Pause" : "Play");
    // Five read-outs a second would only bury a listener.
    parts.readout.setAttribute("aria-live", on ? "off" : "polite");
  }

  // Where things lie on the canvas

  const size = () => ({ width: main.clientWidth || 1, height: main.clientHeight || 1 });
  const scale = () => (size().width / shape()[1]) * view.zoom;
  const place = (row, col) => [(col - view.col) * scale(), (row - view.row) * scale()];

  function keepInside() {
    const [rows, cols] = shape();
    view.row = clamp(view.row, 0, rows - rows / view.zoom);
    view.col = clamp(view.col, 0, cols - cols / view.zoom);
  }

  function zoomBy(factor, event = null) {
    if (!ready()) return;
    const box = (event?.target ?? main).getBoundingClientRect();
    const x = event ? event.clientX - box.left : box.width / 2;
    const y = event ? event.clientY - box.top : box.height / 2;
    const [row, col] = [view.row + y / scale(), view.col + x / scale()];
    view.zoom = clamp(view.zoom * factor, 1, MAX_ZOOM);
    view.row = row - y / scale();
    view.col = col - x / scale();
    keepInside();
    drawStage();
    askForDetail();
  }

  function panBy(dx, dy) {
    view.col -= dx / scale();
    view.row -= dy / scale();
    keepInside();
    drawStage();
    askForDetail();
  }

  function showAll() {
    Object.assign(view, { row: 0, col: 0, zoom: 1 });
    drawStage();
    askForDetail();
  }

  // Keys may walk the crosshair out of a magnified view: follow it.
  function follow() {
    const [row, col] = model.get("pixel");
    const [rows, cols] = shape();
    const [high, wide] = [rows / view.zoom, cols / view.zoom];
    if (row < view.row || row >= view.row + high) view.row = row - high / 2;
    if (col < view.col || col >= view.col + wide) view.col = col - wide / 2;
    keepInside();
  }

  // Where pixels were left out for the way into the browser, ask for those of a magnified part.
  function askForDetail() {
    clearTimeout(asked);
    if (!ready() || !shown().some((slot) => panel(slot).stride > 1)) return;
    asked = setTimeout(() => {
      const [rows, cols] = shape();
      const box = [view.row, view.col, view.row + rows / view.zoom, view.col + cols / view.zoom];
      set("view", view.zoom > 1 ? [...box.slice(0, 2).map(Math.floor), ...box.slice(2).map(Math.ceil)] : []);
    }, 250);
  }

  function at(event) {
    if (!ready()) return { row: 0, col: 0, share: 0, divider: false };
    const box = event.target.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const share = clamp(x / box.width, 0, 1);
    const divider = mode() === "swipe" && filled(panel(1)) && Math.abs(x - model.get("swipe") * box.width) < 9;
    return {
      row: Math.floor(view.row + y / scale()), col: Math.floor(view.col + x / scale()), share, divider,
    };
  }

  // Drawing

  function drawFrame() {
    if (!ready()) return;
    const index = current();
    const text = first().labels[index];
    slider.max = String(count() - 1);
    slider.value = String(index);
    slider.setAttribute("aria-valuetext", text);
    const note = model.get("note");
    parts.date.textContent = `${text}  (${index + 1} of ${count()})${note ? `  ${note}` : ""}`;
    drawStage();
  }

  function drawStage() {
    const slots = shown();
    parts.panels.forEach((own, slot) => { own.root.hidden = !slots.includes(slot); });
    if (!ready()) return;
    const columns = slots.length > 1 ? 2 : 1;
    parts.stage.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    const [rows, cols] = shape();
    const gap = columns > 1 ? 14 : 0;
    const width = Math.min((parts.stage.clientWidth - gap) / columns, (MAX_HEIGHT * cols) / rows);
    if (width < 1) return;
    for (const slot of slots) drawPanel(slot, width, (width * rows) / cols);
  }

  function drawPanel(slot, width, height) {
    const { canvas, title } = parts.panels[slot];
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    drawPicture(context, slot, width, height);
    const swiped = slot === 0 && mode() === "swipe" && filled(panel(1));
    title.textContent = swiped ? `${heading(0)} | ${heading(1)}` : heading(slot);
    if (swiped) {
      const x = model.get("swipe") * width;
      context.save();
      context.beginPath();
      context.rect(x, 0, width - x, height);
      context.clip();
      drawPicture(context, 1, width, height);
      context.restore();
      drawDivider(context, x, height);
    }
    const day = first().days?.[current()] ?? Infinity;
    if (model.get("marks").byteLength) drawMarks(context, model.get("marks"), day, place);
    for (const frame of model.get("outlines")) drawFrameOf(context, frame, place, { text: String(frame[4] ?? "") });
    const region = anchor?.box ?? model.get("region");
    if (region.length) drawFrameOf(context, region, place, { dash: [5, 4], light: "#ffd24d" });
    const [row, col] = model.get("pixel");
    const [x, y] = place(row + 0.5, col + 0.5);
    drawCrosshair(context, x, y, width, height);
    if (slot === 0 && first().metres) drawScaleBar(context, first().metres / scale(), width, height);
    if (slot > 0) canvas.setAttribute("aria-label", heading(slot));
  }

  function drawPicture(context, slot, width, height) {
    const { cell, index } = cellOf(slot);
    const { stride, colours } = panel(slot);
    const missing = bytes(colours);
    context.fillStyle = `rgb(${missing[0]}, ${missing[1]}, ${missing[2]})`;
    context.fillRect(0, 0, width, height);
    if (!cell) return;
    const [x, y] = place(0, 0);
    context.drawImage(cell, x, y, cell.width * stride * scale(), cell.height * stride * scale());
    const detail = model.get("details")?.[slot];
    if (detail && detail.index === index && filled(detail)) {
      const [left, top] = place(...detail.origin);
      const finer = paint({ ...panel(slot), ...detail }, 0);
      context.drawImage(finer, left, top, finer.width * detail.stride * scale(), finer.height * detail.stride * scale());
    }
  }

  function heading(slot) {
    const own = panel(slot);
    const index = frameOf(slot);
    if (slot === 0) return own.title;
    if (index < 0) return `${own.title}: no date near`;
    return own.labels[index] === first().labels[current()] ? own.title : `${own.title}, ${own.labels[index]}`;
  }

  function drawScales() {
    parts.panels.forEach((own, slot) => {
      const held = panel(slot);
      if (!filled(held)) return;
      own.scale.hidden = held.channels === 3;
      if (held.channels === 3) return;
      const from = bytes(held.colours);
      const image = new ImageData(255, 1);
      for (let i = 0; i < 255; i++) image.data.set([...from.subarray(3 * i + 3, 3 * i + 6), 255], 4 * i);
      own.bar.getContext("2d").putImageData(image, 0, 0);
      own.scale.style.setProperty("--s2koop-no-data", `rgb(${from.subarray(0, 3).join(",")})`);
      const digits = clamp(2 - Math.floor(Math.log10(held.range[1] - held.range[0])), 0, 5);
      own.low.textContent = held.range[0].toFixed(digits);
      own.high.textContent = held.range[1].toFixed(digits);
      own.label.textContent = held.label;
    });
  }

  function drawTexts() {
    parts.status.textContent = model.get("status");
    parts.readout.textContent = model.get("readout");
    main.setAttribute("aria-label", `${filled(first()) ? first().title : "Map"}. ${helpOf(model.get("tools"))}`);
  }

  function drawAll() {
    drawTexts();
    drawFrame();
    drawScales();
  }

  // Hand and keys

  const act = {
    pick: setPixel,
    region: setRegion,
    divide: (share) => set("swipe", share),
    zoom: zoomBy,
    pan: panBy,
    drop: dropRegion,
  };
  for (const own of parts.panels) followPointers(own.canvas, main, { at, act, drawing: () => drawing });

  const move = (down, right) => (event) => {
    const step = event.shiftKey ? 10 : 1;
    const [row, col] = model.get("pixel");
    setPixel(row + down * step, col + right * step);
    if (anchor) setRegion(anchor, { row: model.get("pixel")[0], col: model.get("pixel")[1] }, false);
  };
  const unlisten = followKeys(main, {
    ArrowUp: move(-1, 0),
    ArrowDown: move(1, 0),
    ArrowLeft: move(0, -1),
    ArrowRight: move(0, 1),
    PageUp: () => setIndex(model.get("index") + 1),
    PageDown: () => setIndex(model.get("index") - 1),
    Home: () => setIndex(0),
    End: () => ready() && setIndex(count() - 1),
    " ": () => togglePlay(timer === null),
    "+": () => zoomBy(1.5),
    "=": () => zoomBy(1.5),
    "-": () => zoomBy(1 / 1.5),
    0: showAll,
    "[": () => set("swipe", clamp(model.get("swipe") - 0.05, 0, 1)),
    "]": () => set("swipe", clamp(model.get("swipe") + 0.05, 0, 1)),
    r: markRegion,
    w: () => can("withhold") && model.send({ kind: "withhold" }),
    Escape: dropRegion,
  });
  slider.addEventListener("input", () => setIndex(Number(slider.value)));
  const giveKeysBack = keepKeysOfControls();
  play.addEventListener("click", () => ready() && togglePlay(timer === null));
  parts.closer.addEventListener("click", () => zoomBy(1.5));
  parts.farther.addEventListener("click", () => zoomBy(1 / 1.5));
  parts.whole.addEventListener("click", showAll);
  parts.draw.addEventListener("click", () => toggleDrawing(!drawing));

  const listeners = {
    "change:index": drawFrame,
    "change:note": drawFrame,
    "change:pixel": () => { if (ready()) { follow(); drawStage(); } },
    "change:status": drawTexts,
    "change:readout": drawTexts,
  };
  for (const name of NAMES) listeners[`change:${name}`] = drawAll;
  for (const name of ["region", "mode", "swipe", "marks", "outlines", "details"]) listeners[`change:${name}`] = drawStage;
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  const resized = new ResizeObserver(drawStage);
  resized.observe(parts.stage);

  togglePlay(false);
  toggleDrawing(false);
  drawAll();

  return () => {
    clearInterval(timer);
    clearTimeout(asked);
    unlisten();
    giveKeysBack();
    resized.disconnect();
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
  };
}

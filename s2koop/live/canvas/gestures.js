// Pointers and keys as intentions: pick, drag a region, move the divider, zoom, pan. What they do is the view's.

// `at` tells what lies under a pointer; `act` does pick, region, divide, zoom and pan.
function followPointers(canvas, main, { at, act, drawing }) {
  const held = new Map();
  let doing = null;
  let start = null;
  let pinch = null;

  const spread = ([a, b]) => ({
    distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY),
    clientX: (a.clientX + b.clientX) / 2,
    clientY: (a.clientY + b.clientY) / 2,
    target: canvas,
  });

  canvas.addEventListener("pointerdown", (event) => {
    main.focus({ preventScroll: true }); // the keys are the first picture's, whichever was touched
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, event);
    if (held.size === 2) {
      doing = "pinch";
      pinch = spread([...held.values()]);
      return;
    }
    const place = at(event);
    if (event.button === 1 || event.altKey) doing = "pan";
    else if (place.divider) doing = "divide";
    else if (event.shiftKey || drawing()) doing = "region";
    else doing = "pick";
    start = { event, ...place };
    if (doing === "pick") act.pick(place.row, place.col);
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) {
      canvas.style.cursor = at(event).divider ? "ew-resize" : "crosshair";
      return;
    }
    const before = held.get(event.pointerId);
    held.set(event.pointerId, event);
    const place = at(event);
    if (doing === "pinch" && held.size === 2) {
      const now = spread([...held.values()]);
      act.pan(now.clientX - pinch.clientX, now.clientY - pinch.clientY);
      act.zoom(now.distance / pinch.distance, now);
      pinch = now;
    } else if (doing === "pan") act.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    else if (doing === "divide") act.divide(place.share);
    else if (doing === "region") act.region(start, place, false);
    else if (doing === "pick") act.pick(place.row, place.col);
  });

  const release = (event) => {
    if (!held.delete(event.pointerId)) return;
    if (doing === "region") {
      if (event.type === "pointerup") act.region(start, at(event), true);
      else act.drop();
    }
    // The finger that stays after a pinch must not pick.
    if (!held.size) doing = null;
    else doing = "none";
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);

  // A page scrolls over a picture unless the picture is what is meant: it has the focus, or Ctrl is held.
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== main && !event.ctrlKey) return;
    event.preventDefault();
    act.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event);
  }, { passive: false });
}

// Notebook 7 takes arrow keys before they arrive: listen at the window, but only while the canvas has focus.
function followKeys(canvas, actions) {
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    action(event);
  };
  const listen = () => window.addEventListener("keydown", onKey, true);
  const unlisten = () => window.removeEventListener("keydown", onKey, true);
  canvas.addEventListener("focus", listen);
  canvas.addEventListener("blur", unlisten);
  return unlisten;
}

const WALKING = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"]);

// A notebook walks between its cells with the keys that change a list or a slider: let those of a dashboard have them.
function keepKeysOfControls() {
  const onKey = (event) => {
    const control = event.target.closest?.(".s2koop-dashboard select, .s2koop-dashboard input[type=range]");
    if (control && WALKING.has(event.key)) event.stopImmediatePropagation();
  };
  window.addEventListener("keydown", onKey, true);
  return () => window.removeEventListener("keydown", onKey, true);
}

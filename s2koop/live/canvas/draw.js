// Drawing on a canvas: frames of uint8 levels, crosshair, scale bar, outlines and marks. Nothing here knows the widget.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const filled = (panel) => (panel?.levels?.byteLength ?? 0) > 0;

// One frame as a small canvas with a pixel per cell: levels through the table of colours, or colours as they are.
function paint(panel, index) {
  const [, rows, cols] = panel.size;
  const cells = rows * cols;
  const image = new ImageData(cols, rows);
  const pixels = image.data;
  const missing = bytes(panel.colours);
  if (panel.channels === 3) {
    const from = bytes(panel.levels).subarray(3 * index * cells, 3 * (index + 1) * cells);
    for (let i = 0; i < cells; i++) {
      const seen = from[3 * i] || from[3 * i + 1] || from[3 * i + 2];
      for (let c = 0; c < 3; c++) pixels[4 * i + c] = seen ? from[3 * i + c] : missing[c];
      pixels[4 * i + 3] = 255;
    }
  } else {
    const levels = bytes(panel.levels).subarray(index * cells, (index + 1) * cells);
    for (let i = 0; i < cells; i++) {
      for (let c = 0; c < 3; c++) pixels[4 * i + c] = missing[3 * levels[i] + c];
      pixels[4 * i + 3] = 255;
    }
  }
  const cell = document.createElement("canvas");
  cell.width = cols;
  cell.height = rows;
  cell.getContext("2d").putImageData(image, 0, 0);
  return cell;
}

// Dark line under a light one: visible on every colour of every palette.
function strokeTwice(context, width, light = "#fff") {
  for (const [colour, extra] of [["rgba(0,0,0,.6)", 2], [light, 0]]) {
    context.strokeStyle = colour;
    context.lineWidth = width + extra;
    context.stroke();
  }
}

function drawText(context, text, x, y, align = "center") {
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = align;
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0,0,0,.75)";
  context.lineWidth = 3;
  context.strokeText(text, x, y);
  context.fillStyle = "#fff";
  context.fillText(text, x, y);
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
  context.beginPath();
  context.moveTo(12, height - 16); context.lineTo(12, height - 11);
  context.lineTo(12 + length, height - 11); context.lineTo(12 + length, height - 16);
  strokeTwice(context, 1.5);
  drawText(context, metres >= 1000 ? `${metres / 1000} km` : `${metres} m`, 12 + length / 2, height - 20);
}

// Rows and columns, end exclusive, with a text in the corner.
function drawFrameOf(context, [r0, c0, r1, c1], place, { text = "", dash = [], light = "#fff" } = {}) {
  const [x, y] = place(r0, c0);
  const [right, bottom] = place(r1, c1);
  context.save();
  context.setLineDash(dash);
  context.beginPath();
  context.rect(x, y, right - x, bottom - y);
  strokeTwice(context, 1.5, light);
  context.restore();
  if (text) drawText(context, text, x + 4, y + 13, "left");
}

// Cells that something happened to, once it has: outlined, so that what lies below stays visible.
function drawMarks(context, marks, day, place) {
  const cells = new Int32Array(marks.buffer, marks.byteOffset, marks.byteLength / 4);
  context.beginPath();
  for (let i = 0; i < cells.length; i += 3) {
    if (cells[i + 2] > day) continue;
    const [x, y] = place(cells[i], cells[i + 1]);
    const [right, bottom] = place(cells[i] + 1, cells[i + 1] + 1);
    context.rect(x + 0.5, y + 0.5, Math.max(right - x - 1, 1), Math.max(bottom - y - 1, 1));
  }
  context.fillStyle = "rgba(213, 94, 0, .35)";
  context.fill();
  strokeTwice(context, 1, "#ff9d4d");
}

// The divider of two pictures, with a grip.
function drawDivider(context, x, height) {
  context.beginPath();
  context.moveTo(x, 0); context.lineTo(x, height);
  strokeTwice(context, 2);
  context.beginPath();
  context.arc(x, height / 2, 9, 0, 2 * Math.PI);
  context.fillStyle = "#fff";
  context.fill();
  strokeTwice(context, 1, "#333");
  context.fillStyle = "#333";
  context.font = "700 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText("‹ ›", x, height / 2 + 4);
}

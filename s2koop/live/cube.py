"""The picture: stacks of uint8 frames in the browser, where scrubbing, zooming, swiping and picking are answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets as tl

from s2koop._views import Box, Frames, Quantity
from s2koop.plots._style import date_text, lookup_table

_FOLDER = Path(__file__).parent / "canvas"

#: Pictures that stand side by side under one crosshair.
SLOTS = (1, 2, 3, 4)

#: How the pictures are arranged.
MODES = ("one", "swipe", "grid")


#: A page has no widget behind it: a plain object keeps the state, and listeners are called at once.
_STILL = """
const state = STATE;
const unpack = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
for (const name of ["levels", "colours"]) state.panel_1[name] = unpack(state.panel_1[name]);
state.marks = new DataView(new ArrayBuffer(0));
const listeners = {};
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; (listeners[`change:${name}`] ?? []).forEach((f) => f()); },
  save_changes: () => {}, send: () => {}, off: () => {},
  on: (event, listener) => { (listeners[event] ??= []).push(listener); },
};
render({ model, el: document.getElementById("map") });
"""


def script(ending: str = "export default { render };") -> str:
    """Return the view as one ES module: its files in the order in which they build on each other."""
    parts = [(_FOLDER / name).read_text("utf-8") for name in ("draw.js", "parts.js", "gestures.js", "view.js")]
    return "\n".join([*parts, ending])


def style() -> str:
    """Return the style sheet of the view."""
    return (_FOLDER / "canvas.css").read_text("utf-8")


def still_script(panel: dict[str, Any], pixel: list[int], index: int) -> str:
    """Return the view as a script for a page without Python: the panel's bytes are base64."""
    state = {
        "panel_1": panel, "panel_2": {}, "panel_3": {}, "panel_4": {}, "details": [], "tools": [], "mode": "one",
        "index": index, "pixel": pixel, "region": [], "view": [], "swipe": 0.5, "outlines": [],
        "readout": "", "status": "", "note": "",
    }  # fmt: skip
    return script(_STILL.replace("STATE", json.dumps(state).replace("</", "<\\/")))


def panel_of(
    frames: Frames,
    *,
    shape: tuple[int, int],
    quantity: Quantity,
    label: str,
    title: str,
    labels: Sequence[str] | None = None,
    metres: float | None = None,
) -> dict[str, Any]:
    """Return a stack of frames as the browser takes it; parameters as for `CubeView.show`."""
    return {
        "levels": frames.levels.tobytes(),
        "channels": frames.levels.shape[3] if frames.levels.ndim == 4 else 1,
        "size": list(frames.levels.shape[:3]),
        "stride": frames.stride,
        "shape": list(shape),
        "labels": [date_text(d) for d in frames.dates] if labels is None else list(labels),
        "days": [] if labels is not None else (frames.dates.astype("datetime64[h]").astype(float) / 24).tolist(),
        "colours": lookup_table(quantity),
        "range": [frames.low, frames.high],
        "label": label,
        "title": title,
        "metres": metres,
    }


class CubeView(anywidget.AnyWidget):
    """Up to four linked pictures with one crosshair, date slider and play button, complete from the keyboard.

    The frames travel once, in one message each; a step of the slider then costs no message but its number. Arrow
    keys move the crosshair (with Shift by ten), Page Up and Page Down the date, Home and End go to the first and
    last date, space plays, R begins and ends a region, plus, minus and 0 zoom, brackets move the divider.

    Attributes
    ----------
    tools : list of {"region", "withhold"}
        What the view answers beside picking; its keys and buttons are offered.
    mode : {"one", "swipe", "grid"}
        The first picture alone; the first left and the second right of a divider; all side by side.
    index : int
        The frame of the first picture; the browser writes it. The others show the date that is nearest to it.
    pixel : (int, int)
        Row and column of the crosshair on the full grid; the browser writes it.
    region : (int, int, int, int) or empty
        First row and column, and the row and column behind the last, of what was drawn; the browser writes it.
    swipe : float
        Where the divider stands, 0 to 1 of the width.
    view : (int, int, int, int) or empty
        What a magnified part shows, as `region`; written only where a picture was thinned, to ask for `details`.
    marks : bytes
        int32 triples (row, column, day since 1970) of pixels that are marked from that day on.
    outlines : list of (row, column, row, column, text)
        Frames to draw.
    readout, status, note : str
        Values at the crosshair, spoken by screen readers; what is being waited for; a word behind the date.
    """

    _esm = script()
    _css = style()

    # One dict for all that belongs together, so that the browser never pairs new frames with old dates.
    panel_1 = tl.Dict().tag(sync=True)
    panel_2 = tl.Dict().tag(sync=True)
    panel_3 = tl.Dict().tag(sync=True)
    panel_4 = tl.Dict().tag(sync=True)
    details: tl.List = tl.List().tag(sync=True)
    tools: tl.List = tl.List(tl.Unicode(), default_value=["region"]).tag(sync=True)
    mode = tl.Enum(MODES, "one").tag(sync=True)
    index = tl.Int(0).tag(sync=True)
    pixel = tl.List(tl.Int(), default_value=[0, 0]).tag(sync=True)
    region = tl.List(tl.Int()).tag(sync=True)
    view = tl.List(tl.Int()).tag(sync=True)
    swipe = tl.Float(0.5).tag(sync=True)
    marks = tl.Bytes(b"").tag(sync=True)
    outlines: tl.List = tl.List().tag(sync=True)
    readout = tl.Unicode("").tag(sync=True)
    status = tl.Unicode("").tag(sync=True)
    note = tl.Unicode("").tag(sync=True)

    def __init__(self, *, pixel_size: float | None = None, **traits: object) -> None:
        self._metres = pixel_size
        super().__init__(**traits)

    def show(
        self,
        frames: Frames,
        *,
        shape: tuple[int, int],
        quantity: Quantity,
        label: str,
        title: str,
        slot: int = 1,
        index: int | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Send a stack of frames into one of the pictures.

        Parameters
        ----------
        frames : Frames
            Levels (n, y, x) and their range, or colours (n, y, x, 3); dates.
        shape : (int, int)
            Rows and columns of the full grid.
        quantity : str
            Chooses the palette.
        label : str
            What the colour bar measures.
        title : str
            Heading.
        slot : int
            1 to 4.
        index : int, optional
            The frame to show, in the first picture.
        labels : sequence of str, optional
            What the frames are called, where they are no dates.
        """
        panel = panel_of(
            frames, shape=shape, quantity=quantity, label=label, title=title, labels=labels, metres=self._metres
        )
        with self.hold_sync():
            self.details = []
            self.set_trait(f"panel_{slot}", panel)
            if index is not None:
                self.index = index

    def clear(self, slot: int) -> None:
        """Empty one of the pictures."""
        self.set_trait(f"panel_{slot}", {})

    @property
    def box(self) -> Box | None:
        """What a magnified part shows of thinned pictures; None where all is seen."""
        return (self.view[0], self.view[1], self.view[2], self.view[3]) if self.view else None

    def show_details(self, found: Sequence[tuple[Frames, int]], box: Box | None) -> None:
        """Send the pixels of a magnified part that were left out, for each picture with the frame that they belong to.

        Parameters
        ----------
        found : sequence of (Frames, int)
            One date of the part each, in the order of the pictures; none: drop what was sent.
        box : Box or None
            The part that they are of.
        """
        self.details = [
            {
                "levels": frames.levels.tobytes(),
                "size": list(frames.levels.shape[:3]),
                "stride": frames.stride,
                "origin": list(box[:2]) if box else [0, 0],
                "index": index,
            }
            for frames, index in found
        ]

    def panel(self, slot: int) -> dict[str, Any]:
        """What is in one of the pictures; empty where nothing is."""
        return dict(getattr(self, f"panel_{slot}"))

    def mark(self, cells: Iterable[tuple[int, int, np.datetime64]]) -> None:
        """Mark pixels (row, column) from a date on."""
        days = [(row, col, int(day.astype("datetime64[D]").astype(int))) for row, col, day in cells]
        self.marks = np.array(days, "<i4").tobytes()

    def on_withhold(self, react: Callable[[], object]) -> None:
        """Call `react` when the key for it is pressed on the picture."""

        def receive(_widget: Any, content: dict[str, Any], _buffers: Any) -> None:
            if content.get("kind") == "withhold":
                react()

        self.on_msg(receive)

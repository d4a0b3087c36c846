"""The picture: a stack of uint8 frames in the browser, where scrubbing, playing and picking are answered."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets as tl

from s2koop._views import Frames, Quantity
from s2koop.plots._style import date_text, lookup_table

_HERE = Path(__file__).parent


class CubeView(anywidget.AnyWidget):
    """A canvas with crosshair, colour bar, date slider and play button, complete from the keyboard.

    The frames travel once, in one message; a step of the slider then costs no message but its number. Left,
    right, up and down move the crosshair (with Shift by ten), Page Up and Page Down the date, Home and End go
    to the first and last date, space plays.

    Attributes
    ----------
    index : int
        The frame that is shown; the browser writes it.
    pixel : (int, int)
        Row and column of the crosshair on the full grid; the browser writes it.
    title, readout, status : str
        Heading; values at the crosshair, spoken by screen readers; what is being waited for.
    """

    _esm = _HERE / "cube.js"
    _css = _HERE / "cube.css"

    # One dict for all that belongs together, so that the browser never pairs new frames with old dates.
    picture = tl.Dict().tag(sync=True)
    index = tl.Int(0).tag(sync=True)
    pixel = tl.List(tl.Int(), default_value=[0, 0]).tag(sync=True)
    title = tl.Unicode("").tag(sync=True)
    readout = tl.Unicode("").tag(sync=True)
    status = tl.Unicode("").tag(sync=True)

    def show(self, frames: Frames, *, index: int, shape: tuple[int, int], quantity: Quantity, label: str) -> None:
        """Send a stack of frames and show one of them.

        Parameters
        ----------
        frames : Frames
            The levels, their range and dates.
        index : int
            The frame to show.
        shape : (int, int)
            Rows and columns of the full grid.
        quantity : str
            Chooses the palette.
        label : str
            What the colour bar measures.
        """
        with self.hold_sync():
            self.picture = {
                "levels": frames.levels.tobytes(),
                "size": list(frames.levels.shape),
                "stride": frames.stride,
                "shape": list(shape),
                "dates": [date_text(d) for d in frames.dates],
                "colours": lookup_table(quantity),
                "range": [frames.low, frames.high],
                "label": label,
                "metres": self._metres,
            }
            self.index = index

    def __init__(self, *, pixel_size: float | None = None, **traits: object) -> None:
        self._metres = pixel_size
        super().__init__(**traits)

"""A slider that keys and screen readers can use: a native range input with a name and a spoken value."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets as tl

_HERE = Path(__file__).parent


class Slider(anywidget.AnyWidget):
    """Choose a number, or one of several texts.

    Attributes
    ----------
    name : str
        Stands before the slider, and is its name for screen readers.
    value, low, high, step : float
    texts : list of str
        What the steps are called, from `low` on; the value and `unit` where there is none.
    unit : str
    marks : list of float
        Values that have a tick.
    disabled : bool
    """

    _esm = _HERE / "slider.js"

    name = tl.Unicode("").tag(sync=True)
    value = tl.Float(0.0).tag(sync=True)
    low = tl.Float(0.0).tag(sync=True)
    high = tl.Float(1.0).tag(sync=True)
    step = tl.Float(1.0).tag(sync=True)
    texts: tl.List = tl.List(tl.Unicode()).tag(sync=True)
    unit = tl.Unicode("").tag(sync=True)
    marks: tl.List = tl.List(tl.Float()).tag(sync=True)
    disabled = tl.Bool(False).tag(sync=True)

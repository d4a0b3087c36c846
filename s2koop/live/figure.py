"""A HoloViews figure in the page: drawn once, and afterwards sent nothing but the data of its elements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import holoviews as hv
import ipywidgets
import numpy as np
from holoviews.plotting.bokeh import ElementPlot
from jupyter_bokeh import BokehModel

from s2koop.live.bokehjs import BokehJS

#: Group and label: what an element is found by.
Role = tuple[str, str]


class LiveFigure(ipywidgets.VBox):
    """An overlay whose elements can be replaced by others of the same groups and labels.

    Parameters
    ----------
    overlay : holoviews.Overlay
        What to show first; every element has a group and a label of its own.

    Attributes
    ----------
    figure : bokeh.models.Plot

    Examples
    --------
    >>> overlay = hv.Overlay([hv.Scatter(([1, 2], [3, 4]), group="Points", label="a")])
    >>> live = LiveFigure(overlay)
    >>> live.update([hv.Scatter(([1, 2], [5, 6]), group="Points", label="a")])
    >>> live.columns("Points", "a")["y"].tolist()
    [5, 6]
    """

    def __init__(self, overlay: hv.Overlay) -> None:
        plot = hv.renderer("bokeh").get_plot(overlay)
        drawn = [part for part in plot.traverse(lambda p: p, [ElementPlot]) if _is_element(part)]
        self._parts: dict[Role, Any] = {_role(part.current_frame): part for part in drawn}
        # What Python holds of a source is not what was sent: dates become numbers on the way.
        self._sent: dict[Role, dict[str, Any]] = {}
        self.figure = plot.state
        self._loader = BokehJS(on_ready=self._place)
        super().__init__([self._loader])

    def source(self, group: str, label: str) -> Any:
        """The ColumnDataSource of an element."""
        return self._parts[group, label].handles["source"]

    def renderer(self, group: str, label: str) -> Any:
        """What draws an element."""
        return self._parts[group, label].handles["glyph_renderer"]

    def columns(self, group: str, label: str) -> dict[str, Any]:
        """What the page holds of an element."""
        return dict(self.source(group, label).data)

    def update(self, elements: Iterable[hv.Element]) -> None:
        """Send the data of elements, of those that changed: each is several messages."""
        for element in elements:
            role = _role(element)
            data, _, _ = self._parts[role].get_data(element, {}, {})
            if not _same(self._sent.get(role), data):
                self._sent[role] = data
                self._parts[role].handles["source"].data = dict(data)

    def frame(self, *, title: str | None = None, y: tuple[float, float] | None = None) -> None:
        """Change the title, or the ends of the upright axis."""
        if title is not None:
            self.figure.title.text = title
        if y is not None:
            self.figure.y_range.update(start=y[0], end=y[1], reset_start=y[0], reset_end=y[1])

    def _place(self) -> None:
        # Anew each time: after a reload of the page the old view is dead.
        self.children = [self._loader]
        self.children = [self._loader, BokehModel(self.figure)]


def _same(before: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    return before is not None and before.keys() == now.keys() and all(_equal(before[k], now[k]) for k in now)


def _equal(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fM")


def _role(element: Any) -> Role:
    return element.group, element.label


def _is_element(part: Any) -> bool:
    return part.current_frame is not None and not isinstance(part.current_frame, hv.Overlay)

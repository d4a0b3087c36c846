"""A HoloViews figure in the page: drawn once, and afterwards sent nothing but the data of its elements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import holoviews as hv
import ipywidgets
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
        """Send the data of elements."""
        for element in elements:
            part = self._parts[_role(element)]
            data, _, _ = part.get_data(element, {}, {})
            part.handles["source"].data = data

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


def _role(element: Any) -> Role:
    return element.group, element.label


def _is_element(part: Any) -> bool:
    return part.current_frame is not None and not isinstance(part.current_frame, hv.Overlay)

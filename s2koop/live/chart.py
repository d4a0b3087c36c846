"""The series chart: a HoloViews figure drawn once, whose data are replaced afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import holoviews as hv
import ipywidgets
import numpy as np
from bokeh.models import BoxSelectTool, TapTool
from holoviews.plotting.bokeh import ElementPlot
from jupyter_bokeh import BokehModel

from s2koop._views import Series
from s2koop.live.bokehjs import BokehJS
from s2koop.plots.elements import (
    has_data,
    laid_out,
    line,
    look,
    series_elements,
    series_title,
    value_label,
    value_range,
)

#: As high as the picture with its controls.
_HEIGHT = 400

_LINES = ("Cursor", "Cut", "Broken")


class Chart(ipywidgets.VBox):
    """The series of a place with lines at the chosen date, the start of a forecast, and a break.

    The figure is built once; an update computes the elements of the static plot and sends their data only.
    So the live chart and the static plot cannot differ.

    Parameters
    ----------
    series : Series
        What to show first; later ones come from the same session.
    date : numpy.datetime64
        Where the line stands.
    on_select : callable, optional
        Called with the dates (datetime64) of observations that were tapped or framed.
    """

    def __init__(
        self, series: Series, date: np.datetime64, *, on_select: Callable[[np.ndarray], object] | None = None
    ) -> None:
        elements = [*(line(date, group) for group in _LINES), *(look(e, series) for e in series_elements(series))]
        plot = hv.renderer("bokeh").get_plot(laid_out(elements, series))
        parts = {_role(p.current_frame): p for p in plot.traverse(lambda p: p, [ElementPlot]) if _drawn(p)}
        self._lines = {group: parts.pop((group, "")).handles["glyph"] for group in _LINES}
        self._parts = parts
        self.figure = plot.state
        self.figure.height = _HEIGHT
        self._shown = series
        if on_select is not None:
            self._take_selections(on_select)
        self._loader = BokehJS(on_ready=self._place)
        super().__init__([self._loader])
        self.update(series)

    def update(self, series: Series) -> None:
        """Show another place, band, interval or choice of observations."""
        self._shown = series
        elements = {_role(e): e for e in series_elements(series)}
        entries = {item.label.value: item for item in self.figure.legend[0].items}
        for role, part in self._parts.items():
            part.handles["source"].data = _data(part, elements[role])
            if role[0] != "Interval":
                entries[role[1]].visible = has_data(elements[role])
        low, high = value_range(series)
        self.figure.y_range.update(start=low, end=high, reset_start=low, reset_end=high)
        self.figure.title.text = series_title(series)
        self.figure.left[0].axis_label = value_label(series)
        for group, date in (("Cut", series.cut), ("Broken", series.broken)):
            self._lines[group].visible = date is not None
            if date is not None:
                self._lines[group].location = _milliseconds(date)

    def mark(self, date: np.datetime64) -> None:
        """Move the line to a date."""
        self._lines["Cursor"].location = _milliseconds(date)

    def _take_selections(self, on_select: Callable[[np.ndarray], object]) -> None:
        """Let observations be framed or tapped: those that count, and those that were withheld."""
        parts = [self._parts[role] for role in (("Observed", "observed"), ("Withheld", "withheld"))]
        renderers = [part.handles["glyph_renderer"] for part in parts]
        frame = BoxSelectTool(renderers=renderers, description="Frame observations to withhold them, or give them back")
        self.figure.add_tools(frame, TapTool(renderers=renderers))
        self.figure.toolbar.active_drag = frame
        for part, kind in zip(parts, ("observed", "withheld"), strict=True):
            source = part.handles["source"]

            def selected(_name: str, _old: list[int], new: list[int], source: Any = source, kind: str = kind) -> None:
                # jupyter_bokeh calls this twice for one selection; by the second time it has been cleared.
                if not new or source.selected.indices != new:
                    return
                source.selected.indices = []
                on_select(getattr(self._shown, kind).time[new])

            source.selected.on_change("indices", selected)

    def _place(self) -> None:
        # Anew each time: after a reload of the page the old view is dead.
        self.children = [self._loader]
        self.children = [self._loader, BokehModel(self.figure)]


def _role(element: Any) -> tuple[str, str]:
    return element.group, element.label


def _drawn(part: Any) -> bool:
    return part.current_frame is not None and not isinstance(part.current_frame, hv.Overlay)


def _data(part: Any, element: hv.Element) -> dict[str, np.ndarray]:
    """Return the columns that HoloViews would send to Bokeh for an element of this kind."""
    data, _, _ = part.get_data(element, {}, {})
    return data


def _milliseconds(date: np.datetime64) -> float:
    return float(date.astype("datetime64[ms]").astype(np.int64))

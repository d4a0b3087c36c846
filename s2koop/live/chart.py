"""The series chart: a HoloViews figure drawn once, whose data are replaced afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.models import BoxSelectTool, TapTool

from s2koop._views import Series
from s2koop.live.figure import LiveFigure
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


class Chart(LiveFigure):
    """The series of a place with lines at the chosen date, the start of a forecast, and a break.

    The figure is built once; what follows are the elements of the static plot, of which only the data are sent. So the
    live chart and the static plot cannot differ.

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
        super().__init__(laid_out(elements, series))
        self.figure.height = _HEIGHT
        self._shown = series
        if on_select is not None:
            self._take_selections(on_select)
        self.show(series)

    def show(self, series: Series) -> None:
        """Show another place, band, interval or choice of observations."""
        self._shown = series
        elements = series_elements(series)
        self.update(elements)
        entries = {item.label.value: item for item in self.figure.legend[0].items}
        for element in elements:
            if element.group != "Interval":
                entries[element.label].visible = has_data(element)
        self.frame(title=series_title(series), y=value_range(series))
        self.figure.left[0].axis_label = value_label(series)
        for group, date in (("Cut", series.cut), ("Broken", series.broken)):
            self.line(group).visible = date is not None
            if date is not None:
                self.line(group).location = _milliseconds(date)

    def line(self, group: str) -> Any:
        """Return one of the lines: ``"Cursor"``, ``"Cut"`` or ``"Broken"``."""
        return self._parts[group, ""].handles["glyph"]

    def mark(self, date: np.datetime64) -> None:
        """Move the line to a date."""
        self.line("Cursor").location = _milliseconds(date)

    def _take_selections(self, on_select: Callable[[np.ndarray], object]) -> None:
        """Let observations be framed or tapped: those that count, and those that were withheld."""
        roles = (("Observed", "observed"), ("Withheld", "withheld"))
        renderers = [self.renderer(*role) for role in roles]
        frame = BoxSelectTool(renderers=renderers, description="Frame observations to withhold them, or give them back")
        self.figure.add_tools(frame, TapTool(renderers=renderers))
        self.figure.toolbar.active_drag = frame
        for group, kind in roles:
            source = self.source(group, kind)

            def selected(_name: str, _old: list[int], new: list[int], source: Any = source, kind: str = kind) -> None:
                # jupyter_bokeh calls this twice for one selection; by the second time it has been cleared.
                if not new or source.selected.indices != new:
                    return
                source.selected.indices = []
                on_select(getattr(self._shown, kind).time[new])

            source.selected.on_change("indices", selected)


def _milliseconds(date: np.datetime64) -> float:
    return float(date.astype("datetime64[ms]").astype(np.int64))

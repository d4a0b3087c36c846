"""The series chart: a HoloViews figure drawn once, whose data are replaced afterwards."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import ipywidgets
import numpy as np
from holoviews.plotting.bokeh import ElementPlot
from jupyter_bokeh import BokehModel

from s2koop._views import Series
from s2koop.live.bokehjs import BokehJS
from s2koop.plots.elements import series_elements, series_overlay, series_title, value_label, value_range

#: As high as the picture with its controls.
_HEIGHT = 420


class Chart(ipywidgets.VBox):
    """A pixel's series with a line at the chosen date.

    The figure is built once; an update computes the elements of the static plot and sends their data only.
    So the live chart and the static plot cannot differ.

    Parameters
    ----------
    series : Series
        What to show first; later ones come from the same session.
    date : numpy.datetime64
        Where the line stands.
    """

    def __init__(self, series: Series, date: np.datetime64) -> None:
        plot = hv.renderer("bokeh").get_plot(series_overlay(series, date=date))
        parts = {_role(p.current_frame): p for p in plot.traverse(lambda p: p, [ElementPlot]) if _drawn(p)}
        self._cursor = parts.pop(("Cursor", "")).handles["glyph"]
        self._parts = parts
        self.figure = plot.state
        self.figure.height = _HEIGHT
        self._loader = BokehJS(on_ready=self._place)
        super().__init__([self._loader])

    def update(self, series: Series) -> None:
        """Show another pixel, band or interval."""
        elements = {_role(e): e for e in series_elements(series)}
        for role, part in self._parts.items():
            part.handles["source"].data = _data(part, elements[role])
        low, high = value_range(series)
        self.figure.y_range.update(start=low, end=high, reset_start=low, reset_end=high)
        self.figure.title.text = series_title(series)
        self.figure.left[0].axis_label = value_label(series)

    def mark(self, date: np.datetime64) -> None:
        """Move the line to a date."""
        self._cursor.location = _milliseconds(date)

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

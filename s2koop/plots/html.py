"""HoloViews elements on one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
from bokeh.embed import file_html
from bokeh.layouts import column
from bokeh.resources import INLINE


def save_html(*elements: hv.core.Dimensioned, path: str | Path, title: str = "s2koop") -> Path:
    """Write interactive plots, one below the other, to a page with all of its JavaScript inside.

    Parameters
    ----------
    *elements : holoviews element, overlay or layout
        For example what `series` and `map` return.
    path : str or Path
        The file to write; its folder must exist.
    title : str
        Title of the page.

    Returns
    -------
    Path
        The file.
    """
    renderer = hv.renderer("bokeh")
    figures = [renderer.get_plot(element).state for element in elements]
    page = file_html(column(*figures), INLINE, title)
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path

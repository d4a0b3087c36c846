"""HoloViews elements on one HTML page that needs no network."""

from __future__ import annotations

from html import escape
from pathlib import Path

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
from bokeh.embed import components
from bokeh.resources import Resources

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{margin:2rem auto;max-width:56rem;font-family:system-ui,"DejaVu Sans",sans-serif}}</style>
<script>{library}</script></head>
<body>
{plots}
{script}
</body></html>
"""


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
    script, places = components(figures)
    # Not bokeh.embed.file_html: with HoloViews loaded it adds a script of another library by relative address.
    library = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    path = Path(path)
    path.write_text(_PAGE.format(title=escape(title), library=library, plots="\n".join(places), script=script), "utf-8")
    return path

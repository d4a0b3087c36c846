"""The view on one HTML page without Python behind it: the map to be scrubbed, zoomed and picked, and the chart."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import holoviews as hv
from bokeh.embed import components
from bokeh.resources import Resources

from s2koop._crs import pixel_metres
from s2koop.live.cube import panel_of, still_script, style
from s2koop.plots.elements import quantity_name, series_overlay
from s2koop.plots.export import place
from s2koop.session import Session

#: Bytes of the picture that a page carries.
_BYTES = 4_000_000

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{margin:2rem auto;max-width:74rem;font-family:system-ui,"DejaVu Sans",sans-serif}}
main{{display:flex;flex-wrap:wrap;gap:24px}} #map{{flex:1 1 380px;max-width:480px}}
{style}</style>
<script>{library}</script></head>
<body><h1 style="font-size:1.2rem">{title}</h1>
<main><div id="map"></div><div>{chart}</div></main>
{script}
<script type="module">{view}</script>
</body></html>
"""


def page(session: Session) -> str:
    """Return the map, to be scrubbed, zoomed and picked, and the chart, on one HTML page that needs no network.

    The page holds all dates of the map that is shown and the series of the place; both are as they stand, since there
    is no Python behind it.
    """
    panel = _panel(session)
    figure = hv.renderer("bokeh").get_plot(series_overlay(session.series(), date=session.date)).state
    script, place_of_chart = components(figure)
    library = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    return _PAGE.format(
        title=escape(place(session.series())),
        style=style(),
        library=library,
        chart=place_of_chart,
        script=script,
        view=still_script(panel, list(session.pixel), session.time),
    )


def _panel(session: Session) -> dict[str, Any]:
    """The map as the view takes it, with its bytes as text."""
    frames = session.frames(budget=_BYTES)
    quantity = "colour" if frames.levels.ndim == 4 else session.quantity()
    panel = panel_of(
        frames, shape=session.shape, quantity=quantity, label=quantity_name(session, session.quantity()),
        title=f"{frames.product}, {frames.band}", metres=pixel_metres(session.cube),
    )  # fmt: skip
    return {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in panel.items()}

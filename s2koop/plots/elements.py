"""A session or its results as HoloViews elements: the series of a pixel, and one date as a map."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import xarray as xr

from s2koop._crs import axis_label
from s2koop._views import Points, Series
from s2koop.plots._style import (
    NO_DATA_COLOUR,
    OBSERVED_COLOUR,
    PALETTES,
    SPREAD_NAME,
    date_text,
    method_style,
)
from s2koop.session import Session

#: Width of a map in screen pixels; its height follows from the shape, within limits.
_MAP_WIDTH = 380

_FONT_SIZES = {"title": "11pt", "labels": "10pt", "ticks": "9pt", "legend": "9pt"}
_LEGEND = {
    "orientation": "horizontal", "border_line_alpha": 0, "background_fill_alpha": 0, "margin": 0,
    "padding": 2, "spacing": 14,
}  # fmt: skip
_QUIET = {"plot.toolbar.logo": None}

_CURSOR = {"color": "#777777", "line_width": 1.5, "line_dash": "dashed"}
_OBSERVED = {"marker": "circle", "size": 6, "color": OBSERVED_COLOUR, "tools": ["hover"]}
_LATER = {
    "marker": "diamond", "size": 9, "fill_color": "white", "line_color": OBSERVED_COLOUR, "line_width": 1.5,
    "tools": ["hover"],
}  # fmt: skip


def series(source: Session | xr.DataArray, *results: xr.Dataset, **options: Any) -> hv.Overlay:
    """Draw one pixel over time: observations, each result's mean and interval, and what came later.

    Parameters
    ----------
    source : Session or xarray.DataArray
        A session as it stands, or a cube with dims ``(time, band, y, x)``.
    *results : xarray.Dataset
        Results to a cube (a session has its own), see `Session`.
    **options
        With a cube: ``names``, ``later``, ``band``, ``pixel`` of `Session`, and ``level``.

    Returns
    -------
    holoviews.Overlay
        Elements of group ``Interval``, ``Mean``, ``Observed`` and ``Later``, labelled with the result's name.

    Raises
    ------
    InputError
        As `Session` does.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> cube = xr.DataArray(
    ...     np.full((3, 1, 4, 5), 0.25, "float32"),
    ...     dims=("time", "band", "y", "x"),
    ...     coords={"time": pd.date_range("2020-01-01", periods=3), "band": ["B8A"],
    ...             "y": np.arange(4) * -20.0, "x": np.arange(5) * 20.0},
    ... )
    >>> [element.group for element in series(cube, pixel=(1, 2))]
    ['Observed']
    """
    return series_overlay(_session(source, *results, **options).series())


def map(source: Session | xr.DataArray, *results: xr.Dataset, date: Any = None, **options: Any) -> hv.Image:
    """Draw one product, band and date as a map with a colour bar; only that date is read.

    Parameters
    ----------
    source : Session or xarray.DataArray
        A session as it stands, or a cube with dims ``(time, band, y, x)``.
    *results : xarray.Dataset
        Results to a cube, see `Session`.
    date : str or numpy.datetime64, optional
        The nearest date of the product is drawn; by default the session's, or the last of the cube.
    **options
        With a cube: ``product`` (``"observed"``, ``"<name> mean"``, ...), and ``names``, ``later``, ``band``,
        ``limits`` of `Session`.

    Returns
    -------
    holoviews.Image
        In the cube's coordinates; every reflectance of a band has one colour range.

    Raises
    ------
    InputError
        As `Session` does.
    """
    session = _session(source, *results, **options)
    if date is not None:
        session.go_to(date)
    frame = session.frame()
    name = session.value_name if session.quantity() == "reflectance" else SPREAD_NAME
    picture = hv.Image(
        (session.cube["x"].values, session.cube["y"].values, frame.values),
        kdims=[
            hv.Dimension("x", label=axis_label(session.cube, "x")),
            hv.Dimension("y", label=axis_label(session.cube, "y")),
        ],
        vdims=[hv.Dimension("value", label=name)],
    )
    return picture.opts(
        cmap=PALETTES[session.quantity()], clim=(frame.low, frame.high),
        clipping_colors={"NaN": NO_DATA_COLOUR}, colorbar=True, clabel=f"{frame.band} {name}",
        frame_width=_MAP_WIDTH, frame_height=_map_height(session.shape), tools=["hover"],
        title=f"{frame.product}, {frame.band}, {date_text(frame.date)}", fontsize=_FONT_SIZES,
        xformatter="%d", yformatter="%d", xticks=4, yticks=4, toolbar="above",
        default_tools=["pan", "wheel_zoom", "save", "reset"],
        backend_opts=_QUIET | {"plot.sizing_mode": None}, backend="bokeh",
    )  # fmt: skip


def series_overlay(found: Series, *, date: np.datetime64 | None = None) -> hv.Overlay:
    """Draw a pixel's `Series`, and a line at `date` where one is given."""
    elements = [e.opts(**_look(e, found), backend="bokeh") for e in series_elements(found)]
    if date is not None:
        elements.insert(0, hv.VLine(date, group="Cursor").opts(**_CURSOR, backend="bokeh"))
    return hv.Overlay(elements).opts(
        title=series_title(found), xlabel="", ylabel=value_label(found), ylim=value_range(found),
        width=680, height=340, padding=(0.01, 0), show_grid=True,
        legend_position="top", legend_opts=_LEGEND, fontsize=_FONT_SIZES,
        gridstyle={"grid_line_alpha": 0.35}, default_tools=["xpan", "xwheel_zoom", "save", "reset"],
        toolbar="above", active_tools=["xpan"], backend_opts=_QUIET, backend="bokeh",
    )  # fmt: skip


def series_elements(found: Series) -> list[hv.Element]:
    """Return the data of a pixel's `Series` as elements without a look; the live chart sends just these."""
    elements: list[hv.Element] = []
    for name, estimate in found.estimates.items():
        interval = (estimate.time, estimate.low, estimate.high)
        elements.append(hv.Area(interval, "time", ["low", "high"], group="Interval", label=name))
        elements.append(hv.Curve((estimate.time, estimate.mean), "time", "value", group="Mean", label=name))
    elements.append(_scatter(found.observed, "Observed", "observed"))
    if found.later is not None:
        elements.append(_scatter(found.later, "Later", "came later"))
    return elements


def series_title(found: Series) -> str:
    """Say which pixel and what is shaded."""
    shaded = f", shaded: {found.level:.0%} interval" if found.estimates else ""
    return f"Pixel row {found.pixel[0]}, column {found.pixel[1]}{shaded}"


def value_label(found: Series) -> str:
    """Name the value axis: band and quantity (reflectance has no unit)."""
    return f"{found.band} {found.quantity}"


def value_range(found: Series) -> tuple[float, float]:
    """Return the value axis of a series: all that is drawn, with a margin; 0 to 1 if nothing is."""
    drawn = [found.observed.value, *([] if found.later is None else [found.later.value])]
    for estimate in found.estimates.values():
        drawn += [estimate.mean, estimate.low, estimate.high]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = max(0.06 * (high - low), 0.002)
    return low - margin, high + margin


def _look(element: hv.Element, found: Series) -> dict[str, Any]:
    if element.group in ("Observed", "Later"):
        return {"Observed": _OBSERVED, "Later": _LATER}[element.group]
    colour, dash, _ = method_style(list(found.estimates).index(element.label))
    if element.group == "Interval":
        return {"color": colour, "alpha": 0.18, "line_alpha": 0}
    return {"color": colour, "line_dash": dash, "line_width": 2}


def _scatter(points: Points, group: str, label: str) -> hv.Scatter:
    return hv.Scatter((points.time, points.value), "time", "value", group=group, label=label)


def _map_height(shape: tuple[int, int]) -> int:
    return int(np.clip(round(_MAP_WIDTH * shape[0] / shape[1]), 80, 800))


def _session(source: Session | xr.DataArray, *results: xr.Dataset, **options: Any) -> Session:
    if isinstance(source, Session):
        if results or options:
            given = ", ".join(["results"] * bool(results) + sorted(options))
            raise TypeError(f"A session already holds its results and choices; set them there instead of {given}.")
        return source
    chosen = {name: options.pop(name) for name in ("product", "level") if name in options}
    session = Session(source, *results, **options)
    for name, value in chosen.items():
        setattr(session, name, value)
    return session

"""A session or its results as HoloViews elements: the series of a pixel, and one date as a map."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import xarray as xr

from s2koop._crs import axis_label, edges
from s2koop._views import NOTHING, Estimate, Points, Quantity, Series
from s2koop.plots._style import (
    OBSERVED_COLOUR,
    SPREAD_NAME,
    date_text,
    method_style,
    missing_colour,
    palette,
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

_LINES: dict[str, dict[str, Any]] = {
    "Cursor": {"color": "#777777", "line_width": 1.5, "line_dash": "dashed"},
    "Cut": {"color": "#444444", "line_width": 1.5, "line_dash": "solid"},
    "Broken": {"color": "#d55e00", "line_width": 2, "line_dash": "dotdash"},
}
#: Nothing is dimmed while other points are selected: a selection only names them.
_SAME = {"nonselection_alpha": 1.0, "nonselection_line_alpha": 1.0}
_POINTS: dict[str, dict[str, Any]] = {
    "Observed": {"marker": "circle", "size": 6, "color": OBSERVED_COLOUR, "tools": ["hover"], **_SAME},
    "Later": {
        "marker": "diamond", "size": 9, "fill_color": "white", "line_color": OBSERVED_COLOUR, "line_width": 1.5,
        "tools": ["hover"], **_SAME,
    },
    "Withheld": {"marker": "x", "size": 9, "color": OBSERVED_COLOUR, "line_width": 2, "tools": ["hover"], **_SAME},
}  # fmt: skip

_NO_ESTIMATE = Estimate(NOTHING.time, NOTHING.value, NOTHING.value, NOTHING.value)


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
        Elements of group ``Interval``, ``Mean``, ``Given``, ``Observed``, ``Withheld`` and ``Later``, those that have
        data, labelled with the result's name.

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
    return frame_map(session, date=date)


def frame_map(session: Session, product: str | None = None, *, date: Any = None) -> hv.Image:
    """Draw a date of one of the products of a session: true values, coloured in the range of the session."""
    product = session.product if product is None else product
    time = session.time_of(product) if date is None else session.time_at(date, product)
    quantity, (low, high) = session.quantity(product), session.limits(product=product)
    name = quantity_name(session, quantity)
    picture = hv.Image(
        **_on_grid(session.cube, session.field(product, time=time)),
        kdims=[
            hv.Dimension("x", label=axis_label(session.cube, "x")),
            hv.Dimension("y", label=axis_label(session.cube, "y")),
        ],
        vdims=[hv.Dimension("value", label=name)],
    )
    return picture.opts(
        cmap=palette(quantity), clim=(low, high),
        clipping_colors={"NaN": missing_colour(quantity)}, colorbar=True, clabel=f"{session.band} {name}",
        frame_width=_MAP_WIDTH, frame_height=_map_height(session.shape), tools=["hover"],
        title=f"{product}, {session.band}, {date_text(session.dates(product)[time])}", fontsize=_FONT_SIZES,
        xformatter="%d", yformatter="%d", xticks=4, yticks=4, toolbar="above",
        default_tools=["pan", "wheel_zoom", "save", "reset"],
        backend_opts=_QUIET | {"plot.sizing_mode": None}, backend="bokeh",
    )  # fmt: skip


def maps(source: Session | xr.DataArray, *results: xr.Dataset, date: Any = None, **options: Any) -> hv.Layout:
    """Draw observation, mean, spread and residual of a result on one date, side by side.

    Parameters
    ----------
    source, results, date, options
        As for `map`; the result of the chosen product, else the first.

    Returns
    -------
    holoviews.Layout
        Up to four maps, of what there is.
    """
    session = _session(source, *results, **options)
    return hv.Layout([frame_map(session, product, date=date) for product in session.shown("grid")]).cols(2)


def _on_grid(cube: xr.DataArray, field: np.ndarray) -> dict[str, Any]:
    """A field with its coordinates; of one row or column with its edges, which HoloViews cannot tell."""
    if 1 not in field.shape:
        return {"data": (cube["x"].values, cube["y"].values, field)}
    (left, right), (top, bottom) = (edges(cube[dim].values) for dim in ("x", "y"))
    upright = field if top > bottom else field[::-1]
    bounds = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
    return {"data": upright, "bounds": bounds}


def quantity_name(session: Session, quantity: Quantity) -> str:
    """Name what a map measures."""
    if quantity == "spread":
        return SPREAD_NAME
    return f"observation minus mean, {session.value_name}" if quantity == "difference" else session.value_name


def series_overlay(found: Series, *, date: np.datetime64 | None = None) -> hv.Overlay:
    """Draw a place's `Series` without what is empty, and a line at `date` where one is given."""
    elements = [look(e, found) for e in series_elements(found) if has_data(e)]
    elements = elements or [look(_scatter(NOTHING, "Observed", "observed"), found)]
    dates = {"Cursor": date, "Cut": found.cut, "Broken": found.broken}
    lines = [line(day, group) for group, day in dates.items() if day is not None]
    return laid_out([*lines, *elements], found)


def laid_out(elements: list[hv.Element], found: Series) -> hv.Overlay:
    """Lay the elements of a series over each other, with title, axes and tools."""
    return hv.Overlay(elements).opts(
        title=series_title(found), xlabel="", ylabel=value_label(found), ylim=value_range(found),
        width=680, height=340, padding=(0.01, 0), show_grid=True,
        legend_position="top", legend_opts=_LEGEND, legend_cols=4, fontsize=_FONT_SIZES,
        gridstyle={"grid_line_alpha": 0.35}, default_tools=["xpan", "xwheel_zoom", "save", "reset"],
        toolbar="right", active_tools=["xpan"], backend_opts=_QUIET, backend="bokeh",
    )  # fmt: skip


def line(date: np.datetime64, group: str) -> hv.VLine:
    """Draw a line at a date: the one that is shown, the start of a forecast, or a break."""
    return hv.VLine(date, group=group).opts(**_LINES[group], backend="bokeh")


def look(element: hv.Element, found: Series) -> hv.Element:
    """Give an element of a series its colour, dash or marker."""
    if element.group in _POINTS:
        return element.opts(**_POINTS[element.group], backend="bokeh")
    name = element.label.removesuffix(", as given")
    colour, dash, _ = method_style(list(found.estimates).index(name))
    looks = {
        "Interval": {"color": colour, "alpha": 0.18, "line_alpha": 0},
        "Mean": {"color": colour, "line_dash": dash, "line_width": 2},
        "Given": {"color": colour, "line_dash": dash, "line_width": 1, "line_alpha": 0.55},
    }
    return element.opts(**looks[element.group], backend="bokeh")


def series_elements(found: Series) -> list[hv.Element]:
    """Return the data of a place's `Series` as elements without a look, empty ones too: what a live chart sends."""
    elements: list[hv.Element] = []
    for name, estimate in found.estimates.items():
        shown = found.again.get(name, estimate)
        given = estimate if name in found.again else _NO_ESTIMATE
        interval = (shown.time, shown.low, shown.high)
        elements.append(hv.Area(interval, "time", ["low", "high"], group="Interval", label=name))
        elements.append(hv.Curve((given.time, given.mean), "time", "value", group="Given", label=f"{name}, as given"))
        elements.append(hv.Curve((shown.time, shown.mean), "time", "value", group="Mean", label=name))
    elements.append(_scatter(found.observed, "Observed", "observed"))
    elements.append(_scatter(found.later or NOTHING, "Later", "came later"))
    elements.append(_scatter(found.withheld, "Withheld", "withheld"))
    return elements


def has_data(element: hv.Element) -> bool:
    """Tell whether an element would show anything."""
    return len(element) > 0


def series_title(found: Series) -> str:
    """Say which place, what is shaded, and from when on it is a forecast."""
    shaded = f", shaded: {found.level:.0%} interval" if found.estimates else ""
    ahead = f", forecast from {date_text(found.cut)}" if found.cut is not None else ""
    if found.region is None:
        return f"Pixel row {found.pixel[0]}, column {found.pixel[1]}{ahead}{shaded}"
    r0, c0, r1, c1 = found.region
    mean = f"mean of {found.pixels} pixels"
    return f"Rows {r0} to {r1 - 1}, columns {c0} to {c1 - 1}, {mean}{ahead}{shaded}"


def value_label(found: Series) -> str:
    """Name the value axis: band and quantity (reflectance has no unit)."""
    return f"{found.band} {found.quantity}"


def value_range(found: Series) -> tuple[float, float]:
    """Return the value axis of a series: all that is drawn, with a margin; 0 to 1 if nothing is."""
    drawn = [found.observed.value, found.withheld.value, *([] if found.later is None else [found.later.value])]
    for estimate in (*found.estimates.values(), *found.again.values()):
        drawn += [estimate.mean, estimate.low, estimate.high]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = max(0.06 * (high - low), 0.002)
    return low - margin, high + margin


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

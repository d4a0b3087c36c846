"""Still figures by Matplotlib, drawn off screen: three maps of one date, and the series of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2koop._crs import crs_of, edges, is_metric
from s2koop._frames import robust_range
from s2koop._views import Quantity, Series
from s2koop.errors import InputError, MissingDependencyError
from s2koop.plots._style import OBSERVED_COLOUR, date_text, method_style, missing_colour, palette
from s2koop.session import Session

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_Extent = tuple[float, float, float, float]


def maps_figure(
    observed: xr.DataArray,
    analysis: xr.DataArray,
    spread: xr.DataArray,
    *,
    title: str | None = None,
    headings: Sequence[str] = ("Observation", "Analysis", "Spread (1 sd)"),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw an observation, the analysis and its spread side by side, in the coordinates of their CRS.

    Parameters
    ----------
    observed, analysis, spread : xarray.DataArray
        One band on one date each, dims ``(y, x)``, reflectance; NaN = missing (grey). `time` and `band`
        coordinates, where there are any, go into the headings.
    title : str, optional
        Title of the figure; by default band and date of the analysis.
    headings : sequence of str
        One per map.
    limits : (float, float), optional
        Common colour range of the first two; by default 2nd to 98th percentile of both.

    Returns
    -------
    matplotlib.figure.Figure
        11 inches wide, as high as the shape asks; write it with ``figure.savefig(path, dpi=150)``.

    Raises
    ------
    InputError
        If a map is not ``(y, x)`` or the shapes differ.
    MissingDependencyError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> field = xr.DataArray(np.eye(4), dims=("y", "x"), coords={"y": -np.arange(4.0), "x": np.arange(4.0)})
    >>> figure = maps_figure(field, field, field / 10)
    >>> len(figure.axes)  # three maps and two colour bars
    5
    """
    maps = (observed, analysis, spread)
    for heading, field in zip(headings, maps, strict=True):
        if field.dims != ("y", "x") or field.shape != observed.shape:
            raise InputError(
                f"{heading} has dims {field.dims} and shape {field.shape}; expected ('y', 'x') and "
                f"{observed.shape}. Select one date and band: cube.sel(band='B8A').isel(time=0)."
            )
    both = np.concatenate([observed.values.ravel(), analysis.values.ravel()])
    shared = limits or robust_range(both) or (0.0, 1.0)
    doubt = robust_range(spread.values, from_zero=True) or (0.0, 0.01)
    rows, cols = observed.shape
    figure = _figure(11, 1.6 + float(np.clip(3.3 * rows / cols, 1.5, 7)))
    axes = figure.subplots(1, 3, sharey=True)
    # One extent for all: a result need not carry the CRS of the cube it came from.
    extent = _extent(observed)
    left = _image(axes[0], observed, extent, shared, "reflectance")
    _image(axes[1], analysis, extent, shared, "reflectance")
    right = _image(axes[2], spread, extent, doubt, "spread")
    for ax, heading, field in zip(axes, headings, maps, strict=True):
        ax.set_title(_heading(heading, field), fontsize=10)
    _map_axes(axes, observed)
    bar: dict[str, Any] = {"location": "bottom", "label": "reflectance", "pad": 0.03}
    figure.colorbar(left, ax=list(axes[:2]), aspect=44, shrink=0.6, extend="both", **bar)
    figure.colorbar(right, ax=axes[2], aspect=26, shrink=0.8, extend="max", **bar)
    figure.suptitle(title or _default_title(analysis), fontsize=12, fontweight="bold")
    return figure


def series_figure(
    source: Session | xr.DataArray,
    *results: xr.Dataset,
    pixel: tuple[int, int] | None = None,
    bands: Sequence[str] | None = None,
    level: float = 0.9,
    title: str | None = None,
    **options: Any,
) -> Figure:
    """Draw one pixel over time, one panel per band: observations, means, intervals, what came later.

    Parameters
    ----------
    source : Session or xarray.DataArray
        A session, or a cube with dims ``(time, band, y, x)``.
    *results : xarray.Dataset
        Results to a cube, see `Session`.
    pixel : (int, int), optional
        Row and column; by default the session's, or the centre.
    bands : sequence of str, optional
        By default the session's band, or the first.
    level : float
        Coverage of the intervals.
    title : str, optional
        Title of the figure; by default the pixel and its coordinates.
    **options
        With a cube: ``names`` and ``later`` of `Session`.

    Returns
    -------
    matplotlib.figure.Figure
        11 inches wide, 2.5 high per band and one for title and legend.

    Raises
    ------
    InputError
        As `Session` does.
    MissingDependencyError
        If Matplotlib is not installed.
    """
    session = source if isinstance(source, Session) else Session(source, *results, **options)
    wanted = [session.band] if bands is None else list(bands)
    found = [session.series(pixel, band=band, level=level) for band in wanted]
    figure = _figure(11, 1.0 + 2.5 * len(found))
    axes = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for ax, line in zip(axes, found, strict=True):
        _draw_series(ax, line)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(title or _pixel_title(session.cube, found[0]), fontsize=12, fontweight="bold")
    return figure


def session_figure(session: Session) -> Figure:
    """Draw what a session shows, its map and its series, side by side: the still twin of the dashboard.

    Parameters
    ----------
    session : Session
        Read as it stands: one frame and one pixel.

    Returns
    -------
    matplotlib.figure.Figure
        11 x 4 inches.
    """
    frame, found = session.frame(), session.series()
    figure = _figure(11, 4)
    from matplotlib.dates import AutoDateLocator

    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    field = session.cube.isel(time=0, band=0).copy(data=frame.values)
    picture = _image(left, field, _extent(field), (frame.low, frame.high), session.quantity())
    _map_axes([left], field)
    unit = 1e-3 if is_metric(field) else 1.0
    left.plot(found.x * unit, found.y * unit, "+", color="white", markersize=13, markeredgewidth=3)
    left.plot(found.x * unit, found.y * unit, "+", color=OBSERVED_COLOUR, markersize=11, markeredgewidth=1.2)
    left.set_title(f"{frame.product}, {frame.band}, {date_text(frame.date)}", fontsize=10)
    figure.colorbar(picture, ax=left, location="bottom", aspect=30, shrink=0.8)
    _draw_series(right, found)
    right.axvline(frame.date, color="0.45", linewidth=1, linestyle="--")
    right.set_title(_pixel_title(session.cube, found), fontsize=10)
    right.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7))
    # Beside the colour bar, below the series: inside the axes it would cover points.
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=4, frameon=False, fontsize=8)
    return figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "Still figures need Matplotlib, which is not installed: python -m pip install 's2koop[notebook]'."
        ) from error
    # The object interface, not pyplot: no global state, no window, safe in threads.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _image(
    ax: Axes,
    field: xr.DataArray,
    extent: tuple[float, float, float, float],
    limits: tuple[float, float],
    quantity: Quantity,
) -> AxesImage:
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(palette(quantity)).with_extremes(bad=missing_colour(quantity))
    return ax.imshow(
        field.values, extent=extent, cmap=colours, vmin=limits[0], vmax=limits[1],
        interpolation="nearest", origin="upper",
    )  # fmt: skip


def _extent(field: xr.DataArray) -> _Extent:
    """Left, right, bottom and top edge; rows run from the first `y` to the last, whichever is north."""
    unit = 1e-3 if is_metric(field) else 1.0
    left, right = edges(field["x"].values * unit)
    first, last = edges(field["y"].values * unit)
    return left, right, last, first


def _map_axes(axes: Sequence[Axes], field: xr.DataArray) -> None:
    metric = is_metric(field)
    for ax in axes:
        ax.locator_params(nbins=4)
        ax.ticklabel_format(useOffset=False, style="plain")
        ax.tick_params(labelsize=8)
        ax.set_xlabel("easting (km)" if metric else "x", fontsize=9)
    suffix = f", {crs_of(field)}" if metric else ""
    axes[0].set_ylabel(f"northing (km{suffix})" if metric else "y", fontsize=9)


def _heading(heading: str, field: xr.DataArray) -> str:
    return f"{heading}, {date_text(field['time'].values)}" if "time" in field.coords else heading


def _default_title(field: xr.DataArray) -> str:
    band = str(field["band"].values) if "band" in field.coords else ""
    date = date_text(field["time"].values) if "time" in field.coords else ""
    return ", ".join(part for part in (band, date) if part) or "Observation, analysis and spread"


def _draw_series(ax: Axes, found: Series) -> None:
    for number, (name, given) in enumerate(found.estimates.items()):
        colour, _, dash = method_style(number)
        estimate = found.again.get(name, given)
        if name in found.again:
            ax.plot(given.time, given.mean, dash, color=colour, linewidth=0.8, alpha=0.55, label=f"{name}, as given")
        ax.fill_between(
            estimate.time, estimate.low, estimate.high, color=colour, alpha=0.18, linewidth=0,
            label=f"{name}, {found.level:.0%} interval",
        )  # fmt: skip
        ax.plot(estimate.time, estimate.mean, dash, color=colour, linewidth=1.6, label=f"{name}, mean")
    ax.plot(
        found.observed.time,
        found.observed.value,
        "o",
        markersize=3.2,
        color=OBSERVED_COLOUR,
        label="observed",
    )
    if found.withheld.time.size:
        ax.plot(found.withheld.time, found.withheld.value, "x", markersize=5, color=OBSERVED_COLOUR, label="withheld")
    if found.cut is not None:
        ax.axvline(float(found.cut.astype("datetime64[s]").astype(float) / 86_400), color="0.25", linewidth=1.2)
    if found.later is not None:
        ax.plot(
            found.later.time, found.later.value, "D", markersize=4.5, markerfacecolor="white",
            markeredgecolor=OBSERVED_COLOUR, markeredgewidth=1.0, label="came later",
        )  # fmt: skip
        if found.later.time.size and found.cut is None:
            ax.axvline(found.later.time.min(), color="0.45", linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_ylabel(f"{found.band}\n{found.quantity}", fontsize=9)
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.01)
    ax.tick_params(labelsize=8)


def _pixel_title(cube: xr.DataArray, found: Series) -> str:
    if found.region is not None:
        r0, c0, r1, c1 = found.region
        return f"Rows {r0} to {r1 - 1}, columns {c0} to {c1 - 1}, mean of {found.pixels} pixels"
    place = f"x {found.x:.0f}, y {found.y:.0f}"
    crs = crs_of(cube)
    return f"Pixel row {found.pixel[0]}, column {found.pixel[1]} ({place}{f', {crs}' if crs else ''})"

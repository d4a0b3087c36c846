"""Atmospheric corrections beside each other: spectra of a pixel, maps with their ratio, and numbers by band."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import pandas as pd

from s2koop._atmosphere_layers import REFERENCE, TOA
from s2koop._atmosphere_session import AtmosphereSession, Judged, Line, Spectrum
from s2koop._crs import axis_label
from s2koop._frames import decode
from s2koop._views import Frames
from s2koop.plots._style import METHOD_COLOURS, METHOD_DASHES, OBSERVED_COLOUR, missing_colour, palette
from s2koop.plots.figures import _extent, _figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FONT_SIZES = {"title": "10pt", "labels": "10pt", "ticks": "9pt", "legend": "9pt"}
_LEGEND = {
    "orientation": "horizontal", "border_line_alpha": 0, "background_fill_alpha": 0, "margin": 0, "padding": 2,
    "spacing": 12, "ncols": 3,
}  # fmt: skip
_QUIET = {"plot.toolbar.logo": None}
_MAP_WIDTH = 340
#: Colour, dash and marker of what is measured and of what results are judged against; results have those of methods.
_FIXED = {TOA: (OBSERVED_COLOUR, "dotted", "circle"), REFERENCE: (OBSERVED_COLOUR, "solid", "diamond")}
_MARKERS = ("square", "triangle", "inverted_triangle", "hex")
#: Bokeh's names of dashes and markers in Matplotlib's words.
_STILL = dict(METHOD_DASHES) | {
    "circle": "o", "diamond": "D", "square": "s", "triangle": "^", "inverted_triangle": "v", "hex": "h",
}  # fmt: skip
#: Columns of a comparison that are shown, and what they are called.
_COLUMNS = {
    "ratio_median": ("ratio", "{:.3f}"), "ratio_p5": ("5 %", "{:.2f}"), "ratio_p95": ("95 %", "{:.2f}"),
    "bias": ("bias", "{:+.4f}"), "rmse": ("RMSE", "{:.4f}"), "in_spec": ("in spec.", "{:.0%}"),
}  # fmt: skip


def spectrum(session: AtmosphereSession, *, pixel: tuple[int, int] | None = None) -> hv.Overlay:
    """Draw reflectance by band at one pixel: what was measured, every result with its interval, and the reference.

    Parameters
    ----------
    session : AtmosphereSession
        As it stands: date, air and level of the intervals.
    pixel : (int, int), optional
        Row and column; by default the session's.

    Returns
    -------
    holoviews.Overlay
        Elements of group ``Interval``, ``Line`` and ``Points``, labelled with the layer's name.

    Raises
    ------
    InputError
        If the pixel lies outside.

    Examples
    --------
    >>> from s2koop.simulate import toa_scenes
    >>> scene = toa_scenes("test", scenes=1, size=16).isel(scene=0)
    >>> result = scene["toa"].ac.invert(angles={"sza": 40.0, "vza": 5.0, "raa": 100.0})
    >>> drawn = spectrum(AtmosphereSession(result, reference=scene["boa"]))
    >>> sorted({(element.group, element.label) for element in drawn})[0]
    ('Interval', 'inverted (lut)')
    """
    return spectrum_overlay(session.spectrum(pixel))


def corrections(session: AtmosphereSession) -> hv.Layout:
    """Draw the two maps of a session and, where there is a reference, the map of the ratio to it.

    Parameters
    ----------
    session : AtmosphereSession
        As it stands: date, layers, band or colours, and air.

    Returns
    -------
    holoviews.Layout
        ``RGB`` or ``Image`` elements in the coordinates of the result.
    """
    maps = [_map(session, session.frames(name)) for name in (session.left, session.right)]
    ratio = session.ratio_frames()
    if ratio is not None:
        maps.append(_image(session, ratio, "ratio"))
    return hv.Layout(maps).opts(shared_axes=True, backend="bokeh")


def ratios(session: AtmosphereSession) -> hv.Overlay:
    """Draw the ratio to the reference by band: median, and where nine of ten pixels lie, of scene and region.

    Parameters
    ----------
    session : AtmosphereSession
        As it stands.

    Returns
    -------
    holoviews.Overlay
        Elements of group ``Median`` and ``Most``, labelled ``scene`` and ``region``; empty without a reference.
    """
    judged = session.statistics()
    tables = {} if judged is None else {"scene": judged.scene, "region": judged.region}
    elements: list[hv.Element] = [hv.HLine(1.0).opts(color=OBSERVED_COLOUR, line_width=1, backend="bokeh")]
    known = {name: table.drop("all") for name, table in tables.items() if table is not None}
    for number, (name, table) in enumerate(known.items()):
        places = np.arange(len(table)) + 1 + 0.18 * number
        look = {"color": METHOD_COLOURS[number], "backend": "bokeh"}
        below, above = table["ratio_median"] - table["ratio_p5"], table["ratio_p95"] - table["ratio_median"]
        bars = (places, table["ratio_median"], below, above)
        elements.append(hv.ErrorBars(bars, "place", ["ratio", "below", "above"], group="Most", label=name).opts(**look))
        points = hv.Scatter((places, table["ratio_median"]), "place", "ratio", group="Median", label=name)
        elements.append(points.opts(size=8, marker=_MARKERS[number], **look))
    bands = next(iter(known.values())).index if known else []
    return hv.Overlay(elements).opts(
        title=ratio_title(judged), xticks=[(n + 1, band) for n, band in enumerate(bands)], xlabel="", ylabel="ratio",
        width=560, height=260, show_grid=True, legend_position="top", legend_opts=_LEGEND, fontsize=_FONT_SIZES,
        toolbar=None, gridstyle={"grid_line_alpha": 0.35}, backend_opts=_QUIET, backend="bokeh",
    )  # fmt: skip


def spectrum_overlay(found: Spectrum) -> hv.Overlay:
    """Draw a pixel's `Spectrum`."""
    elements = [e.opts(**_look(e, found), backend="bokeh") for e in spectrum_elements(found)]
    return hv.Overlay(elements).opts(
        title=spectrum_title(found), xlabel=band_label(found), ylabel="reflectance", ylim=spectrum_range(found),
        xticks=band_ticks(found), xlim=(0.6, len(found.bands) + 0.4), width=560, height=360, show_grid=True,
        gridstyle={"grid_line_alpha": 0.35}, legend_position="top", legend_opts=_LEGEND, fontsize=_FONT_SIZES,
        default_tools=["save"], active_tools=[], toolbar="above", backend_opts=_QUIET, backend="bokeh",
    )  # fmt: skip


def spectrum_elements(found: Spectrum) -> list[hv.Element]:
    """Return the data of a `Spectrum` as elements without a look; the live chart sends just these."""
    elements: list[hv.Element] = []
    for name, line in found.lines.items():
        there = np.isfinite(line.mean)
        place = np.flatnonzero(there) + 1.0
        mean, low, high = (part[there] for part in (line.mean, line.low, line.high))
        if name not in _FIXED:
            elements.append(hv.Area((place, low, high), "place", ["low", "high"], group="Interval", label=name))
        elements.append(hv.Curve((place, mean), "place", "reflectance", group="Line", label=name))
        bands = [band for band, has in zip(found.bands, there, strict=True) if has]
        points = (place, mean, bands, (high - low) / 2)
        elements.append(hv.Scatter(points, "place", ["reflectance", "band", "half"], group="Points", label=name))
    return elements


def spectrum_title(found: Spectrum) -> str:
    """Say which pixel, when, and what is shaded."""
    row, col = found.pixel
    return f"Pixel row {row}, column {col}, {found.date}; shaded: {found.level:.0%} interval"


def spectrum_range(found: Spectrum) -> tuple[float, float]:
    """Return the value axis: all that is drawn, with a margin; 0 to 1 if nothing is."""
    values = np.concatenate([part for line in found.lines.values() for part in (line.mean, line.low, line.high)])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = min(float(values.min()), 0.0), float(values.max())
    return low - 0.02 * (high - low), high + 0.06 * max(high - low, 0.01)


def band_ticks(found: Spectrum) -> list[tuple[float, str]]:
    """Where bands stand and what is written there: their names and, where known, wavelengths."""
    return [
        (n + 1.0, band if np.isnan(nm) else f"{band}\n{nm:.0f}")
        for n, (band, nm) in enumerate(zip(found.bands, found.wavelengths, strict=True))
    ]


def band_label(found: Spectrum) -> str:
    """Name the axis of bands."""
    return "band" if np.isnan(found.wavelengths).any() else "band, and its wavelength (nm)"


def style_of(name: str, names: Any) -> tuple[str, str, str]:
    """Colour, dash and marker of a layer among all: never colour alone."""
    if name in _FIXED:
        return _FIXED[name]
    number = [other for other in names if other not in _FIXED].index(name)
    return METHOD_COLOURS[number], METHOD_DASHES[number][0], _MARKERS[number]


def ratio_title(judged: Judged | None) -> str:
    """Say what is compared, when, and of which pixels."""
    if judged is None:
        return "nothing to compare: choose a result as left or right map, and give a reference"
    thinned = f", of the scene 1 pixel of {judged.step} × {judged.step}" if judged.step > 1 else ""
    return f"{judged.name} / reference, {judged.date}{thinned}"


def judged_table(judged: Judged | None) -> str:
    """Return the numbers of a comparison as an HTML table: a row per band, scene and region beside each other."""
    tables = {} if judged is None else {"scene": judged.scene, "region": judged.region}
    known = {name: table for name, table in tables.items() if table is not None}
    caption = f"<caption>{escape(ratio_title(judged))}</caption>"
    if not known:
        empty = "" if judged is None else "<tbody><tr><td>no pixel has a value in both on this date</td></tr></tbody>"
        return f'<table class="s2koop-scores">{caption}{empty}</table>'
    parts = "".join(
        f'<th scope="colgroup" colspan="{len(_COLUMNS)}">{name} ({int(table.loc["all", "n"]):,} pairs)</th>'
        for name, table in known.items()
    )
    names = "".join(f'<th scope="col">{name}</th>' for _ in known for name, _ in _COLUMNS.values())
    rows = "".join(
        f'<tr><th scope="row">{escape(str(band))}</th>{"".join(_cells(table, band) for table in known.values())}</tr>'
        for band in next(iter(known.values())).index
    )
    head = f"<thead><tr><td></td>{parts}</tr><tr><th scope='col'>band</th>{names}</tr></thead>"
    return f'<table class="s2koop-scores">{caption}{head}<tbody>{rows}</tbody></table>'


def atmosphere_figure(session: AtmosphereSession) -> Figure:
    """Draw what a session shows by Matplotlib: the maps, and the spectrum of the pixel; the still twin.

    Parameters
    ----------
    session : AtmosphereSession
        Read as it stands.

    Returns
    -------
    matplotlib.figure.Figure
        11 inches wide.

    Raises
    ------
    MissingDependencyError
        If Matplotlib is not installed.
    """
    figure = _figure(11, 6.4)
    frames = [session.frames(name) for name in (session.left, session.right)]
    ratio = session.ratio_frames()
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1))  # type: ignore[misc]
    axes = upper.subplots(1, 3 if ratio is not None else 2, sharey=True)
    for ax, stack in zip(axes, frames, strict=False):
        _still_map(ax, session, stack, "reflectance")
    if ratio is not None:
        upper.colorbar(_still_map(axes[2], session, ratio, "ratio"), ax=axes[2], shrink=0.8)
    found = session.spectrum()
    ax = lower.subplots()
    for name, line in found.lines.items():
        _still_line(ax, name, line, found)
    ax.set_xticks(*zip(*band_ticks(found), strict=True), fontsize=8)
    ax.set_title(spectrum_title(found), fontsize=10)
    ax.set_ylabel("reflectance", fontsize=9)
    ax.set_ylim(*spectrum_range(found))
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    lower.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def _cells(table: pd.DataFrame, band: Any) -> str:
    cells = (
        "<td></td>" if band not in table.index or pd.isna(table.loc[band, key]) else
        f"<td>{form.format(table.loc[band, key])}</td>"
        for key, (_, form) in _COLUMNS.items()
    )  # fmt: skip
    return "".join(cells)


def _look(element: hv.Element, found: Spectrum) -> dict[str, Any]:
    colour, dash, marker = style_of(element.label, found.lines)
    if element.group == "Interval":
        return {"color": colour, "alpha": 0.16, "line_alpha": 0}
    if element.group == "Line":
        return {"color": colour, "line_dash": dash, "line_width": 2}
    tips = [("", element.label), ("band", "@band"), ("reflectance", "@reflectance{0.0000}"), ("±", "@half{0.0000}")]
    return {"color": colour, "marker": marker, "size": 7, "tools": ["hover"], "hover_tooltips": tips}


def _map(session: AtmosphereSession, frames: Frames) -> hv.Element:
    if frames.levels.ndim == 3:
        return _image(session, frames, "reflectance")
    colours = frames.levels[session.time]
    missing = np.frombuffer(bytes.fromhex(missing_colour("colour")[1:]), np.uint8)
    shown = np.where((colours == 0).any(axis=-1, keepdims=True), missing, colours)
    values = (*_axes(session, frames), *np.moveaxis(shown, -1, 0))
    return hv.RGB(values, _dims(session)).opts(title=_title(session, frames), **_frame(session))


def _image(session: AtmosphereSession, frames: Frames, quantity: Any) -> hv.Image:
    values = decode(frames.levels[session.time], frames.low, frames.high)
    name = "ratio" if quantity == "ratio" else f"{frames.band} reflectance"
    return hv.Image((*_axes(session, frames), values), _dims(session), hv.Dimension("value", label=name)).opts(
        title=_title(session, frames), cmap=palette(quantity), clim=(frames.low, frames.high), colorbar=True,
        clipping_colors={"NaN": missing_colour(quantity)}, tools=["hover"], **_frame(session),
    )  # fmt: skip


def _axes(session: AtmosphereSession, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    return session.cube["x"].values[:: frames.stride], session.cube["y"].values[:: frames.stride]


def _dims(session: AtmosphereSession) -> list[hv.Dimension]:
    return [hv.Dimension(dim, label=axis_label(session.cube, dim)) for dim in ("x", "y")]


def _title(session: AtmosphereSession, frames: Frames) -> str:
    return f"{frames.product}, {frames.band}, {session.labels[session.time]}"


def _frame(session: AtmosphereSession) -> dict[str, Any]:
    rows, cols = session.shape
    return {
        "frame_width": _MAP_WIDTH, "frame_height": int(np.clip(round(_MAP_WIDTH * rows / cols), 80, 700)),
        "xformatter": "%d", "yformatter": "%d", "xticks": 3, "yticks": 4, "fontsize": _FONT_SIZES, "toolbar": "above",
        "default_tools": ["pan", "wheel_zoom", "save", "reset"],
        "backend_opts": _QUIET | {"plot.sizing_mode": None}, "backend": "bokeh",
    }  # fmt: skip


def _still_map(ax: Axes, session: AtmosphereSession, frames: Frames, quantity: Any) -> Any:
    from matplotlib.colors import ListedColormap

    shown = frames.levels[session.time]
    extent = _extent(session.cube.isel(time=0, band=0))
    ax.set_title(_title(session, frames), fontsize=9)
    ax.tick_params(labelsize=7)
    ax.locator_params(nbins=4)
    ax.ticklabel_format(useOffset=False, style="plain")
    if shown.ndim == 3:
        return ax.imshow(shown, extent=extent, interpolation="nearest")
    colours = ListedColormap(palette(quantity)).with_extremes(bad=missing_colour(quantity))
    values = decode(shown, frames.low, frames.high)
    return ax.imshow(
        values, extent=extent, cmap=colours, vmin=frames.low, vmax=frames.high, interpolation="nearest"
    )  # fmt: skip


def _still_line(ax: Axes, name: str, line: Line, found: Spectrum) -> None:
    colour, dash, marker = style_of(name, found.lines)
    there = np.isfinite(line.mean)
    place = np.flatnonzero(there) + 1.0
    if name not in _FIXED:
        ax.fill_between(place, line.low[there], line.high[there], color=colour, alpha=0.16, linewidth=0)
    ax.plot(
        place, line.mean[there], _STILL[dash], color=colour, marker=_STILL[marker], markersize=4.5, linewidth=1.4,
        label=name,
    )  # fmt: skip

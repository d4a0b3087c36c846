"""A comparison as pictures, live and still: maps of ratios, densities of pairs, histograms of ratios; and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop._crs import axis_label
from s2koop.ac.compare import RATIO_EDGES, SPECIFICATION
from s2koop.errors import InputError
from s2koop.plots._style import METHOD_COLOURS, OBSERVED_COLOUR, date_text, missing_colour, palette
from s2koop.plots.figures import _extent, _figure, _image, _map_axes
from s2koop.plots.report import write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from s2koop.ac.compare import Comparison

#: Ratios that maps and histograms show; the palette of the first diverges from 1.
_MAPPED, _COUNTED = (0.8, 1.2), (0.5, 1.5)
#: Pixels of a map along its longer side, and bins of the table of ratios that a bar holds.
_MAP_PIXELS, _BINS_OF_A_BAR = 300, 20
_LOOK: dict[str, Any] = {
    "fontsize": {"title": "10pt", "labels": "9pt", "ticks": "8pt"}, "frame_width": 300, "frame_height": 300,
    "toolbar": "above", "default_tools": ["pan", "wheel_zoom", "save", "reset"],
    "backend_opts": {"plot.toolbar.logo": None, "plot.sizing_mode": None}, "backend": "bokeh",
}  # fmt: skip
_WORDS = (
    "Ratios are result over reference, where the reference is above the least reflectance. Bias, precision and RMSE "
    "are accuracy, precision and uncertainty of the difference; in_spec is the share of pairs that differ by at most "
    "0.05 rho + 0.005.",
    "The row of all leaves B09 out. A median ratio near 1 does not mean small errors: look at the 5th and 95th "
    "percentile and the RMSE beside it.",
)


class _Panels(NamedTuple):
    """What is drawn of a band."""

    band: str
    ratio: xr.DataArray
    density: xr.DataArray
    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    row: pd.Series

    @property
    def most(self) -> float:
        """End of the axes of the density."""
        return float(self.density["reference"][-1])

    def titles(self) -> tuple[str, str, str]:
        when = f", {date_text(self.ratio['time'].values)}" if "time" in self.ratio.coords else ""
        row = self.row
        return (
            f"{self.band}: result over reference{when}",
            f"{self.band}: bias {row['bias']:+.4f}, RMSE {row['rmse']:.4f}, {row['in_spec']:.0%} inside",
            f"{self.band}: median {row['ratio_median']:.3f}, 90 % in {row['ratio_p5']:.2f} to {row['ratio_p95']:.2f}",
        )


def layout(found: Comparison, bands: Sequence[str] | None, date: int) -> hv.Layout:
    """Three plots for each band; see `Comparison.plot`."""
    rows = [
        plot for panels in _all_panels(found, bands, date) for plot in (_map(panels), _pairs(panels), _bars(panels))
    ]
    return hv.Layout(rows).cols(3).opts(shared_axes=False, backend="bokeh")


def write_page(found: Comparison, path: Path, title: str, attrs: Mapping[str, Any]) -> Path:
    """The whole validation on one page; see `Comparison.report`."""
    made = ", ".join(f"{name} {value}" for name, value in attrs.items() if str(name).startswith(("ac_", "aerosol")))
    every = _all_panels(found, None, 0)
    return write_report(
        path,
        title=title,
        text=[*_WORDS, *([f"Result: {made}."] if made else [])],
        figures={f"{panels.band}: ratio, pairs of values, histogram of ratios": _still(panels) for panels in every},
        tables={
            "By band": found.table,
            "Accuracy, precision and uncertainty by band and reflectance of the reference": found.apu,
        },
    )


def _all_panels(found: Comparison, bands: Sequence[str] | None, date: int) -> list[_Panels]:
    known = [str(band) for band in found.reference["band"].values]
    chosen = known if bands is None else [str(band) for band in bands]
    unknown = [band for band in chosen if band not in known]
    if unknown or not chosen:
        raise InputError(f"bands {unknown} were not compared; choose among {', '.join(known)}")
    dates = found.reference.sizes.get("time", 1)
    if not -dates <= date < dates:
        raise InputError(f"date={date} is none of the {dates} that were compared")
    maps = _ratios(found, chosen, date)
    return [_panels(found, band, maps.sel(band=band)) for band in chosen]


def _ratios(found: Comparison, bands: Sequence[str], date: int) -> xr.DataArray:
    """Ratios (band, y, x) of one date, every so many pixels."""
    pair = [values.sel(band=list(bands)) for values in (found.result, found.reference)]
    if "time" in pair[0].dims:
        pair = [values.isel(time=date) for values in pair]
    step = max(1, *(-(-pair[0].sizes[dim] // _MAP_PIXELS) for dim in ("y", "x")))
    ours, theirs = (values.isel(y=slice(None, None, step), x=slice(None, None, step)) for values in pair)
    ratio = (ours / theirs.where(theirs > found.minimum)).compute()
    bare = {dim: np.arange(ratio.sizes[dim]) for dim in ("y", "x") if dim not in ratio.coords}
    return ratio.assign_coords(bare)


def _panels(found: Comparison, band: str, ratio: xr.DataArray) -> _Panels:
    counts = found.density.sel(band=band)
    used = np.flatnonzero((counts.sum("reference").values + counts.sum("result").values) > 0)
    most = int(used[-1]) + 2 if used.size else counts.sizes["reference"]
    part = counts.isel(reference=slice(0, most), result=slice(0, most)).transpose("result", "reference")
    edges = RATIO_EDGES[::_BINS_OF_A_BAR]
    shown = (edges[:-1] > _COUNTED[0] - 1e-9) & (edges[1:] < _COUNTED[1] + 1e-9)
    first, last = np.flatnonzero(shown)[[0, -1]]
    bars = found.ratios.sel(band=band).values.reshape(-1, _BINS_OF_A_BAR).sum(axis=1)
    return _Panels(
        band, ratio, part.where(part > 0), edges[first : last + 2], bars[first : last + 1], found.table.loc[band]
    )


def _map(panels: _Panels) -> hv.Image:
    dims = [hv.Dimension(dim, label=axis_label(panels.ratio, dim)) for dim in ("x", "y")]
    values = (panels.ratio["x"].values, panels.ratio["y"].values, panels.ratio.values)
    return hv.Image(values, dims, hv.Dimension("ratio"), group="Ratio", label=panels.band).opts(
        cmap=palette("ratio"), clim=_MAPPED, clipping_colors={"NaN": missing_colour("ratio")}, colorbar=True,
        tools=["hover"], title=panels.titles()[0], xformatter="%d", yformatter="%d", xticks=3, yticks=4, **_LOOK,
    )  # fmt: skip


def _pairs(panels: _Panels) -> hv.Overlay:
    places = (panels.density["reference"].values, panels.density["result"].values)
    image = hv.Image((*places, panels.density.values), ["reference", "result"], "pairs", group="Density",
                     label=panels.band).opts(cmap="cividis", cnorm="log", tools=["hover"], backend="bokeh")  # fmt: skip
    lines = [
        hv.Curve(line, "reference", "result", group=group).opts(
            line_width=1.2, line_dash=dash, color=OBSERVED_COLOUR, backend="bokeh"
        )
        for group, dash, line in _lines(panels)
    ]
    return hv.Overlay([image, *lines]).opts(
        title=panels.titles()[1], xlabel="reference", ylabel="result", xlim=(0, panels.most), ylim=(0, panels.most),
        **_LOOK,
    )  # fmt: skip


def _lines(panels: _Panels) -> list[tuple[str, str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]]:
    """Equality, and the specification around it."""
    ends = np.array([0.0, panels.most])
    allowed = SPECIFICATION[0] + SPECIFICATION[1] * ends
    return [
        ("Equal", "solid", (ends, ends)),
        ("Specification", "dashed", (ends, ends - allowed)),
        ("Specification", "dashed", (ends, ends + allowed)),
    ]


def _bars(panels: _Panels) -> hv.Overlay:
    bars = hv.Histogram((panels.edges, panels.counts), kdims="ratio", vdims="pairs", group="Ratios", label=panels.band)
    elements = [
        bars.opts(fill_color=METHOD_COLOURS[0], line_width=0, alpha=0.75, backend="bokeh"),
        hv.VLine(1.0).opts(color=OBSERVED_COLOUR, line_width=1.2, backend="bokeh"),
    ]
    if np.isfinite(panels.row["ratio_median"]):
        median = hv.VLine(float(panels.row["ratio_median"]))
        elements.append(median.opts(color=METHOD_COLOURS[1], line_width=1.5, line_dash="dashed", backend="bokeh"))
    return hv.Overlay(elements).opts(title=panels.titles()[2], xlabel="result over reference", ylabel="pairs", **_LOOK)


def _still(panels: _Panels) -> Figure:
    """The three plots of a band by Matplotlib."""
    from matplotlib.colors import LogNorm

    figure = _figure(11, 3.4)
    axes = figure.subplots(1, 3)
    for ax, title in zip(axes, panels.titles(), strict=True):
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=8)
    shown = _image(axes[0], panels.ratio, _extent(panels.ratio), _MAPPED, "ratio")
    figure.colorbar(shown, ax=axes[0], shrink=0.85)
    _map_axes(axes[:1], panels.ratio)
    ends = (0, panels.most)
    axes[1].imshow(panels.density.values, extent=(*ends, *ends), origin="lower", cmap="cividis", norm=LogNorm())
    for _, dash, line in _lines(panels):
        axes[1].plot(*line, color=OBSERVED_COLOUR, linewidth=1, linestyle=dash)
    axes[1].set(xlim=ends, ylim=ends, xlabel="reference", ylabel="result")
    axes[2].stairs(panels.counts, panels.edges, fill=True, color=METHOD_COLOURS[0], alpha=0.75)
    axes[2].axvline(1.0, color=OBSERVED_COLOUR, linewidth=1.2)
    axes[2].axvline(panels.row["ratio_median"], color=METHOD_COLOURS[1], linewidth=1.5, linestyle="dashed")
    axes[2].set(xlabel="result over reference", ylabel="pairs")
    return figure

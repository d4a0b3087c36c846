"""A comparison as pictures: maps of ratios, densities of pairs, histograms of ratios; and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import pandas as pd

from s2koop._crs import axis_label
from s2koop.errors import InputError
from s2koop.plots._style import METHOD_COLOURS, NO_DATA_COLOUR, OBSERVED_COLOUR, date_text
from s2koop.plots.html import save_html

if TYPE_CHECKING:
    from s2koop.ac.compare import Comparison

#: Ratios of maps and histograms that are shown.
_RATIOS = (0.8, 1.2)
#: Pixels of a map along its longer side.
_MAP_PIXELS = 300
_SIZE = 300
_FONT_SIZES = {"title": "10pt", "labels": "9pt", "ticks": "8pt"}
_LOOK: dict[str, Any] = {
    "fontsize": _FONT_SIZES, "frame_width": _SIZE, "frame_height": _SIZE, "toolbar": "above",
    "default_tools": ["pan", "wheel_zoom", "save", "reset"], "backend_opts": {"plot.toolbar.logo": None},
    "backend": "bokeh",
}  # fmt: skip
_STYLE = """<style>table{border-collapse:collapse;font:13px system-ui,"DejaVu Sans",sans-serif}
th,td{padding:4px 10px;text-align:right;border:0;border-bottom:1px solid #ddd;white-space:nowrap}
thead th{border-bottom:2px solid #1a1a1a} tbody th{text-align:left} h1{font-size:22px} h2{font-size:16px}
p,h1,h2{font-family:system-ui,"DejaVu Sans",sans-serif}</style>"""


def layout(found: Comparison, bands: Sequence[str] | None, date: int) -> hv.Layout:
    """Three plots for each band; see `Comparison.plot`."""
    known = [str(band) for band in found.reference["band"].values]
    chosen = known if bands is None else [str(band) for band in bands]
    unknown = [band for band in chosen if band not in known]
    if unknown or not chosen:
        raise InputError(f"bands {unknown} were not compared; choose among {', '.join(known)}")
    dates = found.reference.sizes.get("time", 1)
    if not -dates <= date < dates:
        raise InputError(f"date={date} is none of the {dates} that were compared")
    rows = [
        plot for band in chosen for plot in (_map(found, band, date), _density(found, band), _histogram(found, band))
    ]
    return hv.Layout(rows).cols(3).opts(shared_axes=False, backend="bokeh")


def _map(found: Comparison, band: str, date: int) -> hv.Image:
    """The ratio of one band on one date, every so many pixels."""
    pair = [values.sel(band=band) for values in (found.result, found.reference)]
    when = ""
    if "time" in pair[0].dims:
        pair = [values.isel(time=date) for values in pair]
        when = f", {date_text(pair[1]['time'].values)}" if "time" in pair[1].coords else ""
    step = max(1, *(-(-pair[0].sizes[dim] // _MAP_PIXELS) for dim in ("y", "x")))
    ours, theirs = (values.isel(y=slice(None, None, step), x=slice(None, None, step)) for values in pair)
    ratio = (ours / theirs.where(theirs > 0)).compute()
    places = [ratio[dim].values if dim in ratio.coords else np.arange(ratio.sizes[dim]) for dim in ("x", "y")]
    dims = [hv.Dimension(dim, label=axis_label(found.reference, dim)) for dim in ("x", "y")]
    return hv.Image((*places, ratio.values), dims, hv.Dimension("ratio"), group="Ratio", label=band).opts(
        cmap="RdBu_r", clim=_RATIOS, clipping_colors={"NaN": NO_DATA_COLOUR}, colorbar=True, tools=["hover"],
        title=f"{band}: result over reference{when}", xformatter="%d", yformatter="%d", xticks=3, yticks=4, **_LOOK,
    )  # fmt: skip


def _density(found: Comparison, band: str) -> hv.Overlay:
    """How many pairs have which values, the line of equality, and the two of the specification."""
    from s2koop.ac.compare import SPECIFICATION

    counts = found.density.sel(band=band)
    used = np.flatnonzero((counts.sum("reference") + counts.sum("result").values).values)
    most = float(counts["reference"][min(int(used.max()) + 1, counts.sizes["reference"] - 1)]) if used.size else 1.0
    part = counts.sel(reference=slice(0, most), result=slice(0, most))
    shown = part.where(part > 0).T
    image = hv.Image((part["reference"].values, part["result"].values, shown.values), ["reference", "result"], "pairs",
                     group="Density", label=band)  # fmt: skip
    line = np.array([0.0, most])
    constant, relative = SPECIFICATION
    ink = {"color": OBSERVED_COLOUR, "backend": "bokeh"}
    lines = [
        hv.Curve((line, line), "reference", "result", group="Equal").opts(line_width=1.2, **ink),
        *(
            hv.Curve(
                (line, line + sign * (constant + relative * line)), "reference", "result", group="Specification"
            ).opts(line_width=1, line_dash="dashed", **ink)
            for sign in (-1, 1)
        ),
    ]
    row = found.table.loc[band]
    return (image.opts(cmap="cividis", cnorm="log", tools=["hover"], backend="bokeh") * hv.Overlay(lines)).opts(
        title=f"{band}: bias {row['bias']:+.4f}, RMSE {row['rmse']:.4f}, {row['in_spec']:.0%} inside",
        xlabel="reference", ylabel="result", xlim=(0, most), ylim=(0, most), **_LOOK,
    )  # fmt: skip


def _histogram(found: Comparison, band: str) -> hv.Overlay:
    """Ratios of one band, their median, and 1."""
    from s2koop.ac.compare import RATIO_EDGES

    counts = found.ratios.sel(band=band).values.reshape(-1, 20).sum(axis=1)
    edges = RATIO_EDGES[::20]
    shown = (edges[:-1] >= 0.5 - 1e-9) & (edges[1:] <= 1.5 + 1e-9)
    first = int(np.argmax(shown))
    bars = hv.Histogram((edges[first : first + int(shown.sum()) + 1], counts[shown]), kdims="ratio", vdims="pairs",
                        group="Ratios", label=band)  # fmt: skip
    row = found.table.loc[band]
    elements = [bars.opts(fill_color=METHOD_COLOURS[0], line_width=0, alpha=0.75, backend="bokeh")]
    elements.append(hv.VLine(1.0).opts(color=OBSERVED_COLOUR, line_width=1.2, backend="bokeh"))
    if np.isfinite(row["ratio_median"]):
        median = hv.VLine(float(row["ratio_median"]))
        elements.append(median.opts(color=METHOD_COLOURS[1], line_width=1.5, line_dash="dashed", backend="bokeh"))
    return hv.Overlay(elements).opts(
        title=f"{band}: median {row['ratio_median']:.3f}, 90 % in {row['ratio_p5']:.2f} to {row['ratio_p95']:.2f}",
        xlabel="result over reference", ylabel="pairs", **_LOOK,
    )  # fmt: skip


def write_page(found: Comparison, path: Path, title: str, attrs: Mapping[str, Any]) -> Path:
    """The whole validation on one page; see `Comparison.report`."""
    made = ", ".join(f"{name} {value}" for name, value in attrs.items() if str(name).startswith(("ac_", "aerosol")))
    words = (
        "Ratios are result over reference, where the reference is above the least reflectance. Bias, precision and "
        "RMSE are accuracy, precision and uncertainty of the difference; in_spec is the share of pairs that differ by "
        "at most 0.05 rho + 0.005. The row of all leaves B09 out. A median ratio near 1 does not mean small errors: "
        "look at the 5th and 95th percentile and the RMSE beside it."
    )
    head = f"<h1>{escape(title)}</h1><p>{escape(words)}</p>" + (f"<p>{escape(made)}</p>" if made else "")
    wide = {"width": 1000, "backend": "bokeh"}
    return save_html(
        hv.Div(_STYLE + head + _html(found.table)).opts(**wide),
        found.plot(),
        hv.Div(_STYLE + "<h2>Accuracy, precision and uncertainty by reflectance</h2>" + _html(found.apu)).opts(**wide),
        path=path,
        title=title,
    )


def _html(table: pd.DataFrame) -> str:
    return str(table.to_html(border=0, float_format="{:.4f}".format, na_rep="–", escape=True))

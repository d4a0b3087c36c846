"""Surface reflectance against a reference, as the intercomparisons of correction methods judge it.

A scene is read block by block, twice: what is counted are sums and histograms, from which nearly all numbers follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop._align import align
from s2koop._digital import warn_digital_numbers
from s2koop._numbers import real
from s2koop.errors import InputError
from s2koop.scores import sam, ssim

if TYPE_CHECKING:
    import holoviews as hv

Array = npt.NDArray[Any]

#: Constant and relative part of the specification line: errors up to ``0.005 + 0.05 rho`` are within.
SPECIFICATION = (0.005, 0.05)
#: Edges of the histogram of ratios; the outer bins hold what lies beyond.
RATIO_EDGES: Array = np.linspace(0.0, 3.0, 6001)
#: Edges of the bins of reference reflectance of accuracy, precision and uncertainty.
BIN_EDGES: Array = np.linspace(0.0, 1.0, 21)
#: Edges of the density of pairs, in both directions.
DENSITY_EDGES: Array = np.linspace(0.0, 1.0, 201)
#: The band that is left out of the row of all: its surface is known no better than the water vapour.
_LEFT_OUT = "B09"
_SUMS = ("n", "difference", "square", "absolute", "inside")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    table : DataFrame
        A row per band, and ``"all"`` of them (without B09): number of pairs ``n``; median, interquartile range, 5th and
        95th percentile of the ratio to the reference, ``ratio_*``; mean (``bias``, the accuracy), standard deviation
        (``precision``) and root mean square (``rmse``, the uncertainty) of the difference; ``mae``; share ``in_spec``
        of pairs that differ by at most ``0.05 rho + 0.005``; ``ssim``; and the spectral angle ``sam`` (degrees, in the
        last row). Percentiles are those of a histogram with bins of 0.0005, from 0 to 3.
    apu : DataFrame
        By ``band`` and ``reflectance`` (middle of a bin of the reference): ``n``, ``accuracy``, ``precision``,
        ``uncertainty``, the ``specification`` line, and ``in_spec``.
    ratios : DataArray (band, ratio)
        Number of pairs by ratio.
    density : DataArray (band, reference, result)
        Number of pairs by both values.
    result, reference : DataArray
        What was compared, on common dates, bands and pixels.
    minimum : float
        Ratios were taken where the reference is above this.

    Examples
    --------
    >>> truth = xr.DataArray(np.linspace(0.1, 0.4, 256).reshape(1, 16, 16), dims=("band", "y", "x"),
    ...                      coords={"band": ["B04"]})
    >>> found = compare(truth + 0.01, truth)
    >>> found.table.loc["B04", ["bias", "rmse"]].round(4).tolist()
    [0.01, 0.01]
    """

    table: pd.DataFrame
    apu: pd.DataFrame
    ratios: xr.DataArray
    density: xr.DataArray
    result: xr.DataArray
    reference: xr.DataArray
    minimum: float

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.table) - 1} bands>\n{self.table.round(4).to_string()}"

    def _repr_html_(self) -> str:
        return str(self.table.to_html(border=0, float_format="{:.4f}".format, na_rep="–"))

    def plot(self, bands: Sequence[str] | None = None, *, date: int = 0) -> hv.Layout:
        """Draw, for each band, a map of the ratio, the density of pairs, and the histogram of ratios.

        Parameters
        ----------
        bands : sequence of str, optional
            All by default.
        date : int
            Number of the date whose ratio is mapped, where there are several.

        Returns
        -------
        holoviews.Layout
            Three columns, a row per band.

        Raises
        ------
        InputError
            If a band or the date was not compared.
        """
        from s2koop.ac.compare_plots import layout

        return layout(self, bands, date)

    def report(self, path: str | Path, *, title: str | None = None, attrs: Mapping[str, Any] | None = None) -> Path:
        """Write tables and plots to one HTML page that needs no network.

        Parameters
        ----------
        path : str or Path
            The file to write; its folder must exist.
        title : str, optional
            Heading of the page.
        attrs : mapping, optional
            What to say of how the result was made.

        Returns
        -------
        Path
            The file.
        """
        from s2koop.ac.compare_plots import write_page

        return write_page(self, Path(path), title or "Surface reflectance against a reference", attrs or {})


def compare(result: xr.DataArray, reference: xr.DataArray, *, minimum: float = 0.02) -> Comparison:
    """Compare; parameters as `s2koop.ac.accessor.AtmosphereAccessor.compare`.

    References
    ----------
    Doxani et al. (2018), Atmospheric Correction Inter-Comparison Exercise, Remote Sensing 10(2), 352: accuracy,
    precision, uncertainty and the specification line.
    """
    least = real("minimum", minimum, least=0)
    found, truth = _pairs(result, reference)
    bands = [str(band) for band in truth["band"].values]
    over = [dim for dim in truth.dims if dim != "band"]
    pooled = [at for at, band in enumerate(bands) if band != _LEFT_OUT] or list(range(len(bands)))
    # Two passes: in one, all blocks would wait in memory for the range of their image.
    shown = truth.where(found.notnull())
    counted, width = dask.compute(_counted(found, truth, least), shown.max(("y", "x")) - shown.min(("y", "x")))
    if not counted[:, 0].any():
        raise InputError("there is no pixel with a value in both the result and the reference")
    similar, angle = dask.compute(
        ssim(found, truth, dim=over, data_range=width), sam(found[{"band": pooled}], truth[{"band": pooled}])
    )
    sums, ratios, bins, density = _split(counted)
    table = pd.DataFrame([_row(*parts) for parts in zip(sums, ratios, strict=True)], index=pd.Index(bands, name="band"))
    table["ssim"] = similar.values
    table["sam"] = np.nan
    last = _row(sums[pooled].sum(axis=0), ratios[pooled].sum(axis=0))
    table.loc["all"] = {**last, "ssim": table["ssim"].iloc[pooled].mean(), "sam": float(angle)}
    return Comparison(
        table=table.astype({"n": int}),
        apu=_apu(bands, bins),
        ratios=xr.DataArray(ratios, dims=("band", "ratio"), coords={"band": bands, "ratio": _middles(RATIO_EDGES)}),
        density=xr.DataArray(
            density, dims=("band", "reference", "result"),
            coords={"band": bands, "reference": _middles(DENSITY_EDGES), "result": _middles(DENSITY_EDGES)},
        ),
        result=found,
        reference=truth,
        minimum=least,
    )  # fmt: skip


def _pairs(result: Any, reference: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Both on common dates, bands and pixels, in one order of dims."""
    for name, values in (("the result", result), ("the reference", reference)):
        if not isinstance(values, xr.DataArray):
            raise InputError(f"{name} is a {type(values).__name__}; expected a DataArray, or a Dataset with mean")
        strange = set(values.dims) - {"time", "band", "y", "x"}
        if strange or not {"band", "y", "x"} <= set(values.dims) or "band" not in values.coords:
            raise InputError(f"{name} has dims {tuple(values.dims)}; expected ([time], band, y, x) with names of bands")
        if values.attrs.get("level") == "TOA":
            raise InputError(f"{name} is reflectance at the top of the atmosphere; correct it first with ac.invert")
    theirs = [str(band) for band in reference["band"].values]
    shared = [band for band in theirs if band in [str(own) for own in result["band"].values]]
    if not shared:
        raise InputError(
            f"the result has bands {list(result['band'].values)}, the reference {theirs}: none in common; "
            "ac.to_sensor makes one sensor's bands of another's"
        )
    truth = reference.isel(band=[theirs.index(band) for band in shared])
    aligned, truth = align({"result": result}, truth)
    order = [dim for dim in ("time", "band", "y", "x") if dim in truth.dims]
    found = xr.DataArray(aligned["result"]).transpose(*order)
    truth = truth.transpose(*order)
    warn_digital_numbers(found, "the result")
    warn_digital_numbers(truth, "the reference")
    return found, truth


def _counted(found: xr.DataArray, truth: xr.DataArray, least: float) -> Any:
    """What `_tally` counts, over all blocks: (band, number), to be computed where a scene is lazy."""
    if found.chunks is None and truth.chunks is None:
        return _tally(found.values, truth.values, least)
    both = [values if values.chunks is not None else values.chunk() for values in (found, truth)]
    blocks = [values.chunk({"band": -1}).data.to_delayed().ravel() for values in xr.unify_chunks(*both)]
    tally = dask.delayed(_tally, pure=True)
    parts = [tally(ours, theirs, least) for ours, theirs in zip(*blocks, strict=True)]
    add = dask.delayed(_added, pure=True)
    while len(parts) > 1:  # in small groups, so that few tallies are in memory at once
        parts = [add(parts[start : start + 8]) for start in range(0, len(parts), 8)]
    return parts[0]


def _added(parts: Iterable[Array]) -> Array:
    return np.sum(list(parts), axis=0)


def _tally(found: Array, truth: Array, least: float) -> Array:
    """Sums and histograms (band, number) of blocks ([time], band, y, x)."""
    axis = found.ndim - 3
    rows = []
    for band in range(found.shape[axis]):
        ours, theirs = (np.take(values, band, axis).ravel().astype(np.float64) for values in (found, truth))
        there = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[there], theirs[there]
        error = ours - theirs
        inside = np.abs(error) <= SPECIFICATION[0] + SPECIFICATION[1] * np.abs(theirs)
        terms = np.stack([np.ones_like(error), error, error**2, np.abs(error), inside])
        bright = theirs > least
        place = np.clip(np.digitize(theirs, BIN_EDGES) - 1, 0, len(BIN_EDGES) - 2)
        bins = [np.bincount(place, weights=term, minlength=len(BIN_EDGES) - 1) for term in terms]
        grid, *_ = np.histogram2d(theirs, ours, bins=(DENSITY_EDGES, DENSITY_EDGES))
        ratio = np.clip(ours[bright] / theirs[bright], RATIO_EDGES[0], RATIO_EDGES[-1])
        histogram, _ = np.histogram(ratio, RATIO_EDGES)
        rows.append(np.concatenate([terms.sum(axis=1), histogram, np.ravel(bins), grid.ravel()]))
    return np.stack(rows)


def _split(counted: Array) -> tuple[Array, Array, Array, Array]:
    """Sums, ratios, bins and density of what was counted."""
    bands, cells = len(counted), len(DENSITY_EDGES) - 1
    ends = np.cumsum([len(_SUMS), len(RATIO_EDGES) - 1, len(_SUMS) * (len(BIN_EDGES) - 1)])
    sums, ratios, bins, density = np.split(counted, ends, axis=1)
    return sums, ratios, bins.reshape(bands, len(_SUMS), -1), density.reshape(bands, cells, cells)


def _row(sums: Array, ratios: Array) -> dict[str, float]:
    """The numbers of a band."""
    median, low, high, first, last = _percentiles(ratios, (0.5, 0.25, 0.75, 0.05, 0.95))
    accuracy, precision, uncertainty, absolute, inside = _moments(sums)
    return {
        "n": sums[0], "ratio_median": median, "ratio_iqr": high - low, "ratio_p5": first, "ratio_p95": last,
        "bias": float(accuracy), "precision": float(precision), "rmse": float(uncertainty), "mae": float(absolute),
        "in_spec": float(inside),
    }  # fmt: skip


def _moments(sums: Array) -> Array:
    """Mean, standard deviation, root mean square and mean absolute difference, and share inside (5, ...)."""
    number, difference, square, absolute, inside = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, power = difference / number, square / number
        return np.stack(
            [mean, np.sqrt(np.maximum(power - mean**2, 0)), np.sqrt(power), absolute / number, inside / number]
        )


def _percentiles(histogram: Array, shares: Sequence[float]) -> list[float]:
    """Percentiles from a histogram of ratios, linear within a bin; NaN where it is empty."""
    total = np.concatenate([[0.0], np.cumsum(histogram)])
    if not total[-1]:
        return [np.nan] * len(shares)
    found = []
    for share in shares:
        wanted = share * total[-1]
        at = int(np.clip(np.searchsorted(total, wanted, side="left"), 1, len(total) - 1))
        part = (wanted - total[at - 1]) / (total[at] - total[at - 1])
        found.append(float(RATIO_EDGES[at - 1] + part * (RATIO_EDGES[at] - RATIO_EDGES[at - 1])))
    return found


def _apu(bands: Sequence[str], bins: Array) -> pd.DataFrame:
    """Accuracy, precision and uncertainty by band and reflectance, where there are pairs."""
    middle = _middles(BIN_EDGES)
    frames = []
    for band, sums in zip(bands, bins, strict=True):
        accuracy, precision, uncertainty, _, inside = _moments(sums)
        frame = pd.DataFrame(
            {
                "band": band, "reflectance": middle, "n": sums[0].astype(int), "accuracy": accuracy,
                "precision": precision, "uncertainty": uncertainty,
                "specification": SPECIFICATION[0] + SPECIFICATION[1] * middle, "in_spec": inside,
            }
        )  # fmt: skip
        frames.append(frame[frame["n"] > 0])
    return pd.concat(frames).set_index(["band", "reflectance"])


def _middles(edges: Array) -> Array:
    return (edges[1:] + edges[:-1]) / 2

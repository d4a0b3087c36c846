"""How good a result is: error, bias, CRPS, coverage and spread/skill, and one fair table of several results.

Every score is a function ``score(result, observations, *, dim=None)`` on xarray objects that lie on the same
dates and grid: `result` is a Dataset with ``mean`` and ``spread`` (and a variable with a ``member`` dimension
if the method has members), or a DataArray for a bare point forecast (with members if it has that dimension).
Pairs in which a value is missing are left out, sums run in float64, and dask-backed input stays lazy.
`evaluate` aligns results with observations first, and compares methods on the same pairs only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from s2koop._align import Result, align, parts
from s2koop._array_checks import check_array
from s2koop._digital import warn_digital_numbers
from s2koop._fill import masked
from s2koop._reliability import calibration_table, rank_histogram
from s2koop.errors import InputError

__all__ = [
    "SCORES",
    "Score",
    "bias",
    "calibration_table",
    "coverage",
    "coverage_score",
    "crps",
    "evaluate",
    "mae",
    "mark_best",
    "rank_histogram",
    "rmse",
    "sam",
    "spread_skill",
    "ssim",
]

Dim = str | Collection[Hashable] | None

#: Pixels from the middle of a window of structural similarity to its edge.
_HALF_WINDOW = 5


def __dir__() -> list[str]:
    """Show what there is to use, and not what this module imports."""
    return __all__


@dataclass(frozen=True)
class Score:
    """What a score is called, how to compute it, and which way is better.

    Attributes
    ----------
    name, long_name : str
        For columns and for captions.
    orientation : {"lower", "higher", "target"}
        Which values are better; ``"target"``: those close to `perfect` from either side.
    perfect : float
        The value of a perfect forecast.
    units : str
        ``"data"`` for the units of the observations, ``"1"`` for a pure number.
    bounds : tuple of float
        The least and greatest possible value.
    function : callable
        ``function(result, observations, dim=...)``.

    Examples
    --------
    >>> SCORES["spread_skill"].distance([0.75, 1.5]).tolist()
    [0.25, 0.5]
    """

    name: str
    long_name: str
    orientation: Literal["lower", "higher", "target"]
    perfect: float
    units: Literal["data", "1"]
    bounds: tuple[float, float]
    function: Callable[..., xr.DataArray]

    def __call__(self, result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
        """Return the score of `result`, reduced over `dim` (default: all dims)."""
        return self.function(result, observations, dim=dim)

    def distance(self, value: Any) -> np.ndarray:
        """Return how far each value is from perfect: less is better for every score."""
        gap = np.asarray(value, dtype=float) - self.perfect
        if self.orientation == "target":
            return np.abs(gap)
        return gap if self.orientation == "lower" else -gap


def rmse(result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
    """Root mean square error of the mean: ``sqrt(mean((forecast - observation)^2))``.

    Parameters
    ----------
    result : Dataset or DataArray
        On the dates and grid of the observations; see the head of this module.
    observations : DataArray
        Floating point, NaN = missing.
    dim : str or sequence of str, optional
        Dims to reduce; all by default.

    Returns
    -------
    DataArray
        float64 in the units of the observations; NaN where there is no pair. Lazy if the input is.

    Raises
    ------
    InputError
        The two do not lie on the same dates and grid.

    Examples
    --------
    >>> rmse(xr.DataArray([1.0, 2.0], dims="time"), xr.DataArray([1.0, 4.0], dims="time")).round(3).item()
    1.414
    """
    return (_pairs(result, observations).error ** 2).mean(dim) ** 0.5


def mae(result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
    """Mean absolute error of the mean; parameters as `rmse`.

    Examples
    --------
    >>> mae(xr.DataArray([1.0, 2.0], dims="time"), xr.DataArray([1.0, 4.0], dims="time")).item()
    1.0
    """
    return abs(_pairs(result, observations).error).mean(dim)


def bias(result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
    """Mean of forecast minus observation; parameters as `rmse`.

    Examples
    --------
    >>> bias(xr.DataArray([1.0, 2.0], dims="time"), xr.DataArray([1.0, 4.0], dims="time")).item()
    -1.0
    """
    return _pairs(result, observations).error.mean(dim)


def crps(result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
    """Mean continuous ranked probability score; parameters as `rmse`.

    Of the members where there are any, in the fair form (unbiased for any number of members); of the Gaussian
    of `mean` and `spread` otherwise, which is the absolute error where the spread is zero. NaN for a bare
    point forecast and where the spread is missing.

    References
    ----------
    T. Gneiting and A. E. Raftery, J. Amer. Stat. Assoc. 102, 2007; C. A. T. Ferro, Q. J. R. Meteorol. Soc.
    140, 2014 (fair); computed by the library scoringrules.

    Examples
    --------
    >>> forecast = xr.Dataset({"mean": ("time", [0.0]), "spread": ("time", [1.0])})
    >>> crps(forecast, xr.DataArray([0.0], dims="time")).round(4).item()
    0.2337
    """
    pairs = _pairs(result, observations)
    if pairs.members is not None:
        each = xr.apply_ufunc(
            _fair_crps,
            pairs.observed,
            pairs.members,
            input_core_dims=[[], ["member"]],
            dask="parallelized",
            output_dtypes=[np.float64],
        )
    else:
        each = xr.apply_ufunc(
            gaussian_crps,
            pairs.observed,
            pairs.error + pairs.observed,
            pairs.spread,
            dask="parallelized",
            output_dtypes=[np.float64],
        )
    return each.where(pairs.error.notnull()).mean(dim)


def coverage(result: Result, observations: xr.DataArray, *, dim: Dim = None, level: float = 0.9) -> xr.DataArray:
    """Share of observations inside the central Gaussian interval of probability `level`; else as `rmse`.

    NaN for a bare point forecast; pairs whose spread is missing are left out.

    Examples
    --------
    >>> forecast = xr.Dataset({"mean": ("time", [0.0, 0.0]), "spread": ("time", [1.0, 1.0])})
    >>> coverage(forecast, xr.DataArray([1.6, 1.7], dims="time")).item()
    0.5
    """
    _check_level(level)
    pairs = _pairs(result, observations)
    half = NormalDist().inv_cdf((1 + level) / 2) * pairs.spread
    inside = (abs(pairs.error) <= half).astype(np.float64)
    return inside.where(pairs.error.notnull() & half.notnull()).mean(dim)


def spread_skill(result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
    """Root mean square spread over root mean square error: 1 is calibrated, below is overconfident.

    The spread of M members is multiplied by ``sqrt((M + 1) / M)``, since their mean is uncertain too.
    NaN for a bare point forecast; pairs whose spread is missing are left out. Else as `rmse`.

    References
    ----------
    V. Fortin et al., J. Hydrometeor. 15, 2014, doi:10.1175/JHM-D-14-0008.1.

    Examples
    --------
    >>> forecast = xr.Dataset({"mean": ("time", [0.0, 0.0]), "spread": ("time", [1.0, 1.0])})
    >>> spread_skill(forecast, xr.DataArray([2.0, -2.0], dims="time")).item()
    0.5
    """
    pairs = _pairs(result, observations)
    both = pairs.error.notnull() & pairs.spread.notnull()
    variance = (pairs.spread**2).where(both).mean(dim)
    if pairs.members is not None:
        count = pairs.members.sizes["member"]
        variance = variance * ((count + 1) / count)
    square = (pairs.error**2).where(both).mean(dim)
    return (variance / square.where(square > 0)) ** 0.5


def ssim(
    result: Result, observations: xr.DataArray, *, dim: Dim = None, data_range: float | xr.DataArray | None = None
) -> xr.DataArray:
    """Mean structural similarity of images (y, x): 1 where they are the same, in windows of 11 x 11 pixels.

    Parameters
    ----------
    result, observations, dim
        As for `rmse`; dims y and x are always reduced. Windows that reach beyond the image or hold a missing pair are
        left out.
    data_range : float or DataArray, optional
        Range of values, in which the constants of the score are stated; by default that of the observations of each
        image. A wider one, such as 1 for reflectance, flatters.

    Returns
    -------
    DataArray
        float64, NaN where no window is complete. Lazy if the input is.

    References
    ----------
    Z. Wang et al., IEEE Trans. Image Processing 13, 2004 (Gaussian window with a standard deviation of 1.5 pixels).

    Examples
    --------
    >>> image = xr.DataArray(np.random.default_rng(0).uniform(size=(16, 16)), dims=("y", "x"))
    >>> ssim(image, image).item()
    1.0
    >>> bool(ssim(image.roll(x=1), image) < 0.2)
    True
    """
    pairs = _pairs(result, observations)
    lacking = [name for name in ("y", "x") if name not in pairs.observed.dims]
    if lacking:
        raise InputError(f"structural similarity is of images (y, x); found dims {tuple(pairs.observed.dims)}")
    shown = pairs.observed.where(pairs.error.notnull())
    width = shown.max(("y", "x")) - shown.min(("y", "x")) if data_range is None else xr.DataArray(data_range)
    images = [(values / width).transpose(..., "y", "x") for values in (shown + pairs.error, shown)]
    if any(values.chunks is not None for values in images):
        similar = images[0].copy(data=_lazy_similarity(*(values.chunk().data for values in images)))
    else:
        similar = images[0].copy(data=_structural_similarity(*(values.values for values in images)))
    over = set(similar.dims if dim is None else [dim] if isinstance(dim, str) else dim) | {"y", "x"}
    return similar.mean(over)


def sam(result: Result, observations: xr.DataArray, *, dim: Dim = None) -> xr.DataArray:
    """Mean spectral angle between result and observations in degrees: 0 where spectra differ in brightness only.

    Parameters
    ----------
    result, observations, dim
        As for `rmse`; dim band is always reduced. Pixels that lack a band of either are left out.

    References
    ----------
    F. A. Kruse et al., Remote Sens. Environ. 44, 1993.

    Examples
    --------
    >>> observed = xr.DataArray([[0.1, 0.3]], dims=("x", "band"))
    >>> sam(2 * observed, observed).round(6).item()
    0.0
    >>> sam(xr.DataArray([[0.3, 0.1]], dims=("x", "band")), observed).round(2).item()
    53.13
    """
    pairs = _pairs(result, observations)
    if "band" not in pairs.observed.dims:
        raise InputError(f"the spectral angle is over bands; found dims {tuple(pairs.observed.dims)}")
    mean = pairs.observed + pairs.error
    product = (mean * pairs.observed).sum("band", skipna=False)
    size = (mean**2).sum("band", skipna=False) * (pairs.observed**2).sum("band", skipna=False)
    cosine = (product / size.where(size > 0) ** 0.5).clip(-1, 1)
    angle = xr.apply_ufunc(np.arccos, cosine, dask="parallelized", output_dtypes=[np.float64]) * (180 / np.pi)
    return angle.mean(
        None if dim is None else [name for name in ([dim] if isinstance(dim, str) else dim) if name != "band"]
    )


def _lazy_similarity(first: Any, second: Any) -> Any:
    """Similarity of windows block by block, with a margin of half a window."""
    import dask.array as da

    if min(first.shape[-2:]) < 2 * _HALF_WINDOW + 1:
        return da.full_like(first, np.nan)
    depth = dict.fromkeys(range(first.ndim), 0) | {first.ndim - 2: _HALF_WINDOW, first.ndim - 1: _HALF_WINDOW}
    return da.map_overlap(
        _structural_similarity, first, second, depth=depth, boundary=np.nan, dtype=np.float64, meta=first._meta
    )


def _structural_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Similarity of each window of images (..., y, x) of range 1, NaN where it is not complete."""
    from scipy.ndimage import gaussian_filter1d

    def smooth(values: np.ndarray) -> np.ndarray:
        for axis in (-2, -1):
            values = gaussian_filter1d(values, 1.5, axis=axis, radius=_HALF_WINDOW, mode="constant", cval=np.nan)
        return values

    low, high = 0.01**2, 0.03**2
    out = np.empty(first.shape)
    for image in np.ndindex(first.shape[:-2]):  # one by one: a dozen intermediate images are in memory at once
        ours, theirs = first[image], second[image]
        means = smooth(ours), smooth(theirs)
        spread = smooth(ours**2) - means[0] ** 2 + smooth(theirs**2) - means[1] ** 2
        shared = smooth(ours * theirs) - means[0] * means[1]
        alike = (2 * means[0] * means[1] + low) * (2 * shared + high)
        out[image] = alike / ((means[0] ** 2 + means[1] ** 2 + low) * (spread + high))
    return out


def coverage_score(level: float) -> Score:
    """Return the `Score` of the coverage of another central interval, for `evaluate`.

    Examples
    --------
    >>> coverage_score(0.5).name
    'coverage_50'
    """
    _check_level(level)
    score = SCORES["coverage"]
    percent = f"{100 * level:g}"
    return replace(
        score,
        name=f"coverage_{percent}",
        long_name=f"coverage of the {percent} % interval",
        perfect=level,
        function=partial(coverage, level=level),
    )


#: Scores by the name that `evaluate` takes.
SCORES: Mapping[str, Score] = {
    score.name: score
    for score in (
        Score("rmse", "root mean square error", "lower", 0.0, "data", (0.0, np.inf), rmse),
        Score("mae", "mean absolute error", "lower", 0.0, "data", (0.0, np.inf), mae),
        Score("bias", "mean error", "target", 0.0, "data", (-np.inf, np.inf), bias),
        Score("crps", "continuous ranked probability score", "lower", 0.0, "data", (-np.inf, np.inf), crps),
        Score("coverage", "coverage of the 90 % interval", "target", 0.9, "1", (0.0, 1.0), coverage),
        Score("spread_skill", "spread over skill", "target", 1.0, "1", (0.0, np.inf), spread_skill),
    )
}


def evaluate(
    results: Mapping[str, Result] | Result,
    observations: xr.DataArray,
    *,
    scores: str | Score | Sequence[str | Score] = tuple(SCORES),
    by: str | Sequence[str] | None = "band",
) -> pd.DataFrame:
    """Score several results against the same observations, on the pairs that all of them can be scored on.

    Parameters
    ----------
    results : mapping of name to Dataset or DataArray, or one of these
        Results (time, band, y, x) with ``mean`` and ``spread``; a DataArray is a bare point forecast and has
        no probabilistic scores. A result may hold more dates and bands than were observed.
    observations : DataArray, dims (time, band, y, x)
        Floating point, NaN = missing. Dates may repeat: each observation counts.
    scores : str, Score or sequence of these
        Names from `SCORES`, or `Score` records such as ``coverage_score(0.5)``.
    by : str or sequence of str, optional
        Dims that keep a row each, besides the method; None pools everything into one row per method.

    Returns
    -------
    DataFrame
        Indexed by ``method`` and `by`, with the number of pairs ``n`` (the same for every method) and a
        column per score. A pair counts where the observation, the mean of *every* method, and the spread or
        all members of every method that has them, are there. Dates match exactly or not at all: ``attrs``
        holds the number of observed dates ``dates_scored`` and ``dates_left_out``.

    Warns
    -----
    UnscoredDatesWarning
        More than half of the observed dates in the period of the results are left out, since a result lacks
        them. (That a result has dates without an observation is no loss.)
    ReflectanceWarning
        Values that lie in memory look like digital numbers.

    Raises
    ------
    InputError
        A result has no date or band in common with the observations, or another grid; no pair is complete;
        a score or dim is unknown.

    See Also
    --------
    mark_best : the table as text with the best of each column marked.

    Examples
    --------
    >>> dates = pd.to_datetime(["2020-05-01", "2020-05-06"])
    >>> observed = xr.DataArray([[0.1, 0.5], [0.3, 0.7]], dims=("time", "band"),
    ...                         coords={"time": dates, "band": ["B04", "B08"]})
    >>> evaluate({"steady": observed * 0 + 0.5}, observed, scores=["rmse", "bias"]).round(3)
                 n   rmse  bias
    method band
    steady B04   2  0.316   0.3
           B08   2  0.141  -0.1
    """
    if not isinstance(observations, xr.DataArray):
        raise InputError(f"observations must be a DataArray, found {type(observations).__name__}")
    named = results if isinstance(results, Mapping) and not isinstance(results, xr.Dataset) else {"result": results}
    if not named:
        raise InputError("there is no result to evaluate: pass a mapping of names to results")
    chosen = _chosen(scores)
    if not chosen:
        raise InputError(f"there is no score to compute; known are {', '.join(SCORES)}")
    keep = _keep(by, observations)
    aligned, observed = align(named, observations)
    warn_digital_numbers(observed, "the observations")
    for name, result in aligned.items():
        warn_digital_numbers(parts(result)[0], repr(name))
    usable = {name: _usable(result, observed) for name, result in aligned.items()}
    number, values = _compute(aligned, observed, usable, chosen, [d for d in observed.dims if d not in keep])
    if not number.sum():
        raise InputError(
            "there is no observation for which every method has a value; usable pairs per method: "
            + ", ".join(f"{name} {int(there.sum())}" for name, there in usable.items())
        )
    table = _table(number, values, chosen, keep)
    if "time" in observed.dims:
        scored = observed.sizes["time"]
        table.attrs = {"dates_scored": scored, "dates_left_out": observations.sizes["time"] - scored}
    return table


def mark_best(
    table: pd.DataFrame, *, scores: str | Score | Sequence[str | Score] = (), digits: int = 4
) -> pd.DataFrame:
    """Return a table of `evaluate` as text, with a star at the best method of each column and group.

    Parameters
    ----------
    table : DataFrame
        From `evaluate`.
    scores : str, Score or sequence of these
        Records of columns that are not in `SCORES`, such as ``coverage_score(0.5)``.
    digits : int
        Decimals shown.

    Returns
    -------
    DataFrame of str

    Raises
    ------
    InputError
        The table is not indexed by ``method``.

    Examples
    --------
    >>> table = pd.DataFrame({"rmse": [0.2, 0.1]}, index=pd.Index(["a", "b"], name="method"))
    >>> mark_best(table, digits=1)
              rmse
    method
    a        0.2
    b        0.1 *
    """
    if "method" not in table.index.names:
        raise InputError(f"expected a table of evaluate, indexed by method; found an index of {table.index.names}")
    known = {**SCORES, **{score.name: score for score in _chosen(scores)}}
    groups = [name for name in table.index.names if name != "method"]
    text = table.astype(object).copy()
    for column in table.columns:
        if column not in known:
            text[column] = [f"{value:g}" for value in table[column]]
            continue
        distance = pd.Series(known[column].distance(table[column].to_numpy()), index=table.index)
        least = distance.groupby(level=groups).transform("min") if groups else distance.min()
        best = (distance == least).to_numpy()
        text[column] = [
            f"{value:.{digits}f} {'*' if star else ' '}" for value, star in zip(table[column], best, strict=True)
        ]
    return text


class _Pairs(NamedTuple):
    """A result beside its observations: float64, the error missing where either is."""

    observed: xr.DataArray
    error: xr.DataArray
    spread: xr.DataArray
    members: xr.DataArray | None


def _pairs(result: Result, observations: xr.DataArray) -> _Pairs:
    """Return the parts of a result and its errors, or raise `InputError` where the two do not match."""
    mean, spread, members = parts(result)
    check_array(mean, "the result")
    check_array(observations, "the array of observations")
    if set(mean.dims) != set(observations.dims) or dict(mean.sizes) != dict(observations.sizes):
        raise InputError(
            f"the result {dict(mean.sizes)} and the observations {dict(observations.sizes)} differ in shape; "
            "s2koop.scores.evaluate aligns them"
        )
    try:
        xr.align(mean, observations, join="exact", copy=False)
    except ValueError as problem:
        raise InputError(
            f"the result and the observations lie on other dates, bands or pixels ({problem}); "
            "s2koop.scores.evaluate aligns them"
        ) from problem
    truth = masked(observations).astype(np.float64)
    error = masked(mean).astype(np.float64) - truth
    spread = xr.full_like(error, np.nan) if spread is None else masked(spread).astype(np.float64)
    return _Pairs(truth, error, spread, None if members is None else masked(members).astype(np.float64))


def gaussian_crps(observed: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    import scoringrules

    # the formula is 0/0 for a spread of zero, whose limit is the absolute error
    sure = spread == 0
    score = scoringrules.crps_normal(observed, mean, np.where(sure, 1.0, spread), backend="numpy")
    return np.where(sure, np.abs(mean - observed), score)


def _fair_crps(observed: np.ndarray, members: np.ndarray) -> np.ndarray:
    import scoringrules

    # by probability-weighted moments: the fair estimate without the array of all pairs of members
    return scoringrules.crps_ensemble(observed, members, estimator="pwm", backend="numpy")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, found {level!r}; 0.9 is the 90 % interval")


def _score(score: str | Score) -> Score:
    if isinstance(score, Score):
        return score
    if score not in SCORES:
        raise InputError(f"unknown score {score!r}; known are {', '.join(SCORES)}")
    return SCORES[score]


def _chosen(scores: str | Score | Sequence[str | Score]) -> list[Score]:
    return [_score(score) for score in ((scores,) if isinstance(scores, str | Score) else scores)]


def _keep(by: str | Sequence[str] | None, observations: xr.DataArray) -> list[str]:
    """The dims that keep a row each, checked."""
    keep = [by] if isinstance(by, str) else list(by or ())
    unknown = [name for name in keep if name not in observations.dims]
    if unknown:
        raise InputError(f"the observations have dims {tuple(observations.dims)}, so no rows by {unknown}")
    return keep


def _usable(result: Result, observed: xr.DataArray) -> xr.DataArray:
    """Where a method can be scored: the observation, its mean, and the spread or members it has are there."""
    mean, spread, members = parts(result)
    there = masked(mean).notnull() & masked(observed).notnull()
    if spread is not None:
        there &= masked(spread).notnull()
    if members is not None:
        there &= masked(members).notnull().all("member")
    return there


def _compute(
    aligned: Mapping[str, Result],
    observed: xr.DataArray,
    usable: Mapping[str, xr.DataArray],
    scores: Sequence[Score],
    reduced: list[Hashable],
) -> tuple[xr.DataArray, dict[tuple[str, str], xr.DataArray]]:
    """Number of common pairs, and each (method, score), in one pass: dask reads every block once."""
    everywhere = reduce(operator.and_, usable.values())
    pairs = observed.where(everywhere)
    lazy = {
        (name, score.name): score(result, pairs, dim=reduced) for name, result in aligned.items() for score in scores
    }
    computed = xr.Dataset({"n": everywhere.sum(reduced), **lazy}).compute()
    return computed["n"], {key: computed[key] for key in lazy}


def _table(
    number: xr.DataArray,
    values: Mapping[tuple[str, str], xr.DataArray],
    scores: Sequence[Score],
    keep: list[str],
) -> pd.DataFrame:
    """One row per method and group."""
    levels = [number[name].values for name in keep]
    frames = []
    for method in dict.fromkeys(name for name, _ in values):
        columns = {"n": number, **{score.name: values[method, score.name] for score in scores}}
        flat = {name: column.transpose(*keep).values.ravel() for name, column in columns.items()}
        index = pd.MultiIndex.from_product([[method], *levels], names=["method", *keep])
        frames.append(pd.DataFrame(flat, index=index if keep else index.get_level_values(0)))
    return pd.concat(frames)

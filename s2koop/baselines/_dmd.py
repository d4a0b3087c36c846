"""DMD: the scene's patterns follow a few shared oscillations, fitted to irregular dates by bagged optimised DMD."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from s2koop._dates import asked_dates
from s2koop._time import YEAR_DAYS
from s2koop.baselines._apply import check_cube, check_number
from s2koop.baselines._learned import merge_dates, predict_learned, standards
from s2koop.baselines._ppca import Factors, find_scores, learn_factors
from s2koop.errors import InputError, MissingDependencyError

#: Share of the dates in a bag.
_BAG = 0.6
#: A series' own residuals count beside this many of the mean series'.
_PRIOR_DATES = 3.0
#: Coefficients may leave the range that they had on the cube's dates by this share of it: modes of nearly the same
#: eigenvalue cancel each other inside the period, and run away beyond it though none of them grows.
_ROOM = 0.5
#: Periods in years of the oscillations that the fit starts from; the year first, since it is nearly always there.
_PERIODS = (1.0, 1 / 2, 3.0, 1 / 3, 1 / 4, 6.0)


def dmd(
    cube: xr.DataArray,
    *,
    times: Any,
    rank: int = 4,
    bags: int = 20,
    sample: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Predict the scene by dynamic mode decomposition of its leading patterns.

    Gaps are dealt with by the probabilistic principal components of `low_rank`, with pixels and bands as rows and
    dates as columns: every date has a level and `rank` coefficients :math:`c(t)` that all series share, every series
    its own mixture of them. The coefficients are then fitted by optimised DMD,

    .. math:: c(t) = \sum_k b_k \phi_k e^{\alpha_k t}, \quad \mathrm{Re}\, \alpha_k \le 0

    with `rank` + 1 eigenvalues, one real and the others in conjugate pairs (`rank` is even), started at a constant,
    the year, the half year, and so on. The fit is repeated on random bags of 60 % of the dates (BOP-DMD, by the
    library PyDMD); the forecast is the mean over the bags.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict. Before the first date decaying modes are held at their start, since backwards they grow; and
        coefficients leave the range that they had on the cube's dates by at most half of it.
    rank : int
        Patterns beside the level: 2, 4, ... 12. The cube needs at least twice as many different dates, and two more.
    bags : int
        Fits to random dates; 0 is one fit to all of them, without the spread between bags.
    sample : int
        Random pixels from which patterns and dynamics are learned. On a dask-backed cube learning is a task of the
        graph, so compute ``mean`` and ``spread`` together.
    seed : int
        Of the sample, the start and the bags.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation), in the units of the cube. The
        spread joins the residuals of each series, the spread between bags and what is unknown of the series'
        mixture. Series without any usable value are NaN, as are bands without any in the sample.

    Raises
    ------
    InputError
        The cube, the dates or the options cannot be used.
    MissingDependencyError
        PyDMD is not installed.

    References
    ----------
    T. Askham, J. N. Kutz, Variable projection methods for an optimized dynamic mode decomposition, SIAM J. Appl.
    Dyn. Syst. 17, 2018; D. Sashidhar, J. N. Kutz, Bagging, optimized dynamic mode decomposition for robust, stable
    forecasting with spatial and temporal uncertainty quantification, Phil. Trans. R. Soc. A 380, 2022.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> dates = pd.date_range("2017-01-01", "2019-12-31", freq="15D")
    >>> phase = 2 * np.pi * (dates - dates[0]).days.to_numpy() / 365.2425
    >>> cube = xr.DataArray(0.3 + 0.1 * np.sin(phase[:, None] + np.linspace(0, 3, 20)), dims=("time", "x"),
    ...                     coords={"time": dates})
    >>> dmd(cube, times=["2020-04-01", "2020-10-01"], rank=2)["mean"].values[:, 0].round(1)
    array([0.4, 0.2], dtype=float32)
    """
    check_cube(cube)
    check_number("rank", rank, low=2, whole=True)
    check_number("bags", bags, low=0, whole=True)
    if rank % 2 or rank > 2 * len(_PERIODS):
        raise InputError(
            f"rank must be one of 2, 4, ... {2 * len(_PERIODS)} (oscillations come in pairs), found {rank}"
        )
    _check_dates(len(np.unique(cube["time"].values)), rank, "different dates")
    if find_spec("pydmd") is None:
        raise MissingDependencyError("dmd needs the package pydmd. Run: pip install 's2koop[baselines]'")
    return predict_learned(
        _learn,
        _apply,
        cube,
        asked_dates(times),
        name="dmd",
        long_name="bagged optimised dynamic mode decomposition",
        sample=sample,
        seed=seed,
        options={"rank": rank, "bags": bags},
    )


def _check_dates(count: int, rank: int, what: str) -> None:
    if count < 2 * rank + 2:
        raise InputError(
            f"dmd with rank={rank} needs at least {2 * rank + 2} {what}, and the cube has {count}; give a longer cube "
            "or a smaller rank, or take harmonic"
        )


@dataclass(frozen=True)
class _Dynamics:
    """Coefficients over time, a sum of exponentials: c(t) = Re(modes @ exp(eigenvalues * t)), t in years.

    Attributes
    ----------
    modes : complex array (coefficient, mode)
    eigenvalues : complex array (mode,)
        Per year, no real part above zero.
    """

    modes: np.ndarray
    eigenvalues: np.ndarray

    def at(self, years: np.ndarray) -> np.ndarray:
        """The coefficients (date, coefficient); before t = 0 without growth."""
        growth = self.eigenvalues.real * np.maximum(years, 0.0)[:, None]
        return (np.exp(growth + 1j * self.eigenvalues.imag * years[:, None]) @ self.modes.T).real


@dataclass(frozen=True)
class _Model:
    """Level and scale of the bands, the patterns, one dynamics per bag, and the mean squared residual of a series.

    `days` are the different dates on which anything was seen; the others would show the dynamics a scene at its mean.
    """

    days: np.ndarray
    level: np.ndarray
    scale: np.ndarray
    factors: Factors
    dynamics: tuple[_Dynamics, ...]
    residual: float

    def paths(self, years: np.ndarray) -> np.ndarray:
        """The coefficients (bag, date, coefficient), held near what the cube's own dates showed."""
        return _paths(self.factors, self.dynamics, years)


def _learn(values: np.ndarray, days: np.ndarray, *, rank: int, bags: int, seed: int) -> _Model:
    """See `s2koop.baselines._learned` for the shapes."""
    level, scale = standards(values)
    seen = np.unique(days[np.isfinite(values).any(axis=(0, 2))])
    _check_dates(len(seen), rank, "dates on which anything was seen")
    matrix, weights = _rows((values - level) / scale, days, seen)
    factors = learn_factors(
        matrix,
        weights,
        np.zeros(matrix.shape[1], int),
        rank=rank,
        max_iterations=100,
        tolerance=1e-3,
        seed=seed,
    )
    years = (seen - seen[0]) / YEAR_DAYS
    dynamics = _bagged(factors.mean.T, years, bags, np.random.default_rng(seed))
    path = _paths(factors, dynamics, years).mean(axis=0)
    square, number = _residuals(matrix, weights, find_scores(matrix, weights, factors).mean, path)
    return _Model(seen, level, scale, factors, dynamics, float(square.sum() / max(number.sum(), 1)))


def _apply(model: _Model, values: np.ndarray, days: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._learned` for the shapes."""
    matrix, weights = _rows((values - model.level) / model.scale, days, model.days)
    scores = find_scores(matrix, weights, model.factors)
    known, wanted = ((moments - model.days[0]) / YEAR_DAYS for moments in (model.days, asked))
    square, number = _residuals(matrix, weights, scores.mean, model.paths(known).mean(axis=0))
    # what the mixture took from the residuals: one for each score that is known, none for one that is not
    taken = scores.covariance.shape[1] - 1 - np.trace(scores.covariance, axis1=1, axis2=2)
    noise = (square + _PRIOR_DATES * model.residual) / (np.maximum(number - taken, 0.0) + _PRIOR_DATES)
    paths = model.paths(wanted)
    path = paths.mean(axis=0)
    between = np.einsum("kap,kaq->apq", paths - path, paths - path) / len(paths)
    variance = np.einsum("np,apq,nq->na", scores.mean, between, scores.mean, optimize=True)
    variance += np.einsum("ap,npq,aq->na", path, scores.covariance, path, optimize=True)
    unseen = (number == 0)[:, None]
    mean = np.where(unseen, np.nan, scores.mean @ path.T)
    spread = np.where(unseen, np.nan, np.sqrt(variance + noise[:, None]))
    shape = (len(values), values.shape[2], len(asked))
    mean, spread = (rows.reshape(shape).transpose(0, 2, 1) for rows in (mean, spread))
    return model.level + model.scale * mean, model.scale * spread


def _paths(factors: Factors, dynamics: tuple[_Dynamics, ...], years: np.ndarray) -> np.ndarray:
    """See `_Model.paths`."""
    low, high = factors.mean.min(axis=0), factors.mean.max(axis=0)
    room = _ROOM * (high - low)
    return np.clip([part.at(years) for part in dynamics], low - room, high + room)


def _rows(values: np.ndarray, days: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights with a row per pixel and band, and a column per distinct date that is kept."""
    use = np.isin(np.unique(days), kept)
    merged, weights = (part[:, use].transpose(0, 2, 1) for part in merge_dates(values, days))
    return merged.reshape(-1, len(kept)), weights.reshape(-1, len(kept))


def _residuals(
    matrix: np.ndarray, weights: np.ndarray, scores: np.ndarray, path: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Summed squared residual and number of observed dates of each row; `path` is (date, coefficient)."""
    seen = weights > 0
    return (seen * (matrix - scores @ path.T) ** 2).sum(axis=1), seen.sum(axis=1)


def _bagged(coefficients: np.ndarray, years: np.ndarray, bags: int, draw: np.random.Generator) -> tuple[_Dynamics, ...]:
    """One fit to all dates, or one per bag of them, started from that."""
    periods = np.array(_PERIODS[: (len(coefficients) - 1) // 2])
    start = np.concatenate([[0.0], np.stack([2j * np.pi / periods, -2j * np.pi / periods], axis=1).ravel()])
    whole = _optimised(coefficients, years, start)
    size = max(int(_BAG * len(years)), len(start) + 1)
    chosen = [np.sort(draw.choice(len(years), size, replace=False)) for _ in range(bags)]
    return tuple(_optimised(coefficients[:, bag], years[bag], whole.eigenvalues) for bag in chosen) or (whole,)


def _optimised(coefficients: np.ndarray, years: np.ndarray, start: np.ndarray) -> _Dynamics:
    """Optimised DMD of coefficients (coefficient, date) from the eigenvalues `start`."""
    from pydmd import BOPDMD

    model = BOPDMD(
        svd_rank=len(start),
        num_trials=0,
        init_alpha=start.copy(),
        use_proj=False,
        eig_constraints=_stable_pairs,
    )
    with warnings.catch_warnings():
        # the library takes an error of a millionth for convergence, which no measured series reaches
        warnings.filterwarnings("ignore", "Initial trial of Optimized DMD failed to converge", UserWarning)
        # and patterns that the data do not need are nearly zero, which harms nothing
        warnings.filterwarnings("ignore", "Input data condition number", UserWarning)
        model.fit(coefficients, years)
    return _Dynamics(model.modes * model.amplitudes, _stable_pairs(model.eigs))


def _stable_pairs(eigenvalues: np.ndarray) -> np.ndarray:
    """The nearest eigenvalues of which the first is real, the others are conjugate pairs, and none grows."""
    pairs = eigenvalues[1:].reshape(-1, 2)
    one = (pairs[:, 0] + pairs[:, 1].conj()) / 2
    out = np.concatenate([eigenvalues[:1].real, np.stack([one, one.conj()], axis=1).ravel()]).astype(complex)
    return np.minimum(out.real, 0.0) + 1j * out.imag

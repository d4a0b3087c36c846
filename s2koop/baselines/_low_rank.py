"""Low rank: gaps filled by a few patterns that all pixels of the scene share, each with its own mixture of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from s2koop._dates import asked_dates
from s2koop.baselines._apply import check_cube, check_flag, check_number
from s2koop.baselines._learned import merge_dates, predict_learned, standards
from s2koop.baselines._ppca import Factors, find_scores, learn_factors, rebuild
from s2koop.errors import InputError

_TOLERANCE = 1e-3


def low_rank(
    cube: xr.DataArray,
    *,
    times: Any = None,
    rank: int = 8,
    joint: bool = True,
    sample: int = 10_000,
    max_iterations: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    r"""Fill gaps on the cube's own dates by a low-rank Gaussian model of the whole scene.

    The matrix of pixels and (date, band) columns is modelled as

    .. math:: x_{nd} = \mu_d + w_d^T z_n + \epsilon_{nd}, \quad z_n \sim N(0, I), \quad
        \epsilon_{nd} \sim N(0, \sigma_d^2)

    with a level :math:`\mu_d` and `rank` factors :math:`w_d` per column, learned with their priors and the noise by
    variational expectation-maximisation. A date that is hazy everywhere has its level and its noise, so a pixel
    that was hidden on it is filled with what its neighbours showed: it is the reference for gap filling wherever
    part of a scene is seen. It knows nothing of time between or beyond its dates, and cannot forecast.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Observations of a pixel on a date that repeats count as two looks at the same thing.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates, optional
        Any of the cube's own dates, exactly; all of them by default.
    rank : int
        Factors beside the level. Too many do little harm, for those that the data do not need fade.
    joint : bool
        One model of all bands (what is seen in one tells of the others; a pixel's band that is missing throughout
        is filled too) instead of one model per band.
    sample : int
        The patterns are learned from this many random pixels, or from all if there are no more; every pixel is then
        solved with them, on a dask-backed cube lazily (learning is a task of the graph, so compute ``mean`` and
        ``spread`` together).
    max_iterations : int
        Most rounds of learning; it ends when the noise changes by less than a thousandth.
    seed : int
        Of the sample and the start.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation), in the units of the cube. The
        spread joins the posterior variance of the scores and of the factors with the noise of the date and band.
        A pixel without any usable value, and a band without any in the scene, are NaN.

    Raises
    ------
    InputError
        The cube or the options cannot be used, or `times` holds another date than the cube's own.

    See Also
    --------
    gaussian_process, whittaker, harmonic : For other dates.

    References
    ----------
    A. Ilin, T. Raiko, Practical approaches to principal component analysis in the presence of missing values,
    JMLR 11, 2010 (the algorithm); J.-M. Beckers, M. Rixen, EOF calculations and data filling from incomplete
    oceanographic datasets, J. Atmos. Oceanic Technol. 20, 2003 (DINEOF, the idea).

    Examples
    --------
    Three pixels of one pattern; the one value that is missing follows from it.

    >>> import numpy as np, pandas as pd, xarray as xr
    >>> dates = pd.date_range("2020-05-01", periods=6, freq="10D")
    >>> season = np.array([0.1, 0.2, 0.4, 0.5, 0.3, 0.2])
    >>> cube = xr.DataArray(season[:, None] * np.array([1.0, 0.8, 0.5, 0.2]), dims=("time", "x"),
    ...                     coords={"time": dates})
    >>> cube[3, 1] = np.nan
    >>> low_rank(cube, rank=1, times=dates[3])["mean"].values.round(1)
    array([[0.5, 0.4, 0.2, 0.1]], dtype=float32)
    """
    check_cube(cube)
    check_number("rank", rank, low=1, whole=True)
    check_number("max_iterations", max_iterations, low=1, whole=True)
    check_flag("joint", joint)
    return predict_learned(
        _learn,
        _apply,
        cube,
        _own_dates(cube, times),
        name="low_rank",
        long_name="low-rank model of the scene",
        sample=sample,
        seed=seed,
        options={"rank": rank, "joint": joint, "max_iterations": max_iterations},
    )


def _own_dates(cube: xr.DataArray, times: Any) -> np.ndarray:
    """The asked dates, or `InputError` if one of them is not a date of the cube."""
    own = cube["time"].values
    if times is None:
        return own.astype("datetime64[ns]")
    asked = asked_dates(times)
    others = asked[~np.isin(asked, own)]
    if others.size:
        nearest = own[np.abs(own - others[0]).argmin()]
        raise InputError(
            f"low_rank fills gaps on the cube's own dates only; {others.size} of the {asked.size} asked dates are none "
            f"of them, such as {np.datetime_as_string(others[0], 'm')} (the nearest is "
            f"{np.datetime_as_string(nearest, 's')}); leave out times, give times=cube.time, or take "
            "gaussian_process or harmonic for other dates"
        )
    return asked


@dataclass(frozen=True)
class _Model:
    """Factors of standardised values: of all bands together, or of each.

    Attributes
    ----------
    level, scale : array (band,)
    factors : tuple of Factors
        One with columns (date, band) in this order, or one per band with a column per date.
    """

    level: np.ndarray
    scale: np.ndarray
    factors: tuple[Factors, ...]


def _learn(values: np.ndarray, days: np.ndarray, *, rank: int, joint: bool, max_iterations: int, seed: int) -> _Model:
    """See `s2koop.baselines._learned` for the shapes."""
    level, scale = standards(values)
    matrix, weights = merge_dates((values - level) / scale, days)
    dates, bands = matrix.shape[1:]
    parts = [slice(None)] if joint else [slice(band, band + 1) for band in range(bands)]
    factors = tuple(
        learn_factors(
            matrix[:, :, part].reshape(len(matrix), -1),
            weights[:, :, part].reshape(len(matrix), -1),
            np.tile(np.arange(len(range(*part.indices(bands)))), dates),
            rank=rank,
            max_iterations=max_iterations,
            tolerance=_TOLERANCE,
            seed=seed,
        )
        for part in parts
    )
    return _Model(level, scale, factors)


def _apply(model: _Model, values: np.ndarray, days: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._learned` for the shapes."""
    matrix, weights = merge_dates((values - model.level) / model.scale, days)
    filled = [
        _fill(factors, part, trust)
        for factors, part, trust in zip(
            model.factors,
            np.split(matrix, len(model.factors), axis=2),
            np.split(weights, len(model.factors), axis=2),
            strict=True,
        )
    ]
    where = np.searchsorted(np.unique(days), asked)
    mean, variance = (np.concatenate(arrays, axis=2)[:, where] for arrays in zip(*filled, strict=True))
    return model.level + model.scale * mean, model.scale * np.sqrt(variance)


def _fill(factors: Factors, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of an observation (pixel, date, band); NaN for a pixel that these bands never saw."""
    shape = values.shape
    trust = weights.reshape(len(values), -1)
    mean, variance = rebuild(find_scores(values.reshape(len(values), -1), trust, factors), factors)
    unseen = ~(trust > 0).any(axis=1, keepdims=True)
    return (
        np.where(unseen, np.nan, mean).reshape(shape),
        np.where(unseen, np.nan, variance + factors.noise).reshape(shape),
    )

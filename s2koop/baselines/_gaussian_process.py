"""Gaussian process: a season that bends slowly, deviations of weeks, and noise, weighed by how likely they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from s2koop._dates import asked_dates
from s2koop._time import YEAR_DAYS
from s2koop.baselines._apply import check_cube, check_number
from s2koop.baselines._learned import predict_learned, standards
from s2koop.baselines._patterns import alike

#: Standard deviation of the prior of the logarithm of each hyper-parameter about its start: a factor of 7 is
#: ordinary. A few dates of a few pixels already say more; a single observation says less.
_PRIOR_LOG = 2.0


def gaussian_process(
    cube: xr.DataArray,
    *,
    times: Any,
    sample: int = 64,
    max_iterations: int = 50,
    seed: int = 0,
) -> xr.Dataset:
    r"""Predict each series by a Gaussian process whose covariance its whole band shares.

    Per pixel and band, deviations from the level of the band have the covariance over a lag of :math:`d` years

    .. math::

        s_0^2 + s_1^2 e^{-2 \sin^2(\pi d) / l_1^2} e^{-d^2 / 2 l_2^2} + s_2^2 e^{-d / l_3} + n^2 [d = 0]

    of the pixel's own level, a season that may bend over years, deviations that fade over days to months, and the
    noise of an observation. The eight numbers are fitted once per band, to the marginal likelihood of a random
    sample of pixels; every pixel is then solved exactly with its own dates.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict: before, within or after the series.
    sample : int
        Pixels to which the covariance is fitted. On a dask-backed cube the fit is a task of the graph, so compute
        ``mean`` and ``spread`` together.
    max_iterations : int
        Most steps of the fit (L-BFGS).
    seed : int
        Of the sample.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation), in the units of the cube: the
        exact posterior. Series without any usable value are NaN, as are bands without any in the sample.

    Raises
    ------
    InputError
        The cube, the dates or the options cannot be used.

    Notes
    -----
    Cost grows as the cube of the usable dates of a series; series with the same dates are solved together.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press, 2006, algorithm 2.1,
    equation 5.9 and section 5.4.3 (a kernel of this kind for atmospheric CO2); kernels of scikit-learn.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> dates = pd.date_range("2018-01-01", "2019-12-31", freq="20D")
    >>> phase = 2 * np.pi * (dates - dates[0]).days.to_numpy() / 365.2425
    >>> cube = xr.DataArray(0.3 + 0.1 * np.sin(phase[:, None] + [0.0, 1.0]), dims=("time", "x"),
    ...                     coords={"time": dates})
    >>> gaussian_process(cube, times=["2020-04-01", "2020-10-01"])["mean"].values[:, 0].round(1)
    array([0.4, 0.2], dtype=float32)
    """
    check_cube(cube)
    check_number("max_iterations", max_iterations, low=1, whole=True)
    return predict_learned(
        _learn,
        _apply,
        cube,
        asked_dates(times),
        name="gaussian_process",
        long_name="Gaussian process with a season",
        sample=sample,
        seed=seed,
        options={"max_iterations": max_iterations},
    )


@dataclass(frozen=True)
class _Model:
    """Per band: level and scale of its values, and the kernel of what is left, over years."""

    level: np.ndarray
    scale: np.ndarray
    kernels: tuple[Any, ...]


def _learn(values: np.ndarray, days: np.ndarray, *, max_iterations: int, seed: int) -> _Model:
    """See `s2koop.baselines._learned` for the shapes; the seed has done its part in the sample."""
    level, scale = standards(values)
    series = (values - level) / scale
    return _Model(
        level, scale, tuple(_fit(series[..., band], days, max_iterations) for band in range(series.shape[-1]))
    )


def _start() -> Any:
    """The kernel before it is fitted: signal plus noise, of standardised values over years."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, Matern, WhiteKernel

    size = (1e-3, 1e2)
    level = ConstantKernel(0.3, size)
    season = ConstantKernel(0.5, size) * ExpSineSquared(1.0, 1.0, (0.1, 10.0), "fixed") * RBF(10.0, (1.0, 100.0))
    weeks = ConstantKernel(0.2, size) * Matern(0.1, (0.01, 1.0), nu=0.5)
    return (level + season + weeks) + WhiteKernel(0.1, (1e-5, 1e2))


def _fit(series: np.ndarray, days: np.ndarray, max_iterations: int) -> Any:
    """The kernel of greatest posterior probability, given all series (series, date) of a band."""
    from scipy.optimize import minimize

    kernel = _start()
    groups = [(np.flatnonzero(seen), series[rows][:, seen]) for rows, seen in alike(np.isfinite(series))]
    result = minimize(
        _cost,
        kernel.theta,
        args=(kernel, groups, _years(days)),
        jac=True,
        bounds=kernel.bounds,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    return kernel.clone_with_theta(result.x)


def _cost(
    theta: np.ndarray, start: Any, groups: list[tuple[np.ndarray, np.ndarray]], years: np.ndarray
) -> tuple[float, np.ndarray]:
    """Negative logarithm of the posterior density of `theta`, but for a constant, and its gradient.

    `groups` holds the places of the dates seen, and the values (series, date) of the series seen on them.
    """
    from scipy.linalg import cho_factor, cho_solve

    covariance, slopes = start.clone_with_theta(theta)(years, eval_gradient=True)
    away = (theta - start.theta) / _PRIOR_LOG
    cost = 0.5 * float(away @ away)
    # d cost / d covariance, of all series on the dates of the cube, so that the slopes are touched once
    pull = np.zeros_like(covariance)
    for seen, values in groups:
        factor = cho_factor(covariance[np.ix_(seen, seen)], lower=True)
        weighted = cho_solve(factor, values.T)
        cost += 0.5 * float((values.T * weighted).sum()) + len(values) * float(np.log(np.diag(factor[0])).sum())
        precision = cho_solve(factor, np.eye(len(seen)))
        pull[np.ix_(seen, seen)] += 0.5 * (len(values) * precision - weighted @ weighted.T)
    return cost, np.einsum("ij,ijp->p", pull, slopes) + away / _PRIOR_LOG


def _apply(model: _Model, values: np.ndarray, days: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._learned` for the shapes."""
    series = (values - model.level) / model.scale
    mean, spread = np.full((2, len(values), len(asked), values.shape[-1]), np.nan)
    for band, kernel in enumerate(model.kernels):
        mean[..., band], spread[..., band] = _solve(kernel, series[..., band], days, asked)
    return model.level + model.scale * mean, model.scale * spread


def _solve(kernel: Any, series: np.ndarray, days: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and spread (series, asked) of standardised series (series, date)."""
    from scipy.linalg import cho_factor, cho_solve, solve_triangular

    known, wanted = _years(days), _years(asked)
    covariance, cross, prior = kernel(known), kernel(wanted, known), kernel.diag(wanted)
    mean, spread = np.full((2, len(series), len(asked)), np.nan)
    for rows, seen in alike(np.isfinite(series)):
        places = np.flatnonzero(seen)
        factor, _ = cho_factor(covariance[np.ix_(places, places)], lower=True)
        reach = cross[:, places]
        mean[rows] = (reach @ cho_solve((factor, True), series[rows][:, places].T)).T
        explained = (solve_triangular(factor, reach.T, lower=True) ** 2).sum(axis=0)
        spread[rows] = np.sqrt(prior - explained)
    return mean, spread


def _years(days: np.ndarray) -> np.ndarray:
    """Dates (date, 1) as the kernels take them."""
    return days[:, None] / YEAR_DAYS

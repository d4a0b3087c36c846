"""Harmonic: sines and cosines of the year fitted to each series by robust ridge least squares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from s2koop._time import YEAR_DAYS
from s2koop.baselines._apply import check_flag, check_number, predict

#: Huber's constant: 95 % efficiency on Gaussian noise.
_HUBER = 1.345
_ROBUST_STEPS = 15
#: Median absolute deviation of a unit Gaussian.
_MAD = 0.6744897501960817
#: Fewer residual degrees of freedom than this are rounding noise, and carry no variance.
_LEAST_DOF = 1e-6


def harmonic(
    cube: xr.DataArray,
    *,
    times: Any,
    harmonics: int = 2,
    trend: bool = False,
    ridge: float = 0.3,
    robust: bool = True,
    weights: xr.DataArray | None = None,
) -> xr.Dataset:
    r"""Predict each date by a harmonic regression on the day of the year.

    Per pixel and band, the coefficients minimise

    .. math::

        \sum_t w_t (x_t - b_0 - \sum_k (a_k \cos k\phi_t + b_k \sin k\phi_t))^2
        + r \sum_k (a_k^2 + b_k^2)

    over the usable dates, with the phase :math:`\phi = 2\pi t / 365.2425` days and the ridge :math:`r`, which
    leaves the mean level free. The ridge acts as a fraction of one observation per coefficient: it matters
    for series with few dates and vanishes for long ones.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict: before, within or after the series.
    harmonics : int
        Sine-cosine pairs: 1 is the year, 2 adds the half year.
    trend : bool
        Add a straight line in time, under the same ridge (per year, about the middle of the cube's dates).
        It fits better and forecasts worse.
    ridge : float
        0 is plain least squares, of smallest norm where a series has too few dates.
    robust : bool
        Huber weights by iteration, so that the haze and cloud which a scene classification lets through pull
        less. The spread still counts them, since they will be observed again.
    weights : DataArray, optional
        Trust in each observation, with ``time`` and any other dims of the cube; 0, negative or NaN = left
        out.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation of weight 1), in the units
        of the cube. The spread joins the residuals of the fit (with their effective degrees of freedom) and
        the covariance of the coefficients; it is NaN where the fit leaves no degree of freedom, as with one
        usable value. No usable value: both are NaN.

    Raises
    ------
    InputError
        The cube, the dates or the options cannot be used.

    References
    ----------
    P. J. Huber and E. M. Ronchetti, Robust Statistics, 2nd ed., Wiley, 2009 (the weights);
    T. Hastie, R. Tibshirani, Generalized Additive Models, 1990, 3.5 (degrees of freedom of a smoother).

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> dates = pd.date_range("2018-01-01", "2019-12-31", freq="10D")
    >>> season = 0.3 + 0.1 * np.sin(2 * np.pi * (dates - dates[0]).days / 365.2425)
    >>> cube = xr.DataArray(season.to_numpy().reshape(-1, 1, 1, 1), dims=("time", "band", "y", "x"),
    ...                     coords={"time": dates})
    >>> harmonic(cube, times=["2020-04-01", "2020-10-01"])["mean"].values.round(2).ravel()
    array([0.4, 0.2], dtype=float32)
    """
    check_options(harmonics, trend, ridge, robust)
    return predict(
        _kernel,
        cube,
        times,
        name="harmonic",
        long_name="harmonic regression on the day of the year",
        weights=weights,
        options={"harmonics": harmonics, "trend": trend, "ridge": ridge, "robust": robust},
    )


def check_options(harmonics: Any, trend: Any, ridge: Any, robust: Any) -> None:
    """Raise `InputError` unless these describe a harmonic regression."""
    check_number("harmonics", harmonics, low=0, whole=True)
    check_number("ridge", ridge, low=0)
    check_flag("trend", trend)
    check_flag("robust", robust)


class Regression(NamedTuple):
    """A harmonic regression: what it says on the asked dates, and how far it was from what it saw.

    Attributes
    ----------
    mean, leverage : array (series, asked date)
        The curve, and its variance in units of `variance`; NaN and 0 where a series has no usable value.
    residual : array (series, date)
        Observation minus curve; of no meaning where the weight is 0.
    variance : array (series,)
        Of an observation of weight 1 about the curve; NaN where no degree of freedom is left.
    """

    mean: np.ndarray
    leverage: np.ndarray
    residual: np.ndarray
    variance: np.ndarray


def regress(
    values: np.ndarray,
    weights: np.ndarray,
    days: np.ndarray,
    asked: np.ndarray,
    *,
    harmonics: int,
    trend: bool,
    ridge: float,
    robust: bool,
) -> Regression:
    """Fit every series; see `s2koop.baselines._apply` for the shapes and `harmonic` for the options."""
    middle = (days[0] + days[-1]) / 2
    design = _design(days, harmonics, trend, middle)
    observed = np.where(weights > 0, values, 0.0)
    trust = weights
    coefficients, inverse, normal = _fit(observed, trust, design, ridge)
    for _ in range(_ROBUST_STEPS if robust else 0):
        trust = weights * _huber(observed - coefficients @ design.T, weights > 0)
        coefficients, inverse, normal = _fit(observed, trust, design, ridge)
    residual = observed - coefficients @ design.T
    later = _design(asked, harmonics, trend, middle)
    leverage = np.einsum("sp,npq,sq->ns", later, inverse, later, optimize=True)
    none = ~(weights > 0).any(axis=1, keepdims=True)
    return Regression(
        mean=np.where(none, np.nan, coefficients @ later.T),
        leverage=np.where(none, 0.0, np.maximum(leverage, 0.0)),
        residual=residual,
        variance=_residual_variance(residual, weights, inverse, normal),
    )


def _kernel(
    values: np.ndarray, weights: np.ndarray, days: np.ndarray, asked: np.ndarray, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._apply` for the shapes."""
    fit = regress(values, weights, days, asked, **options)
    return fit.mean, np.sqrt(fit.variance[:, None] * (1 + fit.leverage))


def _design(days: np.ndarray, harmonics: int, trend: bool, middle: float) -> np.ndarray:
    """Regressors (date, coefficient): one, cosine and sine of each harmonic, years from the middle."""
    phase = 2 * np.pi * days / YEAR_DAYS
    columns = [np.ones_like(days)]
    for k in range(1, harmonics + 1):
        columns += [np.cos(k * phase), np.sin(k * phase)]
    if trend:
        columns.append((days - middle) / YEAR_DAYS)
    return np.stack(columns, axis=1)


def _fit(
    observed: np.ndarray, trust: np.ndarray, design: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (series, p), inverse of the penalised normal matrix, the plain one (series, p, p)."""
    size = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    normal = (trust @ products).reshape(-1, size, size)
    penalty = np.diag([0.0] + [ridge] * (size - 1))
    # the pseudo-inverse gives series with too few dates a defined answer without a branch
    inverse = np.linalg.pinv(normal + penalty, rcond=1e-12, hermitian=True)
    right = (trust * observed) @ design
    return np.einsum("npq,nq->np", inverse, right), inverse, normal


def _huber(residual: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Huber weights of the residuals, on the scale of their median absolute value."""
    size = np.abs(residual)
    ordered = np.sort(np.where(seen, size, np.inf), axis=1)
    middle = np.maximum(seen.sum(axis=1) - 1, 0) // 2
    scale = np.take_along_axis(ordered, middle[:, None], axis=1) / _MAD
    limit = np.where(np.isfinite(scale), _HUBER * scale, 0.0)
    return np.where(size <= limit, 1.0, limit / np.maximum(size, np.finfo(float).tiny))


def _residual_variance(
    residual: np.ndarray, weights: np.ndarray, inverse: np.ndarray, normal: np.ndarray
) -> np.ndarray:
    """Variance of an observation of weight 1, with the residual degrees of freedom tr((I - H)^2)."""
    hat = inverse @ normal
    number = (weights > 0).sum(axis=1)
    dof = number - 2 * np.trace(hat, axis1=1, axis2=2) + np.einsum("npq,nqp->n", hat, hat)
    square = (weights * residual**2).sum(axis=1)
    return np.divide(square, dof, out=np.full(len(dof), np.nan), where=dof > _LEAST_DOF)

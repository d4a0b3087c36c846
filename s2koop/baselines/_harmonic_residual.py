"""Harmonic with decaying residual: climatology, and what the latest observations were off from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from s2koop.baselines._apply import check_number, predict
from s2koop.baselines._harmonic import check_options, regress
from s2koop.baselines._lags import LAG_CLASSES, lag_class

#: The error at a lag counts this many pairs of the error at the next longer lag beside the pairs of the series,
#: so that a lag with no pair or one lucky pair claims no certainty.
_PRIOR_PAIRS = 3.0


def harmonic_residual(
    cube: xr.DataArray,
    *,
    times: Any,
    last: int = 1,
    decay_days: float = 60.0,
    harmonics: int = 2,
    trend: bool = False,
    ridge: float = 0.3,
    robust: bool = True,
    weights: xr.DataArray | None = None,
) -> xr.Dataset:
    r"""Predict each date by `harmonic`, plus the residual of the nearest observations, fading with their distance.

    After the last usable date :math:`t_n` of a series the forecast is

    .. math:: h(t) + m_n \, e^{-(t - t_n)/\tau}

    with the harmonic regression :math:`h`, the decay time :math:`\tau` and the median :math:`m_n` of the residuals
    of the last few usable dates. Before the first usable date it is the same, backwards. In between, the residuals
    before and after the asked date join with the weights that interpolate a process of this memory exactly,

    .. math::

        \frac{\rho_-(1 - \rho_+^2) m_- + \rho_+(1 - \rho_-^2) m_+}{1 - \rho_-^2\rho_+^2},
        \qquad \rho_\pm = e^{-|t_\pm - t| / \tau}.

    So a forecast knows nothing that is not in the cube (cut the cube to keep it honest), and a gap is filled from
    both of its sides.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict: before, within or after the series.
    last : int
        Residuals on each side whose median counts: 1 is the nearest one; 3 is safer where haze gets through, with
        a longer decay (180 days).
    decay_days : float
        After which the residual has faded to 1/e.
    harmonics, trend, ridge, robust, weights
        Of the regression, as in `harmonic`. Any positive weight makes an observation count as a residual.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation), in the units of the cube. The
        spread is the root mean square error that this very rule makes between all pairs of the series' own dates
        about as far apart as the asked date and the nearest residual (with the degrees of freedom of the
        regression), joined with the covariance of the coefficients. It is NaN where the regression leaves no
        degree of freedom, as with one usable value. No usable value: both are NaN.

    Raises
    ------
    InputError
        The cube, the dates or the options cannot be used.

    See Also
    --------
    harmonic : The regression alone.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press, 2006, B.2 (the process
    with exponential memory, whose interpolation the weights are).

    Examples
    --------
    A series around a season of zero: its last value is 0.1 off, and half of that is left after 60 ln 2 days.

    >>> import pandas as pd, xarray as xr
    >>> dates = pd.to_datetime(["2020-05-01", "2020-05-11", "2020-05-21", "2020-05-31"])
    >>> cube = xr.DataArray([0.3, 0.3, 0.3, 0.4], dims="time", coords={"time": dates})
    >>> later = dates[-1] + pd.to_timedelta([0, 41.59, 1000], unit="D")
    >>> harmonic_residual(cube, times=later, harmonics=0)["mean"].values.round(2)
    array([0.4 , 0.35, 0.3 ], dtype=float32)
    """
    check_options(harmonics, trend, ridge, robust)
    check_number("last", last, low=1, whole=True)
    check_number("decay_days", decay_days, low=0, strict=True)
    return predict(
        _kernel,
        cube,
        times,
        name="harmonic_residual",
        long_name="harmonic regression with decaying residual",
        weights=weights,
        options={
            "last": last,
            "decay_days": decay_days,
            "harmonics": harmonics,
            "trend": trend,
            "ridge": ridge,
            "robust": robust,
        },
    )


def _kernel(
    values: np.ndarray,
    weights: np.ndarray,
    days: np.ndarray,
    asked: np.ndarray,
    *,
    last: int,
    decay_days: float,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._apply` for the shapes."""
    fit = regress(values, weights, days, asked, **options)
    residual = np.where(weights > 0, fit.residual, np.nan)
    medians = _running_median(residual, last)
    before, since = _latest(medians, days, asked, side="right")
    # the side after an asked date is the side before it in time reversed; only one of them may hold that very date
    backwards = _running_median(residual[:, ::-1], last)
    after, until = _latest(backwards, -days[::-1], -asked, side="left")
    mean = fit.mean + _interpolate(before, since / decay_days, after, until / decay_days)
    pairs, square = _errors_by_lag(residual, medians, days, decay_days)
    square *= _inflation(residual, weights, fit.variance)[:, None]
    error = _pool(pairs, square, fit.variance)
    nearest = np.minimum(since, until)
    forecast = np.take_along_axis(error, lag_class(np.where(np.isfinite(nearest), nearest, 0.0)), axis=1)
    return mean, np.sqrt(forecast + fit.variance[:, None] * fit.leverage)


def _running_median(residual: np.ndarray, last: int) -> np.ndarray:
    """Median (series, date) of the `last` usable residuals up to each usable date, of fewer at the start; else NaN."""
    seen = np.isfinite(residual)
    order = np.argsort(~seen, axis=1, kind="stable")  # usable ones first, in time
    packed = np.take_along_axis(residual, order, axis=1)
    padded = np.concatenate([np.full((len(packed), last - 1), np.nan), packed], axis=1)
    window = np.sort(np.lib.stride_tricks.sliding_window_view(padded, last, axis=1), axis=2)  # NaN last
    number = np.isfinite(window).sum(axis=2, keepdims=True)
    low, high = (np.maximum(number - 1, 0) // 2, number // 2)
    middle = (np.take_along_axis(window, low, 2) + np.take_along_axis(window, np.minimum(high, last - 1), 2))[
        ..., 0
    ] / 2
    out = np.full_like(residual, np.nan)
    np.put_along_axis(out, order, middle, axis=1)
    return np.where(seen, out, np.nan)


def _latest(medians: np.ndarray, days: np.ndarray, asked: np.ndarray, *, side: Any) -> tuple[np.ndarray, np.ndarray]:
    """The last median (series, asked) up to each asked date and the days since; 0 and infinity where there is none.

    `side` as in `numpy.searchsorted`: "right" counts the asked date itself as known, "left" does not.
    """
    number = np.arange(len(days))
    usable = np.maximum.accumulate(np.where(np.isfinite(medians), number, -1), axis=1)
    known = np.searchsorted(days, asked, side=side) - 1
    source = np.where(known >= 0, usable[:, np.maximum(known, 0)], -1)
    there = source >= 0
    value = np.take_along_axis(medians, np.maximum(source, 0), axis=1)
    return np.where(there, value, 0.0), np.where(there, asked - days[source], np.inf)


def _interpolate(before: np.ndarray, since: np.ndarray, after: np.ndarray, until: np.ndarray) -> np.ndarray:
    """What is left of the residuals on both sides, at distances in decay times."""
    # expm1 keeps the weights exact where both sides are close, where 1 - rho^2 would cancel
    behind, ahead, both = (-np.expm1(-2 * distance) for distance in (since, until, since + until))
    left = np.divide(np.exp(-since) * ahead, both, out=np.ones_like(both), where=both > 0)
    right = np.divide(np.exp(-until) * behind, both, out=np.zeros_like(both), where=both > 0)
    return left * before + right * after


def _errors_by_lag(
    residual: np.ndarray, medians: np.ndarray, days: np.ndarray, decay_days: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of dates, and their summed squared error when each residual is forecast from the median at an earlier one.

    Both (series, class of lag).
    """
    seen = np.isfinite(residual)
    mask = seen.astype(np.float64)
    target, source = np.where(seen, residual, 0.0), np.where(seen, medians, 0.0)
    lag = days - days[:, None]
    earlier = np.triu(np.ones_like(lag, dtype=bool), 1)
    left = np.exp(-np.abs(lag) / decay_days)
    klass = lag_class(np.abs(lag))
    number, square = np.empty((2, len(residual), LAG_CLASSES))
    for k in range(LAG_CLASSES):
        link = (earlier & (klass == k)).astype(np.float64)
        partners = mask @ link
        number[:, k] = (mask * partners).sum(axis=1)
        # sum of (target - left * source)^2 over the pairs, expanded into matrix products
        cross, own = source @ (link * left), source**2 @ (link * left**2)
        square[:, k] = (target**2 * partners - 2 * target * cross + mask * own).sum(axis=1)
    return number, np.maximum(square, 0.0)


def _pool(pairs: np.ndarray, square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mean square error (series, class of lag): each class leans on the next longer one, the longest on the season."""
    error = np.empty_like(square)
    longer = variance
    for k in range(LAG_CLASSES - 1, -1, -1):
        longer = (square[:, k] + _PRIOR_PAIRS * longer) / (pairs[:, k] + _PRIOR_PAIRS)
        error[:, k] = longer
    return error


def _inflation(residual: np.ndarray, weights: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """By how much the squared error (series,) exceeds the residuals of the fit: dates over degrees of freedom."""
    square = (weights * np.where(np.isfinite(residual), residual, 0.0) ** 2).sum(axis=1)
    number = (weights > 0).sum(axis=1)
    return np.divide(variance * number, square, out=np.ones_like(variance), where=square > 0)

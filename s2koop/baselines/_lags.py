"""How far two observations of one series differ, by the time between them: a root mean square of pairs."""

from __future__ import annotations

import numpy as np

#: Edges in days of the classes of lag. Monthly within a year, since a season makes half a year the worst lag.
_EDGES = np.array([0.0, 8.0, 16.0, *range(32, 385, 32), 768.0, 1536.0])
LAG_CLASSES = len(_EDGES)


def rms_difference(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Root mean square difference of the values over `pairs` of dates.

    Parameters
    ----------
    values : array (series, date)
        NaN = missing; a pair counts where both values are there.
    pairs : bool array (date, date)
        Symmetric, False on the diagonal.

    Returns
    -------
    array (series,)
        NaN where a series has no such pair.

    Examples
    --------
    >>> rms_difference(np.array([[1.0, 4.0], [1.0, np.nan]]), ~np.eye(2, dtype=bool))
    array([ 3., nan])
    """
    seen = np.isfinite(values)
    count = seen.sum(axis=1)
    filled = np.where(seen, values, 0.0)
    # sum (a - b)^2 is expanded into matrix products; centring first keeps the cancellation harmless
    centre = filled.sum(axis=1) / np.maximum(count, 1)
    filled = np.where(seen, values - centre[:, None], 0.0)
    mask, link = seen.astype(np.float64), pairs.astype(np.float64)
    partners = mask @ link
    number = (mask * partners).sum(axis=1)
    total = 2.0 * ((filled**2 * partners).sum(axis=1) - (filled * (filled @ link)).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(total, 0.0) / number)


def difference_after(values: np.ndarray, days: np.ndarray, lag: np.ndarray) -> np.ndarray:
    """Root mean square difference (series, asked) of the values of a series about `lag` days apart.

    Lags are sorted into classes; a class without a pair of dates takes the value of the nearest class that
    has one. NaN where a series has fewer than two values.
    """
    return np.take_along_axis(_difference_by_lag(values, days), lag_class(lag), axis=1)


def lag_class(lag: np.ndarray) -> np.ndarray:
    """The class of each lag in days (0 or more): one of `LAG_CLASSES` numbers from 0."""
    return np.searchsorted(_EDGES, lag, side="right") - 1


def _difference_by_lag(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Root mean square difference per class of lag (series, class), of the nearest class where empty."""
    klass = lag_class(np.abs(days[:, None] - days))
    np.fill_diagonal(klass, -1)
    table = np.stack([rms_difference(values, klass == k) for k in range(LAG_CLASSES)], axis=1)
    return _fill_from_nearest(table)


def _fill_from_nearest(table: np.ndarray) -> np.ndarray:
    """Fill the NaNs of each row from its nearest column that has a value, the earlier one in a tie."""
    columns = np.arange(table.shape[1])
    full = np.isfinite(table)
    left = np.maximum.accumulate(np.where(full, columns, -table.shape[1]), axis=1)
    right = np.minimum.accumulate(np.where(full, columns, 3 * table.shape[1])[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(columns - left <= right - columns, left, right)
    return np.take_along_axis(table, np.clip(nearest, 0, len(columns) - 1), axis=1)

"""Same day last year: the series' own value one year, or as few whole years as needed, before."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from s2koop._time import YEAR_DAYS
from s2koop.baselines._apply import check_number, predict
from s2koop.baselines._lags import rms_difference

#: Two dates count as a year apart when their distance is this close, in days, to a whole number of years.
_ANNIVERSARY = 15.0


def same_day_last_year(cube: xr.DataArray, *, times: Any, reach: float = 90.0) -> xr.Dataset:
    """Predict each date by the value on the same day of the year before.

    The value is interpolated linearly between the usable dates around that day. Where the cube ends more
    than a year before an asked date, the day lies as few whole years back as it takes to be covered.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict.
    reach : float
        How many days the first and the last usable value of a series may be carried beyond their dates;
        farther out the result is NaN (as for all dates of the first year of a series).

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation), in the units of the cube. The spread is the
        root mean square difference of the series' own values a whole number of years (within 15 days) apart,
        or of all pairs where there are none; NaN where a series has one usable value only.

    Raises
    ------
    InputError
        The cube, the dates or the options cannot be used.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> dates = pd.to_datetime(["2019-05-01", "2019-05-11", "2020-05-01"])
    >>> cube = xr.DataArray([[[[0.1]]], [[[0.2]]], [[[0.3]]]],
    ...                     dims=("time", "band", "y", "x"), coords={"time": dates})
    >>> same_day_last_year(cube, times="2020-05-05T06:00")["mean"].values.round(3).ravel()
    array([0.15], dtype=float32)
    """
    check_number("reach", reach, low=0)
    return predict(
        _kernel,
        cube,
        times,
        name="same_day_last_year",
        long_name="same day last year",
        options={"reach": reach},
    )


def _kernel(
    values: np.ndarray, weights: np.ndarray, days: np.ndarray, asked: np.ndarray, *, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._apply` for the shapes."""
    years = np.maximum(1, np.ceil((asked - days[-1]) / YEAR_DAYS))
    mean = _interpolate(values, weights > 0, days, asked - years * YEAR_DAYS, reach)
    spread = np.broadcast_to(_year_to_year(values, days)[:, None], mean.shape)
    return mean, np.where(np.isfinite(mean), spread, np.nan)


def _interpolate(
    values: np.ndarray, seen: np.ndarray, days: np.ndarray, wanted: np.ndarray, reach: float
) -> np.ndarray:
    """Linear in time between the usable dates around each wanted day, held for `reach` days at both ends."""
    count = len(days)
    number = np.arange(count)
    before = np.maximum.accumulate(np.where(seen, number, -1), axis=1)
    after = np.minimum.accumulate(np.where(seen, number, count)[:, ::-1], axis=1)[:, ::-1]
    # a column of "none" at the outer end makes days outside the cube ordinary indices
    before = np.concatenate([np.full((len(values), 1), -1), before], axis=1)
    after = np.concatenate([after, np.full((len(values), 1), count)], axis=1)
    left = before[:, np.searchsorted(days, wanted, side="right")]
    right = after[:, np.searchsorted(days, wanted, side="left")]
    left_day = np.where(left >= 0, days[np.maximum(left, 0)], -np.inf)
    right_day = np.where(right < count, days[np.minimum(right, count - 1)], np.inf)
    left_value = np.take_along_axis(values, np.maximum(left, 0), axis=1)
    right_value = np.take_along_axis(values, np.minimum(right, count - 1), axis=1)
    both = np.isfinite(left_day) & np.isfinite(right_day)
    # two usable values on the wanted day itself: half of each
    share = np.divide(
        wanted - left_day,
        right_day - left_day,
        out=np.full(both.shape, 0.5),
        where=both & (right_day > left_day),
    )
    held = np.where(wanted - left_day <= reach, left_value, np.where(right_day - wanted <= reach, right_value, np.nan))
    return np.where(both, left_value + share * (right_value - left_value), held)


def _year_to_year(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Root mean square difference of values whole years apart, or of all pairs where there are none."""
    lag = np.abs(days[:, None] - days)
    years = np.rint(lag / YEAR_DAYS)
    anniversary = rms_difference(values, (years >= 1) & (np.abs(lag - years * YEAR_DAYS) <= _ANNIVERSARY))
    any_pair = rms_difference(values, ~np.eye(len(days), dtype=bool))
    return np.where(np.isfinite(anniversary), anniversary, any_pair)

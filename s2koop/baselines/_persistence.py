"""Persistence: the last usable value stays, and its error grows with the time since."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from s2koop.baselines._apply import predict
from s2koop.baselines._lags import difference_after


def persistence(cube: xr.DataArray, *, times: Any) -> xr.Dataset:
    """Predict each date by the last usable value at or before it.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict: within or after the series. Before the first usable value of a series there is
        nothing to persist, and mean and spread are NaN.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation), in the units of the cube. The spread is the
        root mean square difference of all pairs of the series' own values that lie about as far apart in
        time as the value and the asked date do; it is NaN where a series has one usable value only.

    Raises
    ------
    InputError
        The cube or the dates cannot be used.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> dates = pd.to_datetime(["2020-05-01", "2020-05-06", "2020-05-11"])
    >>> cube = xr.DataArray([[[[0.1]]], [[[0.2]]], [[[float("nan")]]]],
    ...                     dims=("time", "band", "y", "x"), coords={"time": dates})
    >>> result = persistence(cube, times=["2020-04-30", "2020-05-12"])
    >>> result["mean"].values.ravel()
    array([nan, 0.2], dtype=float32)
    >>> result["spread"].values.ravel()
    array([nan, 0.1], dtype=float32)
    """
    return predict(
        _kernel, cube, times, name="persistence", long_name="persistence of the last usable value", options={}
    )


def _kernel(
    values: np.ndarray, weights: np.ndarray, days: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._apply` for the shapes."""
    number = np.arange(len(days))
    last_usable = np.maximum.accumulate(np.where(weights > 0, number, -1), axis=1)
    known = np.searchsorted(days, asked, side="right") - 1  # the last date of the cube, usable or not
    source = np.where(known >= 0, last_usable[:, np.maximum(known, 0)], -1)
    there = source >= 0
    mean = np.where(there, np.take_along_axis(values, np.maximum(source, 0), axis=1), np.nan)
    lag = np.where(there, asked - days[source], 0.0)
    return mean, np.where(there, difference_after(values, days, lag), np.nan)

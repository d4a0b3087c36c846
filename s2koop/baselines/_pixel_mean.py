"""Pixel mean: every date is predicted by the mean of all usable values of the series."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from s2koop.baselines._apply import predict


def pixel_mean(cube: xr.DataArray, *, times: Any) -> xr.Dataset:
    """Predict each date by the mean of all usable values of the pixel and band.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict: before, within or after the series.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation), in the units of the cube. The spread is
        the standard deviation of the n usable values times ``sqrt(1 + 1/n)``, for the mean is uncertain too;
        it is NaN for one usable value. No usable value: both are NaN.

    Raises
    ------
    InputError
        The cube or the dates cannot be used.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> dates = pd.to_datetime(["2020-05-01", "2020-05-06"])
    >>> cube = xr.DataArray([[[[0.1]]], [[[0.3]]]], dims=("time", "band", "y", "x"), coords={"time": dates})
    >>> pixel_mean(cube, times="2020-06-01")["mean"].values.ravel()
    array([0.2], dtype=float32)
    """
    return predict(_kernel, cube, times, name="pixel_mean", long_name="mean of all usable values", options={})


def _kernel(
    values: np.ndarray, weights: np.ndarray, days: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._apply` for the shapes."""
    seen = weights > 0
    number = seen.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, values, 0.0).sum(axis=1, keepdims=True) / number
        square = np.where(seen, (values - mean) ** 2, 0.0).sum(axis=1, keepdims=True)
        variance = np.where(number > 1, square / (number - 1) * (1 + 1 / number), np.nan)
    shape = (len(values), len(asked))
    return np.broadcast_to(mean, shape), np.broadcast_to(np.sqrt(variance), shape)

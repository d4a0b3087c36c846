"""A small cube of seasonal reflectance with clouds and noise, whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from s2koop._time import YEAR_DAYS, to_days


def seasonal_cube(
    *,
    start: str = "2019-01-01",
    end: str = "2021-01-01",
    every_days: int = 10,
    shape: tuple[int, int] = (4, 5),
    noise: float = 0.01,
    cloud: float = 0.3,
    seed: int = 0,
    truth: bool = False,
) -> xr.DataArray:
    """Simulated red and near-infrared reflectance over vegetation that differs from pixel to pixel.

    Each pixel has an annual cycle of its own amplitude and date; red falls where near infrared rises. The dynamics are
    linear: a constant and one rotation with the period of a year.

    Parameters
    ----------
    start, end : str
        First and last date.
    every_days : int
        Days between acquisitions.
    shape : (int, int)
        Rows and columns.
    noise : float
        Standard deviation of the observation error, in reflectance.
    cloud : float
        Fraction of pixels and dates that are masked, independently.
    seed : int
    truth : bool
        Return the cube without noise and clouds.

    Returns
    -------
    DataArray, dims (time, band, y, x), float32
        Bands B04 and B08; ``attrs["title"]`` says that it is simulated.

    Examples
    --------
    >>> seasonal_cube(seed=1).dims
    ('time', 'band', 'y', 'x')
    """
    rng = np.random.default_rng(seed)
    dates = pd.date_range(start, end, freq=f"{every_days}D")
    day = to_days(dates)[:, None, None]
    vigour = rng.uniform(0.3, 1.0, shape)
    peak = 190 + 25 * rng.standard_normal(shape)
    green = 0.5 * (1 + np.cos(2 * np.pi * (day - peak) / YEAR_DAYS)) * vigour
    clean = np.stack([0.12 - 0.08 * green, 0.18 + 0.25 * green], axis=1)
    values = clean
    if not truth:
        values = clean + noise * rng.standard_normal(clean.shape)
        values = np.where((rng.random((len(dates), *shape)) < cloud)[:, None], np.nan, values)
    return xr.DataArray(
        values.astype(np.float32),
        dims=("time", "band", "y", "x"),
        coords={
            "time": dates.values.astype("datetime64[ns]"),
            "band": ["B04", "B08"],
            "y": 5_000_000.0 - 20.0 * np.arange(shape[0]),
            "x": 500_000.0 + 20.0 * np.arange(shape[1]),
        },
        attrs={
            "title": "simulated seasonal reflectance",
            "level": "BOA",
            "sensor": "simulated",
            "units": "1",
        },
        name="reflectance",
    )

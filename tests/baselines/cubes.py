"""Small irregular cubes with holes, for the tests of the baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

NAMES = ("harmonic", "harmonic_residual", "persistence", "pixel_mean", "same_day_last_year", "whittaker")

#: Baselines that learn from the scene: the dates to ask them for in a cube, and options that keep them quick.
LEARNED: dict[str, tuple[Callable[[xr.DataArray], Any], dict[str, Any]]] = {
    "dmd": (lambda cube: ["2016-06-01", "2018-03-01", "2020-02-01"], {"rank": 2, "bags": 3}),
    "gaussian_process": (lambda cube: ["2016-06-01", "2018-03-01", "2020-02-01"], {"max_iterations": 5}),
    "low_rank": (lambda cube: None, {}),
    "lstm": (lambda cube: ["2020-02-01", "2021-07-01"], {"hidden": 4, "max_batches": 5, "lookback": 60}),
}


def irregular_cube(seed: int = 0, *, dates: int = 60, bands: int = 2, rows: int = 3, cols: int = 4) -> xr.DataArray:
    """A seasonal cube over three years: irregular dates, one of them twice, 30 % missing, EPSG:32635.

    Pixel (0, 0) has no usable value, pixel (0, 1) has one.
    """
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(1095, size=dates - 1, replace=False))
    days = np.sort(np.append(days, days[dates // 2]))
    time = pd.Timestamp("2017-01-03T10:30") + pd.to_timedelta(days, unit="D")
    phase = 2 * np.pi * days[:, None, None, None] / 365.2425
    values = 0.3 + 0.1 * np.sin(phase + rng.uniform(0, 6, (bands, rows, cols)))
    values = values + 0.02 * rng.standard_normal(values.shape)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, :, 0, 0] = np.nan
    values[:, :, 0, 1] = np.nan
    values[7, :, 0, 1] = 0.25
    cube = xr.DataArray(
        values.astype(np.float32),
        dims=("time", "band", "y", "x"),
        coords={
            "time": time,
            "band": ["B04", "B8A", "B11"][:bands],
            "y": 5_000_000.0 - 20 * np.arange(rows),
            "x": 300_000.0 + 20 * np.arange(cols),
            "cloud_cover": ("time", rng.uniform(0, 90, dates)),
            "common_name": ("band", ["red", "nir", "swir"][:bands]),
        },
        attrs={"level": "BOA", "sensor": "S2", "units": "1", "history": "simulated"},
        name="reflectance",
    )
    return cube.rio.write_crs(32635)


#: Before, inside (once on an observed date, twice the same) and after the dates of `irregular_cube`.
ASKED = pd.to_datetime(
    ["2016-06-01", "2017-05-05", "2018-03-01", "2018-03-01", "2019-09-09T10:30", "2020-02-01", "2021-07-01"],
    format="ISO8601",
)


def series_of(cube: xr.DataArray) -> np.ndarray:
    """The values as float64 (series, date)."""
    return cube.transpose("band", "y", "x", "time").values.reshape(-1, cube.sizes["time"]).astype(np.float64)


def rows_of(result: xr.DataArray) -> np.ndarray:
    """The result as (series, asked date)."""
    return result.transpose("band", "y", "x", "time").values.reshape(-1, result.sizes["time"])

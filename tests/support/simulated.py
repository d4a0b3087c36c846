"""A simulated forest cube with a result and held-out observations: small, with clouds, and known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers .rio
import xarray as xr

#: Mean, seasonal amplitude and yearly trend of the reflectance of each simulated band.
_BANDS = {"B04": (0.06, -0.025, 0.0), "B8A": (0.28, 0.11, 0.004), "B11": (0.16, 0.03, 0.0)}


@dataclass(frozen=True)
class Simulated:
    """Observations, an estimate with its spread on a regular axis, and what came later."""

    cube: xr.DataArray
    result: xr.Dataset
    later: xr.DataArray


def simulated(*, size: tuple[int, int] = (40, 50), seed: int = 7, bands: tuple[str, ...] = tuple(_BANDS)) -> Simulated:
    """Two years of observations every ten days with clouds, an estimate every five, half a year held out."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2018-01-05", "2020-06-30", freq="10D")
    seen = _truth(days, bands, size) + rng.normal(0, 0.008, (days.size, len(bands), *size))
    seen = seen.where(~_clouds(rng, days.size, size).values[:, None]).astype("float32")
    seen = seen.assign_attrs(level="BOA", sensor="simulated", units="1").rio.write_crs(32635)
    axis = pd.date_range("2018-01-05", "2020-06-30", freq="5D")
    mean = _truth(axis, bands, size).astype("float32").assign_attrs(units="1")
    doubt = 0.01 + 0.0001 * np.clip(np.asarray((axis - pd.Timestamp("2019-12-31")).days), 0, None)
    spread = (xr.DataArray(doubt, dims="time") * mean / mean.mean()).transpose(*mean.dims).astype("float32")
    result = xr.Dataset({"mean": mean, "spread": spread}, attrs={"method": "koopman"})
    return Simulated(seen.sel(time=slice(None, "2019")), result, seen.sel(time=slice("2020", None)))


def _truth(days: pd.DatetimeIndex, bands: tuple[str, ...], size: tuple[int, int]) -> xr.DataArray:
    rows, cols = size
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : cols * 1j]
    stand = (
        0.75 + 0.25 * np.sin(7 * x + 3 * y) * np.cos(5 * y - 2 * x) + 0.15 * ((x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.05)
    )
    year = np.asarray((days - days[0]).days) / 365.25
    season = np.cos(2 * np.pi * (year - 0.54))
    values = [(m + a * season[:, None, None] + t * year[:, None, None]) * stand for m, a, t in map(_BANDS.get, bands)]
    return xr.DataArray(
        np.stack(values, axis=1),
        dims=("time", "band", "y", "x"),
        coords={
            "time": days.values,
            "band": list(bands),
            "y": 5_215_000.0 - 20.0 * np.arange(rows),
            "x": 412_000.0 + 20.0 * np.arange(cols),
        },
    )  # fmt: skip


def _clouds(rng: np.random.Generator, dates: int, size: tuple[int, int]) -> xr.DataArray:
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    phase, cover = rng.uniform(0, 6.3, (3, dates, 1, 1)), rng.uniform(-1.6, 1.2, (dates, 1, 1))
    waves = np.sin(x / 6 + phase[0]) + np.sin(y / 5 + phase[1]) * np.cos((x + y) / 11 + phase[2])
    return xr.DataArray(waves < cover, dims=("time", "y", "x"))

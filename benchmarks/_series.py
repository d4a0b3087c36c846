"""The real series of the accuracy benchmark: where they lie, how they become cubes, and where their tests begin."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

#: Real measurements that are not part of the repository; the tests look for them in the same place.
DATA = Path(os.environ.get("S2KOOP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
_DIGITS = 10_000


@dataclass(frozen=True)
class Series:
    """A cube with a test period.

    Attributes
    ----------
    name : str
    cube : DataArray (time, band, y, x)
        All dates on which something was seen, up to the end of the test period.
    start : Timestamp
        First day of the test period, which lasts to the end of the cube.
    """

    name: str
    cube: xr.DataArray
    start: pd.Timestamp

    @property
    def training(self) -> xr.DataArray:
        """What was seen before the test period."""
        return self.cube.sel(time=self.cube.time < self.start.to_datetime64())

    @property
    def test(self) -> xr.DataArray:
        """What was seen in the test period."""
        return self.cube.sel(time=self.cube.time >= self.start.to_datetime64())

    def origins(self, least_clear: float = 0.5) -> list[np.datetime64]:
        """Dates of the test period on which more than this share of the pixels is clear; but not its last date."""
        clear = self.test.notnull().any("band").mean(("y", "x"))
        dates = self.test["time"].values
        return [date for date in dates[(clear > least_clear).values] if date < dates[-1]]


@dataclass(frozen=True)
class _Source:
    """How a series is read, when its test begins, and the earlier period on which settings are chosen."""

    read: Callable[[], xr.DataArray]
    test: str
    validation: tuple[str, str]


def load(name: str, *, validate: bool = False, every: int = 1) -> Series:
    """One series, whole or thinned.

    Parameters
    ----------
    name : {"Romania", "Drome", "Slovenia"}
    validate : bool
        Test an earlier period and drop all that comes after it, so that settings can be chosen without a look at
        the period of the test.
    every : int
        Keep each so many-th pixel in both directions.
    """
    source = SOURCES[name]
    cube = source.read().isel(y=slice(None, None, every), x=slice(None, None, every))
    start = source.test
    if validate:
        start, end = source.validation
        cube = cube.sel(time=cube.time < np.datetime64(end))
    return Series(name, cube, pd.Timestamp(start))


def _reflectance(file: str) -> Callable[[], xr.DataArray]:
    """Surface reflectance where the file's own mask says usable: scene classes 4 to 7, so haze is in it."""

    def read() -> xr.DataArray:
        with xr.open_dataset(_found(file)) as data:
            values = data["reflectance"].where((data["mask"] == 1) & (data["reflectance"] > 0)) / _DIGITS
            cube = values.astype(np.float32).load()
        return _as_cube(cube, level="BOA")

    return read


def _ndvi() -> xr.DataArray:
    """NDVI of top-of-atmosphere reflectance, without what its cloud mask marks."""
    with np.load(_found("s2_l1c_toa_scenes_si_eolearn.npz")) as data:
        values, cloudy = data["ndvi_toa_68"].astype(np.float32), data["cloud_mask_68"] > 0
        times = pd.to_datetime(data["time_68"])
    values[cloudy] = np.nan
    rows, columns = values.shape[1:]
    coords = {"time": times, "band": ["NDVI"], "y": -20.0 * np.arange(rows), "x": 20.0 * np.arange(columns)}
    return _as_cube(xr.DataArray(values[:, None], dims=("time", "band", "y", "x"), coords=coords), level="TOA")


def _as_cube(cube: xr.DataArray, *, level: str) -> xr.DataArray:
    cube = cube.transpose("time", "band", "y", "x").sortby("time").dropna("time", how="all")
    return cube.assign_attrs(level=level, sensor="Sentinel-2", units="1")


def _found(file: str) -> Path:
    path = DATA / file
    if not path.exists():
        raise SystemExit(f"{file} is not in {DATA}; set S2KOOP_TEST_DATA to the folder that holds the real series")
    return path


SOURCES = {
    "Romania": _Source(_reflectance("s2_timeseries_ro_nrt_20m.nc"), "2020-01-01", ("2019-01-01", "2020-01-01")),
    "Drome": _Source(_reflectance("s2_timeseries_fr_nrt_10x10_20m.nc"), "2019-01-01", ("2018-01-01", "2019-01-01")),
    # before 2017 there are 32 dates in all, hence no whole year to test on
    "Slovenia": _Source(_ndvi, "2017-01-01", ("2016-07-01", "2017-01-01")),
}

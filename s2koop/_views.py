"""What a session hands out: pictures, pixel series and read-outs, as plain immutable records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from s2koop._frames import decode

Quantity = Literal["reflectance", "spread"]


@dataclass(frozen=True)
class Product:
    """A stack of rasters that can be shown: its name, its (time, band, y, x) values, and what they are.

    `source` is the first product that is read along with it: mean and spread of a result are one computation.
    """

    name: str
    values: xr.DataArray
    quantity: Quantity
    source: str

    @property
    def variable(self) -> str:
        """The name of its values in the source."""
        return "spread" if self.quantity == "spread" else "mean"

    def number(self, band: str) -> int | None:
        """Where a band stands, None if it is not there."""
        found = np.flatnonzero(self.values["band"].values.astype(str) == band)
        return int(found[0]) if found.size else None


@dataclass(frozen=True)
class Frame:
    """One date of one product and band as uint8 levels (y, x); 0 is no data, 1..255 span `low`..`high`."""

    product: str
    band: str
    date: np.datetime64
    levels: np.ndarray
    low: float
    high: float

    @property
    def values(self) -> np.ndarray:
        """The values the levels stand for, float32 (y, x), NaN where there is no data."""
        return decode(self.levels, self.low, self.high)


@dataclass(frozen=True)
class Frames:
    """All dates of one product and band as uint8 levels (time, y, x), every `stride`-th pixel."""

    product: str
    band: str
    dates: np.ndarray
    levels: np.ndarray
    low: float
    high: float
    stride: int

    def clearest(self) -> int:
        """Index of the latest of the dates with the fewest pixels missing."""
        seen = (self.levels != 0).sum(axis=(1, 2))
        return int(np.flatnonzero(seen == seen.max())[-1])


@dataclass(frozen=True)
class Points:
    """Observations of one pixel that exist: `time` (datetime64) and `value` (float), both (n,)."""

    time: np.ndarray
    value: np.ndarray

    def on(self, date: np.datetime64) -> float | None:
        """The value within half a day of `date`, the nearest if there are several; None if there is none."""
        index = nearest(self.time, date)
        return None if index is None else float(self.value[index])


@dataclass(frozen=True)
class Estimate:
    """A method's series at one pixel: `mean`, and the interval `low` to `high` (NaN without a spread)."""

    time: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def on(self, date: np.datetime64) -> tuple[float, float] | None:
        """Mean and half width of the interval within half a day of `date`; None if there is none."""
        index = nearest(self.time, date)
        if index is None or not np.isfinite(self.mean[index]):
            return None
        return float(self.mean[index]), float(self.high[index] - self.low[index]) / 2


@dataclass(frozen=True)
class Series:
    """Everything known about one band of one pixel: observations, estimates by name, later observations."""

    band: str
    pixel: tuple[int, int]
    x: float
    y: float
    level: float
    quantity: str
    observed: Points
    estimates: Mapping[str, Estimate]
    later: Points | None


@dataclass(frozen=True)
class Reading:
    """The values of one pixel on one date; None where a source has no value within half a day."""

    band: str
    pixel: tuple[int, int]
    x: float
    y: float
    date: np.datetime64
    level: float
    observed: float | None
    estimates: Mapping[str, tuple[float, float] | None]
    later: float | None


def nearest(times: np.ndarray, date: np.datetime64, *, hours: int = 12) -> int | None:
    """Index of the entry of `times` nearest to `date`, None if it is more than `hours` away.

    >>> nearest(np.array(["2020-01-01", "2020-01-06"], "datetime64[ns]"), np.datetime64("2020-01-05T20:00"))
    1
    """
    if times.size == 0:
        return None
    distance = np.abs(times - date)
    index = int(distance.argmin())
    return index if distance[index] <= np.timedelta64(hours, "h") else None

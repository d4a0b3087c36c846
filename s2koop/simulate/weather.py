"""What all pixels of a simulated scene share: seasons that differ from year to year, moisture, snow, sun and view."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from s2koop._time import YEAR_DAYS, from_days, to_days
from s2koop.catalog._sun import sun_position
from s2koop.simulate.fields import Array, ornstein_uhlenbeck

#: Shift of a season's start and end (days) and of its vigour (logarithm), one standard deviation from year to year.
START, END, VIGOUR = 6.0, 6.0, 0.07
#: Days in which anomalies of growth, of leaf water and of the ground's moisture forget.
GROWTH_DECAY, DROUGHT_DECAY, RAIN_DECAY = 60.0, 45.0, 15.0


@dataclass(frozen=True)
class Weather:
    """The shared conditions of a scene; time series have one entry per date, years one per year.

    Attributes
    ----------
    days : float64 array (time,)
        Days since 2000-01-01.
    year_starts : float64 array (year,)
        First days of the years, from the one before the first date to the one after the last.
    start, end, vigour : float32 arrays (year,)
        Anomalies of the season.
    growth, drought, rain : float32 arrays (time,)
        Anomalies of variance 1.
    cold : float32 array (time,)
        Positive where the middle of the scene is under snow.
    sun_zenith, view_zenith, azimuth : float32 arrays (time,)
        Degrees.
    """

    days: npt.NDArray[np.float64]
    year_starts: npt.NDArray[np.float64]
    start: Array
    end: Array
    vigour: Array
    growth: Array
    drought: Array
    rain: Array
    cold: Array
    sun_zenith: Array
    view_zenith: Array
    azimuth: Array

    @property
    def winter(self) -> Array:
        """1 in the middle of January, -1 in the middle of July."""
        return _winter(self.days)


def draw_weather(
    rng: np.random.Generator, days: npt.NDArray[np.float64], orbit: npt.NDArray[np.int64], *,
    latitude: float, snow_days: float,
) -> Weather:  # fmt: skip
    """The weather of a scene on its dates, seen from the given orbits (0, 1, ...)."""
    first, last = (int(from_days(d).astype("datetime64[Y]").astype(int)) for d in days[[0, -1]])
    starts = to_days(np.arange(first - 1, last + 3).astype("datetime64[Y]").astype("datetime64[ns]"))
    anomalies = rng.standard_normal((3, len(starts))).astype(np.float32)

    def series(decay: float) -> Array:
        return ornstein_uhlenbeck(days, decay, lambda: _number(rng))

    sun = np.array([_sun(day, latitude) for day in days], np.float32)
    zenith, azimuth = _views(rng, int(orbit.max()) + 1)
    return Weather(
        days=days,
        year_starts=starts,
        start=START * anomalies[0],
        end=END * anomalies[1],
        vigour=VIGOUR * anomalies[2],
        growth=series(GROWTH_DECAY),
        drought=series(DROUGHT_DECAY),
        rain=series(RAIN_DECAY),
        cold=_cold(rng, days, snow_days),
        sun_zenith=sun[:, 0],
        view_zenith=zenith[orbit],
        azimuth=np.abs((azimuth[orbit] - sun[:, 1] + 180) % 360 - 180),
    )


def _number(rng: np.random.Generator) -> Array:
    return rng.standard_normal((), dtype=np.float32)


def _winter(days: npt.NDArray[np.float64]) -> Array:
    return np.cos(2 * np.pi * (days - 14) / YEAR_DAYS).astype(np.float32)  # the epoch is a first of January


def _cold(rng: np.random.Generator, days: npt.NDArray[np.float64], snow_days: float) -> Array:
    """An index that is positive on `snow_days` days of a mean year, in spells of about two weeks."""
    every = np.arange(np.floor(days[0]), np.floor(days[-1]) + 2)
    whole = np.arange(every[0], max(every[-1], every[0] + 10 * YEAR_DAYS) + 1)  # ten winters say what a mean one is
    spells = ornstein_uhlenbeck(whole, 12.0, lambda: _number(rng))
    index = _winter(whole) + 0.35 * spells
    limit = np.quantile(index, 1 - snow_days / YEAR_DAYS) if snow_days else index.max() + 10
    return np.interp(days, whole, index - limit).astype(np.float32)


def _sun(day: float, latitude: float) -> tuple[float, float]:
    """Zenith and azimuth at the overpass, 10:50 of local solar time."""
    overpass = datetime(2000, 1, 1, 10, 50, tzinfo=UTC) + timedelta(days=float(np.floor(day)))
    elevation, azimuth = sun_position(overpass, 0.0, latitude)
    return 90 - elevation, azimuth


def _views(rng: np.random.Generator, orbits: int) -> tuple[Array, Array]:
    """Zenith and azimuth of the view from each orbit: a scene lies in the same place of a swath every time."""
    across = rng.uniform(-10, 10, orbits)
    return np.abs(across).astype(np.float32), np.where(across < 0, 104.0, 284.0).astype(np.float32)

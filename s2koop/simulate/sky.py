"""What stands between a surface and its observation: dates, clouds, missed cloud and shadow, haze, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2koop._time import YEAR_DAYS, to_days
from s2koop.simulate.fields import Array, smooth_fields
from s2koop.simulate.materials import WAVELENGTH

#: States of an observation, in the order of their codes.
STATES = ("clear", "missed_cloud", "missed_shadow", "hidden", "cloudy_date")
#: Noise of each band relative to the option `noise`: brighter bands have more.
NOISE = np.array([0.9, 0.8, 0.8, 1.0, 1.2, 1.3, 1.6, 1.4, 1.2, 1.0], np.float32)
#: From this day Sentinel-2B doubles the revisit.
_SECOND_SATELLITE = to_days("2017-07-01")
_CLOUD = np.array([0.62, 0.60, 0.60, 0.61, 0.62, 0.62, 0.62, 0.62, 0.42, 0.30], np.float32)


@dataclass(frozen=True)
class Sky:
    """The sky of every date.

    Attributes
    ----------
    state : int8 array (time, y, x)
        Index into `STATES`; from ``hidden`` on there is no observation.
    opacity : float32 array (time, y, x)
        Of missed cloud and shadow: 0 where the sky is clear.
    haze : float32 array (time, band, y, x)
        What haze, or its correction, adds to reflectance.
    """

    state: npt.NDArray[np.int8]
    opacity: Array
    haze: Array


def acquisitions(
    rng: np.random.Generator, start: np.datetime64, years: float, revisit: float, orbits: int, lost: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Days of the overpasses (time,), and the orbit of each: one satellite until July 2017, then two, some lost."""
    first = float(to_days(start))
    found = []
    for one in range(orbits):
        number = np.arange(np.ceil(years * YEAR_DAYS / revisit))
        days = first + revisit * number + np.round(one * revisit / orbits)
        kept = (days >= _SECOND_SATELLITE) | (number % 2 == 0)
        found += [(day, one) for day in days[kept & (rng.random(len(days)) >= lost)]]
    days, orbit = np.array(sorted(found)).reshape(-1, 2).T
    inside = days < first + years * YEAR_DAYS
    return days[inside], orbit[inside].astype(np.int64)


def draw_sky(
    rng: np.random.Generator, days: npt.NDArray[np.float64], shape: tuple[int, int], *, clear_share: float,
    cloud_share: float, missed: float, haze: float, length: float,
) -> Sky:  # fmt: skip
    """Exactly ``round(clear_share * time)`` dates are not wholly cloudy; those lose `cloud_share` on average."""
    open_dates = _open_dates(rng, days, clear_share)
    state = np.full((len(days), *shape), STATES.index("cloudy_date"), np.int8)
    opacity = np.zeros((len(days), *shape), np.float32)
    cover = _covers(rng, int(open_dates.sum()), cloud_share)
    for at, share in zip(np.flatnonzero(open_dates), cover, strict=True):
        state[at], opacity[at] = _clouds(rng, shape, share, missed, length)
    return Sky(state, opacity, _haze(rng, len(days), shape, haze, length))


def observe(rng: np.random.Generator, truth: Array, sky: Sky, noise: Array) -> Array:
    """The observed cube (time, band, y, x): NaN where the mask hides it; `noise` is per band."""
    seen = truth + sky.haze
    opacity = sky.opacity[:, None]
    cloud = (sky.state == STATES.index("missed_cloud"))[:, None]
    seen += opacity * np.where(cloud, _CLOUD[:, None, None] - seen, -seen)
    seen += noise[:, None, None] * rng.standard_normal(seen.shape, dtype=np.float32)
    seen[np.broadcast_to((sky.state >= STATES.index("hidden"))[:, None], seen.shape)] = np.nan
    return seen


def _open_dates(rng: np.random.Generator, days: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Dates that are not wholly cloudy: winters have fewer, and the weather lasts for some days."""
    winter = np.cos(2 * np.pi * (days - 14) / YEAR_DAYS)
    score = rng.standard_normal(len(days)) + 0.5 * winter
    chosen = np.zeros(len(days), bool)
    chosen[np.argsort(score)[: round(share * len(days))]] = True
    return chosen


def _covers(rng: np.random.Generator, count: int, mean: float) -> npt.NDArray[np.float64]:
    """Cloud cover of each date, mostly near 0 or near 1, whose mean is exactly `mean`."""
    if not count or not mean:
        return np.zeros(count)
    drawn = rng.beta(0.4, 0.4 * (1 - mean) / mean, count)
    for _ in range(50):  # shares end at 0.95, so one scaling is not enough
        drawn = np.minimum(drawn * (mean / max(drawn.mean(), 1e-9)), 0.95)
    return drawn


def _clouds(
    rng: np.random.Generator, shape: tuple[int, int], cover: float, missed: float, length: float
) -> tuple[npt.NDArray[np.int8], Array]:
    """One date: a patchy cloud and its shadow hide `cover`; of the ring around it, `missed` passes the mask."""
    cloud = smooth_fields(rng, 1, shape, length)[0]
    shift = max(1, round(length / 2))
    shadow = np.roll(cloud, (-shift, shift), (0, 1)) - 0.4
    thick = np.maximum(cloud, shadow)
    rank = np.empty(thick.size)
    rank[np.argsort(thick, axis=None)] = (np.arange(thick.size) + 0.5) / thick.size
    rank = rank.reshape(shape)
    hidden = rank > 1 - cover
    ring = ~hidden & (rank > 1 - cover - missed) if cover else np.zeros(shape, bool)
    state = np.where(ring, np.where(cloud >= shadow, STATES.index("missed_cloud"), STATES.index("missed_shadow")), 0)
    state[hidden] = STATES.index("hidden")
    strength = rng.uniform(0.1, 0.5) * (0.4 + 0.6 * (rank - (1 - cover - missed)) / max(missed, 1e-9))
    return state.astype(np.int8), np.where(ring, strength, 0).astype(np.float32)


def _haze(rng: np.random.Generator, dates: int, shape: tuple[int, int], scale: float, length: float) -> Array:
    """Usually little, of either sign (the correction errs too), now and then much; strongest in the blue."""
    amount = 0.5 * rng.standard_normal(dates) + np.where(rng.random(dates) < 0.2, rng.exponential(2.5, dates), 0)
    slope = rng.uniform(0.3, 2.0, dates)
    spectrum = (WAVELENGTH[0] / WAVELENGTH) ** slope[:, None]
    pattern = 1 + 0.3 * smooth_fields(rng, dates, shape, 4 * length)
    strength = (scale * amount).astype(np.float32)
    return (strength[:, None] * spectrum.astype(np.float32))[..., None, None] * pattern[:, None]

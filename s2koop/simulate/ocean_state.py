"""The state of a sea and of the air above it, and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from s2koop._numbers import real, whole
from s2koop.errors import InputError
from s2koop.simulate.ocean_phenomena import TAGS
from s2koop.simulate.sar import BEAMS
from s2koop.simulate.waves import GROWN, SWELL_SPREAD, WindSea, across, dispersion

#: Shares of scenes that hold each tag, where the wind allows it.
SHARES: Mapping[str, float] = {"streaks": 0.35, "cells": 0.35, "rain": 0.15, "slick": 0.35, "targets": 0.12}
#: Exponents that stand for the spreading of a whole wind sea, and of its short waves.
_LONG, _SHORT = 10.0, 2.0
#: Stream of random numbers of a scene's state.
STATE = 0


@dataclass(frozen=True, kw_only=True)
class OceanState:
    """A sea, the air above it, and the beam that sees them; checked when made.

    Directions are those in which waves and wind travel, in degrees from the look direction (x, away from the radar)
    towards the flight direction (y).

    Attributes
    ----------
    wind_speed, wind_direction : float
        At 10 m, m/s (1 to 30); degrees.
    wind_over_waves : float
        U10 over the phase speed at the peak of the wind sea: 0.82 (fully grown) to 5 (young).
    swell_height, swell_wavelength, swell_direction : float
        Significant wave height in m, m, degrees.
    beam : {"WV1", "WV2"}
        Seen at 23.8 or 36.8 degrees.
    tags : tuple of str
        Any of ``streaks``, ``cells``, ``rain``, ``slick``, ``targets``.

    Examples
    --------
    >>> state = OceanState(wind_speed=8, swell_height=2, swell_wavelength=220)
    >>> round(state.significant_wave_height, 1)
    2.4
    """

    wind_speed: float = 7.0
    wind_direction: float = 0.0
    wind_over_waves: float = 1.0
    swell_height: float = 2.0
    swell_wavelength: float = 250.0
    swell_direction: float = 0.0
    beam: str = "WV1"
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least, most in (
            ("wind_speed", 1.0, 30.0), ("wind_direction", -360.0, 360.0), ("wind_over_waves", GROWN, 5.0),
            ("swell_height", 0.0, 15.0), ("swell_wavelength", 20.0, 1000.0), ("swell_direction", -360.0, 360.0),
        ):  # fmt: skip
            if real(name, getattr(self, name), least=least) > most:
                raise InputError(f"{name}={getattr(self, name)} is out of its range; give {least:g} to {most:g}")
        if self.beam not in BEAMS:
            raise InputError(f"beam={self.beam!r} is unknown; choose one of {', '.join(BEAMS)}")
        if isinstance(self.tags, str) or not isinstance(self.tags, Iterable):
            raise InputError(f"tags={self.tags!r} must be a sequence of tags, such as ('streaks',)")
        unknown = [tag for tag in self.tags if tag not in TAGS]
        if unknown:
            raise InputError(f"tag {unknown[0]!r} is unknown; choose among {', '.join(TAGS)}")
        object.__setattr__(self, "tags", tuple(tag for tag in TAGS if tag in self.tags))

    @property
    def wind_sea(self) -> WindSea:
        """Spectrum of the wind sea."""
        return WindSea(self.wind_speed, self.wind_over_waves)

    @property
    def significant_wave_height(self) -> float:
        """Of wind sea and swell together, m."""
        return float(np.hypot(4 * np.sqrt(self.wind_sea.variance()), self.swell_height))

    @property
    def cutoff(self) -> float:
        """Azimuth cut-off in m: pi times the standard deviation of the azimuth shifts (Kerbaol et al. 1998)."""
        swell = self.swell_height**2 / 16 * float(dispersion(2 * np.pi / self.swell_wavelength)) ** 2
        wind = self.wind_sea.variance(power=2) * self._towards(_LONG, self.wind_direction)
        return float(
            np.pi * BEAMS[self.beam].delay * np.sqrt(wind + swell * self._towards(SWELL_SPREAD, self.swell_direction))
        )

    def unresolved(self, shortest: float) -> float:
        """Standard deviation in m of the azimuth shifts by waves of the wind sea below a wavelength in m."""
        above = float(dispersion(2 * np.pi / shortest))
        variance = self.wind_sea.variance(above=above, power=2) * self._towards(_SHORT, self.wind_direction)
        return float(BEAMS[self.beam].delay * np.sqrt(variance))

    def _towards(self, spread: float, direction: float) -> float:
        # share of the variance of the orbital velocity that is along the line of sight
        incidence = np.deg2rad(BEAMS[self.beam].incidence)
        return float(np.cos(incidence) ** 2 + np.sin(incidence) ** 2 * across(spread, np.deg2rad(direction)))


def draw_ocean_state(seed: int = 0, index: int = 0, *, beam: str | None = None) -> OceanState:
    """State of scene `index` of `seed`, as `ocean_scenes` draws it.

    Wind speed is Weibull-distributed with a mean near 8 m/s. The wind sea is seldom fully grown, least under strong
    winds. One swell of 110 to 480 m comes from anywhere; short swells are not steeper than 3 %. Streaks need 5 m/s,
    cells 3 to 13 m/s, slicks less than 8 m/s.

    Parameters
    ----------
    seed, index : int
        At least 0.
    beam : {"WV1", "WV2"}, optional
        Drawn by default, which leaves all else as it is.

    Returns
    -------
    OceanState

    Raises
    ------
    InputError
        If a number is below 0 or the beam is unknown.

    Examples
    --------
    >>> draw_ocean_state(1, 7) == draw_ocean_state(1, 7)
    True
    """
    rng = stream(whole("seed", seed, least=0), whole("index", index, least=0), STATE)
    wind = float(np.clip(9.0 * rng.weibull(2.2), 2.0, 22.0))
    ratio = GROWN + rng.exponential(0.15) + 0.03 * max(wind - 11, 0)
    wavelength = rng.uniform(110, 480)
    height = min(rng.gamma(3.0, 0.5) + 0.2, 0.03 * wavelength, 8.0)
    directions = rng.uniform(-180, 180, 2)
    drawn = ("WV1", "WV2")[rng.integers(2)]
    lots = rng.uniform(size=len(TAGS))
    allowed = {"streaks": wind > 5, "cells": 3 < wind < 13, "slick": wind < 8}
    tags = tuple(tag for tag, lot in zip(TAGS, lots, strict=True) if lot < SHARES[tag] and allowed.get(tag, True))
    return OceanState(
        wind_speed=wind, wind_direction=float(directions[0]), wind_over_waves=float(min(ratio, 5.0)),
        swell_height=float(height), swell_wavelength=float(wavelength), swell_direction=float(directions[1]),
        beam=drawn if beam is None else beam, tags=tags,
    )  # fmt: skip


def stream(seed: int, index: int, part: int) -> np.random.Generator:
    """Random numbers of a part of scene `index` of `seed`, whatever other scenes are made."""
    return np.random.default_rng([seed, index, part])

"""How a radar in orbit sees a moving sea: backscatter, velocity bunching, speckle, and a quicklook's stretch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from s2koop.errors import InputError

Array = npt.NDArray[np.float32]

#: Height of the orbit of Sentinel-1 and radius of the Earth in m, and the speed that relates Doppler shift to azimuth:
#: the root of orbital speed times that of the beam on the ground, m/s.
_HEIGHT, _RADIUS, _SPEED = 693e3, 6371e3, 7100.0


@dataclass(frozen=True)
class Beam:
    """A beam of the wave mode.

    Attributes
    ----------
    incidence : float
        Degrees.
    level : float
        Backscatter in dB at 8 m/s, mean over directions.
    growth : float
        Exponent of the wind speed.
    contrast : float
        Of upwind and downwind over crosswind, relative.
    """

    incidence: float
    level: float
    growth: float
    contrast: float

    @property
    def delay(self) -> float:
        """Slant range over speed in s: m of azimuth for each m/s towards the radar."""
        incidence = np.deg2rad(self.incidence)
        centre = incidence - np.arcsin(np.sin(incidence) * _RADIUS / (_RADIUS + _HEIGHT))
        return float(np.sin(centre) * (_RADIUS + _HEIGHT) / np.sin(incidence) / _SPEED)

    def backscatter(self, wind: float, direction: float) -> float:
        """Sigma0 (linear) for a wind in m/s that blows at an angle in rad from the look direction.

        A power law with a second harmonic, near to what geophysical model functions of C band and VV polarisation say
        at these two angles; no more than that.
        """
        return float(10 ** (self.level / 10) * (wind / 8) ** self.growth * (1 + self.contrast * np.cos(2 * direction)))


#: The two beams of Sentinel-1's wave mode.
BEAMS: dict[str, Beam] = {"WV1": Beam(23.8, -4.5, 1.0, 0.12), "WV2": Beam(36.8, -14.0, 1.6, 0.3)}


def modulated(modulation: Array) -> Array:
    """Factors of mean 1 on the backscatter from a linear modulation; never negative, unlike one plus it."""
    return np.exp(modulation - np.float32(0.5) * np.float32(np.square(modulation).mean()))


def velocity_bunching(intensity: npt.ArrayLike, shift: npt.ArrayLike) -> Array:
    """Move backscatter along azimuth to where its Doppler shift makes a radar see it.

    The light of a sample is spread evenly between where its two edges come to lie, so what is drawn out gets dim, what
    comes together gets bright, and the sum stays. Azimuth (y) is periodic.

    Parameters
    ----------
    intensity : array_like (y, x)
        Backscatter, linear.
    shift : array_like (y, x)
        Samples towards higher y: slant range over speed, times velocity towards the radar, over the spacing.

    Returns
    -------
    ndarray (y, x), float32

    Raises
    ------
    InputError
        If the two are not of one shape, or not finite.

    References
    ----------
    Alpers, Ross and Rufenach (1981), JGR 86, 6481-6498; Hasselmann and Hasselmann (1991), JGR 96, 10713-10729.

    Examples
    --------
    >>> seen = velocity_bunching([[1.0], [1.0], [1.0], [1.0]], [[0.0], [1.0], [0.0], [0.0]])
    >>> [round(float(value), 2) for value in seen[:, 0]]
    [0.67, 0.83, 1.5, 1.0]
    """
    light, moved = np.asarray(intensity, np.float32), np.asarray(shift, np.float32)
    if light.shape != moved.shape or light.ndim != 2:
        raise InputError(f"intensity {light.shape} and shift {moved.shape} must be two images of one shape, (y, x)")
    if not (np.isfinite(moved).all() and np.isfinite(light).all()):
        raise InputError("intensity or shift is not finite; fill gaps first")
    rows, columns = light.shape
    edge = 0.5 * (moved + np.roll(moved, 1, axis=0))
    first = np.arange(rows, dtype=np.float32)[:, None] + edge
    second = np.arange(1, rows + 1, dtype=np.float32)[:, None] + np.roll(edge, -1, axis=0)
    low, high = np.minimum(first, second), np.maximum(first, second)
    # at a caustic an interval has no width; a twentieth of a sample is a spike still
    widen = np.maximum(np.float32(0.05) - (high - low), 0) / 2
    low, high = low - widen, high + widen
    margin = int(np.ceil(max(-float(low.min()), float(high.max()) - rows, 0))) + 2
    # light on an interval is the difference of two ramps, and a ramp is summed from where it begins
    rate = light / (high - low)
    padded = np.zeros((rows + 2 * margin) * columns)
    for start, weight in ((low, rate), (high, -rate)):
        whole = np.floor(start)
        part = start - whole
        row = whole.astype(np.int64) + margin
        flat = (row * columns + np.arange(columns)).ravel()
        padded += np.bincount(flat, (weight * (1 - part)).ravel(), padded.size)
        padded += np.bincount(flat + columns, (weight * part).ravel(), padded.size)
    long = padded.reshape(-1, columns).cumsum(axis=0)
    turns = -(-len(long) // rows) + 1
    around = np.zeros((turns * rows, columns))
    offset = -margin % rows
    around[offset : offset + len(long)] = long
    return around.reshape(turns, rows, columns).sum(axis=0).astype(np.float32)


def smear(image: Array, spread: float) -> Array:
    """Blur along azimuth (y, periodic) with a Gaussian of `spread` samples: what waves below the resolution do."""
    frequency = np.fft.rfftfreq(image.shape[0]).astype(np.float32)
    response = np.exp(-2 * np.square(np.float32(np.pi * spread) * frequency))
    out: Array = scipy.fft.irfft(scipy.fft.rfft(image, axis=0) * response[:, None], image.shape[0], axis=0)
    return np.maximum(out, 0)


def speckle(rng: np.random.Generator, shape: tuple[int, int], looks: float) -> Array:
    """Factors of mean 1 and variance ``1 / looks``, Gamma-distributed."""
    return rng.standard_gamma(looks, shape, np.float32) / np.float32(looks)


def averaged(image: Array, times: int = 2) -> Array:
    """Means over squares of samples."""
    rows, columns = image.shape
    out: Array = image.reshape(rows // times, times, columns // times, times).mean(axis=(1, 3))
    return out


def stretched(image: npt.ArrayLike, share: float = 0.01) -> npt.NDArray[np.uint8]:
    """An image as grey levels, `share` of its pixels black (0), as many white (255), the others evenly between.

    Quicklooks of the wave mode are stretched so, each by itself: how bright the sea was is gone.

    Parameters
    ----------
    image : array_like (y, x)
        Any intensity.
    share : float
        0 to 0.4.

    Returns
    -------
    ndarray (y, x), uint8

    Raises
    ------
    InputError
        If the share is out of its range, or the image has no contrast or is not finite.

    Examples
    --------
    >>> grey = stretched(np.arange(10_000.0).reshape(100, 100))
    >>> int((grey == 0).sum()), int((grey == 255).sum())
    (100, 100)
    """
    values = np.asarray(image, np.float64)
    if not 0 <= share <= 0.4:
        raise InputError(f"share={share} of black pixels must be 0 to 0.4, such as 0.01")
    low, high = np.quantile(values, (share, 1 - share)) if np.isfinite(values).all() and values.size else (0.0, 0.0)
    if not high > low:
        raise InputError("the image has no contrast, or is not finite: there is nothing to stretch")
    # between the two quantiles lie the levels 1 to 254
    return np.clip(np.floor(1 + 254 * (values - low) / (high - low)), 0, 255).astype(np.uint8)

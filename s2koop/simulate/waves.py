"""A random sea: spectra of wind sea and swell, and what a radar needs of the surface that they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft

Array = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]

GRAVITY = 9.81
#: U10 over the phase speed at the peak of a sea that grows no more (Pierson and Moskowitz 1964).
GROWN = 0.82
#: Width of the swell's peak relative to its wave number, and the exponent s of its spreading.
SWELL_WIDTH, SWELL_SPREAD = 0.18, 14.0
#: How fast modulated short waves relax, 1/s (Hasselmann and Hasselmann 1991).
_RELAXATION = 0.5


@dataclass(frozen=True)
class Grid:
    """Wave numbers in rad/m of the half plane that `irfft2` takes, for a periodic domain of square samples.

    Waves shorter than two samples are no part of it: `inside` leaves out the corners too, so that all directions
    end at the same wavelength.
    """

    shape: tuple[int, int]
    step: float
    kx: Array
    ky: Array
    k: Array
    omega: Array
    inside: npt.NDArray[np.bool_]

    @property
    def cell(self) -> float:
        """Area of a cell of the plane of wave numbers."""
        return float((2 * np.pi) ** 2 / (self.shape[0] * self.shape[1] * self.step**2))

    @property
    def last(self) -> float:
        """Wave number of the shortest waves that are resolved."""
        return float(np.pi / self.step)

    def field(self, spectrum: Complex) -> Array:
        """Real field (y, x) of amplitudes at wave numbers, ``sum_k spectrum * exp(i k x)`` over both half planes."""
        out: Array = scipy.fft.irfft2(spectrum, self.shape, norm="forward", overwrite_x=True)
        return out


@lru_cache(maxsize=8)
def grid(shape: tuple[int, int], step: float) -> Grid:
    """The grid of a domain of `shape` samples of `step` metres; kept, since all scenes of a set share it."""
    ky, kx = np.meshgrid(
        2 * np.pi * np.fft.fftfreq(shape[0], step), 2 * np.pi * np.fft.rfftfreq(shape[1], step), indexing="ij"
    )
    k = np.hypot(kx, ky)
    inside = (k > 0) & (k < np.pi / step * (1 - 1e-9))
    # a wave of an edge of the half plane is its own mirror image: leaving the last column out loses nothing resolved
    inside[:, -1] &= shape[1] % 2 == 1
    values = [part.astype(np.float32) for part in (kx, ky, np.where(k > 0, k, 1.0), dispersion(k))]
    return Grid(shape, step, values[0], values[1], values[2], values[3], inside)


def dispersion(k: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Angular frequency in rad/s of waves of wave number `k` in rad/m on deep water."""
    return np.sqrt(GRAVITY * np.asarray(k, np.float64))


@dataclass(frozen=True)
class WindSea:
    """JONSWAP spectrum of a wind sea: wind speed in m/s and U10 over the phase speed at the peak.

    Its level follows from that ratio as Hasselmann et al. (1973, 1976) fitted it, and its peak sinks to that of Pierson
    and Moskowitz as the sea is fully grown.
    """

    wind: float
    ratio: float

    @property
    def peak(self) -> float:
        """Angular frequency of the peak."""
        return GRAVITY * self.ratio / self.wind

    @property
    def level(self) -> float:
        """Phillips' constant."""
        return float(0.033 * (self.ratio / (2 * np.pi)) ** (2 / 3))

    @property
    def enhancement(self) -> float:
        """Of the peak over Pierson and Moskowitz's."""
        return float(np.clip(1 + 2.3 * (self.ratio - GROWN) / 0.2, 1.0, 3.3))

    def density(self, omega: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Variance of elevation per angular frequency, m2 s."""
        ratio = omega / self.peak
        inverse = 1 / np.maximum(ratio, 0.1)  # below, there is nothing, and its powers would overflow float32
        width = np.where(ratio <= 1, 0.07, 0.09).astype(ratio.dtype)
        around = np.exp(-0.5 * np.square((ratio - 1) / width))
        inverse2 = inverse * inverse
        scale = self.level * GRAVITY**2 / self.peak**5
        tail = scale * inverse2 * inverse2 * inverse
        out: npt.NDArray[np.floating] = tail * np.exp(np.log(self.enhancement) * around - 1.25 * inverse2 * inverse2)
        return out

    def spread(self, omega: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Exponent s of the spreading, by Mitsuyasu et al. (1975), not below 1 where they have no data."""
        ratio = np.maximum(omega, 1e-3) / self.peak
        highest = 11.5 * self.ratio**-2.5
        return np.maximum(highest * np.where(ratio < 1, ratio, 1 / ratio) ** np.where(ratio < 1, 5.0, 2.5), 1.0)

    def variance(self, *, above: float = 0.0, power: int = 0) -> float:
        """Integral of ``omega**power`` times the density, over frequencies above a given one."""
        omega = np.geomspace(max(above, 0.3 * self.peak), 100 * max(above, self.peak), 600)
        return float(np.trapezoid(omega**power * self.density(omega), omega))


def spreading_norm(s: npt.NDArray[np.floating] | float) -> npt.NDArray[np.floating]:
    """Factor that makes ``cos(angle / 2)**(2 s)`` integrate to 1 over the circle.

    ``gamma(s + 1) / gamma(s + 1/2)`` is a root to within 0.1 % for s from 1, and many times faster.
    """
    s = np.asarray(s)
    out: npt.NDArray[np.floating] = np.sqrt(s + 0.25 + 1 / (32 * s + 8)) / (2 * np.sqrt(np.pi))
    return out


def across(s: float, direction: float, axis: float = 0.0) -> float:
    """Mean squared cosine of the angle from `axis` (rad) to waves that spread with `s` around `direction` (rad)."""
    return float(0.5 + 0.5 * s * (s - 1) / ((s + 1) * (s + 2)) * np.cos(2 * (direction - axis)))


def wave_spectra(
    at: Grid, sea: WindSea, wind_direction: float, swell: tuple[float, float, float]
) -> tuple[Array, Array]:
    """Variance of elevation (m2) in each cell of the half plane, and in the cells opposite to them.

    `swell` is its significant height (m), wavelength (m) and direction (rad). The swell is scaled on the grid, since a
    narrow peak may lie between its cells.
    """
    omega = at.omega[at.inside]
    # dS/dk over all directions is S(omega) d(omega)/dk, and a ring of radius k has the length 2 pi k
    wind = sea.density(omega) * (0.5 * omega / at.k[at.inside] ** 2) * np.float32(at.cell)
    s = sea.spread(omega).astype(np.float32)
    ahead, behind = _spread(at, wind_direction, s)
    wind = wind * spreading_norm(s)
    height, wavelength, direction = swell
    swell_ahead, swell_behind = _spread(at, direction, np.float32(SWELL_SPREAD))
    peak = 2 * np.pi / wavelength
    long = np.exp(-0.5 * np.square((at.k[at.inside] - peak) / (SWELL_WIDTH * peak))) / at.k[at.inside]
    once = at.kx[at.inside] > 0  # the column at kx = 0 holds both signs of ky already
    swell_ahead, swell_behind = long * swell_ahead, long * swell_behind * once
    scale = np.float32(height**2 / 16 / float(swell_ahead.sum() + swell_behind.sum()))
    halves = np.zeros((2, *at.k.shape), np.float32)
    halves[0][at.inside] = wind * ahead + scale * swell_ahead
    halves[1][at.inside] = wind * behind * once + scale * swell_behind
    return halves[0], halves[1]


def _spread(at: Grid, direction: float, s: npt.NDArray[np.float32] | np.float32) -> tuple[Array, Array]:
    # cos((angle - direction) / 2)**(2 s), for the waves of the half plane and for those that run against them
    cosine = (at.kx[at.inside] * np.float32(np.cos(direction)) + at.ky[at.inside] * np.float32(np.sin(direction))) / (
        at.k[at.inside]
    )
    ahead = np.exp(s * np.log(np.maximum(0.5 + 0.5 * cosine, np.float32(1e-12))))
    behind = np.exp(s * np.log(np.maximum(0.5 - 0.5 * cosine, np.float32(1e-12))))
    return ahead.astype(np.float32), behind.astype(np.float32)


@dataclass(frozen=True)
class Surface:
    """Fields (y, x) of one moment of a sea.

    Attributes
    ----------
    elevation : ndarray
        m.
    velocity : ndarray
        Orbital velocity towards the radar, m/s.
    modulation : ndarray
        Of the backscatter by the slope of long waves (tilt, range bunching) and by their straining of short ones, as
        a linear theory says it: relative, of mean 0.
    """

    elevation: Array
    velocity: Array
    modulation: Array


def surface(at: Grid, rng: np.random.Generator, halves: tuple[Array, Array], incidence: float) -> Surface:
    """A surface that has the given spectra, seen along x from an incidence angle in rad.

    The transfer functions are those of Hasselmann and Hasselmann (1991), without feedback of the wind: tilt for VV
    polarisation, range bunching, hydrodynamic modulation, and orbital velocity along the line of sight.
    """
    ahead, behind = (_amplitudes(rng, half) for half in halves)
    np.conjugate(behind, out=behind)
    sine, cosine = np.sin(incidence), np.cos(incidence)
    slope = np.complex64(1j * per_slope(incidence)) * at.kx
    hydrodynamic = (
        4.5 * at.omega * (at.omega - np.complex64(1j * _RELAXATION)) / (at.omega**2 + np.float32(_RELAXATION**2))
    ) * (at.kx**2 / at.k)
    towards = -at.omega * (np.float32(sine) * at.kx / at.k + np.complex64(1j * cosine))
    together = ahead + behind
    return Surface(
        elevation=at.field(together.copy()),
        velocity=at.field(towards * (ahead - behind)),
        modulation=at.field(slope * together + hydrodynamic * ahead + np.conjugate(hydrodynamic) * behind),
    )


def per_slope(incidence: float) -> float:
    """Modulation by a slope of 1 towards the radar: tilt (VV polarisation) and range bunching."""
    return float((4 / (1 + np.sin(incidence) ** 2) + 1) / np.tan(incidence))


def texture(sea: WindSea, at: Grid, incidence: float) -> float:
    """Standard deviation of the modulation of samples by the waves that are too short for them, relative.

    It is what a mean over the sample leaves of their slopes, which come from anywhere.
    """
    k = np.geomspace(at.last, 12 * at.last, 200)
    omega = dispersion(k)
    variance = sea.density(omega) * (0.5 * omega / k) * k**2 * _kept()
    return per_slope(incidence) * float(np.sqrt(np.trapezoid(variance, k)))


@lru_cache(maxsize=1)
def _kept() -> npt.NDArray[np.float64]:
    # at 1 to 12 times the last wave number: mean over directions of what a square sample keeps of a slope along x
    halves = np.geomspace(1, 12, 200)[:, None] / 2
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    kept = np.sinc(halves * np.cos(angle)) * np.sinc(halves * np.sin(angle)) * np.cos(angle)
    out: npt.NDArray[np.float64] = np.square(kept).mean(axis=1)
    return out


def _amplitudes(rng: np.random.Generator, variance: Array) -> Complex:
    # irfft2 adds the mirror image of every wave but those at kx = 0, so half of an amplitude stands here
    normal = rng.standard_normal((*variance.shape, 2), np.float32).view(np.complex64)[..., 0]
    out: Complex = normal * np.sqrt(variance / 4)
    out[:, 0] *= 2
    return out

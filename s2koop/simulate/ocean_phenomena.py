"""What brightens and darkens a sea beside waves: gusts, rolls and cells of air, rain, slicks, and ships."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from s2koop.simulate.waves import Array, Grid

#: What a scene may hold; none of them may be true.
TAGS = ("streaks", "cells", "rain", "slick", "targets")


def gusts(rng: np.random.Generator, at: Grid) -> Array:
    """Logarithm of a factor: slow changes of the wind over kilometres, as every scene has."""
    weight = at.k ** np.float32(-1.4) * (at.k > 0)
    return np.float32(rng.lognormal(np.log(0.05), 0.6)) * _noise(rng, at, weight)


def streaks(rng: np.random.Generator, at: Grid, wind: float) -> Array:
    """Logarithm of a factor: rolls of the boundary layer, nearly along the wind (rad), 0.6 to 1.8 km apart."""
    direction = wind + np.deg2rad(rng.normal(0, 8))
    along, cross = _turned(at, direction)
    peak = 2 * np.pi / rng.uniform(600, 1800)
    narrow = peak * rng.uniform(0.08, 0.2)
    weight = np.exp(-0.5 * np.square((np.abs(cross) - peak) / (0.35 * peak)) - 0.5 * np.square(along / narrow))
    return np.float32(rng.uniform(0.04, 0.1)) * _noise(rng, at, weight)


def cells(rng: np.random.Generator, at: Grid, wind: float) -> Array:
    """Logarithm of a factor: convection, whose bright patches (downdrafts) lie 0.8 to 2.5 km apart, open or closed."""
    along, cross = _turned(at, wind)
    k = np.hypot(along * np.float32(rng.uniform(1.0, 1.6)), cross)
    peak = 2 * np.pi / rng.uniform(800, 2500)
    weight = np.exp(-0.5 * np.square((k - peak) / (0.4 * peak)))
    # patches have ragged edges: smaller eddies ride on each
    weight = weight + np.float32(0.3) * (k > peak) * (np.maximum(k, peak) / peak) ** np.float32(-1.4)
    field = _noise(rng, at, weight)
    skewed = np.exp(np.float32(rng.uniform(0.1, 0.45)) * field)
    return np.float32(rng.uniform(0.06, 0.16)) * (skewed - skewed.mean()) / skewed.std()


def rain(rng: np.random.Generator, at: Grid, wind: float) -> Array:
    """Logarithm of a factor: one cell, dark where drops damp the waves, inside the bright gust of its downdraft."""
    size = min(at.shape) * at.step
    x, y, radius = rng.uniform(0.25, 0.75) * size, rng.uniform(0.25, 0.75) * size, rng.uniform(0.12, 0.3) * size
    along, aside = _from(at, x, y, wind)
    away = np.hypot(along, aside)
    reach = at.k * np.float32(radius / 3)
    ragged = np.float32(0.3) * _noise(rng, at, np.exp(-0.5 * np.square(reach)) + np.float32(0.1) / (1 + reach**2))
    distance = away / np.float32(radius) * np.exp(ragged)
    # the wind adds to the outflow on the lee side, and they cancel on the other
    front = np.exp(-0.5 * np.square((distance - 1) / 0.22)) * (0.35 + np.float32(0.65) * along / np.maximum(away, 1))
    core = np.exp(-0.5 * np.square(distance / 0.45))
    out: Array = np.float32(rng.uniform(0.4, 0.9)) * front - np.float32(rng.uniform(0.5, 1.5)) * core
    return out


def slick(rng: np.random.Generator, at: Grid) -> Array:
    """Logarithm of a factor: filaments of a surface film, up to 9 dB darker, that eddies have wound."""
    length = rng.uniform(700, 1600)
    field = _noise(rng, at, np.exp(-0.5 * np.square(at.k * np.float32(length)))) - np.float32(rng.uniform(-0.5, 0.5))
    fine = _noise(rng, at, np.exp(-0.5 * np.square(at.k * np.float32(length / 6))))
    width = np.float32(rng.uniform(0.05, 0.14))
    inside = 1 / (1 + np.square(np.square((field + np.float32(0.06) * fine) / width)))
    # the film is torn: where there is less of it, a filament fades
    inside /= 1 + np.exp(np.float32(-2.5) * _noise(rng, at, np.exp(-0.5 * np.square(at.k * np.float32(length)))))
    out: Array = np.float32(-rng.uniform(0.9, 2.0)) * inside.astype(np.float32, copy=False)
    return out


def targets(
    rng: np.random.Generator, at: Grid, incidence: float, delay: float
) -> tuple[Array, npt.NDArray[np.float32]]:
    """Ships: the logarithm of the factor of their wakes, and what their hulls add, relative to the sea.

    A hull is seen where its speed shifts it along azimuth, off its wake (Raney 1971). Hulls are placed where they are
    seen, that is on the image after velocity bunching; it is the wake that may lie outside.
    """
    size = at.shape[0] * at.step
    wake, hull = np.zeros(at.shape, np.float32), np.zeros(at.shape, np.float32)
    for _ in range(rng.integers(1, 5)):
        x, y = rng.uniform(0.15, 0.85, 2) * (at.shape[1] * at.step, size)
        heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(0, 11)
        # towards the radar is towards lower x; the shift is along y
        shift = -speed * np.cos(heading) * np.sin(incidence) * delay
        along, aside = _from(at, x, y - shift, heading)
        fades = np.exp(np.minimum(along, 0) / np.float32(250 * speed + 1)) * (along < 0)
        wake -= np.float32(0.5) * fades * np.exp(-0.5 * np.square(aside / np.float32(40)))
        along, aside = _from(at, x, y, heading)
        length, beam = np.float32(rng.uniform(20, 90)), np.float32(rng.uniform(12, 25))
        level = np.float32(10 ** rng.uniform(0.6, 1.8))
        hull += level * np.exp(-0.5 * np.square(along / length) - 0.5 * np.square(aside / beam))
    return wake, hull


def _from(at: Grid, x: float, y: float, direction: float) -> tuple[Array, Array]:
    # distances in m from a place, along and across a direction (rad)
    right = np.arange(at.shape[1], dtype=np.float32) * np.float32(at.step) - np.float32(x)
    down = np.arange(at.shape[0], dtype=np.float32)[:, None] * np.float32(at.step) - np.float32(y)
    cosine, sine = np.float32(np.cos(direction)), np.float32(np.sin(direction))
    return right * cosine + down * sine, down * cosine - right * sine


def _turned(at: Grid, direction: float) -> tuple[Array, Array]:
    # wave numbers along and across a direction
    cosine, sine = np.float32(np.cos(direction)), np.float32(np.sin(direction))
    return at.kx * cosine + at.ky * sine, at.ky * cosine - at.kx * sine


def _noise(rng: np.random.Generator, at: Grid, weight: Array) -> Array:
    # Gaussian, of mean 0 and variance 1 over the domain
    normal = rng.standard_normal((*at.k.shape, 2), np.float32).view(np.complex64)[..., 0] * weight.astype(np.float32)
    normal[0, 0] = 0
    out: Array = scipy.fft.irfft2(normal, at.shape, norm="forward")
    return out / out.std()

"""Random fields that are smooth in space, and anomalies that forget in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def smooth_fields(rng: np.random.Generator, count: int, shape: tuple[int, int], length: float) -> Array:
    """Gaussian fields (count, y, x) of mean 0 and variance 1 whose correlation falls over `length` pixels."""
    if length <= 0 or shape == (1, 1):
        return rng.standard_normal((count, *shape)).astype(np.float32)
    padded = [size + int(np.ceil(3 * length)) for size in shape]  # the transform is periodic, the field must not be
    wave = np.hypot(np.fft.fftfreq(padded[0])[:, None], np.fft.rfftfreq(padded[1])[None])
    response = np.exp(-((np.pi * length * wave) ** 2))
    impulse = np.fft.irfft2(response, padded)
    response /= np.sqrt(np.square(impulse).sum())
    out = np.empty((count, *shape), np.float32)
    for number in range(count):
        noise = np.fft.rfft2(rng.standard_normal(padded))
        out[number] = np.fft.irfft2(noise * response, padded)[: shape[0], : shape[1]]
    return out


def ornstein_uhlenbeck(days: npt.NDArray[np.float64], decay: float, draw: Callable[[], Array]) -> Array:
    """Anomalies (time, ...) of variance 1 that fall to 1/e in `decay` days; exact on irregular days.

    `draw` gives independent noise of variance 1, in the shape of one date.
    """
    keep = np.exp(-np.diff(days, prepend=days[0]) / decay).astype(np.float32)
    state = draw()
    out = np.empty((len(days), *state.shape), np.float32)
    for at, old in enumerate(keep):
        if at:
            state = old * state + np.sqrt(1 - old * old) * draw()
        out[at] = state
    return out

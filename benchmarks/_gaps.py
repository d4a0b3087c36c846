"""Which observations a gap-filling benchmark withholds: random ones, or a block of days of each pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def random_gaps(mask: npt.NDArray[np.bool_], share: float = 0.2, *, seed: int = 0) -> npt.NDArray[np.bool_]:
    """A share of the clear observations, each drawn by itself.

    Parameters
    ----------
    mask : bool array (date, ...)
        True = clear. One flag per date and pixel; all bands of an observation are withheld together.
    share : float
        Of the clear observations.
    seed : int

    Returns
    -------
    bool array (date, ...)
        True = withheld; a subset of `mask`.
    """
    return mask & (np.random.default_rng(seed).random(mask.shape) < share)


def block_gaps(
    mask: npt.NDArray[np.bool_], days: npt.NDArray[np.float64], length: float = 60.0, *, seed: int = 0
) -> npt.NDArray[np.bool_]:
    """All clear observations of each pixel in a block of time that begins at random, within the dates.

    Parameters
    ----------
    mask : bool array (date, ...)
        True = clear.
    days : float array (date,)
        The dates in days, sorted.
    length : float
        Days of the block.
    seed : int

    Returns
    -------
    bool array (date, ...)
        True = withheld; a subset of `mask`.
    """
    latest = max(days[-1] - length, days[0])
    start = np.random.default_rng(seed).uniform(days[0], latest, mask.shape[1:])
    when = days.reshape(-1, *[1] * start.ndim)
    return mask & (when >= start) & (when < start + length)

"""Rasters as uint8 pictures: the coding, the value range, and reading a lazy stack block by block in time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

#: The level that means "no usable value"; 1 to 255 run linearly from the low to the high end of the range.
NO_DATA = 0
_STEPS = 254

#: Dates held in memory at once when the cube is not chunked in time.
_BLOCK_DATES = 32


def encode(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `values` as uint8 levels: 0 where not finite, else 1 (`low` or less) to 255 (`high` or more).

    >>> encode(np.array([0.0, 0.1, 0.2, np.nan]), 0.0, 0.2)
    array([  1, 128, 255,   0], dtype=uint8)
    """
    finite = np.isfinite(values)
    scaled = (np.where(finite, values, low) - low) * (_STEPS / (high - low))
    levels = 1 + np.rint(np.clip(scaled, 0, _STEPS))
    return np.where(finite, levels, NO_DATA).astype(np.uint8)


def decode(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the float32 values that `levels` stand for, NaN where there is no data.

    >>> decode(np.array([1, 255, 0], "uint8"), 0.0, 0.2)
    array([0. , 0.2, nan], dtype=float32)
    """
    values = low + (levels.astype(np.float32) - 1) * np.float32((high - low) / _STEPS)
    return np.where(levels == NO_DATA, np.float32(np.nan), values).astype(np.float32)


def stride_for(shape: tuple[int, int, int], budget: int) -> int:
    """Return the smallest step in y and x at which a (time, y, x) stack of bytes fits into `budget`.

    >>> stride_for((100, 200, 200), 10_000_000), stride_for((100, 1000, 1000), 10_000_000)
    (1, 4)
    """
    dates, rows, cols = shape
    stride = 1
    while dates * math.ceil(rows / stride) * math.ceil(cols / stride) > budget and stride < max(rows, cols):
        stride += 1
    return stride


def time_blocks(stack: xr.DataArray) -> Iterator[slice]:
    """Yield the slices of time that read every chunk of a lazy stack exactly once."""
    sizes = stack.chunksizes.get("time")
    if sizes is None:
        sizes = (_BLOCK_DATES,) * math.ceil(stack.sizes["time"] / _BLOCK_DATES)
    begin = 0
    for size in sizes:
        yield slice(begin, begin + size)
        begin += size


def sample(stack: xr.DataArray, *, dates: int = 12, side: int = 128) -> np.ndarray:
    """Read a few dates of a (time, y, x) stack in one go, thinned in space: enough to choose a value range.

    The dates are the least cloudy ones where the stack knows its cloud cover, else evenly spaced.
    """
    count = stack.sizes["time"]
    if "cloud_cover" in stack.coords and stack["cloud_cover"].dims == ("time",) and count > dates:
        chosen = np.sort(np.argsort(stack["cloud_cover"].values, kind="stable")[:dates])
    else:
        chosen = np.unique(np.linspace(0, count - 1, min(dates, count)).round().astype(int))
    step = max(1, math.ceil(max(stack.sizes["y"], stack.sizes["x"]) / side))
    return np.asarray(stack.isel(time=chosen, y=slice(None, None, step), x=slice(None, None, step)).values)


def robust_range(values: np.ndarray, *, from_zero: bool = False) -> tuple[float, float] | None:
    """Return the 2nd and 98th percentile of the finite values (or 0 and the 98th), None if there are none."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return None
    low, high = (float(q) for q in np.percentile(finite, [2, 98]))
    low = 0.0 if from_zero else low
    # A flat picture (one value) still needs a range to divide by.
    return (low, high) if high - low > 1e-6 else (low, low + 0.01)

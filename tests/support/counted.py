"""A lazy copy of a cube that counts how often each of its chunks is read."""

from __future__ import annotations

from collections import Counter

import dask.array as da
import numpy as np
import xarray as xr


def counted(cube: xr.DataArray, *, time: int = 1) -> tuple[xr.DataArray, Counter]:
    """Return `cube` in chunks of `time` dates and a band each, and the counter of (first date, band) read."""
    reads: Counter = Counter()
    values = cube.values

    def read(block_info=None) -> np.ndarray:
        where = block_info[None]["array-location"]
        reads[(where[0][0], where[1][0])] += 1
        return values[tuple(slice(*w) for w in where)]

    sizes = (time, 1, cube.sizes["y"], cube.sizes["x"])
    chunks = da.core.normalize_chunks(sizes, shape=cube.shape)
    lazy = da.map_blocks(read, chunks=chunks, dtype=cube.dtype, meta=np.empty((0,) * 4, cube.dtype))
    return cube.copy(data=lazy), reads

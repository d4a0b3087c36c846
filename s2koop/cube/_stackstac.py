"""All that s2koop knows of stackstac, and how it is asked so that it gives right answers.

stackstac 0.5.1 reads ``proj:epsg`` only (pystac rewrites it to ``proj:code``), ignores the scale and offset
of STAC 1.1, snaps the grid to multiples of the resolution, labels pixel corners where rioxarray expects
centres, and adds object coordinates that cannot be saved. All of that is in the half that reads items, which
is therefore left out. The other half, which this file asks, turns a table of assets into a small blockwise
graph with any chunks; the table is ours, and so is the reading, since stackstac waits for one file after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from dask._task_spec import Task

from s2koop.cube._at_once import fill
from s2koop.cube._grid import union
from s2koop.cube._reader import Reading, Source
from s2koop.cube._sources import Table
from s2koop.cube.harmonise import Bounds

Chunks = tuple[int, int, int, int]


def stack(table: Table, how: Reading, chunks: Chunks) -> Any:
    """Return a float32 dask array (time, band, y, x) of the sources of each date and band."""
    from stackstac.raster_spec import RasterSpec
    from stackstac.to_dask import fetch_raster_window, items_to_dask

    grid = how.grid
    stacked = items_to_dask(
        _assets(table),
        RasterSpec(grid.epsg, grid.bounds, (grid.resolution, grid.resolution)),
        chunks,
        dtype=np.dtype("float32"),
        fill_value=np.float32(np.nan),
        rescale=False,
        reader=partial(_Reader, how),
    )
    # stackstac keeps the making of readers apart, so that it happens once. A scheduler of threads works on what became
    # possible last: all windows of all bands, where one task of readers stands before them, and their scene classes
    # only then, with the whole cube in memory. Made anew for each window, readers cost some microseconds a file.
    for layer in stacked.dask.layers.values():
        layer.annotations = None
        task = getattr(layer, "task", None)
        if task is not None and task.func is fetch_raster_window:
            layer.task = Task(task.key, _fetch, *task.args, **task.kwargs)
    return stacked


def _fetch(readers: np.ndarray, slices: tuple[slice, slice], dtype: np.dtype, fill_value: Any) -> np.ndarray:
    """What stackstac does one file after the other."""
    from rasterio.windows import Window

    window = Window.from_slices(*slices)
    block = np.full((*readers.shape, int(window.height), int(window.width)), fill_value, dtype)
    asked = [entry[0] for entry in readers.flat if entry]
    if asked:
        table = [[entry[0].sources if entry else () for entry in row] for row in readers]
        fill(block, table, asked[0].how, window)
    return block


def _assets(table: Table) -> np.ndarray:
    """What stackstac opens for each date and band, and where on the grid it may hold anything."""
    boxes: dict[Bounds | None, Bounds | None] = {None: None}  # equal ones as one object, which a graph holds once

    def asset(sources: Sequence[Source]) -> dict[str, Any]:
        box = union([source.box for source in sources]) if sources else None
        return {"url": sources, "bounds": boxes.setdefault(box, box)}

    assets = np.empty((len(table), len(table[0])), dtype=object)
    for row, sources in enumerate(table):
        assets[row] = [asset(entry) for entry in sources]
    return assets


class _Reader:
    """What stackstac makes of an entry of the table; that it knows how to read gives tasks their names."""

    def __init__(self, how: Reading, *, url: Sequence[Source], **_: Any) -> None:
        self.how, self.sources = how, url

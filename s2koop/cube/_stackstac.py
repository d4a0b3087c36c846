"""All that s2koop knows of stackstac, and how it is asked so that it gives right answers.

stackstac 0.5.1 reads ``proj:epsg`` only (pystac rewrites it to ``proj:code``), ignores the scale and offset
of STAC 1.1, snaps the grid to multiples of the resolution, labels pixel corners where rioxarray expects
centres, and adds object coordinates that cannot be saved. All of that is in the half that reads items, which
is therefore left out. The other half, which this file asks, turns a table of assets into a small blockwise
graph with any chunks; the table is ours, and :class:`~s2koop.cube._reader.Reading` does the reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from s2koop.cube._grid import union
from s2koop.cube._reader import Reading, Source
from s2koop.cube._sources import Table
from s2koop.cube.harmonise import Bounds

Chunks = tuple[int, int, int, int]


def stack(table: Table, how: Reading, chunks: Chunks) -> Any:
    """Return a float32 dask array (time, band, y, x) of the sources of each date and band."""
    from stackstac.raster_spec import RasterSpec
    from stackstac.to_dask import items_to_dask

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
    return stacked


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
    """Reader of one date and band, as stackstac makes it from an entry of the table."""

    def __init__(self, how: Reading, *, url: Sequence[Source], **_: Any) -> None:
        self.how, self.sources = how, url

    def read(self, window: Any) -> np.ndarray:
        return self.how.read(self.sources, window)

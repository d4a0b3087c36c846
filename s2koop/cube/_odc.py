"""All that s2koop knows of odc-stac, whose loader (odc-loader) builds the graph of a cube and runs its tasks.

The half of odc-stac that reads items knows neither scale nor offset, and its own reader tries a dead address for
minutes; both are left out, as they are of stackstac. The loader writes every source of every date into each task
that needs it, which for ten thousand dates are millions of references: so it gets one source, the whole cube, whose
extra dims are dates and bands, and a driver of ours, whose reader is :class:`~s2koop.cube._reader.Reading`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Any

import dask.base
import numpy as np

from s2koop.cube._at_once import fill
from s2koop.cube._reader import Reading
from s2koop.cube._sources import Table
from s2koop.errors import MissingDependencyError

Chunks = tuple[int, int, int, int]

_CUBE = "cube"
_DIMS = ("date", "band", "y", "x")


def check_installed() -> None:
    """Say how odc-stac is installed where it is not."""
    if find_spec("odc") is None or find_spec("odc.loader") is None:
        raise MissingDependencyError(
            "engine='odc-stac' needs the package odc-stac; install it by pip install 's2koop[odc]', or leave engine out"
        )


def stack(table: Table, how: Reading, chunks: Chunks) -> Any:
    """Return a float32 dask array (time, band, y, x) of the sources of each date and band."""
    from odc.geo.geobox import GeoboxTiles
    from odc.loader import RasterBandMetadata, RasterGroupMetadata, RasterLoadParams, RasterSource, chunked_load

    meta = RasterBandMetadata("float32", np.nan, dims=_DIMS)
    source = RasterSource(_fingerprint(table, how), meta=meta, driver_data=(table, how))
    everywhere: Any = Everywhere()
    filled_by = f"{__name__}.{fill_block.__name__}"
    cube = chunked_load(
        {_CUBE: RasterLoadParams("float32", np.nan, dims=_DIMS, meta=meta, fuser_fqn=filled_by)},
        RasterGroupMetadata({(_CUBE, 1): meta}, extra_dims={"date": len(table), "band": len(table[0])}),
        [{_CUBE: source}],
        everywhere,
        GeoboxTiles(_geobox(how), chunks[2:]),
        [datetime(2000, 1, 1)],  # one "time", which is dropped again: the dates are an extra dim
        {},
        Driver(),
        chunks=dict(zip(_DIMS, chunks, strict=True)),
    )
    return _opened(cube[_CUBE].data, Reader(table, how))[0]


def _opened(cube: Any, reader: Reader) -> Any:
    """The cube with its reader in the place of the task that opens it.

    A scheduler of threads works on what became possible last: all windows of all bands, where one such task stands
    before them, and their scene classes only then, with the whole cube in memory.
    """
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    layers = {
        name: MaterializedLayer(dict.fromkeys(layer, reader)) if name.startswith("open-") else layer
        for name, layer in cube.dask.layers.items()
    }
    return Array(HighLevelGraph(layers, cube.dask.dependencies), cube.name, chunks=cube.chunks, meta=cube._meta)


def _geobox(how: Reading) -> Any:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    grid = how.grid
    corner = Affine(grid.resolution, 0.0, grid.west, 0.0, -grid.resolution, grid.north)
    return GeoBox((grid.height, grid.width), corner, f"EPSG:{grid.epsg}")


def _fingerprint(table: Table, how: Reading) -> str:
    """The name of a cube in graphs, the same for equal loads; odc-loader hashes the address of a source alone."""
    text = json.dumps([table, dask.base.tokenize(how)])
    return f"s2koop:{hashlib.sha256(text.encode()).hexdigest()}"


class Everywhere:
    """Numbers of the sources under each tile, as odc-loader asks for them: the one there is, under all."""

    def get(self, tile: Any, default: Any) -> list[int]:
        return [0]


@dataclass(frozen=True)
class Block:
    """Dates and bands of a window, not read yet; what odc-loader takes for the array that a reader returns."""

    table: Table
    how: Reading
    window: Any

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.table), len(self.table[0]), int(self.window.height), int(self.window.width)

    @property
    def ndim(self) -> int:
        return len(self.shape)


def fill_block(target: np.ndarray, block: Block) -> None:
    """Read a block right into the chunk, where odc-loader would lay a second array as large on top of it."""
    fill(target, block.table, block.how, block.window)


@dataclass(frozen=True)
class Reader:
    """The reader of a whole cube."""

    table: Table
    how: Reading

    def read(self, cfg: Any, dst_geobox: Any, *, selection: Any, dst: Any = None) -> tuple[Any, Block]:
        """Return the part of the target that is filled, all of it, and what fills it."""
        from rasterio.windows import Window

        grid, corner = self.how.grid, dst_geobox.affine
        height, width = dst_geobox.shape.yx
        left, top = ((corner.c - grid.west) / grid.resolution, (grid.north - corner.f) / grid.resolution)
        dates, bands = selection
        table = [sources[bands] for sources in self.table[dates]]
        window = Window(round(left), round(top), width, height)
        return (slice(0, height), slice(0, width)), Block(table, self.how, window)


class Driver:
    """odc-loader's way to a reader of one's own; settings of GDAL are those of each read, so it restores nothing."""

    md_parser = None
    dask_reader = None
    aux_reader = None

    def new_load(self, geobox: Any, *, chunks: Any = None) -> tuple[()]:
        return ()

    def finalise_load(self, load_state: Any) -> None:
        """Nothing is kept for a load."""

    def capture_env(self) -> dict[str, Any]:
        return {}

    @contextmanager
    def restore_env(self, env: Any, load_state: Any) -> Iterator[Any]:
        yield load_state

    def open(self, src: Any, ctx: Any) -> Any:
        return Reader(*src.driver_data)

"""All that s2koop knows of stackstac, and how it is asked so that it gives right answers.

stackstac 0.5.1 reads ``proj:epsg`` only (pystac rewrites it to ``proj:code``), ignores the scale and offset
of STAC 1.1, snaps the grid to multiples of the resolution, labels pixel corners where rioxarray expects
centres, and adds object coordinates that cannot be saved. So it gets items of our own making, one per solar
day, that hold nothing but a box in the CRS of the cube and a text naming the files behind it; the grid is
given in full, and :class:`MosaicReader` does the reading. What remains is what stackstac does well: a small
blockwise graph with any chunks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np

from s2koop.cube import _reader
from s2koop.cube._grid import Grid, overlap, union, warp_bounds
from s2koop.cube.harmonise import Layer, Scene

Chunks = tuple[int, int, int, int]


def stack_days(
    days: Sequence[Sequence[Scene]],
    bands: Sequence[str],
    *,
    grid: Grid,
    chunks: Chunks,
    resampling: Any,
    errors: str,
    tries: int,
    gdal: Mapping[str, Any] | None,
) -> Any:
    """Return a float32 dask array (time, band, y, x), a date for each list of scenes, the first on top."""
    import stackstac
    from stackstac.rio_env import LayeredEnv

    # a token of its own makes a load warn anew; without warnings, equal loads keep equal names in the graph
    token = uuid4().hex if errors == "mask" else ""
    reader = partial(_reader.MosaicReader, errors=errors, tries=tries, token=token)
    stacked = stackstac.stack(
        [_day_item(f"{number}", scenes, bands, grid) for number, scenes in enumerate(days)],
        assets=list(bands),
        epsg=grid.epsg,
        resolution=grid.resolution,
        bounds=grid.bounds,
        snap_bounds=False,
        resampling=resampling,
        chunksize=chunks,
        dtype=np.dtype("float32"),
        fill_value=np.float32(np.nan),
        rescale=False,
        sortby_date=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        gdal_env=LayeredEnv(always=_reader.settings(gdal)),
        reader=reader,
    )
    return stacked.data


def _day_item(name: str, scenes: Sequence[Scene], bands: Sequence[str], grid: Grid) -> dict[str, Any]:
    """A STAC item, as stackstac wants it, of the files of one date.

    A band that the date lacks, or whose files lie elsewhere, keeps an empty list of files over the whole
    grid: left out, it would be dropped by stackstac together with its row.
    """
    assets = {}
    for band in bands:
        found = [(scene, scene.layers[band]) for scene in scenes if band in scene.layers]
        boxes = [warp_bounds(layer.bounds, layer.epsg, grid.epsg) for _, layer in found]
        inside = [entry for entry, box in zip(found, boxes, strict=True) if overlap(box, grid.bounds)]
        sources = [_source(scene, layer, band) for scene, layer in inside]
        area = union([box for box in boxes if overlap(box, grid.bounds)]) if sources else grid.bounds
        assets[band] = {"href": _reader.pack(sources), "proj:epsg": grid.epsg, "proj:bbox": area}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "properties": {"datetime": str(scenes[0].time), "proj:epsg": grid.epsg},
        "assets": assets,
    }


def _source(scene: Scene, layer: Layer, band: str) -> _reader.Source:
    classes = band == "SCL"  # they have no mean, so they are never interpolated
    return _reader.Source(scene.id, layer.href, layer.scale, layer.offset, layer.nodata, nearest=classes)

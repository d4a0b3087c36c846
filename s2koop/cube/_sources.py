"""The files behind each date and band of a cube, as every engine gets them: the one to lie on top comes first."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from s2koop.catalog.providers import CLASS_LAYERS
from s2koop.cube._grid import Grid, overlap, warp_bounds
from s2koop.cube._reader import Meaning, Source
from s2koop.cube.harmonise import Bounds, Scene

#: A row for each date, in it a tuple of sources for each band; where a date has nothing to show, it is empty.
Table = list[list[tuple[Source, ...]]]


def source_table(days: Sequence[Sequence[Scene]], bands: Sequence[str], grid: Grid) -> Table:
    """List the sources of each date and band that lie on the grid.

    Equal texts, boxes and meanings are one object each, so that a pickle, which writes an object once, is small,
    and the same for the same items: names in a graph are hashes of it.
    """
    boxes: dict[tuple[Bounds, int], Bounds | None] = {}
    meanings: dict[Meaning, Meaning] = {}

    def box(bounds: Bounds, epsg: int) -> Bounds | None:
        """Where a file lies on the grid; None if beside it."""
        key = bounds, epsg
        if key not in boxes:
            warped = warp_bounds(bounds, epsg, grid.epsg)
            boxes[key] = warped if overlap(warped, grid.bounds) else None
        return boxes[key]

    def sources(day: Sequence[Scene], band: str) -> tuple[Source, ...]:
        found = []
        for scene in day:
            layer = scene.layers.get(band)
            place = None if layer is None else box(layer.bounds, layer.epsg)
            if layer is not None and place is not None:
                folder, name = _split(layer.href)
                meaning = Meaning(layer.scale, layer.offset, layer.nodata, band in CLASS_LAYERS)
                meaning = meanings.setdefault(meaning, meaning)
                found.append(Source(sys.intern(scene.id), folder, name, place, meaning))
        return tuple(found)

    return [[sources(day, band) for band in bands] for day in days]


def _split(href: str) -> tuple[str, str]:
    cut = href.rfind("/") + 1
    return sys.intern(href[:cut]), sys.intern(href[cut:])

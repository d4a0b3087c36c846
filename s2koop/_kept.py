"""Blocks of lazy data, computed once and kept while they fit: the next look at such a block reads nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from s2koop._warn import warn_user
from s2koop.errors import SlowReadWarning

#: Bytes of computed blocks that one session keeps, of its cubes and results together.
KEPT_BYTES = 256 * 2**20

_DIMS = ("band", "y", "x")


class Region(NamedTuple):
    """A part of a source; of its dates there are always all."""

    band: slice
    y: slice
    x: slice

    def covers(self, part: Region) -> bool:
        return all(own.start <= other.start and other.stop <= own.stop for own, other in zip(self, part, strict=True))

    def within(self, outer: Region) -> Region:
        """The same part, counted from the corner of `outer`."""
        return Region(*(slice(p.start - o.start, p.stop - o.start) for p, o in zip(self, outer, strict=True)))

    def of(self, source: xr.Dataset) -> xr.Dataset:
        return source.isel(self._asdict())


class _Block(NamedTuple):
    source: str
    region: Region
    data: xr.Dataset


class Kept:
    """Named sources, and the blocks of them that were computed last.

    A block is made of whole chunks in band, y and x, and of all dates: a part of a chunk costs as much, and
    an assimilation needs whole series. What is in memory already is handed out as it is and does not count.

    Parameters
    ----------
    sources : mapping of str to Dataset
        Variables with dims (time, band, y, x), lazy or in memory.
    budget : int
        Bytes to keep. A larger block is computed anew at each look, and a warning says so once.
    """

    def __init__(self, sources: Mapping[str, xr.Dataset], *, budget: int) -> None:
        self._sources = {name: source.unify_chunks() if _chunks(source) else source for name, source in sources.items()}
        self._budget = budget
        self._blocks: list[_Block] = []
        self._warned: set[str] = set()
        # Held while a block is computed, so that who wants the same one waits instead of computing it too.
        self._lock = threading.Lock()

    def points(self, source: str, bands: Sequence[int], rows: np.ndarray, cols: np.ndarray) -> xr.Dataset:
        """Return all dates of some bands at some pixels, in memory (time, band, point); the blocks around are kept.

        Bands that follow each other are read together.
        """
        around = Region(*(slice(int(min(i)), int(max(i)) + 1) for i in (bands, rows, cols)))
        found = self._part(source, around, compute=True)
        if found is None:
            self._warn(source, around)
            found = around.of(self._sources[source])
        at = {
            "band": np.asarray(bands) - around.band.start,
            "y": xr.DataArray(rows - around.y.start, dims="point"),
            "x": xr.DataArray(cols - around.x.start, dims="point"),
        }
        return found.isel(at).compute()

    def missing(self, source: str, band: int, rows: slice | None = None, cols: slice | None = None) -> int:
        """Bytes that a look at all dates of a band, or of a window of it, would have to compute."""
        if not _chunks(self._sources[source]):
            return 0
        layer = self._layer(source, band)
        part = Region(layer.band, rows or layer.y, cols or layer.x)
        kept = any(b.source == source and b.region.covers(part) for b in self._blocks)
        return 0 if kept else self._bytes(source, part)

    def stack(self, source: str, band: int, *, all_dates: bool = False) -> xr.Dataset:
        """Return all pixels of one band, lazy where they are not kept.

        They are computed and kept if `all_dates` are wanted, or if a single one costs as much.
        """
        whole, layer = self._sources[source], self._layer(source, band)
        found = self._part(source, layer, compute=all_dates or len(_chunks(whole).get("time", ())) == 1)
        return (layer.of(whole) if found is None else found).squeeze("band")

    def _layer(self, source: str, band: int) -> Region:
        whole = self._sources[source]
        return Region(slice(band, band + 1), slice(0, whole.sizes["y"]), slice(0, whole.sizes["x"]))

    def _part(self, source: str, wanted: Region, *, compute: bool) -> xr.Dataset | None:
        """What is kept of a source, after computing it if that is asked for; None where it is not or too large."""
        if not _chunks(self._sources[source]):
            return wanted.of(self._sources[source])
        with self._lock:
            block = next((b for b in self._blocks if b.source == source and b.region.covers(wanted)), None)
            if block is not None:
                self._blocks = [b for b in self._blocks if b is not block]
            elif compute and self._bytes(source, wanted) <= self._budget:
                region = self._whole_chunks(source, wanted)
                block = _Block(source, region, region.of(self._sources[source]).compute())
            if block is None:
                return None
            self._blocks.append(block)
            while sum(b.data.nbytes for b in self._blocks) > self._budget and len(self._blocks) > 1:
                del self._blocks[0]
        return wanted.within(block.region).of(block.data)

    def _whole_chunks(self, source: str, wanted: Region) -> Region:
        chunks = _chunks(self._sources[source])
        return Region(*(_grown(part, chunks.get(dim)) for dim, part in zip(_DIMS, wanted, strict=True)))

    def _bytes(self, source: str, wanted: Region) -> int:
        return int(self._whole_chunks(source, wanted).of(self._sources[source]).nbytes)

    def _warn(self, source: str, wanted: Region) -> None:
        if source in self._warned:
            return
        self._warned.add(source)
        size, budget = (f"{n / 2**20:.0f} MB" for n in (self._bytes(source, wanted), self._budget))
        message = (
            f"each look at a pixel of {source!r} computes a block of {size}, more than the {budget} that are kept; "
            "call .load() first where it fits into memory, or cut a smaller area or chunks in y and x"
        )
        warn_user(SlowReadWarning(message))


def _chunks(source: xr.Dataset) -> Mapping[str, tuple[int, ...]]:
    """Chunk sizes by dim, empty where all is in memory; also of variables that are cut in different ways."""
    return {str(dim): sizes for v in source.values() for dim, sizes in v.chunksizes.items()}


def _grown(part: slice, sizes: tuple[int, ...] | None) -> slice:
    """The slice of whole chunks around `part`."""
    if sizes is None:
        return part
    edges = [0]
    for size in sizes:
        edges.append(edges[-1] + size)
    return slice(max(e for e in edges if e <= part.start), min(e for e in edges if e >= part.stop))

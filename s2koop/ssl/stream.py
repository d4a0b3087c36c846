"""Batches of patches or pixel series from data larger than memory: some chunks at a time, in seeded order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop.errors import InputError

#: Bytes of chunks that are held at a time; one chunk is, however large.
BUDGET = 256 * 2**20
#: Most batches that are drawn from the chunks in hand, before others are read.
_LONGEST_ROUND = 50
#: Places that are tried for each sample of a batch, because some are missing too much.
_TRIES = 4

Region = tuple[slice, ...]


@dataclass(eq=False)
class Stream:
    """Samples of an array, batch by batch; a batch depends on the seed and its number alone.

    A round reads some chunks, in random order, and draws its batches from anywhere inside of them. So nothing but a
    round's chunks is in memory, and a training that stops can go on with the same batches.

    Attributes
    ----------
    data : DataArray
        Dims of samples first, then those of a sample: (..., band, y, x) or (y, x, time, band).
    core : int
        How many dims a sample has.
    patch : int or None
        Side of the windows that are cut along the last two dims; None takes a sample's dims whole.
    usable : callable
        From samples (n, ...) to whether each may be used.
    batch, seed : int
    """

    data: xr.DataArray
    core: int
    patch: int | None
    usable: Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]]
    batch: int
    seed: int
    _held: tuple[int, list[npt.NDArray[Any]]] = field(default=(-1, []), init=False, repr=False)

    def __post_init__(self) -> None:
        self.regions = _regions(self.data, self.core, self.patch)
        largest = max(_size(region) for region in self.regions) * self.data.dtype.itemsize
        self.together = int(np.clip(BUDGET // max(largest, 1), 1, len(self.regions)))
        apart = sum(self._apart(region) for region in self.regions) / len(self.regions)
        whole = self.data.chunks is None
        fresh = 2 * apart * self.together / self.batch
        self.round_length = 2**31 if whole else int(np.clip(np.ceil(fresh), 1, _LONGEST_ROUND))

    def draw(self, step: int) -> npt.NDArray[np.float32]:
        """The samples (n, ...) of a batch, n being `batch` or less where the data have fewer.

        Raises
        ------
        InputError
            If fewer than two samples are usable.
        """
        held = self._round(step // self.round_length)
        random = np.random.default_rng([self.seed, 0, step])
        found: list[npt.NDArray[Any]] = []
        places: set[tuple[int, ...]] = set()
        for _ in range(_TRIES):
            found += self._tried(held, random, places)
            if len(found) >= self.batch:
                break
        if len(found) < 2:
            raise InputError(
                "no two usable samples were found: nearly all of them miss too many values; mask less, take other "
                "dates, or raise max_missing"
            )
        return np.stack(found[: self.batch]).astype(np.float32)

    def _tried(
        self, held: list[npt.NDArray[Any]], random: np.random.Generator, places: set[tuple[int, ...]]
    ) -> list[npt.NDArray[Any]]:
        """Usable samples among as many new places as a batch has samples."""
        weights = np.array([self._places(block.shape) for block in held], float)
        chosen = random.choice(len(held), self.batch, p=weights / weights.sum())
        found: list[npt.NDArray[Any]] = []
        for which in chosen:
            at = tuple(int(random.integers(0, limit)) for limit in self._limits(held[which].shape))
            if (int(which), *at) not in places:
                places.add((int(which), *at))
                found.append(self._sample(held[which], at))
        if not found:
            return []
        return [sample for sample, good in zip(found, self.usable(np.stack(found)), strict=True) if good]

    def _limits(self, shape: Sequence[int]) -> tuple[int, ...]:
        """How many places there are along each dim."""
        lead = tuple(shape[: len(shape) - self.core])
        return lead if self.patch is None else (*lead, *(size - self.patch + 1 for size in shape[-2:]))

    def _places(self, shape: Sequence[int]) -> int:
        return int(np.prod(self._limits(shape)))

    def _apart(self, region: Region) -> int:
        """Samples of a region that do not overlap."""
        sizes = [part.stop - part.start for part in region]
        lead = int(np.prod(sizes[: len(sizes) - self.core]))
        return lead if self.patch is None else lead * int(np.prod([size // self.patch for size in sizes[-2:]]))

    def _sample(self, block: npt.NDArray[Any], at: tuple[int, ...]) -> npt.NDArray[Any]:
        if self.patch is None:
            return block[at]
        row, column = at[-2:]
        return block[at[:-2]][..., row : row + self.patch, column : column + self.patch]

    def _round(self, number: int) -> list[npt.NDArray[Any]]:
        """The chunks of a round, read once."""
        if self._held[0] != number:
            self._held = (-1, [])  # first let go of what is held: memory is for one round
            rounds = -(-len(self.regions) // self.together)
            epoch, at = divmod(number, rounds)
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.regions))
            wanted = order[at * self.together : (at + 1) * self.together]
            blocks = [self.data.data[self.regions[i]] for i in wanted]
            if self.data.chunks is not None:
                blocks = list(dask.compute(*blocks))
            self._held = (number, blocks)
        return self._held[1]


def _regions(data: xr.DataArray, core: int, patch: int | None) -> list[Region]:
    """Parts of the data to be read as a whole: chunks, joined where they are smaller than a patch."""
    if data.chunks is None:
        return [tuple(slice(0, size) for size in data.shape)]
    edges: list[list[slice]] = []
    for axis, sizes in enumerate(data.chunks):
        place = axis - data.ndim
        if place >= -core and (patch is None or place < -2):
            edges.append([slice(0, data.shape[axis])])  # whole series, all bands
        else:
            edges.append(_joined(sizes, patch if place >= -2 and patch is not None else 1))
    return list(product(*edges))


def _joined(sizes: Sequence[int], least: int) -> list[slice]:
    """Slices of neighbouring chunks that are together no smaller than asked."""
    slices, start, stop = [], 0, 0
    for size in sizes:
        stop += size
        if stop - start >= least:
            slices.append(slice(start, stop))
            start = stop
    if start < stop:  # what is left is too small for itself
        slices[-1] = slice(slices[-1].start, stop)
    return slices


def _size(region: Region) -> int:
    return int(np.prod([part.stop - part.start for part in region]))


__all__ = ["Stream"]

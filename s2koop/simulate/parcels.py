"""A map of parcels: which land cover grows where, how parcels mix at their edges, and what varies within."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Pixels over which two parcels mix at their edge: about the point spread of the instrument.
EDGE = 0.6


@dataclass(frozen=True)
class ParcelMap:
    """Parcels of a scene.

    Attributes
    ----------
    cover : int array (parcel,)
        Index of the land cover of each parcel.
    first, second : int array (y, x)
        The parcel that holds most of a pixel, and the one that holds the rest.
    share : float32 array (y, x)
        How much of the pixel the second has: 0 to 0.5.
    """

    cover: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]


def scattered(rng: np.random.Generator, shape: tuple[int, int], size: float, weights: Sequence[float]) -> ParcelMap:
    """Voronoi cells of about `size` pixels across, with land covers drawn by weight."""
    count = max(2, round(shape[0] * shape[1] / size**2))
    seeds = rng.uniform((-0.5, -0.5), (shape[0] - 0.5, shape[1] - 0.5), (count, 2)).astype(np.float32)
    first, second = (np.empty(shape, np.int64) for _ in range(2))
    share = np.empty(shape, np.float32)
    columns = np.arange(shape[1], dtype=np.float32)
    for row in range(shape[0]):  # a row at a time: distances to all parcels of all pixels would be large
        distance = np.hypot(row - seeds[:, 0], columns[:, None] - seeds[:, 1])
        nearest = np.argpartition(distance, 1, axis=1)[:, :2]
        two = np.take_along_axis(distance, nearest, axis=1)
        nearest = np.take_along_axis(nearest, np.argsort(two, axis=1), axis=1)
        first[row], second[row] = nearest.T
        # half the difference of the distances is about the distance to the edge
        share[row] = 0.5 * np.exp(-np.abs(two[:, 1] - two[:, 0]) / (2 * EDGE))
    return ParcelMap(_covers(rng, count, weights), first, second, share)


def _covers(rng: np.random.Generator, count: int, weights: Sequence[float]) -> npt.NDArray[np.int64]:
    """Land covers of parcels in proportion to their weights, as near as whole parcels allow, in random order."""
    share = np.asarray(weights, np.float64) / np.sum(weights)
    steps = (np.arange(count) + rng.uniform()) / count
    covers = np.searchsorted(np.cumsum(share), steps, side="right").clip(max=len(share) - 1)
    return rng.permutation(covers)


def separate(shape: tuple[int, int], cover: int) -> ParcelMap:
    """Every pixel a parcel of its own, all of one land cover."""
    own = np.arange(shape[0] * shape[1]).reshape(shape)
    return ParcelMap(np.full(own.size, cover), own, own, np.zeros(shape, np.float32))

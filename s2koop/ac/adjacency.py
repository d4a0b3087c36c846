"""Neighbours in the light of a pixel: what air scatters into the view comes from some kilometre around.

The surroundings are made on a coarse grid, from one pass over the scene, and interpolated; so the whole scene counts,
however it is cut. Beyond its edges the mean goes on over what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.signal import fftconvolve

from s2koop._numbers import real
from s2koop.ac.inputs import bilinear
from s2koop.ac.lut import AEROSOLS, Table
from s2koop.ac.sensors import band_weights, pixel_size
from s2koop.errors import InputError

Array = npt.NDArray[Any]

#: Distances after which neighbours count no more, and cells of the coarse grid in a distance.
_REACH, _CELLS = 4.0, 4.0


def check_distance(adjacency: Any) -> float:
    """The distance of ``adjacency=`` in m, refused where it is none."""
    distance = real("adjacency", adjacency, least=0)
    if distance == 0:
        raise InputError("adjacency=0 says that no neighbour counts; leave adjacency=None for that, or say 1000 (m)")
    return distance


def depths(table: Table, sensor: Any, bands: Sequence[str], aerosol: str) -> Array:
    """Optical depth of molecules at the sea, and of aerosol for an AOT of 1: (2, band), means over the responses."""
    nodes = np.log(np.asarray(table.tensors["node"], np.float64))
    at = np.log(np.linspace(400.0, 2400.0, len(table.tensors["solar"])))
    weights = band_weights(table, sensor, bands)
    of_nodes = (table.tensors["rayleigh_depth"], table.tensors["depth"][AEROSOLS.index(aerosol)])
    return np.stack([weights @ np.exp(np.interp(at, nodes, np.log(np.asarray(d, np.float64)))) for d in of_nodes])


def scattered_share(depth: Array, aot: Array, altitude: Array, vza: Array) -> Array:
    """Share (band, pixel) of the light from the ground that is scattered before it arrives.

    What goes straight is ``exp(-depth / cos vza)``; what arrives at all, nearly ``exp(-(0.52 molecules + 0.167 aerosol)
    / cos vza)`` (Tanré et al. 1979, Applied Optics 18).
    """
    height = (1 - 0.0065 * np.maximum(altitude, 0) / 288.15) ** 5.31
    lost = 0.48 * depth[0][:, None] * height + 0.833 * depth[1][:, None] * aot
    return -np.expm1(-lost / np.cos(np.radians(vza)))


def without_neighbours(uniform: Any, around: Any, albedo: Any, share: Any) -> Any:
    """Surface reflectance, from what an inversion finds that takes each pixel as part of a uniform surface.

    Light from the ground is ``(1 - share) * rho + share * around``, and goes to and fro between air and `around`.

    Parameters
    ----------
    uniform, around : array, tensor or DataArray (..., band, y, x)
        Reflectance that the inversion finds, and that of the neighbours.
    albedo, share : the same (..., band, 1, 1)
        Spherical albedo of the air, and share of the light that was scattered.

    Examples
    --------
    >>> round(without_neighbours(0.12, 0.2, 0.1, 0.25), 3)  # a dark pixel among bright ones
    0.092
    """
    light = uniform / (1 - albedo * uniform) * (1 - albedo * around)
    return (light - share * around) / (1 - share)


def surroundings(boa: xr.DataArray, distance: float) -> xr.DataArray:
    """What lies around each pixel, weighted by ``exp(-distance / scale)``.

    Parameters
    ----------
    boa : DataArray, dims ([time], band, y, x)
        Surface reflectance; missing pixels do not count.
    distance : float
        The scale in m.

    Returns
    -------
    DataArray
        As `boa`, lazy and in the same chunks where that is lazy; NaN where nothing was seen within four times the
        scale.
    """
    own = pixel_size(boa)
    cell = max(1, int(distance / _CELLS / own))
    kernel = _kernel(distance / (cell * own))
    ordered = boa.transpose(..., "band", "y", "x")
    array = ordered.data
    starts = [np.arange(0, size, cell) for size in array.shape[-2:]]
    places = [_places(size, cell) for size in array.shape[-2:]]
    if not isinstance(array, da.Array):
        grid = _mean_around(_sums(array, cell), kernel)
        return ordered.copy(data=bilinear(grid, *places).astype(array.dtype)).transpose(*boa.dims)
    whole = {axis: _whole(sizes, cell) for axis, sizes in zip((-2, -1), array.chunks[-2:], strict=True)}
    cut = array.rechunk({array.ndim + axis: sizes for axis, sizes in whole.items()})
    coarse = (*cut.chunks[:-2], *(tuple(-(-size // cell) for size in sizes) for sizes in cut.chunks[-2:]))
    sums = da.map_blocks(_sums, cut, cell, new_axis=0, chunks=((2,), *coarse), dtype=np.float64)
    means = sums.rechunk({0: -1, sums.ndim - 2: -1, sums.ndim - 1: -1})
    size = tuple((max(len(each), 2),) for each in starts)
    grid = da.map_blocks(
        _mean_around, means, kernel, drop_axis=0, chunks=(*means.chunks[1:-2], *size), dtype=np.float64
    )
    around = da.map_blocks(
        _block, grid=grid.rechunk(-1), places=places, like=array.dtype, chunks=array.chunks, dtype=array.dtype,
        meta=array._meta,
    )  # fmt: skip
    return ordered.copy(data=around).transpose(*boa.dims)


def _whole(sizes: Sequence[int], cell: int) -> tuple[int, ...]:
    """Chunks of about these sizes that hold whole cells."""
    ends = np.unique([-(-int(end) // cell) * cell for end in np.cumsum(sizes)])
    ends[-1] = sum(sizes)
    return tuple(int(size) for size in np.diff(np.unique(np.minimum([0, *ends], sum(sizes)))))


def _sums(array: Array, cell: int) -> Array:
    """Sum and number of what was seen in each cell: (2, ..., row, column)."""
    there = np.isfinite(array)
    both = np.stack([np.where(there, array, 0), there]).astype(np.float64)
    for axis in (-2, -1):
        both = np.add.reduceat(both, np.arange(0, both.shape[axis], cell), axis=axis)
    return both


def _mean_around(sums: Array, kernel: Array) -> Array:
    """Weighted means (..., row, column) of cells, at least two along each side."""
    weights = kernel.reshape((1,) * (sums.ndim - 2) + kernel.shape)
    total, seen = fftconvolve(sums, weights, mode="same", axes=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen > 1e-3, total / seen, np.nan)
    missing = [(0, max(0, 2 - size)) for size in mean.shape[-2:]]
    return np.pad(mean, [(0, 0)] * (mean.ndim - 2) + missing, mode="edge")


def _kernel(scale: float) -> Array:
    """Weights over cells, with the scale in cells."""
    reach = np.arange(-int(np.ceil(_REACH * scale)), int(np.ceil(_REACH * scale)) + 1)
    weights = np.exp(-np.hypot(reach[:, None], reach) / scale)
    return weights / weights.sum()


def _places(size: int, cell: int) -> Array:
    """Where pixels lie between the middles of cells."""
    starts = np.arange(0, size, cell)
    middles = (starts + np.minimum(starts + cell, size) - 1) / 2
    return np.interp(np.arange(size), middles, np.arange(len(middles)))


def _block(grid: Array, places: Sequence[Array], like: Any, block_info: Any = None) -> Array:
    *lead, y, x = (slice(*ends) for ends in block_info[None]["array-location"])
    return bilinear(grid[tuple(lead)], places[0][y], places[1][x]).astype(like)

"""Thumbnails of patches: cut from images by coordinates, stretched to 8 bits, and written as PNG into an address."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image

from s2koop._picture_bands import picture_bands
from s2koop.errors import InputError
from s2koop.plots._style import NO_DATA_COLOUR

Array = npt.NDArray[Any]

#: Shares of dark and bright pixels that are cut off.
_CLIPPED = (0.02, 0.98)
_MISSING = np.frombuffer(bytes.fromhex(NO_DATA_COLOUR[1:]), np.uint8)


class Thumbnails:
    """Patches of images as small pictures.

    Parameters
    ----------
    images : DataArray (..., [band], y, x)
    patch : int or None
        Side in pixels; None for whole images.
    bands : sequence of str, optional
        One or three; true colour where there is, else the first.
    inside : bool
        Move what reaches beyond the images inside, for surroundings of pixels; else it is an error.

    Raises
    ------
    InputError
        If images have no y and x, or a band is not there.
    """

    def __init__(
        self, images: xr.DataArray, patch: int | None, bands: Sequence[str] | None, *, inside: bool = False
    ) -> None:
        if not isinstance(images, xr.DataArray) or not {"y", "x"} <= set(images.dims):
            raise InputError(
                f"images must be a DataArray with y and x; this is {getattr(images, 'dims', type(images))}"
            )
        self._images = picture_bands(images, bands)
        self._patch = None if patch is None else int(patch)
        self._inside = inside
        self._others = [str(dim) for dim in images.dims if dim not in ("band", "y", "x")]

    def cut(self, places: Sequence[Mapping[str, Any]]) -> list[Array]:
        """Patches (y, x, band) around centres, read in one go.

        Parameters
        ----------
        places : sequence of mappings
            Coordinates of each: those of the other dims (positions where there is no coordinate), and y and x.
        """
        parts = [self._one(place).transpose("y", "x", "band") for place in places]
        return [np.asarray(part.values, np.float64) for part in dask.compute(*parts)]

    def stretched(self, cuts: Sequence[Array], *, shared: bool, most: int = 160) -> list[Array]:
        """Pictures (y, x, 3) of uint8, at most so many pixels wide and high; missing pixels are grey.

        Parameters
        ----------
        cuts : sequence of arrays (y, x, band)
        shared : bool
            One range of brightness for all, by band; else each has its own.
        most : int
        """
        small = [_thinned(cut, most) for cut in cuts]
        if not shared:
            return [_coloured(cut, _limits([cut])) for cut in small]
        limits = _limits(small)
        return [_coloured(cut, limits) for cut in small]

    def _one(self, place: Mapping[str, Any]) -> xr.DataArray:
        chosen = self._images
        for dim in self._others:
            if dim not in place:
                raise InputError(f"the neighbours have no {dim!r}, which images have; embed and show the same images")
            chosen = chosen.isel({dim: self._position(dim, place[dim])})
        if self._patch is None:
            return chosen
        windows = {}
        for dim in ("y", "x"):
            if dim not in place:
                raise InputError(f"patches of {self._patch} pixels need {dim!r} of the neighbours; leave patch out")
            windows[dim] = self._window(dim, float(place[dim]))
        return chosen.isel(windows)

    def _position(self, dim: str, value: Any) -> int:
        if dim not in self._images.indexes:
            return int(value)
        found = np.flatnonzero(self._images[dim].values == value)
        if not found.size:
            raise InputError(f"images have no {dim}={value!r}; show the images that were embedded")
        return int(found[0])

    def _window(self, dim: str, centre: float) -> slice:
        """The pixels of a patch whose centre, maybe between two pixels, is given."""
        patch = self._patch or 1
        size = self._images.sizes[dim]
        known = self._images[dim].values.astype(np.float64)  # positions where there is no coordinate
        step = (known[-1] - known[0]) / (size - 1) if size > 1 else 1.0
        start = round((centre - known[0]) / step - (patch - 1) / 2)
        if self._inside:
            start = min(max(start, 0), max(size - patch, 0))
        elif start < 0 or start + patch > size:
            raise InputError(f"a patch of {patch} pixels around {dim}={centre:g} reaches beyond the images")
        return slice(start, start + patch)


def data_uri(picture: Array) -> str:
    """A picture (y, x, 3) of uint8 as an address that holds its own PNG.

    Examples
    --------
    >>> data_uri(np.zeros((2, 2, 3), np.uint8))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    grey = bool((picture == picture[..., :1]).all())
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture)).save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thinned(cut: Array, most: int) -> Array:
    """Means over squares of pixels, so that speckle does not alias."""
    step = -(-max(cut.shape[:2]) // most)
    if step <= 1:
        return cut
    rows, columns = (size // step * step for size in cut.shape[:2])
    squares = cut[:rows, :columns].reshape(rows // step, step, columns // step, step, -1)
    seen = np.isfinite(squares)
    count = seen.sum(axis=(1, 3))
    total = np.where(seen, squares, 0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _limits(cuts: Sequence[Array]) -> Array:
    """Dark and bright end of each band (2, band); 0 and 1 where there is nothing."""
    pixels = np.concatenate([cut.reshape(-1, cut.shape[2]) for cut in cuts])
    ends = []
    for band in pixels.T:
        finite = band[np.isfinite(band)]
        ends.append(np.quantile(finite, _CLIPPED) if finite.size else np.array([0.0, 1.0]))
    return np.stack(ends, axis=1)


def _coloured(cut: Array, limits: Array) -> Array:
    low, high = limits
    width = np.where(high > low, high - low, 1.0)
    there = np.isfinite(cut).all(axis=2)
    levels = np.clip((np.where(np.isfinite(cut), cut, low) - low) / width, 0, 1)
    picture = np.broadcast_to((levels * 255).round().astype(np.uint8), (*cut.shape[:2], 3)).copy()
    picture[~there] = _MISSING
    return picture

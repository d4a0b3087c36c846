"""Patches of images for adaptation: drawn anywhere, without gaps, and read so that a lazy cube is never in memory."""

from __future__ import annotations

import dask
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from s2koop._warn import warn_user
from s2koop.errors import InputError, S2koopWarning

#: Patches that are cut out of a lazy cube together.
_TOGETHER = 64
#: Places that are looked at for each patch asked for, before gaps are held to be everywhere.
_TRIES = 8

Places = npt.NDArray[np.int64]


def cut_patches(cube: xr.DataArray, *, count: int, size: int, least: int, seed: int, label: str,
                progress: bool = False) -> Tensor:  # fmt: skip
    """Cut squares without gaps out of a cube.

    Parameters
    ----------
    cube : DataArray, dims (image, band, y, x)
    count, size : int
        Squares asked for, and their rows and columns.
    least : int
        Squares with which one can do; fewer than `count` are warned of.
    seed : int
    label : str
        What the cube is called in messages.
    progress : bool
        Show a bar.

    Returns
    -------
    Tensor, shape (patch, band, size, size), float32

    Raises
    ------
    InputError
        If images are smaller than a square, or fewer than `least` squares without gaps were found.

    Warns
    -----
    S2koopWarning
        If gaps left fewer than `count`.

    Examples
    --------
    >>> values = np.random.default_rng(0).random((2, 4, 20, 20), np.float32)
    >>> cube = xr.DataArray(values, dims=("image", "band", "y", "x"))
    >>> cut_patches(cube, count=5, size=8, least=1, seed=0, label="source").shape
    torch.Size([5, 4, 8, 8])
    """
    small = [dim for dim in ("y", "x") if cube.sizes[dim] < size]
    if small:
        raise InputError(
            f"the {label} has {cube.sizes[small[0]]} pixels along {small[0]}, and patches have {size}; give larger "
            "images, or settings with a smaller patch"
        )
    rng = np.random.default_rng([seed, *label.encode()])
    found: list[npt.NDArray[np.float32]] = []
    looked = 0
    bar = tqdm(total=count, desc=f"read the {label}", disable=not progress, mininterval=0.5)
    while len(found) < count and looked < _TRIES * count:
        asked = min(max(count - len(found), _TOGETHER), _TRIES * count - looked)
        looked += asked
        whole = [patch for patch in _read(cube, _places(cube, size, asked, rng), size) if np.isfinite(patch).all()]
        found += whole[: count - len(found)]
        bar.update(len(found) - bar.n)
    bar.close()
    _check(found, count, least, looked, size, label)
    return torch.from_numpy(np.stack(found))


def _places(cube: xr.DataArray, size: int, count: int, rng: np.random.Generator) -> Places:
    """Image, first row and first column (place, 3) of squares; all images come in turn."""
    images = cube.sizes["image"]
    rounds = [rng.permutation(images) for _ in range(-(-count // images))]
    corners = [rng.integers(cube.sizes[dim] - size + 1, size=count) for dim in ("y", "x")]
    return np.stack([np.concatenate(rounds)[:count], *corners], 1)


def _read(cube: xr.DataArray, places: Places, size: int) -> list[npt.NDArray[np.float32]]:
    """Squares at places; read in the order of chunks, so that one is loaded once, or twice where a batch ends in it."""
    order = np.arange(len(places))
    if cube.chunks is not None:
        ends = [np.cumsum(cube.chunksizes[dim]) for dim in ("image", "y", "x")]
        chunks = [np.searchsorted(end, places[:, at], side="right") for at, end in enumerate(ends)]
        order = np.lexsort(chunks[::-1])
    found: dict[int, npt.NDArray[np.float32]] = {}
    for start in range(0, len(order), _TOGETHER):
        part = order[start : start + _TOGETHER]
        cut = [cube.data[image, :, y : y + size, x : x + size] for image, y, x in places[part]]
        read = dask.compute(*cut) if cube.chunks is not None else cut
        found |= {int(at): np.array(patch, np.float32) for at, patch in zip(part, read, strict=True)}  # no views
    return [found[at] for at in range(len(places))]


def _check(found: list[npt.NDArray[np.float32]], count: int, least: int, looked: int, size: int, label: str) -> None:
    if len(found) < least:
        raise InputError(
            f"only {len(found)} of {looked} patches of {size} x {size} pixels in the {label} have no gaps; at least "
            f"{least} are needed; give more or clearer images, fill small gaps, or choose a smaller patch or batch"
        )
    if len(found) < count:
        warn_user(S2koopWarning(
            f"the {label} gave {len(found)} patches without gaps instead of {count}; translators learn from these"
        ))  # fmt: skip
    middle = float(np.median(np.stack(found[:256])))
    if middle > 2:
        raise InputError(
            f"the median of the {label} is {middle:.4g}; expected reflectance in 0..1: divide digital numbers by 10000 "
            "and mind the offset (s2koop.load does both right)"
        )
    if np.ptp(np.stack(found), axis=(0, 2, 3)).min() == 0:
        raise InputError(f"a band of the {label} has the same value everywhere; leave it out")

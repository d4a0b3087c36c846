"""Kernels over square windows of images: block by block, each with what its last windows read beyond it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from s2koop._memory import block_bytes
from s2koop.engine.common import ModelReference, Output, blank, in_worker, turn
from s2koop.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

#: A kernel takes (model, patches of shape (n, band, patch, patch), **options) and returns a tensor of shape (n, ...).
PatchKernel = Callable[..., "Tensor"]


def map_patches(
    images: xr.DataArray,
    kernel: PatchKernel,
    *,
    patch: int,
    stride: int,
    output: Output,
    model: Any | ModelReference = None,
    options: Mapping[str, Any] | None = None,
    max_missing: float = 0.0,
    tile: int = 32,
    device: str = "cpu",
    progress: str | None = None,
) -> xr.DataArray:
    """Run a kernel over square patches of images, lazily where these are dask-backed.

    Patches start at the first pixel and lie `stride` pixels apart; those that would reach over the edge are left out. A
    block reads as far beyond its own patches as the last of them reaches, so chunks never show in the result.

    Parameters
    ----------
    images : DataArray, dims y, x, at most one ``band``, and any others
    kernel : callable
        An importable function ``kernel(model, patches, **options)``; `patches` is a float32 tensor of shape (n, band,
        patch, patch), with one band where the images have none. It returns a tensor of shape (n, *core).
    patch, stride : int
        Pixels.
    output : Output
        What the kernel returns.
    model : ModelReference or anything, optional
        For dask-backed images a `ModelReference`, or None.
    options : mapping, optional
        Keyword arguments of the kernel: small and picklable.
    max_missing : float
        Share of the values of a patch that may be NaN; patches with more never reach the kernel, and become NaN.
    tile : int
        Patches in each call; the last one of a block is filled up with blank ones.
    device : str
        Where the kernel runs.
    progress : str, optional
        Label of the progress bar; NumPy-backed images only.

    Returns
    -------
    DataArray
        With the other dims of the images, then y and x (centres of patches), then those of the output.

    Raises
    ------
    InputError
        If y or x are missing, or shorter than a patch.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> def brightest(model, patches):
    ...     return patches.amax((2, 3))
    >>> images = xr.DataArray(np.arange(48.0).reshape(6, 8), dims=("y", "x"))
    >>> map_patches(images, brightest, patch=4, stride=2, output=Output({"feature": [0]}))[..., 0].values
    array([[27., 29., 31.],
           [43., 45., 47.]], dtype=float32)
    """
    counts = {}
    for dim in ("y", "x"):
        if images.sizes.get(dim, 0) < patch:
            raise InputError(f"{dim} has {images.sizes.get(dim, 0)} pixels, fewer than a patch of {patch}")
        counts[dim] = (images.sizes[dim] - patch) // stride + 1
    banded = images if "band" in images.dims else images.expand_dims("band")
    others = [dim for dim in banded.dims if dim not in ("band", "y", "x")]
    banded = banded.transpose(*others, "band", "y", "x")
    core = [len(labels) for labels in output.coords.values()]
    run = functools.partial(
        _run_patches, kernel=kernel, core=core, dtype=np.dtype(output.dtype).str, model=model,
        options=dict(options or {}), patch=patch, stride=stride, max_missing=max_missing, tile=tile, device=device,
        progress=progress if banded.chunks is None else None,
    )  # fmt: skip
    data = (
        run(banded.data) if banded.chunks is None else _lazy_patches(banded, run, counts, core, output, patch, stride)
    )
    coords = {
        name: coord
        for name, coord in images.coords.items()
        if not {"band", "y", "x"} & set(coord.dims) and name != "band"
    }
    coords |= {dim: _centres(images[dim], patch, stride, counts[dim]) for dim in ("y", "x") if dim in images.coords}
    return xr.DataArray(
        data, dims=(*others, "y", "x", *output.coords), coords=coords | dict(output.coords), attrs=dict(output.attrs)
    ).rename(images.name)


def _lazy_patches(
    images: xr.DataArray,
    run: Callable[[np.ndarray], np.ndarray],
    counts: Mapping[str, int],
    core: Sequence[int],
    output: Output,
    patch: int,
    stride: int,
) -> Any:
    """Blocks of whole patches, each with the pixels beyond its own that its last patches need."""
    import dask.array

    reach = max(patch - stride, 0)
    fewest = max(-(-reach // stride), 1)  # patches in a block, so that a neighbour holds all that is read beyond
    parts = _blocks(images, counts, patch, stride, fewest)
    used = images.isel({dim: slice(0, (counts[dim] - 1) * stride + patch) for dim in ("y", "x")})
    pixels = [[*(n * stride for n in parts[dim][:-1]), (parts[dim][-1] - 1) * stride + patch] for dim in ("y", "x")]
    others = [parts[str(dim)] for dim in images.dims[:-3]]
    data = used.data.rechunk(tuple(map(tuple, (*others, [images.sizes["band"]], *pixels))))
    if reach:
        depth = dict.fromkeys((data.ndim - 2, data.ndim - 1), (0, reach))
        data = dask.array.overlap.overlap(data, depth=depth, boundary="none", allow_rechunk=False)
    chunks = tuple(map(tuple, (*others, parts["y"], parts["x"], *([n] for n in core))))
    band = data.ndim - 3
    return data.map_blocks(
        run, dtype=output.dtype, chunks=chunks, drop_axis=band, new_axis=list(range(band + 2, band + 2 + len(core))),
        meta=np.empty((0,) * len(chunks), output.dtype),
    )  # fmt: skip


def _blocks(
    images: xr.DataArray, counts: Mapping[str, int], patch: int, stride: int, fewest: int
) -> dict[str, list[int]]:
    """Patches of each block along y and x, and sizes of blocks along the other dims: near the chunks, within budget."""
    sizes = {str(dim): max(images.chunksizes[dim]) for dim in images.dims if dim not in ("band", "y", "x")}
    sizes |= {dim: max(max(images.chunksizes[dim]) // stride, fewest) for dim in ("y", "x")}
    least = {dim: fewest if dim in ("y", "x") else 1 for dim in sizes}

    def values() -> float:
        pixels = [(sizes[dim] - 1) * stride + patch for dim in ("y", "x")]
        return float(np.prod([images.sizes["band"], *pixels, *(sizes[dim] for dim in sizes if dim not in ("y", "x"))]))

    budget = block_bytes()
    while 4 * values() > budget and any(sizes[dim] > least[dim] for dim in sizes):
        widest = max((dim for dim in sizes if sizes[dim] > least[dim]), key=sizes.__getitem__)
        sizes[widest] = max(-(-sizes[widest] // 2), least[widest])
    parts = {dim: _parts(counts.get(dim, images.sizes[dim]), size) for dim, size in sizes.items()}
    for dim in ("y", "x"):
        if len(parts[dim]) > 1 and parts[dim][-1] < fewest:  # too few to hold what the block before reads beyond
            last = parts[dim].pop()
            parts[dim][-1] += last
    return parts


def _parts(count: int, size: int) -> list[int]:
    """A count in parts of a size, the last one smaller."""
    return [size] * (count // size) + ([count % size] if count % size else [])


def _centres(coord: xr.DataArray, patch: int, stride: int, count: int) -> xr.DataArray:
    """Coordinates of the centres of patches: those of the pixel in the middle, or between the two."""
    first = np.arange(count) * stride
    low, high = first + (patch - 1) // 2, first + patch // 2
    values = coord.values
    centres = values[low] if patch % 2 else values[low] + (values[high] - values[low]) / 2
    return xr.DataArray(centres, dims=coord.dims, attrs=coord.attrs)


def _run_patches(
    block: np.ndarray,
    *,
    kernel: PatchKernel,
    core: Sequence[int],
    dtype: str,
    model: Any,
    options: Mapping[str, Any],
    patch: int,
    stride: int,
    max_missing: float,
    tile: int,
    device: str,
    progress: str | None,
) -> np.ndarray:
    """All patches of one block (..., band, y, x), tile by tile."""
    windows = np.lib.stride_tricks.sliding_window_view(block, (patch, patch), axis=(-2, -1))
    windows = np.moveaxis(windows[..., ::stride, ::stride, :, :], -5, -3)  # (..., y, x, band, patch, patch), a view
    shape = windows.shape[:-3]
    count = int(np.prod(shape, initial=1))
    out = blank((count, *core), dtype)
    if isinstance(model, ModelReference):
        model = model.load(device)
    with turn(device), in_worker(), torch.no_grad():
        for start in tqdm(range(0, count, tile), desc=progress, disable=progress is None, leave=False):
            at = np.unravel_index(np.arange(start, min(start + tile, count)), shape)
            patches = np.asarray(windows[at], dtype=np.float32)
            usable = (
                np.isnan(patches).mean((1, 2, 3)) <= max_missing
                if block.dtype.kind == "f"
                else np.ones(len(patches), bool)
            )
            usable &= ~np.isnan(patches).all((1, 2, 3))
            if usable.any():
                values = torch.from_numpy(_filled_up(patches[usable], tile)).to(device)
                found = kernel(model, values, **options)[: usable.sum()]
                out[start : start + tile][usable] = found.detach().cpu().numpy()
    return out.reshape(*shape, *core)


def _filled_up(patches: np.ndarray, tile: int) -> np.ndarray:
    """Patches with blank ones up to a full tile: libraries round otherwise for other sizes, and chunks would show."""
    blank = np.zeros((tile - len(patches), *patches.shape[1:]), patches.dtype)
    return np.concatenate([patches, blank]) if len(blank) else np.ascontiguousarray(patches)

"""Kernels over the pixels of a cube: block by block, tile by tile, each pixel with all its dates and bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from s2koop._memory import block_bytes, give_back
from s2koop.engine.common import ModelReference, Output, blank, in_worker, turn
from s2koop.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

#: A kernel takes (model, values of shape (pixel, time, band), **options) and returns tensors of shape (pixel, ...).
PixelKernel = Callable[..., "dict[str, Tensor]"]


def map_pixels(
    cube: xr.DataArray,
    kernel: PixelKernel,
    *,
    outputs: Mapping[str, Output],
    model: Any | ModelReference = None,
    options: Mapping[str, Any] | None = None,
    shared: Mapping[str, xr.DataArray] | None = None,
    tile: int = 4096,
    device: str = "cpu",
    progress: str | None = None,
) -> xr.Dataset:
    """Run a pixel kernel over a cube, lazily where the cube is dask-backed.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
    kernel : callable
        An importable function ``kernel(model, values, **options)``; `values` is a float32 tensor of shape
        (pixel, time, band) with NaN where there is no observation. It returns a tensor of shape
        (pixel, *core) for each output. Pixels without any observation never reach it; they become NaN.
    outputs : mapping of str to Output
        What the kernel returns.
    model : ModelReference or anything, optional
        For a dask-backed cube a `ModelReference`, or None.
    options : mapping, optional
        Keyword arguments of the kernel: small and picklable.
    shared : mapping of str to DataArray, optional
        Small tables that all pixels share, lazy or not, as further keyword arguments: the kernel gets tensors. Their
        dims must not be those of the cube.
    tile : int
        Most pixels in one call.
    device : str
        Where the kernel runs, such as ``"cpu"`` or ``"cuda"``.
    progress : str, optional
        Label of the progress bar over tiles; NumPy-backed cubes only (dask has its own bars).

    Returns
    -------
    Dataset, each variable with its core dims, then (y, x)

    Raises
    ------
    InputError
        If the cube lacks one of its four dims.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> def mean(model, values):
    ...     return {"mean": values.nanmean(1)}
    >>> cube = xr.DataArray(np.ones((3, 2, 4, 5), "float32"), dims=("time", "band", "y", "x"))
    >>> map_pixels(cube, mean, outputs={"mean": Output({"band": ["B04", "B08"]})})["mean"].shape
    (2, 4, 5)
    """
    missing = {"time", "band", "y", "x"} - set(cube.dims)
    if missing or cube.ndim != 4:
        raise InputError(f"the cube has dims {tuple(cube.dims)}; expected ('time', 'band', 'y', 'x')")
    cube = cube.transpose("time", "band", "y", "x")
    lazy = cube.chunks is not None
    run = partial(
        _run_block,
        kernel=kernel,
        outputs=[(name, _sizes(o), np.dtype(o.dtype).str) for name, o in outputs.items()],
        model=model,
        options=dict(options or {}),
        tile=tile,
        device=device,
        progress=None if lazy else progress,
    )
    tables = {name: _one_chunk(table) for name, table in (shared or {}).items()}
    if lazy:
        found = _lazy_blocks(run, cube, tables, outputs)
    else:
        found = run(cube.values, shared={name: table.values for name, table in tables.items()})
    kept = {name: coord for name, coord in cube.coords.items() if set(coord.dims) <= {"y", "x"}}
    return xr.Dataset(
        {
            name: xr.DataArray(values, dims=(*o.coords, "y", "x"), attrs=dict(o.attrs), coords=kept | dict(o.coords))
            for (name, o), values in zip(outputs.items(), found, strict=True)
        }
    )


def _sizes(output: Output) -> tuple[int, ...]:
    return tuple(len(labels) for labels in output.coords.values())


def _lazy_blocks(
    run: partial[Any], cube: xr.DataArray, tables: Mapping[str, xr.DataArray], outputs: Mapping[str, Output]
) -> Sequence[Any]:
    """A dask array for each output: a task for a block, whatever the number of outputs."""
    import dask.array as da

    widest = max((math.prod(_sizes(output)) for output in outputs.values()), default=1)
    data = whole_series(cube, values_out=widest).data
    # no dim is used up here, so that dask makes this one task with what prepares the block
    packed = da.blockwise(
        run, "tbyx", data, "tbyx", shared={name: table.data for name, table in tables.items()},
        adjust_chunks={"t": 1, "b": 1}, concatenate=True, dtype=object, meta=np.empty((0,) * 4, object),
        token=getattr(run.keywords["kernel"], "__name__", None),
    )  # fmt: skip
    found = []
    for number, output in enumerate(outputs.values()):
        core = {f"core {at}": size for at, size in enumerate(_sizes(output))}
        one = da.blockwise(
            _pick, [*core, "y", "x"], packed, "tbyx", number, None, new_axes=core, dtype=output.dtype,
            meta=np.empty((0,) * (len(core) + 2), output.dtype),
        )  # fmt: skip
        found.append(one)
    return found


def _pick(packed: Any, number: int) -> np.ndarray:
    """One output of a block; dask gives a list for each dim that is used up."""
    while isinstance(packed, list):
        (packed,) = packed
    return packed[number]


def whole_series(cube: xr.DataArray, *, values_out: int = 0, budget: int | None = None) -> xr.DataArray:
    """Chunk a dask-backed cube so that a block holds whole series and stays within a budget of bytes.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
    values_out : int
        Values a kernel writes for one pixel; the larger of input and output counts.
    budget : int, optional
        Bytes of a block; by default what the memory allows, see `s2koop.set_options`.
    """
    budget = block_bytes() if budget is None else budget
    per_pixel = 4 * max(cube.sizes["time"] * cube.sizes["band"], values_out, 1)
    rows, columns = (max(cube.chunksizes[dim]) for dim in ("y", "x"))
    while rows * columns * per_pixel > budget and max(rows, columns) > 1:
        rows, columns = (-(-rows // 2), columns) if rows >= columns else (rows, -(-columns // 2))
    wanted: dict[str, Any] = {"time": -1, "band": -1}
    wanted |= {dim: size for dim, size in (("y", rows), ("x", columns)) if max(cube.chunksizes[dim]) > size}
    return cube.chunk(wanted)


def _one_chunk(table: xr.DataArray) -> xr.DataArray:
    """A small table bare of labels, so that none of them is joined with those of the cube."""
    bare = table.drop_vars(list(table.coords))
    return bare if bare.chunks is None else bare.chunk(-1)


def _run_block(
    block: np.ndarray,
    *,
    kernel: PixelKernel,
    outputs: Sequence[tuple[str, tuple[int, ...], str]],
    model: Any,
    options: Mapping[str, Any],
    shared: Mapping[str, np.ndarray],
    tile: int,
    device: str,
    progress: str | None,
) -> tuple[np.ndarray, ...]:
    """One block (time, band, y, x) through the kernel, in tiles; an array (*core, y, x) for each output."""
    rows, columns = block.shape[2:]
    pixels = block.reshape(*block.shape[:2], rows * columns)
    out = {name: blank((*shape, rows * columns), dtype) for name, shape, dtype in outputs}
    if isinstance(model, ModelReference):
        model = model.load(device)
    given = {name: torch.from_numpy(np.array(table)).to(device) for name, table in shared.items()}
    options = {**options, **given}
    with turn(device), in_worker(), torch.no_grad():
        for start in tqdm(range(0, rows * columns, tile), desc=progress, disable=progress is None, leave=False):
            part = slice(start, start + tile)
            views = {name: values[..., part] for name, values in out.items()}
            _run_tile(pixels[..., part], views, kernel, model, options, device)
    give_back()  # a tile takes many times what it returns
    return tuple(values.reshape(*values.shape[:-1], rows, columns) for values in out.values())


def _run_tile(
    pixels: np.ndarray,
    out: Mapping[str, np.ndarray],
    kernel: PixelKernel,
    model: Any,
    options: Mapping[str, Any],
    device: str,
) -> None:
    """Some pixels (time, band, pixel) through the kernel; those without observations never reach it."""
    seen = np.isfinite(pixels).any(axis=(0, 1))
    if not seen.any():
        return
    series = np.ascontiguousarray(pixels[..., seen].transpose(2, 0, 1), dtype=np.float32)
    for name, result in kernel(model, torch.from_numpy(series).to(device), **options).items():
        out[name][..., seen] = np.moveaxis(result.detach().cpu().numpy(), 0, -1)

"""Kernels over the pixels of a cube: block by block, tile by tile, each pixel with all its dates and bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from s2koop._memory import give_back
from s2koop.engine.common import BLOCK_BYTES, ModelReference, Output, blank, one_thread_in_workers
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
    lazy = cube.chunks is not None
    if lazy:
        widest = max((int(np.prod([len(c) for c in o.coords.values()])) for o in outputs.values()), default=1)
        cube = whole_series(cube, values_out=widest)
    tables = {name: _one_chunk(table) for name, table in (shared or {}).items()}
    sizes = {dim: len(labels) for output in outputs.values() for dim, labels in output.coords.items()}
    results = xr.apply_ufunc(
        _run_block,
        cube,
        *tables.values(),
        input_core_dims=[["time", "band"], *(list(table.dims) for table in tables.values())],
        output_core_dims=[list(o.coords) for o in outputs.values()],
        exclude_dims={"time", "band"},
        dask="parallelized",
        keep_attrs=False,  # a scale_factor of the cube must not decide how a result is written
        output_dtypes=[o.dtype for o in outputs.values()],
        dask_gufunc_kwargs={"output_sizes": sizes},
        kwargs={
            "kernel": kernel,
            "outputs": {
                name: (tuple(len(c) for c in o.coords.values()), np.dtype(o.dtype).str) for name, o in outputs.items()
            },
            "model": model,
            "options": dict(options or {}),
            "shared": list(tables),
            "tile": tile,
            "device": device,
            "progress": None if lazy else progress,
        },
    )
    results = results if isinstance(results, tuple) else (results,)
    variables = {
        name: result.transpose(*o.coords, "y", "x").assign_coords(dict(o.coords)).assign_attrs(dict(o.attrs))
        for (name, o), result in zip(outputs.items(), results, strict=True)
    }
    return xr.Dataset(variables)


def whole_series(cube: xr.DataArray, *, values_out: int = 0, budget: int = BLOCK_BYTES) -> xr.DataArray:
    """Chunk a dask-backed cube so that a block holds whole series and stays within a budget of bytes.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
    values_out : int
        Values a kernel writes for one pixel; the larger of input and output counts.
    budget : int
        Bytes of a block.
    """
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
    *tables: np.ndarray,
    kernel: PixelKernel,
    outputs: Mapping[str, tuple[tuple[int, ...], str]],
    model: Any,
    options: Mapping[str, Any],
    shared: Sequence[str],
    tile: int,
    device: str,
    progress: str | None,
) -> Any:
    """One block (y, x, time, band) through the kernel, in tiles."""
    rows, columns = block.shape[:2]
    pixels = block.reshape(rows * columns, *block.shape[2:])
    out = {name: blank((len(pixels), *shape), dtype) for name, (shape, dtype) in outputs.items()}
    if isinstance(model, ModelReference):
        model = model.load(device)
    given = {name: torch.from_numpy(np.array(table)).to(device) for name, table in zip(shared, tables, strict=True)}
    options = {**options, **given}
    with one_thread_in_workers(), torch.no_grad():
        for start in tqdm(range(0, len(pixels), tile), desc=progress, disable=progress is None, leave=False):
            _run_tile(
                pixels[start : start + tile],
                {k: v[start : start + tile] for k, v in out.items()},
                kernel,
                model,
                options,
                device,
            )
    give_back()  # a tile takes many times what it returns
    shaped = tuple(v.reshape(rows, columns, *v.shape[1:]) for v in out.values())
    return shaped if len(shaped) > 1 else shaped[0]


def _run_tile(
    pixels: np.ndarray,
    out: Mapping[str, np.ndarray],
    kernel: PixelKernel,
    model: Any,
    options: Mapping[str, Any],
    device: str,
) -> None:
    seen = np.isfinite(pixels).any(axis=(1, 2))
    if not seen.any():
        return
    values = torch.from_numpy(np.ascontiguousarray(pixels[seen], dtype=np.float32)).to(device)
    for name, result in kernel(model, values, **options).items():
        out[name][seen] = result.detach().cpu().numpy()

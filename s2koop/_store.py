"""Long results to Zarr, region by region: what is written stays written, and the same call goes on after a stop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
import zarr
from tqdm.auto import tqdm

from s2koop.errors import InputError

#: Name of the array that tells which regions are done; it goes when all are.
_DONE = "s2koop_regions_done"
#: Attribute of a store whose regions are all there.
_COMPLETE = "s2koop_complete"
#: Bytes of regions that are computed together.
_TOGETHER = 64 * 2**20


def write_regions(result: xr.DataArray, path: str | Path, *, progress: bool = True) -> xr.DataArray:
    """Write a lazy array to a Zarr store, one group of its chunks after the other, and open what was written.

    A store of the same array that is not complete is gone on with: regions that are done are neither computed nor
    written again. Values in memory at a time are those of some chunks.

    Parameters
    ----------
    result : DataArray
        Named; lazy or not.
    path : str or Path
        Of a store that does not exist yet, or was begun by the same call.
    progress : bool
        Show a bar over the regions.

    Returns
    -------
    DataArray
        The same array, read lazily from the store.

    Raises
    ------
    InputError
        If the store holds anything else.
    """
    name = str(result.name or "data")
    lazy = result if result.chunks is not None else result.chunk()
    store = str(path)
    if os.path.exists(store):
        done = _gone_on_with(lazy, name, store)
    else:
        done = _begun(lazy, name, store)
    if done is not None:
        _write(lazy, name, store, done, progress)
    return xr.open_zarr(store, consolidated=False)[name].assign_attrs(result.attrs)


def _begun(result: xr.DataArray, name: str, store: str) -> Any:
    """A store with all but the values, and its array of regions that are done."""
    bare = result.to_dataset(name=name).assign_attrs({_COMPLETE: False})
    encoding = {name: {"chunks": tuple(sizes[0] for sizes in result.chunks or ())}}
    bare.to_zarr(store, compute=False, encoding=encoding, mode="w-", consolidated=False)
    return _none_done(zarr.open_group(store, mode="r+"), result)


def _none_done(group: Any, result: xr.DataArray) -> Any:
    """A flag for each region, in a file of its own, so that none is lost with another."""
    count = len(_regions(result))
    return group.create_array(
        _DONE, shape=(count,), chunks=(1,), dtype="int8", fill_value=0, dimension_names=["region"]
    )


def _gone_on_with(result: xr.DataArray, name: str, store: str) -> Any:
    """The array of regions that are done; None where all are."""
    try:
        group: Any = zarr.open_group(store, mode="r+")
        complete = bool(group.attrs[_COMPLETE])
        array = group[name]
    except (KeyError, FileNotFoundError, ValueError, zarr.errors.BaseZarrError) as error:
        raise InputError(
            f"{store} exists and was not begun by this call; give another path, or delete it if it is not needed"
        ) from error
    there = xr.open_zarr(store, consolidated=False)[name]
    differences = _differences(there, result, array)
    if not complete and _DONE in group and group[_DONE].shape != (len(_regions(result)),):
        differences.append("other chunks")
    if differences:
        raise InputError(
            f"{store} holds another result ({differences[0]}); give another path, or delete it if it is not needed"
        )
    if complete:
        return None
    if _DONE not in group:  # stopped before anything was written
        return _none_done(group, result)
    return group[_DONE]


def _differences(there: xr.DataArray, here: xr.DataArray, array: Any) -> list[str]:
    found = []
    if there.dims != here.dims or there.shape != here.shape or array.dtype != here.dtype:
        found.append(f"{dict(there.sizes)} of {array.dtype} there, {dict(here.sizes)} of {here.dtype} here")
    else:
        found += [f"other {dim}" for dim in here.dims if not _equal(there, here, str(dim))]
    for key in sorted({*there.attrs, *here.attrs}):
        if there.attrs.get(key) != here.attrs.get(key):
            found.append(f"{key} {there.attrs.get(key)!r} there, {here.attrs.get(key)!r} here")
    return found


def _equal(there: xr.DataArray, here: xr.DataArray, dim: str) -> bool:
    if dim not in here.coords:
        return True
    return dim in there.coords and bool(np.array_equal(there[dim].values, here[dim].values))


def _write(result: xr.DataArray, name: str, store: str, done: Any, progress: bool) -> None:
    """All regions that are not done."""
    root: Any = zarr.open_group(store, mode="r+")
    target = root[name]
    regions = _regions(result)
    blocks = list(np.ndindex(*result.data.numblocks))
    left = np.flatnonzero(done[:] == 0).tolist()
    with tqdm(total=len(regions), initial=len(regions) - len(left), desc="write", disable=not progress) as bar:
        for group in _together(left, regions, result.dtype.itemsize):
            found = dask.compute(*(result.data.blocks[blocks[at]] for at in group))
            for at, values in zip(group, found, strict=True):
                target[regions[at]] = values
                done[at] = 1
                bar.update()
    root.attrs[_COMPLETE] = True
    del root[_DONE]


def _regions(result: xr.DataArray) -> list[tuple[slice, ...]]:
    """Where each chunk lies, in the order of blocks."""
    edges = [np.cumsum([0, *sizes]) for sizes in result.chunks or ()]
    return list(product(*([slice(int(a), int(b)) for a, b in pairwise(e)] for e in edges)))


def _together(left: Sequence[int], regions: Sequence[tuple[slice, ...]], itemsize: int) -> list[list[int]]:
    """Regions in groups that are computed at once: as many as processors, and more where they are small."""
    size = max(int(np.prod([part.stop - part.start for part in regions[0]])) * itemsize, 1) if regions else 1
    processors = os.cpu_count() or 1
    count = int(np.clip(_TOGETHER // size, processors, 8 * processors))
    return [list(left[start : start + count]) for start in range(0, len(left), count)]

"""``s2koop.run``: compute a lazy result into a Zarr store, safe to stop at any moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import dask
import dask.array as da
import dask.base
import numpy as np
import xarray as xr
from dask.layers import ArrayBlockIdDep
from tqdm.auto import tqdm

from s2koop import _skipped
from s2koop._jobs import store as stores
from s2koop._jobs.checks import check_result
from s2koop._jobs.compute import client_of, compute_keys
from s2koop._jobs.layout import Layout, layout, numbers, region
from s2koop._jobs.lock import only_writer
from s2koop._jobs.transactions import Transactions
from s2koop.errors import InputError

Result = TypeVar("Result", xr.DataArray, xr.Dataset)


def run(
    result: Result,
    store: str | Path | Any,
    *,
    chunks: Mapping[str, int] | None = None,
    overwrite: bool = False,
    identity: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Result:
    """Compute a lazy result into a Zarr store, region by region, and open what was written.

    A region is a chunk of the result. It is computed, written and noted as done before the next one takes its place in
    memory, on whatever scheduler is in use: threads, or the workers of a ``dask.distributed.Client``. Stop the call at
    any moment, or let the machine do it: the same call goes on where it was, and the finished store is the one of a
    call that was never stopped.

    Parameters
    ----------
    result : DataArray or Dataset
        What any call of s2koop, or xarray, returns on a dask-backed cube.
    store : str, Path or icechunk.Repository
        Of a store that does not exist yet, or was begun by the same call: a path, or an address that fsspec knows,
        such as ``s3://bucket/filled.zarr``. Workers on other machines must reach it under the same name. Into an
        Icechunk repository threads of this process write, with a commit every half minute and at the end.
    chunks : mapping of str to int, optional
        Sizes of chunks in the store, each a divisor of that of a region; by default a region is a chunk. Smaller ones
        suit whoever reads the store in another direction than it is written: a cube read date by date in large
        images, to be used as whole series of small windows.
    overwrite : bool
        Replace another result that `run` wrote there; the same one is still gone on with.
    identity : str, optional
        A name of the computation, by which a store is recognised. By default the names that dask gives to what is
        computed: these follow from options, versions of the libraries, and the data or the paths that they come from.
        So a file that changes under its name is not noticed; where one may, give another `identity`, or ``overwrite``.
    storage_options : mapping, optional
        For the file system of an address. They travel to the workers: better keep keys in their environment.
    progress : bool
        Show a bar over the regions, with the time left.

    Returns
    -------
    DataArray or Dataset
        As given, read lazily from the store. What ``errors="mask"`` left out is named in ``attrs["skipped"]``, a JSON
        text.

    Raises
    ------
    InputError
        If there is anything else at the address, a result of other options too.
    StoreError
        If the store cannot be written (no space, no right), or another process writes to it.

    Notes
    -----
    Zarr v3 without consolidated metadata, a file for each chunk and variable; open it with
    ``xr.open_zarr(path, consolidated=False, decode_coords="all")``. Chunks that are irregular are made regular first.
    On disks of one machine a lock keeps a second writer out. Elsewhere two writers do no harm: a region is written
    whole, and its values do not depend on who computes it.

    Examples
    --------
    >>> import numpy as np, tempfile, s2koop, xarray as xr
    >>> cube = xr.DataArray(np.ones((4, 6)), dims=("y", "x"), name="ones").chunk(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stored = s2koop.run(2 * cube, f"{folder}/twice.zarr", progress=False)
    ...     float(stored.sum())
    48.0
    """
    if chunks is not None and not isinstance(chunks, Mapping):
        raise InputError(f"chunks={chunks!r} is no mapping; expected such as {{'y': 256, 'x': 256}}")
    if not isinstance(result, xr.DataArray | xr.Dataset):
        raise InputError(
            f"result is a {type(result).__name__}; expected a DataArray or Dataset, such as .koopman.forecast returns"
        )
    where = stores.address(store, storage_options)
    if isinstance(where, Transactions) and client_of(dask.base.get_scheduler()) is not None:
        raise InputError(
            "an Icechunk repository is written by threads of this process, and a Client is in use; say "
            "dask.config.set(scheduler='threads') around the call, or give a path or address, which workers write to"
        )
    dataset, name = _as_dataset(result)
    check_result(dataset)
    job = layout(dataset, chunks)
    with only_writer(where.folder):
        begun, done = stores.begin(job, where, identity or job.identity(), overwrite=overwrite)
        if begun is not None:
            target = _Target(where, begun, job.sizes, time.time(), _skipped.PROCESS)
            _fill(job, target, done, progress)
            stores.finish(where, begun, _skipped_anywhere(target))
    found = stores.opened(where)
    if isinstance(result, xr.Dataset):
        return found
    skipped = {stores.SKIPPED: found.attrs[stores.SKIPPED]} if stores.SKIPPED in found.attrs else {}
    return found[name].rename(result.name).assign_attrs(result.attrs | skipped)


def _as_dataset(result: xr.DataArray | xr.Dataset) -> tuple[xr.Dataset, str]:
    """The result as variables of a store, and the name under which an array is found again."""
    if isinstance(result, xr.Dataset):
        if not result.data_vars:
            raise InputError("the dataset has no variable; there is nothing to compute")
        return result, ""
    taken = {*result.dims, *result.coords}
    name = str(result.name) if result.name is not None and result.name not in taken else "data"
    return result.to_dataset(name=name), name


@dataclass(frozen=True)
class _Target:
    """Where regions go; sent to every worker.

    Attributes
    ----------
    where : Address
    begun : str
        Which beginning of the store this is: a region of an older one, still under way in some thread, is dropped.
    sizes : mapping
        Size of a region along the dims that are cut.
    started : float
        When this call began, in seconds since 1970: what was skipped before is not its own.
    process : str
        Whose clock that was.
    """

    where: stores.Place
    begun: str
    sizes: Mapping[str, int]
    started: float
    process: str


def _fill(job: Layout, target: _Target, done: np.ndarray, progress: bool) -> None:
    """Compute and write all regions that are not done."""
    written, keys = _written(job, target)
    left = [keys[number] for number in np.flatnonzero(~done).tolist()]
    count = job.count - len(left)

    def tell(done: int) -> None:
        nonlocal count
        count += done
        bar.update(done)

    with tqdm(total=job.count, initial=count, desc="run", unit="region", disable=not progress) as bar:
        try:
            compute_keys(written, left, tell)
        except BaseException as error:
            with contextlib.suppress(stores.StoreError):  # what stopped the job is what is told
                target.where.commit("s2koop.run: stopped")
            error.add_note(
                f"{count} of {job.count} regions are in {target.where.shown}; the same call goes on from there"
            )
            raise


def _written(job: Layout, target: _Target) -> tuple[da.Array, list[Any]]:
    """A dask array of one number a region, which is one once the region is in the store; and its keys by number."""
    variables = {name: tuple(map(str, job.dataset.variables[name].dims)) for name in job.lazy}
    # all dims are those of the output, too: where none is used up, dask makes this one task with what comes before;
    # were they two, it would keep the results of many kernels before it writes the first
    dims = list(dict.fromkeys([dim for names in variables.values() for dim in names]))
    number = numbers(job, dims)
    chunks = tuple((1,) * count for count in number.shape)
    arguments = [
        part
        for name, names in variables.items()
        for part in (_computed_once(job.dataset.variables[name], job), list(names))
    ]
    written = da.blockwise(
        _write_region, dims, ArrayBlockIdDep(chunks), dims, *arguments, target=target, variables=variables,
        shape=job.shape, dims=tuple(dims), adjust_chunks=dict.fromkeys(dims, 1), align_arrays=False, dtype=np.int8,
        name=f"write-{uuid4().hex}",  # a scheduler may still be cancelling the tasks of a call that was stopped
        meta=np.empty((0,) * len(dims), np.int8),
    )  # fmt: skip
    return written, [(written.name, *map(int, np.unravel_index(at, number.shape))) for at in np.argsort(number, None)]


def _computed_once(variable: xr.Variable, job: Layout) -> da.Array:
    """The data of a variable; where it lacks a dim that is cut, behind a task that is not made part of every write."""
    if set(job.sizes) <= set(variable.dims):
        return variable.data
    with dask.annotate(s2koop="shared"):  # layers of different annotations are not fused
        return variable.data.map_blocks(_same, dtype=variable.dtype, meta=variable.data._meta)


def _same(block: np.ndarray) -> np.ndarray:
    return block


def _write_region(
    place: tuple[int, ...],
    *blocks: np.ndarray,
    target: _Target,
    variables: Mapping[str, tuple[str, ...]],
    shape: tuple[int, ...],
    dims: tuple[str, ...],
) -> np.ndarray:
    """Write the blocks of one region, then note that it is done."""
    index = {dim: at for dim, at in zip(dims, place, strict=True) if dim in target.sizes}
    number = int(np.ravel_multi_index([index[dim] for dim in target.sizes], shape)) if shape else 0
    parts = {}
    for (name, own), block in zip(variables.items(), blocks, strict=True):
        where = region(target.sizes, index, own)
        if where is not None:
            parts[name] = (where, block)
    slack = 0.0 if target.process == _skipped.PROCESS else _skipped.CLOCKS
    news = _skipped.unmarked(target.begun, target.started - slack)
    stores.put(target.where, target.begun, number, parts, news)
    _skipped.mark(target.begun, news)
    return np.ones((1,) * len(dims), np.int8)


def _skipped_anywhere(target: _Target) -> list[_skipped.Skip]:
    """What this process noted, and those of a cluster: they too that only read."""
    found = _skipped.since(target.started)
    client = client_of(dask.base.get_scheduler())
    if client is not None:
        noted = client.run(_skipped.elsewhere, target.started, target.process).values()
        found += [skip for skips in noted for skip in skips]
    return found

"""The Zarr v3 store of a job: begun, recognised, filled region by region, finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store

from s2koop import _skipped
from s2koop._jobs.layout import Layout, with_small_coords
from s2koop._jobs.transactions import Transactions, is_repository
from s2koop._redact import bare_address, redacted
from s2koop.errors import InputError, S2koopError, StoreError

#: Attribute of the root that says whose store it is, and how far it has come.
JOB = "s2koop_job"
#: One text for each region: empty until it is done, then what was skipped on the way. It goes when all are done.
DONE = "s2koop_regions_done"
#: Attribute of a finished store: what could not be read.
SKIPPED = "skipped"


@dataclass(frozen=True)
class Address:
    """Where a store lies; small, and sent to every worker.

    Attributes
    ----------
    url : str
        A path of this machine, or an address that fsspec knows.
    options : mapping
        Of the file system; they may hold keys, and are never shown.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address for people: without user, password and query."""
        return self.url if self.folder is not None else bare_address(self.url)

    @property
    def folder(self) -> Path | None:
        """The folder, for stores on this machine's disks."""
        path = self.url.removeprefix("file://")
        return None if "://" in path else Path(path).expanduser().absolute()

    def open(self) -> Store:
        """The store; nothing is read.

        Raises
        ------
        InputError
            If the kind of address is not known here.
        """
        if (folder := self.folder) is not None:
            return zarr.storage.LocalStore(folder)
        try:
            return zarr.storage.FsspecStore.from_url(self.url, storage_options=dict(self.options))
        except (ValueError, ImportError) as error:
            raise InputError(
                f"{self.url.split('://')[0]}:// cannot be opened ({redacted(error)}); give a path, or an address whose "
                "fsspec package is installed, such as s3fs for s3://"
            ) from error

    def array(self, begun: str, name: str) -> Any:
        """An array for writing, opened once in each process."""
        return _array(self, begun, name)

    def writing(self) -> AbstractContextManager[None]:
        """Writes a region; files are replaced whole, so nothing has to be held."""
        return nullcontext()

    def commit(self, message: str) -> None:
        """Does nothing: what is written is visible at once."""

    def __hash__(self) -> int:
        return hash((self.url, repr(sorted(self.options.items()))))


Place = Address | Transactions


def address(store: Any, storage_options: Mapping[str, Any] | None) -> Place:
    """The address of what a user calls a store."""
    if is_repository(store):
        return Transactions(store)
    if not isinstance(store, str | Path) or not str(store).strip():
        raise InputError(
            f"store is {store!r}; expected a path such as 'filled.zarr', an address such as "
            "'s3://bucket/filled.zarr', or an Icechunk repository"
        )
    found = Address(str(store), dict(storage_options or {}))
    if found.folder is not None and storage_options:
        raise InputError(f"storage_options belong to an address such as s3://bucket/name; {store} is a path")
    return found


def begin(job: Layout, where: Place, identity: str, *, overwrite: bool) -> tuple[str | None, np.ndarray]:
    """Lay the store out, or recognise one that the same call began.

    Returns
    -------
    str or None
        Which beginning of the store this is; None where it is complete.
    ndarray of bool
        Which regions are done.

    Raises
    ------
    InputError
        If there is anything else at the address.
    StoreError
        If it cannot be written.
    """
    try:
        return _begin(job, where, identity, overwrite)
    except S2koopError:
        raise
    except OSError as error:
        raise _taken_no_more(where, error) from error


def _begin(job: Layout, where: Place, identity: str, overwrite: bool) -> tuple[str | None, np.ndarray]:
    store = where.open()
    there = _job_of(store, where)
    if overwrite and there is not None:
        there = {"state": "layout"}
    if there is None or there.get("state") == "layout":  # stopped before anything was computed
        begun = _lay_out(job, store, identity, again=there is not None)
        where.commit("s2koop.run: begun")
        return begun, np.zeros(job.count, bool)
    root: Any = zarr.open_group(store, mode="r+")
    if differences := _differences(root, store, job, there, identity):
        raise InputError(
            f"{where.shown} holds another result ({differences[0]}); give another path, say overwrite=True to replace "
            "it, or make the result with the same options as then"
        )
    if there["state"] == "complete":
        if DONE in root:  # stopped between the last two steps
            del root[DONE]
        return None, np.ones(job.count, bool)
    return there["begun"], np.array([bool(text) for text in root[DONE][:]], bool)


def _job_of(store: Store, where: Place) -> dict[str, Any] | None:
    """What the store says of its job; None where there is nothing yet."""
    try:
        root = zarr.open_group(store, mode="r")
    except FileNotFoundError:  # zarr's own error of a group that is not there is one, too
        if zarr.core.sync.sync(store.is_empty("")):
            return None
        raise InputError(
            f"{where.shown} exists and is no Zarr store; give the path of one that does not exist yet"
        ) from None
    found = root.attrs.get(JOB)
    if not isinstance(found, dict) or "state" not in found:
        raise InputError(
            f"{where.shown} is a Zarr store that s2koop.run did not begin; give another path, or delete it if it is "
            "not needed"
        )
    return dict(found)


def _lay_out(job: Layout, store: Store, identity: str, *, again: bool) -> str:
    """All but the values; the state is written last, so that a stop in between is seen."""
    begun = uuid4().hex
    about = {"state": "layout", "begun": begun, "identity": identity, "regions": list(job.shape)}
    zarr.create_group(store, overwrite=again, zarr_format=3, attributes={JOB: about})
    bare = job.dataset.assign_attrs({JOB: about})
    encoding = {name: {"chunks": job.chunks(name)} for name in job.lazy if job.chunks(name)}
    bare.to_zarr(store, compute=False, mode="a", encoding=encoding, consolidated=False)
    root: Any = zarr.open_group(store, mode="r+")
    root.create_array(
        DONE, shape=(job.count,), chunks=(1,), dtype="str", fill_value="", dimension_names=["region"], compressors=None
    )
    root.attrs[JOB] = about | {"state": "open"}
    return begun


def _differences(root: Any, store: Store, job: Layout, there: Mapping[str, Any], identity: str) -> list[str]:
    """In what a store differs from what is to be written, the plainest first."""
    here, held = job.dataset, xr.open_zarr(store, consolidated=False, decode_coords="all")
    found = []
    for name in here.variables:
        if name not in held.variables:
            found.append(f"it has no {name!r}")
            continue
        mine, other = here.variables[name], held.variables[name]
        if mine.dims != other.dims or mine.shape != other.shape:
            found.append(f"{name}: {dict(other.sizes)} there, {dict(mine.sizes)} here")
        elif name in job.lazy and root[str(name)].dtype != mine.dtype:
            found.append(f"{name}: {root[str(name)].dtype} there, {mine.dtype} here")
        elif name not in job.lazy and not mine.equals(other):
            found.append(f"other values of {name!r}")
        elif name in job.lazy:
            found += _other_words(mine.attrs, other.attrs)
    found += [f"it has {name!r} too" for name in held.variables if name not in here.variables and name != DONE]
    found += _other_words(here.attrs, held.attrs)
    if list(job.shape) != list(there.get("regions", [])):
        found.append(f"{there.get('regions')} regions there, {list(job.shape)} here: other chunks")
    found += [
        f"{name}: chunks of {root[name].chunks} there, {job.chunks(name)} here"
        for name in job.lazy
        if name in root and job.chunks(name) and tuple(root[name].chunks) != job.chunks(name)
    ]
    if identity != there.get("identity"):
        found.append("other options, other data, or another version of s2koop or dask")
    return found


def _other_words(here: Mapping[Any, Any], held: Mapping[Any, Any]) -> list[str]:
    """Attributes that differ; a store may give back a list for a tuple."""
    names = sorted(map(str, {*here, *held} - {JOB, SKIPPED}))
    return [
        f"{name} {held.get(name)!r} there, {here.get(name)!r} here"
        for name in names
        if str(np.asarray(here.get(name)).tolist()) != str(np.asarray(held.get(name)).tolist())
    ]


def put(
    where: Place,
    begun: str,
    number: int,
    parts: Mapping[str, tuple[tuple[slice, ...], np.ndarray]],
    skips: Iterable[_skipped.Skip],
) -> None:
    """Write what belongs to one region, and then that it is done, with what had to be skipped so far.

    Raises
    ------
    StoreError
        If the store takes no more, or was begun anew meanwhile.
    """
    try:
        with where.writing():
            _put(where, begun, number, parts, skips)
    except S2koopError:
        raise
    except OSError as error:
        raise _taken_no_more(where, error) from error


def _put(
    where: Place,
    begun: str,
    number: int,
    parts: Mapping[str, tuple[tuple[slice, ...], np.ndarray]],
    skips: Iterable[_skipped.Skip],
) -> None:
    root: Any = zarr.open_group(where.open(), mode="r+")
    if root.attrs.get(JOB, {}).get("begun") != begun:
        raise StoreError(f"{where.shown} was begun anew while this was computed; this call's regions are not written")
    for name, (place, values) in parts.items():
        where.array(begun, name)[place] = values
    where.array(begun, DONE)[number] = _skipped.to_text(skips)


@lru_cache(maxsize=64)
def _array(where: Address, begun: str, name: str) -> Any:
    """An array of a store, opened once in each process."""
    return zarr.open_array(where.open(), path=name, mode="r+")


def _taken_no_more(where: Place, error: OSError) -> StoreError:
    why = error.strerror or str(error) or type(error).__name__
    return StoreError(f"cannot write to {where.shown}: {why}; mend that and call again, which goes on from here")


def finish(where: Place, skips: list[_skipped.Skip]) -> None:
    """All regions are there: say so, with what could not be read, and take the record of regions away."""
    root: Any = zarr.open_group(where.open(), mode="r+")
    for text in (*root[DONE][:], root.attrs.get(SKIPPED, "[]")):  # what the search left out is there already
        skips += _skipped.from_text(text)
    if skips:
        root.attrs[SKIPPED] = _skipped.to_text(skips)
    root.attrs[JOB] = {**root.attrs[JOB], "state": "complete"}
    del root[DONE]
    where.commit("s2koop.run: complete")


def opened(where: Place) -> xr.Dataset:
    """A finished store as a lazy dataset."""
    found = xr.open_zarr(where.open(), consolidated=False, decode_coords="all")
    found.attrs.pop(JOB, None)
    return with_small_coords(found)

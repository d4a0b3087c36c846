"""The Zarr v3 store of a job: begun, recognised, filled region by region, finished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
from s2koop._jobs.description import Description, describe, differences
from s2koop._jobs.layout import Layout, with_small_coords
from s2koop._jobs.transactions import Transactions, is_repository
from s2koop._redact import bare_address, redacted
from s2koop.errors import InputError, S2koopError, StoreError

#: Attribute of the root that says whose store it is, and how far it has come.
JOB = "s2koop_job"
_LAYOUT = "layout"
#: A file for each region that is done, and one for each that met what had to be skipped. They go when all are done.
DONE, NEWS = "s2koop_regions_done", "s2koop_regions_skipped"
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
    if isinstance(store, Path) and len(store.parts) > 1 and store.parts[0].endswith(":") and len(store.parts[0]) > 2:
        raise InputError(f"{store} is an address in a Path, which drops one of its slashes; give it as text")
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
    with _told(where):
        return _begin(job, where, describe(job, identity), overwrite)


@contextmanager
def _told(where: Place) -> Iterator[None]:
    """Say which store takes no more, and that nothing is lost."""
    try:
        yield
    except S2koopError:
        raise
    except OSError as error:
        why = error.strerror or redacted(error) or type(error).__name__
        raise StoreError(
            f"cannot write to {where.shown}: {why}; mend that and call again, which goes on from here"
        ) from error


def _begin(job: Layout, where: Place, wanted: Description, overwrite: bool) -> tuple[str | None, np.ndarray]:
    store = where.open()
    there = _job_of(store, where)
    differs = [] if there is None or there["state"] == _LAYOUT else list(differences(there["about"], wanted))
    if differs and not overwrite:
        raise InputError(
            f"{where.shown} holds another result ({differs[0]}); give another path, say overwrite=True to replace it, "
            "or make the result with the same options as then"
        )
    if there is None or there["state"] == _LAYOUT or differs:
        begun = _lay_out(job, store, wanted, again=there is not None)
        where.commit("s2koop.run: begun")
        return begun, np.zeros(job.count, bool)
    root: Any = zarr.open_group(store, mode="r+")
    if there["state"] == "complete":
        _without_marks(root)  # where it was stopped between the last two steps
        return None, np.ones(job.count, bool)
    done = np.zeros(job.count, bool)
    done[_marked(store, DONE)] = True
    return there["begun"], done


def _marked(store: Store, name: str) -> list[int]:
    """Regions that have a mark: a list of names, where reading each would take a request of its own."""

    async def listed() -> list[str]:
        return [key async for key in store.list_prefix(f"{name}/")]

    return sorted(
        int(key.rsplit("/", 1)[1]) for key in zarr.core.sync.sync(listed()) if key.rsplit("/", 1)[1].isdigit()
    )


def _without_marks(root: Any) -> None:
    for name in (NEWS, DONE):
        if name in root:
            del root[name]


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
    except zarr.errors.ContainsArrayError:  # an array by itself
        root = None
    found = None if root is None else root.attrs.get(JOB)
    if not isinstance(found, dict) or not {"state", "begun", "about"} <= set(found):
        raise InputError(
            f"{where.shown} is a Zarr store that s2koop.run did not begin; give another path, or delete it if it is "
            "not needed"
        )
    return dict(found)


def _lay_out(job: Layout, store: Store, about: Description, *, again: bool) -> str:
    """All but the values; the state is written first and last, so that a stop in between is seen."""
    begun = uuid4().hex
    state = {"state": _LAYOUT, "begun": begun, "about": about, "dates": job.dates}
    if again:
        _empty(store, state)
    zarr.create_group(store, overwrite=again, zarr_format=3, attributes={JOB: state})
    bare = job.dataset.assign_attrs({JOB: state})
    bare.to_zarr(store, compute=False, mode="a", encoding=job.encoding(), consolidated=False)
    root: Any = zarr.open_group(store, mode="r+")
    for name, dtype, fill in ((DONE, "int8", 0), (NEWS, "str", "")):
        root.create_array(
            name,
            shape=(job.count,),
            chunks=(1,),
            dtype=dtype,
            fill_value=fill,
            dimension_names=["region"],
            compressors=None,
        )
    root.attrs[JOB] = state | {"state": "open"}
    return begun


def _empty(store: Store, state: dict[str, Any]) -> None:
    """Take everything out of a store but its root, which says from now on that nothing in it counts."""
    root: Any = zarr.open_group(store, mode="r+")
    root.attrs[JOB] = state
    for name in list(root):
        del root[name]


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
    with _told(where), where.writing():
        _check_begun(where, begun)
        for name, (place, values) in parts.items():
            where.array(begun, name)[place] = values
        _check_begun(where, begun)  # a stopped call's last tasks may meet a store that is begun anew meanwhile
        if news := list(skips):
            where.array(begun, NEWS)[number] = _skipped.to_text(news)
        where.array(begun, DONE)[number] = 1


def _check_begun(where: Place, begun: str) -> None:
    root: Any = zarr.open_group(where.open(), mode="r+")
    if root.attrs.get(JOB, {}).get("begun") != begun:
        raise StoreError(f"{where.shown} was begun anew while this was computed; this call's regions are not written")


@lru_cache(maxsize=64)
def _array(where: Address, begun: str, name: str) -> Any:
    """An array of a store, opened once in each process."""
    return zarr.open_array(where.open(), path=name, mode="r+")


def finish(where: Place, begun: str, skips: list[_skipped.Skip]) -> None:
    """All regions are there: say so, with what could not be read, and take the record of regions away.

    Raises
    ------
    StoreError
        If the store takes no more.
    """
    with _told(where):
        root: Any = zarr.open_group(where.open(), mode="r+")
        if DONE in root and root.attrs[JOB]["begun"] == begun:  # another writer of an address may have come first
            numbers = _marked(where.open(), NEWS)
            texts = [root.attrs.get(SKIPPED, "[]"), *(root[NEWS][number].item() for number in numbers)]
            found = {skip for text in texts for skip in _skipped.from_text(text)} | set(skips)
            if found:
                root.attrs[SKIPPED] = _skipped.to_text(found)
            _sweep(where)
            root.attrs[JOB] = {**root.attrs[JOB], "state": "complete"}
            _without_marks(root)
        where.commit("s2koop.run: complete")


def _sweep(where: Place) -> None:
    """Delete what a killed process left of files that zarr writes under another name first."""
    if where.folder is not None:
        for path in where.folder.rglob("*.partial"):
            if path.is_file():  # an array may have such a name
                path.unlink()


def opened(where: Place) -> xr.Dataset:
    """A finished store as a lazy dataset, with the values and attributes that were given.

    Its arrays are named by the beginning of the store: what is made of it later is something else once the store is
    written anew.
    """
    raw = xr.open_zarr(
        where.open(), chunks=None, consolidated=False, decode_coords="all", mask_and_scale=False, decode_times=False
    )
    job = raw.attrs.pop(JOB)
    dates = {name: xr.conventions.decode_cf_variable(name, raw.variables[name]) for name in job["dates"]}
    inner = {n: v for n, v in dates.items() if n not in raw.coords}
    found = raw.assign(inner).assign_coords({n: v for n, v in dates.items() if n in raw.coords})
    sizes = {
        dim: size
        for entry in job["about"]["variables"].values()
        for dim, size in zip(entry["sizes"], entry["chunks"], strict=False)
    }
    return with_small_coords(found.chunk(sizes, token=job["begun"], name_prefix="s2koop-"))

"""One writer at a time for a store on this machine's disks; the lock of a process that was killed is free at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from s2koop.errors import StoreError


@contextmanager
def only_writer(folder: Path | None) -> Iterator[None]:
    """Hold the lock of a store; None, for stores elsewhere, has no lock.

    Raises
    ------
    StoreError
        If another process, or another thread of this one, writes to the store.
    """
    if folder is None:
        yield
        return
    beside = folder.with_name(f".{folder.name}.lock")  # a store that is begun anew is deleted first
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(beside, timeout=0)
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"{folder} is being written by another process or thread; wait until it is done (the same call then finds "
            "the result there), or give another path"
        ) from None
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}; give a path you can write to"
        ) from error
    try:
        yield
    finally:
        beside.unlink(missing_ok=True)
        lock.release()

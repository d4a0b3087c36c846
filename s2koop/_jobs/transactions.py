"""A branch of an Icechunk repository as the store of a job: regions become visible by commits, all of one or none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zarr
from zarr.abc.store import Store

#: Seconds of work that a kill may cost at most.
BETWEEN_COMMITS = 30.0


class Transactions:
    """What `s2koop._jobs.store.Address` is for plain Zarr; lives in one process, whose threads write in turn."""

    shown = "the Icechunk repository"
    folder = None

    def __init__(self, repository: Any, branch: str = "main") -> None:
        self._repository, self._branch = repository, branch
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._session, self._since = self._repository.writable_session(self._branch), time.monotonic()

    def open(self) -> Store:
        """The store of the transaction under way."""
        return self._session.store

    def array(self, begun: str, name: str) -> Any:
        """An array for writing; not kept, since each transaction has a store of its own."""
        return zarr.open_array(self.open(), path=name, mode="r+")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write a region, and commit where it is time."""
        with self._lock:
            yield
            if time.monotonic() - self._since > BETWEEN_COMMITS:
                self._commit("s2koop.run: regions")

    def commit(self, message: str) -> None:
        """Make what was written visible to all."""
        with self._lock:
            self._commit(message)

    def _commit(self, message: str) -> None:
        if self._session.has_uncommitted_changes:
            self._session.commit(message)
            self._begin()


def is_repository(store: Any) -> bool:
    """Tell an Icechunk repository from a path, without importing Icechunk."""
    return type(store).__module__.partition(".")[0] == "icechunk" and hasattr(store, "writable_session")

"""A lazy read as seen from outside: how far it is, and a way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dask.callbacks import Callback

from s2koop.errors import S2koopError


class ReadCancelled(S2koopError):
    """A read was stopped by its user."""


class Watched(Callback):
    """Report the share of a computation's tasks that are done, and let the report stop it.

    Works with dask's own schedulers; a distributed cluster shows its progress on its own dashboard.

    Parameters
    ----------
    report : callable
        Called with the share that is done, 0 to 1; what it raises stops the computation.
    """

    def __init__(self, report: Callable[[float], None]) -> None:
        super().__init__()
        self._report = report
        # A callback sees what other threads compute too: their tasks are not ours to count or to stop.
        self._thread = threading.get_ident()

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        done = len(state["finished"])
        self._report(done / max(1, done + sum(len(state[k]) for k in ("ready", "waiting", "running"))))

"""One background thread that does the newest request of each kind and forgets the ones it overtook."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable


class Latest:
    """Coalesce requests: of several that wait under one name only the newest is done.

    A drag sends more requests than a lazy read can answer. Doing each in turn would leave the view seconds
    behind the hand, so a request that still waits is replaced by its successor. The thread lives only while
    there is something to do.

    Parameters
    ----------
    on_error : callable
        Called with the exception when a request fails; the following requests go on.

    Examples
    --------
    >>> done = []
    >>> latest = Latest(on_error=print)
    >>> latest.submit("series", lambda: done.append("pixel"))
    >>> latest.wait()
    True
    >>> done
    ['pixel']
    """

    def __init__(self, *, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._waiting: dict[str, Callable[[], object]] = {}
        self._running = False
        self._changed = threading.Condition()

    def submit(self, kind: str, work: Callable[[], object]) -> None:
        """Queue `work` under `kind`, in place of a request of the same kind that has not begun."""
        with self._changed:
            self._waiting.pop(kind, None)
            self._waiting[kind] = work
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="s2koop-latest", daemon=True).start()

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until nothing is left to do; False if `timeout` seconds went by first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout)

    def _work(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception as error:
                # Who shows failures may fail itself: the thread must go on, or no request is ever done again.
                with contextlib.suppress(Exception):
                    self._on_error(error)

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            if self._waiting:
                return self._waiting.pop(next(iter(self._waiting)))
            self._running = False
            self._changed.notify_all()
            return None

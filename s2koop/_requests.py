"""What the states of dashboards share: work in the background, what is waited for, and failures that are seen."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import traitlets as tl

from s2koop._latest import Latest
from s2koop._reading import ReadCancelled, Watched

T = TypeVar("T")

_SIGNATURE = re.compile(r"(?<=\S)\?[^\s'\"]*=[^\s'\"]*")


class Requests(tl.HasTraits):
    """A state whose slow answers are given in the background, the newest of each kind alone.

    Attributes
    ----------
    status : str
        What is being waited for, empty when nothing is.
    progress : float
        How far that is, 0 to 1.
    error : str
        The last failure of a background request, empty when all is well; all of them are in `errors`.
    errors : list of Exception
    """

    status = tl.Unicode("")
    progress = tl.Float(0.0)
    error = tl.Unicode("")

    def __init__(self, **traits: Any) -> None:
        self.errors: list[Exception] = []
        self._latest = Latest(on_error=self.fail)
        self._cancelled = threading.Event()
        super().__init__(**traits)

    def request(self, kind: str, work: Callable[[], object]) -> None:
        """Do `work` in the background; a newer request of the same kind replaces one that still waits."""
        self._latest.submit(kind, work)

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait for the background requests; False if they took longer than `timeout` seconds."""
        return self._latest.wait(timeout)

    def cancel(self) -> None:
        """Stop what is being computed; it is not shown, and can be asked for again."""
        if self.status:
            self._cancelled.set()

    def fail(self, error: Exception) -> None:
        """Keep a failure of a callback, so that it is seen: in `errors`, and as text in `error`."""
        if isinstance(error, ReadCancelled):
            return
        self.errors.append(error)
        # A reader's message may hold a signed address: the signature is nobody's business.
        self.error = _SIGNATURE.sub("", str(error) or type(error).__name__)

    @contextmanager
    def waiting_for(self, what: str, *, lazy: bool = True) -> Iterator[None]:
        """Say what is being waited for and how far it is, where it takes time, and let `cancel` stop it."""
        if not lazy:
            yield
            return
        before = self.status, self.progress
        if not before[0]:
            self._cancelled.clear()  # who began first may still be stopped inside
        self.status, self.progress = what, 0.0
        try:
            with Watched(self.report):
                yield
        finally:
            self.status, self.progress = before

    def report(self, share: float) -> None:
        """Say how far the work is, 0 to 1.

        Raises
        ------
        ReadCancelled
            If it was to be stopped.
        """
        if self._cancelled.is_set():
            raise ReadCancelled("This was stopped.")
        # Thousands of tasks must not become thousands of messages.
        if abs(share - self.progress) >= 0.02:
            self.progress = share


class Recent(Generic[T]):
    """The newest few values by key, so that looking back is free and memory stays bounded.

    Examples
    --------
    >>> recent = Recent[int](2)
    >>> [recent.get_or(key, lambda key=key: 10 * key) for key in (1, 2, 3, 3)]
    [10, 20, 30, 30]
    >>> len(recent)
    2
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[Any, T] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def get_or(self, key: Any, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not held."""
        with self._lock:
            if key in self._held:
                self._held[key] = self._held.pop(key)
                return self._held[key]
        value = make()
        with self._lock:
            self._held[key] = value
            while len(self._held) > self._size:
                del self._held[next(iter(self._held))]
        return value

"""What reads had to leave out because ``errors="mask"`` was asked for: noted in each process, gathered by who asks."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple
from uuid import uuid4

#: Most notes that a process keeps: a provider that is down must not fill the memory.
MOST = 10_000
#: Seconds by which the clocks of machines may differ.
CLOCKS = 300.0
#: The name of this process, which no other has.
PROCESS = uuid4().hex


class Skip(NamedTuple):
    """One asset that could not be read where it was needed; its address is without signature."""

    item: str
    asset: str
    reason: str


_noted: OrderedDict[tuple[str, str, str], tuple[Skip, float]] = OrderedDict()
_items: set[tuple[str, str]] = set()
_marked: dict[str, set[Skip]] = {}
_lock = threading.Lock()


def note(token: str, skip: Skip) -> bool:
    """Remember a skipped asset of a load; tells whether its item was not noted before."""
    key = (token, skip.item, skip.asset)
    with _lock:
        new_item = (token, skip.item) not in _items
        _items.add((token, skip.item))
        _noted[key] = skip, time.time()  # the last time counts: who looked at a part before must not hide it
        _noted.move_to_end(key)
        if len(_noted) > MOST:
            _noted.popitem(last=False)
        return new_item


def elsewhere(moment: float, process: str) -> list[Skip]:
    """What another process than the one that asks noted since a moment, by whichever of their clocks is behind."""
    return [] if process == PROCESS else since(moment - CLOCKS)


def since(moment: float) -> list[Skip]:
    """What this process noted since a moment (seconds since 1970), oldest first, of whichever load."""
    with _lock:
        return [skip for skip, when in _noted.values() if when >= moment]


def unmarked(job: str, moment: float) -> list[Skip]:
    """Of what was noted since a moment, what no mark of a job holds yet."""
    known = _marked.get(job, set())
    return [skip for skip in since(moment) if skip not in known]


def mark(job: str, skips: Iterable[Skip]) -> None:
    """A mark of a job holds these now."""
    with _lock:
        _marked.setdefault(job, set()).update(skips)


def to_text(skips: Iterable[Skip]) -> str:
    """JSON, each asset once and in order, with one of its reasons: what can be an attribute of any file."""
    once = {(skip.item, skip.asset): skip for skip in sorted(skips, reverse=True)}
    return json.dumps([skip._asdict() for _, skip in sorted(once.items())])


def from_text(text: str) -> list[Skip]:
    """Read back what `to_text` wrote."""
    return [Skip(**fields) for fields in json.loads(text)]

"""Fills a block of dates and bands from their files, several at once over the network.

One after the other, each file would wait for its own answers: a block of whole series has hundreds of files, and every
one of them takes some requests.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from s2koop.cube._reader import Reading, Source, is_remote

#: Bytes that a block reads ahead, where windows are large; and those of a pixel on the way.
_AHEAD, _PIXEL = 64 * 2**20, 8


def fill(target: np.ndarray, table: Sequence[Sequence[Sequence[Source]]], how: Reading, window: Any) -> None:
    """Read a window of the sources of each date and band into (date, band, y, x); what has none stays as it is.

    Raises
    ------
    AssetError
        If one cannot be read. Those that were not begun yet are left.
    """
    places = [
        (date, band)
        for date, bands in enumerate(table)
        for band, sources in enumerate(bands)
        if how.holds_any(sources, window)
    ]
    for place, values in zip(places, _read([table[d][b] for d, b in places], how, window), strict=True):
        target[place] = values


def _read(wanted: Sequence[Sequence[Source]], how: Reading, window: Any) -> Iterator[np.ndarray]:
    """A window of each that is wanted, in order."""
    if not any(is_remote(source.href) for sources in wanted for source in sources):
        yield from (how.read(sources, window) for sources in wanted)
        return
    pool = _pool(how.connections, os.getpid())
    most = min(how.connections, max(1, int(_AHEAD / (_PIXEL * window.height * window.width))))
    ahead: deque[Future[np.ndarray]] = deque()
    try:
        for sources in wanted:
            ahead.append(pool.submit(how.read, sources, window))
            if len(ahead) == most:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


@lru_cache
def _pool(connections: int, process: int) -> ThreadPoolExecutor:
    """Threads that read, shared by all blocks of a process; one that was forked off has none of its parent's."""
    return ThreadPoolExecutor(connections, thread_name_prefix="s2koop-read")

"""Computes keys of a graph on whatever scheduler is in use, and tells of each as it is done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import dask.array as da
import dask.base
import dask.threaded
from dask.callbacks import Callback


def compute_keys(collection: da.Array, keys: Sequence[Any], tell: Callable[[], None]) -> None:
    """Compute keys of a dask array, in one graph, so that what they share is computed once.

    Parameters
    ----------
    collection : dask.array.Array
        Its values are small: they are kept until the end.
    keys : sequence
        Some of its keys; nothing that only others need is computed.
    tell : callable
        Called in this thread after each key.
    """
    scheduler = dask.base.get_scheduler(collections=[collection]) or dask.threaded.get
    graph = da.Array.__dask_optimize__(collection.dask, list(keys))
    client = client_of(scheduler)
    if client is not None:
        _on_cluster(client, graph, keys, tell)
        return
    wanted = set(keys)

    def after(key: Hashable, *_: Any) -> None:
        if key in wanted:
            tell()

    with Callback(posttask=after):
        scheduler(graph, list(keys))


def client_of(scheduler: Any) -> Any:
    """The client of ``dask.distributed`` behind a scheduler's function; None for threads and processes."""
    client = getattr(scheduler, "__self__", None)
    return client if hasattr(client, "scheduler_info") else None


def _on_cluster(client: Any, graph: Any, keys: Sequence[Any], tell: Callable[[], None]) -> None:
    from distributed import as_completed

    futures = client.get(graph, list(keys), sync=False)
    try:
        for future in as_completed(futures):
            future.result()  # raises what the task raised
            tell()
    finally:
        client.cancel(futures)

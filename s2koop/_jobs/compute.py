"""Computes keys of a graph on whatever scheduler is in use, and tells of each as it is done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import dask.array as da
import dask.base
import dask.threaded
from dask._task_spec import GraphNode, convert_legacy_graph
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
    graph = one_task_each(da.Array.__dask_optimize__(collection.dask, list(keys)), keys)
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


def one_task_each(graph: Mapping[Any, Any], keys: Sequence[Any]) -> dict[Any, Any]:
    """A graph in which a key is one task with all that it alone needs; what others need too stays apart.

    In the order that dask gives to smaller tasks, results of many of them may wait for the last step: here as much is
    in memory as threads work on.
    """
    tasks = _needed(convert_legacy_graph(dict(graph)), keys)
    needed_by: dict[Any, set[Any]] = {}
    for key, task in tasks.items():
        for dependency in task.dependencies:
            needed_by.setdefault(dependency, set()).add(key)
    for key in keys:
        own = _own(key, tasks, needed_by)
        if len(own) > 1:
            tasks[key] = GraphNode.fuse(*(tasks[name] for name in own))
            for name in own - {key}:
                del tasks[name]
    return tasks


def _needed(tasks: Mapping[Any, Any], keys: Sequence[Any]) -> dict[Any, Any]:
    """The tasks that keys rest on: fusing leaves names behind that nobody asks for, and that a scheduler computes."""
    found, ahead = {}, list(keys)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = tasks[name]
            ahead += tasks[name].dependencies
    return found


def _own(key: Any, tasks: Mapping[Any, Any], needed_by: Mapping[Any, set[Any]]) -> set[Any]:
    """A key with those before it that no other key needs, in any number of steps."""
    own, ahead = {key}, list(tasks[key].dependencies)
    while ahead:
        name = ahead.pop()
        if name not in own and needed_by[name] <= own:  # else it comes up again with the last that needs it
            own.add(name)
            ahead += tasks[name].dependencies
    return own


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

"""Computes keys of a graph on whatever scheduler is in use, and tells of each as it is done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import dask.array as da
import dask.base
import dask.threaded
from dask._task_spec import GraphNode, Task, TaskRef, convert_legacy_graph
from dask.callbacks import Callback

#: Most keys that are computed together because they share what was read.
_MOST_TOGETHER = 64


def compute_keys(collection: da.Array, keys: Sequence[Any], tell: Callable[[int], object]) -> None:
    """Compute keys of a dask array, in one graph, so that what they share is computed once.

    Parameters
    ----------
    collection : dask.array.Array
        Its values are small: they are kept until the end.
    keys : sequence
        Some of its keys; nothing that only others need is computed.
    tell : callable
        Called in this thread with a number of keys that were computed.
    """
    scheduler = dask.base.get_scheduler(collections=[collection]) or dask.threaded.get
    graph, groups = large_tasks(da.Array.__dask_optimize__(collection.dask, list(keys)), keys)
    client = client_of(scheduler)
    if client is not None:
        _on_cluster(client, graph, groups, tell)
        return

    def after(key: Hashable, *_: Any) -> None:
        if key in groups:
            tell(groups[key])

    with Callback(posttask=after):
        scheduler(graph, list(groups))


def large_tasks(graph: Mapping[Any, Any], keys: Sequence[Any]) -> tuple[dict[Any, Any], dict[Any, int]]:
    """A graph in which a key is one task with all that it alone needs; and so are keys that share what was read.

    In the order that dask gives to smaller tasks, results of many of them may wait for the last step: chunks of a whole
    scene that were read, or of all kernels. Here as much is in memory as threads work on. What all keys need, such as
    a table of the scene, stays a task of its own.

    Returns
    -------
    dict
        The graph.
    dict
        The names to compute in it, each with the number of keys that it stands for.
    """
    tasks = _needed(convert_legacy_graph(dict(graph)), keys)
    needed_by = _needed_by(tasks)
    for key in keys:
        _fuse(key, tasks, needed_by)
    names = {}
    needed_by = _needed_by(tasks)
    for group in _groups(keys, needed_by):
        name = group[0]
        if len(group) > 1:
            name = f"together-{uuid4().hex}"
            tasks[name] = Task(name, _all_done, *map(TaskRef, group))
            for key in group:
                needed_by.setdefault(key, set()).add(name)
            _fuse(name, tasks, needed_by)
        names[name] = len(group)
    return tasks, names


def _all_done(*_: Any) -> int:
    """What is left of keys that were computed together."""
    return 1


def _fuse(key: Any, tasks: dict[Any, Any], needed_by: Mapping[Any, set[Any]]) -> None:
    """Make one task of a key and those before it that no other key needs, in any number of steps."""
    own, ahead = {key}, list(tasks[key].dependencies)
    while ahead:
        name = ahead.pop()
        if name not in own and needed_by[name] <= own:  # else it comes up again with the last that needs it
            own.add(name)
            ahead += tasks[name].dependencies
    if len(own) > 1:
        tasks[key] = GraphNode.fuse(*(tasks[name] for name in own))
        for name in own - {key}:
            del tasks[name]


def _groups(keys: Sequence[Any], needed_by: Mapping[Any, set[Any]]) -> list[list[Any]]:
    """Keys in groups of those that share a task that not all of them need, such as the parts of a chunk.

    Only where the groups are apart: blocks that read beyond their edges share a little with each neighbour, and would
    all be one.
    """
    every = set(keys)
    most = min(_MOST_TOGETHER, len(keys) - 1)
    shared = sorted((users for users in needed_by.values() if 1 < len(users) <= most and users <= every), key=len)
    group_of: dict[Any, frozenset[Any]] = {}
    for users in reversed(shared):  # the largest first: smaller ones lie within it, or across its edge
        for key in users:
            group_of.setdefault(key, frozenset(users))
    across = {group_of[key] for users in shared for key in users if not users <= group_of[key]}
    found: dict[Any, list[Any]] = {}
    for key in keys:
        group = group_of.get(key)
        found.setdefault(key if group is None or group in across else group, []).append(key)
    return list(found.values())


def _needed(tasks: Mapping[Any, Any], keys: Sequence[Any]) -> dict[Any, Any]:
    """The tasks that keys rest on: fusing leaves names behind that nobody asks for, and that a scheduler computes."""
    found, ahead = {}, list(keys)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = tasks[name]
            ahead += tasks[name].dependencies
    return found


def _needed_by(tasks: Mapping[Any, Any]) -> dict[Any, set[Any]]:
    """Who needs each task."""
    found: dict[Any, set[Any]] = {}
    for key, task in tasks.items():
        for name in task.dependencies:
            found.setdefault(name, set()).add(key)
    return found


def client_of(scheduler: Any) -> Any:
    """The client of ``dask.distributed`` behind a scheduler's function; None for threads and processes."""
    client = getattr(scheduler, "__self__", None)
    return client if hasattr(client, "scheduler_info") else None


def _on_cluster(client: Any, graph: Any, groups: Mapping[Any, int], tell: Callable[[int], object]) -> None:
    from distributed import as_completed

    futures = client.get(graph, list(groups), sync=False)
    try:
        for future in as_completed(futures):
            future.result()  # raises what the task raised
            tell(groups[future.key])
    finally:
        client.cancel(futures)

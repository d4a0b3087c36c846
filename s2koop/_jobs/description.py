"""What a job is about, as plain JSON: kept in its store, and compared by whoever comes to go on with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from s2koop._jobs.checks import plain
from s2koop._jobs.layout import Layout

Description = dict[str, Any]


def describe(job: Layout, identity: str) -> Description:
    """Dims, types, labels, attributes and chunks of all that is written, and the name of the computation."""
    return {
        "variables": {str(name): _variable(job, str(name)) for name in job.dataset.variables},
        "attrs": _words(job.dataset.attrs),
        "regions": list(job.shape),
        "identity": identity,
    }


def _variable(job: Layout, name: str) -> Description:
    variable = job.dataset.variables[name]
    return {
        "sizes": {str(dim): size for dim, size in variable.sizes.items()},
        "dtype": str(variable.dtype),
        "attrs": _words(variable.attrs),
        "chunks": list(job.chunks(name)),
        "values": None if variable.chunks is not None else _digest(variable),
    }


def _digest(variable: xr.Variable) -> str:
    """Of values that are known before anything is computed."""
    values = variable.values
    content = json.dumps(list(map(str, values.ravel()))).encode() if values.dtype == object else values.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _words(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes as text, the same for a tuple and a list, a number of NumPy and one of Python."""
    return {str(name): json.dumps(plain(value), sort_keys=True) for name, value in attrs.items()}


def differences(there: Description, here: Description) -> Iterator[str]:
    """In what a store differs from what is to be written, the plainest first."""
    old, new = there["variables"], here["variables"]
    yield from (f"it has no {name!r}" for name in new if name not in old)
    yield from (f"it has {name!r} too" for name in old if name not in new)
    both = [name for name in new if name in old]
    for name in both:
        for key in ("sizes", "dtype"):
            if old[name][key] != new[name][key]:
                yield f"{name}: {old[name][key]} there, {new[name][key]} here"
    yield from (f"other values of {name!r}" for name in both if old[name]["values"] != new[name]["values"])
    for name, before, now in [
        ("", there["attrs"], here["attrs"]),
        *((n, old[n]["attrs"], new[n]["attrs"]) for n in both),
    ]:
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                yield f"{f'{name}: ' if name else ''}{key} {before.get(key)} there, {now.get(key)} here"
    if there["regions"] != here["regions"]:
        yield (
            f"{there['regions']} regions there, {here['regions']} here: other chunks; blocks are cut for the memory "
            "there is, so say s2koop.set_options(memory=...) as then"
        )
    for name in both:
        if old[name]["chunks"] != new[name]["chunks"]:
            yield f"{name}: chunks of {tuple(old[name]['chunks'])} there, {tuple(new[name]['chunks'])} here"
    if there["identity"] != here["identity"]:
        yield "other options, other data, or another version of s2koop or dask"

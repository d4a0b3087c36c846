"""``s2koop.set_options``: the few choices that hold for every call."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from s2koop.errors import InputError

#: Less than this holds not even the libraries.
_LEAST_MEMORY = 500 * 10**6


@dataclass(frozen=True)
class Options:
    """What `set_options` sets.

    Attributes
    ----------
    memory : int or None
        Bytes that this process may use; None for what its container or machine has.
    """

    memory: int | None = None


_set = Options()


def options() -> Options:
    """The options in force: what was set, else what the environment says."""
    if _set.memory is None and (text := os.environ.get("S2KOOP_MEMORY")):
        return replace(_set, memory=memory_of(text, "the environment variable S2KOOP_MEMORY"))
    return _set


class set_options:
    """Set options for every call that follows, or for those in a ``with`` block.

    Parameters
    ----------
    memory : str, int or None
        What this process may use, such as ``"2 GB"``: blocks of lazy cubes are made so small that as many tasks as
        run at once fit into it. None: the environment variable ``S2KOOP_MEMORY``, else the limit of the container
        or the memory of the machine. It decides how cubes are cut when they are made, and is no wall: other
        libraries do not know it.

    Raises
    ------
    InputError
        If an option or its value is unknown.

    Examples
    --------
    >>> import s2koop
    >>> with s2koop.set_options(memory="2 GB"):
    ...     pass  # cubes that are loaded here are cut for a small machine
    >>> s2koop.set_options(memory="many")
    Traceback (most recent call last):
    ...
    s2koop.errors.InputError: memory='many' is no number of bytes; expected such as '2 GB' or 2e9
    """

    def __init__(self, **given: Any) -> None:
        unknown = set(given) - {"memory"}
        if unknown:
            raise InputError(f"unknown option {sorted(unknown)}; there is 'memory'")
        global _set
        self._before = _set
        if "memory" in given:
            value = given["memory"]
            _set = replace(_set, memory=None if value is None else memory_of(value, "memory"))

    def __enter__(self) -> None:
        """The options were set as the object was made."""

    def __exit__(self, *_: object) -> None:
        global _set
        _set = self._before


def memory_of(value: Any, name: str) -> int:
    """Bytes of a text such as ``"2 GB"``, or of a number."""
    from dask.utils import parse_bytes

    try:
        found = (
            int(parse_bytes(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        )
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise InputError(f"{name}={value!r} is no number of bytes; expected such as '2 GB' or 2e9")
    if found < _LEAST_MEMORY:
        raise InputError(f"{name}={value!r} is less than the libraries take; give at least '500 MB'")
    return found

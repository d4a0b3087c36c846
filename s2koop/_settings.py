"""Settings as plain mappings: what cards of models hold, read strictly by the types that a dataclass declares."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from s2koop.errors import InputError


class Settings:
    """What every frozen dataclass of settings can do."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from a plain mapping; an unknown name is an error."""
        known = sorted(f.name for f in fields(cls))  # type: ignore[arg-type]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"settings are {', '.join(known)}"
                raise InputError(f"unknown setting {name!r}; {hint}")
        return cls(**dict(values))

    @classmethod
    def from_card(cls, values: Any) -> Self:
        """Settings from the card of a model: as `from_dict`, and values are of the types that are declared, exactly."""
        if not isinstance(values, dict):
            raise InputError(f"settings are a {type(values).__name__}; expected names and values")
        types = get_type_hints(cls)
        for name, value in values.items():
            if name in types and not _fits(value, types[name]):
                raise InputError(f"{name}={str(value)[:60]!r} is a {type(value).__name__}; expected {types[name]}")
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)  # type: ignore[call-overload]


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value as JSON has it, tuples as lists, is of a declared type; numbers are finite.

    Examples
    --------
    >>> _fits([8, 8], tuple[int, ...]), _fits(True, int), _fits(1, float | None), _fits({"a": "1"}, Mapping[str, float])
    (True, False, True, False)
    """
    inner = get_args(kind)
    match get_origin(kind):
        case _ if kind is type(None):
            return value is None
        case origin if origin in (Union, UnionType):
            return any(_fits(value, one) for one in inner)
        case origin if origin is tuple:
            if not isinstance(value, list | tuple):
                return False
            kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
            return len(kinds) == len(value) and all(map(_fits, value, kinds))
        case origin if origin is Mapping:
            return isinstance(value, Mapping) and all(
                _fits(key, inner[0]) and _fits(one, inner[1]) for key, one in value.items()
            )
    if kind in (int, float):
        number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return isinstance(value, kind)

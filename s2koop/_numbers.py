"""Numbers as arguments: whole or real, of Python or NumPy, within bounds, or a clear refusal."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable
from typing import Any

from s2koop.errors import InputError


def whole(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """A whole number of at least `least`, and at most `most`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise InputError(f"{name}={value!r} must be a whole number of at least {least}")
    if most is not None and number > most:
        raise InputError(f"{name}={value!r} must be at most {most}")
    return number


def real(name: str, value: Any, *, least: float) -> float:
    """A finite number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not least <= float(value) < math.inf:
        raise InputError(f"{name}={value!r} must be a number of at least {least}")
    return float(value)


def sequence(name: str, values: Any, check: Callable[..., Any], *, least: int) -> tuple[Any, ...]:
    """Several numbers, each checked by `whole` or `real`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name}={values!r} must be a sequence of numbers, such as ({least},)")
    return tuple(check(name, value, least=least) for value in values)

"""What cannot be written is told before a store is begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from s2koop.errors import InputError

#: Names that a store needs for itself.
RESERVED = ("s2koop_regions_done", "s2koop_regions_skipped", "zarr.json", ".", "..", "")


def check_result(dataset: xr.Dataset) -> None:
    """Refuse names, labels and attributes that have no place in a Zarr store.

    Raises
    ------
    InputError
        Naming what is wrong, and what to do.
    """
    for name, variable in dataset.variables.items():
        if not isinstance(name, str) or name in RESERVED or "/" in name:
            raise InputError(f"a variable is named {name!r}, which cannot be a folder of a store; rename it")
        if name in dataset.indexes and isinstance(dataset.indexes[name], pd.MultiIndex):
            raise InputError(f"{name!r} has an index of several levels; take them apart with .reset_index({name!r})")
        if variable.dtype == object and variable.chunks is None:
            kinds = {type(value) for value in variable.values.ravel() if value is not None}
            if kinds - {str}:
                listed = ", ".join(sorted(kind.__name__ for kind in kinds))
                raise InputError(f"{name!r} holds objects ({listed}); numbers, dates and text can be written")
        _check_attrs(f"of {name!r}", variable.attrs)
    _check_attrs("of the dataset", dataset.attrs)


def _check_attrs(whose: str, attrs: Mapping[Any, Any]) -> None:
    for name, value in attrs.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise InputError(
                f"the attribute {name!r} {whose} is a {type(value).__name__}; attributes of a store are text, numbers "
                "and lists or mappings of these: turn it into text, or drop it"
            )
        if name == "units" and isinstance(value, str) and " since " in value:
            raise InputError(
                f"the attribute units={value!r} {whose} would make readers take numbers for dates; give it another name"
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufUS"
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(part) for name, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


def plain(value: Any) -> Any:
    """A value of attributes as JSON knows it; what it does not know, as text."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)

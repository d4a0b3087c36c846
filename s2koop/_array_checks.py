"""What verbs on arrays refuse alike: no array, a dim that lacks, no value at all, no real numbers. Nothing is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from s2koop.errors import InputError


def check_array(array: Any, what: str, dims: Sequence[str] = ()) -> None:
    """Refuse anything but a DataArray of real numbers.

    Parameters
    ----------
    array : DataArray
    what : str
        What messages call it, such as ``"the cube"``.
    dims : sequence of str
        What it needs, in any order; it may have others where none is named.

    Raises
    ------
    InputError
        Names the dim, or what was found instead.

    Examples
    --------
    >>> check_array(xr.DataArray(["a"]), "the cube")
    Traceback (most recent call last):
    s2koop.errors.InputError: the cube has dtype <U1; expected real numbers, with NaN for gaps
    """
    if not isinstance(array, xr.DataArray):
        raise InputError(f"{what} is a {type(array).__name__}; expected an xarray.DataArray")
    if dims and set(array.dims) != set(dims):
        raise InputError(
            f"{what} has dims {tuple(array.dims)}; expected {tuple(dims)}: rename them, or keep a dim by selecting "
            "with a list"
        )
    check_not_empty(array, what)
    if array.dtype.kind not in "uif":
        raise InputError(f"{what} has dtype {array.dtype}; expected real numbers, with NaN for gaps")


def check_not_empty(array: xr.DataArray, what: str) -> None:
    """Refuse an array with a dim of no size.

    Raises
    ------
    InputError
        Names the dims.
    """
    empty = [str(dim) for dim, size in array.sizes.items() if size == 0]
    if empty:
        raise InputError(f"{what} has no {', no '.join(empty)}; was a selection empty?")


def check_dates(array: xr.DataArray, what: str) -> None:
    """Refuse an array whose dates along ``time`` are absent, or not all dates.

    Raises
    ------
    InputError
    """
    if "time" not in array.coords or array["time"].dtype.kind != "M":
        found = f"{array['time'].dtype} along 'time'" if "time" in array.coords else "no coordinate 'time'"
        raise InputError(f"{what} has {found}; expected dates: array.assign_coords(time=pandas.to_datetime(...))")
    if np.isnat(array["time"].values).any():
        raise InputError(f"{what} has dates that are NaT; drop them: array.sel(time=array.time.notnull())")


def check_labels(array: xr.DataArray, dim: str, what: str) -> None:
    """Refuse an array whose labels along a dim repeat, where they shall say which is which.

    Raises
    ------
    InputError
    """
    labels = array[dim].values.tolist()
    if len(set(labels)) < len(labels):
        raise InputError(f"{what} has the labels {labels} along {dim!r}; each may stand once")

"""The dates a user asks for, in whichever form they come, as one strict array of datetimes in UTC."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop.errors import InputError

_CURE = "give dates such as '2020-06-01', a list of them, pandas.date_range(start, end) or cube.time"


def asked_dates(times: Any, *, name: str = "times") -> npt.NDArray[np.datetime64]:
    """Return `times` as datetimes (date,), in the order in which they were given; nothing lazy is read.

    Parameters
    ----------
    times : datetime, str, or a sequence, index or DataArray of these
        ISO strings, and any datetimes of Python, NumPy, pandas or xarray. Those with a time zone are turned
        into UTC, those without one are taken as UTC.
    name : str
        What the messages call them.

    Returns
    -------
    datetime64[ns] (date,)

    Raises
    ------
    InputError
        There is none, one is no date (a number, a period such as ``"2019/2020"``, NaT), or they are a cube
        or in several dimensions.

    Examples
    --------
    >>> asked_dates(["2020-06-01", "2020-06-06T02:00+02:00"])
    array(['2020-06-01T00:00:00.000000000', '2020-06-06T00:00:00.000000000'],
          dtype='datetime64[ns]')
    """
    values = _flat(_bare(times, name), name)
    if not values.size:
        raise InputError(f"{name} holds no date; {_CURE}")
    if values.dtype.kind not in "MOUT":
        raise InputError(f"{name} holds numbers ({values.dtype}), which are no dates; {_CURE}")
    if values.dtype.kind != "M":
        for value in values:
            _check_one(value, name)
    try:
        index = pd.to_datetime(values, format="ISO8601", utc=True)
        # by as_unit, which refuses a year that nanoseconds cannot hold: a cast of NumPy would wrap around
        dates = index.tz_localize(None).as_unit("ns").to_numpy()
    except (ValueError, TypeError, OverflowError):
        # the message of pandas is about its own options; the values say more
        raise InputError(f"{name} cannot be read as dates: {_shown(values)}; {_CURE}") from None
    if np.isnat(dates).any():
        raise InputError(f"{name} holds {int(np.isnat(dates).sum())} NaT of {dates.size} dates; leave them out")
    return dates


def _bare(times: Any, name: str) -> Any:
    """The dates of a DataArray without their coordinates; refuse a cube before any pixel of it is read."""
    if not isinstance(times, xr.DataArray | xr.Dataset):
        return times
    if isinstance(times, xr.DataArray) and times.dtype.kind in "MOUT":
        return times.values
    cure = "give its .time" if "time" in times.coords else _CURE
    raise InputError(f"{name} is a {type(times).__name__} with dims {tuple(times.dims)}, not dates; {cure}")


def _flat(times: Any, name: str) -> np.ndarray:
    """An array of one dimension; a list keeps its objects, since NumPy would make text of [2020, '2021']."""
    if isinstance(times, list | tuple):
        values = np.empty(len(times), dtype=object)
        values[:] = [_bare(item, name) for item in times]
        return values
    values = np.atleast_1d(np.asarray(times))
    if values.ndim != 1:
        raise InputError(f"{name} has shape {values.shape}; expected one row of dates")
    return values


def _check_one(value: Any, name: str) -> None:
    if isinstance(value, int | float | np.number):
        raise InputError(f"{name} holds the number {value!r}, which is no date; {_CURE}")
    # pandas would take "today" for a date, and part of a period for the whole
    if isinstance(value, str) and ("/" in value or not value[:4].isdigit()):
        raise InputError(f"{name} holds {str(value)!r}, a period or no ISO date; {_CURE}")


def _shown(values: np.ndarray) -> str:
    return ", ".join(repr(value) for value in values[:3].tolist()) + (", ..." if values.size > 3 else "")

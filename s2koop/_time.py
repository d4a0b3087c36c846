"""Dates as numbers: days since one epoch, named here once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

EPOCH = np.datetime64("2000-01-01", "ns")
DAY_NS = 86_400_000_000_000
YEAR_DAYS = 365.2425


def to_days(times: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Days since 2000-01-01 of datetimes, as float64.

    Examples
    --------
    >>> to_days(["2000-01-02", "2000-01-02T12:00"])
    array([1. , 1.5])
    """
    ns = np.asarray(times, dtype="datetime64[ns]")
    return (ns - EPOCH).astype(np.int64) / DAY_NS


def from_days(days: npt.ArrayLike) -> npt.NDArray[Any]:
    """Datetimes (``datetime64[ns]``) of days since 2000-01-01, to the microsecond.

    Examples
    --------
    >>> from_days([1.5])
    array(['2000-01-02T12:00:00.000000000'], dtype='datetime64[ns]')
    """
    micro = np.rint(np.asarray(days, dtype=np.float64) * (DAY_NS // 1000)).astype(np.int64)
    return EPOCH + (1000 * micro).astype("timedelta64[ns]")

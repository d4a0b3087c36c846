"""Tells digital numbers from reflectance where a look is cheap: on what is in memory, at a few of its values."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from s2koop._warn import warn_user
from s2koop.errors import ReflectanceWarning

#: Snow and cloud reach some 1.5 under a low sun.
_BRIGHTEST = 2.0

#: Entries looked at along each of these dims.
_ENOUGH = {"time": 8, "y": 128, "x": 128}


def warn_digital_numbers(values: xr.DataArray, what: str) -> None:
    """Warn where most values are too large for a reflectance; says nothing about lazy data or other units.

    Warns
    -----
    ReflectanceWarning
        No error, since it may be another quantity that does not state its units.
    """
    if values.chunks is not None or str(values.attrs.get("units", "1")) != "1":
        return
    steps = {dim: math.ceil(values.sizes[dim] / enough) for dim, enough in _ENOUGH.items() if values.sizes.get(dim)}
    few = values.isel({dim: slice(None, None, step) for dim, step in steps.items()}).values
    seen = few[np.isfinite(few)]
    if seen.size and (middle := float(np.median(seen))) > _BRIGHTEST:
        message = (
            f"the median of {what} is {middle:.4g}, where reflectance lies in 0..1: these are probably digital "
            "numbers. s2koop.load scales them; other data divide by 10000 and mind the offset, or state other units "
            "in attrs['units']"
        )
        warn_user(ReflectanceWarning(message))

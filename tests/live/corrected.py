"""Simulated scenes, corrected: what the dashboard of corrections is tested with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from s2koop.simulate import toa_scenes


@dataclass(frozen=True)
class Corrected:
    """A measurement, its truth, two corrections, and what ``.ac.invert`` has to be told."""

    toa: xr.DataArray
    truth: xr.DataArray
    result: xr.Dataset
    other: xr.Dataset
    told: dict[str, Any]


def corrected(*, dates: int = 2, size: int = 24, emulated: bool = True) -> Corrected:
    """Some dates, each of a place of its own, on one grid of 20 m."""
    import rioxarray  # noqa: F401  registers .rio

    drawn = toa_scenes("test", scenes=dates, size=size, first=2)
    told = {name: drawn[name].values.astype(float) for name in ("altitude", "ozone")}
    told["angles"] = {name: drawn[name].values.astype(float) for name in ("sza", "vza", "raa")}
    days = pd.date_range("2024-05-01", periods=dates, freq="5D")

    def dated(values: xr.DataArray) -> xr.DataArray:
        bare = values.drop_vars([name for name in values.coords if name not in ("band", "y", "x")])
        return bare.rename(scene="time").assign_coords(time=days.values).rio.write_crs(32633)

    toa, truth = dated(drawn["toa"]), dated(drawn["boa"])
    other = toa.ac.invert(**told)
    result = toa.ac.emulate("hybrid", **told) if emulated else toa.ac.invert(aot=np.full(dates, 0.2), **told)
    return Corrected(toa, truth, result, other, told)

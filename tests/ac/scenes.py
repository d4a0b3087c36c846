"""Scenes of random reflectance on a grid, with what a correction has to know of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from s2koop.ac import SmacCoefficients

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
ANGLES = {"sza": 35.0, "vza": 4.0, "raa": 110.0}
SKY: dict[str, Any] = {"aot": 0.2, "water_vapour": 2.0, "ozone": 0.31, "altitude": 150.0, "angles": ANGLES}


def surface(
    *, bands: list[str] = BANDS, dates: int | None = None, rows: int = 12, columns: int = 10, seed: int = 0,
    sensor: str = "S2A", resolution: float = 20.0,
) -> xr.DataArray:  # fmt: skip
    """Surface reflectance between 0.01 and 0.5, float32, ([time], band, y, x), with a CRS."""
    import rioxarray  # noqa: F401  registers .rio

    shape = (len(bands), rows, columns) if dates is None else (dates, len(bands), rows, columns)
    coords: dict[str, Any] = {
        "band": bands,
        "y": 5_000_000.0 - resolution * np.arange(rows),
        "x": 600_000.0 + resolution * np.arange(columns),
    }
    if dates is not None:
        coords["time"] = pd.date_range("2021-06-01", periods=dates, freq="5D")
    values = np.random.default_rng(seed).uniform(0.01, 0.5, shape).astype("float32")
    dims = ("band", "y", "x") if dates is None else ("time", "band", "y", "x")
    scene = xr.DataArray(values, coords=coords, dims=dims, name="reflectance", attrs={"level": "BOA", "sensor": sensor})
    return scene.rio.write_crs(32632)


def field(scene: xr.DataArray, low: float, high: float, seed: int = 1) -> xr.DataArray:
    """A rough map (y, x) on the pixels of a scene."""
    values = np.random.default_rng(seed).uniform(low, high, (scene.sizes["y"], scene.sizes["x"]))
    return xr.DataArray(values, dims=("y", "x"), coords={"y": scene.y, "x": scene.x})


def smac_coefficients(bands: list[str]) -> dict[str, SmacCoefficients]:
    """Coefficients of the size that SMAC has in the visible, brighter haze for the first band than for the last."""
    zero = dict.fromkeys(SmacCoefficients._fields, 0.0)
    sizes = {
        "ah2o": -0.003, "nh2o": 0.7, "ao3": -0.02, "no3": 1.0, "ao2": -0.002, "no2": 1.0, "po2": 1.0, "a0s": 0.04,
        "a1s": 0.1, "a2s": -0.02, "a0t": 1.15, "a1t": -0.12, "a2t": -0.1, "a3t": -0.13, "a1taup": 0.9, "wo": 0.9,
        "gc": 0.65, "a0p": 0.2,
    }  # fmt: skip
    return {band: SmacCoefficients(**zero | sizes | {"taur": 0.2 / (at + 1)}) for at, band in enumerate(bands)}

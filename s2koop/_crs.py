"""Where a cube lies: its CRS, whether that counts in metres, and the words for axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

_UNITS = {"metre": "m", "unknown": "degrees"}


def crs_of(cube: xr.DataArray) -> Any | None:
    """Return the rasterio CRS of a cube, None if it states none."""
    if "spatial_ref" not in cube.coords:
        return None
    import rioxarray  # noqa: F401  registers .rio

    return cube.rio.crs


def is_metric(cube: xr.DataArray) -> bool:
    """Tell whether the coordinates are metres."""
    crs = crs_of(cube)
    return crs is not None and crs.is_projected and crs.linear_units.startswith("met")


def pixel_metres(cube: xr.DataArray) -> float | None:
    """Return the width of a pixel in metres; None where the CRS does not say metres."""
    if not is_metric(cube) or cube.sizes["x"] < 2:
        return None
    return float(np.abs(cube["x"].values[1] - cube["x"].values[0]))


def axis_label(cube: xr.DataArray, dim: str) -> str:
    """Name an axis with unit and CRS, ``easting (m, EPSG:32635)``."""
    crs = crs_of(cube)
    if crs is None:
        return dim
    unit = crs.linear_units
    return f"{'easting' if dim == 'x' else 'northing'} ({_UNITS.get(unit, unit)}, {crs})"


def edges(centres: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of pixels from their centres; a lone pixel is one unit wide.

    >>> edges(np.array([10.0, 30.0]))
    (0.0, 40.0)
    """
    half = (centres[1] - centres[0]) / 2 if centres.size > 1 else 0.5
    return float(centres[0] - half), float(centres[-1] + half)

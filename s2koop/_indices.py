"""Indices of reflectance that a dashboard offers beside the bands: normalised differences, with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

#: Name to the bands of (a - b) / (a + b): greenness, water in leaves, burns, open water, snow. The first of several
#: bands that a cube has is taken.
INDICES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "NDVI": (("B8A", "B08", "NIR"), ("B04", "RED")),
    "NDMI": (("B8A", "B08", "NIR"), ("B11", "SWIR")),
    "NBR": (("B8A", "B08", "NIR"), ("B12",)),
    "NDWI": (("B03", "GREEN"), ("B08", "B8A", "NIR")),
    "NDSI": (("B03", "GREEN"), ("B11", "SWIR")),
}

#: Sums of reflectance below this are shade or noise: their ratio means nothing.
_DARK = 0.01

Array = TypeVar("Array", np.ndarray, xr.DataArray)


def parts_of(index: str, bands: Sequence[str]) -> tuple[str, str] | None:
    """Return the two bands of an index among those that there are, None if one is missing.

    >>> parts_of("NDVI", ["B04", "B08"])
    ('B08', 'B04')
    """
    found = [next((band for band in names if band in bands), None) for names in INDICES[index]]
    first, second = found
    return None if first is None or second is None else (first, second)


def known_indices(bands: Sequence[str]) -> list[str]:
    """Return the names of the indices that the bands allow."""
    return [name for name in INDICES if parts_of(name, bands) is not None]


def difference(a: Array, b: Array) -> Array:
    """Return (a - b) / (a + b), NaN where both are dark."""
    total = a + b
    return (a - b) / (xr.where(total > _DARK, total, np.nan) if isinstance(total, xr.DataArray) else _lit(total))


def difference_spread(a: Array, b: Array, spread_a: Array, spread_b: Array) -> Array:
    """Return the standard deviation of the index to first order, the errors of the bands taken as independent.

    Errors that bands share, such as haze, partly cancel in a ratio: what is returned is rather too wide.
    """
    total = a + b
    total = xr.where(total > _DARK, total, np.nan) if isinstance(total, xr.DataArray) else _lit(total)
    return 2 * ((b * spread_a) ** 2 + (a * spread_b) ** 2) ** 0.5 / total**2


def _lit(total: np.ndarray) -> np.ndarray:
    return np.where(total > _DARK, total, np.nan)

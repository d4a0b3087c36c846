"""What the pixels of a place say together: points, estimates and indices of what was read."""

from __future__ import annotations

import numpy as np
import xarray as xr

from s2koop._indices import INDICES, parts_of
from s2koop._sources import combined
from s2koop._views import NOTHING, Estimate, Points
from s2koop.cube.harmonise import missing_pixels


def of_band(answer: xr.Dataset, band: str) -> xr.Dataset | None:
    """Return one band of an answer (time, band, point), or an index of it; None where it does not know it."""
    bands = [str(b) for b in answer["band"].values]
    parts = (band,) if band in bands else parts_of(band, bands) if band in INDICES else None
    return None if parts is None else combined([answer.sel(band=part, drop=True) for part in parts])


def points_of(line: xr.Dataset | None) -> Points:
    """Return the mean over the pixels of a place, on dates on which nine in ten of them were seen.

    Methods say the mean of all pixels; that of a few that clouds left would be of other ground.
    """
    if line is None:
        return NOTHING
    values = line["mean"].values
    seen = ~missing_pixels(values)
    enough = seen.mean(axis=1) >= 0.9
    return Points(line["time"].values[enough], over_pixels(values[enough]))


def estimate_of(line: xr.Dataset | None, half_width: float) -> Estimate:
    """Return mean and interval of a result, averaged over the pixels of a place; nothing of no result."""
    if line is None:
        return Estimate(np.array([], "datetime64[ns]"), *(np.array([], np.float32) for _ in range(3)))
    mean = over_pixels(line["mean"].values)
    margin = half_width * over_pixels(line["spread"].values) if "spread" in line else np.full_like(mean, np.nan)
    return Estimate(line["time"].values, mean, mean - margin, mean + margin)


def over_pixels(values: np.ndarray) -> np.ndarray:
    """Return means (time,) over the pixels (time, point) that have values; NaN where none has."""
    seen = ~missing_pixels(values)
    total = np.where(seen, values, 0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (total / np.where(seen.any(axis=1), seen.sum(axis=1), np.nan)).astype(np.float32)

"""What makes an array a cube: coordinates that can be saved, CRS and transform, attributes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from s2koop.catalog.providers import MISSIONS
from s2koop.cube._grid import Grid
from s2koop.cube.harmonise import Scene
from s2koop.cube.sensors import REFERENCE, Sensor

_DIMS = ("time", "band", "y", "x")
_LONG_NAME = {"BOA": "surface reflectance", "TOA": "top-of-atmosphere reflectance"}


def label(
    data: Any, days: Sequence[Sequence[Scene]], names: Sequence[str], grid: Grid, level: str, history: str
) -> xr.DataArray:
    """Add what makes it a cube: coordinates that can be saved, CRS, attributes."""
    import rioxarray  # noqa: F401  registers .rio

    mission = days[0][0].mission
    reference = REFERENCE[mission]
    x, y = grid.centres()
    coords: dict[str, Any] = {
        "time": np.array([day[0].time for day in days], "datetime64[ns]"),
        # text is held as objects: fixed-length text has no place in Zarr v3
        "band": np.array(names, dtype=object),
        "y": y,
        "x": x,
        "common_name": (
            "band",
            np.array([_band_fact(reference, n, "common_name", n.lower()) for n in names], dtype=object),
        ),
        "wavelength": (
            "band",
            np.array([_band_fact(reference, n, "wavelength", math.nan) for n in names]),
            {"long_name": f"centre wavelength of {reference.title}", "units": "nm"},
        ),
        **_date_coords(days),
    }
    attrs = {
        "level": level,
        "sensor": MISSIONS[mission].title,
        "units": "1",
        "long_name": _LONG_NAME[level],
        "history": history,
    }
    cube = xr.DataArray(data, coords=coords, dims=_DIMS, name="reflectance", attrs=attrs)
    cube.x.attrs.update(axis="X", long_name="x of pixel centres", standard_name="projection_x_coordinate")
    cube.y.attrs.update(axis="Y", long_name="y of pixel centres", standard_name="projection_y_coordinate")
    cube = cube.rio.write_crs(grid.epsg)
    return cube.rio.write_transform(_affine(grid))


def _affine(grid: Grid) -> Any:
    from affine import Affine

    return Affine(grid.resolution, 0.0, grid.west, 0.0, -grid.resolution, grid.north)


def _band_fact(sensor: Sensor, name: str, fact: str, default: Any) -> Any:
    band = sensor.bands.get(name)
    return default if band is None else getattr(band, fact)


def _date_coords(days: Sequence[Sequence[Scene]]) -> dict[str, Any]:
    """Per-date coordinates: words joined where they differ, numbers averaged, the offset where it is one."""

    def words(name: str) -> tuple[str, np.ndarray]:
        texts = ["+".join(dict.fromkeys(filter(None, (getattr(scene, name) for scene in day)))) for day in days]
        return "time", np.array(texts, dtype=object)

    def numbers(
        name: str, combine: Callable[[list[float]], float], **attrs: str
    ) -> tuple[str, np.ndarray, dict[str, str]]:
        return "time", np.array([combine([getattr(scene, name) for scene in day]) for day in days]), attrs

    return {
        "id": words("id"),
        "platform": words("platform"),
        "processing_baseline": words("baseline"),
        "cloud_cover": numbers("cloud_cover", _mean, units="percent", long_name="cloud cover of the whole tiles"),
        "sun_zenith": numbers("sun_zenith", _mean, units="degree"),
        "sun_azimuth": numbers("sun_azimuth", _mean_angle, units="degree"),
        "view_zenith": numbers("view_zenith", _mean, units="degree"),
        "view_azimuth": numbers("view_azimuth", _mean_angle, units="degree"),
        "boa_offset": numbers("boa_offset", _only, units="1", long_name="offset added to scaled digital numbers"),
    }


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _mean_angle(values: list[float]) -> float:
    """Mean direction in degrees: 359 and 1 make 0, not 180."""
    known = [math.radians(value) for value in values if not math.isnan(value)]
    if not known:
        return math.nan
    if len(known) == 1:
        return math.degrees(known[0]) % 360
    return math.degrees(math.atan2(sum(map(math.sin, known)), sum(map(math.cos, known)))) % 360


def _only(values: list[float]) -> float:
    return values[0] if len(set(values)) == 1 else math.nan

"""What a correction has to know of a scene: level, numbers, sensor, bands, fields; each refusal names the cure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._array_checks import check_not_empty
from s2koop._fill import masked
from s2koop._warn import warn_user
from s2koop.ac.lut import LIMITS
from s2koop.cube.harmonise import missing_pixels, to_reflectance
from s2koop.cube.quality import check_reflectance
from s2koop.cube.sensors import SENSORS, band_names
from s2koop.errors import InputError, ReflectanceWarning

#: Names of sensors that are built in.
SENSOR_NAMES = ("S2A", "S2B", "S2C", "PROBAV", "PROBAV1", "PROBAV2", "PROBAV3", "PVCC")
#: Reflectance of B10 over most of the Earth is some thousandths; above this, an offset of 0.1 is in it.
_CIRRUS_WITH_OFFSET = 0.09
_TITLES = {"TOA": "top-of-atmosphere", "BOA": "surface"}
#: Words for the limits of the table.
_UNITS = {
    "aot": " (optical thickness at 550 nm)",
    "water_vapour": " g/cm2 (kg/m2 divided by 10)",
    "ozone": " cm-atm (Dobson units divided by 1000)",
    "altitude": " m",
}
_PLATFORMS = {"sentinel-2a": "S2A", "sentinel-2b": "S2B", "sentinel-2c": "S2C", "proba-v": "PROBAV"}


class Scene(NamedTuple):
    """A scene that can be worked with.

    Attributes
    ----------
    values : DataArray, dims ([time], band, y, x)
        Floating point.
    bands : tuple of str
        The name of each band as its sensor has it.
    sensors : tuple
        One sensor per date, or one.
    """

    values: xr.DataArray
    bands: tuple[str, ...]
    sensors: tuple[Any, ...]


def check_scene(scene: Any, level: str, sensor: Any = None) -> Scene:
    """Refuse what cannot be corrected or simulated, before any pixel of a lazy scene is read.

    Parameters
    ----------
    scene : DataArray, dims ([time], band, y, x)
        Reflectance.
    level : {"TOA", "BOA"}
        What it has to be.
    sensor : str or mapping, optional
        As for `s2koop.ac.Table.coefficients`; by default what the scene says.

    Raises
    ------
    InputError
        If dims, level, numbers, sensor or bands do not fit.

    Warns
    -----
    ReflectanceWarning
        Values in memory look as if an offset was not taken off, or twice.
    """
    _check_dims(scene)
    _check_level(scene, level)
    values = _as_reflectance(scene)
    sensors = _sensors(scene, sensor)
    bands = scene_bands(scene, sensors[0])
    for other in sensors[1:]:
        if scene_bands(scene, other) != bands:
            raise InputError("the dates are of sensors whose bands differ; correct them one by one")
    _check_numbers(values, level, bands)
    return Scene(values, bands, sensors)


def _check_dims(scene: Any) -> None:
    if not isinstance(scene, xr.DataArray):
        raise InputError(
            f"expected a DataArray, found {type(scene).__name__}; a Dataset of bands becomes a cube by "
            ".to_array('band')"
        )
    lacking = [dim for dim in ("band", "y", "x") if dim not in scene.dims]
    strange = [dim for dim in scene.dims if dim not in ("time", "band", "y", "x")]
    if lacking or strange:
        raise InputError(
            f"the scene has dims {tuple(scene.dims)}; expected ('time', 'band', 'y', 'x') or ('band', 'y', 'x'): "
            "rename them, or keep a dim by selecting with a list, such as scene.sel(band=['B04'])"
        )
    check_not_empty(scene, "the scene")
    if "band" not in scene.coords:
        raise InputError("the scene has no coordinate 'band'; every band needs its name: scene.assign_coords(band=...)")


def _check_level(scene: xr.DataArray, level: str) -> None:
    found = str(scene.attrs.get("level", level)).upper()
    known = {"L1C": "TOA", "L2A": "BOA"}
    if known.get(found, found) == level:
        return
    other = "ac.simulate takes it to the top of the atmosphere" if level == "TOA" else "ac.invert corrects it"
    raise InputError(
        f"attrs['level'] is {scene.attrs['level']!r}, but this needs {_TITLES[level]} reflectance ({level}); {other}. "
        f"If the attribute is wrong, say scene.assign_attrs(level={level!r})"
    )


def _as_reflectance(scene: xr.DataArray) -> xr.DataArray:
    """A floating point scene without fill values; whole numbers by the scale and offset in their attributes, if any.

    Half precision becomes single: it would err by as much as a correction corrects.
    """
    if np.issubdtype(scene.dtype, np.floating):
        return masked(scene)
    scale = scene.attrs.get("scale_factor")
    if scale is None or not np.issubdtype(scene.dtype, np.integer):
        raise InputError(
            f"the scene has dtype {scene.dtype} and no attrs['scale_factor'], so its reflectance would be a guess: "
            "s2koop.load scales it as its metadata say; or say scene.assign_attrs(scale_factor=1e-4, add_offset=-0.1) "
            "(the offset is -0.1 from processing baseline 04.00 on, and 0 before)"
        )
    offset = float(scene.attrs.get("add_offset", 0.0))
    used = xr.apply_ufunc(_scaled, scene, kwargs={"scale": float(scale), "offset": offset}, dask="parallelized",
                          output_dtypes=[np.float32])  # fmt: skip
    used.attrs = {name: value for name, value in scene.attrs.items() if name not in ("scale_factor", "add_offset")}
    return used


def _scaled(values: npt.NDArray[Any], scale: float, offset: float) -> npt.NDArray[np.float32]:
    found = to_reflectance(values, scale, offset)
    found[missing_pixels(values)] = np.nan
    return found


def _sensors(scene: xr.DataArray, sensor: Any) -> tuple[Any, ...]:
    """One sensor for all dates, or one per date where the platforms of the cube differ."""
    if sensor is not None:
        if isinstance(sensor, str):
            return (_known(sensor),)
        if not isinstance(sensor, Mapping):
            raise InputError(
                f"sensor is a {type(sensor).__name__}; expected one of {', '.join(SENSOR_NAMES)} or a mapping from "
                "band to (wavelengths in nm, response)"
            )
        return (sensor,)
    named = str(scene.attrs.get("sensor", ""))
    if named in SENSOR_NAMES:
        return (named,)
    if "platform" in scene.coords:
        texts = [str(text).lower() for text in np.atleast_1d(scene["platform"].values)]
        unknown = sorted({text for text in texts if text not in _PLATFORMS})
        if not unknown:
            found = tuple(_PLATFORMS[text] for text in texts)
            return found[:1] if len(set(found)) == 1 else found
        named = ", ".join(map(repr, unknown))
    raise InputError(
        f"the scene does not say which sensor it is of (found {named or 'nothing'}); say sensor='S2A', or another of "
        f"{', '.join(SENSOR_NAMES)}, or a mapping from band to (wavelengths in nm, response)"
    )


def _known(sensor: str) -> str:
    if sensor not in SENSOR_NAMES:
        raise InputError(
            f"sensor={sensor!r} is unknown; choose one of {', '.join(SENSOR_NAMES)}, or give a mapping from band to "
            "(wavelengths in nm, response)"
        )
    return sensor


def scene_bands(scene: xr.DataArray, sensor: Any) -> tuple[str, ...]:
    """The names of a scene's bands as its sensor has them, each once; `InputError` where it has no such band."""
    labels = [str(band) for band in np.atleast_1d(scene["band"].values)]
    if isinstance(sensor, str) and sensor.startswith("S2"):
        try:
            names = band_names(labels, available=SENSORS[sensor].bands)
        except InputError as error:
            raise InputError(f"the bands {labels} are not all of {sensor}: {error}") from error
        return tuple(names)
    table = _other_names(sensor)
    unknown = [label for label in labels if label.lower() not in table]
    if unknown:
        raise InputError(
            f"the scene has {', '.join(unknown)}, which {_name_of(sensor)} has not; its bands are "
            f"{', '.join(dict.fromkeys(table.values()))}: rename or drop bands, or name another sensor"
        )
    names = [table[label.lower()] for label in labels]
    if len(set(names)) < len(names):
        raise InputError(f"the bands {labels} repeat; every band may stand once")
    return tuple(names)


def _other_names(sensor: Any) -> dict[str, str]:
    """Every spelling of a band, lower case, of PROBA-V or of a sensor of one's own."""
    if not isinstance(sensor, str):
        return {str(name).lower(): name for name in sensor}
    bands = SENSORS["PROBAV"].bands.values()
    return {spelling.lower(): band.name for band in bands for spelling in (band.name, band.common_name)}


def _name_of(sensor: Any) -> str:
    return sensor if isinstance(sensor, str) else "the given sensor"


def sensor_title(sensors: Iterable[Any]) -> str:
    """The names of sensors for attributes."""
    return "+".join(sorted({s if isinstance(s, str) else "custom" for s in sensors}))


def _check_numbers(values: xr.DataArray, level: str, bands: Sequence[str]) -> None:
    """Refuse digital numbers in memory, and warn where an offset seems to be left in or taken off twice."""
    if values.chunks is not None:
        return
    steps = {dim: slice(None, None, 1 + values.sizes[dim] // 128) for dim in ("y", "x")}
    few = values.isel(steps)
    seen = few.values[np.isfinite(few.values)]
    if seen.size and np.median(seen) > 2:
        raise InputError(
            f"the median of the scene is {np.median(seen):.4g}; expected reflectance in 0..1: divide digital numbers "
            "by 10000 and mind the offset (s2koop.load does both right)"
        )
    if level != "TOA":
        return
    named = few.assign_coords(band=list(bands))
    cirrus = named.isel(band=[band == "B10" for band in bands]).values
    cirrus = cirrus[np.isfinite(cirrus)]
    if cirrus.size and np.median(cirrus) > _CIRRUS_WITH_OFFSET:
        warn_user(
            ReflectanceWarning(
                f"the median of B10 is {np.median(cirrus):.3f}, where some thousandths are usual: the offset of "
                "processing baseline 04.00 (-0.1) was probably not added"
            )
        )
    if {"B02", "B04", "BLUE", "RED"} & set(bands):
        check_reflectance(named if "time" in named.dims else named.expand_dims("time"))


def as_field(name: str, value: Any, scene: xr.DataArray) -> xr.DataArray:
    """A quantity over a scene, from a number, a number per date, or an array over time, y and x in any combination.

    Parameters
    ----------
    name : str
        For messages.
    value : float, sequence (time,), or DataArray of dims among (time, y, x)
        A DataArray on the pixels of the scene is taken as it is, lazily; one on another grid of the same coordinates
        is interpolated linearly, and has to cover the scene.
    scene : DataArray, dims ([time], band, y, x)

    Returns
    -------
    DataArray, dims among (time, y, x), float64, without coordinates

    Raises
    ------
    InputError
        If it does not fit the scene.
    """
    if isinstance(value, xr.DataArray):
        field = _of_array(name, value, scene)
    else:
        field = _of_numbers(name, value, scene)
    if not np.issubdtype(field.dtype, np.number):
        raise InputError(f"{name} has dtype {field.dtype}; expected numbers")
    return field.astype(np.float64)


def _of_numbers(name: str, value: Any, scene: xr.DataArray) -> xr.DataArray:
    numbers = np.asarray(value)
    if numbers.ndim == 0:
        return xr.DataArray(numbers)
    if numbers.ndim == 1 and "time" in scene.dims and len(numbers) == scene.sizes["time"]:
        return xr.DataArray(numbers, dims="time")
    if numbers.ndim == 2 and numbers.shape == (scene.sizes["y"], scene.sizes["x"]):
        return xr.DataArray(numbers, dims=("y", "x"))
    raise InputError(
        f"{name} has shape {numbers.shape}, the scene {dict(scene.sizes)}; give a number, one per date, or a DataArray "
        "with dims among ('time', 'y', 'x')"
    )


def _of_array(name: str, value: xr.DataArray, scene: xr.DataArray) -> xr.DataArray:
    strange = [dim for dim in value.dims if dim not in ("time", "y", "x") or dim not in scene.dims]
    if strange:
        raise InputError(f"{name} has the dim {strange[0]!r}; expected some of ('time', 'y', 'x') that the scene has")
    if "time" in value.dims:
        value = _on_dates(name, value, scene)
    if "y" in value.dims or "x" in value.dims:
        return _on_pixels(name, value, scene)
    return _bare(value).compute()


def _on_dates(name: str, value: xr.DataArray, scene: xr.DataArray) -> xr.DataArray:
    if "time" in value.coords and "time" in scene.coords:
        position = value.indexes["time"].drop_duplicates().get_indexer(scene.indexes["time"])
        if (position < 0).any():
            lacking = scene["time"].values[position < 0]
            raise InputError(
                f"{name} has no value for {len(lacking)} dates of the scene, such as {str(lacking[0])[:16]}"
            )
        return value.isel(time=position)
    if value.sizes["time"] != scene.sizes["time"]:
        raise InputError(f"{name} has {value.sizes['time']} dates, the scene {scene.sizes['time']}")
    return value


def _on_pixels(name: str, value: xr.DataArray, scene: xr.DataArray) -> xr.DataArray:
    if not {"y", "x"} <= set(value.dims):
        raise InputError(f"{name} has dims {tuple(value.dims)}; a map needs both y and x")
    same = all(
        value.sizes[dim] == scene.sizes[dim]
        and (dim not in value.coords or dim not in scene.coords or _close(value[dim].values, scene[dim].values))
        for dim in ("y", "x")
    )
    if not same:
        check_crs(name, value, scene)
        return on_scene(name, value, scene)
    field = _bare(value)
    if scene.chunks is not None:
        field = field.chunk({dim: scene.chunksizes[dim] for dim in field.dims})
    return field


def check_crs(name: str, value: Any, scene: xr.DataArray) -> None:
    """Refuse maps in another CRS than the scene."""
    if "spatial_ref" in value.coords and "spatial_ref" in scene.coords:
        import rioxarray  # noqa: F401  registers .rio

        if value.rio.crs != scene.rio.crs:
            raise InputError(
                f"{name} is in {value.rio.crs}, the scene in {scene.rio.crs}; bring one to the other first: "
                f"{name}.rio.reproject(scene.rio.crs), or s2koop.load(..., crs='{value.rio.crs}')"
            )


def on_scene(name: str, value: xr.DataArray, scene: xr.DataArray) -> xr.DataArray:
    """A map on another grid, interpolated linearly to the pixels of a scene, block by block where that is lazy."""
    for dim in ("y", "x"):
        if dim not in value.coords or dim not in scene.coords:
            raise InputError(f"{name} is no map on the scene's pixels, so both need the coordinate {dim!r}")
    rows, columns = (_places(name, dim, value[dim].values, scene) for dim in ("y", "x"))
    grid = _bare(value).transpose(..., "y", "x").compute().astype(np.float64)
    if scene.chunks is None:
        return xr.DataArray(bilinear(grid.values, rows, columns), dims=grid.dims)
    chunks = tuple(scene.chunksizes[dim] for dim in grid.dims)
    lazy = da.map_blocks(  # out of nothing, so that dask makes a block where it is used and not before
        _block_of_map, grid=grid.values, rows=rows, columns=columns, chunks=chunks, dtype=np.float64,
        meta=np.empty((0,) * grid.ndim),
    )  # fmt: skip
    return xr.DataArray(lazy, dims=grid.dims)


def _block_of_map(
    grid: npt.NDArray[np.float64], rows: npt.NDArray[Any], columns: npt.NDArray[Any], block_info: Any = None
) -> npt.NDArray[np.float64]:
    *date, y, x = (slice(*ends) for ends in block_info[None]["array-location"])
    return bilinear(grid[tuple(date)], rows[y], columns[x])


def _places(name: str, dim: str, nodes: npt.NDArray[Any], scene: xr.DataArray) -> npt.NDArray[Any]:
    """Where the pixels of a scene lie between the nodes of a map, counted from its first node."""
    if len(nodes) < 2:
        raise InputError(f"{name} has one value along {dim}; a map needs two at least, or leave that dim out")
    own = scene[dim].values.astype(np.float64)
    order = np.argsort(nodes)
    step = np.abs(np.diff(nodes)).max()
    if own.min() < nodes.min() - step / 2 or own.max() > nodes.max() + step / 2:
        raise InputError(
            f"{name} covers {dim} from {nodes.min():g} to {nodes.max():g}, the scene reaches from {own.min():g} to "
            f"{own.max():g}; give a map that covers it"
        )
    return np.interp(own, nodes[order], np.arange(len(nodes))[order].astype(float))


def bilinear(
    grid: npt.NDArray[np.float64], rows: npt.NDArray[Any], columns: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Values of `grid` (..., y, x) at places (row,) and (column,); a neighbour of no weight may be missing."""
    top, left = (
        np.minimum(np.floor(place).astype(int), size - 2)
        for place, size in zip((rows, columns), grid.shape[-2:], strict=True)
    )
    down, right = rows - top, columns - left
    out = np.zeros((*grid.shape[:-2], len(rows), len(columns)))
    for step_y, share_y in ((0, 1 - down), (1, down)):
        for step_x, share_x in ((0, 1 - right), (1, right)):
            weight = share_y[:, None] * share_x
            out += np.where(weight > 0, weight * grid[..., (top + step_y)[:, None], left + step_x], 0)
    return out


def _bare(value: xr.DataArray) -> xr.DataArray:
    return value.drop_vars(list(value.coords)).drop_attrs()


def _close(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> bool:
    step = np.abs(np.diff(ours)).min() if len(ours) > 1 else 1.0
    return bool(np.abs(ours - theirs).max() <= 1e-3 * step)


def check_range(name: str, field: xr.DataArray) -> None:
    """Refuse numbers for a whole scene that the table cannot answer; single dates and pixels are flagged instead."""
    if field.chunks is not None or field.ndim:
        return
    low, high = LIMITS[name]
    value = float(field)
    if not low <= value <= high:
        raise InputError(
            f"{name}={value:g} is outside of the table, which covers {low:g} to {high:g}"
            + _UNITS.get(name, "")
            + ("; aerosol as thick as that hides the surface" if name == "aot" and value > high else "")
        )

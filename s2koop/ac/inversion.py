"""From the top of the atmosphere to the surface and back, with spread and flags: xarray in, xarray out, lazily.

One kernel does both on a block of any shape. Where the state of the atmosphere does not vary over the scene, three
numbers per band and date are all there is; where it does, `s2koop.ac.states` interpolates them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._version import __version__
from s2koop.ac.adjacency import check_distance, depths, scattered_share, surroundings
from s2koop.ac.angles import scene_geometry
from s2koop.ac.flags import CIRRUS, FLAGS, SATURATED, STEEP, SUN_LOW, flag_attrs
from s2koop.ac.inputs import Scene, as_field, check_range, check_scene, sensor_title
from s2koop.ac.lut import LIMITS, Atmosphere, Table
from s2koop.ac.smac import SmacCoefficients, read_smac
from s2koop.ac.states import LookUp, Method, Smac, interpolated, numbers
from s2koop.ac.transfer import Coefficients, d_boa_d_coefficients, d_boa_d_toa, to_boa, to_toa
from s2koop.errors import InputError

Array = npt.NDArray[Any]

METHODS = ("lut", "smac")
#: What is taken where nothing is given: medians over land, and one standard deviation of aerosol and water vapour.
CLIMATOLOGY: Mapping[str, float] = {"aot": 0.13, "water_vapour": 1.6, "ozone": 0.32, "altitude": 0.0}
_CLIMATOLOGY_ERROR: Mapping[str, float] = {"aot": 0.13, "water_vapour": 1.0}
#: Errors of a given aerosol and water vapour, constant and relative: what is required of Sentinel-2's products.
_ERROR: Mapping[str, tuple[float, float]] = {"aot": (0.03, 0.1), "water_vapour": (0.2, 0.1)}
#: Bands through which the surface is not seen.
_NO_SURFACE = ("B10",)
#: Pixels worked on at once: with all bands they stay in a processor's cache.
_PIXELS = 8192


@dataclass(frozen=True, kw_only=True)
class Air:
    """The atmosphere over a scene, as `invert` and `simulate` take it; see there."""

    method: str = "lut"
    aot: Any = None
    water_vapour: Any = None
    ozone: Any = None
    altitude: Any = None
    aerosol: str = "continental"
    angles: Any = None
    sensor: Any = None
    adjacency: float | None = None
    smac_coefficients: Any = None
    table: Table | None = None

    def solver(self) -> Method:
        """What gives the three numbers."""
        if self.method not in METHODS:
            raise InputError(f"method={self.method!r} is unknown; choose one of {METHODS}")
        if self.smac_coefficients is not None and self.method != "smac":
            raise InputError("smac_coefficients are for method='smac'")
        if self.adjacency is not None:
            check_distance(self.adjacency)
        lookup = LookUp(self.aerosol, self.table)
        return lookup if self.method == "lut" else Smac(self.aerosol, self.table, _smac(self.smac_coefficients))


class _Plan(NamedTuple):
    """What a block needs to know beside its numbers."""

    method: Method
    sensors: tuple[Any, ...]
    bands: tuple[str, ...]
    keep: tuple[int, ...]
    cirrus: int | None
    varying: tuple[str, ...]
    names: tuple[str, ...]
    by: tuple[str, ...]
    noise: Array | None
    shot: bool
    spread: bool
    depths: Array | None


def invert(
    scene: xr.DataArray,
    air: Air,
    *,
    aot_error: Any = None,
    water_vapour_error: Any = None,
    noise: Any = 1.0,
    slope: Any = None,
    spread: bool = True,
) -> xr.Dataset:
    """Correct a scene; parameters as `s2koop.ac.accessor.AtmosphereAccessor.invert`."""
    method = air.solver()
    checked = check_scene(scene, "TOA", air.sensor)
    fields, plan = _plan(checked, air, method, drop=_NO_SURFACE)
    tested = {"cirrus": plan.cirrus is not None, "steep_terrain": slope is not None}
    if slope is not None:
        fields["slope"] = as_field("slope", slope, checked.values)
    if spread:
        errors = {"aot": aot_error, "water_vapour": water_vapour_error}
        for name, error in errors.items():
            fields[f"{name}_error"] = _error(name, error, fields[name], getattr(air, name), checked.values)
        by = tuple(name for name in errors if not _is_zero(fields[f"{name}_error"]))
        variance, shot = _noise(noise, plan)
        plan = plan._replace(by=by, noise=variance, shot=shot, spread=True)
    around = None
    if air.adjacency is not None:
        alone = invert(scene, replace(air, adjacency=None), spread=False)["mean"]
        around = surroundings(alone, float(air.adjacency))
    out = _apply(_invert_block, checked, fields, plan, around, values=2 if spread else 1, flags=True)
    mean, flags = out[0], out[-1]
    result = {"mean": _surface(mean, checked)}
    if spread:
        result["spread"] = out[1].assign_attrs(
            long_name="standard deviation of the surface reflectance (sensor noise, aerosol, water vapour)", units="1"
        )
    result["flags"] = flags.assign_attrs(flag_attrs([name for name, done in tested.items() if not done]))
    return xr.Dataset(result).assign_attrs(_provenance(checked, air))


def simulate(scene: xr.DataArray, air: Air) -> xr.DataArray:
    """A scene as seen from space; parameters as `s2koop.ac.accessor.AtmosphereAccessor.simulate`."""
    method = air.solver()
    checked = check_scene(scene, "BOA", air.sensor)
    fields, plan = _plan(checked, air, method)
    around = None if air.adjacency is None else surroundings(checked.values, float(air.adjacency))
    (toa,) = _apply(_simulate_block, checked, fields, plan, around, values=1, flags=False)
    attrs = {**_kept(checked), "level": "TOA", "long_name": "top-of-atmosphere reflectance"}
    return toa.assign_attrs({**attrs, **_provenance(checked, air)}).rename("reflectance")


def _plan(scene: Scene, air: Air, method: Method, drop: Sequence[str] = ()) -> tuple[dict[str, xr.DataArray], _Plan]:
    """The state of the atmosphere over the scene, and what a block needs to know; all checks are here."""
    keep = tuple(at for at, band in enumerate(scene.bands) if band not in drop)
    if not keep:
        raise InputError(f"the scene has only {', '.join(scene.bands)}, through which the surface is not seen")
    geometry = scene_geometry(scene.values, air.angles)
    given = {name: getattr(air, name) for name in CLIMATOLOGY}
    state = {
        name: as_field(name, CLIMATOLOGY[name] if value is None else value, scene.values)
        for name, value in given.items()
    }
    for name, field in state.items():
        check_range(name, field)
    state |= {"sza": geometry.sza, "vza": geometry.vza, "raa": geometry.raa}
    state = {name: state[name] for name in Atmosphere._fields}
    distinct = list({_key(sensor): sensor for sensor in scene.sensors}.values())
    keys = [_key(sensor) for sensor in distinct]
    codes = np.array([keys.index(_key(sensor)) for sensor in scene.sensors])
    fields = state | {
        "sensor": xr.DataArray(codes, dims="time") if len(codes) > 1 else xr.DataArray(codes[0]),
        "assumed": geometry.assumed,
    }
    bands = tuple(scene.bands[at] for at in keep)
    plan = _Plan(
        method=method, sensors=tuple(distinct), bands=bands, keep=keep,
        cirrus=scene.bands.index("B10") if "B10" in scene.bands else None,
        varying=tuple(name for name, field in state.items() if "y" in field.dims), names=(), by=(), noise=None,
        shot=False, spread=False,
        depths=None if air.adjacency is None else np.stack(
            [depths(air.table or Table.load(), sensor, bands, air.aerosol) for sensor in distinct]
        ),
    )  # fmt: skip
    for sensor in distinct:  # an unknown band or a malformed response is told before any pixel is read
        numbers(method, sensor, Atmosphere(*(np.array([v]) for v in (0.1, 1.0, 0.3, 30.0, 5.0, 90.0, 0.0))), bands, ())
    return fields, plan


def _key(sensor: Any) -> Any:
    return sensor if isinstance(sensor, str) else id(sensor)


def _error(name: str, error: Any, field: xr.DataArray, given: Any, scene: xr.DataArray) -> xr.DataArray:
    """The standard deviation of a quantity: as given, as products have it, or as the climate has it."""
    if error is not None:
        found = as_field(f"{name}_error", error, scene)
        if found.chunks is None and found.ndim < 2 and not bool((found >= 0).all()):
            raise InputError(f"{name}_error={error!r} must be a standard deviation: 0 or more")
        return found
    if given is None:
        return xr.DataArray(_CLIMATOLOGY_ERROR[name])
    constant, relative = _ERROR[name]
    return constant + relative * field


def _is_zero(field: xr.DataArray) -> bool:
    return field.ndim == 0 and field.chunks is None and float(field) == 0


def _noise(noise: Any, plan: _Plan) -> tuple[Array | None, bool]:
    """Variance of the sensor's noise (sensor, band), and whether it grows with the signal."""
    if isinstance(noise, Mapping):
        lacking = [band for band in plan.bands if band not in noise]
        if lacking:
            raise InputError(f"noise holds no standard deviation for {', '.join(lacking)}")
        row = np.array([float(noise[band]) for band in plan.bands])
        return np.tile(row**2, (len(plan.sensors), 1)), False
    if not np.isscalar(noise) or isinstance(noise, str | bool) or not 0 <= float(noise) < np.inf:  # type: ignore[arg-type]
        raise InputError(
            f"noise={noise!r} must be a number (times what is specified of the sensor; 0 for none) or a mapping from "
            "band to a standard deviation of reflectance"
        )
    if float(noise) == 0:  # type: ignore[arg-type]
        return None, False
    if not all(isinstance(sensor, str) for sensor in plan.sensors):
        raise InputError(
            "the noise of the given sensor is unknown; say noise=0, or a mapping from band to its deviation"
        )
    from s2koop.simulate.toa import sensor_noise

    rows = np.stack([sensor_noise(sensor, plan.bands, 0.0) for sensor in plan.sensors]).astype(np.float64)
    return (float(noise) * rows) ** 2, True  # type: ignore[arg-type]


def _smac(given: Any) -> SmacCoefficients | Mapping[str, SmacCoefficients] | None:
    """Coefficients of a user: a file of the published layout, what `read_smac` gives, or either for each band."""
    if given is None or isinstance(given, SmacCoefficients):
        return given
    if isinstance(given, str | Path):
        if not Path(given).is_file():
            raise InputError(f"smac_coefficients: there is no file {given}")
        return read_smac(given)
    if isinstance(given, Mapping):
        return {str(band): _smac(value) for band, value in given.items()}  # type: ignore[misc]
    raise InputError(
        f"smac_coefficients is a {type(given).__name__}; expected a path, what s2koop.ac.read_smac gives, or a mapping "
        "from band to one of these"
    )


def _apply(
    block: Callable[..., Any],
    scene: Scene,
    fields: Mapping[str, xr.DataArray],
    plan: _Plan,
    around: xr.DataArray | None,
    *,
    values: int,
    flags: bool,
) -> list[xr.DataArray]:
    """Run a kernel over a scene: a block holds all bands, and any part of dates and pixels.

    It gives so many arrays of values with bands, and then perhaps flags without.
    """
    ordered = scene.values.transpose(..., "band", "y", "x")
    if ordered.chunks is not None:
        ordered = ordered.chunk({"band": -1})
    neighbours = [] if around is None else [_kept_bands(around, ordered)]
    has_band = [True] * values + [False] * flags
    results = xr.apply_ufunc(
        block,
        ordered,
        *fields.values(),
        *neighbours,
        input_core_dims=[["band"], *([] for _ in fields), *(["kept"] for _ in neighbours)],
        output_core_dims=[["band"] if has else [] for has in has_band],
        exclude_dims={"band"},
        dask="parallelized",
        keep_attrs=False,
        output_dtypes=[scene.values.dtype if has else np.uint16 for has in has_band],
        dask_gufunc_kwargs={"output_sizes": {"band": len(plan.keep)}},
        kwargs={"plan": plan._replace(names=tuple(fields))},
    )
    results = list(results) if isinstance(results, tuple) else [results]
    template = scene.values.isel(band=list(plan.keep))
    of_band = {name: coord for name, coord in template.coords.items() if "band" in coord.dims}
    return [
        (result.assign_coords(of_band) if has else result).transpose(
            *(d for d in scene.values.dims if d in result.dims)
        )
        for result, has in zip(results, has_band, strict=True)
    ]


def _kept_bands(around: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Surroundings in the order and the chunks of a scene; their bands may be fewer, so they get another name."""
    ordered = around.transpose(..., "band", "y", "x").drop_vars(list(around.coords)).rename(band="kept")
    if ordered.chunks is None:
        return ordered
    return ordered.chunk({"kept": -1, **{dim: like.chunksizes[dim] for dim in like.dims if dim != "band"}})


class _Part(NamedTuple):
    """Some pixels of one date: all their bands (band, pixel), their numbers, and their fields ((pixel,) or numbers)."""

    values: Array
    around: Array | None
    numbers: Array
    fields: Mapping[str, Array]
    date: int
    pixels: slice


def _parts(cube: Array, around: Array | None, fields: Mapping[str, Array], plan: _Plan) -> Iterator[_Part]:
    """Go through a block (time, band, y, x) in parts that fit into a cache."""
    dates, bands = cube.shape[:2]
    solutions = _solved(fields, plan)
    for date in range(dates):
        pixels = cube[date].reshape(bands, -1)
        flat = {
            name: field[date].reshape(-1) if field[date].strides != (0, 0) else field[date, :1, 0]
            for name, field in fields.items()
        }
        at = solutions(date)
        for start in range(0, pixels.shape[1], _PIXELS):
            part = slice(start, start + _PIXELS)
            here = {name: field if len(field) == 1 else field[part] for name, field in flat.items()}
            near = None if around is None else around[date].reshape(len(plan.keep), -1)[:, part]
            yield _Part(pixels[:, part], near, at(part).astype(cube.dtype), here, date, part)


def _solved(fields: Mapping[str, Array], plan: _Plan) -> Callable[[int], Callable[[slice], Array]]:
    """From a date to a function from pixels to numbers (number, band, pixel)."""
    state = {name: fields[name] for name in Atmosphere._fields}
    code = fields["sensor"][:, 0, 0].astype(int)

    def solve(which: int, **values: Array) -> Array:
        return numbers(plan.method, plan.sensors[which], Atmosphere(**values), plan.bands, plan.by)

    if not plan.varying:
        table = np.empty((len(code), 3 + 3 * len(plan.by), len(plan.bands)))
        for which in np.unique(code):
            rows = code == which
            table[rows] = solve(which, **{name: _within(name, field[rows, 0, 0]) for name, field in state.items()})
        for field in state.values():
            table[np.isnan(field[:, 0, 0])] = np.nan
        return lambda date: lambda part: table[date][:, :, None]

    def of_date(date: int) -> Callable[[slice], Array]:
        varying = {name: state[name][date].ravel() for name in plan.varying}
        fixed = {name: _within(name, field[date, :1, 0]) for name, field in state.items() if name not in varying}
        missing = np.any([np.isnan(field) for field in varying.values()], axis=0)
        missing |= any(np.isnan(state[name][date, 0, 0]) for name in fixed)
        if missing.all():
            shape = (3 + 3 * len(plan.by), len(plan.bands), 1)
            return lambda part: np.full(shape, np.nan)

        def solve_states(values: Mapping[str, Array]) -> Array:
            count = len(next(iter(values.values())))
            spread_out = {name: np.full(count, value[0]) for name, value in fixed.items()}
            return solve(int(code[date]), **{**spread_out, **{n: _within(n, v) for n, v in values.items()}})

        at = interpolated({name: _within(name, values) for name, values in varying.items()}, solve_states)

        def masked(part: slice) -> Array:
            found = at(part)
            found[:, :, missing[part]] = np.nan
            return found

        return masked

    return of_date


def _within(name: str, values: Array) -> Array:
    """Values at the limits of the table where they lie beyond it; what is missing at the lower one."""
    low, high = LIMITS[name]
    return np.clip(np.nan_to_num(values, nan=max(low, 0.0)), low, high).astype(np.float64)


def _as_block(values: Array, given: Sequence[Array], plan: _Plan) -> tuple[Array, Array | None, dict[str, Array]]:
    """A block and its surroundings as (time, band, y, x), its fields as (time, y, x), from what apply_ufunc gives."""
    shape = values.shape[:-1] if values.ndim == 4 else (1, *values.shape[:-1])
    fields, rest = given[: len(plan.names)], given[len(plan.names) :]
    cube, *around = (np.moveaxis(each.reshape(*shape, each.shape[-1]), -1, 1) for each in (values, *rest))
    named = {name: np.broadcast_to(field, shape) for name, field in zip(plan.names, fields, strict=True)}
    return cube, around[0] if around else None, named


def _invert_block(values: Array, *fields: Array, plan: _Plan) -> tuple[Array, ...]:
    cube, around, named = _as_block(values, fields, plan)
    dates, _, rows, columns = cube.shape
    mean = np.empty((dates, len(plan.keep), rows * columns), cube.dtype)
    spread = np.empty_like(mean) if plan.spread else None
    flags = np.empty((dates, rows * columns), np.uint16)
    keep = slice(None) if len(plan.keep) == cube.shape[1] else list(plan.keep)
    with np.errstate(invalid="ignore", divide="ignore"):
        for part in _parts(cube, around, named, plan):
            toa, c = part.values[keep], Coefficients(*part.numbers[:3])
            boa = to_boa(toa, c) if part.around is None else _lit_by_neighbours(toa, c, part, plan)
            mean[part.date][:, part.pixels] = boa
            flags[part.date][part.pixels] = _flags(part, boa, plan)
            if spread is not None:
                spread[part.date][:, part.pixels] = np.sqrt(_variance(toa, c, part, plan))
    shape = (*values.shape[:-3], -1, rows, columns)
    out = [np.moveaxis(each.reshape(shape), -3, -1) for each in (mean, spread) if each is not None]
    return (*out, flags.reshape(values.shape[:-1]))


def _simulate_block(values: Array, *fields: Array, plan: _Plan) -> Array:
    cube, around, named = _as_block(values, fields, plan)
    dates, bands, rows, columns = cube.shape
    toa = np.empty((dates, bands, rows * columns), cube.dtype)
    for part in _parts(cube, around, named, plan):
        c = Coefficients(*part.numbers)
        if part.around is None:
            toa[part.date][:, part.pixels] = to_toa(part.values, c)
        else:
            share = _share(part, plan)
            light = (1 - share) * part.values + share * part.around
            toa[part.date][:, part.pixels] = c.path + c.gain * light / (1 - c.albedo * part.around)
    return np.moveaxis(toa.reshape(*values.shape[:-3], bands, rows, columns), -3, -1)


def _share(part: _Part, plan: _Plan) -> Array:
    """Share (band, pixel) of the light from the ground that neighbours sent."""
    fields = part.fields
    assert plan.depths is not None
    depth = plan.depths[int(fields["sensor"][0])]
    return scattered_share(depth, fields["aot"], fields["altitude"], fields["vza"]).astype(part.values.dtype)


def _lit_by_neighbours(toa: Array, c: Coefficients, part: _Part, plan: _Plan) -> Array:
    """Surface reflectance where the surroundings send their share of the scattered light."""
    share = _share(part, plan)
    light = (toa - c.path) / c.gain * (1 - c.albedo * part.around)
    return (light - share * part.around) / (1 - share)


def _variance(toa: Array, c: Coefficients, part: _Part, plan: _Plan) -> Array:
    """Variance of the surface reflectance: errors of sensor, aerosol and water vapour are taken as independent."""
    by_toa = d_boa_d_toa(toa, c)
    variance = np.zeros_like(toa)
    if plan.noise is not None:
        factor = plan.noise[int(part.fields["sensor"][0])].astype(toa.dtype)[:, None]
        variance += factor * by_toa**2
        if plan.shot:
            sun = np.cos(np.radians(np.minimum(part.fields["sza"], 89.0))).astype(toa.dtype)
            variance *= np.maximum(toa, 0) / sun
    by = d_boa_d_coefficients(toa, c)
    for at, name in enumerate(plan.by):
        path, gain, albedo = part.numbers[3 * at + 3 : 3 * at + 6]
        error = part.fields[f"{name}_error"].astype(toa.dtype)
        variance += ((by.path * path + by.gain * gain + by.albedo * albedo) * error) ** 2
    return variance if part.around is None else variance / (1 - _share(part, plan)) ** 2


def _flags(part: _Part, boa: Array, plan: _Plan) -> Array:
    """The bits of some pixels."""
    fields = part.fields
    bits = np.zeros(part.values.shape[1], np.uint16)
    outside = np.zeros(1, bool)
    for name in Atmosphere._fields:
        low, high = LIMITS[name]
        outside = outside | ~((fields[name] >= low) & (fields[name] <= high))
    found = {
        "saturated": (part.values > SATURATED).any(axis=0),
        "negative_reflectance": (boa < 0).any(axis=0),
        "outside_table": outside,
        "sun_low": fields["sza"] > SUN_LOW,
        "view_assumed": fields["assumed"],
    }
    if plan.cirrus is not None:
        found["cirrus"] = part.values[plan.cirrus] > CIRRUS
    if "slope" in fields:
        found["steep_terrain"] = fields["slope"] > STEEP
    for name, where in found.items():
        bits |= np.where(where, np.uint16(FLAGS[name]), np.uint16(0))
    return bits


def _surface(mean: xr.DataArray, scene: Scene) -> xr.DataArray:
    return mean.assign_attrs({**_kept(scene), "level": "BOA", "long_name": "surface reflectance"})


def _kept(scene: Scene) -> dict[str, Any]:
    """The attributes of a scene that stay true, and its sensor by the name that the next step knows."""
    title = sensor_title(scene.sensors)
    named = {} if "+" in title or title == "custom" else {"sensor": title}
    return {**scene.values.attrs, "units": "1", **named}


def _provenance(scene: Scene, air: Air) -> dict[str, str]:
    """What a result has to say of how it was made."""
    assumed = [name for name, value in CLIMATOLOGY.items() if getattr(air, name) is None]
    attrs = {
        "ac_method": air.method,
        "ac_sensor": sensor_title(scene.sensors),
        "aerosol_model": air.aerosol,
        "ac_adjacency": "none" if air.adjacency is None else f"{float(air.adjacency):g} m",
        "s2koop_version": __version__,
        "ac_climatology": " ".join(f"{name}={CLIMATOLOGY[name]:g}" for name in assumed) or "none",
    }
    if air.smac_coefficients is None:
        attrs["ac_table_sha256"] = table_digest(air.table or Table.load())
    if "processing_baseline" in scene.values.coords:
        found = np.unique(scene.values["processing_baseline"].values.astype(str))
        attrs["processing_baseline"] = " ".join(found)
    return attrs


@cache
def table_digest(table: Table) -> str:
    """SHA-256 of what a table holds."""
    digest = hashlib.sha256()
    for name in sorted(table.tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(table.tensors[name].numpy()).tobytes())
    return digest.hexdigest()

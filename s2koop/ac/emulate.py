"""Emulated atmospheric correction of a cube: the scene is looked at once, and then corrected tile by tile.

A lattice of pixels all over the scene gives a small table, one row per date: the atmosphere, its three numbers per band
with their covariance, and what a network remembers of the scene. Tiles only need their pixels, a margin as wide as the
network sees, and that row, so results do not depend on how the scene is cut, and memory not on its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._version import __version__
from s2koop.ac.adjacency import check_distance, surroundings, without_neighbours
from s2koop.ac.angles import scene_geometry
from s2koop.ac.emulator import KINDS, AcModel, load, shipped
from s2koop.ac.features import OZONE
from s2koop.ac.flags import CIRRUS, FLAGS, SATURATED, SUN_LOW, flag_attrs
from s2koop.ac.inputs import Scene, as_field, check_range, check_scene, sensor_title
from s2koop.ac.lut import AEROSOLS, LIMITS, Atmosphere, Table
from s2koop.ac.networks import LOCAL
from s2koop.ac.retrieval import Posterior, air_under, invert, share_under
from s2koop.ac.sensors import pixel_size
from s2koop.ac.transfer import Coefficients
from s2koop.engine import ModelReference, in_worker
from s2koop.errors import InputError

Array = npt.NDArray[Any]

#: Rows and columns of the lattice of pixels that says what a scene is like.
LATTICE = 48
#: Pixels worked on at once: with all bands they stay in a processor's cache.
_PIXELS = 8192
#: Numbers of the covariance of path, gain and albedo that differ.
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
#: Names of shipped models begin with what they are trained for.
_FAMILIES = {"S2": ("s2", "four"), "PROBAV": ("probav",), "PVCC": ("probav",)}


#: Variables and labels of a result, which coordinates of a scene must not share.
RESULTS = frozenset(
    {"mean", "spread", "difference", "flags", "aerosol", "aerosol_probability"}
    | {f"{name}{kind}" for name in ("aot", "water_vapour") for kind in ("", "_spread")}
)


class Plan(NamedTuple):
    """What a block needs to know of the call.

    Attributes
    ----------
    model, physics : AcModel or ModelReference
        What corrects, and what retrieves the atmosphere for the physical inversion; the same for a hybrid.
    kind : str
    sensors : tuple
        The different sensors of the cube.
    rows : tuple of int
        The model's bands among those of the block.
    cirrus : int or None
        Place of B10.
    aerosol : str or None
        The aerosol's model, where it is known.
    table : Table or None
        None for the shipped one.
    """

    model: Any
    physics: Any
    kind: str
    sensors: tuple[Any, ...]
    rows: tuple[int, ...]
    cirrus: int | None
    aerosol: str | None
    table: Table | None

    def loaded(self) -> tuple[AcModel, AcModel, Table]:
        """Both models and the table."""
        models = [one.load() if isinstance(one, ModelReference) else one for one in (self.model, self.physics)]
        return models[0], models[1], self.table or Table.load()


def emulate(
    scene: xr.DataArray,
    model: str | Path | AcModel = "hybrid",
    *,
    aerosol: str | None = None,
    angles: Any = None,
    altitude: Any = None,
    ozone: Any = None,
    water_vapour: Any = None,
    sensor: Any = None,
    adjacency: float | None = None,
    table: Table | None = None,
) -> xr.Dataset:
    """Correct a scene whose atmosphere is not known.

    Parameters
    ----------
    scene : DataArray, dims ([time], band, y, x)
        Reflectance at the top of the atmosphere, clouds masked with NaN. One aerosol, water vapour and geometry is
        taken for each date: give scenes of at most some tens of kilometres, or a tile at a time.
    model : {"hybrid", "context", "fcnn", "unet"}, name, path or AcModel
        ``"hybrid"`` retrieves aerosol and water vapour from the scene, and inverts radiative transfer. ``"context"``
        is a network that knows its scene, ``"fcnn"`` and ``"unet"`` are networks that see a neighbourhood only. The
        shipped model for the bands of the scene is taken: all twelve of Sentinel-2; B02, B04, B08 and B11; or
        PROBA-V's four. Names are those of `s2koop.ac.emulator.shipped`.
    aerosol : {"continental", "maritime", "urban", "desert"}, optional
        The aerosol's model, if it is known; else the hybrid weighs those that it was trained with.
    angles, altitude, ozone
        As for ``.ac.invert``; maps are averaged over each date.
    water_vapour : optional
        g/cm², for models that take it; by default what the hybrid retrieves.
    sensor : str or mapping, optional
        As for ``.ac.invert``.
    adjacency : float, optional
        Scale in m over which neighbours send light, such as 1000, as for ``.ac.invert``; for models that know their
        scene. A context model knows the mean of the scene only, and has learned the rest.
    table : Table, optional
        Another table than the shipped one.

    Returns
    -------
    Dataset
        ``mean`` and ``spread`` (surface reflectance and its standard deviation, float32, the model's bands);
        ``difference`` to the physical inversion under the retrieved atmosphere (networks only), a second measure of
        doubt; ``flags`` as of ``.ac.invert``; ([time]) ``aot``, ``water_vapour``, ``aot_spread``,
        ``water_vapour_spread`` and ``aerosol_probability`` ([time], aerosol).

    Raises
    ------
    InputError
        If the scene is no reflectance at the top of the atmosphere, bands that the model needs are missing, the sun is
        not known or below the horizon, or an argument does not fit.
    ModelError
        If there is no such model.

    Examples
    --------
    >>> from s2koop.simulate import toa_scenes
    >>> toa = toa_scenes("test", scenes=1, size=32)["toa"].isel(scene=0, drop=True)
    >>> boa = emulate(toa, "hybrid", angles=dict(sza=40.0, vza=5.0, raa=100.0))
    >>> boa["mean"].sizes["band"]
    12
    """
    if isinstance(scene, xr.DataArray):  # simulated ones carry their atmosphere along: what is found goes before it
        scene = scene.drop_vars([name for name in RESULTS if name in scene.coords])
    checked = check_scene(scene, "TOA", sensor)
    distance = None if adjacency is None else check_distance(adjacency)
    if distance is not None:
        pixel_size(checked.values)  # a scene whose pixels have no size is refused before anything is read
    chosen = model if isinstance(model, AcModel) else _find(model, checked, distance is not None)
    _check_adjacency(distance, chosen)
    rows = _rows(chosen, checked)
    physics = chosen if chosen.settings.kind == "hybrid" else _physics(chosen, checked)
    _check_aerosol(aerosol, physics)
    lazy = checked.values.chunks is not None
    distinct = tuple({(s if isinstance(s, str) else id(s)): s for s in checked.sensors}.values())
    plan = Plan(
        model=chosen.reference() if lazy else chosen, physics=physics.reference() if lazy else physics,
        kind=chosen.settings.kind, sensors=distinct, rows=rows,
        cirrus=checked.bands.index("B10") if "B10" in checked.bands else None, aerosol=aerosol, table=table,
    )  # fmt: skip
    cube = checked.values if "time" in checked.values.dims else checked.values.expand_dims("time")
    cube = cube.transpose("time", "band", "y", "x")
    known = _per_date(checked, cube, angles, altitude, ozone, water_vapour, chosen)
    numbers = _numbers(cube, known, plan, _width(chosen, physics))
    values = _corrected(cube, numbers, plan, chosen)
    if distance is not None:
        placed = values.assign_coords(y=cube["y"], x=cube["x"])
        values = _without_neighbours(placed, numbers, chosen, layout(chosen, physics), distance)
    result = _labelled(values, numbers, checked, chosen, physics, plan, known)
    return result.assign_attrs(ac_adjacency="none" if distance is None else f"{distance:g} m")


def _find(model: str | Path, scene: Scene, adjacency: bool) -> AcModel:
    """A model by its kind (for the scene's sensor and bands, and whether neighbours send light), name, or path."""
    if model not in KINDS:
        return load(model)
    sensor = scene.sensors[0]
    family = next((f for f in _FAMILIES if isinstance(sensor, str) and sensor.startswith(f)), None)
    if family is None:
        raise InputError(
            "shipped emulators are for Sentinel-2 and PROBA-V; for a sensor of your own, train one "
            "(s2koop.ac.emulator.train_emulator), or use .ac.invert with its responses"
        )
    if adjacency and model in LOCAL:
        raise InputError(
            f"model={model!r} cannot know how far neighbours are; take 'hybrid' or 'context', or no adjacency"
        )
    wanted = f"{model}-adjacency" if adjacency else str(model)
    names = [f"{prefix}-{wanted}" for prefix in _FAMILIES[family] if f"{prefix}-{wanted}" in shipped()]
    lacking: list[str] = []
    for name in names:
        found = load(name)
        lacking = [band for band in found.bands if band not in scene.bands]
        if not lacking:
            return found
    if not names:
        raise InputError(f"no {wanted!r} is shipped for {family}; shipped are {', '.join(shipped()) or 'none'}")
    raise InputError(
        f"the scene has the bands {', '.join(scene.bands)}; {names[-1]!r} also needs {', '.join(lacking)}: load them, "
        "or correct with .ac.invert, which takes any bands"
    )


def _physics(chosen: AcModel, scene: Scene) -> AcModel:
    """The retrieval beside a network: the shipped hybrid of its bands, or what the network itself says of the sky."""
    for name in shipped():
        if "-hybrid" in name:
            found = load(name)
            if found.bands == chosen.bands and found.settings.adjacency == chosen.settings.adjacency:
                return found
    if chosen.settings.kind == "context":
        return chosen
    raise InputError(
        f"there is no shipped hybrid for the bands {', '.join(chosen.bands)} to say what the atmosphere is like; use a "
        "hybrid or context model"
    )


def _check_adjacency(distance: float | None, model: AcModel) -> None:
    if distance is not None and not model.settings.adjacency:
        raise InputError(
            "adjacency= is for models that were trained on scenes with light from neighbours; this "
            f"{model.settings.kind} was not: take model='hybrid' or 'context', or train one with adjacency=True"
        )
    if distance is None and model.settings.adjacency:
        raise InputError("this model expects light from neighbours: say how far it comes, such as adjacency=1000 (m)")


def _rows(model: AcModel, scene: Scene) -> tuple[int, ...]:
    lacking = [band for band in model.bands if band not in scene.bands]
    if lacking:
        raise InputError(
            f"the scene has the bands {', '.join(scene.bands)}; the model also needs {', '.join(lacking)}: load them, "
            "or use a model of fewer bands"
        )
    return tuple(scene.bands.index(band) for band in model.bands)


def _check_aerosol(aerosol: str | None, physics: AcModel) -> None:
    if aerosol is not None and aerosol not in physics.settings.models:
        known = ", ".join(physics.settings.models)
        hint = "; .ac.invert takes any" if aerosol in AEROSOLS else ""
        raise InputError(f"aerosol={aerosol!r} is none that the model knows: {known}{hint}")


def _per_date(
    scene: Scene, cube: xr.DataArray, angles: Any, altitude: Any, ozone: Any, water_vapour: Any, model: AcModel
) -> xr.DataArray:
    """What is known of each date (time, quantity): angles, altitude, ozone, water vapour (NaN: not), sensor, view."""
    geometry = scene_geometry(scene.values, angles)
    given = {"altitude": (altitude, 0.0), "ozone": (ozone, OZONE), "water_vapour": (water_vapour, np.nan)}
    fields = {"sza": geometry.sza, "vza": geometry.vza, "raa": geometry.raa}
    for name, (value, default) in given.items():
        if value is None:
            fields[name] = xr.DataArray(default)
        else:
            fields[name] = as_field(name, value, scene.values)
            check_range(name, fields[name])
    if water_vapour is not None and not model.settings.water_vapour:
        raise InputError(f"this {model.settings.kind} model does not take water vapour; leave water_vapour out")
    distinct = list({(s if isinstance(s, str) else id(s)): s for s in scene.sensors})
    codes = [distinct.index(s if isinstance(s, str) else id(s)) for s in scene.sensors]
    fields["sensor"] = xr.DataArray(codes, dims="time") if len(codes) > 1 else xr.DataArray(codes[0])
    fields["assumed"] = geometry.assumed
    dates = np.empty((cube.sizes["time"], len(fields)))
    for at, field in enumerate(fields.values()):
        mean = field.mean([dim for dim in ("y", "x") if dim in field.dims])
        dates[:, at] = np.broadcast_to(np.asarray(mean.compute().values, float), len(dates))
    return xr.DataArray(dates, dims=("time", "quantity"), coords={"quantity": list(fields)})


class Layout:
    """Where each number lies in the row of a date."""

    def __init__(self, bands: int, models: int, code: tuple[int, int]) -> None:
        self.code = code
        sizes = {
            "mean": 3 * bands, "covariance": 6 * bands, "noise": bands, "fill": bands, "bits": 1, "aot": 1,
            "aot_spread": 1, "water_vapour": 1, "water_vapour_spread": 1, "given_water_vapour": 1, "scattered": bands,
            "probability": models, "code": code[0] * code[1],
        }  # fmt: skip
        ends = np.cumsum(list(sizes.values()))
        self.places = {
            name: slice(int(end - size), int(end)) for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        self.width = int(ends[-1])

    def __getitem__(self, name: str) -> slice:
        return self.places[name]


def layout(model: AcModel, physics: AcModel) -> Layout:
    """The layout of the rows of a model."""
    code = (model.settings.members, model.settings.width) if model.settings.kind == "context" else (0, 0)
    return Layout(len(model.bands), len(physics.settings.models), code)


def _width(model: AcModel, physics: AcModel) -> int:
    return layout(model, physics).width


def _numbers(cube: xr.DataArray, known: xr.DataArray, plan: Plan, width: int) -> xr.DataArray:
    """The table (time, number), from a lattice of the scene."""
    steps = {dim: slice(_offset(cube.sizes[dim]), None, _step(cube.sizes[dim])) for dim in ("y", "x")}
    lattice = cube.isel(steps).drop_vars(list(cube.coords))
    if lattice.chunks is not None:
        lattice = lattice.chunk({"band": -1, "y": -1, "x": -1})
    return xr.apply_ufunc(
        scene_numbers, lattice, known.drop_vars("quantity"),
        input_core_dims=[["band", "y", "x"], ["quantity"]], output_core_dims=[["number"]], dask="parallelized",
        output_dtypes=[np.float64], dask_gufunc_kwargs={"output_sizes": {"number": width}}, kwargs={"plan": plan},
    )  # fmt: skip


def _step(size: int) -> int:
    return -(-size // LATTICE)


def _offset(size: int) -> int:
    return (_step(size) - 1) // 2


def scene_numbers(lattice: Array, known: Array, *, plan: Plan) -> Array:
    """Rows (scene, number) from lattices (scene, band, y, x) and what is known of the scenes (scene, quantity)."""
    with in_worker():
        model, physics, table = plan.loaded()
        place = layout(model, physics)
        out = np.full((len(lattice), place.width), np.nan)
        codes = known[:, 6].astype(int)
        for code in np.unique(codes):
            rows = codes == code
            out[rows] = _of_sensor(lattice[rows], known[rows], plan.sensors[code], plan, place, model, physics, table)
        return out


def _of_sensor(
    lattice: Array, known: Array, sensor: Any, plan: Plan, place: Layout, model: AcModel, physics: AcModel, table: Table
) -> Array:
    scenes = len(lattice)
    pixels = lattice[:, list(plan.rows)].reshape(scenes, len(plan.rows), -1).swapaxes(1, 2).astype(np.float32)
    valid: npt.NDArray[np.bool_] = np.asarray(np.isfinite(pixels).all(-1))
    nothing = np.zeros(scenes)
    sza, vza, raa, altitude, ozone = known[:, :5].T
    geometry = Atmosphere(nothing, nothing, ozone, sza, vza, raa, altitude)
    geometry = Atmosphere(*(_within(name, v) for name, v in zip(Atmosphere._fields, geometry, strict=True)))
    posterior = physics.posterior(pixels, geometry, valid, table=table, sensor=sensor, aerosol=plan.aerosol)
    air = air_under(posterior, geometry, table=table, sensor=sensor, bands=model.bands, ozone=geometry.ozone)
    out = np.empty((scenes, place.width))
    out[:, place["mean"]] = np.stack(air.mean, 1).reshape(scenes, -1)
    out[:, place["covariance"]] = np.stack([air.covariance[..., i, j] for i, j in _PAIRS], 1).reshape(scenes, -1)
    out[:, place["noise"]] = _noise(sensor, model, geometry.sza)
    out[:, place["scattered"]] = share_under(posterior, geometry, table=table, sensor=sensor, bands=model.bands)
    with np.errstate(invalid="ignore"):
        counted = np.maximum(valid.sum(1), 1)[:, None]
        out[:, place["fill"]] = np.where(valid[..., None], pixels, 0).sum(1) / counted
    for name, values in posterior.moments().items():
        out[:, place[name]] = values[:, None]
    out[:, place["given_water_vapour"]] = np.where(np.isnan(known[:, 5]), posterior.water_vapour, known[:, 5])[:, None]
    probability = np.zeros((scenes, len(physics.settings.models)))
    for at, name in enumerate(posterior.models):
        probability[:, physics.settings.models.index(name)] = posterior.probability[:, at]
    out[:, place["probability"]] = probability
    if place.code[0]:
        out[:, place["code"]] = model.codes(pixels, geometry, valid).reshape(scenes, -1)
    out[:, place["bits"]] = _date_bits(known, posterior)[:, None]
    out[~valid.any(1) | np.isnan(known[:, :5]).any(1)] = np.nan
    return out


def _noise(sensor: Any, model: AcModel, sza: Array) -> Array:
    """Noise of the sensor; of one that is not known, that of the sensor of the training."""
    from s2koop.simulate.toa import sensor_noise

    named = sensor if isinstance(sensor, str) else model.settings.sensor
    return sensor_noise(named, model.bands, np.minimum(sza, 80.0))


def _within(name: str, values: Array) -> Array:
    low, high = LIMITS[name]
    return np.clip(np.nan_to_num(values, nan=max(low, 0.0)), low, high).astype(np.float32)


def _date_bits(known: Array, posterior: Posterior) -> Array:
    """Flags that all pixels of a date share."""
    bits = np.zeros(len(known), int)
    outside = posterior.moments()["aot"] > LIMITS["aot"][1]
    for at, name in ((0, "sza"), (1, "vza"), (3, "altitude"), (4, "ozone")):
        low, high = LIMITS[name]
        outside = outside | (known[:, at] < low) | (known[:, at] > high)
    bits[outside] |= FLAGS["outside_table"]
    bits[known[:, 0] > SUN_LOW] |= FLAGS["sun_low"]
    bits[known[:, 7] > 0] |= FLAGS["view_assumed"]
    return bits


def _corrected(cube: xr.DataArray, numbers: xr.DataArray, plan: Plan, model: AcModel) -> xr.DataArray:
    """Layers (time, layer, y, x): mean, spread and, for networks, difference of each band, then flags."""
    bands, radius = len(model.bands), model.radius
    layers = (2 if plan.kind == "hybrid" else 3) * bands + 1
    dims = ("time", "layer", "y", "x")
    if cube.chunks is None:
        return xr.DataArray(corrected_block(cube.values, numbers.values, plan=plan, margin=0), dims=dims)
    import dask.array as da

    data = cube.chunk({"band": -1}).data
    if radius and min(data.shape[2:]) >= radius:
        data = da.overlap.overlap(data, depth={0: 0, 1: 0, 2: radius, 3: radius}, boundary={2: "reflect", 3: "reflect"})
        margin = radius
    else:
        data = data.rechunk({2: -1, 3: -1}) if radius else data
        margin = 0
    shrink = {"y": lambda size: size - 2 * margin, "x": lambda size: size - 2 * margin}
    table = numbers.chunk({"time": data.chunks[0], "number": -1}).data
    out = da.blockwise(
        corrected_block, ("time", "layer", "y", "x"), data, ("time", "band", "y", "x"), table, ("time", "number"),
        new_axes={"layer": layers}, adjust_chunks=shrink, concatenate=True, dtype=np.float32, plan=plan, margin=margin,
        align_arrays=False, meta=np.empty((0, 0, 0, 0), np.float32),
    )  # fmt: skip
    return xr.DataArray(out, dims=dims)


def corrected_block(values: Array, numbers: Array, *, plan: Plan, margin: int) -> Array:
    """A block (date, band, y, x), perhaps with a margin of neighbours, to layers (date, layer, y, x)."""
    with in_worker():
        model, physics, _ = plan.loaded()
        place = layout(model, physics)
        count = (2 if plan.kind == "hybrid" else 3) * len(model.bands) + 1
        size = [length - 2 * margin for length in values.shape[2:]]
        layers = np.empty((len(values), count, *size), np.float32)
        for date, out in enumerate(layers):
            _date(values[date], numbers[date], plan, margin, model, place, out)
        return layers


def _date(values: Array, row: Array, plan: Plan, margin: int, model: AcModel, place: Layout, layers: Array) -> None:
    """Fill the layers of one date."""
    bands = len(model.bands)
    whole = plan.rows == tuple(range(len(values)))
    chosen = (values if whole else values[list(plan.rows)]).astype(np.float32, copy=False)
    inner = chosen[:, margin:-margin, margin:-margin] if margin else chosen
    rows, columns = inner.shape[1:]
    bits = np.zeros((rows, columns), np.int32)
    if np.isfinite(row[place["bits"]][0]):
        boa, spread = layers[:bands], layers[bands : 2 * bands]
        if plan.kind == "hybrid":
            _by_physics(inner, row, model, place, boa, spread)
        else:
            difference = layers[2 * bands : 3 * bands]
            _by_physics(inner, row, model, place, difference, spread)
            found, members = _by_network(chosen, row, margin, model, place)
            found[:, ~np.isfinite(inner).all(0)] = np.nan
            boa[:], spread[:], difference[:] = (
                found,
                with_error(found, members, model),
                found - difference,
            )
        bits += int(row[place["bits"]][0])
        with np.errstate(invalid="ignore"):
            bits |= np.where((boa < 0).any(0), FLAGS["negative_reflectance"], 0)
    else:
        layers[:] = np.nan
    with np.errstate(invalid="ignore"):
        bits |= np.where((inner > SATURATED).any(0), FLAGS["saturated"], 0)
        if plan.cirrus is not None:
            cirrus = values[plan.cirrus][margin : margin + rows, margin : margin + columns]
            bits |= np.where(cirrus > CIRRUS, FLAGS["cirrus"], 0)
    layers[-1] = bits


def _by_physics(inner: Array, row: Array, model: AcModel, place: Layout, boa: Array, spread: Array) -> None:
    """Fill `boa` and `spread` of a block (band, y, x) by the physical inversion, in parts that fit into a cache."""
    bands = len(model.bands)
    mean = Coefficients(*row[place["mean"]].reshape(3, bands).astype(np.float32))
    covariance, noise = _covariance(row[place["covariance"]], bands), row[place["noise"]].astype(np.float32)
    height = max(1, _PIXELS // inner.shape[2])
    for start in range(0, inner.shape[1], height):
        part = (slice(None), slice(start, start + height))
        found, known = invert(inner[part].reshape(bands, -1), mean, covariance, noise)
        shape = (bands, -1, inner.shape[2])
        boa[part], spread[part] = found.reshape(shape), with_error(found, known, model).reshape(shape)


def _by_network(chosen: Array, row: Array, margin: int, model: AcModel, place: Layout) -> tuple[Array, Array]:
    """What the networks say: what is missing counts as the scene's mean, what lies beyond its edges as mirrored."""
    fill = row[place["fill"]].astype(np.float32)[:, None, None]
    planes = np.where(np.isfinite(chosen), chosen, fill)
    if model.radius > margin:
        wide = model.radius - margin
        planes = np.pad(planes, ((0, 0), (wide, wide), (wide, wide)), mode="symmetric")
    if model.settings.water_vapour:
        plane = np.full((1, *planes.shape[1:]), row[place["given_water_vapour"]][0], np.float32)
        planes = np.concatenate([planes, plane])
    code = row[place["code"]].reshape(place.code).astype(np.float32) if place.code[0] else None
    return model.correct(planes, code)


def _covariance(numbers: Array, bands: int) -> Array:
    full = np.empty((bands, 3, 3), np.float32)
    for (i, j), values in zip(_PAIRS, numbers.reshape(6, bands), strict=True):
        full[:, i, j] = full[:, j, i] = values
    return full


def with_error(mean: Array, spread: Array, model: AcModel) -> Array:
    """The spread (band, ...) with the remaining error of the model, as its validation found it."""
    shape = (-1, *[1] * (mean.ndim - 1))
    constant, relative = (model.error[:, at].numpy().reshape(shape) for at in (0, 1))
    factor = model.factor.numpy().reshape(shape)
    return np.sqrt((factor * spread) ** 2 + constant**2 + (relative * mean) ** 2)


def _without_neighbours(
    values: xr.DataArray, numbers: xr.DataArray, model: AcModel, place: Layout, distance: float
) -> xr.DataArray:
    """The layers (time, layer, y, x) with a physical inversion that is less the light of neighbours.

    What these are like, the inversion itself says, which takes each pixel as part of a uniform surface.
    """
    bands = len(model.bands)
    layers = [
        values.isel(layer=slice(at, at + bands)).rename(layer="band")
        for at in range(0, values.sizes["layer"] - 1, bands)
    ]
    own, spread, flags = layers[0], layers[1], values.isel(layer=[-1])
    uniform = own if model.settings.kind == "hybrid" else own - layers[2]
    albedo, share = (
        numbers.isel(number=slice(place[name].stop - bands, place[name].stop)).rename(number="band").astype(np.float32)
        for name in ("mean", "scattered")
    )
    inverted = without_neighbours(uniform, surroundings(uniform, distance), albedo, share)
    if model.settings.kind == "hybrid":
        bit = FLAGS["negative_reflectance"]
        others = flags.astype(np.uint16) & np.uint16(~bit & 0xFFFF)
        flags = (others | xr.where((inverted < 0).any("band"), np.uint16(bit), np.uint16(0))).astype(np.float32)
        found = [inverted, spread]
    else:
        found = [own, spread, own - inverted]
    parts = [*(part.rename(band="layer") for part in found), flags]
    whole = xr.concat([part.transpose("time", "layer", "y", "x") for part in parts], "layer").drop_vars(("y", "x"))
    return whole if whole.chunks is None else whole.chunk({"layer": -1})


def _labelled(
    values: xr.DataArray, numbers: xr.DataArray, scene: Scene, model: AcModel, physics: AcModel, plan: Plan,
    known: xr.DataArray,
) -> xr.Dataset:  # fmt: skip
    bands, place = len(model.bands), layout(model, physics)
    dims = scene.values.dims
    has_time = "time" in dims
    coords = dict(scene.values.coords.to_dataset().isel(band=list(plan.rows)).coords)
    of_pixel = {name: c for name, c in coords.items() if "band" not in c.dims}
    of_date = {name: c for name, c in of_pixel.items() if not {"y", "x"} & set(c.dims)}

    def layer(first: int, **attrs: Any) -> xr.DataArray:
        found = values.isel(layer=slice(first * bands, (first + 1) * bands)).rename(layer="band")
        found = found if has_time else found.isel(time=0)
        return found.transpose(*dims).assign_coords(coords).assign_attrs({**attrs, "units": "1"})

    kept = dict(scene.values.attrs)
    title = sensor_title(scene.sensors)
    kept |= {} if "+" in title or title == "custom" else {"sensor": title}
    variables = {
        "mean": layer(0, **{**kept, "level": "BOA", "long_name": "surface reflectance"}),
        "spread": layer(1, long_name="standard deviation of the surface reflectance"),
    }
    if plan.kind != "hybrid":
        variables["difference"] = layer(2, long_name="surface reflectance less that of the physical inversion")
    flags = values.isel(layer=-1, drop=True).astype(np.uint16)
    flags = (flags if has_time else flags.isel(time=0)).assign_coords(of_pixel)
    not_tested = ["steep_terrain", *([] if plan.cirrus is not None else ["cirrus"])]
    variables["flags"] = flags.assign_attrs(flag_attrs(not_tested))

    def number(name: str, **attrs: Any) -> xr.DataArray:
        found = numbers.isel(number=place[name])
        found = found if has_time else found.isel(time=0)
        return found.assign_coords(of_date).assign_attrs(attrs)

    for name, long_name, units in (
        ("aot", "aerosol optical thickness at 550 nm", "1"),
        ("water_vapour", "column of water vapour", "g cm-2"),
    ):
        variables[name] = number(name, long_name=long_name, units=units).isel(number=0)
        error = number(f"{name}_spread", long_name=f"standard deviation of {name}", units=units)
        variables[f"{name}_spread"] = error.isel(number=0)
    models = xr.DataArray(np.array(physics.settings.models, dtype=object), dims="aerosol")
    probability = number("probability", long_name="probability of the aerosol model", units="1")
    variables["aerosol_probability"] = probability.rename(number="aerosol").assign_coords(aerosol=models)
    attrs: Mapping[str, Any] = {
        "ac_method": model.settings.kind,
        "ac_sensor": title,
        "ac_model_sha256": model.digest,
        "aerosol_model": plan.aerosol or "+".join(physics.settings.models),
        "s2koop_version": __version__,
        "ac_assumed": "one atmosphere and one geometry per date",
    }
    return xr.Dataset(variables).assign_attrs(attrs)

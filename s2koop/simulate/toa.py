"""Scenes at the top of the atmosphere whose surface is known, for emulators of atmospheric correction to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import gaussian_filter
from torch import Tensor

from s2koop._numbers import real, whole
from s2koop.ac.lut import LIMITS, Atmosphere, Table
from s2koop.ac.transfer import Coefficients
from s2koop.errors import InputError
from s2koop.simulate.atmosphere import (
    aerosol_shares,
    band_weights,
    draw_aerosols,
    draw_atmospheres,
    in_bands,
    nodes_and_weights,
    scattered_share,
    smooth_field,
    spectra,
    surroundings,
)
from s2koop.simulate.fields import Array
from s2koop.simulate.mosaics import SLOTS, Mosaics, draw_mosaics
from s2koop.simulate.spectra import KINDS, SPLITS, WAVELENGTH

#: Standard deviation in m of PROBA-V's point spread, centre camera: Mateo-García et al. (2020), IEEE JSTARS 13.
PROBAV_SPREAD: Mapping[str, float] = MappingProxyType({"BLUE": 46.1, "RED": 50.1, "NIR": 46.8, "SWIR": 80.8})
#: Signal to noise, and the reflectance under a sun in the zenith at which it is stated: pi * radiance / irradiance, the
#: latter of TSIS-1 (Coddington et al. 2023) through the responses of S2A, whose sisters differ by less than 3 %.
#: Requirements for MSI (SentiWiki, "S2 Mission", table 3: SNR at Lref): 129.11, 128, 128, 108, 74.6, 68.23, 66.7, 103,
#: 52.39, 8.77, 6, 4 and 1.7 W m-2 sr-1 um-1 from B01 to B12. Older texts have 1.5 for B12, which is 6 % less noise.
_SENTINEL2 = {
    "B01": (129, 0.213), "B02": (154, 0.203), "B03": (168, 0.215), "B04": (142, 0.222), "B05": (117, 0.166),
    "B06": (89, 0.167), "B07": (105, 0.178), "B08": (174, 0.310), "B8A": (72, 0.173), "B09": (114, 0.0340),
    "B10": (50, 0.0526), "B11": (100, 0.0531), "B12": (100, 0.0658),
}  # fmt: skip
#: PROBA-V, likewise through its centre camera: the radiances L2 are 111, 110, 106 and 20 W m-2 sr-1 um-1 (ESA SPPA,
#: "PROBA-V mission and sensor description"). The ratios could not be checked against a document: they stand in. They
#: make BLUE about as noisy as B02 of MSI, and the others three to four times less, so little hangs on those.
_PROBAV = {"BLUE": (177, 0.172), "RED": (598, 0.220), "NIR": (574, 0.321), "SWIR": (720, 0.261)}
#: Pixels computed at once: all wavelengths of so many fit into some tens of megabytes.
_TILE = 4096


def toa_scenes(
    split: str = "test",
    *,
    scenes: int = 200,
    size: int = 64,
    sensor: str | Sequence[str] = "S2A",
    aerosol: str | Mapping[str, float] = "continental",
    texture: float = 0.06,
    aot_spread: float = 0.0,
    water_vapour_spread: float = 0.0,
    adjacency: bool = False,
    gain_error: float = 0.0,
    noise: float = 1.0,
    resolution: float = 20.0,
    probav_resolution: float | None = None,
    first: int = 0,
    seed: int = 0,
    table: Table | None = None,
) -> xr.Dataset | dict[str, xr.Dataset]:
    """Simulate scenes at the top of the atmosphere, with the reflectance of their surface as truth.

    Surfaces are spectral (`draw_mosaics`), and so is all that happens to their light: it is weighted to bands only at
    the sensor, so that structure within a band and differences between sensors are as they would be.

    Parameters
    ----------
    split : str
        ``"train"``, ``"validation"`` or ``"test"``: they share neither endmembers nor atmospheres.
    scenes, size : int
        Number of scenes, and their rows and columns.
    sensor : str or sequence of str
        A sensor of the table, or several that see the same surfaces through the same atmospheres. Sentinel-2 has its
        bands without B10, through which the surface is not seen.
    aerosol : str or mapping of str to float
        One model of the table, or several and their shares, such as ``{"continental": 0.6, "desert": 0.4}``.
    texture : float
        Standard deviation of the illumination within a scene, relative.
    aot_spread, water_vapour_spread : float
        Standard deviation of aerosol and water vapour within a scene, relative, as smooth fields; 0 for none.
    adjacency : bool
        Let neighbours within about 1 km brighten or darken a pixel through the light that the air scatters.
    gain_error : float
        Standard deviation of an error of calibration, relative, drawn for each scene and band.
    noise : float
        Noise relative to what is specified of the sensor (`sensor_noise`); 0 for none.
    resolution : float
        Size of a pixel in m; says how far adjacency and point spread reach.
    probav_resolution : float, optional
        Size in m of a pixel of PROBA-V and PV-CC, a whole multiple of `resolution` that divides the scene: surface and
        measurement are then blurred by the point spread, and sampled. By default they are seen as sharply as by
        Sentinel-2.
    first : int
        Number of the first scene: scene 7 of a seed is the same in any set that holds it.
    seed : int
        The same seed gives the same numbers; options of the sensor leave surface and atmosphere as they are.
    table : Table, optional
        The atmosphere; the shipped one by default.

    Returns
    -------
    Dataset, or dict of sensor to Dataset if `sensor` is a sequence
        ``toa`` and ``boa`` (scene, band, y, x), float32, and ``cover`` (scene, kind, y, x), the share of each kind of
        surface; with fields also ``aot_field`` and ``water_vapour_field`` (scene, y, x). Coordinates (scene,) hold the
        state of each scene by the names of `Atmosphere`, ``aerosol`` and ``biome``.

    Raises
    ------
    InputError
        If a name is unknown, a number out of its range, or the pixels of PROBA-V do not fit the scene.

    Examples
    --------
    >>> scenes = toa_scenes("test", scenes=2, size=16)
    >>> scenes["toa"].shape
    (2, 12, 16, 16)
    """
    several = not isinstance(sensor, str)
    options = _Options(
        split=split, scenes=scenes, size=size, sensors=tuple(sensor) if several else (str(sensor),),
        aerosol=aerosol_shares(aerosol), aot_spread=aot_spread, water_vapour_spread=water_vapour_spread,
        adjacency=adjacency, gain_error=gain_error, noise=noise, resolution=resolution,
        probav_resolution=probav_resolution, first=first, seed=seed,
    )  # fmt: skip
    known = Table.load() if table is None else table
    bands = {name: _bands(known, name) for name in options.sensors}
    mosaics = draw_mosaics(split, scenes=scenes, size=size, first=first, texture=texture, seed=seed)
    sky = _draw_skies(options)
    truth, seen = _light(known, bands, mosaics, sky, options)
    out = {
        name: _labelled(name, bands[name], truth[name], seen[name], mosaics, sky, options) for name in options.sensors
    }
    return out if several else out[options.sensors[0]]


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What `toa_scenes` is asked for, checked."""

    split: str
    scenes: int
    size: int
    sensors: tuple[str, ...]
    aerosol: dict[str, float]
    aot_spread: float
    water_vapour_spread: float
    adjacency: bool
    gain_error: float
    noise: float
    resolution: float
    probav_resolution: float | None
    first: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("scenes", 1), ("size", 2), ("first", 0), ("seed", 0)):
            whole(name, getattr(self, name), least=least)
        for name in ("aot_spread", "water_vapour_spread", "gain_error"):
            if real(name, getattr(self, name), least=0) > 0.5:
                raise InputError(f"{name}={getattr(self, name)} is relative; give 0 to 0.5, such as 0.02")
        real("noise", self.noise, least=0)
        real("resolution", self.resolution, least=1)
        if self.split not in SPLITS:
            raise InputError(f"split={self.split!r} is unknown; choose among {', '.join(SPLITS)}")
        if not self.sensors or len(set(self.sensors)) < len(self.sensors):
            raise InputError(f"sensor={self.sensors!r} must name one or several different sensors, such as 'S2A'")
        if self.probav_resolution is not None:
            step = real("probav_resolution", self.probav_resolution, least=1) / self.resolution
            if step < 1 or step != round(step) or self.size % round(step):
                raise InputError(
                    f"probav_resolution={self.probav_resolution} must be a whole multiple of resolution="
                    f"{self.resolution} that divides the {self.size} pixels of the scene, such as size=60 and 100 of 20"
                )

    def step(self, sensor: str) -> int | None:
        """Pixels of the scene across one of the sensor; none where the sensor sees the scene as sharply as it is."""
        if self.probav_resolution is None or not sensor.startswith(("PROBAV", "PVCC")):
            return None
        return round(self.probav_resolution / self.resolution)

    def stream(self, scene: int, part: int) -> np.random.Generator:
        """Random numbers of one part of one scene: other options of the sky or sensor leave the rest as it is."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), self.first + scene, part])


class _Skies(NamedTuple):
    """The atmosphere of every scene: its mean state (scene,), aerosol model (scene,), and fields (scene, y, x)."""

    atmosphere: Atmosphere
    aerosol: npt.NDArray[np.str_]
    aot: Array
    water_vapour: Array

    def of(self, scene: int) -> Atmosphere:
        return Atmosphere(*(values[scene] for values in self.atmosphere))


def _draw_skies(options: _Options) -> _Skies:
    streams = [options.stream(scene, 1) for scene in range(options.scenes)]
    drawn = [draw_atmospheres(1, rng) for rng in streams]
    atmosphere = Atmosphere(*(np.concatenate(values) for values in zip(*drawn, strict=True)))
    models = draw_aerosols(options.aerosol, [rng.random() for rng in streams])
    fields = [
        np.stack([smooth_field(rng, mean, spread, options.size, LIMITS[name][1])
                  for rng, mean in zip(streams, getattr(atmosphere, name), strict=True)])
        for name, spread in (("aot", options.aot_spread), ("water_vapour", options.water_vapour_spread))
    ]  # fmt: skip
    return _Skies(atmosphere, models, *fields)


def _light(
    table: Table, bands: Mapping[str, tuple[str, ...]], mosaics: Mosaics, sky: _Skies, options: _Options
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Surface and measurement (scene, band, y, x) of each sensor, scene by scene."""
    weights = {name: band_weights(table, name, bands[name]) for name in bands}
    stacked = np.concatenate(list(weights.values()))
    used = np.flatnonzero(stacked.any(axis=0))
    ends = np.cumsum([len(each) for each in weights.values()])[:-1]
    truth: dict[str, list[Array]] = {name: [] for name in bands}
    seen: dict[str, list[Array]] = {name: [] for name in bands}
    for scene, (air, place) in enumerate(_airs(table, sky, used)):
        boa, toa = _scene(mosaics, sky, options, scene, air, place, stacked[:, used], used)
        for name, below, above in zip(bands, np.split(boa, ends), np.split(toa, ends), strict=True):
            step = options.step(name)
            truth[name].append(_sampled(below, bands[name], options.resolution, step))
            above = _sampled(above, bands[name], options.resolution, step)
            noise = None
            if options.noise:
                noise = options.noise * sensor_noise(name, bands[name], sky.atmosphere.sza[scene])
            rng = options.stream(scene, 2 + sum(name.encode()))  # sensors err apart, whichever others are asked for
            seen[name].append(_measured(above, noise, options.gain_error, rng))
    return {name: np.stack(each) for name, each in truth.items()}, {name: np.stack(each) for name, each in seen.items()}


def _airs(
    table: Table, sky: _Skies, used: npt.NDArray[np.int64], together: int = 64
) -> Iterator[tuple[Coefficients, Array | None]]:
    """Of scene after scene, the numbers (node, wavelength) and weights (pixel, node) that interpolate between nodes."""
    for start in range(0, len(sky.aerosol), together):
        part = range(start, min(start + together, len(sky.aerosol)))
        parts = [nodes_and_weights(sky.of(at), sky.aot[at].ravel(), sky.water_vapour[at].ravel()) for at in part]
        nodes = Atmosphere(*(np.concatenate(values) for values in zip(*(found for found, _ in parts), strict=True)))
        counts = [len(found.aot) for found, _ in parts]
        air = spectra(table, nodes, np.repeat(sky.aerosol[part.start : part.stop], counts), used)
        ends = np.cumsum(counts)
        for (_, place), end, count in zip(parts, ends, counts, strict=True):
            yield Coefficients(*(values[end - count : end] for values in air)), place


def _scene(
    mosaics: Mosaics, sky: _Skies, options: _Options, scene: int, air: Coefficients, place: Array | None,
    weights: Array, used: npt.NDArray[np.int64],
) -> tuple[Array, Array]:  # fmt: skip
    """One surface, and what arrives of it at the top: both (band, y, x), without what a sensor adds."""
    mixture, members = mosaics.mixture[scene], mosaics.spectra[scene][:, used]
    around, share = mixture, None
    if options.adjacency:
        around = surroundings(mixture, options.resolution)
        share = scattered_share(sky.of(scene), str(sky.aerosol[scene]), WAVELENGTH[used])
    pixels, neighbours = (planes.reshape(SLOTS, -1).T for planes in (mixture, around))
    boa, toa = (np.empty((len(pixels), len(weights)), np.float32) for _ in range(2))
    for at in range(0, len(pixels), _TILE):
        part = slice(at, at + _TILE)
        rho = pixels[part] @ members
        boa[part] = rho @ weights.T
        local = air if place is None else Coefficients(*(place[part] @ values for values in air))
        arriving, ground = rho, rho
        if share is not None:
            ground = neighbours[part] @ members
            arriving = rho + share * (ground - rho)
        toa[part] = (local.path + local.gain * arriving / (1 - local.albedo * ground)) @ weights.T
    shape = (len(weights), options.size, options.size)
    return boa.T.reshape(shape), toa.T.reshape(shape)


def _sampled(planes: Array, bands: Sequence[str], resolution: float, step: int | None) -> Array:
    """Planes (band, y, x) as PROBA-V sees them: blurred, then the middle of each of its pixels."""
    if step is None:
        return planes
    sigmas = [PROBAV_SPREAD[band] / resolution for band in bands]
    blurred = np.stack([gaussian_filter(plane, s, mode="reflect") for plane, s in zip(planes, sigmas, strict=True)])
    middle = slice((step - 1) // 2, step // 2 + 1)  # one pixel, or the two around the middle
    rows, columns = (size // step for size in planes.shape[1:])
    return blurred.reshape(-1, rows, step, columns, step)[:, :, middle, :, middle].mean(axis=(2, 4))


def _labelled(
    sensor: str, bands: Sequence[str], truth: Array, seen: Array, mosaics: Mosaics, sky: _Skies, options: _Options
) -> xr.Dataset:
    step = options.step(sensor) or 1
    image, plane = ("scene", "band", "y", "x"), ("scene", "y", "x")
    metres = options.resolution * step * (np.arange(options.size // step) + 0.5)
    about = {"sensor": sensor, "units": "1", "simulated": "true"}
    variables: dict[str, Any] = {
        "toa": (image, seen, {"long_name": "reflectance at the top of the atmosphere", "level": "TOA"} | about),
        "boa": (image, truth, {"long_name": "surface reflectance", "level": "BOA"} | about),
        "cover": (("scene", "kind", "y", "x"), _means(mosaics.cover(), step), {"long_name": "share", "units": "1"}),
    }
    if options.aot_spread:
        variables["aot_field"] = (plane, _means(sky.aot, step), {"units": "1"})
    if options.water_vapour_spread:
        variables["water_vapour_field"] = (plane, _means(sky.water_vapour, step), {"units": "g cm-2"})
    units = dict(zip(Atmosphere._fields, ("1", "g cm-2", "cm-atm", *("degree",) * 3, "m"), strict=True))
    coords: dict[str, Any] = {
        "scene": options.first + np.arange(options.scenes),
        "band": np.array(bands, dtype=object),
        "kind": np.array(KINDS, dtype=object),
        "y": metres[::-1],
        "x": metres,
        "aerosol": ("scene", sky.aerosol.astype(object)),
        "biome": ("scene", mosaics.biome.astype(object)),
    }
    for name, values in sky.atmosphere._asdict().items():
        coords[name] = ("scene", values, {"units": units[name]})
    title = f"simulated scenes of {sensor}: nothing here was measured"
    return xr.Dataset(variables, coords, {"title": title, "split": options.split, "seed": options.seed})


def _means(planes: Array, step: int) -> Array:
    """Means (..., y, x) over blocks of `step` pixels."""
    rows, columns = (size // step for size in planes.shape[-2:])
    return planes.reshape(*planes.shape[:-2], rows, step, columns, step).mean(axis=(-3, -1))


class Batch(NamedTuple):
    """Patches for one step of training.

    Attributes
    ----------
    toa, boa : float32 array (patch, band, y, x)
        Reflectance at the top of the atmosphere, and of the surface.
    atmosphere : Atmosphere of float32 arrays (patch,)
        Its state over each patch.
    aerosol : array of str (patch,)
        Model of the aerosol of each patch.
    """

    toa: Array
    boa: Array
    atmosphere: Atmosphere
    aerosol: npt.NDArray[np.str_]


def draw_batch(
    mosaics: Mosaics,
    rng: np.random.Generator,
    *,
    patches: int = 32,
    size: int = 20,
    sensor: str = "S2A",
    aerosol: str | Mapping[str, float] = "continental",
    gain_error: float = 0.0,
    noise: float = 1.0,
    table: Table | None = None,
) -> Batch:
    """Draw patches of surfaces, each under an atmosphere of its own: a new one for every patch of every batch.

    Absorption is spectral, as in `toa_scenes`; only the albedo of the atmosphere is one number per band, which makes
    no difference to speak of and takes a small part of the time.

    Parameters
    ----------
    mosaics : Mosaics
        Surfaces to cut patches from, from `draw_mosaics`.
    rng : numpy.random.Generator
        Where the numbers come from.
    patches, size : int
        Number of patches, and their rows and columns.
    sensor : str
        A sensor of the table.
    aerosol, gain_error, noise, table
        As for `toa_scenes`.

    Returns
    -------
    Batch

    Raises
    ------
    InputError
        If a number is out of its range or a name is unknown.

    Examples
    --------
    >>> surfaces = draw_mosaics("train", scenes=6, size=32)
    >>> draw_batch(surfaces, np.random.default_rng(0), patches=4, size=16).toa.shape
    (4, 12, 16, 16)
    """
    known = Table.load() if table is None else table
    bands = _bands(known, sensor)
    count, pixels = whole("patches", patches, least=1), whole("size", size, least=1)
    shares = aerosol_shares(aerosol)
    weights = band_weights(known, sensor, bands)
    used = np.flatnonzero(weights.any(axis=0))
    weights = weights[:, used]
    cut = mosaics.patches(rng, count, pixels)
    cut = replace(cut, spectra=cut.spectra[..., used])
    atmosphere, models = draw_atmospheres(count, rng), draw_aerosols(shares, rng.random(count))
    air = spectra(known, atmosphere, models, used)
    boa = cut.seen(weights)
    toa = render(
        boa, in_bands(air, weights), transmitted=cut.seen(weights, air.gain),
        noise=noise * sensor_noise(sensor, bands, atmosphere.sza) if noise else None, gain_error=gain_error,
        generator=rng,
    )  # fmt: skip
    return Batch(toa, boa, atmosphere, models)


def render(
    boa: Any,
    coefficients: Coefficients,
    *,
    transmitted: Any = None,
    ground: Any = None,
    noise: Any = None,
    gain_error: float = 0.0,
    generator: Any = None,
) -> Any:
    """Measurements from surfaces in bands, through the three numbers of an atmosphere for each band.

    Parameters
    ----------
    boa : array or tensor (..., band, y, x)
        Surface reflectance.
    coefficients : Coefficients of arrays or tensors (..., band)
        One atmosphere for each scene.
    transmitted : array or tensor (..., band, y, x), optional
        ``gain * boa`` with all structure within the bands, from `Mosaics.seen`; the product of the two otherwise.
    ground : array or tensor (..., band, y, x), optional
        What light goes to and fro with, if not `boa`: the neighbours.
    noise : array or tensor (..., band), optional
        From `sensor_noise`; none otherwise.
    gain_error : float
        Standard deviation of an error of calibration, relative, drawn for each scene and band.
    generator : numpy.random.Generator or torch.Generator
        Where noise and errors of calibration come from: NumPy's for arrays, torch's for tensors.

    Returns
    -------
    Array or tensor like `boa`

    Raises
    ------
    InputError
        If there is noise or an error of calibration to draw and no generator.

    Examples
    --------
    >>> clear = Coefficients(*(np.array([value]) for value in (0.05, 0.8, 0.1)))
    >>> float(render(np.full((1, 4, 4), 0.2), clear)[0, 0, 0].round(4))
    0.2133
    """
    path, gain, albedo = (value[..., None, None] for value in coefficients)
    arriving = gain * boa if transmitted is None else transmitted
    toa = path + arriving / (1 - albedo * (boa if ground is None else ground))
    return _measured(toa, noise, gain_error, generator)


def _measured(toa: Any, noise: Any, gain_error: float, generator: Any) -> Any:
    """Reflectance (..., band, y, x) with an error of calibration and with shot noise, which grows with its root."""
    if generator is None and (noise is not None or gain_error):
        raise InputError("noise and gain_error are drawn at random; give generator=numpy.random.default_rng(seed)")
    if gain_error:
        toa = toa * (1 + gain_error * _normal(toa[..., :1, :1], generator))
    if noise is not None:
        toa = toa + noise[..., None, None] * abs(toa) ** 0.5 * _normal(toa, generator)
    return toa


def _normal(like: Any, generator: Any) -> Any:
    """Independent normal numbers in the shape and kind of `like`."""
    if isinstance(like, Tensor):
        return like.new_empty(like.shape).normal_(generator=generator)
    return generator.standard_normal(like.shape, dtype=np.float32)


def sensor_noise(sensor: str, bands: Sequence[str], sza: npt.ArrayLike) -> Array:
    """How noisy a sensor is: the standard deviation of its noise, over the root of the reflectance that it measures.

    Shot noise: signal to noise grows with the root of the signal, from what is specified at a reference radiance.

    Parameters
    ----------
    sensor : str
        ``"S2A"``, ``"S2B"``, ``"S2C"``, or a name that begins with ``"PROBAV"`` or ``"PVCC"``.
    bands : sequence of str
        Names of bands.
    sza : array (...)
        Zenith angle of the sun, degrees.

    Returns
    -------
    float32 (..., band)

    Raises
    ------
    InputError
        If nothing is known of the sensor or a band.

    Examples
    --------
    >>> sensor_noise("S2A", ["B02", "B08"], 30.0).shape
    (2,)
    """
    known = _SENTINEL2 if sensor.startswith("S2") else _PROBAV if sensor.startswith(("PROBAV", "PVCC")) else {}
    lacking = [band for band in bands if band not in known]
    if lacking:
        raise InputError(f"the noise of {sensor} in {', '.join(lacking)} is unknown; give noise=0 for none")
    ratio, reference = np.array([known[band] for band in bands]).T
    return (np.sqrt(reference / np.cos(np.radians(np.asarray(sza)))[..., None]) / ratio).astype(np.float32)


def _bands(table: Table, sensor: str) -> tuple[str, ...]:
    """Bands through which the surface is seen."""
    return tuple(band for band in table.bands(sensor) if band != "B10")

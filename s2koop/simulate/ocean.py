"""Scenes of Sentinel-1's wave mode whose sea is known, for embeddings to be learned and judged on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm.auto import tqdm

from s2koop._numbers import real, whole
from s2koop.errors import InputError
from s2koop.simulate import ocean_phenomena as phenomena
from s2koop.simulate.ocean_phenomena import TAGS
from s2koop.simulate.ocean_state import STATE, OceanState, draw_ocean_state, stream
from s2koop.simulate.sar import BEAMS, Array, averaged, modulated, smear, speckle, stretched, velocity_bunching
from s2koop.simulate.waves import Grid, Surface, grid, surface, texture, wave_spectra

#: Samples beyond each edge of an image: the domain is periodic, the image must not be.
_MARGIN = 16
#: Streams of random numbers of a scene.
_SEA, _SHORT, _SPECKLE, _GUSTS, _FIRST_TAG = range(STATE + 1, STATE + 6)


def ocean_scenes(
    count: int,
    *,
    first: int = 0,
    seed: int = 0,
    size: int = 128,
    pixel: float = 50.0,
    looks: float = 40.0,
    nesz: float = -30.0,
    beam: str | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Simulated vignettes of Sentinel-1's wave mode, and what their seas are like.

    A JONSWAP wind sea and one swell make a surface. Tilt, range bunching and hydrodynamic modulation say how bright its
    parts are, the air above and films and ships change that, and the orbital velocity moves the light along azimuth:
    that of resolved waves sample by sample (velocity bunching), that of shorter ones as a blur. So wave height acts
    through the azimuth cut-off. Speckle and noise follow at half the pixel, then means over pixels, and the stretch
    that quicklooks have. Train on one `seed` and test on another.

    These are simulated scenes, not measurements. Labels are the simulator's own, and an error on them is no accuracy at
    sea. There is one swell, deep water and a linear sea; no currents, breaking, ice, land, fronts or internal waves;
    films and rain do not change the spectrum of the waves; sigma0 is a crude power law of the wind.

    Parameters
    ----------
    count : int
        Number of scenes.
    first : int
        Number of the first scene: scene 7 of a seed is the same in any set that holds it.
    seed : int
        The same seed gives the same numbers. Sea, each tag and speckle have streams of their own.
    size : int
        Rows and columns of an image.
    pixel : float
        Size of a pixel in m, 10 to 80. Waves below a pixel in length act as a blur only.
    looks : float
        Equivalent number of looks of a pixel: speckle has the variance ``1 / looks``. By default about as noisy as
        real quicklooks at 50 m; means over all full-resolution pixels would have some 100.
    nesz : float
        Noise of the radar, sigma0 in dB.
    beam : {"WV1", "WV2"}, optional
        Only this beam (23.8 or 36.8 degrees); both by default.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Dataset
        ``image`` (scene, y, x), uint8, with y (azimuth) and x (range) in m from the corner; along ``scene`` the labels
        ``significant_wave_height``, ``swell_height``, ``swell_wavelength``, ``swell_direction``, ``wind_speed``,
        ``wind_direction``, ``wind_over_waves``, ``cutoff`` and ``incidence``, float32, and ``beam``; and ``tags``
        (scene, tag), boolean, all False where there is nothing but waves and wind. The coordinate ``scene`` is the
        number of the scene.

    Raises
    ------
    InputError
        If an option is out of its range.

    References
    ----------
    Hasselmann et al. (1973), Dtsch. Hydrogr. Z. A8(12), and (1976), J. Phys. Oceanogr. 6, 200-228, the wind sea;
    Mitsuyasu et al. (1975), J. Phys. Oceanogr. 5, 750-760, its spreading; Alpers, Ross and Rufenach (1981), JGR 86,
    6481-6498, and Hasselmann and Hasselmann (1991), JGR 96, 10713-10729, modulation and velocity bunching; Kerbaol,
    Chapron and Vachon (1998), JGR 103, 7833-7846, the cut-off.

    Examples
    --------
    >>> scenes = ocean_scenes(2, seed=1, size=32, progress=False)
    >>> scenes["image"].shape, str(scenes["image"].dtype)
    ((2, 32, 32), 'uint8')
    >>> nothing = ~scenes["tags"].any("tag")
    """
    look = _look(size, pixel, looks, nesz)
    numbers = range(whole("first", first, least=0), first + whole("count", count, least=1))
    states = [draw_ocean_state(seed, number, beam=beam) for number in numbers]
    images = np.empty((count, size, size), np.uint8)
    bar = tqdm(numbers, desc="simulate the ocean", disable=not progress, mininterval=0.5)
    for at, number in enumerate(bar):
        images[at] = stretched(_render(states[at], look, seed, number).intensity)
    return _labelled(images, states, np.arange(first, first + count), pixel)


def ocean_scene(
    state: OceanState | None = None,
    *,
    seed: int = 0,
    index: int = 0,
    size: int = 128,
    pixel: float = 50.0,
    looks: float = 40.0,
    nesz: float = -30.0,
) -> xr.Dataset:
    """One simulated vignette with all that lies behind it: the surface, its motion, and its backscatter.

    Parameters
    ----------
    state : OceanState, optional
        By default that of scene `index` of `ocean_scenes`. Scenes whose states differ by a tag alone share waves, gusts
        and speckle.
    seed, index : int
        Choose the random streams.
    size, pixel, looks, nesz
        As for `ocean_scenes`.

    Returns
    -------
    Dataset
        As from `ocean_scenes` without the dim ``scene``; beside it ``intensity`` (y, x), sigma0 with speckle and noise
        before the stretch; and on samples of half a pixel (y_sample, x_sample) ``elevation`` in m, ``velocity`` towards
        the radar in m/s, ``backscatter``, sigma0 where the sea is, and ``sigma0``, where the radar sees it, before
        speckle and noise. All float32. Waves that the samples do not resolve are not in ``elevation``.

    Raises
    ------
    InputError
        If an option is out of its range or `state` is no OceanState.

    Examples
    --------
    >>> scene = ocean_scene(OceanState(swell_height=3, swell_wavelength=300), size=64)
    >>> bool(abs(4 * scene["elevation"].std() / scene["significant_wave_height"] - 1) < 0.4)
    True
    """
    look = _look(size, pixel, looks, nesz)
    drawn = draw_ocean_state(seed, index)
    state = drawn if state is None else state
    if not isinstance(state, OceanState):
        raise InputError(f"state is a {type(state).__name__}; give an OceanState, such as OceanState(wind_speed=8)")
    if state.swell_wavelength < 1.2 * pixel:
        raise InputError(
            f"a swell of {state.swell_wavelength:g} m is not resolved by pixel={pixel:g}; give a pixel of "
            f"{state.swell_wavelength / 1.2:.0f} m or less"
        )
    seen = _render(state, look, seed, index)
    scene = _labelled(stretched(seen.intensity)[None], [state], np.array([index]), pixel).isel(scene=0, drop=True)
    fine = ("y_sample", "x_sample")
    place = (np.arange(2 * size) + 0.5) * pixel / 2
    return scene.assign(
        intensity=(("y", "x"), seen.intensity, {"long_name": "sigma0 with speckle and noise", "units": "1"}),
        elevation=(fine, seen.surface.elevation, {"long_name": "surface elevation", "units": "m"}),
        velocity=(fine, seen.surface.velocity, {"long_name": "orbital velocity towards the radar", "units": "m s-1"}),
        backscatter=(fine, seen.backscatter, {"long_name": "sigma0 where the sea is", "units": "1"}),
        sigma0=(fine, seen.sigma0, {"long_name": "sigma0 where the radar sees it", "units": "1"}),
    ).assign_coords(
        y_sample=("y_sample", place, {"long_name": "azimuth", "units": "m"}),
        x_sample=("x_sample", place, {"long_name": "ground range", "units": "m"}),
    )


class _Look(NamedTuple):
    size: int
    looks: float
    noise: float
    at: Grid


class _Seen(NamedTuple):
    surface: Surface
    backscatter: Array
    sigma0: Array
    intensity: Array


def _look(size: int, pixel: float, looks: float, nesz: float) -> _Look:
    if whole("size", size, least=16) > 4096:
        raise InputError(f"size={size} is a number of pixels; give 16 to 4096, such as 128")
    if real("pixel", pixel, least=10) > 80:
        raise InputError(f"pixel={pixel} is in m; give 10 to 80, such as 50")
    if not 1 <= real("looks", looks, least=0) <= 1e6:
        raise InputError(f"looks={looks} of a pixel must be 1 to 1e6, such as 40")
    if not -80 <= real("nesz", nesz, least=-1e9) <= 0:
        raise InputError(f"nesz={nesz} is in dB; give -80 to 0, such as -30")
    samples = 2 * size + 2 * _MARGIN
    return _Look(size, float(looks), 10 ** (nesz / 10), grid((samples, samples), pixel / 2))


def _render(state: OceanState, look: _Look, seed: int, index: int) -> _Seen:
    # the sea, then the radar: moved light, blur, ships, noise and speckle
    at, beam = look.at, BEAMS[state.beam]
    incidence, wind = np.deg2rad(beam.incidence), np.deg2rad(state.wind_direction)
    swell = (state.swell_height, state.swell_wavelength, float(np.deg2rad(state.swell_direction)))
    halves = wave_spectra(at, state.wind_sea, wind, swell)
    sea = surface(at, stream(seed, index, _SEA), halves, incidence)
    air, hulls = _above(state, at, seed, index)
    short = stream(seed, index, _SHORT).standard_normal(at.shape, np.float32)
    modulation = sea.modulation + np.float32(texture(state.wind_sea, at, incidence)) * short
    here = np.float32(beam.backscatter(state.wind_speed, wind)) * modulated(modulation) * np.exp(air)
    image = velocity_bunching(here, sea.velocity * np.float32(beam.delay / at.step))
    image = smear(image, state.unresolved(2 * at.step) / at.step)
    if hulls is not None:
        image += np.float32(beam.backscatter(state.wind_speed, wind)) * hulls
    inner = slice(_MARGIN, -_MARGIN)
    sigma0 = image[inner, inner]
    # four samples make a pixel
    noise = speckle(stream(seed, index, _SPECKLE), sigma0.shape, look.looks / 4)
    intensity = averaged((sigma0 + np.float32(look.noise)) * noise)
    cut = Surface(sea.elevation[inner, inner], sea.velocity[inner, inner], sea.modulation[inner, inner])
    return _Seen(cut, here[inner, inner], sigma0, intensity)


def _above(state: OceanState, at: Grid, seed: int, index: int) -> tuple[Array, Array | None]:
    # the logarithm of all factors, and the hulls of ships
    wind = float(np.deg2rad(state.wind_direction))
    beam = BEAMS[state.beam]
    air = phenomena.gusts(stream(seed, index, _GUSTS), at)
    hulls = None
    for tag in state.tags:
        rng = stream(seed, index, _FIRST_TAG + TAGS.index(tag))
        if tag == "targets":
            wakes, hulls = phenomena.targets(rng, at, float(np.deg2rad(beam.incidence)), beam.delay)
            air = air + wakes
        elif tag == "slick":
            air = air + phenomena.slick(rng, at)
        else:
            air = air + getattr(phenomena, tag)(rng, at, wind)
    return air, hulls


#: Labels: attribute of the state, long name, unit.
_LABELS = {
    "significant_wave_height": ("significant wave height of wind sea and swell", "m"),
    "swell_height": ("significant wave height of the swell", "m"),
    "swell_wavelength": ("wavelength at the peak of the swell", "m"),
    "swell_direction": ("direction in which the swell travels, from x towards y", "degree"),
    "wind_speed": ("wind speed at 10 m", "m s-1"),
    "wind_direction": ("direction in which the wind blows, from x towards y", "degree"),
    "wind_over_waves": ("wind speed over phase speed at the peak of the wind sea", "1"),
    "cutoff": ("azimuth cut-off wavelength", "m"),
}


def _labelled(
    images: npt.NDArray[np.uint8], states: list[OceanState], numbers: npt.NDArray[np.int64], pixel: float
) -> xr.Dataset:
    place = (np.arange(images.shape[-1]) + 0.5) * pixel
    labels: dict[str, Any] = {
        name: ("scene", np.array([getattr(state, name) for state in states], np.float32),
               {"long_name": text, "units": unit})
        for name, (text, unit) in _LABELS.items()
    }  # fmt: skip
    angles = np.array([BEAMS[state.beam].incidence for state in states], np.float32)
    flags = np.array([[tag in state.tags for tag in TAGS] for state in states])
    return xr.Dataset(
        {
            "image": (
                ("scene", "y", "x"),
                images,
                {"long_name": "stretched backscatter", "units": "1", "sensor": "SAR"},
            ),
            **labels,
            "incidence": ("scene", angles, {"long_name": "incidence angle", "units": "degree"}),
            "beam": ("scene", np.array([state.beam for state in states], object), {"long_name": "beam"}),
            "tags": (("scene", "tag"), flags, {"long_name": "what the scene holds beside waves"}),
        },
        coords={
            "scene": ("scene", numbers, {"long_name": "number of the scene"}),
            "tag": np.array(TAGS, object),
            "y": ("y", place, {"long_name": "azimuth", "units": "m"}),
            "x": ("x", place, {"long_name": "ground range", "units": "m"}),
        },
        attrs={"title": "simulated scenes of Sentinel-1's wave mode", "sensor": "SAR"},
    )

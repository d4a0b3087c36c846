"""Atmospheres for simulated scenes: how their states are drawn, and what they do at every wavelength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dctn, idctn

from s2koop._numbers import real, whole
from s2koop.ac.lut import AEROSOLS, LIMITS, Atmosphere, Table
from s2koop.ac.transfer import Coefficients
from s2koop.errors import InputError
from s2koop.simulate.fields import Array, smooth_fields
from s2koop.simulate.spectra import WAVELENGTH

#: Distance in m over which neighbours lose their influence on the light that the air scatters into the view.
ADJACENCY_LENGTH = 1000.0
#: Depth of the aerosol falls with wavelength to this power: near to the models of 6S.
_ANGSTROM = {"continental": 1.2, "maritime": 0.3, "urban": 1.3, "desert": 0.4}
#: Name under which the table gets a sensor of one band per wavelength.
_EVERY = "every wavelength"


def draw_atmospheres(count: int, rng: np.random.Generator, *, sun: tuple[float, float] = (18.0, 70.0)) -> Atmosphere:
    """Draw states of the atmosphere and angles as scenes of Sentinel-2 have them.

    Aerosol is lognormal (median 0.13, sigma 0.75, from 0.02 to 0.8), water vapour too (1.6 g/cm², 0.6, from 0.15 to
    5), ozone normal (0.32 +- 0.035 cm-atm), the view at 0 to 11.5 degrees, the azimuth between sun and view anything,
    and altitude exponential with a mean of 400 m.

    Parameters
    ----------
    count : int
        Number of states.
    rng : numpy.random.Generator
        Where the numbers come from.
    sun : tuple of float
        Least and most of the zenith angle of the sun, degrees.

    Returns
    -------
    Atmosphere of float32 arrays (count,)

    Examples
    --------
    >>> drawn = draw_atmospheres(1000, np.random.default_rng(0))
    >>> bool(0.1 < np.median(drawn.aot) < 0.16)
    True
    """
    number = whole("count", count, least=1)
    drawn = Atmosphere(
        aot=np.clip(0.13 * np.exp(0.75 * rng.standard_normal(number)), 0.02, 0.8),
        water_vapour=np.clip(1.6 * np.exp(0.6 * rng.standard_normal(number)), 0.15, 5.0),
        ozone=np.clip(0.32 + 0.035 * rng.standard_normal(number), 0.2, 0.45),
        sza=rng.uniform(*sun, number),
        vza=rng.uniform(0, 11.5, number),
        raa=rng.uniform(0, 180, number),
        altitude=np.minimum(rng.exponential(400.0, number), LIMITS["altitude"][1]),
    )
    return Atmosphere(*(np.asarray(values, np.float32) for values in drawn))


def aerosol_shares(aerosol: str | Mapping[str, float]) -> dict[str, float]:
    """One aerosol model, or the shares of several, checked and with the sum 1."""
    given = {aerosol: 1.0} if isinstance(aerosol, str) else dict(aerosol)
    unknown = [name for name in given if name not in AEROSOLS]
    if unknown:
        raise InputError(f"aerosol {unknown[0]!r} is unknown; choose among {', '.join(AEROSOLS)}")
    shares = {name: real(f"aerosol[{name!r}]", share, least=0) for name, share in given.items()}
    total = sum(shares.values())
    if not total:
        raise InputError("aerosol shares sum to 0; give at least one a share above 0")
    return {name: share / total for name, share in shares.items()}


def draw_aerosols(shares: Mapping[str, float], unit: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """An aerosol model for each number (...) from 0 to 1, by their shares."""
    ends = np.cumsum(list(shares.values()))[:-1]
    return np.array(list(shares))[np.searchsorted(ends, unit, side="right")]


def smooth_field(rng: np.random.Generator, mean: float, spread: float, size: int, most: float) -> Array:
    """A field (y, x) that varies over half the scene: this mean, nearly this relative spread, at most `most`."""
    field = smooth_fields(rng, 1, (size, size), size / 2)[0]
    if not spread:
        return np.full((size, size), mean, np.float32)
    factor = np.exp(spread * (field - field.mean()) / max(float(field.std()), 1e-6))
    change = factor / factor.mean() - 1
    room = most / mean - 1  # the spread gives way where the table ends, so that the mean stays
    return (mean * (1 + change * min(1.0, room / max(float(change.max()), 1e-6)))).astype(np.float32)


def band_weights(table: Table, sensor: str, bands: Sequence[str]) -> Array:
    """Share of each wavelength of `WAVELENGTH` in the sunlight that a band sees: (band, wavelength)."""
    names = table.bands(sensor)
    response = np.asarray(table.tensors[f"response.{table.built_in(sensor)}"], np.float64)
    rows = response[[names.index(band) for band in bands]] * np.asarray(table.tensors["solar"], np.float64)
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


def spectra(
    table: Table, atmosphere: Atmosphere, aerosol: npt.NDArray[np.str_], used: npt.NDArray[np.int64]
) -> Coefficients:
    """The three numbers (state, wavelength) at the wavelengths `used` (indices), for states and aerosols (state,)."""
    every = _every_wavelength(table, tuple(used))
    out = Coefficients(*(np.empty((len(aerosol), len(used)), np.float32) for _ in Coefficients._fields))
    for name in np.unique(aerosol):
        rows = np.flatnonzero(aerosol == name)
        states = Atmosphere(*(values[rows] for values in atmosphere))
        for found, part in zip(out, every.coefficients(_EVERY, states, str(name)), strict=True):
            found[rows] = part
    return out


@lru_cache(maxsize=8)
def _every_wavelength(table: Table, used: tuple[int, ...]) -> Table:
    """The table with a sensor that has one band for each of these wavelengths."""
    identity = {f"response.{_EVERY}": torch.eye(len(WAVELENGTH))[list(used)]}
    names = {_EVERY: tuple(f"{WAVELENGTH[at]:g} nm" for at in used)}
    return replace(table, tensors={**table.tensors, **identity}, names={**table.names, **names})


def in_bands(spectrum: Coefficients, weights: Array) -> Coefficients:
    """Weigh spectral numbers (..., wavelength) to bands (..., band); the albedo counts where light comes through."""
    gain = spectrum.gain @ weights.T
    return Coefficients(spectrum.path @ weights.T, gain, (spectrum.gain * spectrum.albedo) @ weights.T / gain)


def scattered_share(
    state: Atmosphere, aerosol: str | npt.NDArray[np.str_], wavelength: npt.NDArray[np.float64]
) -> Array:
    """Share of the light from the ground that reaches the sensor after being scattered: from neighbours.

    States (...) give shares (..., wavelength). What goes straight is ``exp(-depth / cos vza)``. What arrives at all is
    near to ``exp(-(0.52 molecules + 0.167 aerosol) / cos vza)``: Tanré et al. (1979), Applied Optics 18. The depth of
    molecules is that of Hansen and Travis (1974), Space Science Reviews 16.
    """
    micron = wavelength / 1000
    molecules = 0.008569 * micron**-4 * (1 + 0.0113 * micron**-2 + 0.00013 * micron**-4)
    power = np.vectorize(_ANGSTROM.__getitem__, otypes=[float])(aerosol)
    aot, altitude, vza, power = (np.asarray(v, float)[..., None] for v in (state.aot, state.altitude, state.vza, power))
    molecules = molecules * (1 - 0.0065 * altitude / 288.15) ** 5.31
    lost = (0.48 * molecules + 0.833 * aot * (550 / wavelength) ** power) / np.cos(np.radians(vza))
    return -np.expm1(-lost).astype(np.float32)


def surroundings(planes: Array, resolution: float) -> Array:
    """Planes (..., y, x) as the scattered light sees them: weighted by ``exp(-distance / 1 km)``; the mean stays.

    Beyond its edges the scene goes on as its mirror image.
    """
    rows, columns = (np.pi * np.arange(size) / (size * resolution) for size in planes.shape[-2:])
    response = (1 + ADJACENCY_LENGTH**2 * (rows[:, None] ** 2 + columns**2)) ** -1.5  # transform of the exponential
    return idctn(dctn(planes, axes=(-2, -1)) * response.astype(np.float32), axes=(-2, -1)).astype(np.float32)


def nodes_and_weights(state: Atmosphere, aot: Array, water: Array) -> tuple[Atmosphere, Array | None]:
    """Few states (node,) that span the fields (pixel,) of one scene, and the weights (pixel, node) to interpolate.

    Parabolas through least, middle and most: within a scene the atmosphere does not vary enough to need more.
    """
    aot_nodes, aot_weights = _parabola(aot)
    water_nodes, water_weights = _parabola(water)
    count = len(aot_nodes) * len(water_nodes)
    nodes = Atmosphere(*(np.full(count, value, np.float32) for value in state))._replace(
        aot=np.repeat(aot_nodes, len(water_nodes)), water_vapour=np.tile(water_nodes, len(aot_nodes))
    )
    if count == 1:
        return nodes, None
    return nodes, (aot_weights[:, :, None] * water_weights[:, None]).reshape(len(aot), count)


def _parabola(values: Array) -> tuple[Array, Array]:
    low, high = values.min(), values.max()
    if high - low < 1e-6:
        return values[:1], np.ones((len(values), 1), np.float32)
    place = 2 * (values - low) / (high - low) - 1
    weights = np.stack([place * (place - 1) / 2, 1 - place**2, place * (place + 1) / 2], axis=1)
    return np.array([low, (low + high) / 2, high], np.float32), weights.astype(np.float32)

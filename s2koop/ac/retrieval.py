"""From a posterior of the atmosphere to corrected reflectance: aerosol models marginalised, all errors propagated.

A correction needs three numbers per band. Under a posterior they are uncertain, and their covariance, 3 x 3 per band,
holds what aerosol, water vapour, ozone and the choice among aerosol models leave open. The derivatives of the inverse
by the three numbers are known in closed form, so every pixel gets a spread for the price of some products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from s2koop.ac.adjacency import depths, scattered_share
from s2koop.ac.features import OZONE, OZONE_ERROR
from s2koop.ac.lut import LIMITS, Atmosphere, Table
from s2koop.ac.transfer import Coefficients, to_boa

Array = npt.NDArray[np.floating[Any]]

#: Steps in standard deviations, and weights, of a three-point Gauss-Hermite rule: exact for parabolas and cubics.
_STEPS, _WEIGHTS = np.array([-(3**0.5), 0.0, 3**0.5]), np.array([1 / 6, 2 / 3, 1 / 6])
#: Bands in which aerosol is what a dark pixel shows most of.
VISIBLE = ("B01", "B02", "B03", "B04", "BLUE", "RED")
#: What counts as the darkest pixels of a scene, and how far below 0 noise may bring them.
DARKEST, BELOW_ZERO = 0.01, 0.002
#: Aerosols that are tried for the thickest that can be: so many, from none to so many times the likely one.
_NODES, _MOST = 13, 2.0
#: Thicker than any aerosol.
_NO_LIMIT = 10.0


class Posterior(NamedTuple):
    """What is known of the atmosphere over scenes.

    Attributes
    ----------
    models : tuple of str
        Aerosol models among which there is a choice.
    probability : array (scene, model)
        With the sum 1 over models.
    aot, aot_error : array (scene, model)
        Aerosol optical thickness under each model, and its standard deviation.
    water_vapour, water_vapour_error : array (scene,)
        g/cm², and the standard deviation of its logarithm.
    """

    models: tuple[str, ...]
    probability: Array
    aot: Array
    aot_error: Array
    water_vapour: Array
    water_vapour_error: Array

    def moments(self) -> dict[str, Array]:
        """Mean and standard deviation (scene,) of aerosol and water vapour over all models."""
        aot = (self.probability * self.aot).sum(1)
        second = (self.probability * (self.aot**2 + self.aot_error**2)).sum(1)
        return {
            "aot": aot,
            "aot_spread": np.sqrt(np.maximum(second - aot**2, 0)),
            "water_vapour": self.water_vapour,
            "water_vapour_spread": self.water_vapour * self.water_vapour_error,
        }

    def given(self, model: str) -> Posterior:
        """The posterior of who knows the aerosol's model."""
        at = self.models.index(model)
        part = slice(at, at + 1)
        return self._replace(models=(model,), probability=np.ones_like(self.probability[:, part]),
                             aot=self.aot[:, part], aot_error=self.aot_error[:, part])  # fmt: skip

    def below(self, highest: Array, softness: float = 0.02) -> Posterior:
        """The posterior of who also knows that the aerosol is no thicker than `highest` (scene,).

        A limit that is itself known to a standard deviation of `softness` multiplies a normal density by a normal
        distribution function; mean and variance of that are known in closed form. All models shrink alike.
        """
        moments = self.moments()
        mean, spread = moments["aot"], np.maximum(moments["aot_spread"], 1e-3)
        wide = np.hypot(spread, softness)
        place = (highest - mean) / wide
        steep = np.exp(-0.5 * place**2 - log_ndtr(place)) / np.sqrt(2 * np.pi)
        thinner = np.maximum(mean - spread**2 / wide * steep, 0) / np.maximum(mean, 1e-3)
        surer = np.sqrt(np.maximum(1 - (spread / wide) ** 2 * steep * (place + steep), 1e-4))
        return self._replace(aot=self.aot * thinner[:, None], aot_error=self.aot_error * surer[:, None])


class Air(NamedTuple):
    """The three numbers of each band of each scene, and their covariance.

    Attributes
    ----------
    mean : Coefficients of arrays (scene, band)
    covariance : array (scene, band, 3, 3)
        In the order path, gain, albedo.
    """

    mean: Coefficients
    covariance: Array


def pooled(members: Sequence[Posterior]) -> Posterior:
    """One posterior with the mean and variance of the mixture of several."""
    probability = np.mean([m.probability for m in members], 0)
    aot = np.mean([m.aot for m in members], 0)
    second = np.mean([m.aot**2 + m.aot_error**2 for m in members], 0)
    logs = np.log([m.water_vapour for m in members])
    variance = np.mean([m.water_vapour_error**2 for m in members], 0) + logs.var(0)
    return Posterior(
        members[0].models, probability, aot, np.sqrt(second - aot**2), np.exp(logs.mean(0)), np.sqrt(variance)
    )


def highest_aot(
    dark: Array, posterior: Posterior, geometry: Atmosphere, *, table: Table, sensor: Any, bands: Sequence[str]
) -> Array:
    """The thickest aerosol (scene,) under which the darkest pixels still reflect, in visible bands.

    Networks that learned from simulated surfaces may take the darkness of real ones for something else; that nothing
    reflects less than nothing holds on any of them.

    Parameters
    ----------
    dark : array (scene, band)
        Reflectance of the darkest pixels at the top of the atmosphere, in all `bands`.
    posterior : Posterior
        For water vapour, and for its models: aerosol is a multiple of what they have.
    geometry, table, sensor, bands
        As for `air_under`.
    """
    visible = [at for at, band in enumerate(bands) if band in VISIBLE]
    aot = posterior.moments()["aot"]
    if not visible:
        return np.full(len(aot), _NO_LIMIT)
    times = np.linspace(0, _MOST, _NODES)
    state = Atmosphere(*(np.broadcast_to(np.asarray(value)[:, None], (len(aot), _NODES)) for value in geometry))
    water = _within("water_vapour", posterior.water_vapour)[:, None]
    state = state._replace(water_vapour=water, ozone=np.full(state.ozone.shape, OZONE))
    names, numbers = [bands[band] for band in visible], np.zeros((*state.aot.shape, len(visible), 3))
    for at, model in enumerate(posterior.models):
        aerosol = _within("aot", posterior.aot[:, at, None] * times)
        share = posterior.probability[:, at, None, None, None]
        numbers += share * _numbers(state._replace(aot=aerosol), model, table, sensor, names)
    # how far the darkest band is above the least that there can be, (scene, node): falls as the aerosol thickens
    left = to_boa(dark[:, None, visible], Coefficients(*np.moveaxis(numbers, -1, 0))).min(-1) + BELOW_ZERO
    first = np.where((left < 0).any(1), (left < 0).argmax(1), _NODES)
    rows, before = np.arange(len(aot)), np.clip(first - 1, 0, _NODES - 2)
    high, low = left[rows, before], left[rows, before + 1]
    share = np.clip(high / np.maximum(high - low, 1e-9), 0, 1)
    return np.where(first == _NODES, _NO_LIMIT, aot * (times[before] + share * times[1]))


def air_under(
    posterior: Posterior, geometry: Atmosphere, *, table: Table, sensor: Any, bands: Sequence[str],
    ozone: Array | None = None, ozone_error: float = OZONE_ERROR,
) -> Air:  # fmt: skip
    """The three numbers under a posterior, and how uncertain they are.

    Aerosol is integrated with three points under each model; water vapour and ozone are varied one by one.

    Parameters
    ----------
    posterior : Posterior
    geometry : Atmosphere of arrays (scene,)
        Angles and altitude.
    table : Table
    sensor, bands
        As for `Table.coefficients`.
    ozone : array (scene,), optional
        cm-atm; 0.32 by default.
    ozone_error : float
        Its standard deviation.

    Returns
    -------
    Air
    """
    count = len(posterior.aot)
    column = np.full(count, OZONE) if ozone is None else np.broadcast_to(ozone, (count,))
    base = geometry._replace(ozone=column, water_vapour=_within("water_vapour", posterior.water_vapour))
    mean = np.zeros((count, len(bands), 3))
    second = np.zeros((*mean.shape, 3))
    for at, model in enumerate(posterior.models):
        for step, weight in zip(_STEPS, _WEIGHTS, strict=True):
            aot = _within("aot", posterior.aot[:, at] + step * posterior.aot_error[:, at])
            numbers = _numbers(base._replace(aot=aot), model, table, sensor, bands)
            share = (weight * posterior.probability[:, at])[:, None, None]
            mean = mean + share * numbers
            second = second + share[..., None] * numbers[..., None] * numbers[..., None, :]
    covariance = second - mean[..., None] * mean[..., None, :]
    likely = np.array(posterior.models)[posterior.probability.argmax(1)]
    aot = _within("aot", np.take_along_axis(posterior.aot, posterior.probability.argmax(1)[:, None], 1)[:, 0])
    water = posterior.water_vapour * np.exp(np.array([-1.0, 1.0])[:, None] * posterior.water_vapour_error)
    for name, low, high in (("water_vapour", *water), ("ozone", column - ozone_error, column + ozone_error)):
        ends = [
            _by_model(base._replace(aot=aot, **{name: _within(name, value)}), likely, table, sensor, bands)
            for value in (low, high)
        ]
        half = (ends[1] - ends[0]) / 2
        covariance = covariance + half[..., None] * half[..., None, :]
    return Air(Coefficients(*np.moveaxis(mean, -1, 0)), covariance)


def share_under(
    posterior: Posterior, geometry: Atmosphere, *, table: Table, sensor: Any, bands: Sequence[str]
) -> Array:
    """Share (scene, band) of the light from the ground that was scattered, so that neighbours sent it.

    Arguments as for `air_under`.
    """
    shares = [
        scattered_share(depths(table, sensor, bands, name), posterior.aot[:, at], geometry.altitude, geometry.vza).T
        for at, name in enumerate(posterior.models)
    ]
    return np.einsum("sm,msb->sb", posterior.probability, np.stack(shares))


def invert(toa: Array, mean: Coefficients, covariance: Array, noise: Array | None = None) -> tuple[Array, Array]:
    """Surface reflectance and its standard deviation.

    Parameters
    ----------
    toa : array (..., band, pixel)
    mean : Coefficients of arrays (..., band)
    covariance : array (..., band, 3, 3)
        Of the three numbers.
    noise : array (..., band), optional
        Standard deviation of the sensor's noise over the root of the reflectance (`simulate.toa.sensor_noise`).

    Returns
    -------
    array, array (..., band, pixel)
    """
    path, gain, albedo = (value[..., None] for value in mean)
    covariance = covariance[..., None]
    squared = 0.0 if noise is None else noise[..., None] ** 2
    # With y = (toa - path) / gain and q = 1 / (1 + albedo y), derivatives by the three numbers are q² / gain times -1,
    # -y and -gain y², and shot noise is linear in y: the variance is a polynomial of y, times (q² / gain)².
    powers = (
        covariance[..., 0, 0, :] + squared * path,
        2 * covariance[..., 0, 1, :] + squared * gain,
        covariance[..., 1, 1, :] + 2 * gain * covariance[..., 0, 2, :],
        2 * gain * covariance[..., 1, 2, :],
        gain**2 * covariance[..., 2, 2, :],
    )
    y = (toa - path) / gain
    q = 1 / (1 + albedo * y)
    variance = powers[-1] * y
    for power in powers[-2:0:-1]:
        variance += power
        variance *= y
    variance += powers[0]
    return y * q, np.sqrt(np.maximum(variance, 0, out=variance), out=variance) * q * q / gain


def _numbers(state: Atmosphere, model: str, table: Table, sensor: Any, bands: Sequence[str]) -> Array:
    """Path, gain and albedo (scene, band, 3)."""
    return np.stack(table.coefficients(sensor, state, model, list(bands)), -1)


def _by_model(
    state: Atmosphere, models: npt.NDArray[np.str_], table: Table, sensor: Any, bands: Sequence[str]
) -> Array:
    """The same, each scene under a model of its own."""
    out = np.empty((len(models), len(bands), 3))
    for model in np.unique(models):
        rows = models == model
        part = Atmosphere(*(np.broadcast_to(value, rows.shape)[rows] for value in state))
        out[rows] = _numbers(part, str(model), table, sensor, bands)
    return out


def _within(name: str, values: Array) -> Array:
    return np.clip(values, *LIMITS[name])

"""Training of emulators: scenes drawn anew for every step, and errors judged on a split that training never saw."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.optimize import minimize
from torch import Tensor, nn
from tqdm.auto import tqdm

from s2koop.ac import losses
from s2koop.ac.adjacency import surroundings, without_neighbours
from s2koop.ac.emulator import AcModel, EmulatorSettings, make_network
from s2koop.ac.features import OZONE, as_floats, geometry_features, reference_features
from s2koop.ac.lut import Atmosphere, Table
from s2koop.ac.networks import LOCAL, Context, Local, Retrieval
from s2koop.ac.retrieval import air_under, invert, share_under
from s2koop.ac.transfer import Coefficients, to_boa
from s2koop.simulate.atmosphere import (
    ADJACENCY_LENGTH,
    aerosol_shares,
    band_weights,
    draw_aerosols,
    draw_atmospheres,
    in_bands,
    scattered_share,
    spectra,
)
from s2koop.simulate.atmosphere import surroundings as neighbours
from s2koop.simulate.mosaics import SLOTS, Mosaics, draw_mosaics
from s2koop.simulate.spectra import WAVELENGTH
from s2koop.simulate.toa import render, sensor_noise, toa_scenes

#: Rows and columns of the surfaces to cut from, and of the windows that samples of a scene come from.
SIZE = 48
WINDOWS = (16, 32, 48)
#: Pixels of the surfaces in m, where neighbours send light: a scene is 0.5 to 3 km across.
METRES = (10.0, 20.0, 40.0, 60.0)
#: Knots of smooth factors on spectra, and reflectance that these do not lead beyond.
KNOTS, BRIGHTEST = 7, 0.9
#: Scenes of the validation split that errors are taken from, and their rows and columns.
JUDGED, JUDGED_SIZE = 150, 40
#: Weight of the likelihood of the atmosphere beside errors of reflectance.
SKY_WEIGHT = 1e-4
#: Normal quantile of the 90 % interval.
_NINETY = 1.6449


class Samples(NamedTuple):
    """Scenes for one step: (scene, band, y, x); samples of pixels have them in one row.

    Attributes
    ----------
    toa, boa : Tensor, shape (scene, band, y, x)
    state : Atmosphere of tensors (scene,)
    model : Tensor of int64, shape (scene,)
        Index of the aerosol model in the settings.
    around : Tensor, shape (scene, band, y, x), optional
        Reflectance of the neighbours.
    share : Tensor, shape (scene, band), optional
        Of the light from the ground, what neighbours sent.
    """

    toa: Tensor
    boa: Tensor
    state: Atmosphere
    model: Tensor
    around: Tensor | None = None
    share: Tensor | None = None

    def surface(self, c: Coefficients) -> Tensor:
        """What the measurement says of the surface under three numbers (scene, band), neighbours taken into account."""
        c = Coefficients(*(value[..., None, None] for value in c))
        uniform = to_boa(self.toa, c)
        if self.around is None or self.share is None:
            return uniform
        return without_neighbours(uniform, self.around, c.albedo, self.share[..., None, None])


class Scenes:
    """Simulated surfaces of one split, under a new atmosphere whenever they are drawn."""

    def __init__(self, settings: EmulatorSettings, table: Table, split: str, scenes: int, seed: int) -> None:
        self.settings, self.table = settings, table
        weights = band_weights(table, settings.sensor, settings.bands)
        self.used = np.flatnonzero(weights.any(axis=0))
        self.weights = weights[:, self.used]
        mosaics = draw_mosaics(split, scenes=scenes, size=SIZE, seed=seed)
        self.mosaics = replace(mosaics, spectra=mosaics.spectra[..., self.used])
        if settings.adjacency:
            self.mosaics = replace(self.mosaics, around=_around(mosaics.mixture, seed))
        self.shares = aerosol_shares(settings.aerosol)

    def patches(self, rng: np.random.Generator, count: int) -> Samples:
        """Square patches."""
        return self._seen(self.mosaics.patches(rng, count, self.settings.patch), rng)

    def pixels(self, rng: np.random.Generator, count: int) -> Samples:
        """Samples of the pixels of windows, small or large."""
        size = int(rng.choice(WINDOWS))
        cut = self.mosaics.patches(rng, count, size)
        pick = rng.integers(size * size, size=(count, 1, self.settings.pixels))

        def picked(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return np.take_along_axis(planes.reshape(count, SLOTS, -1), pick, 2)[:, :, None]

        around = None if cut.around is None else picked(cut.around)
        return self._seen(replace(cut, mixture=picked(cut.mixture), around=around), rng)

    def _seen(self, cut: Mosaics, rng: np.random.Generator) -> Samples:
        s = self.settings
        state = draw_atmospheres(len(cut), rng, sun=s.sun)
        models = draw_aerosols(self.shares, rng.random(len(cut)))
        air = spectra(self.table, state, models, self.used)
        if s.variety:
            cut = replace(cut, spectra=varied(cut.spectra, WAVELENGTH[self.used], s.variety, rng))
        boa, bands = cut.seen(self.weights), in_bands(air, self.weights)
        transmitted, around, share = cut.seen(self.weights, air.gain), None, None
        if cut.around is not None:
            spectrum = scattered_share(state, models, WAVELENGTH[self.used])
            transmitted = cut.seen(self.weights, air.gain * (1 - spectrum))
            transmitted += cut.seen(self.weights, air.gain * spectrum, around=True)
            around = cut.seen(self.weights, around=True)
            share = (air.gain * spectrum) @ self.weights.T / bands.gain
        toa = render(
            boa, bands, transmitted=transmitted, ground=around, noise=sensor_noise(s.sensor, s.bands, state.sza),
            gain_error=s.gain_error, generator=rng,
        )  # fmt: skip
        index = torch.tensor([s.models.index(str(model)) for model in models])
        return Samples(
            torch.from_numpy(toa), torch.from_numpy(boa), as_floats(state), index,
            None if around is None else torch.from_numpy(around), None if share is None else torch.from_numpy(share),
        )  # fmt: skip


def varied(
    spectra: npt.NDArray[np.float32], wavelength: npt.NDArray[np.float64], size: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Spectra (..., wavelength) times smooth random factors, whose logarithms have the standard deviation `size`.

    They vary over some octaves of the wavelength, as absorption by pigments, iron or moisture does.
    """
    place = np.log(wavelength / 400) / np.log(2400 / 400) * (KNOTS - 1)
    bumps = np.exp(-0.5 * (place - np.arange(KNOTS)[:, None]) ** 2)
    bumps = (size * bumps / np.sqrt((bumps**2).sum(0))).astype(np.float32)
    factor = np.exp(rng.standard_normal((*spectra.shape[:-1], KNOTS), np.float32) @ bumps)
    return np.minimum(spectra * factor, np.maximum(spectra, BRIGHTEST))


def _around(mixture: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """The mixture of the neighbours, for pixels of another size in each scene."""
    metres = np.random.default_rng([seed, 1]).choice(METRES, len(mixture))
    return np.stack([neighbours(planes, size) for planes, size in zip(mixture, metres, strict=True)])


def trained_member(scenes: Scenes, member: int, progress: bool) -> nn.Module:
    """One network of an ensemble; it does not depend on the others."""
    s = scenes.settings
    network, rng = make_network(s, member), np.random.default_rng([s.seed, member])
    _start(network, scenes, rng)
    _train(network, scenes, rng, f"{s.kind} {member + 1}/{s.members}" if progress else None)
    return network


def _start(network: nn.Module, scenes: Scenes, rng: np.random.Generator) -> None:
    """Standardise by a first draw."""
    if isinstance(network, Local):
        network.standardise(_planes(scenes.patches(rng, 256), scenes.settings, rng))
        return
    drawn = scenes.pixels(rng, 256)
    pixels = _as_pixels(drawn.toa)
    if isinstance(network, Context):
        network.standardise(pixels)
        return
    assert isinstance(network, Retrieval)
    s = scenes.settings
    features = reference_features(pixels, drawn.state, table=scenes.table, sensor=s.sensor, bands=s.bands)
    network.encoder.standardise(features)


def _train(network: nn.Module, scenes: Scenes, rng: np.random.Generator, label: str | None) -> None:
    s = scenes.settings
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=s.learning_rate, weight_decay=1e-4)
    total = s.steps + 1
    rise = min(max(0.2, 2 / total), 0.9)  # a rise has to last for a step
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, s.learning_rate, total_steps=total, pct_start=rise)
    bar = tqdm(range(s.steps), desc=label, disable=label is None)
    for step in bar:
        drawn = scenes.patches(rng, s.batch) if s.kind in LOCAL else scenes.pixels(rng, s.batch)
        loss = _loss(network, drawn, scenes, rng)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        cycle.step()
        if label is not None and step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")


def _loss(network: nn.Module, drawn: Samples, scenes: Scenes, rng: np.random.Generator) -> Tensor:
    s = scenes.settings
    if isinstance(network, Retrieval):
        return _retrieval_loss(network, drawn, scenes)
    if isinstance(network, Context):
        pixels, known = _as_pixels(drawn.toa), geometry_features(drawn.state)
        code, sky = network.scene(pixels, known, torch.ones(pixels.shape[:2], dtype=torch.bool))
        found = network(pixels, code).swapaxes(1, 2)[:, :, None]
        loss = _reflectance_loss(found, drawn.boa, s)
        loss = loss + SKY_WEIGHT * losses.sky(sky, drawn.state.aot, drawn.state.water_vapour, drawn.model)
        if s.transfer:
            rows = torch.arange(len(drawn.model))
            state = drawn.state._replace(aot=sky.aot[rows, drawn.model], water_vapour=sky.water_vapour)
            loss = loss + s.transfer * losses.transfer(found, drawn.toa, _coefficients(state, drawn, scenes))
        return loss
    assert isinstance(network, Local)
    found = network(_planes(drawn, s, rng))
    truth = _inner(drawn.boa, network.radius)
    loss = _reflectance_loss(found, truth, s)
    if s.structure:
        loss = loss + s.structure * losses.structure(found, truth)
    if s.transfer:
        toa = _inner(drawn.toa, network.radius)
        loss = loss + s.transfer * losses.transfer(found, toa, _coefficients(drawn.state, drawn, scenes))
    return loss


def _reflectance_loss(found: Tensor, truth: Tensor, s: EmulatorSettings) -> Tensor:
    loss = losses.l1(found, truth)
    if s.specification:
        loss = loss + s.specification * losses.specification(found, truth)
    if s.angle:
        loss = loss + s.angle * losses.spectral_angle(found, truth)
    return loss


def _retrieval_loss(network: Retrieval, drawn: Samples, scenes: Scenes) -> Tensor:
    """Errors of the surface that physics finds under the retrieved sky, with the model known and not, and of the sky.

    What counts is the surface: an error of aerosol over what is bright in all bands may be large and matter little.
    """
    s = scenes.settings
    pixels = _as_pixels(drawn.toa)
    valid = torch.ones(pixels.shape[:2], dtype=torch.bool)
    features = reference_features(pixels, drawn.state, table=scenes.table, sensor=s.sensor, bands=s.bands)
    sky = network(features, geometry_features(drawn.state), valid)
    numbers = []
    for at, model in enumerate(s.models):
        air = drawn.state._replace(
            aot=sky.aot[:, at], water_vapour=sky.water_vapour, ozone=torch.full_like(drawn.state.ozone, OZONE)
        )
        numbers.append(torch.stack(scenes.table.coefficients(s.sensor, air, model, list(s.bands))))
    every = torch.stack(numbers)  # (model, number, scene, band)
    loss = SKY_WEIGHT * losses.sky(sky, drawn.state.aot, drawn.state.water_vapour, drawn.model)
    known = torch.nn.functional.one_hot(drawn.model, len(s.models)).to(every)
    for share in (known, torch.softmax(sky.logits, -1)) if len(s.models) > 1 else (known,):
        c = Coefficients(*torch.einsum("mnsb,sm->nsb", every, share))
        loss = loss + _reflectance_loss(drawn.surface(c), drawn.boa, s)
    return loss


def _coefficients(state: Atmosphere, drawn: Samples, scenes: Scenes) -> Coefficients:
    """The three numbers (scene, band), each scene under its own aerosol model; differentiable by the state."""
    s = scenes.settings
    order, parts = [], []
    for at, model in enumerate(s.models):
        rows = torch.nonzero(drawn.model == at)[:, 0]
        if len(rows):
            order.append(rows)
            part = Atmosphere(*(value[rows] for value in state))
            parts.append(scenes.table.coefficients(s.sensor, part, model, list(s.bands)))
    back = torch.argsort(torch.cat(order))
    return Coefficients(*(torch.cat(values)[back] for values in zip(*parts, strict=True)))


def _planes(drawn: Samples, s: EmulatorSettings, rng: np.random.Generator) -> Tensor:
    """What a local network is given: bands, and water vapour as one knows it, within 0.1 g/cm²."""
    if not s.water_vapour:
        return drawn.toa
    known = drawn.state.water_vapour + 0.1 * torch.from_numpy(rng.standard_normal(len(drawn.model), np.float32))
    plane = known[:, None, None, None].expand(-1, 1, *drawn.toa.shape[2:])
    return torch.cat([drawn.toa, plane], 1)


def _as_pixels(planes: Tensor) -> Tensor:
    return planes.flatten(2).swapaxes(1, 2)


def _inner(planes: Tensor, margin: int) -> Tensor:
    return planes[..., margin:-margin, margin:-margin] if margin else planes


def calibrated(model: AcModel, table: Table) -> AcModel:
    """The model with the errors that it makes on scenes of the validation split, so that its spread is honest.

    Per band, a constant, a part relative to reflectance and a factor on what the model knows of its error are fitted by
    maximum likelihood, and then scaled so that 90 % intervals hold 90 % of the truth: errors have heavier tails than
    a normal distribution.
    """
    s = model.settings
    drawn = toa_scenes(
        "validation", scenes=JUDGED, size=JUDGED_SIZE, sensor=s.sensor, aerosol=dict(s.aerosol), table=table,
        adjacency=s.adjacency,
    )  # fmt: skip
    assert isinstance(drawn, xr.Dataset)
    scenes = drawn.sel(band=list(s.bands))
    truth = scenes["boa"].values
    found, known = corrected(model, scenes, table)
    mae = np.abs(found - truth).mean((0, 2, 3))
    if s.kind == "hybrid" and len(s.models) > 1:  # half of the users know the aerosol's model
        told = corrected(model, scenes, table, scenes["aerosol"].values)
        found, known = np.concatenate([found, told[0]]), np.concatenate([known, told[1]])
        truth = np.tile(truth, (2, 1, 1, 1))
    parts = torch.tensor(
        [
            _fit_error(np.abs(found - truth)[:, band].ravel(), found[:, band].ravel(), known[:, band].ravel())
            for band in range(len(s.bands))
        ],
        dtype=torch.float32,
    )
    counted = [at for at, band in enumerate(s.bands) if band != "B09"]
    card = {"validation_mae": round(float(mae[counted].mean()), 5),
            "validation_mae_of_bands": {
            band: round(float(value), 5) for band, value in zip(s.bands, mae, strict=True)
        }}  # fmt: skip
    return replace(model, error=parts[:, :2].clone(), factor=parts[:, 2].clone(), card={**model.card, **card})


def corrected(
    model: AcModel,
    scenes: xr.Dataset,
    table: Table,
    aerosol: npt.NDArray[np.str_] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Surface reflectance of simulated scenes, and the standard deviation that the model itself knows of.

    Both are (scene, band, y, x). A hybrid may be told the `aerosol` model of each scene.
    """
    s, toa = model.settings, scenes["toa"].values
    state = Atmosphere(*(scenes[name].values for name in Atmosphere._fields))
    pixels = toa.reshape(*toa.shape[:2], -1).swapaxes(1, 2)
    valid = np.ones(pixels.shape[:2], bool)
    if s.kind == "hybrid":
        posterior = model.posterior(pixels, state, valid, table=table, aerosol=aerosol)
        air = air_under(posterior, state, table=table, sensor=s.sensor, bands=s.bands)
        noise = sensor_noise(s.sensor, s.bands, state.sza)
        flat = invert(toa.reshape(*toa.shape[:2], -1), air.mean, air.covariance, noise)
        found, known = (values.reshape(toa.shape).astype(np.float32) for values in flat)
        if s.adjacency:
            share = share_under(posterior, state, table=table, sensor=s.sensor, bands=s.bands)[..., None, None]
            around = surroundings(scenes["toa"].copy(data=found), ADJACENCY_LENGTH).values
            found = without_neighbours(found, around, air.mean.albedo[..., None, None], share).astype(np.float32)
        return found, known
    codes = [None] * len(toa) if s.kind in LOCAL else model.codes(pixels, state, valid)
    margin = model.radius
    planes = np.pad(toa, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    if s.water_vapour:
        plane = np.broadcast_to(state.water_vapour[:, None, None, None], (len(toa), 1, *planes.shape[2:]))
        planes = np.concatenate([planes, plane], 1)
    both = [model.correct(one, code) for one, code in zip(planes, codes, strict=True)]
    return np.stack([mean for mean, _ in both]), np.stack([spread for _, spread in both])


def _fit_error(
    error: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], known: npt.NDArray[np.float32]
) -> tuple[float, float, float]:
    """Constant and relative standard deviation, and factor of the known one."""
    squares = np.stack([np.ones_like(mean), mean**2, known**2]).astype(np.float64)
    squared_error = error.astype(np.float64) ** 2

    def cost(logs: npt.NDArray[np.float64]) -> float:
        variance = np.exp(2 * logs) @ squares
        return float((np.log(variance) + squared_error / variance).mean())

    constant = np.log(max(float(error.mean()), 1e-4))
    start = np.array([constant - 1, constant + 0.5, 0.0])
    bounds = [(np.log(1e-5), np.log(0.5)), (np.log(1e-4), np.log(1.0)), (np.log(0.1), np.log(10.0))]
    parts = np.exp(minimize(cost, start, method="L-BFGS-B", bounds=bounds).x)
    spread = np.sqrt((parts**2) @ squares)
    parts = parts * np.quantile(error / spread, 0.9) / _NINETY
    return float(parts[0]), float(parts[1]), float(parts[2])

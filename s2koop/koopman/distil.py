"""Distillation: a small network that says what a large one says, in the same latent space with the same dynamics.

The cost of assimilation and of forecasts lies in the decoder. What it has to be right on is small, though: latents
on trajectories of real pixels. A student learns the teacher's decoder (and encoder) there, and keeps its operator,
background and scaling.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import trange

from s2koop._numbers import real, sequence, whole
from s2koop._time import to_days
from s2koop.engine import check_device
from s2koop.koopman._checks import check_cube, check_model
from s2koop.koopman.analysis import on_model_bands, training_pixels
from s2koop.koopman.assimilation import Analysis, Window
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import KoopmanNetwork, make_network
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise

#: Trajectories in a step, and dates of each.
TRAJECTORIES, DATES = 64, 32
#: Pixels assimilated at once.
TILE = 256
HELD_OUT = 0.2


def distil(
    teacher: KoopmanModel | str | Path,
    cube: xr.DataArray,
    *,
    hidden: tuple[int, ...] = (64, 64),
    steps: int = 1500,
    learning_rate: float = 5e-3,
    max_pixels: int = 1024,
    horizon_days: float = 365.0,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> KoopmanModel:
    """Train a small student of a model, which assimilates and forecasts as the model does for a part of its cost.

    Parameters
    ----------
    teacher : KoopmanModel or path
        Of a shared ensemble, its mean is learned.
    cube : DataArray, dims (time, band, y, x)
        Some of its pixels are assimilated with the teacher; the student is trained along their trajectories, and along
        those of latents drawn from the background.
    hidden : tuple of int
        Widths of the student's encoder; its decoder mirrors them.
    steps : int
    learning_rate : float
        Of Adam; it decays along a cosine.
    max_pixels : int
        Pixels drawn; a fifth of them is held out for the scores in the card.
    horizon_days : float
        How far trajectories are followed beyond the cube.
    seed : int
    device : str
    progress : bool

    Returns
    -------
    KoopmanModel
        Its errors hold those of the distillation; its card says ``distilled_from`` and, per band in reflectance on
        trajectories of held-out pixels, ``distillation_rmse``.

    Raises
    ------
    InputError, ModelError
        If the cube is no reflectance cube, the teacher does not know its bands, or an option is wrong.

    References
    ----------
    G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", 2015 (here: regression on the
    teacher's outputs).

    Examples
    --------
    >>> from s2koop.simulate import seasonal_cube
    >>> cube = seasonal_cube(seed=0, every_days=30)
    >>> teacher = cube.koopman.fit(steps=20, hidden=(32,), latent=8, progress=False)
    >>> student = distil(teacher, cube, hidden=(8,), steps=20, progress=False)
    >>> student.settings.hidden, student.bands == teacher.bands
    ((8,), True)
    """
    times = check_cube(cube)
    model = check_model(teacher, cube)
    hidden = sequence("hidden", hidden, whole, least=1)
    steps, most = whole("steps", steps, least=1), whole("max_pixels", max_pixels, least=2)
    rate, beyond = real("learning_rate", learning_rate, least=1e-9), real("horizon_days", horizon_days, least=0)
    seed = whole("seed", seed, least=0)
    device = check_device(device)
    model = model.to(device)
    days = torch.as_tensor(to_days(times) - model.anchor(float(to_days(times)[0])), dtype=torch.float32, device=device)
    values = torch.from_numpy(training_pixels(on_model_bands(cube, model), most, seed)).to(device)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        analyses = _analyses(model, values, days)
        held_out = max(1, round(HELD_OUT * len(values))) if len(values) > 1 else 0
        order = torch.randperm(len(values))
        latents = _Latents(model, [a[order[held_out:]] for a in analyses], float(days[-1]) + beyond)
        settings = replace(model.settings, architecture="mlp", hidden=hidden, latent=model.network.latent, heads=1)
        student = _student(model, settings)
        _train(student, model.network, latents, steps, rate, progress)
        judged = _Latents(
            model, [a[order[: held_out or 1]] for a in analyses], float(days[-1]) + beyond, background=False
        )
        error = _error(student, model.network, judged)
    made = {"pixels": len(values), "steps": steps, "seed": seed}
    return _assembled(model, settings, student, error, made).to("cpu")


class _Latents:
    """Latents on trajectories: of assimilated pixels within their posteriors, and of the background.

    Parameters
    ----------
    model : KoopmanModel
    posterior : [Tensor (pixel, latent), Tensor (pixel, latent, latent)]
        Whitened means, and upper factors that turn standard normals into posterior deviations.
    last : float
        Days until which trajectories are followed.
    background : bool
        Whether half of the latents come from the background.
    """

    def __init__(self, model: KoopmanModel, posterior: list[Tensor], last: float, *, background: bool = True) -> None:
        self.model, self.last, self.background = model, last, background
        self.mean, self.factor = posterior

    def draw(self) -> Tensor:
        """Latents (TRAJECTORIES * DATES, latent)."""
        chosen = torch.randint(len(self.mean), (TRAJECTORIES,))
        noise = torch.randn(TRAJECTORIES, self.mean.shape[1]).to(self.mean)
        u = self.mean[chosen] + torch.einsum("pi,pij->pj", noise, self.factor[chosen])
        if self.background:
            u[::2] = noise[::2]
        days = (torch.rand(DATES) * self.last).to(self.mean)
        if self.model.settings.operator == "dense":  # it may have no real logarithm
            step = self.model.settings.step_days
            days = (days / step).round() * step
        return self.model.network.operator.advance(self.model.background.latent(u), days).flatten(0, 1)


@torch.no_grad()
def _analyses(model: KoopmanModel, values: Tensor, days: Tensor) -> list[Tensor]:
    """Whitened analyses (pixel, latent) of some pixels, and factors of their posterior covariances."""
    means, factors = [], []
    for tile in model.standardise(values).split(TILE):
        window = Window(model.network, tile, days, model.background, model.noise, model.settings.robust)
        analysis: Analysis = minimise(window)
        means.append(analysis.u)
        # H = C C^T, so that rows of noise @ C^-1 have the covariance H^-1
        eye = torch.eye(analysis.u.shape[1]).to(analysis.u).expand_as(analysis.precision)
        factors.append(torch.linalg.solve_triangular(torch.linalg.cholesky(analysis.precision), eye, upper=False))
    return [torch.cat(means), torch.cat(factors)]


def _student(model: KoopmanModel, settings: KoopmanSettings) -> KoopmanNetwork:
    """A new network with the teacher's dynamics, which stay as they are."""
    student = make_network(len(model.bands), settings).to(model.center.device)
    student.operator.load_state_dict(model.network.operator.state_dict())
    student.operator.requires_grad_(False)
    return student


def _train(
    student: KoopmanNetwork, teacher: KoopmanNetwork, latents: _Latents, steps: int, rate: float, progress: bool
) -> None:
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    bar = trange(1, steps + 1, desc="distil", disable=not progress, mininterval=0.5)
    for step in bar:
        z = latents.draw()
        with torch.no_grad():
            state = teacher.decode(z)
            latent = teacher.encode(state)
        decoding = (student.decode(z) - state).square().mean()
        encoding = (student.encode(state) - latent).square().mean()
        optimiser.zero_grad(set_to_none=True)
        (decoding + encoding).backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(decoding=f"{float(decoding.detach()):.2g}", encoding=f"{float(encoding.detach()):.2g}")


@torch.no_grad()
def _error(student: KoopmanNetwork, teacher: KoopmanNetwork, latents: _Latents) -> Tensor:
    """Root mean square difference from the teacher (band,), standardised, on the latents of some other pixels."""
    rounds = 16
    total = torch.zeros(student.bands).to(latents.mean)
    for _ in range(rounds):
        z = latents.draw()
        total += (student.observe(z) - teacher.observe(z)).square().mean(0)
    return (total / rounds).sqrt()


def _assembled(
    model: KoopmanModel, settings: KoopmanSettings, student: KoopmanNetwork, error: Tensor, made: dict[str, Any]
) -> KoopmanModel:
    """The student as a model, whose errors hold what it misses of the teacher."""
    rmse = {band: round(float(e), 6) for band, e in zip(model.bands, error * model.scale, strict=True)}
    return replace(
        model,
        settings=settings,
        network=student,
        noise=torch.hypot(model.noise, error),
        window_error=torch.hypot(model.window_error, error),
        forecast_error=torch.hypot(model.forecast_error, error),
        card=dict(model.card) | {"distilled_from": model.digest, "distillation": made, "distillation_rmse": rmse},
    )

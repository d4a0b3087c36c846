"""Training on plain arrays: masked irregular series of some pixels in, a `KoopmanModel` out.

In three acts: train on the earlier part of the period and stop where the forecast of the held-out later part is
best; train again on the whole period for as many steps; then estimate the background of latents and the errors of
observations by assimilating the training pixels themselves (an EM iteration).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import trange

from s2koop._time import YEAR_DAYS, from_days
from s2koop.errors import InputError
from s2koop.koopman.assimilation import Analysis, Background, Window, assimilate, evaluate
from s2koop.koopman.losses import Batch, masked_mean_square, total_loss
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.states import complete_states

#: Pixels that the background and the errors are estimated from.
BACKGROUND_PIXELS = 512
BACKGROUND_ROUNDS = 3
LEAST_DATES = 8


@dataclass(frozen=True)
class Series:
    """Training series, standardised.

    Attributes
    ----------
    values : Tensor, shape (pixel, time, band)
        NaN where there is no observation.
    days : Tensor, shape (time,)
        Days since `start`.
    start : float
        The anchor, in days since the epoch: where the latents of trajectories live.
    center, scale : Tensor, shape (band,)
    """

    values: Tensor
    days: Tensor
    start: float
    center: Tensor
    scale: Tensor

    def until(self, day: float) -> Series:
        """The dates before a day."""
        keep = self.days < day
        return Series(self.values[:, keep], self.days[keep], self.start, self.center, self.scale)


def train(
    values: npt.NDArray[np.float32],
    days: npt.NDArray[np.float64],
    bands: Sequence[str],
    settings: KoopmanSettings,
    *,
    device: str = "cpu",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> KoopmanModel:
    """Train a model on pixel series.

    Parameters
    ----------
    values : ndarray of float32, shape (pixel, time, band)
        Reflectance, NaN where there is no usable observation.
    days : ndarray, shape (time,)
        Days since the epoch, sorted.
    bands : sequence of str
    settings : KoopmanSettings
    device : str
    progress : bool
        Show a progress bar with the losses.
    card : mapping, optional
        More entries for the model's card.

    Returns
    -------
    KoopmanModel

    Raises
    ------
    InputError
        If there are too few dates, or a band was never observed.
    """
    _check(values, days, bands)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(settings.seed)
        series = _standardised(values, days, device)
        cut = _holdout_start(series, settings.holdout)
        first = _Trainer(series.until(cut), settings)
        steps = first.run(settings.steps, judge=series, cut=cut, progress=progress, label="fit")
        forecast_error, skill = _forecast_errors(first, series, cut)
        second = _Trainer(series, settings)
        losses = second.run(steps, progress=progress, label="refit") and second.last_losses
        background, noise, window_error = _background(second.network, series, second.latents.detach(), settings)
    described = {
        "pixels": len(values), "dates": len(days), "first": str(from_days(days[0]))[:10],
        "last": str(from_days(days[-1]))[:10],
        "steps": steps, "losses": losses, "holdout_from": str(from_days(series.start + cut))[:10],
        "holdout_rmse": {b: round(float(e), 5) for b, e in zip(bands, skill * series.scale, strict=True)},
    }  # fmt: skip
    return KoopmanModel(
        settings=settings,
        network=second.network,
        bands=tuple(bands),
        center=series.center,
        scale=series.scale,
        slope_scale=second.slope_scale,
        background=background,
        noise=noise,
        window_error=window_error,
        forecast_error=torch.maximum(forecast_error, window_error),
        anchor_day=series.start % YEAR_DAYS,
        card=described | dict(card or {}),
    ).to("cpu")


class _Trainer:
    """One network, its training series, and the latents of their trajectories."""

    def __init__(self, series: Series, settings: KoopmanSettings) -> None:
        self.settings = settings
        self.mask = torch.isfinite(series.values)
        self.values = torch.nan_to_num(series.values)
        self.days = series.days
        if settings.operator == "dense":  # K knows whole steps only
            self.days = (series.days / settings.step_days).round() * settings.step_days
        self.states, self.slope_scale = _training_states(series, self.mask, settings)
        self.network = KoopmanAutoencoder(series.values.shape[2], settings).to(series.values.device)
        self.latents = torch.nn.Parameter(0.1 * torch.randn(len(self.values), settings.latent).to(series.values.device))
        self.last_losses: dict[str, float] = {}

    def run(self, steps: int, *, label: str, progress: bool, judge: Series | None = None, cut: float = 0.0) -> int:
        """Train, and return the number of steps taken: with a judge, those after which the forecast was best."""
        settings = self.settings
        groups = [
            {"params": self.network.parameters(), "weight_decay": settings.weight_decay},
            {"params": [self.latents], "lr": 1e-2},
        ]
        optimiser = torch.optim.Adam(groups, lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        best, best_steps, best_state, waited = float("inf"), steps, self._state(), 0
        bar = trange(1, steps + 1, desc=label, disable=not progress, mininterval=0.5)
        for step in bar:
            losses = self._losses()
            optimiser.zero_grad(set_to_none=True)
            losses["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0 or step == steps:
                self.last_losses = {name: round(float(value.detach()), 5) for name, value in losses.items()}
                bar.set_postfix(
                    loss=f"{self.last_losses['total']:.3f}",
                    prediction=f"{self.last_losses['prediction']:.3f}",
                )
            if judge is not None and (step % settings.validate_every == 0 or step == steps):
                error = self._forecast_error(judge, cut)
                if error < best:
                    best, best_steps, best_state, waited = error, step, self._state(), 0
                else:
                    waited += 1
                if waited >= settings.patience:
                    break
        bar.close()
        if judge is not None:
            self.network.load_state_dict(best_state[0])
            self.latents.data.copy_(best_state[1])
        return best_steps

    def _losses(self) -> dict[str, Tensor]:
        settings, dates = self.settings, len(self.days)
        pixels = torch.randperm(len(self.values))[: settings.batch_pixels]
        batch = Batch(
            self.values[pixels],
            self.mask[pixels].float(),
            self.states[pixels],
            self.latents[pixels],
            self.days,
        )
        count = min(settings.batch_dates, dates - 1)
        origin = int(torch.randint(0, dates - count, ()))
        targets = origin + torch.randperm(dates - origin)[:count]
        return total_loss(self.network, batch, origin, targets, settings)

    def _state(self) -> tuple[dict[str, Tensor], Tensor]:
        return copy.deepcopy(self.network.state_dict()), self.latents.detach().clone()

    @torch.no_grad()
    def _forecast_error(self, judge: Series, cut: float) -> float:
        """Mean square of the forecast from the pixels' own latents over the held-out dates, bands alike."""
        later = judge.days >= cut
        truth = judge.values[:, later]
        mask = torch.isfinite(truth)
        predicted = self.network.observe(
            self.network.operator.advance(self.latents, _steps(judge.days[later], self.settings))
        )
        return float(masked_mean_square(predicted - torch.nan_to_num(truth), mask.float(), self.settings.robust))


def _check(values: npt.NDArray[np.float32], days: npt.NDArray[np.float64], bands: Sequence[str]) -> None:
    seen = np.isfinite(values)
    dates = int(seen.any(axis=(0, 2)).sum())
    if dates < LEAST_DATES:
        raise InputError(
            f"only {dates} dates have any observation; a fit needs at least {LEAST_DATES}, better two years of them"
        )
    blind = [band for band, any_seen in zip(bands, np.atleast_1d(seen.any(axis=(0, 1))), strict=True) if not any_seen]
    if blind:
        raise InputError(f"band(s) {blind} have no observation at all; leave them out: cube.sel(band=[...])")
    if days[-1] - days[0] < 60:
        raise InputError(f"the series spans {days[-1] - days[0]:.0f} days; a fit needs more than 60, better two years")


def _standardised(values: npt.NDArray[np.float32], days: npt.NDArray[np.float64], device: str) -> Series:
    low, center, high = np.nanquantile(values.reshape(-1, values.shape[2]), (0.16, 0.5, 0.84), axis=0)
    scale = np.maximum((high - low) / 2, 1e-4)  # not the standard deviation, which is made of haze in the visible
    standard = ((values - center) / scale).astype(np.float32)
    start = float(np.floor(days[0]))

    def tensor(array: npt.ArrayLike) -> Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float32), device=device)

    return Series(tensor(standard), tensor(days - start), start, tensor(center), tensor(scale))


def _steps(days: Tensor, settings: KoopmanSettings) -> Tensor:
    """Days on the grid that the operator trains on."""
    return (days / settings.step_days).round() * settings.step_days if settings.operator == "dense" else days


def _holdout_start(series: Series, holdout: float) -> float:
    """The day from which dates are held out: the last fraction of the dates, never all but a few."""
    dates = len(series.days)
    first = min(max(round(dates * (1 - holdout)), LEAST_DATES // 2), dates - 1)
    return float(series.days[first])


def _training_states(series: Series, mask: Tensor, settings: KoopmanSettings) -> tuple[Tensor, Tensor]:
    level, slope = complete_states(series.values, mask, series.days, series.days, step_days=settings.step_days)
    if not settings.derivative:
        return level, torch.ones_like(series.scale)
    slope_scale = slope.std(dim=(0, 1)).clamp(min=1e-4)
    return torch.cat([level, slope / slope_scale], -1), slope_scale


def _sample(pixels: int, most: int) -> Tensor:
    return torch.randperm(pixels)[:most]


def _first_background(latents: Tensor) -> Background:
    return Background(latents.mean(0), _cholesky(torch.cov(latents.T)))


def _cholesky(covariance: Tensor) -> Tensor:
    """Factor of a covariance made safely positive: few pixels, or dead latents, leave it singular."""
    covariance = torch.atleast_2d(covariance)
    eye = torch.eye(len(covariance), device=covariance.device)
    floor = 1e-4 * covariance.diagonal().mean().clamp(min=1e-4)
    return torch.linalg.cholesky(covariance + floor * eye)


@torch.no_grad()
def _background(
    network: KoopmanAutoencoder, series: Series, latents: Tensor, settings: KoopmanSettings
) -> tuple[Background, Tensor, Tensor]:
    """Background, core noise and whole error of observations, by EM over assimilations of training pixels."""
    with _frozen(network):
        chosen = _sample(len(latents), BACKGROUND_PIXELS)
        values, days = series.values[chosen], _steps(series.days, settings)
        background = (
            _first_background(latents[chosen])
            if len(chosen) > 1
            else Background(latents[0], torch.eye(latents.shape[1]))
        )
        noise = torch.ones_like(series.scale)
        for _ in range(BACKGROUND_ROUNDS):
            analysis = assimilate(Window(network, values, days, background, noise, settings.robust))
            noise, everything = _residual_scales(network, background, analysis, values, days)
            background = _updated(background, analysis)
    return background, noise, everything


def _updated(background: Background, analysis: Analysis) -> Background:
    """The Gaussian of all pixels' posteriors: covariance of their means plus mean of their covariances."""
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(analysis.precision)).mean(0)
    if len(analysis.u) > 1:
        covariance = covariance + torch.cov(analysis.u.T, correction=0)
    factor = _cholesky(background.factor @ covariance @ background.factor.T)
    return Background(background.latent(analysis.u.mean(0)), factor)


def _residual_scales(
    network: KoopmanAutoencoder, background: Background, analysis: Analysis, values: Tensor, days: Tensor
) -> tuple[Tensor, Tensor]:
    """Standard deviation of observations around the trajectory: of the core that holds two thirds, and of all."""
    mean, variance = evaluate(network, background, analysis, days)
    mask = torch.isfinite(values)
    count = mask.sum((0, 1)).clamp(min=1)
    left_open = (variance * mask).sum((0, 1)) / count
    residual = torch.where(mask, values - mean, torch.nan).abs().flatten(0, 1)
    core = torch.from_numpy(np.nanquantile(residual.cpu().numpy(), 0.683, axis=0)).to(residual)
    total = residual.square().nansum(0) / count
    return (core.square() + left_open).sqrt().clamp(min=1e-2), (total + left_open).sqrt().clamp(min=1e-2)


@torch.no_grad()
def _forecast_errors(trainer: _Trainer, series: Series, cut: float) -> tuple[Tensor, Tensor]:
    """Noise beyond the window, and root mean square error, from a forecast of what follows `cut`."""
    network, settings = trainer.network, trainer.settings
    background, noise, everything = _background(network, series.until(cut), trainer.latents.detach(), settings)
    with _frozen(network):
        chosen = _sample(len(series.values), BACKGROUND_PIXELS)
        earlier = series.until(cut)
        analysis = assimilate(
            Window(network, earlier.values[chosen], _steps(earlier.days, settings), background, noise, settings.robust)
        )
        later = series.days >= cut
        mean, variance = evaluate(network, background, analysis, _steps(series.days[later], settings))
    truth = series.values[chosen][:, later]
    mask = torch.isfinite(truth).float()
    count = mask.sum((0, 1))
    error = ((torch.nan_to_num(truth) - mean).square() * mask).sum((0, 1)) / count.clamp(min=1)
    left_open = (variance * mask).sum((0, 1)) / count.clamp(min=1)
    held_out = (error - left_open).clamp(min=0).sqrt()
    return torch.where(count > 0, held_out, everything), torch.where(count > 0, error.sqrt(), everything)


@contextmanager
def _frozen(network: KoopmanAutoencoder) -> Iterator[None]:
    """No gradients with respect to the weights: only the latent is unknown in an assimilation."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)

"""The background of latents and the errors of observations, estimated from the training pixels themselves.

Expectation-maximisation: assimilate the pixels with the background at hand, then take the Gaussian of their posteriors
as the next background, and what their residuals say as the next errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from s2koop.koopman.assimilation import Analysis, Background, Window, evaluate
from s2koop.koopman.network import KoopmanNetwork
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise

#: Pixels that the background and the errors are estimated from.
BACKGROUND_PIXELS = 256
ROUNDS = 3
#: Statistics of many pixels need no pixel to the last digit.
ROUGH = 1e-3


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


def trained_days(days: Tensor, settings: KoopmanSettings) -> Tensor:
    """Days on the grid that the operator trains on: the dense one knows whole steps only."""
    return (days / settings.step_days).round() * settings.step_days if settings.operator == "dense" else days


@torch.no_grad()
def estimate(
    network: KoopmanNetwork, series: Series, latents: Tensor, settings: KoopmanSettings, *, rounds: int = ROUNDS
) -> tuple[Background, Tensor, Tensor]:
    """Background, noise of usual observations, and error of all observations.

    Parameters
    ----------
    network : KoopmanNetwork
    series : Series
    latents : Tensor, shape (pixel, latent)
        First guesses, from the training.
    settings : KoopmanSettings
    rounds : int

    Returns
    -------
    background : Background
    noise, error : Tensor, shape (band,)
        Standardised; one of a band that was never observed.
    """
    chosen = torch.randperm(len(latents))[:BACKGROUND_PIXELS]
    values, days = series.values[chosen], trained_days(series.days, settings)
    first = gaussian(latents[chosen])
    return refine(network, values, days, first, torch.ones_like(series.scale), settings.robust, rounds=rounds)


@torch.no_grad()
def refine(
    network: KoopmanNetwork,
    values: Tensor,
    days: Tensor,
    background: Background,
    noise: Tensor,
    robust: float | None,
    *,
    rounds: int = ROUNDS,
) -> tuple[Background, Tensor, Tensor]:
    """Background, noise and error as from `estimate`, of pixels (pixel, time, band), from others to start with."""
    error, start = noise, None
    for _ in range(rounds):
        window = Window(network, values, days, background, noise, robust, start=start)
        analysis = minimise(window, tolerance=ROUGH)
        noise, error = _residual_scales(network, background, analysis, values, days)
        latents = background.latent(analysis.u)
        background = pooled(background, analysis.u, analysis.precision)
        start = whitened(background, latents)  # half the iterations of a start at the mean
    return background, noise, error


def gaussian(latents: Tensor) -> Background:
    """The Gaussian of latents (n, latent); of unit width around a single one."""
    if len(latents) == 1:
        return Background(latents[0], torch.eye(latents.shape[1]).to(latents))
    return Background(latents.mean(0), _cholesky(torch.cov(latents.T)))


def whitened(background: Background, latents: Tensor) -> Tensor:
    """Coordinates (pixel, latent) of latents in which the background is a standard normal."""
    return torch.linalg.solve_triangular(background.factor, (latents - background.mean).T, upper=False).T


def pooled(background: Background, u: Tensor, precision: Tensor) -> Background:
    """The Gaussian of all pixels' posteriors: covariance of their means plus mean of their covariances.

    Parameters
    ----------
    background : Background
        In whose coordinates the posteriors are.
    u : Tensor, shape (pixel, latent)
    precision : Tensor, shape (pixel, latent, latent)
    """
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision)).mean(0)
    if len(u) > 1:
        covariance = covariance + torch.cov(u.T, correction=0)
    factor = _cholesky(background.factor @ covariance @ background.factor.T)
    return Background(background.latent(u.mean(0)), factor)


def _cholesky(covariance: Tensor) -> Tensor:
    """Factor of a covariance made safely positive: few pixels, or dead latents, leave it singular."""
    covariance = torch.atleast_2d(covariance)
    floor = 1e-4 * covariance.diagonal().mean().clamp(min=1e-4)
    return torch.linalg.cholesky(covariance + floor * torch.eye(len(covariance)).to(covariance))


def _residual_scales(
    network: KoopmanNetwork, background: Background, analysis: Analysis, values: Tensor, days: Tensor
) -> tuple[Tensor, Tensor]:
    """Standard deviation of observations around the trajectory: of the core that holds two thirds, and of all."""
    mean, variance = evaluate(network, background, analysis, days)
    mask = torch.isfinite(values)
    count = mask.sum((0, 1))
    left_open = (variance * mask).sum((0, 1)) / count.clamp(min=1)
    residual = torch.where(mask, values - mean, torch.nan).abs().flatten(0, 1)
    core = torch.ones_like(left_open)
    for band in torch.nonzero(count).flatten():
        seen = residual[:, band][mask.flatten(0, 1)[:, band]]
        core[band] = float(np.quantile(seen.cpu().numpy(), 0.683))
    total = torch.where(count > 0, residual.square().nansum(0) / count.clamp(min=1), 1.0)
    return (core.square() + left_open).sqrt().clamp(min=1e-2), (total + left_open).sqrt().clamp(min=1e-2)

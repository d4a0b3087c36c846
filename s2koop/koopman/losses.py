"""The losses of Koopman autoencoders, on masked observations and random dates.

Prediction, auto-encoding, linearity and orthogonality are those of Frion et al. (2023, 2024), as means in the place
of their sums. Two things differ, because real series have gaps: predicted reflectance is compared with the
observations themselves, under their mask, never with filled values; and `trajectory_loss` lets each training pixel
own a latent at the start of the period, which is what assimilation will estimate later.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2koop.koopman.network import KoopmanNetwork
from s2koop.koopman.settings import KoopmanSettings


@dataclass(frozen=True)
class Batch:
    """Some pixels of the training series.

    Attributes
    ----------
    values : Tensor, shape (pixel, time, band)
        Standardised reflectance, zero where masked.
    mask : Tensor, same shape
        One where observed, else zero.
    states : Tensor, shape (pixel, time, state)
        Complete standardised states for the encoder.
    latents : Tensor, shape (pixel, latent)
        Each pixel's own latent at day zero.
    days : Tensor, shape (time,)
    """

    values: Tensor
    mask: Tensor
    states: Tensor
    latents: Tensor
    days: Tensor


def squares(residual: Tensor, robust: float | None) -> Tensor:
    """Squares, or Huber's: linear beyond `robust`, with the same value and slope there."""
    if robust is None:
        return residual.square()
    size = residual.abs()
    return torch.where(size <= robust, residual.square(), robust * (2 * size - robust))


def masked_mean_square(difference: Tensor, mask: Tensor, robust: float | None = None) -> Tensor:
    """Mean of the squares (or of Huber's) where the mask is one."""
    return (squares(difference, robust) * mask).sum() / mask.sum().clamp(min=1)


def koopman_losses(
    network: KoopmanNetwork, batch: Batch, origin: int, targets: Tensor, robust: float | None = None
) -> dict[str, Tensor]:
    """Prediction, auto-encoding and linearity from one origin date to some target dates.

    Parameters
    ----------
    origin : int
        Index of the date that is encoded.
    targets : Tensor of int, shape (n,)
        Indices of the dates that are predicted.
    robust : float, optional
        Where squares of observed residuals turn linear.
    """
    bands = network.bands
    states = batch.states[:, targets]
    advanced = network.operator.advance(
        network.encode(batch.states[:, origin]), batch.days[targets] - batch.days[origin]
    )
    predicted = network.decode(advanced)
    encoded = network.encode(states)
    losses = {
        "prediction": masked_mean_square(
            predicted[..., :bands] - batch.values[:, targets], batch.mask[:, targets], robust
        ),
        "autoencoding": (network.decode(encoded) - states).square().mean(),
        "linearity": (advanced - encoded).square().mean(),
    }
    if predicted.shape[-1] > bands:
        losses["prediction"] = losses["prediction"] + (predicted[..., bands:] - states[..., bands:]).square().mean()
    return losses


def trajectory_loss(network: KoopmanNetwork, batch: Batch, targets: Tensor, robust: float | None = None) -> Tensor:
    """Misfit of each pixel's own trajectory, with a unit Gaussian prior on its latent.

    The prior weighs as one observation of each latent among all that the pixel has, as in the assimilation cost.
    """
    predicted = network.observe(network.operator.advance(batch.latents, batch.days[targets]))
    misfit = masked_mean_square(predicted - batch.values[:, targets], batch.mask[:, targets], robust)
    observations = batch.mask.sum() / len(batch.mask)
    return misfit + batch.latents.square().sum(1).mean() / observations.clamp(min=1)


def total_loss(
    network: KoopmanNetwork, batch: Batch, origin: int, targets: Tensor, settings: KoopmanSettings
) -> dict[str, Tensor]:
    """All losses, and their weighted sum as ``"total"``."""
    losses = koopman_losses(network, batch, origin, targets, settings.robust)
    losses["orthogonality"] = network.operator.orthogonality()
    total = (
        losses["prediction"]
        + settings.autoencoding * losses["autoencoding"]
        + settings.linearity * losses["linearity"]
        + settings.orthogonality * losses["orthogonality"]
    )
    if settings.trajectory:
        everything = torch.randperm(len(batch.days))[: len(targets)]
        losses["trajectory"] = trajectory_loss(network, batch, everything, settings.robust)
        total = total + settings.trajectory * losses["trajectory"]
    return losses | {"total": total}

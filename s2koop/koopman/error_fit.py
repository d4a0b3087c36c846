"""Fit a model error to what trajectories leave: variances by time scale from lagged products, robust to haze."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from s2koop.koopman.model_error import ModelError

#: Residuals beyond so many robust standard deviations are clipped: the core of the distribution is what is modelled.
CLIP = 3.0
#: Lags beyond this say more about the mean of the series than about its anomalies.
LONGEST_LAG = 400.0
#: Directions of band space in which the anomalies of each time scale live.
DIRECTIONS = 4
#: Share of the memoryless variance that a band has for itself; the other bands of the date share the rest.
OWN_SHARE = 0.2


@torch.no_grad()
def fit_error(residual: Tensor, mask: Tensor, days: Tensor, decays: Sequence[float]) -> ModelError:
    """Variances of processes with given decays that explain the lagged products of residuals best.

    Nonnegative least squares for each band; all time scales share the correlation between bands at lag zero.

    Parameters
    ----------
    residual : Tensor, shape (pixel, time, band)
        Standardised; what lies under a false mask is ignored.
    mask : Tensor of bool, same shape
    days : Tensor, shape (time,)
        Sorted.
    decays : sequence of float
        Days, of the processes with memory.

    Returns
    -------
    ModelError
    """
    clipped = clip(residual, mask)
    total = _variance(clipped, mask).clamp(min=1e-4)
    shares = _variances(clipped, mask, days, decays, total)  # (decay, band)
    correlation = _correlation(clipped, mask, total)
    directions = _directions(correlation)  # (direction, band), columns of unit length
    passing = (total - shares.sum(0)).clamp(min=0.05 * total)
    bands = residual.shape[2]
    own = passing if bands == 1 else OWN_SHARE * passing
    parts = [share.sqrt() * directions for share in shares]
    scales = [float(decay) for decay in decays for _ in range(len(directions))]
    if bands > 1:
        parts.append(((1 - OWN_SHARE) * passing).sqrt() * directions)
        scales += [0.0] * len(directions)
    return ModelError(residual.new_tensor(scales), torch.cat(parts), own.sqrt())


def clip(residual: Tensor, mask: Tensor) -> Tensor:
    """Residuals within `CLIP` robust standard deviations of each band (band,); zero where masked."""
    core = []
    for band in range(residual.shape[2]):
        seen = residual[..., band][mask[..., band]]
        core.append(1.4826 * float(np.median(np.abs(seen.cpu().numpy()))) if len(seen) else 1.0)
    scale = residual.new_tensor(core).clamp(min=1e-3)
    return torch.where(mask, residual.clamp(-CLIP * scale, CLIP * scale), 0.0)


def _variance(clipped: Tensor, mask: Tensor) -> Tensor:
    return clipped.square().sum((0, 1)) / mask.sum((0, 1)).clamp(min=1)


def _variances(clipped: Tensor, mask: Tensor, days: Tensor, decays: Sequence[float], total: Tensor) -> Tensor:
    """Variance (decay, band) of each process, by nonnegative least squares on pairs of dates."""
    first, second = torch.triu_indices(len(days), len(days), offset=1, device=days.device)
    lag = days[second] - days[first]
    near = (lag > 0.5) & (lag < LONGEST_LAG)
    first, second, lag = first[near], second[near], lag[near]
    design = torch.stack([torch.exp(-lag / decay) for decay in decays], 1).double().cpu().numpy()
    found = np.zeros((len(decays), clipped.shape[2]))
    for band in range(clipped.shape[2]):
        values, seen = clipped[..., band], mask[..., band].to(clipped.dtype)
        products, counts = (values.T @ values)[first, second], (seen.T @ seen)[first, second]
        weight = counts.sqrt().double().cpu().numpy()
        if not weight.any():
            continue
        mean = (products / counts.clamp(min=1)).double().cpu().numpy()
        found[:, band] = scipy.optimize.nnls(design * weight[:, None], mean * weight)[0]
    shares = torch.as_tensor(found, dtype=clipped.dtype, device=clipped.device)
    return shares * (0.95 * total / shares.sum(0).clamp(min=1e-12)).clamp(max=1.0)


def _correlation(clipped: Tensor, mask: Tensor, total: Tensor) -> Tensor:
    flat, seen = clipped.flatten(0, 1), mask.flatten(0, 1).to(clipped.dtype)
    covariance = flat.T @ flat / (seen.T @ seen).clamp(min=1)
    correlation = covariance / (total.sqrt()[:, None] * total.sqrt())
    return correlation.clamp(-0.98, 0.98).fill_diagonal_(1.0)


def _directions(correlation: Tensor) -> Tensor:
    """Leading directions (direction, band) of a correlation matrix, scaled so that each band keeps its variance."""
    values, vectors = torch.linalg.eigh(correlation)
    kept = min(DIRECTIONS, len(correlation))
    directions = (vectors * values.clamp(min=0).sqrt())[:, -kept:].T.flip(0)
    return directions / directions.norm(dim=0).clamp(min=1e-6)


def averaged(errors: Sequence[ModelError]) -> ModelError:
    """The error whose covariance, for each decay, is the mean of those of several errors with the same decays.

    Parameters
    ----------
    errors : sequence of ModelError
    """
    first = errors[0]
    scales, parts = [], []
    lost = torch.zeros_like(first.noise)
    for decay in first.decay_days.unique(sorted=False).tolist():
        each = [error.loadings[error.decay_days == decay] for error in errors]
        covariance = torch.stack([part.T @ part for part in each]).mean(0)
        values, vectors = torch.linalg.eigh(covariance)
        kept = (vectors * values.clamp(min=0).sqrt())[:, -DIRECTIONS:].T.flip(0)
        lost = lost + (covariance.diagonal() - kept.square().sum(0)).clamp(min=0)
        parts.append(kept)
        scales += [decay] * len(kept)
    noise = torch.stack([error.noise.square() for error in errors]).mean(0)
    return ModelError(first.decay_days.new_tensor(scales), torch.cat(parts), (noise + lost).sqrt())

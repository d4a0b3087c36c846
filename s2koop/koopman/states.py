"""Complete states (reflectance and its slope) from masked, irregular series: what the encoder is fed.

The papers train on a cube that was gap-filled before its release; here the filling is part of the package. A
ridge-regularised annual harmonic carries each pixel through long gaps, and a local linear fit in time
(Gaussian weights) follows the observations where there are any. Losses never see these values as truth for
the reflectance: predictions are compared with the observations themselves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from s2koop._time import YEAR_DAYS

HARMONICS = 2
RIDGE = 0.3
BANDWIDTH_DAYS = 20.0


def complete_states(
    values: Tensor, mask: Tensor, days: Tensor, at: Tensor, *, step_days: float
) -> tuple[Tensor, Tensor]:
    """Smoothed reflectance and its change per step at any dates.

    Parameters
    ----------
    values : Tensor, shape (pixel, time, band)
        Standardised reflectance; what lies under a false mask is ignored.
    mask : Tensor of bool, same shape
    days : Tensor, shape (time,)
    at : Tensor, shape (n,)
        Dates of the states, in the same days.
    step_days : float
        The slope is given per so many days.

    Returns
    -------
    level, slope : Tensor, shape (pixel, n, band)
    """
    weight = mask.to(values.dtype)
    known = torch.where(mask, values, torch.zeros_like(values))
    design, _ = _harmonics(days)
    target, target_slope = _harmonics(at)
    coefficients = _ridge(design.to(values), known, weight)  # (pixel, band, feature)
    level = torch.einsum("nf,pbf->pnb", target.to(values), coefficients)
    slope = torch.einsum("nf,pbf->pnb", target_slope.to(values), coefficients)
    residual = (known - torch.einsum("tf,pbf->ptb", design.to(values), coefficients)) * weight

    lag = (days[None, :] - at[:, None]).to(values) / BANDWIDTH_DAYS  # (n, time), in bandwidths
    kernel = torch.exp(-0.5 * lag**2)
    sums = [torch.einsum("nt,ptb->pnb", kernel * lag**power, weight) for power in range(3)]
    first, second = (torch.einsum("nt,ptb->pnb", kernel * lag**power, residual) for power in range(2))
    # 2x2 normal equations with a unit ridge: no observation near means no correction
    a, b, c = sums[0] + 1.0, sums[1], sums[2] + 1.0
    determinant = a * c - b * b
    local = (c * first - b * second) / determinant
    local_slope = (a * second - b * first) / determinant / BANDWIDTH_DAYS
    return level + local, (slope + local_slope) * step_days


def _harmonics(days: Tensor) -> tuple[Tensor, Tensor]:
    """Columns 1, cos, sin, ... of the annual harmonics, and their derivatives per day."""
    columns, slopes = [torch.ones_like(days)], [torch.zeros_like(days)]
    for k in range(1, HARMONICS + 1):
        omega = 2 * math.pi * k / YEAR_DAYS
        columns += [torch.cos(omega * days), torch.sin(omega * days)]
        slopes += [-omega * torch.sin(omega * days), omega * torch.cos(omega * days)]
    return torch.stack(columns, -1), torch.stack(slopes, -1)


def _ridge(design: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Weighted ridge regression of every pixel and band at once; the constant is hardly penalised."""
    gram = torch.einsum("tf,ptb,tg->pbfg", design, weight, design)
    moment = torch.einsum("tf,ptb->pbf", design, values * weight)
    penalty = design.new_full((design.shape[1],), 10 * RIDGE)
    penalty[0] = RIDGE
    return torch.linalg.solve(gram + torch.diag(penalty), moment[..., None])[..., 0]

"""A start in closed form: the linear path of a decoder, and the latents, from a harmonic regression of each pixel.

The modal operator turns its blocks with the seasons, so a linear decoder over it is a harmonic regression whose
coefficients are latents. Solving that first leaves the gradient descent only what harmonics cannot say.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from s2koop._time import YEAR_DAYS
from s2koop.koopman.network import KoopmanAutoencoder, KoopmanNetwork
from s2koop.koopman.operator import ModalOperator

RIDGE = 0.3
ROUNDS = 4
#: Residuals beyond so many robust standard deviations count linearly.
HUBER = 1.5


@torch.no_grad()
def warm_start(
    network: KoopmanNetwork, values: Tensor, days: Tensor, slope_scale: Tensor, step_days: float
) -> Tensor | None:
    """Set the linear path of a network, and return the latents of the pixels on day zero.

    Parameters
    ----------
    network : KoopmanNetwork
        Changed in place.
    values : Tensor, shape (pixel, time, band)
        Standardised, NaN where there is no observation.
    days : Tensor, shape (time,)
    slope_scale : Tensor, shape (band,)
    step_days : float

    Returns
    -------
    Tensor, shape (pixel, latent), or None
        None where the network has no linear path, or its operator no seasons: nothing is changed then.
    """
    path = _linear_path(network)
    operator = network.operator
    if path is None or not isinstance(operator, ModalOperator):
        return None
    layer, bias = path
    cycles = (operator.base * YEAR_DAYS / (2 * math.pi)).round(decimals=4)
    seasons = [float(cycle) for cycle in cycles.unique() if cycle > 0]
    level, cosines, sines = harmonic_coefficients(values, days, seasons)
    latents = values.new_zeros(len(values), network.latent)
    weight = 0.01 * torch.randn_like(layer.weight)  # blocks that the regression has no use for may find one
    mean = level.mean(0)
    for cycle in cycles.unique().tolist():
        blocks = torch.nonzero(cycles == cycle).flatten().tolist()
        if cycle > 0:
            k = seasons.index(cycle)
            parts = torch.stack([cosines[:, :, k], sines[:, :, k]])
            # band directions of this season; the two entries of a block are its cosine and minus its sine
            for block, (direction, scale) in zip(blocks, _directions(parts.flatten(0, 1)), strict=False):
                latents[:, 2 * block] = parts[0] @ direction / scale
                latents[:, 2 * block + 1] = -parts[1] @ direction / scale
                _write(weight, network, 2 * block, scale * direction, cycle, step_days / slope_scale)
        else:
            entries = [entry for block in blocks for entry in (2 * block, 2 * block + 1)]
            for entry, (direction, scale) in zip(entries, _directions(level - mean), strict=False):
                latents[:, entry] = (level - mean) @ direction / scale
                weight[:, entry] = 0.0
                weight[: network.bands, entry] = scale * direction
    layer.weight.copy_(weight)
    bias.zero_()
    bias[: network.bands] = mean
    return latents


def harmonic_coefficients(values: Tensor, days: Tensor, cycles: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Robust ridge regression of each pixel and band on seasons.

    Parameters
    ----------
    values : Tensor, shape (pixel, time, band)
        NaN where there is no observation.
    days : Tensor, shape (time,)
    cycles : list of float
        Cycles a year.

    Returns
    -------
    level : Tensor, shape (pixel, band)
    cosines, sines : Tensor, shape (pixel, band, cycle)
    """
    angle = 2 * math.pi / YEAR_DAYS * days.double()[:, None] * days.new_tensor(cycles).double()
    design = torch.cat([angle.new_ones(len(angle), 1), angle.cos(), angle.sin()], 1).to(values)
    mask = torch.isfinite(values)
    known = torch.where(mask, values, 0.0)
    penalty = RIDGE * torch.eye(design.shape[1]).to(values)
    penalty[0, 0] = 1e-3
    weight = mask.to(values.dtype)
    for _ in range(ROUNDS):
        gram = torch.einsum("tf,ptb,tg->pbfg", design, weight, design) + penalty
        moment = torch.einsum("tf,ptb->pbf", design, weight * known)
        found = torch.linalg.solve(gram, moment[..., None])[..., 0]
        residual = torch.where(mask, known - torch.einsum("tf,pbf->ptb", design, found), torch.nan).abs()
        core = 1.4826 * residual.nanmedian(1, keepdim=True).values.clamp(min=1e-3)
        weight = torch.nan_to_num((HUBER * core / residual).clamp(max=1.0))
    season = len(cycles)
    return found[..., 0], found[..., 1 : 1 + season], found[..., 1 + season :]


def _linear_path(network: KoopmanNetwork) -> tuple[nn.Linear, Tensor] | None:
    """The layer that is linear in the latents, and the bias of the states; layers beside it are silenced."""
    if not isinstance(network, KoopmanAutoencoder):
        return None
    *body, last = network.decoder
    assert isinstance(last, nn.Linear)
    if not body:
        return last, last.bias
    if network.linear is None:
        return None
    last.weight.zero_()
    return network.linear, last.bias


def _directions(rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Directions of band space (band,) by what rows (n, band) hold of them, and the size of the rows along each."""
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    scales = (sizes / math.sqrt(len(rows))).clamp(min=1e-3)
    return list(zip(directions, scales, strict=True))


def _write(
    weight: Tensor, network: KoopmanNetwork, entry: int, pattern: Tensor, cycle: float, per_step: Tensor
) -> None:
    """The rows of one season: its level reads the first entry of the block, its slope turns with the second."""
    weight[:, entry : entry + 2] = 0.0
    weight[: network.bands, entry] = pattern
    if network.state_size > network.bands:
        weight[network.bands :, entry + 1] = -2 * math.pi * cycle / YEAR_DAYS * pattern * per_step

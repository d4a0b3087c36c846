"""The losses of Koopman autoencoders, on masked observations and random dates.

Prediction, auto-encoding, linearity and orthogonality are those of Frion et al. (2023, 2024), as means in the place
of their sums. Two things differ, because real series have gaps: predicted reflectance is compared with the
observations themselves, under their mask, never with filled values; and the trajectory loss lets each training pixel
own a latent at the start of the period, which is what assimilation will estimate later.

What is compared with observations has a member axis, and a `Score` makes one number of it: the mean of squares for
one network, and for ensembles that train together the variance-promoting loss or the CRPS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from s2koop.koopman.network import KoopmanNetwork
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.shared import SharedTrunk

#: ``score(residual (member, pixel, n, band), mask (pixel, n, band))`` gives one number to be lowered.
Score = Callable[[Tensor, Tensor], Tensor]

#: Part of the fair form in the CRPS loss.
FAIR = 0.95


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


@dataclass(frozen=True)
class Draw:
    """The dates that one step looks at, as indices of `Batch.days`.

    Attributes
    ----------
    origin : int
        The date that is encoded and advanced.
    targets : Tensor of int, shape (n,)
        Dates that it predicts; each is auto-encoded too.
    anywhere : Tensor of int
        Dates on which trajectories are compared with their observations.
    starts, ends : Tensor of int
        Pairs a short time apart: which of `targets` starts (its position there), and the date that it predicts.
    """

    origin: int
    targets: Tensor
    anywhere: Tensor
    starts: Tensor
    ends: Tensor


@dataclass
class Terms:
    """What one network says of a batch: residuals that a score will weigh, and penalties that are numbers already.

    Attributes
    ----------
    residuals : dict of str to (Tensor (member, pixel, n, band), Tensor (pixel, n, band))
        Standardised residuals and their masks.
    penalties : dict of str to Tensor
    """

    residuals: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    penalties: dict[str, Tensor] = field(default_factory=dict)


def squares(residual: Tensor, robust: float | None) -> Tensor:
    """Squares, or Huber's: linear beyond `robust`, with the same value and slope there."""
    if robust is None:
        return residual.square()
    size = residual.abs()
    return torch.where(size <= robust, residual.square(), robust * (2 * size - robust))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean where the mask is one; zero where it nowhere is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def mean_square(residual: Tensor, mask: Tensor, *, robust: float | None = None) -> Tensor:
    """Mean over observations and members of the squares (or of Huber's)."""
    return masked_mean(squares(residual, robust).mean(0), mask)


def variance_promoting(residual: Tensor, mask: Tensor, *, diversity: float, robust: float | None = None) -> Tensor:
    """Mean square of the members minus `diversity` times their variance (Frion et al., ensembles, 2024).

    Written as ``(1 - diversity) * mean of rho(member) + diversity * rho(mean of members)``. For squares this is the
    published loss, since the variance between members (over M) is what lies between the two; for Huber's function it
    stays bounded below, which the published form does not. At 1 only the mean of the ensemble is trained.
    """
    members = squares(residual, robust).mean(0)
    together = squares(residual.mean(0), robust)
    return masked_mean((1 - diversity) * members + diversity * together, mask)


def almost_fair_crps(residual: Tensor, mask: Tensor) -> Tensor:
    """Almost fair CRPS of the members (Lang et al. 2024, AIFS-CRPS): `FAIR` parts fair (Ferro 2014), the rest biased.

    ``mean |e_i| - weight * sum over i, j of |e_i - e_j|`` with weights ``1 / (2 M (M - 1))`` and ``1 / (2 M^2)``. The
    fair score alone is no loss for members that keep their places: the outermost feel no force, so that a spread
    without bounds costs nothing. The sum over pairs is taken from the sorted members: no array of pairs is needed.
    """
    members = len(residual)
    error = residual.abs().mean(0)
    if members > 1:
        share = FAIR / (members * (members - 1)) + (1 - FAIR) / members**2
        rank = torch.arange(1, members + 1, device=residual.device, dtype=residual.dtype)
        error = error - share * torch.einsum("m,m...->...", 2 * rank - members - 1, residual.sort(0).values)
    return masked_mean(error, mask)


def network_terms(network: KoopmanNetwork, batch: Batch, draw: Draw, settings: KoopmanSettings) -> Terms:
    """Residuals and penalties of one network.

    Parameters
    ----------
    network : KoopmanNetwork
    batch : Batch
    draw : Draw
    settings : KoopmanSettings
        Says which terms are needed, by their weights.
    """
    terms = Terms()
    states = batch.states[:, draw.targets]
    days = batch.days[draw.targets] - batch.days[draw.origin]
    advanced = _advance(network, network.encode(batch.states[:, draw.origin]), days)
    members, slope = _decoded(network, advanced)
    encoded = network.encode(states)
    terms.residuals["prediction"] = _compared(members, batch, draw.targets)
    if slope.shape[-1]:
        terms.penalties["slope"] = (slope - states[..., network.bands :]).square().mean()
    if not network.exact_inverse:
        terms.penalties["autoencoding"] = (network.decode(encoded) - states).square().mean()
    terms.penalties["linearity"] = (advanced - encoded).square().mean()
    terms.penalties["orthogonality"] = network.operator.orthogonality()
    if settings.short_term and len(draw.ends):
        lag = batch.days[draw.ends] - batch.days[draw.targets[draw.starts]]
        soon = _advance_each(network, encoded[:, draw.starts], lag)
        terms.residuals["short_term"] = _compared(_decoded(network, soon)[0], batch, draw.ends)
    if settings.trajectory:
        own = _advance(network, batch.latents, batch.days[draw.anywhere])
        terms.residuals["trajectory"] = _compared(_observed(network, own), batch, draw.anywhere)
        # as in the assimilation cost: the prior weighs as one observation of each latent among all that the pixel has
        observations = batch.mask.sum() / len(batch.mask)
        terms.penalties["latent_prior"] = batch.latents.square().sum(1).mean() / observations.clamp(min=1)
    return terms


def total_loss(terms: Sequence[Terms], settings: KoopmanSettings, score: Score | None = None) -> dict[str, Tensor]:
    """All losses, and their weighted sum as ``"total"``; several networks are the members of one ensemble.

    Parameters
    ----------
    terms : sequence of Terms
        Of networks that saw the same batch and dates.
    settings : KoopmanSettings
    score : callable, optional
        What makes a number of residuals; `mean_square` by default.
    """
    score = score or partial(mean_square, robust=settings.robust)
    losses = {
        name: score(torch.cat([term.residuals[name][0] for term in terms]), mask)
        for name, (_, mask) in terms[0].residuals.items()
    }
    for name in terms[0].penalties:
        losses[name] = torch.stack([term.penalties[name] for term in terms]).mean()
    for part, whole in (("slope", "prediction"), ("latent_prior", "trajectory")):
        if part in losses:
            losses[whole] = losses[whole] + losses.pop(part)
    weights = {name: getattr(settings, name) for name in losses if name != "prediction"}
    total = losses["prediction"] + sum(weight * losses[name] for name, weight in weights.items())
    return losses | {"total": total}


def _compared(members: Tensor, batch: Batch, dates: Tensor) -> tuple[Tensor, Tensor]:
    return members - batch.values[:, dates], batch.mask[:, dates]


def _observed(network: KoopmanNetwork, z: Tensor) -> Tensor:
    """Standardised reflectance (member, ..., band): one member, or those of a shared trunk."""
    return network.observe_members(z) if isinstance(network, SharedTrunk) else network.observe(z)[None]


def _decoded(network: KoopmanNetwork, z: Tensor) -> tuple[Tensor, Tensor]:
    """Standardised reflectance (member, ..., band), and the slopes (..., band or none)."""
    if isinstance(network, SharedTrunk):
        return network.decode_members(z)
    state = network.decode(z)
    return state[None, ..., : network.bands], state[..., network.bands :]


def _advance(network: KoopmanNetwork, z: Tensor, days: Tensor) -> Tensor:
    """Latents at each of `days`, in float32: powers of K lose a trajectory in bfloat16."""
    with torch.autocast(z.device.type, enabled=False):
        return network.operator.advance(z.float(), days)


def _advance_each(network: KoopmanNetwork, z: Tensor, days: Tensor) -> Tensor:
    """Latents (pixel, n, latent), each by its own number of days (n,)."""
    with torch.autocast(z.device.type, enabled=False):
        return torch.einsum("pni,nij->pnj", z.float(), network.operator.powers(days))

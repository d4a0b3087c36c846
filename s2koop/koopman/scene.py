"""Date effects: what all pixels of a scene share on one date, such as haze, missed thin cloud, or a late spring.

A large part of the error of a forecast is common to the scene. The effect of each date and band is the robust mean
of what the trajectories of many pixels leave, shrunk where few of them were seen. The series of effects is then
filtered as one more pixel: what lasts from date to date belongs to the surface and is carried into a forecast; what
passes with its date belongs to the sky.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.departures import departures, likeliest, with_departures
from s2koop.koopman.model_error import AnomalyFilter, ModelError
from s2koop.koopman.network import KoopmanNetwork
from s2koop.koopman.solvers import minimise

#: Pixels that must be seen on a date before its effect is half believed.
HALF_BELIEF = 20.0
LIMIT = 2.0
#: Times that trajectories and effects are solved for in turn.
ROUNDS = 2
#: A mean over many pixels needs no pixel to the last digit.
ROUGH = 1e-3


@dataclass(frozen=True)
class DateEffects:
    """Effects of the dates of a window.

    Attributes
    ----------
    days : Tensor, shape (time,)
    effect : Tensor, shape (time, band)
        Standardised; zero where too little was seen.
    known : Tensor of bool, shape (time, band)
    departures : ModelError, optional
        What a surface may do beside the anomalies of the scene, as far as the effects call for it.
    """

    days: Tensor
    effect: Tensor
    known: Tensor
    departures: ModelError | None = None

    @classmethod
    def none(cls, days: Tensor, bands: int) -> DateEffects:
        """No effect on any date."""
        return cls(days, days.new_zeros(len(days), bands), torch.zeros(len(days), bands, dtype=torch.bool))

    def lasting(self, error: ModelError, asked: Tensor) -> tuple[Tensor, Tensor]:
        """The part that belongs to the surface on any sorted days (n, band), and its variance."""
        residual = self.effect[None]
        anomalies = self.filter(error, residual)
        mean, variance = anomalies.smooth(residual.unsqueeze(-1), asked, given=anomalies.error.lasting())
        return mean[0, ..., 0], variance[0]

    def filter(self, error: ModelError, residual: Tensor) -> AnomalyFilter:
        """The filter of the series of effects, as one pixel (1, time, band), with the departures it calls for."""

        def with_size(size: Tensor) -> AnomalyFilter:
            both, each = (error, None) if further is None else with_departures(error, further, size)
            return AnomalyFilter(both, self.days, self.known[None], judged=residual, limit=LIMIT, size=each)

        def evidence(size: float, _: Tensor) -> Tensor:
            return _evidence(with_size(residual.new_full((1,), size)), residual)

        further, only = self.departures, torch.zeros(1, dtype=torch.long, device=residual.device)
        return with_size(residual.new_zeros(1) if further is None else likeliest(evidence, only))


def _evidence(anomalies: AnomalyFilter, residual: Tensor) -> Tensor:
    """Logarithm of the likelihood (1,) of the effects, up to a constant."""
    return anomalies.log_precision() - 0.5 * anomalies.whiten(residual.unsqueeze(-1)).square().flatten(1).sum(1)


def date_effects(residual: Tensor, mask: Tensor, days: Tensor) -> DateEffects:
    """Effects of each date, from what the trajectories of some pixels leave.

    Parameters
    ----------
    residual : Tensor, shape (pixel, time, band)
        Standardised; what lies under a false mask is ignored.
    mask : Tensor of bool, same shape
    days : Tensor, shape (time,)
    """
    if not len(residual):
        return DateEffects.none(days, residual.shape[2])
    seen = torch.where(mask, residual, torch.nan)
    count = mask.sum(0)
    middle = torch.nan_to_num(seen.nanmedian(0).values)
    spread = 1.4826 * torch.nan_to_num((seen - middle).abs().nanmedian(0).values).clamp(min=1e-3)
    # a Huber mean around the median: the median of few pixels is coarse
    bounded = torch.nan_to_num(torch.maximum(torch.minimum(seen - middle, 1.5 * spread), -1.5 * spread))
    robust = middle + bounded.sum(0) / count.clamp(min=1)
    return DateEffects(days, robust * count / (count + HALF_BELIEF), count > 0)


@torch.no_grad()
def scene_effects(
    network: KoopmanNetwork,
    values: Tensor,
    days: Tensor,
    background: Background,
    noise: Tensor,
    robust: float | None,
) -> DateEffects:
    """Date effects of a scene from some of its pixels, by solving for trajectories and effects in turn.

    The trajectories come first: what can be a season of the pixels is not taken for weather.

    Parameters
    ----------
    network : KoopmanNetwork
    values : Tensor, shape (pixel, time, band)
        Standardised, NaN where there is no observation.
    days : Tensor, shape (time,)
        Days since the start of the window.
    background : Background
    noise : Tensor, shape (band,)
    robust : float, optional
    """
    effects = DateEffects.none(days, values.shape[2])
    for _ in range(ROUNDS):
        window = Window(network, values - effects.effect, days, background, noise, robust)
        trajectory = window.trajectory(minimise(window, tolerance=ROUGH).u)
        residual = torch.zeros_like(values)
        residual[:, window.dates] = values.nan_to_num()[:, window.dates] - trajectory
        effects = date_effects(residual, torch.isfinite(values), days)
    return replace(effects, departures=departures(network, background))

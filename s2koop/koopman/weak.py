"""The weak constraint: a trajectory whose model error is integrated out, then given back on any date.

A strong constraint takes every departure from the trajectory for noise of its own date, bends the trajectory towards
a dry summer, and is too sure of itself. Here the departures of one pixel are correlated in time and between bands
(`s2koop.koopman.model_error`). The observations and their derivatives are made independent by the Kalman filter of
that error, so that the latent is again the solution of a least-squares problem; the anomalies then follow by
smoothing. With a linear decoder both are exact: the posterior is that of a Kalman smoother over latents and anomalies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2koop.koopman.assimilation import Analysis, Window, observed_rows
from s2koop.koopman.departures import departures, likeliest, with_departures
from s2koop.koopman.model_error import AnomalyFilter, ModelError

ITERATIONS = 3
#: Innovations beyond so many standard deviations lose weight.
LIMIT = 2.0


@dataclass(frozen=True)
class WeakAnalysis:
    """A trajectory and what is needed to smooth its anomalies.

    Attributes
    ----------
    window : Window
    u : Tensor, shape (pixel, latent)
    precision : Tensor, shape (pixel, latent, latent)
        Gauss-Newton Hessian in `u` with the model error integrated out.
    rows : Tensor, shape (pixel, time, band, 1 + latent)
        Residual of the observations and minus its derivatives in `u`, zero where masked.
    departed : AnomalyFilter
        Of these dates, with the departures that the observations call for and the distrust that the others earned;
        without processes of departures where no pixel of the tile calls for any.
    size : Tensor, shape (pixel,)
        Of the departures: one of `s2koop.koopman.departures.SIZES`.
    cost, misfit : Tensor, shape (pixel,)
        Cost at the minimum, and the mean squared whitened residual: near one where the error is right.
    """

    window: Window
    u: Tensor
    precision: Tensor
    rows: Tensor
    departed: AnomalyFilter
    size: Tensor
    cost: Tensor
    misfit: Tensor


def refine(window: Window, analysis: Analysis, error: ModelError, *, robust: bool = True) -> WeakAnalysis:
    """Move a strong-constraint analysis to the minimum of the weak-constraint cost, by damped Gauss-Newton steps.

    Parameters
    ----------
    window : Window
        The one that `analysis` minimises; its noise and robust loss do not count here.
    analysis : Analysis
    error : ModelError
    robust : bool
        Judge observations that the filter does not expect, by what they are under `analysis`: land that departs from
        the prior (`s2koop.koopman.departures`) where that is likely, and sky, which is distrusted, elsewhere.

    Returns
    -------
    WeakAnalysis
    """
    u = analysis.u.clone()
    rows = _rows(window, u)
    departed, size = _departed(window, u, rows, error) if robust else _plain(window, error)
    products = _products(departed, rows)
    cost = _cost(products, u, window)
    damping = u.new_full((len(u),), 1e-4)
    active = torch.arange(len(u), device=u.device)
    for _ in range(ITERATIONS):
        here, some = u[active], window.select(active)
        trial = here + _step(products[active], here, damping[active], some)
        trial_rows = _rows(some, trial)
        filtered = departed if len(active) == len(u) else departed.select(active)  # a copy takes memory
        trial_products = _products(filtered, trial_rows)
        trial_cost = _cost(trial_products, trial, some)
        better = trial_cost <= cost[active]
        small = (cost[active] - trial_cost).abs() <= 1e-4 * (1 + cost[active])
        moved = active[better]
        u[moved], rows[moved], products[moved] = trial[better], trial_rows[better], trial_products[better]
        cost[moved] = trial_cost[better]
        damping[active] *= torch.where(better, 0.1, 100.0)
        active = active[~small]
        if not len(active):
            break
    count = window.mask.flatten(1).sum(1).clamp(min=1)
    precision = _hessian(products, window)
    return WeakAnalysis(window, u, precision, rows, departed, size, cost, products[:, 0, 0] / count)


def predict(
    analysis: WeakAnalysis, asked: Tensor, *, leave_out: bool = False, precision: str = "float32"
) -> tuple[Tensor, Tensor]:
    """Trajectory with its anomaly, and the variance of both together.

    Parameters
    ----------
    analysis : WeakAnalysis
    asked : Tensor, shape (n,)
        Days since the start of the window, sorted.
    leave_out : bool
        Anomalies without the observations of an asked day itself.
    precision : {"float32", "bfloat16"}
        Of the decoder's products.

    Returns
    -------
    mean, variance : Tensor, shape (pixel, n, band)
        Standardised. The variance holds what the latent and the anomalies leave open, and no noise of observations.
    """
    window, u = analysis.window, analysis.u
    departed = analysis.departed
    anomaly, variance = departed.smooth(analysis.rows, asked, given=departed.error.lasting(), leave_out=leave_out)
    network, background = window.network, window.background
    powers = network.operator.powers(asked)
    carry, center = background.factor.T @ powers, background.mean @ powers
    values, rows = observed_rows(network, carry, center, u, precision=precision)
    slope = rows + anomaly[..., 1:]
    factor = torch.linalg.cholesky(analysis.precision)
    flat = slope.flatten(1, 2).transpose(1, 2)
    left_open = torch.linalg.solve_triangular(factor, flat, upper=False).square().sum(1)
    return values + anomaly[..., 0], variance + left_open.unflatten(1, values.shape[1:])


def _plain(window: Window, error: ModelError) -> tuple[AnomalyFilter, Tensor]:
    """The filter that trusts all observations, and no departures."""
    return AnomalyFilter(error, window.days, window.mask), error.noise.new_zeros(len(window.mask))


def _departed(window: Window, u: Tensor, rows: Tensor, own: ModelError) -> tuple[AnomalyFilter, Tensor]:
    """The filter with the departures under which the observations are most likely, and their size (pixel,)."""
    further = departures(window.network, window.background)
    distrust = torch.ones_like(rows[..., 0])

    def with_size(size: Tensor, pixels: Tensor) -> AnomalyFilter:
        error, each = with_departures(own, further, size)
        judged = rows[pixels, ..., 0]
        return AnomalyFilter(error, window.days, window.mask[pixels], judged=judged, limit=LIMIT, size=each)

    def evidence(size: float, pixels: Tensor) -> Tensor:
        if not size:
            anomalies = AnomalyFilter(own, window.days, window.mask, judged=rows[..., 0], limit=LIMIT)
            distrust.copy_(anomalies.distrust)
            return _evidence(anomalies, rows, u, window)
        departed = with_size(u.new_full((len(pixels),), size), pixels)
        return _evidence(departed, rows[pixels], u[pixels], window.select(pixels))

    everywhere = torch.arange(len(u), device=u.device)
    size = likeliest(evidence, everywhere)
    if bool(size.any()):
        return with_size(size, everywhere), size
    return AnomalyFilter(own, window.days, window.mask, distrust), size


def _evidence(anomalies: AnomalyFilter, rows: Tensor, u: Tensor, window: Window) -> Tensor:
    """Logarithm of the likelihood (pixel,) of the observations, up to a constant, with the latent integrated out.

    Of the problem that is linear in the latent around `u`.
    """
    products = _products(anomalies, rows)
    factor = torch.linalg.cholesky(_hessian(products, window))
    downhill = -products[:, 0, 1:] - window.prior_gradient(u)
    gained = torch.linalg.solve_triangular(factor, downhill[..., None], upper=False).square().sum((1, 2))
    volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return anomalies.log_precision() - _cost(products, u, window) + 0.5 * gained - volume


def _rows(window: Window, u: Tensor) -> Tensor:
    """Residuals of the observations, then minus their derivatives in `u`: (pixel, time, band, 1 + latent)."""
    values, slope = window.observed_rows(u)
    rows = values.new_empty(*values.shape, 1 + u.shape[1])
    rows[..., 0] = torch.where(window.mask, window.values - values, 0.0)
    torch.mul(slope, -window.mask.to(slope.dtype).unsqueeze(-1), out=rows[..., 1:])
    return rows


def _products(anomalies: AnomalyFilter, rows: Tensor) -> Tensor:
    """Products of whitened columns (pixel, 1 + latent, 1 + latent): first the residual, then its derivatives."""
    white = anomalies.whiten(rows).flatten(1, 2)
    return white.transpose(1, 2) @ white


def _cost(products: Tensor, u: Tensor, window: Window) -> Tensor:
    return 0.5 * products[:, 0, 0] + window.prior_cost(u)


def _hessian(products: Tensor, window: Window) -> Tensor:
    """Of Gauss and Newton."""
    return products[:, 1:, 1:] + window.background_weight * window.prior_precision()


def _step(products: Tensor, u: Tensor, damping: Tensor, window: Window) -> Tensor:
    hessian = _hessian(products, window)
    downhill = -products[:, 0, 1:] - window.prior_gradient(u)
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    factor = torch.linalg.cholesky(hessian + torch.diag_embed(damping[:, None] * diagonal))
    return torch.cholesky_solve(downhill[..., None], factor)[..., 0]

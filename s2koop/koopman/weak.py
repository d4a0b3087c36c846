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
from s2koop.koopman.model_error import AnomalyFilter, ModelError, distrusted, smooth

ITERATIONS = 3
#: Innovations beyond so many standard deviations lose weight.
LIMIT = 2.0


@dataclass(frozen=True)
class WeakAnalysis:
    """A trajectory and what is needed to smooth its anomalies.

    Attributes
    ----------
    window : Window
    error : ModelError
    u : Tensor, shape (pixel, latent)
    precision : Tensor, shape (pixel, latent, latent)
        Gauss-Newton Hessian in `u` with the model error integrated out.
    rows : Tensor, shape (pixel, time, band, 1 + latent)
        Residual of the observations and minus its derivatives in `u`, zero where masked.
    distrust : Tensor, shape (pixel, time, band)
    cost, misfit : Tensor, shape (pixel,)
        Cost at the minimum, and the mean squared whitened residual: near one where the error is right.
    """

    window: Window
    error: ModelError
    u: Tensor
    precision: Tensor
    rows: Tensor
    distrust: Tensor
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
        Distrust observations that the filter does not expect, by what they are under `analysis`.

    Returns
    -------
    WeakAnalysis
    """
    u = analysis.u
    rows = _rows(window, u)
    distrust = torch.ones_like(window.values)
    if robust:
        distrust = distrusted(error, window.days, window.mask, rows[..., 0], LIMIT)
    anomalies = AnomalyFilter(error, window.days, window.mask, distrust)
    residual, slope = _split(anomalies.whiten(rows))
    cost = _cost(residual, u, window)
    damping = u.new_full((len(u),), 1e-4)
    for _ in range(ITERATIONS):
        hessian, gradient = _normal(residual, slope, u, window)
        trial = u + _solve(hessian, gradient, damping)
        trial_rows = _rows(window, trial)
        trial_residual, trial_slope = _split(anomalies.whiten(trial_rows))
        trial_cost = _cost(trial_residual, trial, window)
        better = trial_cost <= cost
        u = torch.where(better[:, None], trial, u)
        rows = torch.where(better[:, None, None, None], trial_rows, rows)
        residual = torch.where(better[:, None], trial_residual, residual)
        slope = torch.where(better[:, None, None], trial_slope, slope)
        settled = ((cost - trial_cost).abs() <= 1e-4 * (1 + cost)).all()
        cost = torch.where(better, trial_cost, cost)
        damping = damping * torch.where(better, 0.1, 100.0)
        if settled:
            break
    hessian, _ = _normal(residual, slope, u, window)
    count = window.mask.flatten(1).sum(1).clamp(min=1)
    return WeakAnalysis(window, error, u, hessian, rows, distrust, cost, residual.square().sum(1) / count)


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
    lasting = analysis.error.lasting()
    anomaly, variance = smooth(
        analysis.error,
        window.days,
        window.mask,
        analysis.rows,
        asked,
        analysis.distrust,
        given=lasting,
        leave_out=leave_out,
    )
    network, background = window.network, window.background
    powers = network.operator.powers(asked)
    carry, center = background.factor.T @ powers, background.mean @ powers
    values, rows = observed_rows(network, carry, center, u, precision=precision)
    slope = rows + anomaly[..., 1:]
    factor = torch.linalg.cholesky(analysis.precision)
    flat = slope.flatten(1, 2).transpose(1, 2)
    left_open = torch.linalg.solve_triangular(factor, flat, upper=False).square().sum(1)
    return values + anomaly[..., 0], variance + left_open.unflatten(1, values.shape[1:])


def _rows(window: Window, u: Tensor) -> Tensor:
    """Residuals of the observations, then minus their derivatives in `u`: (pixel, time, band, 1 + latent)."""
    values, slope = window.observed_rows(u)
    residual = torch.where(window.mask, window.values - values, 0.0)
    return torch.cat([residual.unsqueeze(-1), -slope * window.mask.unsqueeze(-1)], -1)


def _split(whitened: Tensor) -> tuple[Tensor, Tensor]:
    """Whitened residual (pixel, observation) and its derivatives (pixel, observation, latent)."""
    flat = whitened.flatten(1, 2)
    return flat[..., 0], flat[..., 1:]


def _cost(residual: Tensor, u: Tensor, window: Window) -> Tensor:
    return 0.5 * (residual.square().sum(1) + window.background_weight * u.square().sum(1))


def _normal(residual: Tensor, slope: Tensor, u: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Gauss-Newton Hessian and minus the gradient."""
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    hessian = slope.transpose(1, 2) @ slope + window.background_weight * eye
    return hessian, -torch.einsum("pk,pkd->pd", residual, slope) - window.background_weight * u


def _solve(hessian: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    factor = torch.linalg.cholesky(hessian + torch.diag_embed(damping[:, None] * diagonal))
    return torch.cholesky_solve(gradient[..., None], factor)[..., 0]

"""Minimisers of the assimilation cost, for all pixels of a tile at once.

They know a `Window` by its methods only: costs, gradients and normal equations of pixels that do not know of each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2koop.koopman.assimilation import Analysis, Window

MAX_ITERATIONS = 30
TOLERANCE = 1e-4


def minimise(window: Window, *, max_iterations: int = MAX_ITERATIONS, tolerance: float = TOLERANCE) -> Analysis:
    """Minimise the cost of every pixel by Levenberg-Marquardt with per-pixel damping and stopping.

    Parameters
    ----------
    window : Window
    max_iterations : int
        Most evaluations of the Jacobian.
    tolerance : float
        A pixel stops when a step lowers its cost by less than this fraction.

    Returns
    -------
    Analysis
    """
    u = window.start.clone()
    damping = u.new_full((len(window),), 1e-3)
    iterations = torch.zeros(len(window), dtype=torch.int16, device=u.device)
    active = torch.arange(len(window), device=u.device)
    for _ in range(max_iterations):
        part = window.select(active)
        here = u[active]
        residual, gradient, hessian = part.normal_equations(here)
        cost = part.cost(residual, here)
        trial = here - _damped_solve(hessian, gradient, damping[active])
        trial_cost = part.cost(part.residual(trial), trial)
        better = trial_cost <= cost
        u[active] = torch.where(better[:, None], trial, here)
        damping[active] = (damping[active] * torch.where(better, 0.2, 8.0)).clamp(1e-6, 1e8)
        iterations[active] += 1
        small = (cost - trial_cost).abs() <= tolerance * (1 + cost)
        active = active[~(small & (better | (damping[active] > 1e6)))]
        if not len(active):
            break
    return window.analysis(u, iterations)


def _damped_solve(hessian: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    """``(H + damping * diag(H))^-1 g``; H is at least the identity, so the factor always exists."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    factor = torch.linalg.cholesky(hessian + torch.diag_embed(damping[:, None] * diagonal))
    return torch.cholesky_solve(gradient[..., None], factor)[..., 0]

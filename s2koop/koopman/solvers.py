"""Minimisers of the assimilation cost, for all pixels of a tile at once; each pixel stops by itself.

- ``"levenberg-marquardt"``: the normal equations of each pixel, damped by its own factor. Fewest iterations, exact end.
- ``"lbfgs"``: quasi-Newton steps from gradients alone, whitened by the mean Gauss-Newton matrix of a few pixels.
- ``"adam"``: the recipe of Frion et al. (2024) for parity: one Adam over all latents, a fixed number of iterations.

They know a `Window` by its methods only, and its pixels share nothing but the memory they are solved in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from s2koop.errors import InputError
from s2koop.koopman.assimilation import Analysis, Window

SOLVERS = ("levenberg-marquardt", "lbfgs", "adam")
#: Most iterations, where none are asked for. Those of Adam are the papers'; it takes them all.
MAX_ITERATIONS = {"levenberg-marquardt": 30, "lbfgs": 100, "adam": 201}
TOLERANCE = 1e-4
LEARNING_RATE = 1e-3
#: Pixels whose Gauss-Newton matrices whiten the steps of L-BFGS.
SHARED_PIXELS = 60
#: Pairs of steps and changes of gradient that L-BFGS remembers.
MEMORY = 8


def minimise(
    window: Window,
    *,
    solver: str = "levenberg-marquardt",
    max_iterations: int | None = None,
    tolerance: float = TOLERANCE,
    learning_rate: float | None = None,
    trace: bool = False,
) -> Analysis:
    """Minimise the cost of every pixel of a window.

    Parameters
    ----------
    window : Window
    solver : {"levenberg-marquardt", "lbfgs", "adam"}
        All reach the same minimum where the cost is convex.
    max_iterations : int, optional
        Most iterations of a pixel: 30 for Levenberg-Marquardt, 100 for L-BFGS by default. Adam takes exactly so many,
        201 by default.
    tolerance : float
        A pixel stops when a step lowers its cost by less than this fraction. Adam does not look at it.
    learning_rate : float, optional
        Of Adam, 1e-3 by default; no other solver has one.
    trace : bool
        Keep the sum of the costs of all pixels before each iteration.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        If the solver is unknown, or a learning rate is given to one that has none.

    References
    ----------
    Marquardt (1963) for the damping; Liu and Nocedal (1989) for L-BFGS; Frion et al. (2024), section V, for Adam.

    Examples
    --------
    >>> import torch
    >>> from s2koop.koopman.assimilation import Background, Window
    >>> from s2koop.koopman.network import KoopmanAutoencoder
    >>> from s2koop.koopman.settings import KoopmanSettings
    >>> network = KoopmanAutoencoder(2, KoopmanSettings(hidden=(16,), latent=4)).requires_grad_(False)
    >>> prior = Background(torch.zeros(4), torch.eye(4))
    >>> window = Window(network, torch.rand(3, 5, 2), 30.0 * torch.arange(5), prior, torch.tensor([0.1, 0.1]))
    >>> minimise(window, solver="lbfgs").u.shape
    torch.Size([3, 4])
    """
    if solver not in SOLVERS:
        raise InputError(f"solver={solver!r} is unknown; choose one of {SOLVERS}")
    if learning_rate is not None and solver != "adam":
        raise InputError(f"learning_rate={learning_rate} has no meaning for solver={solver!r}; leave it out")
    most = MAX_ITERATIONS[solver] if max_iterations is None else max_iterations
    totals: list[Tensor] | None = [] if trace else None
    with torch.no_grad():
        if solver == "adam":
            found = _adam(window, most, LEARNING_RATE if learning_rate is None else learning_rate, totals)
        else:
            method = _levenberg_marquardt if solver == "levenberg-marquardt" else _lbfgs
            found = method(window, most, tolerance, totals)
        analysis = window.analysis(*found)
    return analysis if totals is None else replace(analysis, trace=torch.stack(totals))


def _levenberg_marquardt(
    window: Window, most: int, tolerance: float, totals: list[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Damped Gauss-Newton steps; a step that fails raises the damping of its pixel."""
    u = window.start.clone()
    costs = u.new_zeros(len(window))
    damping = u.new_full((len(window),), 1e-3)
    iterations = torch.zeros(len(window), dtype=torch.int16, device=u.device)
    active = torch.arange(len(window), device=u.device)
    for _ in range(most):
        part, here = window.select(active), u[active]
        residual, gradient, hessian = part.normal_equations(here)
        costs[active] = cost = part.cost(residual, here)
        _note(totals, costs)
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
    return u, iterations


def _damped_solve(hessian: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    """``(H + damping * diag(H))^-1 g``; zero where H without a background is too singular: more damping cures it."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    diagonal = torch.maximum(diagonal, 1e-3 * diagonal.amax(1, keepdim=True))  # an unseen direction has no curvature
    factor, failed = torch.linalg.cholesky_ex(hessian + torch.diag_embed(damping[:, None] * diagonal))
    step = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    return torch.where((failed > 0)[:, None], torch.nan, step)


@dataclass
class _Memory:
    """The last steps of each pixel and the changes of its gradient: (pair, pixel, latent)."""

    steps: Tensor
    changes: Tensor
    inverse: Tensor  # 1 / (step . change), zero for a pair that says nothing

    @classmethod
    def empty(cls, like: Tensor) -> _Memory:
        pairs = like.new_zeros(MEMORY, *like.shape)
        return cls(pairs, pairs.clone(), pairs[..., 0].clone())

    def select(self, pixels: Tensor) -> _Memory:
        return _Memory(self.steps[:, pixels], self.changes[:, pixels], self.inverse[:, pixels])

    def push(self, step: Tensor, change: Tensor, moved: Tensor) -> None:
        """Remember a pair of the pixels that moved, where the curvature along it is positive."""
        product = (step * change).sum(1)
        use = moved & (product > 1e-10 * step.norm(dim=1) * change.norm(dim=1))
        pairs = ((self.steps, step), (self.changes, change), (self.inverse, 1 / product))
        for stored, new in pairs:
            wide = use.reshape(-1, *[1] * (new.ndim - 1))
            stored.copy_(torch.where(wide, torch.cat([stored[1:], new[None]]), stored))

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        q, shares = gradient.clone(), []
        for step, change, inverse in zip(self.steps.flip(0), self.changes.flip(0), self.inverse.flip(0), strict=True):
            shares.append(inverse * (step * q).sum(1))
            q -= shares[-1][:, None] * change
        length = self.changes[-1].square().sum(1) * self.inverse[-1]
        q /= torch.where(length > 0, length, 1.0)[:, None]
        for step, change, inverse, share in zip(self.steps, self.changes, self.inverse, shares[::-1], strict=True):
            q += (share - inverse * (change * q).sum(1))[:, None] * step
        return -q


def _lbfgs(window: Window, most: int, tolerance: float, totals: list[Tensor] | None) -> tuple[Tensor, Tensor]:
    """One gradient an iteration for each pixel: a trial that descends enough is taken, another one is shortened."""
    u = window.start.clone()
    whiten = _shared_factor(window, u)  # steps are taken in v, u = v @ whiten.T, where all curvatures are near one
    cost, gradient = window.cost_and_gradient(u)
    gradient = gradient @ whiten
    direction, length = -gradient, torch.ones_like(cost)
    memory = _Memory.empty(u)
    calm = torch.zeros(len(window), dtype=torch.int16, device=u.device)
    iterations = torch.zeros_like(calm)
    active = torch.arange(len(window), device=u.device)
    for _ in range(most):
        _note(totals, cost)
        part, past = window.select(active), memory.select(active)
        along, stride = direction[active], length[active]
        trial = u[active] + (stride[:, None] * along) @ whiten.T
        trial_cost, trial_gradient = part.cost_and_gradient(trial)
        trial_gradient = trial_gradient @ whiten
        slope = (gradient[active] * along).sum(1)
        fall = cost[active] - trial_cost
        taken = fall >= -1e-4 * stride * slope
        past.push(stride[:, None] * along, trial_gradient - gradient[active], taken)
        # a trial that fails lies beyond the minimum of the parabola through it: go there, not below a tenth
        shorter = (-0.5 * slope * stride / (-fall / stride - slope)).nan_to_num(0.1)
        length[active] = torch.where(taken, 1.0, torch.minimum(torch.maximum(shorter, 0.1 * stride), 0.5 * stride))
        small = (fall.abs() <= tolerance * (1 + cost[active])) | (stride < 1e-6)
        calm[active] = torch.where(small, calm[active] + 1, 0).to(calm.dtype)
        for stored, new in ((u, trial), (gradient, trial_gradient), (cost, trial_cost)):
            wide = taken.reshape(-1, *[1] * (new.ndim - 1))
            stored[active] = torch.where(wide, new, stored[active])
        direction[active] = torch.where(taken[:, None], past.direction(gradient[active]), along)
        for stored, new in ((memory.steps, past.steps), (memory.changes, past.changes), (memory.inverse, past.inverse)):
            stored[:, active] = new
        iterations[active] += 1
        active = active[calm[active] < 2]
        if not len(active):
            break
    return u, iterations


def _shared_factor(window: Window, u: Tensor) -> Tensor:
    """``L^-T`` of the mean Gauss-Newton matrix ``L L^T`` of pixels spread over the window."""
    chosen = torch.linspace(0, len(window) - 1, min(SHARED_PIXELS, len(window)), device=u.device).round().long()
    _, _, hessian = window.select(chosen).normal_equations(u[chosen])
    mean = hessian.mean(0)
    ridge = 1e-3 * mean.diagonal().mean()
    factor = torch.linalg.cholesky(mean + ridge * torch.eye(len(mean), dtype=u.dtype, device=u.device))
    return torch.linalg.inv(factor).T


def _adam(window: Window, most: int, rate: float, totals: list[Tensor] | None) -> tuple[Tensor, Tensor]:
    """One Adam over the unknowns of all pixels, with the moments of the papers (0.9, 0.999)."""
    u = torch.nn.Parameter(window.start.clone())
    optimiser = torch.optim.Adam([u], lr=rate)
    for _ in range(most):
        cost, u.grad = window.cost_and_gradient(u.detach())
        _note(totals, cost)
        optimiser.step()
    return u.detach(), torch.full((len(window),), most, dtype=torch.int16, device=u.device)


def _note(totals: list[Tensor] | None, costs: Tensor) -> None:
    if totals is not None:
        totals.append(costs.sum())

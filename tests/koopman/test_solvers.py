"""All minimisers reach the same minimum, stop pixel by pixel, and one of them repeats the papers' recipe."""

from __future__ import annotations

import pytest
import torch

from s2koop.errors import InputError
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.solvers import SOLVERS, minimise
from tests.koopman.test_assimilation import LATENT, PIXELS, problem

TIGHT = {
    "levenberg-marquardt": {"tolerance": 1e-14},
    "lbfgs": {"tolerance": 1e-14, "max_iterations": 300},
    "adam": {"max_iterations": 400, "learning_rate": 0.1},
}
CLOSE = {"levenberg-marquardt": 1e-6, "lbfgs": 1e-5, "adam": 1e-2}


def window_of(parts, pixels=slice(None), **changes):
    network, background, days, noise, values = parts
    return Window(network, values[pixels], days, background, noise, **changes)


def test_gradient_is_that_of_autograd_and_of_the_normal_equations():
    window = window_of(problem(), robust=1.5, background_weight=0.3)
    u = torch.randn(PIXELS, LATENT, dtype=torch.float64, requires_grad=True)
    cost = window.cost(window.residual(u), u)
    expected = torch.autograd.grad(cost.sum(), u)[0]
    found_cost, found = window.cost_and_gradient(u.detach())
    torch.testing.assert_close(found_cost, cost.detach())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(window.normal_equations(u.detach())[1], expected)


@pytest.mark.parametrize(
    ("solver", "weight"), [(solver, 1.0) for solver in SOLVERS] + [("levenberg-marquardt", 0.01), ("lbfgs", 0.01)]
)
def test_every_solver_finds_the_closed_form_where_the_decoder_is_linear(solver, weight):
    window = window_of(problem(hidden=()), background_weight=weight)
    zero = torch.zeros(PIXELS, LATENT, dtype=torch.float64)
    _, gradient, hessian = window.normal_equations(zero)
    expected = -torch.linalg.solve(hessian, gradient)
    found = minimise(window, solver=solver, **TIGHT[solver])
    torch.testing.assert_close(found.u, expected, atol=CLOSE[solver], rtol=0)


def test_solvers_agree_where_the_decoder_is_not_linear():
    window = window_of(problem())
    costs = {name: minimise(window, solver=name, **TIGHT[name]).cost for name in SOLVERS}
    for name in ("lbfgs", "adam"):
        # kinks and several minima: a pixel may rest a little apart, the scene may not
        assert float(costs[name].sum()) == pytest.approx(float(costs["levenberg-marquardt"].sum()), rel=0.02)


@pytest.mark.parametrize("solver", ["levenberg-marquardt", "lbfgs"])
def test_a_pixel_stops_by_itself(solver):
    parts = problem()
    parts[-1][1] = torch.nan
    found = minimise(window_of(parts), solver=solver)
    assert float(found.u[1].abs().max()) == 0
    assert found.iterations[1] <= 2 < found.iterations.max()


@pytest.mark.parametrize("solver", ["levenberg-marquardt", "lbfgs"])
def test_a_cost_without_background_is_minimised_safely(solver):
    """One date of three bands leaves directions of six latents without any curvature."""
    parts = problem(hidden=())
    parts[-1][:, 1:] = torch.nan
    parts[-1][:, 0] = 1.0
    found = minimise(window_of(parts, background_weight=0.0), solver=solver)
    assert torch.isfinite(found.u).all()
    assert float(found.misfit.max()) < 1e-3
    assert torch.isfinite(torch.linalg.cholesky(found.precision)).all()


def test_adam_repeats_the_recipe_of_the_papers():
    network, _, days, noise, values = problem()
    start = torch.randn(PIXELS, LATENT, dtype=torch.float64)
    plain = Background(torch.zeros(LATENT, dtype=torch.float64), torch.eye(LATENT, dtype=torch.float64))
    window = Window(network, values, days, plain, torch.ones_like(noise), background_weight=0.0, start=start)
    found = minimise(window, solver="adam", max_iterations=5, learning_rate=1e-2, trace=True)

    latents, trace = torch.nn.Parameter(start.clone()), []
    optimiser = torch.optim.Adam([latents], lr=1e-2)
    for _ in range(5):
        optimiser.zero_grad()
        predicted = network.observe(network.operator.advance(latents, days))
        loss = 0.5 * torch.where(torch.isfinite(values), predicted - values, 0.0).square().sum()
        loss.backward()
        optimiser.step()
        trace.append(loss.item())
    torch.testing.assert_close(found.u, latents.detach())
    torch.testing.assert_close(found.trace, torch.tensor(trace, dtype=torch.float64))


def test_trace_falls_and_is_kept_only_when_asked():
    window = window_of(problem())
    for solver in SOLVERS:
        trace = minimise(window, solver=solver, trace=True).trace
        assert float(trace[-1]) < float(trace[0])
    assert minimise(window).trace is None


def test_a_start_near_the_minimum_saves_iterations():
    parts = problem()
    cold = minimise(window_of(parts))
    warm = minimise(window_of(parts, start=cold.u))
    assert warm.iterations.sum() < cold.iterations.sum()
    assert bool((warm.cost <= cold.cost + 1e-6).all())  # rounding of a cost that has converged


def test_wrong_options_are_refused():
    window = window_of(problem())
    with pytest.raises(InputError, match="choose one of"):
        minimise(window, solver="newton")
    with pytest.raises(InputError, match="leave it out"):
        minimise(window, learning_rate=0.1)

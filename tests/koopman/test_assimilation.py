"""The solver against brute-force twins: closed-form regression, scipy, and one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

from s2koop.koopman.assimilation import Background, Window, evaluate
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise

BANDS, LATENT, DATES, PIXELS = 3, 6, 15, 7


def problem(hidden=(16,), seed=0, pixels=PIXELS, missing=0.4):
    torch.manual_seed(seed)
    network = (
        KoopmanAutoencoder(BANDS, KoopmanSettings(hidden=hidden, latent=LATENT, derivative=False))
        .double()
        .requires_grad_(False)
    )
    factor = torch.linalg.cholesky(torch.eye(LATENT, dtype=torch.float64) + 0.2)
    background = Background(torch.randn(LATENT, dtype=torch.float64), factor)
    days = torch.sort(400 * torch.rand(DATES, dtype=torch.float64))[0]
    truth = background.latent(torch.randn(pixels, LATENT, dtype=torch.float64))
    noise = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    values = network.observe(network.operator.advance(truth, days))
    values = values + noise * torch.randn(values.shape, dtype=torch.float64)
    values[torch.rand(values.shape) < missing] = torch.nan
    return network, background, days, noise, values


def test_jacobian_is_that_of_autograd():
    network, *_ = problem()
    z = torch.randn(4, LATENT, dtype=torch.float64)
    values, jacobian = network.observe_with_jacobian(z)
    torch.testing.assert_close(values, network.observe(z))
    for i in range(4):
        torch.testing.assert_close(jacobian[i], torch.autograd.functional.jacobian(network.observe, z[i]))


def test_observe_is_the_reflectance_part_of_decode():
    torch.manual_seed(1)
    network = KoopmanAutoencoder(BANDS, KoopmanSettings(hidden=(16,), latent=LATENT))
    z = torch.randn(5, LATENT)
    torch.testing.assert_close(network.observe(z), network.decode(z)[:, :BANDS])


def test_linear_decoder_gives_the_posterior_of_linear_regression():
    network, background, days, noise, values = problem(hidden=())
    analysis = minimise(Window(network, values, days, background, noise), tolerance=1e-14)
    later = torch.tensor([500.0, 600.0], dtype=torch.float64)
    mean, variance = evaluate(network, background, analysis, later)
    weight, bias = (part.numpy() for part in (network.decoder[0].weight, network.decoder[0].bias))
    covariance = (background.factor @ background.factor.T).numpy()
    for p in range(PIXELS):
        rows, data, errors = [], [], []
        for t, power in enumerate(network.operator.powers(days).numpy()):
            for b in range(BANDS):
                if torch.isfinite(values[p, t, b]):
                    rows.append(power @ weight[b])
                    data.append(values[p, t, b].item() - bias[b])
                    errors.append(noise[b].item())
        design = np.array(rows) / np.array(errors)[:, None]
        precision = np.linalg.inv(covariance) + design.T @ design
        posterior = np.linalg.inv(precision)
        latent = posterior @ (
            np.linalg.inv(covariance) @ background.mean.numpy() + design.T @ (np.array(data) / errors)
        )
        for t, power in enumerate(network.operator.powers(later).numpy()):
            np.testing.assert_allclose(mean[p, t].numpy(), latent @ power @ weight.T + bias, atol=1e-7)
            expected = np.einsum("bi,ij,bj->b", weight @ power.T, posterior, weight @ power.T)
            np.testing.assert_allclose(variance[p, t].numpy(), expected, rtol=1e-6)


def test_nonlinear_minimum_is_that_of_scipy():
    network, background, days, noise, values = problem()
    analysis = minimise(Window(network, values, days, background, noise), max_iterations=200, tolerance=1e-12)
    for p in range(PIXELS):
        window = Window(network, values[p : p + 1], days, background, noise)

        def residual(u, window=window):
            u = torch.from_numpy(u)[None]
            return np.concatenate([window.residual(u).flatten().numpy(), u.flatten().numpy()])

        twin = scipy.optimize.least_squares(residual, np.zeros(LATENT), xtol=1e-12, ftol=1e-12, gtol=1e-12)
        # ReLU leaves kinks at which either solver may rest, hence the thousandth
        assert analysis.cost[p].item() <= twin.cost * 1.001


def test_robust_minimum_is_that_of_scipy_and_shrugs_off_haze():
    network, background, days, noise, values = problem(missing=0.1)
    hazy = values.clone()
    hazy[:, 4] += 30.0
    clean = minimise(Window(network, values, days, background, noise, 1.5), max_iterations=200, tolerance=1e-12)
    robust = minimise(Window(network, hazy, days, background, noise, 1.5), max_iterations=200, tolerance=1e-12)
    plain = minimise(Window(network, hazy, days, background, noise), max_iterations=200, tolerance=1e-12)
    assert float((robust.u - clean.u).norm()) < 0.2 * float((plain.u - clean.u).norm())
    for p in range(PIXELS):
        window = Window(network, hazy[p : p + 1], days, background, noise, 1.5)

        def cost(u, window=window):
            u = torch.from_numpy(u)[None]
            return window.cost(window.residual(u), u).item()

        twin = scipy.optimize.minimize(cost, robust.u[p].numpy(), method="BFGS")
        assert robust.cost[p].item() <= twin.fun * 1.002


def test_pixels_do_not_know_of_each_other():
    network, background, days, noise, values = problem()
    together = minimise(Window(network, values, days, background, noise))
    for p in range(PIXELS):
        alone = minimise(Window(network, values[p : p + 1], days, background, noise))
        torch.testing.assert_close(alone.u[0], together.u[p], atol=1e-8, rtol=1e-6)
        assert alone.iterations[0] == together.iterations[p]


def test_values_under_the_mask_do_not_matter_and_empty_pixels_return_the_background():
    network, background, days, noise, values = problem()
    values[2] = torch.nan
    analysis = minimise(Window(network, values, days, background, noise))
    assert float(analysis.u[2].abs().max()) == 0
    assert float(analysis.misfit[2]) == 0
    mean, variance = evaluate(network, background, analysis, days)
    torch.testing.assert_close(mean[2], network.observe(network.operator.advance(background.mean, days)))
    assert bool((variance > 0).all())


def test_only_observed_pairs_of_pixel_and_date_are_decoded(monkeypatch):
    network, background, days, noise, values = problem()
    values[:, 3:9] = torch.nan
    values[2, 10] = torch.nan
    decoded = []
    plain = network.observe_with_jacobian
    monkeypatch.setattr(network, "observe_with_jacobian", lambda z: decoded.append(len(z)) or plain(z))
    Window(network, values, days, background, noise).normal_equations(torch.zeros(PIXELS, LATENT, dtype=torch.float64))
    assert sum(decoded) == int(torch.isfinite(values).any(2).sum())


def test_more_observations_never_widen_the_spread():
    network, background, days, noise, values = problem(hidden=(), missing=0.0)
    few = values.clone()
    few[:, ::2] = torch.nan
    spread = {}
    for name, series in {"few": few, "all": values}.items():
        analysis = minimise(Window(network, series, days, background, noise))
        spread[name] = evaluate(network, background, analysis, days)[1]
    assert bool((spread["all"] <= spread["few"] * (1 + 1e-9)).all())


def test_chunks_of_dates_change_nothing(monkeypatch):
    network, background, days, noise, values = problem()
    whole = minimise(Window(network, values, days, background, noise))
    monkeypatch.setattr("s2koop.koopman.assimilation.STATES_AT_ONCE", 2 * PIXELS)
    parts = minimise(Window(network, values, days, background, noise))
    torch.testing.assert_close(whole.u, parts.u)
    for left, right in zip(
        evaluate(network, background, whole, days), evaluate(network, background, parts, days), strict=True
    ):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("seed", range(3))
def test_posterior_spread_covers_the_truth(seed):
    """Simulated observations of the model itself: 90 % intervals of the state cover about 90 %."""
    torch.manual_seed(seed)
    network, background, days, noise, _ = problem(hidden=(16,), seed=seed)
    truth = background.latent(torch.randn(400, LATENT, dtype=torch.float64))
    clean = network.observe(network.operator.advance(truth, days))
    values = clean + noise * torch.randn(clean.shape, dtype=torch.float64)
    values[torch.rand(values.shape) < 0.5] = torch.nan
    analysis = minimise(Window(network, values, days, background, noise))
    mean, variance = evaluate(network, background, analysis, days)
    inside = ((clean - mean).abs() <= 1.645 * variance.sqrt()).double().mean().item()
    assert 0.85 < inside < 0.95

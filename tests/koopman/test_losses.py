"""Losses against loops, and what the losses of ensembles promise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2koop.koopman import KoopmanSettings
from s2koop.koopman.losses import (
    Batch,
    Draw,
    Terms,
    almost_fair_crps,
    mean_square,
    network_terms,
    squares,
    total_loss,
    variance_promoting,
)
from s2koop.koopman.network import make_network

TARGETS, ORIGIN = [3, 7, 11], 2
SHORT = [(0, 4), (1, 9)]  # position in TARGETS, and the date it predicts


def batch(network, pixels=5, dates=12, seed=0):
    torch.manual_seed(seed)
    values = torch.randn(pixels, dates, network.bands)
    return Batch(
        values=values,
        mask=(torch.rand(values.shape) < 0.7).float(),
        states=torch.randn(pixels, dates, network.state_size),
        latents=torch.randn(pixels, network.latent),
        days=torch.arange(dates) * 5.0,
    )


def draw(dates=12):
    starts, ends = torch.tensor(SHORT).T
    return Draw(ORIGIN, torch.tensor(TARGETS), torch.arange(dates), starts, ends)


def move(network, z, days):
    return z @ network.operator.powers(torch.tensor([float(days)]))[0]


def errors(out, data, pixel, date):
    return [(out[b] - data.values[pixel, date, b]) ** 2 for b in range(2) if data.mask[pixel, date, b]]


@pytest.mark.parametrize("operator", ["modal", "dense"])
@pytest.mark.parametrize("derivative", [True, False])
def test_every_loss_against_a_loop_and_the_total_weighs_them(operator, derivative):
    settings = KoopmanSettings(
        latent=6, hidden=(8,), operator=operator, derivative=derivative, robust=None,
        autoencoding=2.0, linearity=0.5, orthogonality=3.0, trajectory=0.25, short_term=0.7,
    )  # fmt: skip
    torch.manual_seed(0)
    network = make_network(2, settings)
    data = batch(network)
    sums = {name: [] for name in ("prediction", "slope", "autoencoding", "linearity", "short_term", "trajectory")}
    for p in range(5):
        z = network.encode(data.states[p, ORIGIN])
        for t in TARGETS:
            moved, encoded = move(network, z, 5 * (t - ORIGIN)), network.encode(data.states[p, t])
            out = network.decode(moved)
            sums["prediction"] += errors(out, data, p, t)
            sums["slope"] += [(out[2:] - data.states[p, t, 2:]) ** 2]
            sums["autoencoding"] += [(network.decode(encoded) - data.states[p, t]) ** 2]
            sums["linearity"] += [(moved - encoded) ** 2]
        for start, end in SHORT:
            t = TARGETS[start]
            soon = move(network, network.encode(data.states[p, t]), 5 * (end - t))
            sums["short_term"] += errors(network.observe(soon), data, p, end)
        for t in range(12):
            sums["trajectory"] += errors(network.observe(move(network, data.latents[p], 5 * t)), data, p, t)
    expected = {name: torch.stack(values).mean() for name, values in sums.items()}
    slope = expected.pop("slope")
    if derivative:
        expected["prediction"] = expected["prediction"] + slope
    prior = sum(z @ z for z in data.latents) / 5 / (data.mask.sum() / 5)
    expected["trajectory"] = expected["trajectory"] + prior
    expected["orthogonality"] = network.operator.orthogonality()
    losses = total_loss([network_terms(network, data, draw(), settings)], settings)
    assert set(losses) == {*expected, "total"}
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    total = expected["prediction"] + sum(
        getattr(settings, name) * v for name, v in expected.items() if name != "prediction"
    )
    torch.testing.assert_close(losses["total"], total)


def test_losses_without_weight_are_not_computed_and_an_exact_inverse_needs_no_autoencoding():
    settings = KoopmanSettings(architecture="ikae", coupling_width=8, couplings=2, trajectory=0.0)
    network = make_network(2, settings)
    terms = network_terms(network, batch(network), draw(), settings)
    assert set(terms.residuals) == {"prediction"}
    assert "autoencoding" not in terms.penalties
    assert "latent_prior" not in terms.penalties


def test_what_is_masked_does_not_matter():
    settings = KoopmanSettings(latent=6, hidden=(8,), short_term=1.0)
    torch.manual_seed(0)
    network = make_network(2, settings)
    data = batch(network)
    other = Batch(data.values + 100 * (1 - data.mask), data.mask, data.states, data.latents, data.days)
    for name, value in total_loss([network_terms(network, data, draw(), settings)], settings).items():
        found = total_loss([network_terms(network, other, draw(), settings)], settings)[name]
        torch.testing.assert_close(found, value)


@given(residual=st.floats(-50, 50), bend=st.floats(0.1, 5))
def test_huber_is_the_square_near_zero_and_linear_far_away(residual, bend):
    r = torch.tensor(residual, dtype=torch.float64, requires_grad=True)
    value = squares(r, bend)
    slope = torch.autograd.grad(value, r)[0].item()
    if abs(residual) <= bend:
        assert value.item() == pytest.approx(residual**2)
    assert abs(slope) == pytest.approx(2 * min(abs(residual), bend))
    assert value.item() <= residual**2 + 1e-9


def ensemble(members, seed):
    generator = torch.Generator().manual_seed(seed)
    residual = torch.randn(members, 4, 3, 2, dtype=torch.float64, generator=generator)
    return residual, (torch.rand(4, 3, 2, generator=generator) < 0.6).double()


@given(members=st.integers(1, 9), diversity=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_variance_promoting_loss_is_the_quadratic_one_less_the_variance_between_members(members, diversity, seed):
    residual, mask = ensemble(members, seed)
    published = residual.square().mean(0) - diversity * residual.var(0, correction=0)
    expected = (published * mask).sum() / mask.sum().clamp(min=1)
    torch.testing.assert_close(variance_promoting(residual, mask, diversity=diversity), expected)


def test_at_full_diversity_only_the_mean_counts_and_a_robust_loss_stays_bounded_below():
    residual, mask = ensemble(5, 1)
    spread = residual + 1000 * torch.linspace(-1, 1, 5).double()[:, None, None, None]
    torch.testing.assert_close(
        variance_promoting(spread, mask, diversity=1.0), mean_square(residual.mean(0, keepdim=True), mask)
    )
    assert variance_promoting(spread, mask, diversity=0.99, robust=1.0) > 0


@given(members=st.integers(2, 9), seed=st.integers(0, 99))
def test_crps_against_its_definition_by_pairs_and_the_library(members, seed):
    import scoringrules

    residual, mask = ensemble(members, seed)
    pairs = (residual[:, None] - residual[None]).abs().sum((0, 1)) / 2
    pairs = pairs * (0.95 / (members * (members - 1)) + 0.05 / members**2)
    expected = ((residual.abs().mean(0) - pairs) * mask).sum() / mask.sum().clamp(min=1)
    torch.testing.assert_close(almost_fair_crps(residual, mask), expected)
    zeros, given = 0.0 * mask.numpy(), residual.movedim(0, -1).numpy()
    library = 0.95 * scoringrules.crps_ensemble(zeros, given, estimator="fair")
    library += 0.05 * scoringrules.crps_ensemble(zeros, given, estimator="nrg")
    average = (library * mask.numpy()).sum() / max(mask.sum().item(), 1)
    assert almost_fair_crps(residual, mask).item() == pytest.approx(average, rel=1e-4, abs=1e-6)


def test_members_that_run_away_cost_something():
    """The fair score alone is zero for members at -a, 0 and a, whatever a is."""
    mask = torch.ones(4, 1, 1)
    costs = [
        almost_fair_crps(size * torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 4, 1, 1), mask)
        for size in (1.0, 5.0)
    ]
    assert 0 < costs[0] < costs[1]


def test_crps_of_one_member_is_the_absolute_error():
    residual, mask = ensemble(1, 0)
    torch.testing.assert_close(almost_fair_crps(residual, mask), (residual[0].abs() * mask).sum() / mask.sum())


def test_several_networks_are_members_of_one_score():
    settings = KoopmanSettings(latent=6, hidden=(8,), trajectory=0.0, robust=None)
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        networks.append(make_network(2, settings))
    data = batch(networks[0])
    terms = [network_terms(network, data, draw(), settings) for network in networks]
    residual = torch.cat([term.residuals["prediction"][0] for term in terms])
    assert residual.shape == (3, 5, 3, 2)
    slope = torch.stack([term.penalties["slope"] for term in terms]).mean()
    found = total_loss(terms, settings, almost_fair_crps)["prediction"]
    torch.testing.assert_close(found, almost_fair_crps(residual, terms[0].residuals["prediction"][1]) + slope)
    assert isinstance(terms[0], Terms)


def test_heads_of_a_shared_trunk_are_members_whose_mean_is_the_network():
    settings = KoopmanSettings(latent=6, hidden=(8,), heads=4)
    torch.manual_seed(0)
    network = make_network(2, settings)
    z = torch.randn(7, 3, 6)
    members = network.observe_members(z)
    assert members.shape == (4, 7, 3, 2)
    assert members.std(0).min() > 0
    torch.testing.assert_close(members.mean(0), network.observe(z))
    torch.testing.assert_close(network.observe(z), network.decode(z)[..., :2])
    terms = network_terms(network, batch(network), draw(), settings)
    assert terms.residuals["prediction"][0].shape[0] == 4
    assert terms.residuals["trajectory"][0].shape[0] == 4

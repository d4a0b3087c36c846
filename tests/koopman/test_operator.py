"""Each test states one mathematical property of the latent operators."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2koop._time import YEAR_DAYS
from s2koop.errors import ModelError
from s2koop.koopman.operator import DenseOperator, LatentOperator, ModalOperator, real_logarithm

CYCLES = (0.0, 1.0, 2.0)


def modal(latent=6, seed=0) -> ModalOperator:
    torch.manual_seed(seed)
    operator = ModalOperator(latent, 5.0, CYCLES)
    operator.bend.data.normal_()
    operator.rate.data.normal_()
    return operator.double()


def dense(latent=5, seed=0, scale=0.1) -> DenseOperator:
    torch.manual_seed(seed)
    operator = DenseOperator(latent, 5.0).double()
    skew = scale * torch.randn(latent, latent, dtype=torch.float64)
    operator.matrix.data = torch.linalg.matrix_exp(skew - skew.T)
    return operator


@pytest.mark.parametrize("operator", [modal(), dense()], ids=["modal", "dense"])
def test_both_follow_the_protocol_and_advance_by_their_powers(operator):
    assert isinstance(operator, LatentOperator)
    z, days = (
        torch.randn(3, operator.latent, dtype=torch.float64),
        torch.tensor([0.0, 5.0, 35.0], dtype=torch.float64),
    )
    with torch.no_grad():
        expected = torch.stack([z @ power for power in operator.powers(days)], dim=1)
        torch.testing.assert_close(operator.advance(z, days), expected)
        torch.testing.assert_close(operator.powers(days[:1])[0], torch.eye(operator.latent, dtype=torch.float64))


@given(first=st.floats(0, 900), second=st.floats(0, 900))
def test_modal_steps_compose(first, second):
    operator = modal()
    with torch.no_grad():
        one, two, both = operator.powers(torch.tensor([first, second, first + second], dtype=torch.float64))
    torch.testing.assert_close(one @ two, both, atol=1e-6, rtol=1e-5)


def test_modal_power_is_the_exponential_of_its_generator():
    operator = modal(latent=2)
    with torch.no_grad():
        rate = torch.nn.functional.softplus(operator.rate).item() / 1000
        omega = operator.base.item() + operator.bend.item() * 2 * math.pi / (100 * YEAR_DAYS)
        got = operator.powers(torch.tensor([123.4], dtype=torch.float64))[0].numpy()
    generator = np.array([[-rate, omega], [-omega, -rate]])
    np.testing.assert_allclose(got, scipy.linalg.expm(123.4 * generator), atol=1e-6)


@given(seed=st.integers(0, 50), years=st.floats(0, 100))
def test_modal_never_grows(seed, years):
    operator = modal(seed=seed)
    with torch.no_grad():
        power = operator.powers(torch.tensor([years * YEAR_DAYS], dtype=torch.float64))[0]
    assert np.linalg.norm(power.numpy(), 2) <= 1 + 1e-9


def test_modal_spectrum_reads_periods_and_decays_in_days():
    operator = ModalOperator(4, 5.0, (1.0, 2.0))
    spectrum = operator.spectrum()
    assert sorted(spectrum.period_days.round(1)) == [182.6, 365.2]
    np.testing.assert_allclose(spectrum.decay_days, 50 * YEAR_DAYS, rtol=1e-3)


def test_mode_amplitudes_only_turn_and_shrink():
    operator = modal()
    spectrum = operator.spectrum()
    z = torch.randn(4, 6, dtype=torch.float64)
    with torch.no_grad():
        later = operator.advance(z, torch.tensor([5.0], dtype=torch.float64))[:, 0]
    np.testing.assert_allclose(
        later.numpy() @ spectrum.coordinates,
        (z.numpy() @ spectrum.coordinates) * spectrum.eigenvalue,
        atol=1e-6,
    )


def test_dense_whole_steps_are_matrix_powers_with_their_gradient():
    operator = dense()
    days = torch.tensor([0.0, 5.0, 10.0, 65.0], dtype=torch.float64)
    got = operator.powers(days)
    expected = torch.stack([torch.linalg.matrix_power(operator.matrix, n) for n in (0, 1, 2, 13)])
    torch.testing.assert_close(got, expected)
    by_doubling = torch.autograd.grad(got.square().sum() + got[3, 0, 1], operator.matrix)[0]
    by_products = torch.autograd.grad(expected.square().sum() + expected[3, 0, 1], operator.matrix)[0]
    torch.testing.assert_close(by_doubling, by_products)


def test_dense_fractional_and_backward_steps():
    operator = dense()
    with torch.no_grad():
        part, rest, back = operator.powers(torch.tensor([1.5, 3.5, -500.0], dtype=torch.float64))
        ahead = operator.powers(torch.tensor([500.0], dtype=torch.float64))[0]
    torch.testing.assert_close(part @ rest, operator.matrix.data, atol=1e-6, rtol=0)
    torch.testing.assert_close(ahead @ back, torch.eye(5, dtype=torch.float64), atol=1e-5, rtol=0)


@given(seed=st.integers(0, 50), latent=st.integers(1, 12), part=st.floats(0.01, 0.99), scale=st.floats(0.01, 0.2))
def test_fractional_steps_compose(seed, latent, part, scale):
    """|K^part K^(1-part) - K| < 1e-6, for rotations and for matrices that shrink and stretch."""
    operator = dense(latent, seed, scale)
    operator.matrix.data += 0.02 * torch.randn(latent, latent, dtype=torch.float64)
    with torch.no_grad():
        one, rest = operator.powers(torch.tensor([5 * part, 5 * (1 - part)], dtype=torch.float64))
    assert float((one @ rest - operator.matrix.data).abs().max()) < 1e-6


@given(seed=st.integers(0, 50), steps=st.integers(1, 100))
def test_forward_then_backward_returns_in_single_precision(seed, steps):
    """To 1e-5 for an orthogonal K of the papers' size, with its float32 weights."""
    operator = dense(32, seed, 0.05).float()
    z, days = torch.randn(20, 32), torch.tensor([5.0 * steps])
    with torch.no_grad():
        back = operator.advance(operator.advance(z, days)[:, 0], -days)[:, 0]
    torch.testing.assert_close(back, z, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 20))
def test_modal_steps_backward_undo_those_forward(seed):
    operator = modal(seed=seed).float()
    z, days = torch.randn(5, 6), torch.tensor([500.0])
    with torch.no_grad():
        back = operator.advance(operator.advance(z, days)[:, 0], -days)[:, 0]
    torch.testing.assert_close(back, z, atol=1e-5, rtol=1e-5)


@given(seed=st.integers(0, 20))
def test_a_century_of_the_modal_operator_never_grows(seed):
    operator = modal(seed=seed).float()
    z = torch.randn(3, 6)
    days = torch.arange(0, 100 * YEAR_DAYS, 5.0)
    with torch.no_grad():
        length = operator.advance(z, days).norm(dim=-1)
    assert bool((length <= z.norm(dim=-1, keepdim=True) * (1 + 1e-6)).all())
    assert operator.spectral_radius <= 1
    assert not operator.grows


def test_a_century_ends_where_double_precision_says():
    operator = ModalOperator(4, 5.0, (1.0, 2.0)).requires_grad_(False)
    z, days = torch.randn(3, 4), torch.tensor([100 * YEAR_DAYS])
    exact = operator.double().advance(z.double(), days.double())
    torch.testing.assert_close(operator.float().advance(z, days).double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("operator", [ModalOperator(6, 5.0, (1.0, 1.0, 1.0)), DenseOperator(6, 5.0)])
def test_gradients_stay_finite_where_eigenvalues_meet(operator):
    """All eigenvalues of either are equal at the start: the gradient of an eigendecomposition would be infinite."""
    operator = operator.double()
    days = torch.tensor([5.0, 50.0, 500.0], dtype=torch.float64)
    z = torch.randn(3, 6, dtype=torch.float64)
    weights = torch.randn(3, 3, 6, dtype=torch.float64)

    def loss():
        return (operator.advance(z, days) * weights).sum()

    parameters = list(operator.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert bool(torch.isfinite(gradient).all())
        index = (0,) * parameter.dim()
        values = []
        for shift in (1e-6, -2e-6):
            parameter.data[index] += shift
            values.append(float(loss().detach()))
        parameter.data[index] += 1e-6
        assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-6)
    assert not any(np.isnan(operator.spectrum().eigenvalue))


@pytest.mark.parametrize(("radius", "grows"), [(1.001, True), (1.0, False), (0.99, False)])
def test_spectral_radius_is_reported(radius, grows):
    operator = dense(4)
    operator.matrix.data *= radius
    assert operator.spectral_radius == pytest.approx(radius)
    assert operator.grows is grows
    assert operator.growth(50.0) == pytest.approx(radius**10)
    assert ("grows by a factor of 1.08 a year" in operator.stability()) is grows
    assert f"spectral radius {radius:.6f} over 5 days" in operator.stability()


def test_dense_trains_on_whole_steps_only():
    with pytest.raises(ModelError, match="whole steps of 5 days"):
        dense().powers(torch.tensor([2.5]))


def test_matrix_without_real_logarithm_is_refused():
    with pytest.raises(ModelError, match="no real logarithm"):
        real_logarithm(np.diag([0.9, -0.5]))
    with pytest.raises(ModelError, match="no real logarithm"):
        real_logarithm(np.diag([0.9, 0.0]))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((2, 2), np.nan), "not finite"),
        (np.array([[1e-300, 1.0], [0.0, 1e-300]]), "lost in rounding|no real logarithm"),
    ],
)
def test_matrices_without_a_usable_logarithm_are_refused(matrix, message):
    with pytest.raises(ModelError, match=message):
        real_logarithm(matrix)


def test_steps_that_a_matrix_does_not_allow_are_refused_and_the_others_taken():
    operator = DenseOperator(2, 5.0).requires_grad_(False)
    operator.matrix.data = torch.diag(torch.tensor([0.9, -0.5]))
    torch.testing.assert_close(operator.powers(torch.tensor([10.0]))[0], torch.diag(torch.tensor([0.81, 0.25])))
    for days in (2.5, -5.0):
        with pytest.raises(ModelError, match="fractional or backward steps are not defined"):
            operator.powers(torch.tensor([days]))


def test_orthogonality_is_zero_for_rotations_and_grows_with_decay():
    assert float(dense().orthogonality().detach()) < 1e-20
    operator = ModalOperator(4, 5.0, CYCLES)
    calm = float(operator.orthogonality().detach())
    operator.rate.data += 5
    assert float(operator.orthogonality().detach()) > calm > 0

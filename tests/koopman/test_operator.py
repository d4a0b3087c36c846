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


def test_dense_trains_on_whole_steps_only():
    with pytest.raises(ModelError, match="whole steps of 5 days"):
        dense().powers(torch.tensor([2.5]))


def test_matrix_without_real_logarithm_is_refused():
    with pytest.raises(ModelError, match="no real logarithm"):
        real_logarithm(np.diag([0.9, -0.5]))
    with pytest.raises(ModelError, match="no real logarithm"):
        real_logarithm(np.diag([0.9, 0.0]))


def test_orthogonality_is_zero_for_rotations_and_grows_with_decay():
    assert float(dense().orthogonality().detach()) < 1e-20
    operator = ModalOperator(4, 5.0, CYCLES)
    calm = float(operator.orthogonality().detach())
    operator.rate.data += 5
    assert float(operator.orthogonality().detach()) > calm > 0

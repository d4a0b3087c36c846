"""The model error with a memory equals a dense Gaussian process, and its fit finds what made the data."""

from __future__ import annotations

import pytest
import torch

from s2koop.koopman.error_fit import averaged, fit_error
from s2koop.koopman.model_error import AnomalyFilter, ModelError, distrusted, smooth

DTYPE = torch.float64


def error_of(bands=2):
    generator = torch.Generator().manual_seed(1)
    loadings = 0.5 * torch.randn(3, bands, dtype=DTYPE, generator=generator)
    return ModelError(torch.tensor([15.0, 150.0, 0.0], dtype=DTYPE), loadings, torch.full((bands,), 0.3, dtype=DTYPE))


def covariance(error, one, other):
    """Dense covariance ((date, band), (date, band)) of the anomalies."""
    lag = (one[:, None] - other).abs()
    kept = torch.exp(-lag[..., None] / error.decay_days.clamp(min=1e-6))
    whole = torch.einsum("abs,sc,sd->acbd", kept, error.loadings, error.loadings)
    return whole.reshape(len(one) * error.loadings.shape[1], -1)


@pytest.fixture
def case():
    """Irregular dates with a repeated one, gaps by pixel, date and band."""
    generator = torch.Generator().manual_seed(0)
    days = torch.sort(torch.rand(9, dtype=DTYPE, generator=generator) * 200)[0]
    days[4] = days[3]
    mask = torch.rand(5, 9, 2, generator=generator) < 0.7
    mask[4] = False
    rows = torch.randn(5, 9, 2, 2, dtype=DTYPE, generator=generator)
    return error_of(), days, mask, rows


def test_whitened_rows_have_the_inverse_covariance_as_their_product(case):
    error, days, mask, rows = case
    white = AnomalyFilter(error, days, mask).whiten(torch.where(mask[..., None], rows, 0.0)).flatten(1, 2)
    for pixel in range(4):
        seen = mask[pixel].flatten()
        dense = covariance(error, days, days)[seen][:, seen] + torch.diag(error.noise.square().repeat(9)[seen])
        own = rows[pixel].flatten(0, 1)[seen]
        expected = own.T @ torch.linalg.solve(dense, own)
        torch.testing.assert_close(white[pixel].T @ white[pixel], expected)


def test_smoothing_is_that_of_a_gaussian_process(case):
    error, days, mask, rows = case
    asked = torch.sort(torch.tensor([-20.0, float(days[2]), 50.0, 120.0, 400.0], dtype=DTYPE))[0]
    mean, variance = smooth(error, days, mask, rows, asked)
    prior = covariance(error, asked, asked).diagonal()
    for pixel in range(5):
        seen = mask[pixel].flatten()
        dense = covariance(error, days, days)[seen][:, seen] + torch.diag(error.noise.square().repeat(9)[seen])
        cross = covariance(error, asked, days)[:, seen]
        own = rows[pixel].flatten(0, 1)[seen]
        torch.testing.assert_close(mean[pixel].flatten(0, 1), cross @ torch.linalg.solve(dense, own), atol=1e-3, rtol=0)
        left = prior - (cross @ torch.linalg.solve(dense, cross.T)).diagonal()
        torch.testing.assert_close(variance[pixel].flatten(), left, atol=1e-3, rtol=0)


def test_what_is_asked_for_can_be_the_lasting_part_alone(case):
    error, days, mask, rows = case
    asked = days[[2]]
    whole, _ = smooth(error, days, mask, rows, asked)
    lasting, _ = smooth(error, days, mask, rows, asked, given=error.lasting())
    assert not torch.allclose(whole, lasting)
    assert torch.equal(error.lasting()[2], torch.zeros(2, dtype=DTYPE))


def test_an_outlier_loses_its_weight_and_what_is_usual_keeps_it(case):
    error, days, mask, _ = case
    rows = torch.zeros(5, 9, 2, dtype=DTYPE)
    rows[0, 5] = 10.0
    factors = distrusted(error, days, torch.ones_like(mask), rows, limit=2.0)
    assert bool((factors[1:] == 1).all())
    assert bool((factors[0, 5] > 50).any())
    mean, _ = smooth(error, days, torch.ones_like(mask), rows[..., None], days[[5]], factors)
    assert float(mean[0].abs().max()) < 2.0  # without the factors it is taken for an anomaly of many sizes


def test_two_errors_add_their_variances():
    one, other = error_of(), error_of()
    both = one + other
    days = torch.tensor([0.0, 10.0], dtype=DTYPE)
    torch.testing.assert_close(covariance(both, days, days), 2 * covariance(one, days, days))
    torch.testing.assert_close(both.noise, one.noise * 2**0.5)


def test_the_fit_finds_the_variances_that_made_the_data():
    generator = torch.Generator().manual_seed(2)
    days = torch.sort(torch.rand(120, generator=generator) * 1500)[0]
    truth = ModelError(torch.tensor([15.0, 150.0]), torch.tensor([[0.6, 0.3], [0.5, 0.8]]), torch.tensor([0.3, 0.4]))
    root = torch.linalg.cholesky(
        covariance(truth, days, days) + torch.diag(truth.noise.square().repeat(120)) + 1e-6 * torch.eye(240)
    )
    values = (root @ torch.randn(240, 800, generator=generator)).T.reshape(800, 120, 2)
    mask = torch.rand(800, 120, 2, generator=generator) < 0.6
    found = fit_error(values, mask, days, (15.0, 150.0))
    for decay in (15.0, 150.0):
        size = found.loadings[found.decay_days == decay].square().sum(0)
        expected = truth.loadings[truth.decay_days == decay].square().sum(0)
        torch.testing.assert_close(size, expected, rtol=0.25, atol=0.05)
    passing = found.loadings[found.decay_days == 0].square().sum(0) + found.noise.square()
    torch.testing.assert_close(passing, truth.noise.square(), rtol=0.5, atol=0.05)


def test_an_average_has_the_mean_covariance():
    one, other = error_of(), error_of()
    other = ModelError(other.decay_days, 2 * other.loadings, 3 * other.noise)
    mean = averaged([one, other])
    days = torch.tensor([0.0, 40.0], dtype=DTYPE)
    expected = (covariance(one, days, days) + covariance(other, days, days)) / 2
    torch.testing.assert_close(covariance(mean, days, days), expected)
    torch.testing.assert_close(mean.noise.square(), 5 * one.noise.square())

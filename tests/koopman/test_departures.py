"""Departures: sized by what was seen, right about land that the prior does not know, and absent where nothing calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.koopman import departures as module
from s2koop.koopman.departures import SIZES, departures, likeliest, with_departures
from s2koop.koopman.model_error import AnomalyFilter, ModelError
from s2koop.koopman.scene import DateEffects

DTYPE = torch.float64


@pytest.fixture
def case():
    """An error, irregular dates, gaps by pixel, date and band, rows, and a size for each pixel."""
    generator = torch.Generator().manual_seed(2)
    loadings = torch.randn(2, 3, dtype=DTYPE, generator=generator)
    error = ModelError(torch.tensor([30.0, 0.0]).to(DTYPE), loadings, torch.full((3,), 0.4, dtype=DTYPE))
    days = torch.tensor([0.0, 4.0, 4.0, 30.0, 95.0]).to(DTYPE)
    mask = torch.rand(4, 5, 3, generator=generator) < 0.7
    rows = torch.where(mask[..., None], torch.randn(4, 5, 3, 2, dtype=DTYPE, generator=generator), 0.0)
    return error, days, mask, rows, torch.tensor([0.0, 0.5, 1.0, 3.0]).to(DTYPE)


def test_a_size_is_a_factor_on_the_loadings(case):
    error, days, mask, rows, size = case
    further = ModelError(torch.tensor([40.0]).to(DTYPE), torch.ones(1, 3).to(DTYPE), torch.zeros(3).to(DTYPE))
    both, each = with_departures(error, further, size)
    asked = torch.tensor([-10.0, 4.0, 50.0, 200.0]).to(DTYPE)
    sized = AnomalyFilter(both, days, mask, size=each)
    found = sized.smooth(rows, asked)
    for pixel in range(4):
        scaled = error + ModelError(further.decay_days, size[pixel] * further.loadings, further.noise)
        one = slice(pixel, pixel + 1)
        plain = AnomalyFilter(scaled, days, mask[one])
        torch.testing.assert_close(sized.whiten(rows)[one], plain.whiten(rows[one]))
        torch.testing.assert_close(sized.select(torch.tensor([pixel])).smooth(rows[one], asked), tuple(
            part[one] for part in found
        ))  # fmt: skip
        for part, expected in zip(found, plain.smooth(rows[one], asked), strict=True):
            torch.testing.assert_close(part[one], expected)


def test_the_precision_is_that_of_the_dense_covariance(case):
    error, days, mask, _, _ = case
    kept = torch.exp(-(days[:, None] - days).abs()[..., None] / error.decay_days.clamp(min=1e-6))
    dense = torch.einsum("abs,sc,sd->acbd", kept, error.loadings, error.loadings).reshape(15, 15)
    dense = dense + torch.diag(error.noise.square().repeat(5))
    found = AnomalyFilter(error, days, mask).log_precision()
    for pixel in range(4):
        seen = mask[pixel].flatten()
        torch.testing.assert_close(found[pixel], -0.5 * torch.logdet(dense[seen][:, seen]))


def test_larger_departures_are_doubted_and_believed_where_they_explain_more():
    gain = module.DOUBT * torch.tensor([0.0, 0.5, 20.0, -20.0])
    size = likeliest(lambda size, pixels: size * gain[pixels], torch.arange(4))
    assert size.tolist() == pytest.approx([0.0, 0.0, SIZES[-1], 0.0])


def test_departures_vary_as_the_spectra_of_the_prior_do(model, truth):
    found = departures(model.network, model.background)
    land = truth.stack(pixel=("time", "y", "x")).values / model.scale.numpy()[:, None]
    covariance = (found.loadings.T @ found.loadings).numpy()
    np.testing.assert_allclose(covariance, np.cov(land), rtol=0.35, atol=0.1)
    assert float(found.noise.abs().max()) == 0


def test_directions_have_a_sign_that_no_other_machine_turns(model, monkeypatch):
    expected = departures(model.network, model.background).loadings
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (eigh(matrix)[0], -eigh(matrix)[1]))
    torch.testing.assert_close(departures(model.network, model.background).loadings, expected)


@pytest.fixture
def changed(cube, truth):
    """The cube and its truth, in which each pixel has the season of another one from 2019 on: no training pixel did."""
    cut = np.datetime64("2019-01-01")
    found = []
    for source in (cube, truth):
        other = source.isel(x=slice(None, None, -1)).assign_coords(x=source.x)
        found.append(xr.where(source.time < cut, source, other).transpose(*source.dims))
    return found[0].assign_attrs(cube.attrs), found[1].sel(time=slice("2020-01-01", None))


def errors(seen, late, model, monkeypatch):
    """Mean absolute error, and share of the truth in 90 % intervals, with departures and without."""
    for sizes in (SIZES, (0.0,)):
        monkeypatch.setattr(module, "SIZES", sizes)
        found = seen.koopman.assimilate(model, progress=False).sel(time=late.time, band=late.band)
        apart = abs(found["mean"] - late)
        yield float(apart.mean()), float((apart < 1.645 * found["spread_state"]).mean())


def test_land_that_changes_is_followed(changed, model, monkeypatch):
    seen, late = changed
    (error, inside), (usual, narrow) = errors(seen, late, model, monkeypatch)
    assert error < 0.5 * usual
    assert inside > max(0.8, narrow + 0.2)


def test_a_withheld_band_follows_land_that_changes(changed, model, monkeypatch):
    seen, late = changed
    (error, _), (usual, _) = errors(seen.sel(band=["B08"]), late.sel(band=["B04"]), model, monkeypatch)
    assert error < 0.8 * usual


def test_what_lasts_in_a_scene_is_surface_and_what_alternates_is_sky():
    days = 5.0 * torch.arange(40.0)
    error = ModelError(torch.tensor([30.0, 0.0]), torch.tensor([[0.05, 0.05], [0.3, 0.3]]), torch.tensor([0.1, 0.1]))
    further = ModelError(torch.tensor([40.0]), torch.tensor([[1.0, 0.8]]), torch.zeros(2))
    known = torch.ones(40, 2, dtype=torch.bool)
    haze = 0.3 * torch.where(torch.arange(40) % 2 == 0, 1.0, -1.0)[:, None].expand(-1, 2)
    season = torch.sin(days / 30)[:, None] * torch.tensor([1.0, 0.8])
    for effect, surface in ((haze, torch.zeros(40, 2)), (haze + season, season)):
        mean, variance = DateEffects(days, effect, known, further).lasting(error, days)
        assert float((mean - surface).abs().mean()) < 0.15
        assert float(((mean - surface).abs() < 2.5 * variance.sqrt()).float().mean()) > 0.8
    blind, _ = DateEffects(days, haze + season, known).lasting(error, days)
    assert float((blind - season).abs().mean()) > 0.4

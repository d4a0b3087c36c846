"""The weak constraint: exact where all is linear, honest about the truth, and the scene's share of a date."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.errors import InputError
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.model_error import ModelError
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.scene import date_effects
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise
from s2koop.koopman.weak import predict, refine


def test_with_a_linear_decoder_the_posterior_is_exact():
    """Latent and anomalies together are Gaussian: conditioning their dense joint covariance says the same."""
    torch.manual_seed(3)
    network = (
        KoopmanAutoencoder(2, KoopmanSettings(hidden=(), latent=4, derivative=False)).double().requires_grad_(False)
    )
    background = Background(torch.randn(4).double(), torch.tril(torch.randn(4, 4)).double() + torch.eye(4).double())
    days = torch.tensor([0.0, 3.0, 20.0, 21.0, 60.0, 200.0]).double()
    asked = torch.tensor([10.0, 21.0, 300.0]).double()
    error = ModelError(
        torch.tensor([15.0, 150.0]).double(),
        torch.tensor([[0.3, 0.1], [0.2, 0.5]]).double(),
        torch.tensor([0.1, 0.2]).double(),
    )
    values = torch.randn(3, 6, 2).double()
    values[1, 2] = torch.nan
    values[2, 3, 0] = torch.nan
    window = Window(network, values, days, background, error.noise)
    mean, variance = predict(refine(window, minimise(window), error, robust=False), asked)
    everything = torch.cat([days, asked])
    powers = network.operator.powers(everything)
    weight, bias = network.decoder[0].weight[:2], network.decoder[0].bias[:2]
    rows = torch.einsum("bj,tij->tbi", weight, background.factor.T @ powers).flatten(0, 1)
    center = (background.mean @ powers @ weight.T + bias).flatten()
    lag = (everything[:, None] - everything).abs()
    kept = torch.exp(-lag[..., None] / error.decay_days)
    prior = rows @ rows.T + torch.einsum("abs,sc,sd->acbd", kept, error.loadings, error.loadings).reshape(18, 18)
    for pixel in range(3):
        seen = torch.isfinite(values[pixel]).flatten()
        index = torch.nonzero(seen).flatten()
        noise = torch.diag(error.noise.square().repeat(6)[seen])
        gain = torch.linalg.solve(prior[index][:, index] + noise, prior[index][:, 12:]).T
        expected = center[12:] + gain @ (values[pixel].flatten()[seen] - center[index])
        left = prior[12:, 12:] - gain @ prior[index][:, 12:]
        torch.testing.assert_close(mean[pixel].flatten(), expected, atol=2e-3, rtol=0)
        torch.testing.assert_close(variance[pixel].flatten(), left.diagonal(), atol=2e-3, rtol=1e-2)


def test_date_effects_are_robust_and_shrink_where_few_pixels_are_seen():
    generator = torch.Generator().manual_seed(0)
    residual = 0.1 * torch.randn(400, 3, 1, generator=generator)
    residual[:, 1] += 0.5
    residual[:100, 1] += 8.0  # missed clouds
    mask = torch.ones_like(residual, dtype=torch.bool)
    mask[5:, 2] = False
    residual[:, 2] += 0.5
    effects = date_effects(residual, mask, torch.arange(3.0))
    assert abs(float(effects.effect[0])) < 0.03
    assert 0.4 < float(effects.effect[1]) < 0.65
    assert 0.05 < float(effects.effect[2]) < 0.2


@pytest.fixture(scope="module")
def hazy(cube):
    """The cube with haze on one clear date, all pixels alike."""
    past = cube.sel(time=slice(None, "2019-12-31")).copy()
    past[60] = past[60] + 0.08
    return past


def test_haze_that_all_pixels_share_is_taken_off(hazy, cube, truth, model):
    date = hazy.time[60]
    expected = truth.sel(time=date)
    near, seen = (
        hazy.koopman.assimilate(model, times=[date.values], as_observed=as_observed, progress=False)["mean"][0]
        for as_observed in (False, True)
    )
    assert float(abs(near - expected).mean()) < 0.02
    observed = cube.sel(time=date) + 0.08
    assert float(abs(seen - observed).mean()) < 0.025


def test_lazy_and_eager_cubes_share_their_date_effects(hazy, model):
    times = hazy.time.values[[10, 60, 100]]
    eager = hazy.koopman.assimilate(model, times=times, progress=False)
    lazy = hazy.chunk(time=7, band=1, y=5, x=5).koopman.assimilate(model, times=times)
    assert lazy["mean"].chunks is not None
    parts = ["mean", "spread", "spread_state"]
    xr.testing.assert_allclose(eager[parts], lazy[parts].compute(), rtol=2e-3, atol=2e-4)


def test_spread_of_the_state_holds_the_truth(cube, truth, model):
    past = cube.sel(time=slice(None, "2019-12-31"))
    result = past.koopman.assimilate(model, progress=False)
    inside = abs(result["mean"] - truth.sel(time=past.time)) < 1.645 * result["spread_state"]
    assert float(inside.mean()) > 0.85


def test_anomalies_of_a_pixel_carry_into_its_forecast(cube, model):
    past = cube.sel(time=slice(None, "2019-12-31")).copy()
    changed = past.copy()
    changed[-6:, 1, 4, 4] += 0.1
    memory = ModelError(torch.tensor([60.0]), torch.tensor([[0.2, 0.4]]), torch.tensor([0.1, 0.1]))
    moody = replace(model, uncertainty=replace(model.uncertainty, local=memory))
    forecast = [c.koopman.forecast(moody, steps=2, progress=False)["mean"][:, 1, 4, 4] for c in (past, changed)]
    assert float((forecast[1] - forecast[0]).mean()) > 0.02


def test_one_pixel_and_one_date_have_a_scene_too(cube, model):
    for few in (cube[:, :, :1, :1], cube[40:41]):
        result = few.koopman.forecast(model, steps=2, progress=False)
        seen = np.isfinite(few.values).any(axis=(0, 1))
        assert bool(np.isfinite(result["mean"].values[..., seen]).all())


def test_wrong_constraints_are_refused(cube, model):
    with pytest.raises(InputError, match="choose one of"):
        cube.koopman.assimilate(model, constraint="none")
    with pytest.raises(InputError, match="scene=False does not estimate"):
        cube.koopman.assimilate(model, scene=False, as_observed=True)


def test_neighbours_fill_what_clouds_hid(cube, model):
    """Every date has a slope over the scene of its own: neighbours know it, the past does not."""
    past = cube.sel(time=slice(None, "2019-12-31")).copy()
    slopes = 0.01 * np.random.default_rng(0).standard_normal(past.sizes["time"])
    past = past + (slopes[:, None, None, None] * np.linspace(-3, 3, 8)[:, None]).astype(np.float32)
    wanted = past[50].copy()
    hidden = np.zeros((8, 8), bool)
    hidden[0:2, 2:6] = True
    past[50] = past[50].where(~hidden)
    past = past.where(True).transpose("time", "band", "y", "x")
    options = {"times": [past.time[50].values], "as_observed": True, "progress": False}
    errors = {}
    for spatial in (None, "tikhonov", "tv"):
        filled = past.koopman.assimilate(model, spatial=spatial, **options)["mean"][0]
        errors[spatial] = float(abs(filled - wanted).where(hidden).mean())
    assert errors["tikhonov"] < 0.7 * errors[None]
    assert errors["tv"] < 0.7 * errors[None]


@pytest.mark.slow
def test_the_spatial_prior_is_lazy_and_leaves_other_dates_alone(hazy, model):
    times = np.union1d(hazy.time.values[[10, 60]], [np.datetime64("2018-05-04T00:00:01")])
    options = {"times": times, "as_observed": True, "spatial": "tikhonov"}
    eager = hazy.koopman.assimilate(model, progress=False, **options)
    lazy = hazy.chunk(y=4).koopman.assimilate(model, **options)
    assert lazy["mean"].chunks is not None
    xr.testing.assert_allclose(eager[["mean", "spread"]], lazy[["mean", "spread"]].compute(), rtol=5e-3, atol=5e-4)
    plain = hazy.koopman.assimilate(model, times=times, as_observed=True, progress=False)
    other = times[~np.isin(times, hazy.time.values)]
    xr.testing.assert_allclose(eager["mean"].sel(time=other), plain["mean"].sel(time=other), rtol=1e-3, atol=1e-4)


def test_the_spatial_prior_says_what_it_needs(hazy, model):
    with pytest.raises(InputError, match="as_observed=True"):
        hazy.koopman.assimilate(model, spatial="tv")
    with pytest.raises(InputError, match="choose one of"):
        hazy.koopman.assimilate(model, spatial="near", as_observed=True)


def test_the_spatial_prior_leaves_a_band_that_was_never_seen_as_it_is(hazy, model):
    options = {"times": hazy.time.values[[60]], "as_observed": True, "progress": False}
    one = hazy.sel(band=["B08"])
    plain, spatial = (one.koopman.assimilate(model, spatial=kind, **options).sel(band="B04") for kind in (None, "tv"))
    xr.testing.assert_allclose(plain["spread"], spatial["spread"], rtol=0.1)

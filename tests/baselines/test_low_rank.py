"""The low-rank model against exact matrices, against the Gaussian conditional, and what its spread is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop.baselines import low_rank
from s2koop.baselines._ppca import Factors, find_scores, learn_factors, rebuild
from s2koop.errors import InputError
from tests.baselines.cubes import irregular_cube


def scene(rng, *, pixels=400, dates=40, bands=2, rank=3, noise=0.0, missing=0.3):
    """Truth and observations of a scene whose pixels mix `rank` patterns; noise per date."""
    patterns = 0.05 * rng.standard_normal((rank, dates, bands))
    truth = (
        0.3
        + 0.05 * rng.standard_normal((dates, bands))
        + np.einsum("nr,rdb->ndb", rng.standard_normal((pixels, rank)), patterns)
    )
    seen = truth + np.broadcast_to(noise, dates)[:, None] * rng.standard_normal(truth.shape)
    seen[rng.random((pixels, dates)) < missing] = np.nan
    coords = {"time": pd.date_range("2019-01-01", periods=dates, freq="11D"), "band": ["B04", "B8A"][:bands]}
    arrays = [xr.DataArray(a.transpose(1, 2, 0), dims=("time", "band", "x"), coords=coords) for a in (truth, seen)]
    return arrays[0], arrays[1]


def error(result, truth):
    return np.sqrt(((result["mean"] - truth) ** 2).mean().item())


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("rank", [3, 6])
def test_an_exact_low_rank_scene_is_completed(rng, joint, rank):
    truth, seen = scene(rng)
    assert error(low_rank(seen, rank=rank, joint=joint), truth) < 2e-3
    assert error(low_rank(seen, rank=1, joint=joint), truth) > 2e-2


def test_scores_and_variance_are_the_gaussian_conditional(rng):
    columns, rank = 9, 2
    factors = Factors(
        mean=rng.standard_normal((columns, rank + 1)),
        covariance=np.zeros((columns, rank + 1, rank + 1)),
        noise=rng.uniform(0.1, 0.5, columns),
    )
    weights = rng.integers(0, 3, (5, columns)).astype(float)
    values = np.where(weights > 0, rng.standard_normal((5, columns)), 0.0)
    mean, variance = rebuild(find_scores(values, weights, factors), factors)
    level, loading = factors.mean[:, 0], factors.mean[:, 1:]
    prior = loading @ loading.T
    for row in range(5):
        seen = weights[row] > 0
        total = prior[np.ix_(seen, seen)] + np.diag(factors.noise[seen] / weights[row, seen])
        gain = np.linalg.solve(total, prior[seen]).T
        np.testing.assert_allclose(mean[row], level + gain @ (values[row, seen] - level[seen]), atol=1e-10)
        np.testing.assert_allclose(variance[row], np.diag(prior - gain @ prior[seen]), atol=1e-10)


def test_what_is_unknown_of_the_factors_widens_the_spread(rng):
    values = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 12)) + 0.3 * rng.standard_normal((30, 12))
    weights = np.ones_like(values)
    weights[2:, 5] = 0.0  # a column that two rows have seen
    values *= weights
    factors = learn_factors(values, weights, np.zeros(12, int), rank=2, max_iterations=50, tolerance=1e-6, seed=0)
    _, variance = rebuild(find_scores(values, weights, factors), factors)
    assert variance[:, 5].mean() > 2 * np.delete(variance, 5, axis=1).mean()


@pytest.mark.parametrize("joint", [True, False])
def test_the_spread_covers_withheld_observations_on_clear_and_on_hazy_dates(rng, joint):
    noise = np.where(np.arange(40) % 4 == 0, 0.06, 0.015)
    _, seen = scene(rng, noise=noise, missing=0.0)
    withheld = xr.DataArray(rng.random((40, 400)) < 0.3, dims=("time", "x"))
    result = low_rank(seen.where(~withheld), joint=joint)
    inside = (np.abs(seen - result["mean"]) <= 1.645 * result["spread"]).where(withheld)
    hazy = inside.time.copy(data=noise > 0.03)
    assert 0.87 < inside.where(hazy).mean().item() < 0.93
    assert 0.87 < inside.where(~hazy).mean().item() < 0.93
    ratio = result["spread"].mean(("band", "x")) / noise
    assert ratio.min() > 0.9
    assert ratio.max() < 1.6


def test_a_band_that_a_pixel_never_showed_follows_from_the_others(rng):
    truth, seen = scene(rng, noise=0.005)
    seen[:, 1, :20] = np.nan
    result = low_rank(seen)
    spoiled = (result["mean"] - truth)[:, 1, :20]
    assert np.sqrt((spoiled**2).mean().item()) < 0.015
    assert low_rank(seen, joint=False)["mean"][:, 1, :20].isnull().all()


def test_two_looks_on_one_date_count_as_two(rng):
    truth, _ = scene(rng, dates=12)
    double = xr.concat([truth, truth.isel(time=[4])], "time").sortby("time")
    twice = (double + 0.02 * rng.standard_normal(double.shape)).where(rng.random(double.shape) < 0.8)
    result = low_rank(twice)
    assert (result.time.values == twice.time.values).all()
    xr.testing.assert_identical(result.isel(time=4), result.isel(time=5))
    assert 0.9 < (result["spread"].isel(time=4) / result["spread"]).mean() < 1.05
    alone = low_rank(twice.isel(time=np.delete(np.arange(13), 5)))
    assert error(result.isel(time=4), truth.isel(time=4)) < 0.92 * error(alone.isel(time=4), truth.isel(time=4))


def test_own_dates_by_default_and_in_any_order(rng):
    _, seen = scene(rng, noise=0.02)
    whole = low_rank(seen)
    assert (whole.time.values == seen.time.values).all()
    asked = seen.time.values[[30, 3, 3]]
    xr.testing.assert_identical(low_rank(seen, times=asked), whole.sel(time=asked))


@pytest.mark.parametrize("times", ["2019-01-02", ["2019-01-01", "2030-06-01"]])
def test_other_dates_are_refused_with_the_cure(rng, times):
    _, seen = scene(rng)
    with pytest.raises(InputError, match=r"own dates only.*(2019-01-02|2030-06-01).*nearest.*times=cube.time"):
        low_rank(seen, times=times)


def test_few_dates_few_pixels_and_a_rank_beyond_them():
    cube = irregular_cube()
    for small in (cube.isel(time=[3]), cube.isel(x=[2], y=[2]), cube.isel(x=2, y=2, band=1)):
        result = low_rank(small, rank=20)
        for name in ("mean", "spread"):
            unseen = small.isnull().all([d for d in ("time", "band") if d in small.dims])
            assert (result[name].isnull() == unseen).all()
        assert (result["spread"].fillna(1) > 0).all()


@pytest.mark.parametrize(
    "options", [{"rank": 0}, {"rank": 2.5}, {"joint": 1}, {"sample": 0}, {"max_iterations": 0}, {"seed": -1}], ids=str
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(InputError, match=next(iter(options))):
        low_rank(irregular_cube(), **options)

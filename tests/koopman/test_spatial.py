"""The spatial prior finds the field that neighbours share, knows how well it does, and needs no more than a margin."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize

from s2koop.errors import InputError
from s2koop.koopman import spatial
from s2koop.koopman.spatial import estimate_spatial, spatial_increment, spatial_posterior

SIZE, NOISE = 0.1, 0.02
KNOWN = {"noise": NOISE, "size": SIZE, "weight": 10.0}


def as_cube(values):
    values = np.asarray(values, np.float32)
    coords = {"time": np.datetime64("2020-01-01", "ns") + np.arange(len(values)) * np.timedelta64(5, "D")}
    coords["band"] = [f"B{number:02d}" for number in range(1, values.shape[1] + 1)]
    return xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords)


def precision(height, width, weight, size=SIZE):
    """The prior, dense: the brute-force twin of the stencil."""
    prior = spatial._Prior.of(NOISE, size, weight)
    number = np.arange(height * width).reshape(height, width)
    matrix = prior.value * np.eye(height * width)
    for low, high in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:])):
        low, high = low.ravel(), high.ravel()
        np.add.at(matrix, (low, low), prior.pair)
        np.add.at(matrix, (high, high), prior.pair)
        np.add.at(matrix, (low, high), -prior.pair)
        np.add.at(matrix, (high, low), -prior.pair)
    return matrix


@cache
def factor_of(side, weight):
    """The root of the prior's covariance, which takes a second for 1600 pixels."""
    return np.linalg.cholesky(np.linalg.inv(precision(side, side, weight)))


def draws(dates, side, weight, seed=0):
    """Fields (date, 1, side, side) from the prior."""
    factor = factor_of(side, weight)
    white = np.random.default_rng(seed).standard_normal((side * side, dates))
    return (factor @ white).T.reshape(dates, 1, side, side)


def observed(field, missing=0.4, noise=NOISE, seed=1):
    """The field with noise, where it was seen."""
    rng = np.random.default_rng(seed)
    return as_cube(
        np.where(rng.random(field.shape) < missing, np.nan, field + noise * rng.standard_normal(field.shape))
    )


def error(found, field):
    return float(np.sqrt(np.mean((found.values - field) ** 2)))


def step_image():
    x, y = np.meshgrid(np.arange(30), np.arange(30))
    return np.where(x + 0.3 * y < 18, -0.1, 0.1) * np.ones((4, 1, 1, 1))


# --- the field -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.5, 10.0])
def test_tikhonov_solves_the_dense_equations(weight, monkeypatch):
    monkeypatch.setattr(spatial, "LIMIT", 1e6)  # least squares: no observation loses weight
    cube = observed(draws(1, 12, weight))
    seen = np.isfinite(cube.values.ravel())
    matrix = precision(12, 12, weight) + np.diag(seen / NOISE**2)
    expected = np.linalg.solve(matrix, np.where(seen, cube.values.ravel(), 0) / NOISE**2)
    found = spatial_increment(cube, noise=NOISE, size=SIZE, weight=weight, iterations=150)
    np.testing.assert_allclose(found.values.ravel(), expected, atol=1e-5)


def test_total_variation_finds_the_minimum_of_its_cost(monkeypatch):
    monkeypatch.setattr(spatial, "LIMIT", 1e6)
    cube = as_cube(step_image()[:1, :, :6, 15:21])
    cube[0, 0, 2, 1:4] = np.nan
    prior = spatial._Prior.of(NOISE, SIZE, 3.0)
    target = cube.values[0, 0].astype(float)

    def cost(field):
        field = field.reshape(target.shape)
        data = (np.nan_to_num(field - target) ** 2).sum() / NOISE**2 / 2
        corner = (spatial.CORNER * prior.difference) ** 2
        pairs = sum(np.sqrt(np.diff(field, axis=axis) ** 2 + corner).sum() for axis in (0, 1))
        return data + prior.value * (field**2).sum() / 2 + prior.pair * prior.difference * pairs

    best = minimize(cost, np.zeros(target.size), method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 10**6})
    found = spatial_increment(cube, kind="tv", noise=NOISE, size=SIZE, weight=3.0, iterations=400)
    assert cost(found.values.ravel().astype(float)) <= best.fun * (1 + 1e-4)


@pytest.mark.parametrize(
    ("field", "better", "worse", "ratio"),
    [(step_image(), "tv", "tikhonov", 0.9), (draws(20, 24, 10.0), "tikhonov", "tv", 0.99)],
    ids=["edges", "prior"],
)
def test_total_variation_keeps_edges_and_tikhonov_gaussian_fields(field, better, worse, ratio):
    cube = observed(field)
    errors = {kind: error(spatial_increment(cube, kind=kind, **KNOWN), field) for kind in spatial.KINDS}
    assert errors[better] < ratio * errors[worse]


@pytest.mark.parametrize("kind", spatial.KINDS)
def test_a_constant_is_found_again_and_fills_gaps(kind):
    cube = as_cube(np.full((2, 1, 9, 9), 0.05))
    cube[0, 0, 3:6, 4] = np.nan
    found = spatial_increment(cube, kind=kind, noise=0.001, size=0.1, weight=100.0, iterations=30)
    np.testing.assert_allclose(found, 0.05, atol=2e-3)


def test_a_date_without_observation_gets_nothing_and_the_variance_of_the_prior():
    cube = observed(draws(3, 20, 3.0))
    cube[1] = np.nan
    found = spatial_posterior(cube, noise=NOISE, size=SIZE, weight=3.0)
    assert (found.increment[1] == 0).all()
    assert (found.increment[0] != 0).all()
    assert float(found.variance[1, 0, 10, 10]) == pytest.approx(SIZE**2, rel=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
@pytest.mark.parametrize("kind", spatial.KINDS)
def test_small_images(shape, kind):
    cube = as_cube(np.full((2, 2, *shape), 0.05))
    cube[1, 1, 0, 0] = np.nan
    found = spatial_posterior(cube, kind=kind, **KNOWN)
    assert all(np.isfinite(found[name]).all() for name in found)
    assert (found.variance > 0).all()
    np.testing.assert_allclose(found.increment[0], 0.05, atol=0.01)


def test_one_pixel_is_shrunk_as_far_as_its_noise_says():
    found = spatial_posterior(as_cube(np.full((1, 1, 1, 1), 0.03)), noise=0.02, size=0.1, weight=1e-3)
    assert float(found.increment[0, 0, 0, 0]) == pytest.approx(0.03 * 0.01 / 0.0104, rel=1e-3)
    assert float(found.variance[0, 0, 0, 0]) == pytest.approx(1 / (1 / 0.01 + 1 / 0.0004), rel=1e-2)


def test_an_outlier_does_not_pull_its_neighbours():
    field = draws(1, 16, 10.0)
    cube = observed(field, missing=0.3)
    bad = cube.copy()
    bad[0, 0, 8, 8] = 5.0
    without = cube.copy()
    without[0, 0, 8, 8] = np.nan
    found, expected = (spatial_increment(one, **KNOWN, iterations=40) for one in (bad, without))
    assert float(np.abs(found - expected).max()) < 0.5 * SIZE
    assert error(found, field) < 1.2 * error(expected, field)


def test_shared_edges_help_where_parcels_differ():
    rng = np.random.default_rng(4)
    parcels = np.kron(np.arange(36).reshape(6, 6), np.ones((5, 5), int))
    field = rng.normal(0, SIZE, (40, 36))[:, parcels][:, None]
    cube = observed(field, missing=0.6)
    errors = [error(spatial_increment(cube, share_edges=share, **KNOWN), field) for share in (False, True)]
    assert errors[1] < 0.8 * errors[0]


# --- the variance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
def test_intervals_cover_what_they_promise(weight):
    field = draws(60, 20, weight)
    found = spatial_posterior(observed(field), noise=NOISE, size=SIZE, weight=weight)
    inside = np.abs(found.increment - field) < 1.645 * np.sqrt(found.variance)
    assert 0.87 < float(inside.mean()) < 0.93


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_variance_is_near_the_diagonal_of_the_inverse(weight, monkeypatch):
    monkeypatch.setattr(spatial, "LIMIT", 1e6)
    cube = observed(draws(1, 20, weight))
    seen = np.isfinite(cube.values.ravel())
    exact = np.diag(np.linalg.inv(precision(20, 20, weight) + np.diag(seen / NOISE**2)))
    ratio = spatial_posterior(cube, noise=NOISE, size=SIZE, weight=weight).variance.values.ravel() / exact
    assert 0.97 < ratio[seen].mean() < 1.03
    assert 0.97 < ratio[~seen].mean() < 1.03
    assert 0.9 < ratio.min() <= ratio.max() < 1.2


# --- laziness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", spatial.KINDS)
@pytest.mark.parametrize("share_edges", [False, True])
@pytest.mark.parametrize("chunks", [{"y": 20, "x": 17}, {"time": 2, "band": 1, "y": 4, "x": -1}])
def test_blocks_give_the_numbers_of_the_whole_image(kind, share_edges, chunks):
    cube = observed(np.concatenate([draws(5, 40, 3.0, seed) for seed in (0, 1)], axis=1))
    size = xr.DataArray([0.05, 0.1], dims="band", coords={"band": ["B01", "B02"]})
    options = {"kind": kind, "share_edges": share_edges, "noise": NOISE, "size": size, "weight": 3.0, "iterations": 9}
    lazy = spatial_posterior(cube.chunk(chunks), **options)
    assert all(lazy[name].chunks is not None for name in lazy)
    xr.testing.assert_allclose(lazy.compute(), spatial_posterior(cube, **options), rtol=1e-6, atol=0)


def test_estimation_stays_lazy_too():
    cube = observed(draws(4, 40, 3.0))
    lazy = spatial_increment(cube.chunk(y=13, x=20))
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), spatial_increment(cube), rtol=1e-6)


def test_numbers_of_a_band_follow_its_name():
    cube = observed(np.concatenate([draws(2, 12, 3.0)] * 2, axis=1))
    noise = xr.DataArray([0.01, 0.1], dims="band", coords={"band": ["B02", "B01"]})
    found = spatial_increment(cube, noise=noise, size=SIZE, weight=3.0)
    alone = spatial_increment(cube.sel(band=["B01"]), noise=0.1, size=SIZE, weight=3.0)
    xr.testing.assert_allclose(found.sel(band=["B01"]), alone)


def test_dims_come_in_any_order_and_coordinates_stay():
    cube = observed(draws(2, 12, 3.0)).assign_coords(y=np.arange(12) * 10.0)
    found = spatial_increment(cube.transpose("y", "x", "band", "time"), **KNOWN)
    xr.testing.assert_identical(found, spatial_increment(cube, **KNOWN))
    assert found.dtype == np.float32
    assert list(found.y.values) == list(cube.y.values)


# --- estimation ------------------------------------------------------------------------------------------------------


def test_estimation_finds_the_parameters_of_a_draw():
    found = estimate_spatial(observed(draws(40, 30, 3.0))).isel(band=0)
    assert float(found["size"]) == pytest.approx(SIZE, rel=0.2)
    assert float(found.noise) == pytest.approx(NOISE, rel=0.6)
    assert 1.5 < float(found.weight) < 8


def test_estimated_parameters_serve_as_well_as_the_true_ones():
    field = draws(10, 30, 10.0)
    cube = observed(field)
    assert error(spatial_increment(cube), field) < 1.05 * error(spatial_increment(cube, **KNOWN), field)


def test_estimation_is_the_same_each_time_and_bounded():
    shape = (300, 1, 400, 300)
    parts = spatial._windows(shape)
    assert sum(len(dates) * spatial.WINDOW**2 for dates, *_ in parts) <= spatial.SAMPLE
    cube = observed(draws(10, 30, 3.0))
    xr.testing.assert_identical(estimate_spatial(cube), estimate_spatial(cube))


@pytest.mark.parametrize("value", [np.nan, 0.0, 0.05])
def test_estimation_of_nothing_zeros_and_constants_is_usable(value):
    cube = as_cube(np.full((2, 1, 6, 6), value))
    found = estimate_spatial(cube)
    assert all((np.isfinite(found[name]) & (found[name] > 0)).all() for name in found)
    np.testing.assert_allclose(spatial_increment(cube), np.nan_to_num(value), atol=2e-3)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gaussian"}, "kind='gaussian' is unknown"),
        ({"weight": -1.0}, "weight is"),
        ({"weight": 0}, "weight is"),
        ({"noise": np.nan}, "noise is"),
        ({"size": "big"}, "size='big' is not a number"),
        ({"noise": [0.1, 0.2]}, "noise has shape"),
        ({"size": xr.DataArray([[0.1]], dims=("band", "y"))}, "size has dims"),
        ({"size": xr.DataArray([0.1], dims="band", coords={"band": ["B99"]})}, "no value for the bands"),
        ({"iterations": 0}, "iterations=0"),
        ({"iterations": 2.5}, "iterations=2.5"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        spatial_increment(as_cube(np.zeros((1, 1, 3, 3))), **options)


@pytest.mark.parametrize(
    ("remainder", "message"),
    [
        (np.zeros((1, 1, 3, 3)), "is a ndarray"),
        (xr.DataArray(np.zeros((3, 3)), dims=("y", "x")), "has dims"),
        (as_cube(np.zeros((1, 1, 3, 3))).isel(time=[]), "no time"),
        (as_cube(np.zeros((1, 1, 3, 3))).astype(int), "has dtype"),
    ],
)
def test_wrong_remainders_are_refused(remainder, message):
    with pytest.raises(InputError, match=message):
        estimate_spatial(remainder)

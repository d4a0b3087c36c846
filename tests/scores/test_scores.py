"""Each score against its definition, and the properties that make it a score."""

from __future__ import annotations

import math
from statistics import NormalDist

import dask.array as da
import numpy as np
import pytest
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from s2koop import scores
from s2koop.errors import InputError

DIMS = ("time", "band", "y", "x")
NAMES = tuple(scores.SCORES)


def random_case(seed: int, *, shape=(6, 2, 4, 5), holes: float = 0.2) -> tuple[xr.Dataset, xr.DataArray]:
    """A Gaussian forecast and its observation, with NaNs in mean, spread and observation."""
    rng = np.random.default_rng(seed)
    mean, spread = rng.normal(0.3, 0.1, shape), rng.uniform(0.01, 0.1, shape)
    observed = mean + spread * rng.standard_normal(shape)
    for array in (mean, observed):
        array[rng.random(shape) < holes] = np.nan
    result = xr.Dataset({"mean": (DIMS, mean.astype("float32")), "spread": (DIMS, spread.astype("float32"))})
    return result, xr.DataArray(observed.astype("float32"), dims=DIMS)


@pytest.mark.parametrize("dim", [None, "time", ["time", "y", "x"]])
def test_error_scores_equal_their_definition(dim):
    result, observed = random_case(0)
    error = result["mean"].astype(float) - observed.astype(float)
    np.testing.assert_allclose(scores.rmse(result, observed, dim=dim), np.sqrt((error**2).mean(dim)), rtol=1e-12)
    np.testing.assert_allclose(scores.mae(result, observed, dim=dim), abs(error).mean(dim), rtol=1e-12)
    np.testing.assert_allclose(scores.bias(result, observed, dim=dim), error.mean(dim), rtol=1e-12)


def test_error_scores_are_summed_in_double_precision():
    forecast = xr.DataArray(np.full(3_000_000, 1.0, "float32"), dims="x")
    observed = xr.DataArray(np.full(3_000_000, 0.9, "float32"), dims="x")
    assert scores.bias(forecast, observed).item() == pytest.approx(1.0 - float(np.float32(0.9)), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(mean=st.floats(-1, 1), spread=st.floats(0.02, 1.0), observed=st.floats(-2, 2))
def test_gaussian_crps_is_the_integral_of_the_squared_difference_of_distributions(mean, spread, observed):
    wide = 9 * spread
    low, high = min(mean - wide, observed), max(mean + wide, observed)
    normal = NormalDist(mean, spread)

    def integral(start, stop, step):
        x = np.linspace(start, stop, 4001)
        return np.trapezoid([(normal.cdf(value) - step) ** 2 for value in x], x)

    expected = integral(low, observed, 0.0) + integral(observed, high, 1.0)
    forecast = xr.Dataset({"mean": ("x", [mean]), "spread": ("x", [spread])})
    score = scores.crps(forecast, xr.DataArray([observed], dims="x")).item()
    assert score == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_gaussian_crps_of_no_spread_is_the_absolute_error():
    forecast = xr.Dataset({"mean": ("x", [0.2, 0.2]), "spread": ("x", [0.0, 0.0])})
    observed = xr.DataArray([0.5, 0.2], dims="x")
    np.testing.assert_allclose(scores.crps(forecast, observed, dim=[]), [0.3, 0.0])


def test_crps_of_members_is_fair_and_equals_its_double_sum():
    rng = np.random.default_rng(1)
    members = xr.DataArray(rng.normal(size=(7, 40)), dims=("member", "x"))
    observed = xr.DataArray(rng.normal(size=40), dims="x")
    value = members.values
    pairs = abs(value[:, None] - value[None]).sum((0, 1)) / (7 * 6)
    expected = abs(value - observed.values).mean(0) - pairs / 2
    np.testing.assert_allclose(scores.crps(members, observed, dim=[]), expected, atol=1e-12)
    library = scoringrules.crps_ensemble(observed.values, value.T, estimator="fair", backend="numpy")
    np.testing.assert_allclose(expected, library, atol=1e-12)


def test_crps_of_few_members_is_that_of_their_gaussian_on_average():
    rng = np.random.default_rng(2)
    members = xr.DataArray(rng.normal(0.3, 0.1, (3, 60_000)), dims=("member", "x"))
    observed = xr.DataArray(rng.normal(0.3, 0.1, 60_000), dims="x")
    gaussian = xr.Dataset({"mean": ("x", np.full(60_000, 0.3)), "spread": ("x", np.full(60_000, 0.1))})
    assert scores.crps(members, observed).item() == pytest.approx(scores.crps(gaussian, observed).item(), rel=0.02)


def test_a_dataset_with_members_is_scored_by_them():
    rng = np.random.default_rng(3)
    members = xr.DataArray(rng.normal(size=(5, 30)), dims=("member", "x"))
    observed = xr.DataArray(rng.normal(size=30), dims="x")
    both = xr.Dataset({"mean": members.mean("member"), "spread": members.std("member", ddof=1), "sample": members})
    for name in NAMES:
        assert scores.SCORES[name](both, observed).item() == scores.SCORES[name](members, observed).item()


def test_spread_of_members_counts_the_error_of_their_mean():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=50_000)
    members = xr.DataArray(truth + rng.normal(size=(4, 50_000)), dims=("member", "x"))
    observed = xr.DataArray(truth + rng.normal(size=50_000), dims="x")
    assert scores.spread_skill(members, observed).item() == pytest.approx(1.0, abs=0.01)


@settings(max_examples=8, deadline=None)
@given(level=st.floats(0.05, 0.99), stretch=st.sampled_from([0.5, 1.0, 2.0]))
def test_coverage_of_a_simulated_gaussian(level, stretch):
    rng = np.random.default_rng(5)
    spread = rng.uniform(0.01, 0.2, 40_000)
    observed = xr.DataArray(0.3 + spread * rng.standard_normal(40_000), dims="x")
    forecast = xr.Dataset({"mean": ("x", np.full(40_000, 0.3)), "spread": ("x", stretch * spread)})
    expected = math.erf(stretch * NormalDist().inv_cdf((1 + level) / 2) / math.sqrt(2))
    assert scores.coverage(forecast, observed, level=level).item() == pytest.approx(expected, abs=0.01)
    assert scores.spread_skill(forecast, observed).item() == pytest.approx(stretch, rel=0.02)


def test_a_perfect_forecast_reaches_the_perfect_value_and_no_other_beats_it():
    rng = np.random.default_rng(6)
    spread = rng.uniform(0.01, 0.2, 50_000)
    observed = xr.DataArray(0.3 + spread * rng.standard_normal(50_000), dims="x")
    calibrated = xr.Dataset({"mean": ("x", np.full(50_000, 0.3)), "spread": ("x", spread)})
    exact = xr.Dataset({"mean": observed, "spread": xr.zeros_like(observed)})
    for name, score in scores.SCORES.items():
        best = calibrated if score.units == "1" else exact
        value = score(best, observed).item()
        assert value == pytest.approx(score.perfect, abs=0.01), name
        worse = xr.Dataset({"mean": calibrated["mean"] + 0.2, "spread": spread * xr.ones_like(observed)})
        assert score.distance(score(worse, observed)) > score.distance(value), name


@pytest.mark.parametrize("name", NAMES)
def test_crps_and_all_others_stay_within_their_bounds(name):
    score = scores.SCORES[name]
    for seed in range(5):
        value = score(*random_case(seed)).item()
        assert score.bounds[0] <= value <= score.bounds[1]
    assert score.bounds[0] <= score.perfect <= score.bounds[1]


def test_crps_is_least_for_the_true_spread():
    rng = np.random.default_rng(7)
    observed = xr.DataArray(rng.normal(0, 1, 50_000), dims="x")

    def value(spread):
        return scores.crps(
            xr.Dataset({"mean": xr.zeros_like(observed), "spread": xr.full_like(observed, spread)}), observed
        ).item()

    assert value(1.0) < min(value(0.8), value(1.25))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    chunks=st.fixed_dictionaries({d: st.integers(1, 6) for d in DIMS}),
    name=st.sampled_from(NAMES),
)
def test_chunks_change_nothing_and_nothing_is_computed_early(seed, chunks, name):
    result, observed = random_case(seed)
    score = scores.SCORES[name]
    lazy = score(result.chunk(chunks), observed.chunk(chunks), dim=["time", "y", "x"])
    assert isinstance(lazy.data, da.Array)
    np.testing.assert_allclose(lazy, score(result, observed, dim=["time", "y", "x"]), rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(NAMES), data=st.data())
def test_the_order_of_pixels_changes_nothing(seed, name, data):
    result, observed = random_case(seed)
    order = data.draw(st.permutations(range(5)))
    score = scores.SCORES[name]
    shuffled = score(result.isel(x=order), observed.isel(x=order))
    assert shuffled.item() == pytest.approx(score(result, observed).item(), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_missing_pairs_are_left_out(name):
    result, observed = random_case(8)
    both = (result["mean"].notnull() & observed.notnull()).values.ravel()
    flat = xr.Dataset({k: ("x", result[k].values.ravel()[both]) for k in ("mean", "spread")})
    score = scores.SCORES[name]
    expected = score(flat, xr.DataArray(observed.values.ravel()[both], dims="x")).item()
    assert score(result, observed).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_compare_is_missing(name):
    result, observed = random_case(9)
    assert np.isnan(scores.SCORES[name](result, observed * np.nan).item())


@pytest.mark.parametrize("name", ["crps", "coverage", "spread_skill"])
def test_a_bare_point_forecast_has_no_probabilistic_score(name):
    result, observed = random_case(10)
    assert np.isnan(scores.SCORES[name](result["mean"], observed).item())


def test_inputs_that_do_not_match_are_refused():
    result, observed = random_case(11)
    with pytest.raises(InputError, match=r"differ in shape.*evaluate aligns"):
        scores.rmse(result, observed.isel(time=slice(3)))
    with pytest.raises(InputError, match="other dates, bands or pixels"):
        scores.rmse(result.assign_coords(band=["B04", "B08"]), observed.assign_coords(band=["B04", "B11"]))
    with pytest.raises(InputError, match="mean and spread"):
        scores.rmse(result.rename(mean="forecast"), observed)
    for level in (0.0, 1.0, 90):
        with pytest.raises(InputError, match="between 0 and 1"):
            scores.coverage(result, observed, level=level)


def test_a_score_cannot_be_changed():
    with pytest.raises(AttributeError):
        scores.SCORES["rmse"].perfect = 1.0


def test_the_coverage_of_another_level_is_a_score_of_its_own():
    result, observed = random_case(12)
    half = scores.coverage_score(0.5)
    assert half.perfect == 0.5
    assert half(result, observed).item() == scores.coverage(result, observed, level=0.5).item()
    assert half(result, observed) < scores.coverage(result, observed)

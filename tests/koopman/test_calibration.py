"""Calibrated intervals cover what they promise, and little evidence changes little."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from s2koop import scores
from s2koop.errors import InputError
from s2koop.koopman.calibration import SpreadCalibration

START = np.datetime64("2020-01-01", "ns")


def world(seed, *, dates=60, pixels=(5, 6), wrong=(2.0, 0.5), heavy=False, every=7, start=START):
    """Observations around a forecast whose spread is wrong by a factor for each of two bands."""
    rng = np.random.default_rng(seed)
    coords = {
        "time": start + np.arange(1, dates + 1) * np.timedelta64(every, "D"), "band": ["B04", "B08"],
        "y": np.arange(pixels[0]) * 1.0, "x": np.arange(pixels[1]) * 1.0,
    }  # fmt: skip
    shape = tuple(len(values) for values in coords.values())
    noise = rng.standard_t(3, shape) if heavy else rng.standard_normal(shape)
    spread = rng.uniform(0.5, 2, shape)
    mean = rng.normal(size=shape)
    real = mean + spread * noise * np.array(wrong)[None, :, None, None]

    def array(values):
        return xr.DataArray(values.astype(np.float32), coords=coords)

    return xr.Dataset({"mean": array(mean), "spread": array(spread)}), array(real)


def covered(result, observed, level=0.9):
    return scores.coverage(result, observed, dim=["time", "y", "x"], level=level).values


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), level=st.sampled_from([0.5, 0.8, 0.9, 0.95]), heavy=st.booleans())
def test_conformal_intervals_cover_further_exchangeable_data_whatever_their_distribution(seed, level, heavy):
    result, observed = world(seed, heavy=heavy)
    calibration = SpreadCalibration.fit(result, observed, level=level, shrinkage=0)
    later, truth = world(seed + 5000, heavy=heavy)
    assert np.abs(covered(later, truth, level) - level).min() > 0.005 or heavy
    five_sigma = 5 * np.sqrt(2 * level * (1 - level) / truth.isel(band=0).size)  # of both samples
    np.testing.assert_allclose(covered(calibration.apply(later), truth, level), level, atol=five_sigma)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), count=st.integers(1, 60), level=st.sampled_from([0.5, 0.8, 0.9]))
def test_on_its_own_data_a_conformal_interval_covers_at_least_the_level(seed, count, level):
    result, observed = world(seed, dates=count, pixels=(1, 1), heavy=True)
    calibration = SpreadCalibration.fit(result, observed, level=level, shrinkage=0)
    assert (covered(calibration.apply(result), observed, level + 1e-4) >= level - 1e-9).all()


def test_the_average_coverage_of_few_data_is_at_least_the_level():
    """The finite-sample promise of split conformal prediction: on average over calibration sets, not for each."""
    shares = []
    for seed in range(40):
        result, observed = world(seed, dates=19, pixels=(1, 1))
        later, truth = world(seed + 5000, dates=40, pixels=(1, 1))
        shares.append(covered(SpreadCalibration.fit(result, observed, shrinkage=0).apply(later), truth).mean())
    assert 0.87 < np.mean(shares) < 0.93, np.mean(shares)


def test_scaling_makes_spread_and_skill_equal():
    result, observed = world(1, heavy=True)
    calibrated = SpreadCalibration.fit(result, observed, method="scale", shrinkage=0).apply(result)
    skill = ((observed - result["mean"]) / calibrated["spread"]) ** 2
    np.testing.assert_allclose(skill.mean(["time", "y", "x"]), 1, rtol=1e-4)


@settings(max_examples=15)
@given(dates=st.integers(1, 40), shrinkage=st.floats(0.5, 50), method=st.sampled_from(["conformal", "scale"]))
def test_few_dates_move_the_factor_little(dates, shrinkage, method):
    result, observed = world(3, dates=dates)
    free = np.log(SpreadCalibration.fit(result, observed, method=method, shrinkage=0).factors)
    shrunk = np.log(SpreadCalibration.fit(result, observed, method=method, shrinkage=shrinkage).factors)
    np.testing.assert_allclose(shrunk, free * dates / (dates + shrinkage), atol=1e-6)


def test_a_group_without_data_takes_the_factor_of_its_band():
    result, observed = world(4, dates=20)  # 7 to 140 days after the start
    options = {"leads": (0, 60, 140, 200, 300), "origin": START}
    factors = np.array(SpreadCalibration.fit(result, observed, **options).factors)[0]
    pooled = np.array(SpreadCalibration.fit(result, observed).factors)[0, 0]
    np.testing.assert_allclose(factors[2], pooled)
    np.testing.assert_allclose(factors[3], pooled)
    assert not np.allclose(factors[0], pooled, rtol=1e-3)


def test_leads_are_calibrated_apart_and_the_window_is_left_alone():
    result, observed = world(5, dates=100, wrong=(1.0, 1.0))
    late = result["time"] > START + np.timedelta64(350, "D")
    observed = observed.where(~late, result["mean"] + 3 * (observed - result["mean"]))
    calibration = SpreadCalibration.fit(result, observed, leads=(0, 350, 800), origin=START, shrinkage=0)
    near, far = np.array(calibration.factors)[0]
    np.testing.assert_allclose(near, 1, rtol=0.06)
    np.testing.assert_allclose(far, 3, rtol=0.06)
    ratio = calibration.apply(result, origin=START)["spread"] / result["spread"]
    np.testing.assert_allclose(ratio.where(late, drop=True).isel(band=0), far[0], rtol=1e-5)
    np.testing.assert_allclose(ratio.where(~late, drop=True).isel(band=0), near[0], rtol=1e-5)
    middle = START + np.timedelta64(200, "D")
    within = calibration.apply(result, origin=middle)["spread"] / result["spread"]
    np.testing.assert_allclose(within.sel(time=slice(None, middle)), 1)
    beyond = calibration.apply(result, origin=START - np.timedelta64(5000, "D"))["spread"] / result["spread"]
    np.testing.assert_allclose(beyond.isel(band=1), far[1], rtol=1e-5)  # leads beyond the last edge


def test_seasons_are_calibrated_apart():
    result, observed = world(6, dates=104, wrong=(1.0, 1.0))
    summer = result["time"].dt.season == "JJA"
    observed = observed.where(~summer, result["mean"] + 4 * (observed - result["mean"]))
    calibration = SpreadCalibration.fit(result, observed, seasons=True, shrinkage=0)
    factors = np.array(calibration.factors)[:, 0]
    np.testing.assert_allclose(factors, [[1, 1], [1, 1], [4, 4], [1, 1]], rtol=0.1)
    ratio = calibration.apply(result)["spread"] / result["spread"]
    np.testing.assert_allclose(ratio.where(summer, drop=True).isel(band=0), factors[2, 0], rtol=1e-5)


def test_several_origins_are_pooled():
    first, truth = world(7, dates=30)
    later = START + np.timedelta64(400, "D")
    second, more = world(8, dates=30, start=later)
    both = xr.concat([truth, more], "time")
    pooled = SpreadCalibration.fit({START: first, later: second}, both, leads=(0, 100, 300))
    assert pooled.dates == 60
    far = np.array(pooled.factors)[0, 1]
    np.testing.assert_allclose(far, [2, 0.5], rtol=0.25)


def test_quantiles_move_along_and_a_part_of_the_spread_is_never_larger_than_it():
    from s2koop.koopman.ensemble import with_quantiles

    result, observed = world(9)
    result["spread_state"] = 0.9 * result["spread"]
    result = with_quantiles(result, [0.05, 0.95]).chunk({"y": 2})
    calibration = SpreadCalibration.fit(result, observed)
    found = calibration.apply(result)
    assert all(variable.chunks for variable in found.data_vars.values())
    expected = with_quantiles(found.drop_vars(["quantiles", "quantile"]), [0.05, 0.95])["quantiles"]
    xr.testing.assert_allclose(found["quantiles"], expected, rtol=1e-4)
    assert bool((found["spread_state"] <= found["spread"]).all())
    xr.testing.assert_equal(found["spread_state"].isel(band=0), result["spread_state"].isel(band=0))
    assert [found[name].dims for name in found] == [result[name].dims for name in found]
    assert found["spread"].dtype == np.float32


def test_it_survives_json_and_is_applied_once():
    result, observed = world(10)
    calibration = SpreadCalibration.fit(result, observed, leads=(0, 30, 90), origin=START, seasons=True)
    again = SpreadCalibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    once = again.apply(result.sel(band=["B08"]), origin=START)
    assert "90 % intervals on 60 held-out dates" in once.attrs["calibration"]
    with pytest.raises(InputError, match="calibrated before"):
        again.apply(once, origin=START)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "platt"}, "choose one of"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"shrinkage": -1}, "at least 0"),
        ({"leads": (0, 15)}, "give origin="),
        ({"leads": (15, 0), "origin": START}, "increasing edges"),
        ({"leads": (15,), "origin": START}, "at least two"),
        ({"leads": "abc", "origin": START}, "increasing edges"),
        ({"leads": (0, 15), "origin": "2030-01-01"}, "no observation"),
        ({"leads": (0, 15), "origin": "soon"}, "is not a date"),
    ],
)
def test_wrong_options_say_what_to_do(options, message):
    result, observed = world(0, dates=8)
    with pytest.raises(InputError, match=message):
        SpreadCalibration.fit(result, observed, **options)


def test_what_cannot_be_calibrated_is_refused():
    result, observed = world(0, dates=8)
    with pytest.raises(InputError, match="no observation"):
        SpreadCalibration.fit(result, observed.where(False))
    with pytest.raises(InputError, match="no spread"):
        SpreadCalibration.fit(result[["mean"]], observed)
    with pytest.raises(InputError, match="keys of the mapping"):
        SpreadCalibration.fit({START: result}, observed, origin=START)
    calibration = SpreadCalibration.fit(result, observed, leads=(0, 15, 90), origin=START)
    with pytest.raises(InputError, match="depends on the lead"):
        calibration.apply(result)
    with pytest.raises(InputError, match=r"not \['B11'\]"):
        calibration.apply(result.assign_coords(band=["B04", "B11"]), origin=START)
    with pytest.raises(InputError, match="do not fit"):
        SpreadCalibration.from_dict(calibration.to_dict() | {"leads": []})
    with pytest.raises(InputError, match="greater than 0"):
        SpreadCalibration.from_dict(calibration.to_dict() | {"factors": [[[0.0, 1.0]] * 2]})

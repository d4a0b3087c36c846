"""The calibration table and the rank histogram against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop import scores
from s2koop.errors import InputError

START = np.datetime64("2020-01-01", "ns")


def world(seed, factor=1.0, dates=50, start=START):
    rng = np.random.default_rng(seed)
    coords = {
        "time": start + np.arange(1, dates + 1) * np.timedelta64(5, "D"), "band": ["B04", "B08"],
        "y": np.arange(4.0), "x": np.arange(5.0),
    }  # fmt: skip
    mean = xr.DataArray(rng.normal(size=(dates, 2, 4, 5)), coords=coords)
    spread = xr.DataArray(rng.uniform(0.5, 2, mean.shape), coords=coords)
    observed = mean + factor * spread * rng.standard_normal(mean.shape)
    return xr.Dataset({"mean": mean, "spread": spread}), observed.where(rng.random(mean.shape) < 0.7)


def test_a_calibrated_forecast_lies_on_the_diagonal_and_an_overconfident_one_below():
    table = scores.calibration_table(*world(0, dates=200))
    np.testing.assert_allclose(table["coverage"], table["level"].broadcast_like(table["coverage"].T).T, atol=0.03)
    np.testing.assert_allclose(table["pit"], 0.1, atol=0.02)
    over = scores.calibration_table(*world(0, factor=2.0))
    assert bool((over["coverage"] < over["level"] - 0.02).all())
    assert bool((over["pit"].isel(bin=[0, -1]) > 0.15).all())  # u-shaped
    assert over["coverage"].dims == ("band", "level")


def test_counts_by_band_and_lead_against_the_score_of_each_part():
    result, observed = world(1, factor=1.3)
    table = scores.calibration_table(result, observed, leads=(0, 15, 100, 180), origin=START)
    days = (observed["time"] - START) / np.timedelta64(1, "D")
    for lead, (first, last) in zip(table["lead"].values, [(0, 15), (15, 100), (100, 180)], strict=True):
        chosen = (days > first) & (days <= last)
        part, seen = result.sel(time=chosen), observed.sel(time=chosen)
        others = ["time", "y", "x"]
        for level in (0.5, 0.9):
            expected = scores.coverage(part, seen, dim=others, level=level)
            np.testing.assert_allclose(table["coverage"].sel(lead=lead, level=level), expected)
        np.testing.assert_array_equal(table["n"].sel(lead=lead), seen.notnull().sum(others))
    np.testing.assert_allclose(table["pit"].sum("bin"), 1)


def test_several_origins_are_pooled_and_lazy_results_give_the_same():
    later = START + np.timedelta64(300, "D")
    (first, seen), (second, more) = world(2, dates=20), world(3, dates=20, start=later)
    observed = xr.concat([seen, more], "time")
    options = {"leads": (0, 50, 100), "levels": [0.9]}
    table = scores.calibration_table({START: first, later: second}, observed, **options)
    one = scores.calibration_table(first, observed, origin=START, **options)
    two = scores.calibration_table(second, observed, origin=later, **options)
    np.testing.assert_array_equal(table["n"], one["n"] + two["n"])
    np.testing.assert_allclose(table["coverage"] * table["n"], one["coverage"] * one["n"] + two["coverage"] * two["n"])
    lazy = scores.calibration_table({START: first.chunk({"y": 2}), later: second.chunk()}, observed.chunk(), **options)
    xr.testing.assert_identical(lazy, table)


def test_a_lead_without_observation_is_missing():
    table = scores.calibration_table(*world(4, dates=5), leads=(0, 30, 90), origin=START)
    assert bool(table["coverage"].sel(lead="30-90").isnull().all())
    assert int(table["n"].sel(lead="30-90").sum()) == 0


@pytest.mark.parametrize("count", [2, 4, 9])
def test_ranks_are_flat_where_the_truth_is_one_of_the_members(count):
    rng = np.random.default_rng(5)
    _, observed = world(6, dates=300)
    draws = rng.normal(size=(count, *observed.shape))
    members = xr.DataArray(draws, dims=("member", *observed.dims), coords=observed.coords)
    truth = observed * 0 + rng.normal(size=observed.shape)
    ranks = scores.rank_histogram(members, truth)
    assert ranks.sizes == {"band": 2, "rank": count + 1}
    np.testing.assert_allclose(ranks, 1 / (count + 1), atol=0.025)
    narrow = scores.rank_histogram(xr.Dataset({"mean": truth, "members": 0.2 * members}), truth)
    assert bool((narrow.isel(rank=[0, -1]).sum("rank") > ranks.isel(rank=[0, -1]).sum("rank")).all())


def test_ranks_against_a_loop_with_gaps():
    _, observed = world(7, dates=3)
    rng = np.random.default_rng(0)
    members = xr.DataArray(
        rng.normal(size=(3, *observed.shape)), dims=("member", *observed.dims), coords=observed.coords
    )
    members[0, 0, 0, 0, 0] = np.nan
    counts = np.zeros((2, 4))
    for t, b, y, x in np.ndindex(observed.shape):
        own = members.values[:, t, b, y, x]
        if np.isfinite(observed.values[t, b, y, x]) and np.isfinite(own).all():
            counts[b, (own < observed.values[t, b, y, x]).sum()] += 1
    np.testing.assert_allclose(scores.rank_histogram(members, observed), counts / counts.sum(1, keepdims=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": [0.0]}, "between 0 and 1"),
        ({"levels": []}, "between 0 and 1"),
        ({"leads": (0, 15)}, "give origin="),
        ({"leads": (0, 15), "origin": "NaT"}, "is not a date"),
    ],
)
def test_wrong_options_say_what_to_do(options, message):
    with pytest.raises(InputError, match=message):
        scores.calibration_table(*world(0, dates=5), **options)


def test_results_that_say_nothing_of_intervals_are_refused():
    result, observed = world(0, dates=5)
    with pytest.raises(InputError, match="no spread"):
        scores.calibration_table(result[["mean"]], observed)
    with pytest.raises(InputError, match="no result"):
        scores.calibration_table({}, observed)
    with pytest.raises(InputError, match="must be a DataArray"):
        scores.calibration_table(result, result)
    with pytest.raises(InputError, match="members=True"):
        scores.rank_histogram(result, observed)
    with pytest.raises(InputError, match="no observation"):
        scores.rank_histogram(result["mean"].expand_dims(member=2), observed.where(False))

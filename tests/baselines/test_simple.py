"""Persistence, the pixel mean and same day last year against loops over pixels and dates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._time import YEAR_DAYS, to_days
from s2koop.baselines import persistence, pixel_mean, same_day_last_year
from tests.baselines.cubes import ASKED, irregular_cube, rows_of, series_of

EDGES = [0, 8, 16, *range(32, 385, 32), 768, 1536, np.inf]


def differences(series, days):
    """All pairs of usable values: how far apart in days, and how different."""
    seen = np.flatnonzero(np.isfinite(series))
    return [(days[j] - days[i], series[j] - series[i]) for n, i in enumerate(seen) for j in seen[n + 1 :]]


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def test_persistence_equals_a_loop():
    cube = irregular_cube()
    asked = to_days(ASKED)
    result = persistence(cube, times=ASKED)
    mean, spread = rows_of(result["mean"]), rows_of(result["spread"])
    days = to_days(cube.time)
    for i, series in enumerate(series_of(cube)):
        pairs = differences(series, days)
        classes = {}
        for k in range(len(EDGES) - 1):
            inside = [change for lag, change in pairs if EDGES[k] <= lag < EDGES[k + 1]]
            if inside:
                classes[k] = rms(inside)
        for s, when in enumerate(asked):
            past = [(day, value) for day, value in zip(days, series, strict=True) if day <= when and np.isfinite(value)]
            if not past:
                assert np.isnan(mean[i, s])
                assert np.isnan(spread[i, s])
                continue
            assert mean[i, s] == np.float32(past[-1][1])
            k = next(k for k in range(len(EDGES) - 1) if EDGES[k] <= when - past[-1][0] < EDGES[k + 1])
            if classes:
                nearest = min(classes, key=lambda other: (abs(other - k), other))
                np.testing.assert_allclose(spread[i, s], classes[nearest], rtol=1e-5)
            else:
                assert np.isnan(spread[i, s])


def test_persistence_is_less_sure_the_longer_ago_the_value_is():
    walk = np.cumsum(np.random.default_rng(0).normal(0, 0.01, (200, 300)), axis=0)
    time = pd.date_range("2018-01-01", periods=200, freq="5D")
    cube = xr.DataArray(walk, dims=("time", "x"), coords={"time": time})
    later = time[-1] + pd.to_timedelta([6, 60, 360], unit="D")
    spread = (persistence(cube, times=later)["spread"] ** 2).mean("x").values ** 0.5
    np.testing.assert_allclose(spread, 0.01 * np.sqrt(np.array([5, 50, 360]) / 5), rtol=0.25)


def test_persistence_takes_the_later_of_two_values_of_a_date():
    time = pd.to_datetime(["2020-01-01", "2020-01-01"])
    cube = xr.DataArray([0.1, 0.2], dims="time", coords={"time": time})
    assert persistence(cube, times="2020-01-01")["mean"].item() == np.float32(0.2)


def test_pixel_mean_equals_numpy():
    cube = irregular_cube()
    result = pixel_mean(cube, times=ASKED)
    for series, mean, spread in zip(series_of(cube), rows_of(result["mean"]), rows_of(result["spread"]), strict=True):
        value = series[np.isfinite(series)]
        if len(value) > 1:
            np.testing.assert_allclose(mean, value.mean(), rtol=1e-5)
            np.testing.assert_allclose(spread, value.std(ddof=1) * np.sqrt(1 + 1 / len(value)), rtol=1e-5)


def test_same_day_last_year_equals_a_loop():
    # one value per date here: np.interp has no rule for two
    cube = irregular_cube().drop_duplicates("time")
    asked = to_days(ASKED)
    result = same_day_last_year(cube, times=ASKED)
    mean, spread = rows_of(result["mean"]), rows_of(result["spread"])
    days = to_days(cube.time)
    checked = 0
    for i, series in enumerate(series_of(cube)):
        seen = np.isfinite(series)
        pairs = differences(series, days)
        yearly = [
            change
            for lag, change in pairs
            if round(lag / YEAR_DAYS) >= 1 and abs(lag - round(lag / YEAR_DAYS) * YEAR_DAYS) <= 15
        ]
        for s, when in enumerate(asked):
            target = when - YEAR_DAYS
            while target > days[-1]:
                target -= YEAR_DAYS
            if not seen.any() or not days[seen][0] - 90 <= target <= days[seen][-1] + 90:
                assert np.isnan(mean[i, s])
                continue
            np.testing.assert_allclose(mean[i, s], np.interp(target, days[seen], series[seen]), rtol=1e-5)
            if pairs:
                np.testing.assert_allclose(spread[i, s], rms(yearly or [c for _, c in pairs]), rtol=1e-5)
                checked += 1
    assert checked > 50


def test_same_day_last_year_goes_back_whole_years_until_the_cube_covers_the_day():
    time = pd.date_range("2015-01-01", "2015-12-31", freq="5D")
    cube = xr.DataArray(np.arange(len(time)) / 100, dims="time", coords={"time": time})
    near, far = same_day_last_year(cube, times=["2016-06-01", "2019-06-01"])["mean"].values
    assert near == pytest.approx(far, abs=0.005)


def test_same_day_last_year_averages_two_values_of_the_day():
    time = pd.to_datetime(["2019-01-01", "2019-06-01", "2019-06-01", "2019-12-01"])
    cube = xr.DataArray([0.0, 0.1, 0.3, 0.0], dims="time", coords={"time": time})
    day = time[1] + pd.Timedelta(days=YEAR_DAYS)
    assert same_day_last_year(cube, times=day)["mean"].item() == pytest.approx(0.2)


@pytest.mark.parametrize(("reach", "known"), [(5.0, False), (40.0, True)])
def test_same_day_last_year_carries_the_ends_only_so_far(reach, known):
    time = pd.to_datetime(["2019-02-01", "2019-06-01"])
    cube = xr.DataArray([0.1, 0.3], dims="time", coords={"time": time})
    result = same_day_last_year(cube, times="2020-01-15", reach=reach)
    assert np.isfinite(result["mean"].item()) == known
    assert np.isfinite(result["spread"].item()) == known

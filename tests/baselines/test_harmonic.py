"""The harmonic baseline against loops over numpy.linalg.lstsq, and what its spread is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._time import YEAR_DAYS, to_days
from s2koop.baselines import harmonic
from tests.baselines.cubes import ASKED, irregular_cube, rows_of, series_of


def regressors(days, harmonics, trend, middle):
    columns = [np.ones(len(days))]
    for k in range(1, harmonics + 1):
        columns += [np.cos(2 * np.pi * k * days / YEAR_DAYS), np.sin(2 * np.pi * k * days / YEAR_DAYS)]
    return np.stack(columns + ([(days - middle) / YEAR_DAYS] if trend else []), axis=1)


def slow_fit(values, weights, design, ridge):
    """Least squares on the observations and, for the ridge, one row more per coefficient but the level."""
    root = np.sqrt(weights)[:, None]
    rows = np.concatenate([root * design, np.sqrt(ridge) * np.eye(design.shape[1])[1:]])
    right = np.concatenate([root[:, 0] * values, np.zeros(design.shape[1] - 1)])
    return np.linalg.lstsq(rows, right, rcond=1e-8)[0], np.linalg.pinv(rows.T @ rows, rcond=1e-10)


def slow_harmonic(cube, times, harmonics, trend, ridge, robust, trust=None):
    days, asked = to_days(cube.time), to_days(times)
    middle = (days[0] + days[-1]) / 2
    later = regressors(asked, harmonics, trend, middle)
    rows = series_of(cube)
    given = np.ones_like(rows) if trust is None else series_of(trust)
    mean, spread = np.full((2, len(rows), len(asked)), np.nan)
    for i, series in enumerate(rows):
        seen = np.isfinite(series)
        if not seen.any():
            continue
        design, y, prior = regressors(days[seen], harmonics, trend, middle), series[seen], given[i, seen]
        weights = prior
        for _ in range(16 if robust else 1):
            b, inverse = slow_fit(y, weights, design, ridge)
            used, residual = weights, y - design @ b
            scale = np.sort(np.abs(residual))[(len(y) - 1) // 2] / 0.6744897501960817
            if scale > 0:
                weights = prior * np.minimum(1, 1.345 * scale / np.maximum(np.abs(residual), 1e-300))
        hat = design @ inverse @ design.T * used
        dof = np.trace((np.eye(len(y)) - hat) @ (np.eye(len(y)) - hat))
        mean[i] = later @ b
        if dof > 1e-6:
            variance = (prior * residual**2).sum() / dof
            spread[i] = np.sqrt(variance * (1 + np.einsum("sp,pq,sq->s", later, inverse, later)))
    return mean, spread


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize(
    ("harmonics", "trend", "ridge"),
    [(2, False, 0.3), (1, True, 0.3), (3, False, 0.0), (0, False, 0.3), (1, False, 5.0)],
)
def test_equals_a_loop_over_lstsq(harmonics, trend, ridge, robust):
    cube = irregular_cube()
    result = harmonic(cube, times=ASKED, harmonics=harmonics, trend=trend, ridge=ridge, robust=robust)
    mean, spread = slow_harmonic(cube, ASKED, harmonics, trend, ridge, robust)
    np.testing.assert_allclose(rows_of(result["mean"]), mean, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(rows_of(result["spread"]), spread, rtol=2e-4)


def test_weights_equal_a_loop_over_lstsq():
    cube = irregular_cube()
    trust = cube.copy(data=np.random.default_rng(5).uniform(0.1, 2, cube.shape))
    result = harmonic(cube, times=ASKED, weights=trust, robust=False)
    mean, spread = slow_harmonic(cube, ASKED, 2, False, 0.3, False, trust)
    np.testing.assert_allclose(rows_of(result["mean"]), mean, rtol=2e-5)
    np.testing.assert_allclose(rows_of(result["spread"]), spread, rtol=2e-4)


def test_an_exact_season_is_recovered_and_extrapolated():
    time = pd.date_range("2016-01-01", "2018-12-31", freq="9D")
    later = pd.date_range("2019-01-01", "2021-12-31", freq="30D")

    def truth(dates):
        phase = 2 * np.pi * to_days(dates) / YEAR_DAYS
        return 0.3 + 0.1 * np.sin(phase) - 0.05 * np.cos(2 * phase)

    cube = xr.DataArray(truth(time), dims="time", coords={"time": time})
    result = harmonic(cube, times=later, ridge=0.0, robust=False)
    np.testing.assert_allclose(result["mean"], truth(later), atol=1e-6)


def test_a_trend_is_followed_when_asked_for():
    time = pd.date_range("2016-01-01", "2018-12-31", freq="9D")
    years = (to_days(time) - to_days(time)[0]) / YEAR_DAYS
    cube = xr.DataArray(0.1 + 0.05 * years, dims="time", coords={"time": time})
    result = harmonic(cube, times=time[[0, -1]], trend=True, ridge=0.0, robust=False)
    np.testing.assert_allclose(np.diff(result["mean"]), 0.05 * years[-1], rtol=1e-4)


def test_the_ridge_keeps_two_dates_from_running_away():
    time = pd.to_datetime(["2019-06-01", "2019-06-06"])
    cube = xr.DataArray([0.1, 0.2], dims="time", coords={"time": time})
    winter = harmonic(cube, times="2019-12-20")["mean"].item()
    assert 0.0 < winter < 0.3


def test_haze_pulls_the_robust_fit_far_less():
    rng = np.random.default_rng(3)
    time = pd.date_range("2016-01-01", "2018-12-31", freq="8D")
    phase = 2 * np.pi * to_days(time) / YEAR_DAYS
    truth = 0.1 + 0.03 * np.sin(phase)
    seen = truth[:, None] + 0.005 * rng.standard_normal((len(time), 200))
    seen[rng.random(seen.shape) < 0.12] += 0.3
    cube = xr.DataArray(seen, dims=("time", "x"), coords={"time": time})

    def error(robust):
        return np.sqrt(((harmonic(cube, times=time, robust=robust)["mean"] - truth[:, None]) ** 2).mean().item())

    assert error(True) < 0.3 * error(False)


@pytest.mark.parametrize("robust", [False, True])
def test_the_spread_covers_new_observations_as_often_as_it_says(robust):
    rng = np.random.default_rng(4)
    time = pd.date_range("2016-01-01", "2018-12-31", freq="15D")
    later = pd.date_range("2019-01-01", "2019-12-31", freq="20D")
    level, size = 0.3, rng.normal(0, 0.05, (2, 1500))

    def observe(dates):
        phase = 2 * np.pi * to_days(dates)[:, None] / YEAR_DAYS
        return level + size[0] * np.sin(phase) + size[1] * np.cos(phase) + rng.normal(0, 0.02, (len(dates), 1500))

    cube = xr.DataArray(observe(time), dims=("time", "x"), coords={"time": time})
    result = harmonic(cube, times=later, harmonics=1, robust=robust)
    inside = np.abs(observe(later) - result["mean"]) <= 1.645 * result["spread"]
    assert 0.885 < inside.mean().item() < 0.915

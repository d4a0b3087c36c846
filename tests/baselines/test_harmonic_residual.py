"""The harmonic with decaying residual against loops, against exact interpolation, and what its spread is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._time import to_days
from s2koop.baselines import harmonic, harmonic_residual
from tests.baselines.cubes import ASKED, irregular_cube, rows_of, series_of


def slow_correction(days, residual, asked, last, decay):
    """What is added to the harmonic, one asked date at a time."""
    out = np.zeros(len(asked))
    for i, when in enumerate(asked):
        before, after = np.flatnonzero(days <= when), np.flatnonzero(days > when)
        parts = []
        if len(before):
            parts.append((np.median(residual[before[-last:]]), when - days[before[-1]]))
        if len(after):
            parts.append((np.median(residual[after[:last]]), days[after[0]] - when))
        rho = np.exp(-np.array([distance for _, distance in parts]) / decay)
        known = np.array([value for value, _ in parts])
        if len(parts) == 1:
            out[i] = rho[0] * known[0]
        elif len(parts) == 2:
            # exact interpolation of a process whose covariance is exp(-lag / decay)
            covariance = np.array([[1.0, rho[0] * rho[1]], [rho[0] * rho[1], 1.0]])
            out[i] = rho @ np.linalg.solve(covariance, known)
    return out


@pytest.mark.parametrize(("last", "decay"), [(1, 60.0), (2, 30.0), (3, 180.0)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"harmonics": 1, "trend": True},
        {"harmonics": 2, "trend": True, "robust": False},
        {"harmonics": 1, "ridge": 1.0},
    ],
    ids=str,
)
def test_adds_what_a_loop_adds(last, decay, options):
    cube = irregular_cube()
    asked = ASKED.append(pd.DatetimeIndex(cube.time.values[[5, 29, 30, 31, -1]]))
    curve = rows_of(harmonic(cube, times=asked, **options)["mean"])
    fitted = rows_of(harmonic(cube, times=cube.time, **options)["mean"])
    result = rows_of(harmonic_residual(cube, times=asked, last=last, decay_days=decay, **options)["mean"])
    days = to_days(cube.time)
    for i, series in enumerate(series_of(cube)):
        seen = np.isfinite(series)
        added = slow_correction(days[seen], (series - fitted[i])[seen], to_days(asked), last, decay)
        np.testing.assert_allclose(result[i], curve[i] + added, atol=1e-6)


def test_goes_through_the_observations_and_back_to_the_harmonic():
    cube = irregular_cube().isel(time=slice(35, None))  # without the date that is there twice
    result = harmonic_residual(cube, times=cube.time)["mean"]
    assert np.abs(result - cube).max().item() < 1e-6
    far = ["2035-03-01", "1999-07-01"]
    np.testing.assert_allclose(harmonic_residual(cube, times=far)["mean"], harmonic(cube, times=far)["mean"], atol=1e-6)


def test_a_forecast_takes_the_last_of_two_observations_on_one_date():
    time = pd.to_datetime(["2020-01-01", "2020-02-01", "2020-03-01", "2020-03-01"])
    cube = xr.DataArray([0.1, 0.1, 0.1, 0.5], dims="time", coords={"time": time})
    at_once, long_after = harmonic_residual(cube, times=["2020-03-01", "2030-01-01"], harmonics=0)["mean"].values
    assert at_once == pytest.approx(0.5, abs=1e-6)
    assert long_after == pytest.approx(0.1, abs=1e-3)  # robust: the odd one out hardly counts


def ornstein_uhlenbeck(time, number, decay, sd, rng):
    days = to_days(time)
    root = np.linalg.cholesky(np.exp(-np.abs(days[:, None] - days) / decay) + 1e-10 * np.eye(len(days)))
    return sd * root @ rng.standard_normal((len(days), number))


@pytest.mark.parametrize(("last", "decay"), [(1, 60.0), (3, 180.0)])
def test_the_spread_covers_later_observations_at_every_lead(last, decay):
    rng = np.random.default_rng(8)
    time = pd.date_range("2016-01-01", periods=120, freq="10D")
    both = time.append(pd.DatetimeIndex(time[-1] + pd.to_timedelta([5, 20, 60, 300], unit="D")))
    values = 0.3 + ornstein_uhlenbeck(both, 1500, 60.0, 0.03, rng) + 0.01 * rng.standard_normal((len(both), 1500))
    cube = xr.DataArray(values, dims=("time", "x"), coords={"time": both})
    result = harmonic_residual(cube[:120], times=both[120:], last=last, decay_days=decay, harmonics=1)
    inside = (np.abs(cube[120:] - result["mean"]) <= 1.645 * result["spread"]).mean("x")
    assert inside[:3].min() > 0.85
    assert inside.max() < 0.95
    # far ahead it is the harmonic's own spread, which takes residuals of such long memory for independent
    assert inside[3] > 0.82
    assert (np.diff(result["spread"].mean("x").values[:3]) > 0).all()


def test_a_gap_between_two_residuals_is_filled_better_than_by_the_season_and_no_spread_is_too_narrow():
    rng = np.random.default_rng(9)
    time = pd.date_range("2016-01-01", periods=120, freq="10D")
    values = 0.3 + ornstein_uhlenbeck(time, 1000, 60.0, 0.03, rng) + 0.005 * rng.standard_normal((120, 1000))
    cube = xr.DataArray(values, dims=("time", "x"), coords={"time": time})
    hidden = np.arange(60, 64)
    known = cube.copy()
    known[hidden] = np.nan
    result = harmonic_residual(known, times=time[hidden], harmonics=1)
    season = harmonic(known, times=time[hidden], harmonics=1)
    error, plain = (np.sqrt(((r["mean"] - cube[hidden]) ** 2).mean().item()) for r in (result, season))
    assert error < 0.75 * plain
    inside = np.abs(cube[hidden] - result["mean"]) <= 1.645 * result["spread"]
    assert 0.88 < inside.mean().item() < 0.97


def test_weights_leave_residuals_out():
    cube = irregular_cube()
    late = cube.time > np.datetime64("2019-06-01")
    trust = xr.where(late, 0.0, 1.0)
    wanted = harmonic_residual(cube.where(~late), times=ASKED)
    xr.testing.assert_allclose(harmonic_residual(cube, times=ASKED, weights=trust), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"last": 0}, {"last": 1.5}, {"decay_days": 0}, {"decay_days": None}, {"ridge": -1}]
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        harmonic_residual(irregular_cube(), times=ASKED, **options)

"""The Gaussian process against scikit-learn one series at a time, and what it learns of known covariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor

from s2koop._time import YEAR_DAYS, to_days
from s2koop.baselines import _gaussian_process as module
from s2koop.baselines import gaussian_process, harmonic
from s2koop.baselines._patterns import alike
from s2koop.errors import InputError
from tests.baselines.cubes import ASKED, irregular_cube, rows_of, series_of


def test_every_series_is_what_scikit_learn_makes_of_it_alone():
    cube = irregular_cube().isel(band=[1])
    result = gaussian_process(cube, times=ASKED, max_iterations=3)
    known, wanted = (to_days(t)[:, None] / YEAR_DAYS for t in (cube.time, ASKED))
    rows = series_of(cube)
    model = module._learn(rows[:, :, None], to_days(cube.time), max_iterations=3, seed=0)
    for i, series in enumerate(rows):
        seen = np.isfinite(series)
        if not seen.any():
            continue
        twin = GaussianProcessRegressor(model.kernels[0], alpha=0.0, optimizer=None)
        twin.fit(known[seen], (series[seen] - model.level[0]) / model.scale[0])
        mean, spread = twin.predict(wanted, return_std=True)
        np.testing.assert_allclose(rows_of(result["mean"])[i], model.level[0] + model.scale[0] * mean, rtol=1e-4)
        np.testing.assert_allclose(rows_of(result["spread"])[i], model.scale[0] * spread, rtol=1e-4)


def test_the_cost_is_the_marginal_likelihood_and_its_gradient():
    series = series_of(irregular_cube().isel(band=[0]))
    series = (series - np.nanmean(series)) / np.nanstd(series)
    days = to_days(irregular_cube().time)
    groups = [(np.flatnonzero(seen), series[rows][:, seen]) for rows, seen in alike(np.isfinite(series))]
    kernel = module._start()
    theta = kernel.theta + np.random.default_rng(0).normal(0, 0.3, len(kernel.theta))
    arguments = (kernel, groups, module._years(days))
    total = 0.0
    for row in series[np.isfinite(series).any(axis=1)]:
        seen = np.isfinite(row)
        alone = GaussianProcessRegressor(kernel.clone_with_theta(theta), alpha=0.0, optimizer=None)
        alone.fit(module._years(days[seen]), row[seen])
        total -= alone.log_marginal_likelihood() + seen.sum() * np.log(2 * np.pi) / 2
    prior = ((theta - kernel.theta) ** 2).sum() / (2 * module._PRIOR_LOG**2)
    assert module._cost(theta, *arguments)[0] == pytest.approx(total + prior, rel=1e-9)
    slope = check_grad(lambda t: module._cost(t, *arguments)[0], lambda t: module._cost(t, *arguments)[1], theta)
    assert slope < 1e-3


@pytest.fixture(scope="module")
def simulated() -> tuple[xr.DataArray, xr.DataArray]:
    """A season of the pixel's own, deviations that fade over 40 days, noise of .01: four years, and what follows."""
    rng = np.random.default_rng(11)
    time = pd.date_range("2016-01-01", periods=96, freq="15D")
    later = pd.DatetimeIndex(time[-1] + pd.to_timedelta([4, 20, 60, 200], unit="D"))
    days = to_days(time.append(later))
    phase = 2 * np.pi * days[:, None] / YEAR_DAYS
    size = 0.05 * rng.standard_normal((3, 300))
    fading = np.linalg.cholesky(np.exp(-np.abs(days[:, None] - days) / 40.0)) @ rng.standard_normal((100, 300))
    values = 0.3 + size[0] + size[1] * np.sin(phase) + size[2] * np.cos(phase) + 0.03 * fading
    values += 0.01 * rng.standard_normal(values.shape)
    cube = xr.DataArray(values, dims=("time", "x"), coords={"time": time.append(later)})
    known = cube[:96].where(xr.DataArray(rng.random((96, 1)) < 0.7, dims=("time", "x")).squeeze("x"))
    return known, cube[96:]


def test_the_covariance_of_a_band_is_found(simulated):
    known, _ = simulated
    values = known.values.T[:64, :, None]
    kernel = module._learn(values, to_days(known.time), max_iterations=50, seed=0).kernels[0]
    scale = np.nanstd(values)
    weeks, noise = kernel.k1.k2, kernel.k2
    assert weeks.k2.length_scale * YEAR_DAYS == pytest.approx(40.0, rel=0.35)
    assert scale * np.sqrt(weeks.k1.constant_value) == pytest.approx(0.03, rel=0.2)
    assert scale * np.sqrt(noise.noise_level) == pytest.approx(0.01, rel=0.5)


def test_forecasts_beat_the_season_soon_and_know_their_error_at_every_lead(simulated):
    known, later = simulated
    result = gaussian_process(known, times=later.time)
    season = harmonic(known, times=later.time, harmonics=1)
    error, plain = (np.sqrt(((r["mean"] - later) ** 2).mean("x")).values for r in (result, season))
    assert error[0] < 0.7 * plain[0]
    assert error[1] < 0.95 * plain[1]
    assert (error < 1.05 * plain).all()
    inside = (np.abs(later - result["mean"]) <= 1.645 * result["spread"]).mean("x")
    assert inside.min() > 0.84
    assert inside.max() < 0.95


def test_one_date_and_one_value():
    cube = irregular_cube()
    day = gaussian_process(cube.isel(time=[3]), times=["2017-06-01", "2019-01-01"])
    seen = cube.isel(time=3).notnull()
    assert (day.to_array().notnull() == seen).all()
    single = gaussian_process(cube.isel(time=[7], x=[1], y=[0]), times="2017-06-01")
    assert single["mean"].values == pytest.approx(0.25, abs=1e-6)
    assert (single["spread"] > 0.1).all()  # a single value says nothing of how much a series varies


@pytest.mark.parametrize("steps", [0, 1.5, None])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(InputError, match="max_iterations"):
        gaussian_process(irregular_cube(), times=ASKED, max_iterations=steps)

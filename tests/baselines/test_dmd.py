"""The DMD baseline on scenes of known oscillations, its stability, and what its spread is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._time import YEAR_DAYS, to_days
from s2koop.baselines import dmd, pixel_mean
from s2koop.baselines._dmd import _bagged, _Dynamics, _optimised, _stable_pairs
from s2koop.errors import InputError, MissingDependencyError
from tests.baselines.cubes import irregular_cube


def oscillations(years):
    """A constant, the year, and a mode of five months that decays: three coefficients."""
    year, fast = 2 * np.pi * years, 2 * np.pi * years * 12 / 5
    return np.stack([1 + 0 * years, np.cos(year) + 0.2 * np.sin(fast) * np.exp(-years), np.sin(year)])


def scene(rng, *, pixels=80, noise=0.0, years=5.0):
    days = np.sort(rng.choice(int(years * YEAR_DAYS), int(years * 24), replace=False))
    later = days[-1] + np.arange(10, 400, 30)
    time = pd.Timestamp("2015-01-01") + pd.to_timedelta(np.concatenate([days, later]), unit="D")
    mixture = np.array([[0.3], [0.1], [0.1]]) + np.array([[0.02], [0.05], [0.05]]) * rng.standard_normal((3, pixels))
    truth = oscillations((to_days(time) - to_days(time)[0]) / YEAR_DAYS).T @ mixture
    cube = xr.DataArray(truth, dims=("time", "x"), coords={"time": time})
    seen = (cube + noise * rng.standard_normal(cube.shape)).where(rng.random(cube.shape) < 0.7)
    return seen[: len(days)], cube[len(days) :]


def test_eigenvalues_of_irregular_noise_free_dates_are_found(rng):
    years = np.sort(rng.uniform(0, 4, 90))
    true = np.array([0.0, -0.5 + 2j * np.pi, -0.5 - 2j * np.pi, -0.1 + 9j, -0.1 - 9j])
    weights = np.array([1, 0.5, 0.5, 0.3, 0.3])
    modes = (rng.standard_normal((5, 5)) + 1j * rng.standard_normal((5, 5))) * weights
    modes[:, 0] = modes[:, 0].real
    modes[:, [2, 4]] = modes[:, [1, 3]].conj()
    data = _Dynamics(modes, true).at(years).T
    found = _optimised(data, years, np.array([0, 6j, -6j, 8j, -8j]))
    np.testing.assert_allclose(found.eigenvalues, true, atol=1e-4)
    np.testing.assert_allclose(
        found.at(np.array([4.5, 5.0])), _Dynamics(modes, true).at(np.array([4.5, 5.0])), atol=1e-3
    )


def test_a_scene_of_oscillations_is_filled_and_forecast(rng):
    known, later = scene(rng)
    result = dmd(known, times=later.time, bags=5)
    plain = pixel_mean(known, times=later.time)
    error, mean = (np.sqrt(((r["mean"] - later) ** 2).mean().item()) for r in (result, plain))
    assert error < 0.1 * mean


def test_the_spread_covers_observations_to_come(rng):
    known, later = scene(rng, noise=0.02, pixels=300)
    result = dmd(known, times=later.time)
    observed = later + 0.02 * rng.standard_normal(later.shape)
    inside = np.abs(observed - result["mean"]) <= 1.645 * result["spread"]
    assert 0.85 < inside.mean().item() < 0.96
    assert 0.0199 < result["spread"].mean().item() < 0.03


def test_bags_that_disagree_widen_the_spread(rng):
    known, later = scene(rng, noise=0.05, pixels=10, years=2.0)
    one, many = (dmd(known, times=later.time, bags=bags)["spread"].mean().item() for bags in (0, 20))
    assert many > 1.02 * one


def test_a_growing_scene_stays_bounded_for_a_century_both_ways(rng):
    time = pd.date_range("2016-01-01", periods=60, freq="20D")
    years = (to_days(time) - to_days(time)[0]) / YEAR_DAYS
    growing = 0.05 * np.exp(0.8 * years)[:, None] * (1 + rng.random(30)) + 0.01 * rng.standard_normal((60, 30))
    cube = xr.DataArray(growing, dims=("time", "x"), coords={"time": time})
    result = dmd(cube, times=["1920-01-01", "2020-01-01", "2120-01-01"])
    assert result["mean"].max() < 2.0 * growing.max()
    assert result["mean"].min() > -1.0 * growing.max()
    assert np.isfinite(result["spread"]).all()


def test_stable_pairs_are_pairs_that_do_not_grow_and_stay_when_they_are(rng):
    wild = rng.standard_normal(7) + 1j * rng.standard_normal(7)
    tame = _stable_pairs(wild)
    assert tame[0].imag == 0
    np.testing.assert_array_equal(tame[1::2], tame[2::2].conj())
    assert (tame.real <= 0).all()
    np.testing.assert_allclose(_stable_pairs(tame), tame)


def test_bags_come_from_the_seed_and_not_from_the_global_generator(rng):
    coefficients = oscillations(np.linspace(0, 3, 40)) + 0.05 * rng.standard_normal((3, 40))
    np.random.seed(1)  # noqa: NPY002  (the global generator is what the library itself would draw from)
    wanted = np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    first, again = (_bagged(coefficients, np.linspace(0, 3, 40), 4, np.random.default_rng(5)) for _ in range(2))
    assert np.random.rand() == wanted  # noqa: NPY002
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.modes, other.modes)
    assert np.abs(first[0].eigenvalues - first[1].eigenvalues).max() > 1e-6


def test_without_the_library_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr("s2koop.baselines._dmd.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 's2koop\[baselines\]'"):
        dmd(irregular_cube(), times="2020-02-01")


@pytest.mark.parametrize("options", [{"rank": 3}, {"rank": 14}, {"rank": 2.0}, {"bags": -1}], ids=str)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(InputError, match=next(iter(options))):
        dmd(irregular_cube(), times="2020-02-01", **options)


@pytest.mark.parametrize("few", [[3], [30, 31, 32, 33, 34, 35]])
def test_too_few_different_dates_are_refused_with_the_cure(few):
    with pytest.raises(InputError, match=r"rank=2 needs at least 6 different dates.*has (1|5)\D.*harmonic"):
        dmd(irregular_cube().isel(time=few), times="2020-02-01", rank=2)

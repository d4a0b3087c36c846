"""The Whittaker baseline against dense solves of its own definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._time import to_days
from s2koop.baselines import persistence, whittaker
from tests.baselines.cubes import ASKED, irregular_cube, rows_of, series_of


def dense_curve(series, weights, cells, smoothing, order, step, size):
    """Solve for the curve on the grid with one dense matrix, each observation an equation of its own."""
    order = min(order, len(np.unique(cells)))
    pick = np.zeros((len(cells), size))
    pick[np.arange(len(cells)), cells] = 1.0
    difference = np.diff(np.eye(size), n=order, axis=0)
    penalty = smoothing * step ** (1 - 2 * order) * difference.T @ difference
    left = pick.T @ (weights[:, None] * pick) + penalty
    return np.linalg.solve(left, pick.T @ (weights * series))


def dense_predict(series, weights, cells, where, **options):
    curve = dense_curve(series, weights, cells, **options)
    return np.interp(np.clip(where, cells.min(), cells.max()), np.arange(len(curve)), curve)


@pytest.mark.parametrize(("smoothing", "order", "step"), [(1e4, 2, 5.0), (3e2, 1, 5.0), (1e6, 3, 6.0), (1e3, 2, 2.0)])
def test_equals_a_dense_solve(smoothing, order, step):
    cube = irregular_cube(rows=2, cols=3)
    result = whittaker(cube, times=ASKED, smoothing=smoothing, order=order, step=step)
    days, asked = to_days(cube.time), to_days(ASKED)
    cells, where = np.rint((days - days[0]) / step).astype(int), (asked - days[0]) / step
    options = {"smoothing": smoothing, "order": order, "step": step, "size": cells[-1] + 1}
    for series, mean in zip(series_of(cube), rows_of(result["mean"]), strict=True):
        seen = np.isfinite(series)
        if not seen.any():
            assert np.isnan(mean).all()
            continue
        expected = dense_predict(series[seen], np.ones(seen.sum()), cells[seen], where, **options)
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


def test_the_spread_is_the_error_of_dates_predicted_without_their_fold():
    cube = irregular_cube(rows=1, cols=4)
    result = whittaker(cube, times="2018-06-01")
    days = to_days(cube.time)
    cells = np.rint((days - days[0]) / 5.0).astype(int)
    options = {"smoothing": 1e4, "order": 2, "step": 5.0, "size": cells[-1] + 1}
    for series, spread in zip(series_of(cube), rows_of(result["spread"]), strict=True):
        seen = np.isfinite(series)
        if seen.sum() < 2:
            assert np.isnan(spread).all()
            continue
        table = pd.DataFrame({"cell": cells[seen], "value": series[seen]}).groupby("cell")["value"]
        at, value, weight = (
            table.mean().index.to_numpy(),
            table.mean().to_numpy(),
            table.size().to_numpy(float),
        )
        square = 0.0
        for fold in range(5):
            out = np.arange(len(at)) % 5 == fold
            guess = dense_predict(value[~out], weight[~out], at[~out], at[out], **options)
            square += (weight[out] * (guess - value[out]) ** 2).sum()
        np.testing.assert_allclose(spread, np.sqrt(square / len(at)), rtol=1e-4)


def test_the_step_of_the_grid_hardly_matters():
    cube = irregular_cube().isel(y=slice(1, None))
    fine, coarse = (whittaker(cube, times=ASKED, step=step, smoothing=1e5)["mean"] for step in (1.0, 5.0))
    assert np.abs(fine - coarse).max() < 0.01


def test_beyond_the_usable_dates_the_end_is_held_and_the_spread_grows_as_for_persistence():
    cube = irregular_cube().isel(y=slice(1, None))
    last = cube.time.values[-1]
    times = last + np.array([0, 100, 3000], "timedelta64[D]")
    result = whittaker(cube, times=times)
    carried = persistence(cube, times=times)
    np.testing.assert_array_equal(result["mean"][1], result["mean"][2])
    assert (result["spread"][1:] >= carried["spread"][1:] * 0.999).mean() > 0.9
    assert (result["spread"][1] >= result["spread"].sel(time="2018-03-01", method="nearest")).all()


def test_strong_smoothing_is_the_straight_line_of_least_squares():
    time = pd.date_range("2018-01-01", periods=40, freq="5D")
    value = np.random.default_rng(0).normal(0.3, 0.1, 40)
    cube = xr.DataArray(value, dims="time", coords={"time": time})
    line = np.polyval(np.polyfit(np.arange(40), value, 1), np.arange(40))
    np.testing.assert_allclose(whittaker(cube, times=time, smoothing=1e12)["mean"], line, rtol=1e-4)


@pytest.mark.parametrize(("noise", "period"), [(0.002, 60), (0.1, 1e9)], ids=["fast and clean", "flat and noisy"])
def test_cross_validation_is_close_to_the_best_fixed_smoothing(noise, period):
    rng = np.random.default_rng(1)
    time = pd.date_range("2018-01-01", periods=100, freq="5D")
    truth = 0.3 + 0.1 * np.sin(2 * np.pi * np.arange(100) * 5 / period)[:, None]
    cube = xr.DataArray(
        truth + noise * rng.standard_normal((100, 20)), dims=("time", "x"), coords={"time": time}
    ).astype("float32")

    def error(smoothing):
        return float(np.sqrt(((whittaker(cube, times=time, smoothing=smoothing)["mean"] - truth) ** 2).mean()))

    fixed = [error(10.0**power) for power in range(9)]
    assert error("cv") < min(1.6 * min(fixed), 0.5 * max(fixed))

"""The LSTM baseline: what it may know, what it learns, and what its spread is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from s2koop._time import YEAR_DAYS, to_days
from s2koop.baselines import lstm, pixel_mean
from s2koop.baselines._lags import LAG_CLASSES, lag_class
from s2koop.baselines._lstm_network import Forecaster, _mean_by_lead, histories, make_grid
from s2koop.errors import InputError
from tests.baselines.cubes import irregular_cube

QUICK = {"hidden": 8, "max_batches": 20, "lookback": 120}


def irregular_values(rng, *, pixels=6, dates=50, bands=2):
    days = np.sort(rng.choice(600, dates, replace=False)).astype(float)
    values = rng.standard_normal((pixels, dates, bands))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[0] = np.nan
    return values, days


def test_the_grid_interpolates_means_of_its_cells_and_keeps_the_ends(rng):
    values, days = irregular_values(rng)
    grid = make_grid(values, days, 10.0)
    cell = np.rint((days - days[-1]) / 10).astype(int)
    cell -= cell.min()
    for pixel, band in np.ndindex(6, 2):
        series = pd.Series(values[pixel, :, band]).groupby(cell).mean().dropna()
        where = np.flatnonzero(grid.seen[pixel, :, band])
        assert (where == series.index).all()
        if series.empty:
            assert (grid.level[pixel, :, band] == 0).all()
            continue
        wanted = np.interp(np.arange(len(grid.days)), series.index, series)
        np.testing.assert_allclose(grid.value[pixel, :, band], wanted)
        np.testing.assert_allclose(grid.level[pixel, where, band], series.expanding().mean())
    assert grid.days[-1] == days[-1]


@pytest.mark.parametrize("origin", [0, 7, 30])
def test_a_history_holds_nothing_that_was_seen_after_its_origin(rng, origin):
    values, days = irregular_values(rng)
    grid = make_grid(values, days, 10.0)
    later = np.rint((days - days[-1]) / 10).astype(int) + len(grid.days) - 1 > origin
    spoiled = values.copy()
    spoiled[:, later] = np.where(rng.random(spoiled[:, later].shape) < 0.5, 9.0, np.nan)
    pixels, origins = np.arange(6), np.full(6, origin)
    before, after = (histories(make_grid(v, days, 10.0), pixels, origins, 25) for v in (values, spoiled))
    assert before.shape == (6, 25, 6)
    assert torch.isfinite(before).all()
    torch.testing.assert_close(before, after)


def seasonal(rng, *, pixels=150, noise=0.02, years=4):
    time = pd.date_range("2016-01-01", periods=int(years * 36.5), freq="10D")
    later = pd.date_range(time[-1] + pd.Timedelta("7D"), periods=12, freq="10D")
    days = to_days(time.append(later))
    phase = 2 * np.pi * days[:, None] / YEAR_DAYS
    level, size = 0.3 + 0.05 * rng.standard_normal(pixels), 0.1 + 0.02 * rng.standard_normal(pixels)
    values = level + size * np.sin(phase) + noise * rng.standard_normal((len(days), pixels))
    values[: len(time)][rng.random((len(time), pixels)) < 0.4] = np.nan
    cube = xr.DataArray(values, dims=("time", "x"), coords={"time": time.append(later)})
    return cube[: len(time)], cube[len(time) :]


def test_a_season_is_learned_and_its_error_known(rng):
    known, later = seasonal(rng)
    result = lstm(known, times=later.time, hidden=16, max_batches=160)
    error, plain = (
        np.sqrt(((r["mean"] - later) ** 2).mean().item()) for r in (result, pixel_mean(known, times=later.time))
    )
    assert error < 0.45 * plain
    assert error < 1.75 * 0.02  # the noise that nobody can forecast
    inside = np.abs(later - result["mean"]) <= 1.645 * result["spread"]
    assert 0.8 < inside.mean().item() < 0.98


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_generator_of_torch_alone():
    cube = irregular_cube()
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    first = lstm(cube, times="2020-02-01", **QUICK)
    assert torch.rand(1) == wanted
    xr.testing.assert_identical(first, lstm(cube, times="2020-02-01", **QUICK))
    other = lstm(cube, times="2020-02-01", seed=1, **QUICK)
    assert np.abs(other["mean"] - first["mean"]).max() > 1e-4


def test_ten_years_ahead_only_the_season_goes_on():
    years = pd.to_datetime(["2025-01-01", "2029-01-01", "2033-01-01"])
    result = lstm(irregular_cube(), times=years, **QUICK)["mean"].isel(y=slice(1, None))
    np.testing.assert_allclose(result[1:], np.broadcast_to(result[:1], result[1:].shape), atol=1e-3)
    assert np.abs(result).max() < 1.0


def test_leads_that_the_hold_out_never_saw_claim_no_skill(rng):
    square = rng.random((40, 36, 2))
    usable = np.ones_like(square)
    usable[:, 12:] = 0.0
    table = _mean_by_lead(square, usable, np.array([7.0, 8.0]), 10.0)
    assert table.shape == (LAG_CLASSES, 2)
    klass = lag_class(10.0 * np.arange(1, 37))
    for k in np.unique(klass[:12]):
        np.testing.assert_allclose(table[k], square[:, :12][:, klass[:12] == k].mean(axis=(0, 1)))
    assert (table[0] == table[klass[0]]).all()
    assert (table[lag_class(np.array(200.0)) :] == [7.0, 8.0]).all()


def test_the_head_reads_the_asked_date(rng):
    network = Forecaster(2, 4, 365.0, torch.Generator().manual_seed(0))
    history = torch.zeros(1, 5, 6)
    days = np.array([[10.0, 100.0]])
    together = network(history, days, days)
    torch.testing.assert_close(together[:, 1:], network(history, days[:, 1:], days[:, 1:]))
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-3


def test_dates_that_do_not_lie_ahead_are_refused_with_the_cure():
    with pytest.raises(InputError, match=r"after the last one of the cube, 2019.*1 of the 2.*2019-01-01.*cube.sel"):
        lstm(irregular_cube(), times=["2021-01-01", "2019-01-01"], **QUICK)


@pytest.mark.parametrize("few", [[3], [3, 4]], ids=["one date", "two dates"])
def test_a_period_too_short_to_learn_from_is_refused(few):
    with pytest.raises(InputError, match=r"at least 10 steps of 10 days.*harmonic"):
        lstm(irregular_cube().isel(time=few), times="2021-01-01", **QUICK)


@pytest.mark.parametrize(
    "options", [{"step": 0}, {"hidden": 0}, {"hidden": 2.5}, {"lookback": 5}, {"max_batches": 0}], ids=str
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(InputError, match=next(iter(options))):
        lstm(irregular_cube(), times="2021-01-01", **{**QUICK, **options})

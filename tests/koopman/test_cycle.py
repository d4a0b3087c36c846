"""Sliding windows: one window where one is enough, closer to the truth where the land changes, and refused nonsense."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.errors import InputError
from s2koop.koopman.assimilation import Background, Prior, Window
from s2koop.koopman.cycle import spans
from s2koop.koopman.model_error import ModelError
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise
from s2koop.koopman.weak import refine

PARTS = ["mean", "spread", "spread_state"]


def swapped(cube: xr.DataArray) -> xr.DataArray:
    """From 2019 on each pixel has the season of another one."""
    later = cube.isel(x=slice(None, None, -1)).assign_coords(x=cube.x)
    return xr.where(cube.time < np.datetime64("2019-01-01"), cube, later).transpose(*cube.dims).assign_attrs(cube.attrs)


def test_windows_cover_every_date_and_answer_every_day_once():
    days = np.array([0.0, 4, 9, 11, 30, 31])
    asked = np.array([-5.0, 3, 12, 29, 40])
    found = spans(days, asked, 10, 5)
    covered = {date for span in found for date in range(span.first, span.stop)}
    assert covered == set(range(6))
    answered = [row for span in found for row in range(5)[span.asked]]
    assert answered == list(range(5))
    assert found[-1].handed == 6
    for one, following in itertools.pairwise(found):
        assert one.handed == following.first
    assert len(spans(days, asked, 31.5, 5)) == 1
    assert len(spans(days, asked, 31.0, 31.0)) == 2


@pytest.mark.parametrize("constraint", ["weak", "strong"])
def test_a_window_longer_than_the_series_is_the_single_one(cube, model, constraint):
    cube = cube.sel(time=slice("2019-06-01", None))
    expected = cube.koopman.assimilate(model, constraint=constraint, progress=False)
    found = cube.koopman.assimilate(model, constraint=constraint, window="5000D", shift="365D", progress=False)
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())


def test_posterior_as_prior_is_exact_where_all_is_linear():
    """Two halves in turn, with nothing forgotten and no memory between them, say what both say together."""
    torch.manual_seed(5)
    settings = KoopmanSettings(hidden=(), latent=4, derivative=False)
    network = KoopmanAutoencoder(2, settings).double().requires_grad_(False)
    background = Background(torch.randn(4).double(), torch.tril(torch.randn(4, 4)).double() + torch.eye(4).double())
    days, values = torch.arange(0.0, 60.0, 10.0).double(), torch.randn(3, 6, 2).double()
    values[1, 2] = torch.nan
    error = ModelError(torch.zeros(1).double(), torch.full((1, 2), 0.1).double(), torch.tensor([0.3, 0.2]).double())

    def solved(part: slice, prior: Prior | None = None) -> Prior:
        window = Window(network, values[:, part], days[part], background, error.noise, prior=prior)
        found = refine(window, minimise(window), error, robust=False)
        return Prior(found.u, found.precision)

    whole, halves = solved(slice(None)), solved(slice(3, None), solved(slice(3)))
    torch.testing.assert_close(halves.mean, whole.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(halves.precision, whole.precision, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("solver", ["levenberg-marquardt", "lbfgs"])
def test_all_solvers_know_the_prior(solver):
    torch.manual_seed(5)
    settings = KoopmanSettings(hidden=(), latent=4, derivative=False)
    network = KoopmanAutoencoder(2, settings).double().requires_grad_(False)
    background = Background(torch.zeros(4).double(), torch.eye(4).double())
    prior = Prior(torch.randn(3, 4).double(), torch.diag_embed(torch.rand(3, 4).double() + 0.5))
    values = torch.randn(3, 5, 2).double()
    window = Window(network, values, torch.arange(5.0).double(), background, torch.ones(2).double(), prior=prior)
    found = minimise(window, solver=solver, tolerance=1e-10)
    _, gradient = window.cost_and_gradient(found.u)
    assert float(gradient.abs().max()) < 1e-3
    nothing = torch.full_like(values, torch.nan)
    blind = Window(network, nothing, torch.arange(5.0).double(), background, torch.ones(2).double(), prior=prior)
    torch.testing.assert_close(minimise(blind, solver=solver).u, prior.mean)


@pytest.mark.parametrize("constraint", [pytest.param("weak", marks=pytest.mark.slow), "strong"])
def test_changed_land_is_tracked_better_by_windows(cube, truth, model, constraint):
    changed, expected = swapped(cube), swapped(truth)
    late = expected.sel(time=slice("2020-03-01", None))
    error = {}
    for window in (None, "365D"):
        found = changed.koopman.assimilate(model, window=window, constraint=constraint, progress=False)["mean"]
        error[window] = float(abs(found.sel(time=late.time) - late).mean())
    # with the weak constraint a single window follows it by departures, almost as well
    assert error["365D"] < {"weak": 1.0, "strong": 0.4}[constraint] * error[None]


def test_forecasts_come_from_the_last_window(cube, truth, model):
    until = swapped(cube).sel(time=slice(None, "2020-06-30"))
    late = swapped(truth).sel(time=slice("2020-07-01", None))
    error = [
        float(abs(until.koopman.forecast(model, times=late.time, progress=False, **how)["mean"] - late).mean())
        for how in ({}, {"window": "365D", "shift": "180D"})
    ]
    assert error[1] < 0.4 * error[0]


def test_lazy_and_eager_cubes_agree(cube, model):
    how = {"window": "400D", "shift": "200D", "times": cube.time.values[70:120:9]}
    few = cube.sel(time=slice("2018-11-01", "2020-06-30"))[:, :, :4, :5]
    eager = few.koopman.assimilate(model, progress=False, **how)
    lazy = few.chunk(time=20, y=2).koopman.assimilate(model, **how)
    assert lazy["mean"].chunks is not None
    xr.testing.assert_allclose(eager[PARTS], lazy[PARTS].compute(), rtol=3e-3, atol=3e-4)


def test_a_window_without_a_clear_date_keeps_what_was_known(cube, model):
    gap = cube.copy()
    gap[(cube.time.dt.year == 2019).values] = np.nan
    found = gap.koopman.assimilate(model, window="365D", progress=False)
    assert bool(np.isfinite(found["mean"]).all())
    inside, outside = (found["spread_state"].sel(time=year).mean() for year in ("2019", "2018"))
    assert float(inside) > float(outside)


def test_wrong_windows_are_refused(cube, model):
    with pytest.raises(InputError, match="no length of time"):
        cube.koopman.assimilate(model, window="long")
    with pytest.raises(InputError, match="length of time above zero"):
        cube.koopman.assimilate(model, window="-3D")
    with pytest.raises(InputError, match="leaves gaps"):
        cube.koopman.assimilate(model, window="100D", shift="200D")
    with pytest.raises(InputError, match="give their length too"):
        cube.koopman.assimilate(model, shift="200D")
    with pytest.raises(InputError, match="at most 1"):
        cube.koopman.assimilate(model, window="100D", forget=2)

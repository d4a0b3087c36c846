"""The state of a cube: exact where all is linear, close where it is not, and refused where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.errors import InputError, ModelError
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.joint import Joint, Lasting, Observer
from s2koop.koopman.model_error import ModelError as AnomalyError
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise
from s2koop.koopman.weak import refine

PARTS = ["mean", "spread", "spread_state"]


@pytest.fixture(scope="module")
def linear(cube):
    """A model whose decoder is linear, and whose filter trusts every observation."""
    past = cube.sel(time=slice(None, "2019-12-31"))
    return past.koopman.fit(steps=100, hidden=(), latent=4, robust=None, derivative=False, progress=False)


@pytest.fixture(scope="module")
def state(cube, model):
    return cube.sel(time=slice(None, "2019-12-31")).koopman.state(model, progress=False)


def test_joint_of_a_window_and_new_dates_is_the_joint_of_all_dates():
    torch.manual_seed(3)
    network = (
        KoopmanAutoencoder(2, KoopmanSettings(hidden=(), latent=4, derivative=False)).double().requires_grad_(False)
    )
    background = Background(torch.randn(4).double(), torch.tril(torch.randn(4, 4)).double() + torch.eye(4).double())
    days = torch.tensor([0.0, 3.0, 20.0, 21.0, 60.0, 200.0]).double()
    error = AnomalyError(
        torch.tensor([15.0, 0.0, 150.0]).double(),
        torch.tensor([[0.3, 0.1], [0.1, 0.2], [0.2, 0.5]]).double(),
        torch.tensor([0.1, 0.2]).double(),
    )
    values = torch.randn(3, 6, 2).double()
    values[1, 4] = torch.nan
    values[2, 3, 0] = torch.nan

    def joint(count: int) -> Joint:
        window = Window(network, values[:, :count], days[:count], background, error.noise)
        return Joint.posterior(refine(window, minimise(window), error, robust=False), days[count - 1 : count])

    moved, observer = joint(3), Observer(network, background, days)
    for date in range(3, 6):
        moved = moved.decayed(error, days[date : date + 1] - days[date - 1 : date])
        expected, rows = observer.expected(moved, date, error.loadings)
        seen = torch.isfinite(values[:, date])
        moved = moved.absorbed(values[:, date] - expected, rows, error.noise, seen, None)
    whole = joint(6)
    torch.testing.assert_close(moved.mean, whole.mean, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(moved.covariance, whole.covariance, atol=1e-3, rtol=1e-3)
    lasting = Lasting(4, error)
    again = lasting.unpack(*lasting.pack(moved))
    keep = torch.tensor([0, 1, 2, 3, 4, 6])
    torch.testing.assert_close(again.covariance[:, keep][:, :, keep], moved.covariance[:, keep][:, :, keep])
    assert float(again.covariance[0, 5, 5]) == 1


def test_a_linear_model_forecasts_from_a_state_as_from_all_dates(cube, linear):
    before = cube.sel(time=slice(None, "2019-12-31")).koopman.state(linear, scene=False, progress=False)
    after = before.koopman.update(cube.sel(time=slice("2020-01-01", "2020-06-30")), linear, progress=False)
    until = cube.sel(time=slice(None, "2020-06-30"))
    times = ["2020-07-03", "2020-09-01", "2021-02-01"]
    expected = until.koopman.forecast(linear, times=times, scene=False, progress=False)
    found = after.koopman.forecast(linear, times=times, progress=False)
    for name in PARTS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-2, atol=1e-3)
    assert after.attrs["last_date"] == str(until.time.values[-1].astype("datetime64[ns]"))


def test_a_state_forecasts_what_its_cube_forecasts(cube, model, state):
    times = ["2020-01-10", "2020-06-01"]
    expected = cube.sel(time=slice(None, "2019-12-31")).koopman.forecast(model, times=times, progress=False)
    found = state.koopman.forecast(model, times=times, progress=False)
    for name in PARTS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=2e-4)


def test_a_nonlinear_model_stays_close_to_all_dates_at_once(cube, truth, model):
    before = cube.sel(time=slice(None, "2017-06-30")).koopman.state(model, progress=False)
    after = cube.sel(time=slice("2017-07-01", "2018-06-30")).koopman.update(before, model, progress=False)
    times = truth.time.sel(time=slice("2018-07-01", "2018-12-31"))[::3].values
    until = cube.sel(time=slice(None, "2018-06-30"))
    whole = until.koopman.forecast(model, times=times, progress=False)
    moved, old = (part.koopman.forecast(model, times=times, progress=False) for part in (after, before))
    error = [float(abs(part["mean"] - truth.sel(time=times)).mean()) for part in (whole, moved, old)]
    assert float(abs(moved["mean"] - whole["mean"]).mean()) < 0.02 * float(whole["mean"].mean())
    assert error[1] < min(1.1 * error[0], 0.8 * error[2])
    np.testing.assert_allclose(moved["spread"].mean(), whole["spread"].mean(), rtol=0.05)


def test_lazy_and_eager_states_agree(cube, model, state):
    past, new = cube.sel(time=slice(None, "2019-12-31")), cube.sel(time=slice("2020-01-01", "2020-02-28"))
    lazy = past.chunk(time=20, y=3, x=5).koopman.state(model)
    assert lazy["covariance"].chunks is not None
    assert lazy["scene_anomaly"].chunks is not None
    moved = lazy.koopman.update(new.chunk(time=1, y=4), model)
    assert moved["latent"].chunks is not None
    times = ["2020-03-10"]
    expected = state.koopman.update(new, model, progress=False).koopman.forecast(model, times=times, progress=False)
    found = moved.koopman.forecast(model, times=times)
    assert found["mean"].chunks is not None
    xr.testing.assert_allclose(found.compute(), expected, rtol=2e-3, atol=2e-4)


def test_a_pixel_seen_for_the_first_time_starts_from_the_prior(cube, model):
    past = cube.sel(time=slice(None, "2019-12-31")).copy()
    past[:, :, 2, 3] = np.nan
    before = past.koopman.state(model, progress=False)
    assert np.isnan(float(before["last"][2, 3]))
    assert np.isnan(before.koopman.forecast(model, times=["2020-06-01"], progress=False)["mean"][0, :, 2, 3]).all()
    new = cube.sel(time=slice("2020-01-01", "2020-06-30"))
    after = before.koopman.update(new, model, progress=False).koopman.forecast(
        model, times=["2020-07-10"], progress=False
    )
    alone = new[:, :, 2:3, 3:4].koopman.forecast(model, times=["2020-07-10"], progress=False)
    assert bool(np.isfinite(after["mean"]).all())
    spreads = after["spread_state"][0, :, 2, 3].values, alone["spread_state"][0, :, 0, 0].values
    np.testing.assert_allclose(*spreads, rtol=0.5)


def test_a_scene_without_a_clear_pixel_only_lets_time_pass(cube, model, state):
    cloudy = cube.sel(time=["2020-01-10"], method="nearest").copy()
    cloudy[:] = np.nan
    after = state.koopman.update(cloudy, model, progress=False)
    times = ["2020-03-01"]
    xr.testing.assert_allclose(
        after.koopman.forecast(model, times=times, progress=False)[PARTS],
        state.koopman.forecast(model, times=times, progress=False)[PARTS],
        rtol=1e-3,
        atol=1e-4,
    )


def test_haze_of_a_new_scene_does_not_move_the_state(cube, model, state):
    new = cube.sel(time=slice("2020-01-01", "2020-01-31"))
    hazy = new.copy()
    hazy[1] = hazy[1] + 0.08
    times = ["2020-03-01"]
    clear, under = (
        state.koopman.update(scene, model, progress=False).koopman.forecast(model, times=times, progress=False)["mean"]
        for scene in (new, hazy)
    )
    assert float(abs(clear - under).mean()) < 0.02


def test_a_state_survives_a_file(state, model, tmp_path):
    state.to_netcdf(tmp_path / "state.nc")
    again = xr.open_dataset(tmp_path / "state.nc")
    times = ["2020-03-01"]
    xr.testing.assert_allclose(
        again.koopman.forecast(model, times=times, progress=False)[PARTS],
        state.koopman.forecast(model, times=times, progress=False)[PARTS],
    )


def test_what_does_not_fit_a_state_is_refused(cube, model, linear, state):
    new = cube.sel(time=slice("2020-01-01", "2020-02-01"))
    with pytest.raises(InputError, match="not after 2019-1"):
        state.koopman.update(cube, model)
    with pytest.raises(ModelError, match="give the model that made it"):
        state.koopman.update(new, linear)
    with pytest.raises(InputError, match="pixels along y"):
        state.koopman.update(new[:, :, :3], model)
    with pytest.raises(InputError, match="x coordinates"):
        state.koopman.update(new.assign_coords(x=new.x + 20), model)
    with pytest.raises(InputError, match="is before"):
        state.koopman.forecast(model, times=["2019-01-01"])
    with pytest.raises(InputError, match=r"expected a state from cube\.koopman\.state"):
        new.to_dataset(name="a").koopman.forecast(model, times=["2020-03-01"])
    with pytest.raises(InputError, match="lost its attributes"):
        state.drop_attrs().koopman.forecast(model, times=["2020-03-01"])

"""The state of a cube: exact where all is linear, close where it is not, and refused where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.errors import InputError, ModelError
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.departures import departures
from s2koop.koopman.joint import Joint, Lasting, Observer
from s2koop.koopman.model_error import ModelError as AnomalyError
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.scene import DateEffects
from s2koop.koopman.scene_tables import BAND
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise
from s2koop.koopman.state import _scene_state, scene_of
from s2koop.koopman.weak import refine

PARTS = ["mean", "spread", "spread_state"]


@pytest.fixture(scope="module")
def linear(cube, few_origins):
    """A model whose decoder is linear, and whose filter trusts every observation."""
    past = cube.sel(time=slice(None, "2019-12-31"))
    return past.koopman.fit(steps=100, hidden=(), latent=4, robust=None, derivative=False, progress=False)


@pytest.fixture(scope="module")
def state(cube, model):
    return cube.sel(time=slice(None, "2019-12-31")).koopman.state(model, progress=False)


@pytest.fixture(scope="module")
def changed(cube, truth):
    """The cube and its truth, in which each pixel has the season of another one from 2019 on: no training pixel did."""
    cut = np.datetime64("2019-01-01")
    found = []
    for source in (cube, truth):
        other = source.isel(x=slice(None, None, -1)).assign_coords(x=source.x)
        found.append(xr.where(source.time < cut, source, other).transpose(*source.dims).assign_attrs(cube.attrs))
    return found


@pytest.fixture(scope="module", params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["scene", "alone"])
def departed(request, changed, model):
    """Whether a scene is shared, and the state of changed land in April of its second year."""
    past = changed[0].sel(time=slice(None, "2020-04-30"))
    return request.param, past.koopman.state(model, scene=request.param, progress=False)


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
    lasting = Lasting(4, error)
    values = torch.randn(3, 6, 2).double()
    values[1, 4] = torch.nan
    values[2, 3, 0] = torch.nan

    def joint(count: int) -> Joint:
        window = Window(network, values[:, :count], days[:count], background, error.noise)
        found = refine(window, minimise(window), error, robust=False)
        return Joint.posterior(found, days[count - 1 : count], lasting.usual(found.size))

    moved, observer = joint(3), Observer(network, background, days)
    for date in range(3, 6):
        moved = moved.decayed(error, days[date : date + 1] - days[date - 1 : date])
        expected, rows = observer.expected(moved, date, error.loadings)
        seen = torch.isfinite(values[:, date])
        moved = moved.absorbed(values[:, date] - expected, rows, error.noise, seen, None)
    whole = joint(6)
    torch.testing.assert_close(moved.mean, whole.mean, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(moved.covariance, whole.covariance, atol=1e-3, rtol=1e-3)
    again = lasting.unpack(*lasting.pack(moved), torch.zeros(3).double())
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


def test_a_state_of_land_that_departs_forecasts_what_its_cube_forecasts(changed, model, departed):
    scene, before = departed
    assert float((before["departure_size"] > 0).mean()) > 0.5
    times = ["2020-05-02", "2020-07-01"]
    past = changed[0].sel(time=slice(None, "2020-04-30"))
    expected = past.koopman.forecast(model, times=times, scene=scene, progress=False)
    found = before.koopman.forecast(model, times=times, progress=False)
    for name in PARTS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_what_departs_matters_to_a_forecast(changed, model, departed):
    _, before = departed
    nothing = {name: xr.zeros_like(before[name]) for name in ("departure", "departure_covariance", "departure_size")}
    found, without = (
        state.koopman.forecast(model, times=["2020-05-02"], progress=False)
        for state in (before, before.assign(nothing))
    )
    near = changed[1].sel(time=["2020-05-02"], method="nearest")
    error, blind = (float(abs(part["mean"].values - near.values).mean()) for part in (found, without))
    assert error < 0.8 * blind
    assert float(found["spread_state"].mean()) > 1.3 * float(without["spread_state"].mean())


def test_new_dates_move_departures_as_the_whole_window_would(changed, model, departed):
    scene, before = departed
    seen, truth = changed
    after = before.koopman.update(seen.sel(time=slice("2020-05-01", "2020-06-15")), model, progress=False)
    np.testing.assert_array_equal(after["departure_size"], before["departure_size"])
    times = truth.time.sel(time=slice("2020-06-16", "2020-07-20")).values
    until = seen.sel(time=slice(None, "2020-06-15"))
    whole = until.koopman.forecast(model, times=times, scene=scene, progress=False)
    moved, old = (part.koopman.forecast(model, times=times, progress=False) for part in (after, before))
    apart = [float(np.sqrt(((part["mean"] - whole["mean"]) ** 2).mean())) for part in (moved, old)]
    assert apart[0] < 0.3 * apart[1]
    np.testing.assert_allclose(moved["spread_state"].mean(), whole["spread_state"].mean(), rtol=0.1)
    error = [float(abs(part["mean"] - truth.sel(time=times)).mean()) for part in (whole, moved, old)]
    assert error[1] < min(1.1 * error[0], 0.8 * error[2])


def test_a_scene_that_departs_is_carried_on(model):
    """Forty days ahead of effects that wander further than the scene's own anomalies do."""
    days = 5.0 * np.arange(60)
    wave = np.sin(days / 25)[:, None] * np.array([1.0, -0.5])
    effect = xr.DataArray(wave.astype(np.float32), dims=("own_time", BAND))
    before = _scene_state(effect, model, model, days, "cpu")
    assert float(before["scene_departure_size"]) > 0
    own, asked = (torch.as_tensor(part, dtype=torch.float32) for part in (days, [300.0, 335.0]))
    further = departures(model.network, model.background)
    seen = torch.from_numpy(effect.values)
    whole = DateEffects(own, seen, torch.ones_like(seen, dtype=torch.bool), further)
    mean, variance = whole.lasting(model.uncertainty.scene, asked)
    lasting = scene_of(model)
    scene = lasting.unpack(*(torch.from_numpy(part.values)[None] for part in before.values()))
    loadings = lasting.error.lasting()
    for number, ahead in enumerate(asked - own[-1]):
        later = scene.decayed(lasting.error, ahead[None])
        torch.testing.assert_close(later.x @ loadings, mean[number : number + 1])
        found = torch.einsum("ib,pij,jb->pb", loadings, later.covariance, loadings)
        torch.testing.assert_close(found, variance[number : number + 1])


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
    lazy = past.chunk(time=20, y=5, x=5).koopman.state(model)
    assert lazy["covariance"].chunks is not None
    assert lazy["scene_anomaly"].chunks is not None
    moved = lazy.koopman.update(new.chunk(time=1, y=4), model)
    assert moved["latent"].chunks is not None
    times = ["2020-03-10"]
    expected = state.koopman.update(new, model, progress=False).koopman.forecast(model, times=times, progress=False)
    found = moved.koopman.forecast(model, times=times)
    assert found["mean"].chunks is not None
    xr.testing.assert_allclose(found.compute(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.slow  # the quick twin shares all but the departures
def test_lazy_and_eager_departures_agree(changed, model):
    past = changed[0].sel(time=slice(None, "2020-04-30"))
    new = changed[0].sel(time=slice("2020-05-01", "2020-05-31"))
    times = ["2020-06-10"]
    eager = past.koopman.state(model, progress=False)
    lazy = past.chunk(time=20, y=5).koopman.state(model)
    assert lazy["departure_covariance"].chunks is not None
    assert lazy["scene_departure_size"].chunks is not None
    found = lazy.koopman.update(new.chunk(time=1, y=4), model).koopman.forecast(model, times=times)
    assert found["mean"].chunks is not None
    expected = eager.koopman.update(new, model, progress=False).koopman.forecast(model, times=times, progress=False)
    xr.testing.assert_allclose(found.compute(), expected, rtol=2e-3, atol=2e-4)
    np.testing.assert_array_equal(lazy["departure_size"], eager["departure_size"])


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
    with pytest.raises(InputError, match=r"lacks \['departure_size'\].*make it again"):
        state.drop_vars("departure_size").koopman.forecast(model, times=["2020-03-01"])
    with pytest.raises(InputError, match=r"lacks \['scene_departure_size'\]"):
        state.drop_vars("scene_departure_size").koopman.update(new, model)
    with pytest.raises(InputError, match="lost its attributes"):
        state.drop_attrs().koopman.forecast(model, times=["2020-03-01"])

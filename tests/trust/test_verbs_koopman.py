"""Every verb of ``.koopman`` on any cube: the laws, what they found, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from s2koop.errors import InputError, S2koopError
from s2koop.koopman.scene_tables import own_tasks
from s2koop.simulate import seasonal_cube
from tests.trust.laws import Verb, is_lazy, obey, without_counts
from tests.trust.small import koopman_model as model
from tests.trust.strategies import FAULTS, broken, examples

ASKED = ["2018-06-01", "2019-01-15", "2020-02-02"]
#: Float32 sums over other tiles differ in their last digits, and a minimiser may stop an iteration earlier for that.
NEAR = {"rtol": 2e-3, "atol": 1e-4}
FIXED = frozenset({"pixels", "dates", "bands"})


def analysed(**options):
    return lambda cube: without_counts(cube.koopman.assimilate(model(), times=ASKED, progress=False, **options))


VERBS = {
    "assimilate": Verb(analysed(), **NEAR),
    "assimilate, strong": Verb(analysed(constraint="strong", scene=False), **NEAR),
    "assimilate, windows": Verb(analysed(window="300D", scene=False), **NEAR),
    "assimilate, neighbours": Verb(
        analysed(as_observed=True, spatial="tikhonov"), only=frozenset({"unseen", "bands"}), **NEAR
    ),
    "forecast": Verb(lambda cube: without_counts(cube.koopman.forecast(model(), steps=2, progress=False)), **NEAR),
    "interpolate": Verb(
        lambda cube: without_counts(cube.koopman.interpolate(model(), times=cube["time"].values[:1], progress=False)),
        **NEAR,
    ),
    "spectrum": Verb(lambda cube: cube.koopman.spectrum(model(), progress=False), **NEAR),
    # a pixel that was never seen has the prior
    "state": Verb(lambda cube: cube.koopman.state(model(), progress=False), only=FIXED, **NEAR),
    "state, forecast": Verb(
        lambda cube: cube.koopman.state(model(), progress=False).koopman.forecast(
            model(), times=["2022-01-01"], progress=False
        ),
        **NEAR,
    ),
    "state, update": Verb(
        lambda cube: cube.isel(time=slice(-1)).koopman.state(model(), progress=False).koopman.update(
            cube.isel(time=[-1]), model(), progress=False
        ),
        only=frozenset({"pixels", "bands"}), cubes={"least_dates": 3}, **NEAR,
    ),
    "monitor": Verb(
        lambda cube: cube.koopman.monitor(model(), start=str(cube["time"].values[-1]), progress=False)[
            ["score", "flag"]
        ],
        cubes={"least_dates": 3}, **NEAR,
    ),
    "embed": Verb(lambda cube: model().embed(cube, progress=False), **NEAR),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
@examples(2)
@given(data=st.data())
def test_a_verb_obeys_the_laws_on_any_cube(name, data):
    obey(VERBS[name], data)


@examples(2)
@given(data=st.data())
def test_a_fit_is_the_same_in_chunks_and_leaves_its_cube_alone(data):
    cube = seasonal_cube(seed=data.draw(st.integers(0, 9)), every_days=40, shape=(3, 3))
    before = cube.copy(deep=True)
    options = {"steps": 1, "hidden": (4,), "latent": 2, "progress": False}
    wanted = cube.koopman.fit(**options)
    xr.testing.assert_identical(cube, before)
    chunked = cube.chunk(data.draw(st.sampled_from([{"x": 1}, {"time": 5}, {"band": 1, "y": 2}])))
    assert chunked.koopman.fit(**options).digest == wanted.digest


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_cube_is_refused_by_every_verb(fault):
    good = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    bad = broken(good, fault)
    verbs = {
        "embed": lambda cube: model().embed(cube, progress=False),
        "fit": lambda cube: cube.koopman.fit(steps=1, hidden=(4,), latent=2, progress=False),
        "assimilate": lambda cube: cube.koopman.assimilate(model(), times=ASKED, progress=False),
        "forecast": lambda cube: cube.koopman.forecast(model(), steps=2, progress=False),
        "interpolate": lambda cube: cube.koopman.interpolate(model(), freq="50D", progress=False),
        "spectrum": lambda cube: cube.koopman.spectrum(model(), progress=False),
        "state": lambda cube: cube.koopman.state(model(), progress=False),
        "update": lambda cube: good[:2].koopman.state(model(), progress=False).koopman.update(cube, model()),
        "monitor": lambda cube: cube.koopman.monitor(model(), start="2020-01-01", progress=False),
    }
    if not isinstance(bad, xr.DataArray):
        verbs = {name: verbs[name] for name in ("embed", "update")}  # nothing else has the accessor
    if fault == "an unknown band":
        del verbs["fit"]  # which learns any
    for verb in verbs.values():
        with pytest.raises(S2koopError):
            verb(bad)


@pytest.mark.parametrize("dim", ["time", "band", "y", "x"])
def test_a_view_of_a_cube_that_runs_backwards_is_read(dim):
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    turned = cube.isel({dim: slice(None, None, -1)}).copy(deep=True).isel({dim: slice(None, None, -1)})
    assert any(stride < 0 for stride in turned.values.strides)
    found = turned.koopman.assimilate(model(), times=ASKED, progress=False)
    xr.testing.assert_allclose(found, cube.koopman.assimilate(model(), times=ASKED, progress=False), rtol=1e-3)


def test_tasks_of_its_own_share_none_with_the_array_they_repeat():
    cube = seasonal_cube(seed=0, every_days=40, shape=(4, 4)).chunk({"time": 5, "y": 2})
    array = cube.where(cube < 0.9).isel(x=slice(None, None, 2)).data.rechunk({1: 1})[1:]
    twin = own_tasks(array)
    assert not set(twin.dask) & set(array.dask)
    np.testing.assert_array_equal(twin.compute(scheduler="sync"), array.compute(scheduler="sync"))


def test_a_cube_in_one_chunk_is_watched_lazily():
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    found = cube.chunk().koopman.monitor(model(), start="2020-06-01", progress=False)
    assert is_lazy(found)
    wanted = cube.koopman.monitor(model(), start="2020-06-01", progress=False)
    xr.testing.assert_equal(found["flag"].compute(), wanted["flag"])


def test_neighbours_are_asked_when_a_result_is_computed_and_not_before():
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))

    def read(block):
        raise AssertionError("a pixel was read")

    lazy = cube.chunk()
    watched = lazy.copy(data=lazy.data.map_blocks(read, dtype=cube.dtype, meta=np.empty((0,) * 4, "f4")))
    found = watched.koopman.assimilate(model(), times=ASKED, as_observed=True, spatial="tv", progress=False)
    assert is_lazy(found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_an_image_smaller_than_a_neighbourhood_has_neighbours_all_the_same(shape):
    cube = seasonal_cube(seed=0, every_days=40, shape=shape)
    found = cube.koopman.assimilate(model(), times=ASKED, as_observed=True, spatial="tikhonov", progress=False)
    assert np.isfinite(found["mean"]).all()


@pytest.mark.parametrize("fill", [-9999.0, -32768.0, 1e20, np.inf, -np.inf])
def test_a_fill_value_is_a_gap(fill):
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    gaps = np.random.default_rng(0).random(cube.shape) < 0.4
    gaps[:, :, 0, 0] = True
    wanted = cube.where(~gaps).koopman.assimilate(model(), times=ASKED, progress=False)
    xr.testing.assert_equal(cube.where(~gaps, fill).koopman.assimilate(model(), times=ASKED, progress=False), wanted)
    assert wanted["mean"][:, :, 0, 0].isnull().all()


def test_one_saturated_pixel_in_a_block_of_its_own_is_no_scene_of_digital_numbers():
    cube = seasonal_cube(seed=0, every_days=40, shape=(2, 2))
    cube[:, :, 0, 0] = np.nan
    cube[3, :, 0, 0] = 6.5535
    found = cube.chunk({"y": 1, "x": 1}).koopman.assimilate(model(), times=ASKED, progress=False).compute()
    assert np.isfinite(found["mean"]).all()
    with pytest.raises(InputError, match="digital numbers|dtype"):
        (seasonal_cube(seed=0, shape=(2, 2)) * 1e4).chunk().koopman.assimilate(model(), progress=False).compute()


def test_a_date_that_saw_nothing_moves_a_state_on_and_raises_no_alarm():
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    cube[-1] = np.nan
    state = cube[:-1].koopman.state(model(), progress=False)
    moved = state.koopman.update(cube[-1:], model(), progress=False)
    xr.testing.assert_equal(moved["last"], state["last"])
    unseen = xr.full_like(cube[:-2], np.nan).koopman.state(model(), progress=False)
    assert np.isfinite(unseen.koopman.update(cube[-2:-1], model(), progress=False)["latent"]).all()
    found = cube.koopman.monitor(model(), start=str(cube["time"].values[-1])[:10], progress=False)
    assert (found["flag"] == -1).all()

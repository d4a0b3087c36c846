"""Monitoring: finds cuts and their dates, keeps quiet before them and about haze, and says what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop.errors import InputError
from s2koop.simulate import seasonal_cube

CUT = np.datetime64("2020-06-01")


@pytest.fixture(scope="module")
def disturbed():
    """Other pixels of the model's land: six columns are cut in June, the south of it has haze on one date before."""
    cube = seasonal_cube(shape=(12, 16), start="2017-01-01", end="2020-12-31", seed=4)
    cut, hazy = cube.time >= CUT, cube.time == cube.time.sel(time="2020-04-10", method="nearest")
    lost = 0.12 * (cut & (cube.band == "B08") & (cube.x < cube.x[6]))
    haze = 0.08 * (hazy & (cube.y < cube.y[5]))
    return (cube - lost + haze).transpose(*cube.dims).astype(np.float32).assign_attrs(level="BOA")


@pytest.fixture(scope="module")
def found(disturbed, model):
    return disturbed.koopman.monitor(model, start="2020-01-01", progress=False)


@pytest.fixture(scope="module")
def is_cut(disturbed):
    return np.broadcast_to(np.arange(disturbed.sizes["x"]) < 6, (disturbed.sizes["y"], disturbed.sizes["x"]))


def test_a_cut_is_found_within_three_clear_dates(disturbed, found, is_cut):
    clear = disturbed.sel(time=slice(CUT, None)).notnull().all("band")
    third = clear["time"].values[(clear.cumsum("time") >= 3).argmax("time").values]
    detected = found["break_date"].values
    good = (detected >= CUT) & (detected <= third)
    assert good[is_cut].mean() > 0.9
    assert np.isnat(detected[~is_cut]).mean() > 0.98
    size = found["magnitude"].values[:, good & is_cut]
    np.testing.assert_allclose(np.median(size, axis=1), [0.0, -0.12], atol=0.02)
    assert np.isnan(found["magnitude"].values[:, np.isnat(detected)]).all()


def test_false_alarms_are_as_rare_as_was_asked(disturbed, found, model):
    before = found["flag"].sel(time=slice(None, "2020-04-01"))
    seen = before >= 0
    assert bool((seen == disturbed.sel(time=before.time).notnull().any("band")).all())
    rate = float((before == 1).sum() / seen.sum())
    assert 0.001 < rate < 0.03
    often = disturbed.koopman.monitor(model, start="2020-01-01", level=0.8, progress=False)["flag"]
    often = often.sel(time=before.time)
    assert 0.12 < float((often == 1).sum() / seen.sum()) < 0.32


def test_haze_of_one_date_is_flagged_and_breaks_nothing(disturbed, found):
    hazy = found["flag"].sel(time="2020-04-10", method="nearest")
    under = (disturbed.y < disturbed.y[5]) & (hazy >= 0)
    assert float((hazy == 1).where(under).mean()) > 0.9
    breaks = found["break_date"].values
    assert not (breaks < CUT).any()
    assert not (found["consecutive"] < 0).any()


def test_what_is_flagged_is_held_back_until_it_is_confirmed(disturbed, model):
    """Without confirmation to come, every date after the cut stays as strange as the first."""
    never = disturbed.isel(x=slice(0, 4)).koopman.monitor(
        model, start="2020-01-01", confirm=99, scene=False, progress=False
    )
    late = never.sel(time=slice("2020-11-01", None))
    assert float((late["flag"] == 1).where(late["flag"] >= 0).mean()) > 0.9
    assert bool(never["break_date"].isnull().all())
    assert int(never["consecutive"].median()) > 5
    soon = disturbed.isel(x=slice(0, 4)).koopman.monitor(model, start="2020-01-01", scene=False, progress=False)
    late = soon.sel(time=slice("2020-11-01", None))
    assert float((late["flag"] == 1).where(late["flag"] >= 0).mean()) < 0.2


def test_lazy_and_eager_cubes_agree(disturbed, found, model):
    lazy = disturbed.chunk(time=30, y=7, x=9).koopman.monitor(model, start="2020-01-01")
    assert lazy["flag"].chunks is not None
    lazy = lazy.compute()
    assert float((lazy["flag"] == found["flag"]).mean()) > 0.999
    assert float((lazy["break_date"] == found["break_date"]).sum()) >= 0.99 * float(found["break_date"].notnull().sum())
    assert bool((lazy["score"].notnull() == found["score"].notnull()).all())
    apart = abs(lazy["score"] - found["score"]) / (1 + found["score"])  # minima are found to a tolerance
    assert float(apart.quantile(0.99)) < 0.02
    assert float(apart.max()) < 0.2


def test_result_says_what_it_holds(found):
    assert found["flag"].dtype == np.int8
    assert found["flag"].attrs["flag_meanings"] == "unobserved usual unusual"
    assert found["break_date"].dtype == np.dtype("datetime64[ns]")
    assert found["score"].attrs["units"] == "1"
    assert (found.attrs["flag_level"], found.attrs["confirm"]) == (0.99, 3)
    assert found.attrs["level"] == "BOA"  # of the reflectance


def test_wrong_requests_are_refused(disturbed, model):
    watch = disturbed.koopman.monitor
    with pytest.raises(InputError, match="leaves 0 dates to learn"):
        watch(model, start="2010-01-01")
    with pytest.raises(InputError, match="and 0 to watch"):
        watch(model, start="2030-01-01")
    with pytest.raises(InputError, match="give the one from which on"):
        watch(model, start=["2020-01-01", "2020-02-01"])
    with pytest.raises(InputError, match="must be below one"):
        watch(model, start="2020-01-01", level=1.0)
    with pytest.raises(InputError, match="confirm=0"):
        watch(model, start="2020-01-01", confirm=0)


@pytest.mark.slow
def test_breaks_of_a_real_forest_look_like_lost_leaves(shared_data):
    """Romania 2019 and 2020: few pixels break, and those lose near infrared and gain shortwave infrared."""
    with xr.open_dataset(shared_data("s2_timeseries_ro_nrt_20m.nc")) as data:
        values = (data["reflectance"].where((data["mask"] == 1) & (data["reflectance"] > 0)) / 10000).astype(np.float32)
        cube = values.transpose("time", "band", "y", "x").sortby("time").dropna("time", how="all").load()
    cube = cube.assign_attrs(level="BOA")
    past = cube.sel(time=slice(None, "2018-12-31"))
    model = past.koopman.fit(steps=400, hidden=(64,), latent=16, max_pixels=1500, progress=False)
    found = cube[:, :, ::2, ::2].koopman.monitor(model, start="2019-01-01", progress=False)
    broken = found["break_date"].notnull()
    assert 0.005 < float(broken.mean()) < 0.25
    size = found["magnitude"].where(broken).median(("y", "x"))
    assert float(size.sel(band="B8A")) < -0.02
    assert float(size.sel(band="B11")) > 0.02
    flags = found["flag"]
    assert float((flags == 1).sum() / (flags >= 0).sum()) < 0.2

"""What every baseline promises, whatever its method."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop import baselines
from s2koop.errors import InputError, ReflectanceWarning
from tests.baselines.cubes import ASKED, LEARNED, NAMES, irregular_cube


@pytest.fixture(params=NAMES)
def baseline(request: pytest.FixtureRequest):
    return getattr(baselines, request.param)


def test_every_public_baseline_is_tested():
    assert sorted(baselines.__all__) == sorted([*NAMES, *LEARNED])


def test_result_has_the_shape_dtype_and_words_of_a_result(baseline):
    cube = irregular_cube()
    result = baseline(cube, times=ASKED)
    assert set(result.data_vars) == {"mean", "spread"}
    for name in ("mean", "spread"):
        assert result[name].dims == ("time", "band", "y", "x")
        assert result[name].dtype == np.float32
        assert result[name].attrs["units"] == "1"
        assert result[name].attrs["level"] == "BOA"
        assert result[name].attrs["long_name"]
    assert (result.time.values == ASKED.values).all()
    assert result.rio.crs.to_epsg() == 32635
    assert result["mean"].rio.crs.to_epsg() == 32635
    for name in ("band", "y", "x", "common_name"):
        xr.testing.assert_identical(result[name].drop_vars("spatial_ref"), cube[name].drop_vars("spatial_ref"))
    assert "cloud_cover" not in result.coords
    assert result.attrs["model"] == baseline.__name__
    assert isinstance(json.loads(result.attrs["options"]), dict)
    assert result.attrs["history"].startswith("simulated\ns2koop.baselines.")


@pytest.mark.parametrize(
    "chunks",
    [{"time": 7, "band": 1, "y": 2, "x": 3}, {"time": -1, "y": 1}, {"time": 13}],
    ids=["all dims", "whole series", "time only"],
)
def test_lazy_and_eager_give_the_same_numbers(baseline, chunks):
    cube = irregular_cube()
    lazy = baseline(cube.chunk(chunks), times=ASKED)
    assert isinstance(lazy["mean"].data, da.Array)
    assert isinstance(lazy["spread"].data, da.Array)
    xr.testing.assert_allclose(lazy.compute(), baseline(cube, times=ASKED), rtol=1e-6)


def test_lazy_call_reads_no_pixel(baseline):
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    cube = irregular_cube().chunk({"time": 10, "x": 2})
    watched = cube.copy(data=cube.data.map_blocks(read, dtype=cube.dtype, meta=np.empty((0,) * 4, cube.dtype)))
    result = baseline(watched, times=ASKED)
    assert reads == []
    result.compute()
    assert len(reads) == cube.data.npartitions


def test_rechunking_whole_series_keeps_blocks_bounded(baseline):
    import dask

    big = xr.DataArray(
        da.full((40, 2, 300, 300), 0.2, chunks=(1, 2, 300, 300), dtype=np.float32),
        dims=("time", "band", "y", "x"),
        coords={"time": pd.date_range("2020-01-01", periods=40, freq="10D")},
    )
    with dask.config.set({"array.chunk-size": "2MiB"}):
        result = baseline(big, times=["2021-03-01"])
    rows = [max(result.chunksizes[d]) for d in ("band", "y", "x")]
    assert 40 * np.prod(rows) * 4 <= 2 * 2**20


def test_no_usable_value_is_missing_and_one_has_no_spread(baseline):
    result = baseline(irregular_cube(), times=ASKED)
    assert result.isel(y=0, x=0).to_array().isnull().all()
    single = result.isel(y=0, x=1)
    assert single["spread"].isnull().all()
    known = single["mean"].values[np.isfinite(single["mean"].values)]
    assert known.size
    np.testing.assert_allclose(known, 0.25, rtol=1e-6)


def test_spread_is_positive_wherever_a_richly_observed_pixel_is_predicted(baseline):
    result = baseline(irregular_cube(), times=ASKED).isel(y=slice(1, None))
    assert result["mean"].notnull().any()
    assert (result["spread"].notnull() == result["mean"].notnull()).all()
    assert (result["spread"].values[result["mean"].notnull().values] > 0).all()


def test_a_date_is_given_the_same_whichever_others_are_asked(baseline):
    cube = irregular_cube()
    together = baseline(cube, times=ASKED)
    for number, date in enumerate(ASKED):
        xr.testing.assert_allclose(baseline(cube, times=date), together.isel(time=[number]), rtol=1e-6)


def test_pixels_are_independent(baseline):
    cube = irregular_cube()
    there_and_back = baseline(cube.isel(x=[2, 0, 3, 1]), times=ASKED).isel(x=[1, 3, 0, 2])
    xr.testing.assert_allclose(there_and_back, baseline(cube, times=ASKED), rtol=1e-6)


def test_only_what_is_in_the_cube_is_used(baseline):
    cube = irregular_cube()
    before = cube.copy(deep=True)
    cut = cube.sel(time=slice(None, "2018"))
    spoiled = cube.where(cube.time < np.datetime64("2019-01-01"), 9.0)
    first = baseline(cut, times=ASKED)
    xr.testing.assert_identical(baseline(spoiled.sel(time=slice(None, "2018")), times=ASKED), first)
    xr.testing.assert_identical(cube, before)


def test_more_series_than_one_batch_of_the_kernel(baseline, monkeypatch):
    cube = irregular_cube()
    whole = baseline(cube, times=ASKED)
    monkeypatch.setattr("s2koop.baselines._apply._SERIES", 5)
    xr.testing.assert_allclose(baseline(cube, times=ASKED), whole, rtol=1e-6)


def test_a_bare_series_and_float64_are_welcome(baseline):
    cube = irregular_cube()
    series = cube.isel(band=1, y=2, x=2)
    result = baseline(series.astype(np.float64), times=ASKED)
    assert result["mean"].dims == ("time",)
    assert result["mean"].dtype == np.float32
    np.testing.assert_allclose(result["mean"], baseline(cube, times=ASKED)["mean"][:, 1, 2, 2], rtol=1e-5)


def test_a_cube_of_one_date(baseline):
    cube = irregular_cube().isel(time=[3])
    result = baseline(cube, times=["2017-01-01", "2019-01-01"])
    there = result["mean"].notnull()
    expected = cube.isel(time=0, drop=True).broadcast_like(result["mean"])
    np.testing.assert_allclose(result["mean"].values[there], expected.values[there], rtol=1e-6)
    assert result["spread"].isnull().all()


def test_times_may_be_coordinates_strings_or_one_date(baseline):
    cube = irregular_cube()
    wanted = baseline(cube, times=["2018-03-01", "2019-09-09"])
    for times in (wanted.time, wanted.time.values, list(wanted.time.values), wanted.indexes["time"]):
        xr.testing.assert_identical(baseline(cube, times=times), wanted)
    mixed = ["2018-03-01T00:00Z", "2019-09-09T02:00+02:00"]
    xr.testing.assert_identical(baseline(cube, times=mixed), wanted)
    assert baseline(cube, times="2018-03-01").sizes["time"] == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda cube: cube.values, "expected an xarray.DataArray"),
        (lambda cube: cube.to_dataset(), "found Dataset"),
        (lambda cube: cube.isel(time=0), "found dims"),
        (lambda cube: cube.drop_vars("time"), "found dims"),
        (lambda cube: cube.assign_coords(time=range(60)), "int64; use pd.to_datetime"),
        (lambda cube: cube.isel(time=slice(0)), "no date at all"),
        (lambda cube: (cube.fillna(0) * 1e4).astype("uint16"), "found uint16"),
        (lambda cube: cube.isel(time=slice(None, None, -1)), "sortby"),
    ],
)
def test_a_cube_that_cannot_be_used_is_refused_with_the_cure(baseline, spoil, words):
    with pytest.raises(InputError, match=words):
        baseline(spoil(irregular_cube()), times=ASKED)


def test_digital_numbers_are_pointed_out(baseline):
    digital = irregular_cube() * 1e4
    with pytest.warns(ReflectanceWarning, match="median of the cube is [23].*digital numbers") as caught:
        baseline(digital, times=ASKED)
    assert caught[0].filename == __file__
    baseline(digital.assign_attrs(units="K"), times=ASKED)  # a warning is an error here
    baseline(digital.chunk(x=2), times=ASKED)


@pytest.mark.parametrize("times", ["2019-01-01/2019-03-01", 2020, irregular_cube()], ids=["period", "year", "cube"])
def test_times_of_another_kind_are_refused(baseline, times):
    with pytest.raises(InputError, match="times "):
        baseline(irregular_cube(), times=times)


@pytest.mark.parametrize("times", [[], ["soon"], [np.datetime64("NaT")], None])
def test_dates_that_are_none_are_refused(baseline, times):
    with pytest.raises(InputError, match=r"dates|date"):
        baseline(irregular_cube(), times=times)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("harmonic", {"harmonics": -1}),
        ("harmonic", {"harmonics": 1.5}),
        ("harmonic", {"ridge": -0.1}),
        ("harmonic", {"ridge": float("nan")}),
        ("harmonic", {"robust": "yes"}),
        ("whittaker", {"smoothing": 0.0}),
        ("whittaker", {"smoothing": "best"}),
        ("whittaker", {"order": 5}),
        ("whittaker", {"step": 0}),
        ("same_day_last_year", {"reach": -1}),
    ],
)
def test_options_out_of_range_are_refused_by_name(name, options):
    with pytest.raises(InputError, match=next(iter(options))):
        getattr(baselines, name)(irregular_cube(), times=ASKED, **options)


@pytest.mark.parametrize("name", ["harmonic", "whittaker"])
def test_no_trust_is_the_same_as_missing(name):
    cube = irregular_cube()
    rng = np.random.default_rng(1)
    weights = cube.copy(data=(rng.random(cube.shape) < 0.6).astype(float))
    method = getattr(baselines, name)
    wanted = method(cube.where(weights > 0), times=ASKED)
    xr.testing.assert_allclose(method(cube, times=ASKED, weights=weights), wanted, rtol=1e-5)
    chunked = method(cube.chunk({"x": 2, "time": 9}), times=ASKED, weights=weights.chunk({"y": 1, "time": 5}))
    xr.testing.assert_allclose(chunked.compute(), wanted, rtol=1e-5)


@pytest.mark.parametrize("name", ["harmonic", "whittaker"])
def test_weights_per_date_hold_for_all_pixels(name):
    cube = irregular_cube()
    rng = np.random.default_rng(2)
    per_date = xr.DataArray(rng.uniform(0.1, 1, cube.sizes["time"]), dims="time", coords={"time": cube.time})
    method = getattr(baselines, name)
    eager = method(cube, times=ASKED, weights=per_date)
    xr.testing.assert_allclose(method(cube, times=ASKED, weights=per_date.broadcast_like(cube)), eager)
    lazy = method(cube.chunk({"y": 1}), times=ASKED, weights=per_date)
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-6)


def test_weights_that_do_not_fit_are_refused():
    cube = irregular_cube()
    for weights in (np.ones(60), cube.isel(time=slice(5)), cube.isel(time=0), cube.expand_dims("member")):
        with pytest.raises(InputError, match="weights"):
            baselines.harmonic(cube, times=ASKED, weights=weights)

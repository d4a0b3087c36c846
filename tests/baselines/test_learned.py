"""What every baseline that learns from the scene promises, whatever its method."""

from __future__ import annotations

import json
from functools import partial

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from s2koop import baselines
from s2koop.errors import InputError, ReflectanceWarning
from tests.baselines.cubes import LEARNED, irregular_cube


class Baseline:
    """A baseline that asks for dates which suit it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.times, options = LEARNED[name]
        self.function = partial(getattr(baselines, name), **options)

    def __call__(self, cube, **options):
        return self.function(cube, **{"times": self.times(cube), **options})


@pytest.fixture(params=LEARNED)
def baseline(request: pytest.FixtureRequest) -> Baseline:
    return Baseline(request.param)


@pytest.fixture(scope="module")
def eager() -> dict[str, xr.Dataset]:
    """Each baseline on the whole cube, for the tests that compare with it."""
    return {name: Baseline(name)(irregular_cube()) for name in LEARNED}


def test_result_has_the_shape_dtype_and_words_of_a_result(baseline, eager):
    cube, result = irregular_cube(), eager[baseline.name]
    assert set(result.data_vars) == {"mean", "spread"}
    for name in ("mean", "spread"):
        assert result[name].dims == ("time", "band", "y", "x")
        assert result[name].dtype == np.float32
        assert result[name].attrs["units"] == "1"
        assert result[name].attrs["level"] == "BOA"
        assert result[name].attrs["long_name"]
    assert result.rio.crs.to_epsg() == 32635
    for name in ("band", "y", "x", "common_name"):
        xr.testing.assert_identical(result[name].drop_vars("spatial_ref"), cube[name].drop_vars("spatial_ref"))
    assert result.attrs["model"] == baseline.name
    assert {"sample", "seed"} <= set(json.loads(result.attrs["options"]))
    assert result.attrs["history"].startswith("simulated\ns2koop.baselines.")


def test_only_a_pixel_without_any_usable_value_is_missing(baseline, eager):
    cube, result = irregular_cube(), eager[baseline.name]
    unseen = cube.isnull().all("time").all("band")
    assert unseen.sum() == 1
    for name in ("mean", "spread"):
        assert (result[name].isnull() == unseen).all()
    assert (result["spread"].where(~unseen, 1.0) > 0).all()


@pytest.mark.parametrize("chunks", [{"time": 7, "band": 1, "y": 2, "x": 3}, {"time": -1, "y": 1}], ids=str)
def test_lazy_and_eager_give_the_same_numbers(baseline, eager, chunks):
    lazy = baseline(irregular_cube().chunk(chunks))
    assert isinstance(lazy["mean"].data, da.Array)
    xr.testing.assert_allclose(lazy.compute(), eager[baseline.name], rtol=1e-5, atol=1e-6)


def test_a_sample_is_the_same_lazy_and_eager(baseline):
    cube = irregular_cube()
    few = baseline(cube, sample=6, seed=3)
    xr.testing.assert_allclose(baseline(cube.chunk({"x": 1}), sample=6, seed=3).compute(), few, rtol=1e-5, atol=1e-6)
    assert few["mean"].isel(y=0, x=0).isnull().all()
    assert not np.allclose(few["mean"], baseline(cube, sample=6, seed=4)["mean"], equal_nan=True, rtol=1e-6)


def test_lazy_call_reads_no_pixel(baseline):
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    cube = irregular_cube().chunk({"x": 2})
    watched = cube.copy(data=cube.data.map_blocks(read, dtype=cube.dtype, meta=np.empty((0,) * 4, cube.dtype)))
    result = baseline(watched)
    assert reads == []
    result.compute()
    assert reads


def test_the_same_twice_and_whatever_the_batch(baseline, eager, monkeypatch):
    monkeypatch.setattr("s2koop.baselines._learned._PIXELS", 5)
    xr.testing.assert_allclose(baseline(irregular_cube()), eager[baseline.name], rtol=1e-5, atol=1e-6)


def test_a_band_that_nobody_saw_stays_missing_and_spoils_no_other(baseline, eager):
    cube = irregular_cube()
    wider = xr.concat([cube, cube.isel(band=[0]).assign_coords(band=["B12"]) * np.nan], "band")
    result = baseline(wider)
    assert result.sel(band="B12").to_array().isnull().all()
    xr.testing.assert_allclose(result.isel(band=slice(2)), eager[baseline.name], rtol=1e-6)


def test_nothing_but_clouds_is_missing(baseline):
    assert baseline(irregular_cube() * np.nan).to_array().isnull().all()


def test_infinite_values_count_as_missing(baseline, eager):
    cube = irregular_cube()
    xr.testing.assert_allclose(baseline(cube.fillna(np.inf)), eager[baseline.name], rtol=1e-5, atol=1e-6)


def test_one_pixel_one_band_and_other_dims_are_welcome(baseline):
    cube = irregular_cube()
    series = baseline(cube.isel(band=1, y=2, x=2).astype(np.float64))
    assert series["mean"].dims == ("time",)
    assert series["mean"].dtype == np.float32
    assert np.isfinite(series["mean"]).all()
    plane = baseline(cube.isel(band=1).transpose("x", "time", "y"))
    assert plane["mean"].dims == ("x", "time", "y")


def test_the_cube_is_left_as_it_was(baseline):
    cube = irregular_cube()
    before = cube.copy(deep=True)
    baseline(cube)
    xr.testing.assert_identical(cube, before)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda cube: cube.values, "expected an xarray.DataArray"),
        (lambda cube: cube.isel(time=0), "found dims"),
        (lambda cube: cube.isel(time=slice(0)), "no date at all"),
        (lambda cube: (cube.fillna(0) * 1e4).astype("uint16"), "found uint16"),
        (lambda cube: cube.isel(time=slice(None, None, -1)), "sortby"),
    ],
)
def test_a_cube_that_cannot_be_used_is_refused_with_the_cure(baseline, spoil, words):
    times = baseline.times(irregular_cube())
    with pytest.raises(InputError, match=words):
        baseline(spoil(irregular_cube()), times=times)


@pytest.mark.parametrize("options", [{"sample": 0}, {"sample": 2.5}, {"seed": -1}, {"times": "2019-01-01/2020-01-01"}])
def test_options_out_of_range_are_refused_by_name(baseline, options):
    with pytest.raises(InputError, match=next(iter(options))):
        baseline(irregular_cube(), **options)


def test_digital_numbers_are_pointed_out(baseline):
    with pytest.warns(ReflectanceWarning, match="digital numbers"):
        baseline(irregular_cube() * 1e4)

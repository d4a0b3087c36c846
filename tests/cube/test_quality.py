"""Masks, impossible reflectance, haze."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop.cube import check_reflectance, flag_haze
from s2koop.cube.quality import bright_outliers, usable_classes
from s2koop.errors import InputError, ReflectanceWarning


def cube_of(values, bands=("B02", "B04"), start="2020-01-01", step="5D"):
    return xr.DataArray(
        values,
        dims=("time", "band", "y", "x"),
        coords={"time": pd.date_range(start, periods=values.shape[0], freq=step), "band": list(bands)},
    )


def test_mask_accepts_names_numbers_and_one_alone():
    assert usable_classes(None) is None
    assert usable_classes("snow") == (11,)
    assert usable_classes(6) == (6,)
    assert usable_classes(np.array([5, 4])) == (4, 5)


class TestCheckReflectance:
    def cube(self, rng):
        values = rng.uniform(0.02, 0.3, (6, 2, 20, 20)).astype(np.float32)
        values[2] -= 0.1  # an offset taken off twice
        values[:, :, :4] = np.nan
        return cube_of(values)

    def test_names_the_date_and_points_at_the_caller(self, rng):
        with pytest.warns(ReflectanceWarning, match=r"1 of 6 dates .*2020-01-11.*offset=0\.0") as caught:
            share = check_reflectance(self.cube(rng))
        assert caught[0].filename == __file__
        assert share.dims == ("time", "band")
        negative = (self.cube(np.random.default_rng(20260)) < 0).sum(("y", "x")) / 320
        np.testing.assert_allclose(share.values, negative.values)

    def test_digital_numbers_are_recognised_in_memory_and_lazily(self, rng):
        right = self.cube(rng).isel(time=[0, 1, 3])
        for numbers in (right * 10000, (right * 10000).fillna(0).astype("uint16"), (right * 10000).chunk(time=1)):
            with pytest.warns(ReflectanceWarning, match=r"digital numbers.*s2koop\.load.*divide by 10000") as caught:
                check_reflectance(numbers)
            assert [warning.filename for warning in caught] == [__file__]

    def test_snow_is_no_digital_number(self, rng):
        check_reflectance(cube_of(rng.uniform(0.9, 1.9, (3, 2, 8, 8)).astype(np.float32)))

    def test_silent_on_right_cubes(self, rng):
        assert float(check_reflectance(self.cube(rng).isel(time=[0, 1, 3])).max()) == 0

    def test_an_empty_date_is_no_alarm(self):
        share = check_reflectance(cube_of(np.full((2, 2, 3, 3), np.nan, np.float32)))
        assert share.isnull().all()

    def test_reads_a_part_of_a_lazy_cube(self):
        touched = []

        def block(block_info=None):
            touched.append(block_info[None]["chunk-location"])
            return np.full(block_info[None]["chunk-shape"], 0.05, np.float32)

        data = da.map_blocks(block, chunks=((1,) * 40, (1, 1), (512,) * 4, (512,) * 4), dtype=np.float32)
        check_reflectance(cube_of(data), dates=4)
        assert len(touched) == 4 * 2 * 4  # dates, bands, the four chunks around the middle

    def test_needs_a_dark_band(self):
        with pytest.raises(InputError, match="B08"):
            check_reflectance(cube_of(np.zeros((1, 1, 2, 2), np.float32), bands=["B08"]))


class TestHaze:
    def series(self, rng, pixels=40):
        days = np.sort(rng.choice(400, 80, replace=False)).astype(float)
        season = 0.04 + 0.02 * np.sin(2 * np.pi * days / 365)
        values = season + rng.normal(0, 0.003, (pixels, 80))
        hazy = rng.random((pixels, 80)) < 0.1
        values[hazy] += rng.uniform(0.08, 0.3, hazy.sum())
        return days, values.astype(np.float32), hazy

    def test_finds_haze_and_little_else(self, rng):
        days, values, hazy = self.series(rng)
        flag = bright_outliers(values, days=days, window=90, threshold=3, floor=0.01)
        assert flag[hazy].mean() > 0.95
        assert flag[~hazy].mean() < 0.02

    def test_against_a_slow_twin(self, rng):
        days, values, _ = self.series(rng, pixels=3)
        values[rng.random(values.shape) < 0.3] = np.nan
        fast = bright_outliers(values, days=days, window=60, threshold=3, floor=0.01)
        for p, series in enumerate(values):
            for i, value in enumerate(series):
                near = series[np.abs(days - days[i]) <= 30]
                near = near[np.isfinite(near)]
                middle = np.median(near) if near.size else np.nan
                spread = np.median(np.abs(near - middle)) if near.size else np.nan
                slow = near.size >= 5 and value > middle + 3 * max(1.4826 * spread, 0.01)
                assert fast[p, i] == slow

    def test_missing_values_are_never_flagged_and_dark_ones_neither(self):
        values = np.full((9, 1, 2, 2), 0.05, np.float32)
        values[3], values[5] = np.nan, 0.0
        assert not flag_haze(cube_of(values, bands=["B02"])).any()

    def test_lazy_and_eager_agree(self, rng):
        values = rng.uniform(0.02, 0.1, (30, 2, 6, 7)).astype(np.float32)
        values[rng.random(values.shape) < 0.05] = 0.4
        cube = cube_of(values)
        lazy = flag_haze(cube.chunk(time=7, y=3))
        assert lazy.chunks is not None
        xr.testing.assert_identical(lazy.compute(), flag_haze(cube))
        assert lazy.dims == ("time", "y", "x")

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"band": "B12"}, "not B12"), ({"window": 0}, "window=0"), ({"floor": -1.0}, "floor=-1.0")],
    )
    def test_refuses(self, options, message):
        with pytest.raises(InputError, match=message):
            flag_haze(cube_of(np.zeros((3, 2, 1, 1), np.float32)), **options)

    def test_on_real_haze(self, shared_data):
        """SCL 4 and 5 leave haze in Romania: without what is flagged, blue lies closer to its seasons."""
        with xr.open_dataset(shared_data("s2_timeseries_ro_nrt_20m.nc"), engine="h5netcdf") as data:
            part = data.isel(y=slice(0, 50, 5), x=slice(0, 50, 5)).load()
        cube = (part.reflectance / 10000).where(part.SCL.isin([4, 5])).astype("float32")
        flag = flag_haze(cube)
        valid = cube.sel(band="B02").notnull()
        assert 0.01 < float(flag.sum() / valid.sum()) < 0.25
        assert harmonic_rmse(cube.where(~flag).sel(band="B02")) < 0.6 * harmonic_rmse(cube.sel(band="B02"))


def harmonic_rmse(series):
    """RMSE of a series of pixels around one harmonic of the year, fitted pixel by pixel."""
    days = (series.time.values - np.datetime64("2015-01-01")) / np.timedelta64(1, "D")
    phase = 2 * np.pi * days / 365.25
    design = np.stack([np.ones_like(phase), np.cos(phase), np.sin(phase)], 1)
    errors = []
    for pixel in series.stack(pixel=("y", "x")).values.T:
        good = np.isfinite(pixel)
        fit = np.linalg.lstsq(design[good], pixel[good], rcond=None)[0]
        errors.append(pixel[good] - design[good] @ fit)
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))

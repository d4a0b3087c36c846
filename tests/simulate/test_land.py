"""Simulated land: physical ranges, the truth beneath the sky, shares of gaps, and the same numbers for a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop.errors import InputError
from s2koop.simulate import LAND_COVERS, land_cube, land_series
from s2koop.simulate.canopy import BANDS
from s2koop.simulate.fields import ornstein_uhlenbeck, smooth_fields
from s2koop.simulate.sky import STATES


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return land_cube(shape=(24, 30), years=3, seed=4, truth=True)


@pytest.fixture(scope="module")
def sites() -> dict[str, xr.Dataset]:
    return {cover: land_series(cover, pixels=12, years=2, seed=1, snow_days=0, truth=True) for cover in LAND_COVERS}


def ndvi(cube: xr.DataArray) -> xr.DataArray:
    red, nir = cube.sel(band="B04"), cube.sel(band="B08")
    return (nir - red) / (nir + red)


def month(cube: xr.DataArray, *months: int) -> xr.DataArray:
    return cube.where(cube.time.dt.month.isin(months), drop=True)


def test_the_data_model(scene):
    cube = land_cube(shape=(24, 30), years=3, seed=4)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.dtype == np.float32
    assert tuple(cube.band.values) == BANDS
    assert "simulated" in cube.attrs["title"]
    assert cube.attrs["level"] == "BOA"
    assert cube.indexes["time"].is_monotonic_increasing
    xr.testing.assert_identical(cube, scene["observed"].rename("reflectance"))


def test_the_truth_is_whole_and_in_range(scene):
    truth = scene["truth"]
    assert np.isfinite(truth).all()
    assert float(truth.min()) > 0
    assert float(truth.max()) < 1


def test_what_was_seen_is_truth_and_haze_and_noise(scene):
    clear = (scene["cloud"] == STATES.index("clear")).values[:, None]
    error = (scene["observed"] - scene["truth"] - scene["haze"]).values
    for number, band_noise in enumerate(scene["noise"].values):
        found = error[:, number][clear[:, 0]]
        assert np.isfinite(found).all()
        assert abs(found.std() / band_noise - 1) < 0.02
        assert abs(found.mean()) < 0.02 * band_noise * 10


def test_a_clear_sky_without_noise_shows_the_truth():
    clear = land_cube(
        shape=(8, 9), years=1, seed=2, clear_share=1, cloud_share=0, missed=0, haze=0, noise=0, truth=True
    )
    xr.testing.assert_equal(clear["observed"], clear["truth"])


def test_the_sky_does_not_change_the_surface():
    one = land_cube(shape=(8, 9), years=1, seed=2, truth=True)
    other = land_cube(shape=(8, 9), years=1, seed=2, truth=True, haze=0.03, clear_share=0.2, noise=0.01)
    xr.testing.assert_identical(one["truth"], other["truth"])
    assert not one["observed"].equals(other["observed"])


def test_the_same_seed_gives_the_same_numbers():
    one, again, other = (land_cube(shape=(8, 9), years=1, seed=seed) for seed in (3, 3, 5))
    xr.testing.assert_identical(one, again)
    assert not np.array_equal(one.values, other.values[: len(one)], equal_nan=True)


@pytest.mark.parametrize(("clear", "cloud"), [(0.27, 0.3), (0.5, 0.1), (1.0, 0.0)])
def test_shares_of_gaps(clear, cloud):
    found = land_cube(shape=(30, 30), years=3, seed=6, clear_share=clear, cloud_share=cloud, truth=True)["cloud"]
    cloudy = (found == STATES.index("cloudy_date")).all(("y", "x"))
    assert int((~cloudy).sum()) == round(clear * found.sizes["time"])
    hidden = float((found[~cloudy.values] == STATES.index("hidden")).mean())
    assert hidden == pytest.approx(cloud, abs=0.01)


def test_clouds_are_patches(scene):
    hidden = (scene["cloud"] == STATES.index("hidden")).values
    some = hidden[(hidden.mean((1, 2)) > 0.2) & (hidden.mean((1, 2)) < 0.8)]
    assert len(some) > 5
    assert (some[:, 1:] == some[:, :-1]).mean() > 0.8  # 0.5 or so where pixels are independent


def test_missed_clouds_are_bright_and_shadows_dark(scene):
    error = (scene["observed"] - scene["truth"] - scene["haze"]).sel(band="B02")
    cloud = scene["cloud"]
    assert float(error.where(cloud == STATES.index("missed_cloud")).mean()) > 0.05
    shadow = (scene["observed"] - scene["truth"] - scene["haze"]).sel(band="B08").where(cloud == 2)
    assert float(shadow.mean()) < -0.02


def test_haze_is_common_to_a_date_and_strongest_in_the_blue(scene):
    size = abs(scene["haze"]).mean(("time", "y", "x")).values
    assert (np.diff(size) < 0).all()
    blue = scene["haze"].sel(band="B02")
    assert float(blue.mean(("y", "x")).std()) > 1.5 * float(blue.std(("y", "x")).mean())


def test_forests_have_their_seasons(sites):
    leaves, needles = sites["deciduous forest"]["truth"], sites["evergreen forest"]["truth"]
    summer, winter = (float(ndvi(month(leaves, *m)).median()) for m in ((6, 7, 8), (1, 2)))
    assert summer > 0.85
    assert 0.3 < winter < 0.7
    assert float(ndvi(needles).quantile(0.02)) > 0.75
    assert float(month(needles, 7).sel(band="B08").median()) < 0.8 * float(month(leaves, 7).sel(band="B08").median())


def test_the_red_edge_rises_over_dense_leaves(sites):
    july = month(sites["deciduous forest"]["truth"], 7).median(("time", "y", "x"))
    edge = july.sel(band=["B04", "B05", "B06", "B07", "B08"]).values
    assert (np.diff(edge) > 0).all()


def test_mowing_cuts_grass(sites):
    lai = sites["grass"]["lai"].isel(y=0)
    summer = lai.where(lai.time.dt.month.isin([6, 7, 8]), drop=True)
    drop = summer.diff("time") < -0.5 * summer.shift(time=1).sel(time=summer.time[1:])
    assert int(drop.any("time").sum()) >= 4
    forest = sites["deciduous forest"]["lai"].isel(y=0)
    forest = forest.where(forest.time.dt.month.isin([6, 7, 8]), drop=True)
    assert not bool((forest.diff("time") < -0.5 * forest.shift(time=1)).any())


def test_fields_change_their_crop():
    lai = land_series("crop", pixels=40, years=5, seed=9, snow_days=0, truth=True)["lai"].isel(y=0)
    may, august = (lai.where(lai.time.dt.month == m, drop=True).groupby("time.year").mean("time") for m in (5, 8))
    winter_crop = (may > 2) & (august < 1)
    summer_crop = (may < 1) & (august > 2)
    assert 0.2 < float(winter_crop.mean()) < 0.8
    assert 0.2 < float(summer_crop.mean()) < 0.8
    assert int((winter_crop.any("year") & summer_crop.any("year")).sum()) > 20


def test_water_is_dark_in_the_swir_and_bare_soil_rises(sites):
    water = sites["water"]["truth"]
    assert float(water.sel(band=["B11", "B12"]).quantile(0.95)) < 0.04
    assert float(ndvi(water).median()) < 0
    soil = month(sites["bare soil"]["truth"], 3, 4).median(("time", "y", "x"))
    assert (np.diff(soil.sel(band=["B02", "B03", "B04", "B08", "B11"]).values) > 0).all()
    assert float(ndvi(month(sites["bare soil"]["truth"], 3, 4)).median()) < 0.3


def test_snow_is_bright_in_the_visible_and_dark_in_the_swir():
    winter = land_series("grass", pixels=12, years=6, seed=5, snow_days=60, truth=True)
    white = winter["truth"].where(winter["snow"] > 0.9).median(("time", "y", "x"))
    assert float(white.sel(band="B03")) > 0.5
    assert float(white.sel(band="B11")) < 0.1
    assert 25 < 365 * float((winter["snow"] > 0.5).mean()) < 110
    summer = month(winter["snow"], 6, 7, 8)
    assert float(summer.max()) < 0.05


def test_years_differ_together():
    several = land_series("deciduous forest", pixels=30, years=6, seed=8, snow_days=0, truth=True)
    spring = month(ndvi(several["truth"]), 4, 5).isel(y=0).groupby("time.year").mean("time")
    shared = spring.mean("x").std()
    own = (spring - spring.mean("x") - spring.mean("year") + spring.mean()).std()
    assert float(shared) > 0.01
    assert 0.2 < float(own / shared) < 5


def test_pixels_of_a_parcel_differ_less_than_parcels(scene):
    july = month(scene["truth"], 7).mean("time").sel(band="B08")
    across = float(abs(july.diff("x")).median())
    anywhere = july.values.ravel()[np.random.default_rng(0).permutation(july.size)]
    assert across < 0.3 * np.median(np.abs(np.diff(anywhere)))


def test_shares_of_land_cover():
    codes = land_cube(shape=(60, 60), years=0.2, covers={"grass": 3, "water": 1}, seed=0, truth=True)["land_cover"]
    water = float((codes == 1 + LAND_COVERS.index("water")).mean())
    assert set(np.unique(codes)) == {1 + LAND_COVERS.index(name) for name in ("grass", "water")}
    assert water == pytest.approx(0.25, abs=0.08)


def test_own_dates_are_kept():
    dates = pd.DatetimeIndex(["2019-05-01", "2019-05-01", "2019-07-13 10:30"])
    cube = land_cube(shape=(4, 4), dates=dates, clear_share=1, seed=0)
    assert (cube.time.values == dates.values).all()


def test_the_second_satellite_comes_in_2017():
    every = land_cube(shape=(2, 2), start="2016-01-01", years=3, lost=0).time.diff("time").dt.days
    assert set(every.sel(time=slice(None, "2017-06")).values) == {10}
    assert set(every.sel(time=slice("2017-08", None)).values) == {5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clear_share": 1.2}, "clear_share=1.2 is a share; give 0 to 1"),
        ({"cloud_share": 0.9}, "give 0 to 0.8"),
        ({"haze": 3}, "haze=3 is in reflectance"),
        ({"noise": -1}, "noise=-1 must be a number of at least 0"),
        ({"snow_days": 365}, "give 0 to 300"),
        ({"latitude": 75}, "winters have no sun"),
        ({"years": 0}, "years and revisit must be greater than 0"),
        ({"shape": 5}, "shape=5 must be two numbers"),
        ({"shape": (0, 5)}, "shape=0 must be a whole number of at least 1"),
        ({"parcel": 0.5}, "at least 1 pixel"),
        ({"covers": {"forest": 1.0}}, "land cover 'forest' is unknown; choose among deciduous forest"),
        ({"covers": {}}, "must map land covers to shares"),
        ({"covers": {"grass": 0.0}}, "covers sum to 0"),
        ({"dates": ["2020-02-01", "2020-01-01"]}, "dates are not sorted"),
        ({"lost": 1.0}, "leave no date"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        land_cube(**options)


def test_smooth_fields_have_unit_variance_and_their_length():
    fields = smooth_fields(np.random.default_rng(0), 60, (64, 64), 6.0)
    assert fields.std() == pytest.approx(1, abs=0.05)
    near, far = ((fields[:, :, : 64 - lag] * fields[:, :, lag:]).mean() for lag in (2, 24))
    assert near > 0.7
    assert abs(far) < 0.15


def test_anomalies_forget_on_irregular_days():
    rng = np.random.default_rng(1)
    days = np.cumsum(rng.choice([2.0, 5.0, 20.0], 400))
    values = ornstein_uhlenbeck(days, 30.0, lambda: rng.standard_normal(500).astype(np.float32))
    assert values.std() == pytest.approx(1, abs=0.03)
    for gap in (2.0, 5.0, 20.0):
        at = np.flatnonzero(np.diff(days) == gap)
        assert (values[at] * values[at + 1]).mean() == pytest.approx(np.exp(-gap / 30), abs=0.03)


def test_a_real_forest_looks_alike(shared_data):
    """Medians of summer and of early spring over forest in Romania, per band, to a few hundredths."""
    with xr.open_dataset(shared_data("s2_timeseries_ro_nrt_20m.nc")) as found:
        clear = (found["mask"] == 1) & (found["tree_cover_density_2018"] > 70)
        real = (found["reflectance"].astype(np.float32) / 10000).where(clear).load()
    made = land_series("deciduous forest", pixels=60, start="2016-01-01", years=5, snow_days=0, seed=0, truth=True)
    for months, tolerance in (((6, 7), 0.07), ((3,), 0.05)):
        seen = month(real, *months).median(("time", "y", "x"))
        simulated = month(made["truth"], *months).median(("time", "y", "x")).sel(band=real["band"].values)
        assert np.abs(seen.values - simulated.values).max() < tolerance

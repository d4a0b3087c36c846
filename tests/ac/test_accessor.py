"""`.ac.invert` and `.ac.simulate`: exact inverses, the same however a scene is cut, with spread and flags."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop.ac import Atmosphere, SmacCoefficients, Table, smac, to_boa, to_toa
from s2koop.ac.flags import FLAGS
from s2koop.ac.lut import LIMITS
from s2koop.errors import InputError, ReflectanceWarning
from tests.ac.scenes import ANGLES, BANDS, SKY, field, smac_coefficients, surface


@pytest.mark.parametrize("dates", [None, 3])
@pytest.mark.parametrize("method", ["lut", "smac"])
@pytest.mark.parametrize("maps", [False, True])
def test_what_is_simulated_is_inverted(dates, method, maps):
    boa = surface(dates=dates)
    sky = SKY | {"method": method}
    if method == "smac":
        sky |= {"smac_coefficients": smac_coefficients(BANDS)}
    if maps:
        sky |= {"aot": field(boa, 0.05, 0.6), "altitude": field(boa, 0, 2000, seed=2), "water_vapour": 1.5}
    toa = boa.ac.simulate(**sky)
    result = toa.ac.invert(**sky)
    np.testing.assert_allclose(result["mean"], boa, atol=1e-5)
    assert toa.dims == boa.dims == result["mean"].dims
    assert toa.dtype == result["mean"].dtype == result["spread"].dtype == np.float32
    assert (result["spread"] > 0).all()
    assert not result["flags"].any()


def test_numbers_are_those_of_the_table():
    boa = surface(rows=2, columns=2).astype("float64")
    c = Table.load().coefficients("S2A", Atmosphere(0.2, 2.0, 0.31, **ANGLES, altitude=150.0), bands=BANDS)
    numbers = type(c)(*(value[:, None, None] for value in c))
    np.testing.assert_allclose(boa.ac.simulate(**SKY), to_toa(boa.values, numbers), rtol=1e-12)


def test_maps_come_near_to_the_table_asked_per_pixel():
    boa = surface(rows=6, columns=5).astype("float64")
    maps = {"aot": (0.02, 0.8), "water_vapour": (0.2, 5.0), "altitude": (0.0, 2900.0)}
    fields = {name: field(boa, *ends, seed=at) for at, (name, ends) in enumerate(maps.items())}
    angles = {
        name: field(boa, *ends, seed=9) for name, ends in {"sza": (30, 60), "vza": (1, 11), "raa": (5, 170)}.items()
    }
    toa = boa.ac.simulate(ozone=0.31, angles=angles, **fields)
    state = Atmosphere(**{name: f.values for name, f in (fields | angles).items()}, ozone=0.31)
    c = Table.load().coefficients("S2A", state, bands=BANDS)
    exact = to_boa(toa.values, type(c)(*(np.moveaxis(value, -1, 0) for value in c)))
    error = np.abs(exact - boa.values).max(axis=(1, 2))
    assert error[np.array(BANDS) != "B09"].max() < 5e-4  # water vapour absorbs most of B09


@pytest.mark.parametrize("chunks", [{"time": 1, "band": 1, "y": 5, "x": 4}, {"y": 7}, {}])
def test_any_tiling_gives_the_same_numbers_lazily(chunks):
    boa = surface(dates=2)
    sky = SKY | {"aot": field(boa, 0.05, 0.6), "water_vapour": [1.0, 2.5]}
    whole = boa.ac.simulate(**sky)
    lazy = boa.chunk(chunks).ac.simulate(**sky | {"aot": sky["aot"].chunk({"y": 3})})
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), whole)
    eager, result = whole.ac.invert(**sky), lazy.ac.invert(**sky)
    assert all(result[name].chunks is not None for name in ("mean", "spread", "flags"))
    xr.testing.assert_identical(result.compute(), eager)


def test_parts_of_a_scene_are_corrected_as_in_the_whole():
    boa = surface(rows=20, columns=20)
    sky = SKY | {"aot": field(boa, 0.05, 0.6)}
    toa = boa.ac.simulate(**sky)
    part = {"y": slice(3, 11), "x": slice(5, 6)}
    cut = toa.isel(part).ac.invert(**sky | {"aot": sky["aot"].isel(part)})
    xr.testing.assert_identical(cut, toa.ac.invert(**sky).isel(part))


def test_place_and_coordinates_are_kept_and_history_is_told():
    boa = surface(dates=2).assign_coords(cloud_cover=("time", [1.0, 2.0]))
    toa = boa.ac.simulate(**SKY)
    result = toa.ac.invert(**SKY)
    assert toa.attrs["level"] == "TOA"
    assert result["mean"].attrs["level"] == "BOA"
    assert result["mean"].rio.crs == boa.rio.crs
    assert set(boa.coords) == set(result["mean"].coords)
    assert result.attrs["aerosol_model"] == "continental"
    assert result.attrs["ac_method"] == "lut"
    assert len(result.attrs["ac_table_sha256"]) == 64
    assert result["flags"].dtype == np.uint16
    assert result["flags"].attrs["flag_meanings"].split() == list(FLAGS)


def test_a_result_can_be_written_and_read(tmp_path):
    boa = surface(dates=2)
    result = boa.ac.simulate(**SKY).ac.invert(**SKY)
    result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf", decode_coords="all") as back:
        np.testing.assert_array_equal(back["mean"], result["mean"])


def test_missing_values_stay_missing_and_alone():
    boa = surface()
    toa = boa.ac.simulate(**SKY)
    toa[2, 4, 5] = np.nan
    result = toa.ac.invert(**SKY)
    missing = result["mean"].isnull()
    assert missing.sum() == 1
    assert missing[2, 4, 5]
    assert result["spread"].isnull().sum() == 1


def test_a_scene_without_any_value_gives_none():
    toa = surface(bands=["B02", "B10", "B11"]).assign_attrs(level="TOA") * np.nan
    result = toa.assign_attrs(level="TOA", sensor="S2A").ac.invert(**SKY)
    assert result["mean"].isnull().all()
    assert not result["flags"].any()


def test_a_missing_state_gives_no_surface_and_a_flag():
    boa = surface()
    aot = field(boa, 0.1, 0.3)
    aot[3, 3] = np.nan
    result = boa.ac.simulate(**SKY).ac.invert(**SKY | {"aot": aot})
    assert result["mean"].isnull().any("band").sum() == 1
    assert result["flags"][3, 3] == FLAGS["outside_table"]


def test_one_pixel_and_one_date():
    boa = surface(dates=1, rows=1, columns=1)
    result = boa.ac.simulate(**SKY).ac.invert(**SKY | {"aot": [0.2]})
    np.testing.assert_allclose(result["mean"], boa, atol=1e-5)


def test_dates_have_their_own_sky_and_sensor():
    boa = surface(dates=2)
    del boa.attrs["sensor"]
    cube = boa.assign_coords(
        platform=("time", ["sentinel-2a", "sentinel-2b"]), sun_zenith=("time", [30.0, 50.0]),
        sun_azimuth=("time", [150.0, 160.0]), view_zenith=("time", [3.0, 8.0]), view_azimuth=("time", [290.0, 105.0]),
    )  # fmt: skip
    toa = cube.ac.simulate(aot=[0.1, 0.4])
    for date, (sensor, aot, angles) in enumerate(
        [("S2A", 0.1, {"sza": 30, "vza": 3, "raa": 140}), ("S2B", 0.4, {"sza": 50, "vza": 8, "raa": 55})]
    ):
        alone = boa.isel(time=date).ac.simulate(aot=aot, angles=angles, sensor=sensor)
        np.testing.assert_allclose(toa.isel(time=date), alone, rtol=1e-6)
    assert toa.ac.invert(aot=[0.1, 0.4]).attrs["ac_sensor"] == "S2A+S2B"


def test_a_coarse_map_is_interpolated():
    boa = surface(rows=9, columns=9)
    coarse = xr.DataArray(
        [[0.1, 0.1], [0.5, 0.5]], dims=("y", "x"), coords={"y": boa.y.values[[0, -1]], "x": boa.x.values[[0, -1]]}
    )
    fine = xr.DataArray(np.linspace(0.1, 0.5, 9), dims="y").expand_dims(x=9).transpose("y", "x")
    toa = boa.ac.simulate(**SKY | {"aot": coarse})
    xr.testing.assert_allclose(toa, boa.ac.simulate(**SKY | {"aot": fine}), rtol=1e-6)
    xr.testing.assert_identical(boa.chunk(y=4).ac.simulate(**SKY | {"aot": coarse}).compute(), toa)


def test_spread_is_that_of_repeated_measurements(rng):
    boa = surface(rows=1, columns=1).sel(band=["B02", "B04", "B8A"])
    boa = boa.isel(y=[0] * 20, x=[0] * 20).assign_coords(y=100.0 * np.arange(20, 0, -1), x=100.0 * np.arange(20))
    toa = boa.ac.simulate(**SKY)
    errors = {"aot_error": 0.02, "water_vapour_error": 0.2}
    noise = {"B02": 0.002, "B04": 0.001, "B8A": 0.003}
    result = toa.ac.invert(**SKY, **errors, noise=noise)
    deviation = np.array(list(noise.values()))[:, None, None]
    # each pixel is one measurement of the same surface, under a sky that is off by an error of its own
    drawn = {name: toa[0].drop_vars("band").copy(data=rng.standard_normal((20, 20))) for name in ("aot", "vapour")}
    sky = SKY | {"aot": 0.2 + 0.02 * drawn["aot"], "water_vapour": 2 + 0.2 * drawn["vapour"]}
    found = (toa + deviation * rng.standard_normal(toa.shape)).ac.invert(**sky, spread=False)["mean"]
    np.testing.assert_allclose(result["spread"][:, 0, 0], found.std(("y", "x")), rtol=0.15)


def test_noise_is_that_specified_of_the_sensor():
    from s2koop.simulate.toa import sensor_noise

    toa = surface(rows=3, columns=3).ac.simulate(**SKY)
    result = toa.ac.invert(**SKY, aot_error=0, water_vapour_error=0, noise=2.0)
    c = Table.load().coefficients("S2A", Atmosphere(0.2, 2.0, 0.31, **ANGLES, altitude=150.0), bands=BANDS)
    by_toa = (to_boa(toa.values.T + 0.001, c) - to_boa(toa.values.T - 0.001, c)).T / 0.002
    expected = 2 * sensor_noise("S2A", BANDS, 35.0)[:, None, None] * np.sqrt(toa.values) * by_toa
    np.testing.assert_allclose(result["spread"], expected, rtol=1e-3)
    assert not toa.ac.invert(**SKY, aot_error=0, water_vapour_error=0, noise=0)["spread"].any()
    assert "spread" not in toa.ac.invert(**SKY, spread=False)


def test_what_is_not_given_is_taken_from_the_climate_with_its_doubt():
    toa = surface().ac.simulate(angles=ANGLES)
    known = toa.ac.invert(angles=ANGLES, aot=0.13, water_vapour=1.6)
    result = toa.ac.invert(angles=ANGLES)
    assert "aot=0.13" in result.attrs["ac_climatology"]
    np.testing.assert_array_equal(result["mean"], known["mean"])
    assert float(result["spread"].mean()) > 1.5 * float(known["spread"].mean())


def test_flags():
    boa = surface(bands=[*BANDS[:10], "B10", *BANDS[10:]])
    toa = boa.ac.simulate(**SKY)
    toa.loc[{"band": "B10"}] = 0.001
    toa[10, 0, 0] = 0.02  # cirrus
    toa[0, 1, 1] = 0.01  # darker than the path
    toa[3, 2, 2] = 6.4  # saturated
    slope = xr.zeros_like(toa[0])
    slope[3, 3] = 12.0
    aot = xr.full_like(slope, 0.2)
    aot[4, 4] = 1.5
    result = toa.ac.invert(**SKY | {"aot": aot}, slope=slope)
    expected = np.zeros(result["flags"].shape, "uint16")
    names = ["cirrus", "negative_reflectance", "saturated", "steep_terrain", "outside_table"]
    for at, name in enumerate(names):
        expected[at, at] |= FLAGS[name]
    found = result["flags"].values.copy()
    found[4, 4] &= ~np.uint16(FLAGS["negative_reflectance"])  # so much aerosol may well be too much
    np.testing.assert_array_equal(found, expected)
    assert result["mean"][0, 1, 1] < 0
    assert "B10" not in result["mean"].band
    assert "not_tested" not in result["flags"].attrs
    assert toa.drop_sel(band="B10").ac.invert(**SKY)["flags"].attrs["not_tested"] == "cirrus steep_terrain"


def test_a_low_sun_and_an_assumed_view_are_flagged():
    toa = surface().ac.simulate(**SKY)
    with pytest.warns(ReflectanceWarning, match="view angles are not known"):
        result = toa.ac.invert(aot=0.1, angles={"sza": 80.0})
    assert (result["flags"] & FLAGS["sun_low"]).all()
    assert (result["flags"] & FLAGS["outside_table"]).all()
    assert (result["flags"] & FLAGS["view_assumed"]).all()


def test_aerosol_as_thick_as_no_table_knows_is_refused_or_flagged():
    toa = surface(dates=2).ac.simulate(**SKY)
    with pytest.raises(InputError, match="aot=1.4 is outside of the table, which covers 0 to 0.9"):
        toa.ac.invert(**SKY | {"aot": 1.4})
    flags = toa.ac.invert(**SKY | {"aot": [0.2, 1.4]})["flags"]
    assert not (flags[0] & FLAGS["outside_table"]).any()
    assert (flags[1] & FLAGS["outside_table"]).all()
    limit = toa.ac.invert(**SKY | {"aot": [0.2, LIMITS["aot"][1]]}, spread=False)
    np.testing.assert_array_equal(limit["mean"], toa.ac.invert(**SKY | {"aot": [0.2, 1.4]}, spread=False)["mean"])


def test_smac_takes_the_coefficients_of_a_user(tmp_path):
    bands = ["B02", "B04"]
    toa = surface(bands=bands).ac.simulate(**SKY)
    each = smac_coefficients(bands)
    columns = SmacCoefficients(*(np.array(values) for values in zip(*each.values(), strict=True)))
    path = tmp_path / "coefficients.dat"
    np.savetxt(path, np.stack(list(columns)))
    c = smac(columns, Atmosphere(0.2, 2.0, 0.31, **ANGLES, altitude=150.0))
    expected = to_boa(toa.values, type(c)(*(value[:, None, None] for value in c)))
    for given in (path, columns, each):
        found = toa.ac.invert(**SKY, method="smac", smac_coefficients=given)
        np.testing.assert_allclose(found["mean"], expected, rtol=1e-5)
    assert "ac_table_sha256" not in found.attrs
    with pytest.raises(InputError, match="not B04"):
        toa.ac.invert(**SKY, method="smac", smac_coefficients={"B02": each["B02"]})
    with pytest.raises(InputError, match="has 2 columns; expected 1"):
        toa.sel(band=["B02"]).ac.invert(**SKY, method="smac", smac_coefficients=columns)
    with pytest.raises(InputError, match="smac_coefficients is a int"):
        toa.ac.invert(**SKY, method="smac", smac_coefficients=3)


def test_our_fit_of_smac_comes_near_to_the_table():
    toa = surface().ac.simulate(**SKY)
    difference = abs(toa.ac.invert(**SKY, method="smac")["mean"] - toa.ac.invert(**SKY)["mean"])
    assert float(difference.drop_sel(band="B09").mean()) < 0.01


def test_a_cube_as_load_makes_it_goes_there_and_back():
    import s2koop

    cube = s2koop.load(s2koop.search("sample", datetime="2020-06-20/2020-06-25"), resolution=20, chunks="time")
    sky = {"aot": np.linspace(0.05, 0.4, cube.sizes["time"]), "water_vapour": 2.0, "altitude": 900.0}
    with pytest.warns(ReflectanceWarning, match="view angles are not known on"):
        toa = cube.ac.simulate(**sky)
    with pytest.warns(ReflectanceWarning, match="view angles are not known on"):
        result = toa.ac.invert(**sky)
    assert toa.chunks is not None
    here = result.compute()
    np.testing.assert_allclose(here["mean"], cube, atol=1e-5)
    assert here.attrs["ac_sensor"] == "S2A+S2B"
    assert here.attrs["processing_baseline"]
    assert (here["flags"] == FLAGS["view_assumed"]).all()
    probav = here.ac.to_sensor("PROBAV")
    assert probav["mean"].rio.crs == cube.rio.crs
    assert dict(probav["mean"].sizes) == {"time": cube.sizes["time"], "band": 4, "y": 10, "x": 10}


def test_a_sensor_of_ones_own():
    sensor = {"green": ([540.0, 560.0, 580.0], [0.0, 1.0, 0.0]), "red": ([640.0, 660.0, 680.0], [0.0, 1.0, 0.0])}
    boa = surface(bands=["red", "green"])
    toa = boa.ac.simulate(**SKY, sensor=sensor)
    assert float(toa.sel(band="green").min()) > float(toa.sel(band="red").min())
    result = toa.ac.invert(**SKY, sensor=sensor, noise={"red": 0.001, "green": 0.001})
    np.testing.assert_allclose(result["mean"], boa, atol=1e-5)
    with pytest.raises(InputError, match="noise of the given sensor"):
        toa.ac.invert(**SKY, sensor=sensor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "lookup"}, "method='lookup' is unknown"),
        ({"aerosol": "smoke"}, "aerosol='smoke' is unknown"),
        ({"smac_coefficients": "x.dat"}, "for method='smac'"),
        ({"method": "smac", "smac_coefficients": "x.dat"}, "there is no file x.dat"),
        ({"aot": -0.1}, "outside of the table"),
        ({"water_vapour": 20.0}, "kg/m2 divided by 10"),
        ({"ozone": 320.0}, "Dobson"),
        ({"aot": [0.1, 0.2, 0.3]}, "one per date"),
        ({"aot": "thick"}, "expected numbers"),
        ({"aot_error": -1.0}, "standard deviation"),
        ({"noise": -1.0}, "noise=-1.0 must be"),
        ({"noise": {"B02": 0.1}}, "no standard deviation for"),
    ],
)
def test_refusals(change, message):
    toa = surface().ac.simulate(**SKY)
    with pytest.raises(InputError, match=message):
        toa.ac.invert(**SKY | change)

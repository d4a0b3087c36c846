"""What a scene and its angles have to be: refused with the cure, or read from wherever they stand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from s2koop.ac import read_angles
from s2koop.ac.angles import scene_geometry
from s2koop.ac.inputs import check_scene, scene_bands
from s2koop.errors import InputError, ReflectanceWarning
from tests.ac.scenes import ANGLES, SKY, field, surface

TILE = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248__MTD_TL.xml"
SMALL = ["B02", "B04", "B8A"]


def toa(**options) -> xr.DataArray:
    return surface(bands=SMALL, **options).assign_attrs(level="TOA")


def test_surface_reflectance_is_not_inverted_and_the_other_way_round():
    with pytest.raises(InputError, match="ac.simulate takes it to the top"):
        surface().ac.invert(**SKY)
    with pytest.raises(InputError, match="ac.invert corrects it"):
        toa().ac.simulate(**SKY)
    with pytest.raises(InputError, match="ac.simulate takes it"):
        surface().assign_attrs(level="L2A").ac.invert(**SKY)


def test_whole_numbers_need_a_scale():
    numbers = (toa() * 10000 + 1000).astype("uint16").assign_attrs(level="TOA", sensor="S2A")
    with pytest.raises(InputError, match=r"dtype uint16 and no attrs\['scale_factor'\]"):
        numbers.ac.invert(**SKY)
    numbers[0, 0, 0] = 0
    result = numbers.assign_attrs(scale_factor=1e-4, add_offset=-0.1).ac.invert(**SKY)
    expected = toa().ac.invert(**SKY)["mean"]
    assert result["mean"].dtype == np.float32
    assert np.isnan(result["mean"][0, 0, 0])
    np.testing.assert_allclose(result["mean"][:, 1:], expected[:, 1:], atol=2e-4)
    assert "scale_factor" not in result["mean"].attrs


def test_digital_numbers_as_floats_are_refused():
    with pytest.raises(InputError, match="divide digital numbers by 10000"):
        (toa() * 10000).assign_attrs(level="TOA", sensor="S2A").ac.invert(**SKY)


def test_an_offset_that_was_left_in_or_taken_off_twice_is_told():
    scene = surface(bands=["B04", "B10"]).assign_attrs(level="TOA")
    scene[1] = 0.102
    with pytest.warns(ReflectanceWarning, match="the median of B10 is 0.102"):
        check_scene(scene, "TOA")
    scene[1] = 0.002
    check_scene(scene, "TOA")
    scene[0] -= 0.3
    with pytest.warns(ReflectanceWarning, match="an offset was probably taken off twice"):
        check_scene(scene, "TOA")


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (3.0, "expected a DataArray, found float"),
        (toa().isel(band=0), "keep a dim by selecting with a list"),
        (toa().rename(x="lon"), "rename them"),
        (toa().isel(y=slice(0)), "has no y"),
        (toa().drop_vars("band"), "no coordinate 'band'"),
        (toa().assign_attrs(sensor="Sentinel-2 MSI"), "does not say which sensor"),
        (toa().assign_attrs(sensor="").assign_coords(platform="landsat-8"), "found 'landsat-8'"),
        (toa().assign_coords(band=["B02", "SCL", "B04"]), "not all of S2A"),
        (toa().assign_coords(band=["B02", "B02", "B04"]), "twice"),
        (toa().assign_attrs(sensor="PROBAV"), "which PROBAV has not; its bands are BLUE, RED, NIR, SWIR"),
    ],
)
def test_scenes_that_are_refused(scene, message):
    with pytest.raises(InputError, match=message):
        check_scene(scene, "TOA")


def test_an_unknown_sensor_is_refused():
    with pytest.raises(InputError, match="sensor='S2X' is unknown; choose one of S2A"):
        toa().ac.invert(**SKY, sensor="S2X")
    with pytest.raises(InputError, match="expected one of S2A"):
        toa().ac.invert(**SKY, sensor=3)
    mars = {"band": ([540.0, 560.0], [1.0, 1.0])}
    with pytest.raises(InputError, match="which the given sensor has not"):
        toa().ac.invert(**SKY, sensor=mars)


def test_bands_by_any_name():
    names = toa().assign_coords(band=["blue", "B4", "nir08"])
    assert scene_bands(names, "S2B") == ("B02", "B04", "B8A")
    assert scene_bands(names.assign_coords(band=["blue", "RED", "swir16"]), "PROBAV") == ("BLUE", "RED", "SWIR")
    result = names.ac.invert(**SKY)
    assert result["mean"].band.values.tolist() == ["blue", "B4", "nir08"]
    np.testing.assert_array_equal(result["mean"], toa().ac.invert(**SKY)["mean"])


def test_the_sun_is_needed_and_above_the_horizon():
    with pytest.raises(InputError, match=r"angles=dict\(sza=..., vza=..., raa=...\)"):
        toa().ac.invert(aot=0.1)
    with pytest.raises(InputError, match="below the horizon"):
        toa().ac.invert(aot=0.1, angles=ANGLES | {"sza": 95.0})
    with pytest.raises(InputError, match="2021-06-06"):
        toa(dates=2).ac.invert(aot=0.1, angles=ANGLES | {"sza": [30.0, 91.0]})
    with pytest.raises(InputError, match="angles holds 'zenith'"):
        toa().ac.invert(aot=0.1, angles={"zenith": 30.0})
    with pytest.raises(InputError, match="angles is a float"):
        toa().ac.invert(aot=0.1, angles=30.0)


def test_angles_stand_in_the_coordinates_of_a_cube():
    scene = toa(dates=2).assign_coords(
        sun_zenith=("time", [30.0, 40.0]), sun_azimuth=("time", [10.0, 150.0]),
        view_zenith=("time", [4.0, np.nan]), view_azimuth=("time", [350.0, np.nan]),
    )  # fmt: skip
    with pytest.warns(ReflectanceWarning, match="on 1 of 2 dates"):
        found = scene_geometry(scene)
    assert found.sza.values.tolist() == [30.0, 40.0]
    assert found.vza.values.tolist() == [4.0, 5.0]
    assert found.raa.values.tolist() == [20.0, 90.0]
    assert found.assumed.values.tolist() == [False, True]
    one = scene_geometry(scene.isel(time=0))
    assert float(one.raa) == 20.0


def test_angles_stand_in_a_stac_item(shared_data):
    item = json.loads(shared_data("stac_items/stactools__S2A_T46RER_20210908T043714_L1C.json").read_text())
    found = scene_geometry(toa(), item)
    assert float(found.sza) == pytest.approx(26.493, abs=1e-3)
    assert float(found.vza) == pytest.approx(10.585, abs=1e-3)
    assert float(found.raa) == pytest.approx(288.308 - 142.988, abs=1e-3)
    older = {"properties": {"s2:mean_solar_zenith": 40.0, "s2:mean_solar_azimuth": 150.0}}
    with pytest.warns(ReflectanceWarning, match="view angles are not known; 5 degrees"):
        assert float(scene_geometry(toa(), older).sza) == 40.0


def test_angles_of_a_granule(shared_data):
    path = shared_data(f"safe_metadata/{TILE}")
    found = read_angles(path)
    assert dict(found.sizes) == {"y": 23, "x": 23, "band": 13}
    assert found.rio.crs.to_epsg() == 32646
    assert float(found.x[0]) == 499980
    assert float(found.y[1]) == 3100020 - 5000
    # what the file itself states as means
    assert float(found.sza.mean()) == pytest.approx(26.4932, abs=1e-3)
    assert float(found.saa.mean()) == pytest.approx(142.9876, abs=1e-2)
    assert float(found.vza.sel(band="B01").mean()) == pytest.approx(10.668, abs=0.1)
    assert float(found.vaa.sel(band="B01").mean()) == pytest.approx(289.94, abs=2)
    assert found.attrs["sensing_time"].startswith("2021-09-08")


def test_a_scene_is_corrected_with_the_angles_of_its_granule(shared_data):
    angles = read_angles(shared_data(f"safe_metadata/{TILE}"))
    scene = toa(rows=40, columns=50, resolution=2000.0).rio.write_crs(32646)
    scene = scene.assign_coords(x=scene.x - float(scene.x[0]) + 500_000, y=scene.y - float(scene.y[0]) + 3_099_000)
    result = scene.ac.invert(aot=0.2, angles=angles)
    assert result["mean"].notnull().all()
    geometry = scene_geometry(scene, angles)
    assert float(geometry.sza.min()) > 25
    assert float(geometry.vza.max()) < 12
    middle = {"sza": float(geometry.sza[7, 9]), "vza": float(geometry.vza[7, 9]), "raa": float(geometry.raa[7, 9])}
    alone = scene.isel(y=[7], x=[9]).ac.invert(aot=0.2, angles=middle)
    np.testing.assert_allclose(result["mean"][:, 7, 9], alone["mean"][:, 0, 0], atol=1e-4)
    lazy = scene.chunk(y=16, x=11).ac.invert(aot=0.2, angles=angles)
    xr.testing.assert_identical(lazy.compute(), result)
    with pytest.raises(InputError, match="angles is in EPSG:32646"):
        toa().ac.invert(aot=0.2, angles=angles)
    with pytest.raises(InputError, match="angles covers y"):
        scene.assign_coords(y=scene.y + 1e6).ac.invert(aot=0.2, angles=angles)


def test_metadata_that_is_not_read(tmp_path):
    path = tmp_path / "MTD_TL.xml"
    with pytest.raises(InputError, match="there is no file"):
        read_angles(path)
    path.write_text("<a>")
    with pytest.raises(InputError, match="no XML that can be read"):
        read_angles(path)
    path.write_text("<a/>")
    with pytest.raises(InputError, match="no Tile_Angles"):
        read_angles(path)
    path.write_text('<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>')
    with pytest.raises(InputError, match="declares a document type"):
        read_angles(path)
    path.write_text('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>')
    with pytest.raises(InputError, match="declares a document type"):
        read_angles(path)
    with path.open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(InputError, match="more than 16 MB"):
        read_angles(path)


def test_damaged_metadata_is_told(shared_data, tmp_path):
    text = shared_data(f"safe_metadata/{TILE}").read_text()
    path = tmp_path / "MTD_TL.xml"
    for change, message in (
        (text.replace("<ULX>499980</ULX>", "<ULX>west</ULX>"), "no number at Geoposition/ULX"),
        (text.replace('bandId="0" detectorId', 'bandId="77" detectorId'), "band 77"),
        (text.replace("<VALUES>141.764 ", "<VALUES>x "), "damaged"),
    ):
        path.write_text(change)
        with pytest.raises(InputError, match=message):
            read_angles(path)


def test_fields_that_do_not_fit():
    scene = toa(dates=2)
    coarse = xr.DataArray([[0.1, 0.2]] * 2, dims=("y", "x"), coords={"y": [0.0, 1.0], "x": [0.0, 1.0]})
    cases = [
        (coarse, "aot covers y from 0 to 1"),
        (coarse.drop_vars("y"), "both need the coordinate 'y'"),
        (xr.DataArray([0.1, 0.2], dims="band"), "aot has the dim 'band'"),
        (xr.DataArray(np.full(12, 0.1), dims="y"), "a map needs both y and x"),
        (xr.DataArray([0.1], dims="time"), "aot has 1 dates, the scene 2"),
        (xr.DataArray([0.1], dims="time", coords={"time": scene.time[:1]}), "no value for 1 dates"),
    ]
    for aot, message in cases:
        with pytest.raises(InputError, match=message):
            scene.ac.invert(**SKY | {"aot": aot})


def test_dates_of_a_field_are_matched_by_name():
    scene = toa(dates=3)
    aot = xr.DataArray([0.3, 0.2, 0.1], dims="time", coords={"time": scene.time[::-1]})
    found = scene.ac.invert(**SKY | {"aot": aot})["mean"]
    np.testing.assert_array_equal(found, scene.ac.invert(**SKY | {"aot": [0.1, 0.2, 0.3]})["mean"])


def test_a_map_per_date():
    scene = toa(dates=2)
    maps = xr.concat([field(scene, 0.1, 0.2), field(scene, 0.3, 0.5)], "time")
    found = scene.ac.invert(**SKY | {"aot": maps})["mean"]
    for date in range(2):
        alone = scene.isel(time=date).ac.invert(**SKY | {"aot": maps[date]})["mean"]
        np.testing.assert_array_equal(found[date], alone)

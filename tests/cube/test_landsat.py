"""Landsat Collection 2 Level-2 takes the same road: its bands by colour, its scale, its own words for cloud."""

from __future__ import annotations

import json

import numpy as np
import pystac
import pytest

import s2koop
from s2koop.cube._items import plain_items
from s2koop.cube.harmonise import choose_offset, harmonise
from s2koop.cube.quality import SCL_CLASSES, classes_of_bits
from s2koop.cube.sensors import SENSORS, band_names
from s2koop.errors import InputError
from tests.support import items as make


def reflectance(product, band):
    numbers = product.truth[band].astype(np.float64)
    return np.where(numbers == 0, np.nan, numbers * 2.75e-5 - 0.2).astype(np.float32)


@pytest.mark.parametrize("through_pystac", [False, True])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("engine", ["stackstac", "odc-stac"])
def test_scale_and_offset(tmp_path, through_pystac, listed, engine):
    if engine == "odc-stac":
        pytest.importorskip("odc.stac")
    product = make.make_landsat(tmp_path)
    item = make.landsat(product, listed=listed)
    cube = s2koop.load(pystac.Item.from_dict(item) if through_pystac else item, engine=engine)
    assert cube.band.values.tolist() == ["BLUE", "RED", "NIR"]
    assert dict(cube.sizes) == {"time": 1, "band": 3, "y": 16, "x": 16}
    for band in ("BLUE", "RED", "NIR"):
        np.testing.assert_allclose(cube.sel(band=band).values[0], reflectance(product, band), atol=1e-7)
    assert cube.dtype == np.float32
    assert cube.boa_offset.item() == -0.2
    assert cube.rio.transform() == product.transforms["RED"]


def test_what_the_cube_says(tmp_path):
    cube = s2koop.load(make.landsat(make.make_landsat(tmp_path)))
    assert (cube.attrs["sensor"], cube.attrs["level"]) == ("Landsat", "BOA")
    assert cube.platform.values.tolist() == ["landsat-9"]
    assert cube.common_name.values.tolist() == ["blue", "red", "nir08"]
    assert cube.wavelength.values.tolist() == [482.0, 654.6, 864.7]
    assert cube.wavelength.attrs["long_name"] == "centre wavelength of Landsat 8 OLI"
    assert cube.sun_zenith.item() == 30.0
    s2koop.cube.check_reflectance(cube)  # knows its dark bands, and warns of nothing


@pytest.mark.parametrize(
    ("typed", "names"),
    [(["red", "nir08"], ["RED", "NIR"]), (["NIR", "blue"], ["NIR", "BLUE"]), ("qa_pixel", ["QA_PIXEL"])],
)
def test_band_names(tmp_path, typed, names):
    cube = s2koop.load(make.landsat(make.make_landsat(tmp_path)), bands=typed)
    assert cube.band.values.tolist() == names


def test_numbers_are_no_names_of_landsat():
    """B4 is near infrared on TM and red on OLI."""
    held = ["RED", "NIR"]
    with pytest.raises(InputError, match=r"unknown band 'B4'.*names of Landsat \(COASTAL, .*, SWIR2\)"):
        band_names("B4", available=held)
    with pytest.raises(InputError, match="hold no COASTAL; they hold RED, NIR"):
        band_names("coastal", available=held)


def test_every_band_of_the_sensor_is_a_band_of_the_mission():
    assert list(SENSORS["OLI"].bands) == ["COASTAL", "BLUE", "GREEN", "RED", "NIR", "SWIR1", "SWIR2"]
    assert list(SENSORS["OLI"].bands) == list(s2koop.catalog.providers.MISSIONS["landsat"].bands)


# values of QA_PIXEL and their meaning, from table 6-3 of the product guide (LSDS-1619)
QUALITY = {
    "fill": (1, "no_data"),
    "clear, low confidence of all": (21824, "unclassified"),
    "dilated cloud over land": (21826, "cloud_medium_probability"),
    "clear water": (21952, "water"),
    "clear, though cloud of medium confidence": (22080, "unclassified"),
    "high confidence cloud": (22280, "cloud_high_probability"),
    "high confidence shadow": (23888, "cloud_shadow"),
    "water with shadow": (23952, "cloud_shadow"),
    "snow": (30048, "snow"),
    "high confidence cirrus": (54596, "thin_cirrus"),
    "high confidence cirrus over water": (54852, "thin_cirrus"),
    "cirrus, high cloud": (55052, "cloud_high_probability"),
}


@pytest.mark.parametrize("name", QUALITY)
def test_classes_of_the_product_guide(name):
    value, word = QUALITY[name]
    for dtype in ("uint16", "float32"):
        assert SCL_CLASSES[int(classes_of_bits(np.array([value], dtype))[0])] == word


def test_nothing_is_no_data():
    assert classes_of_bits(np.array([np.nan, 21824])).tolist() == [0, 7]


def test_the_default_mask_keeps_clear_land_and_water(tmp_path):
    quality = np.full((16, 16), 21824)
    bad = {"cloud": 22280, "shadow": 23888, "cirrus": 54596, "snow": 30048, "dilated": 21826, "fill": 1}
    for row, value in enumerate(bad.values(), start=1):
        quality[row] = value
    quality[10] = 21952
    product = make.make_landsat(tmp_path, quality=quality)
    values = s2koop.load(make.landsat(product), bands=["red"]).values[0, 0]
    assert np.isnan(values[1 : 1 + len(bad)]).all()
    np.testing.assert_allclose(values[7:], reflectance(product, "RED")[7:], atol=1e-7)
    snow = s2koop.load(make.landsat(product), bands=["red"], mask=["snow"]).values[0, 0]
    assert np.isfinite(snow).sum(axis=1).nonzero()[0].tolist() == [4]
    raw = s2koop.load(make.landsat(product), bands=["red", "QA_PIXEL"], mask="scl")
    np.testing.assert_array_equal(raw.sel(band="QA_PIXEL").values[0], np.where(quality == 1, np.nan, quality))
    assert np.isfinite(s2koop.load(make.landsat(product), mask=None).values[0, 0, 1:]).all()


def test_quality_is_never_interpolated(tmp_path):
    """On another grid the bits stay bits: a mean of cloud and clear would be a third thing."""
    quality = np.where(np.indices((16, 16)).sum(0) % 2, 22280, 21824)
    product = make.make_landsat(tmp_path, quality=quality)
    cube = s2koop.load(make.landsat(product), bands=["QA_PIXEL"], mask=None, resolution=20, resampling="bilinear")
    assert set(np.unique(cube.values[np.isfinite(cube.values)])) == {21824, 22280}


def test_thematic_mapper_and_land_imager_make_one_cube(tmp_path):
    """The same colours, whatever their numbers; a band that one of them lacks is NaN on its dates."""
    old = make.make_landsat(tmp_path, "old", time="2003-08-15T09:40:00Z", satellite="5")
    new = make.make_landsat(tmp_path, "new", bands=("COASTAL", "BLUE", "RED"), seed=1)
    cube = s2koop.load([make.landsat(new), make.landsat(old)])
    assert cube.band.values.tolist() == ["COASTAL", "BLUE", "RED", "NIR"]
    seen = cube.notnull().any(("y", "x")).values.tolist()
    assert seen == [[False, True, True, True], [True, True, True, False]]
    np.testing.assert_allclose(cube.sel(band="RED").values[0], reflectance(old, "RED"), atol=1e-7)
    np.testing.assert_allclose(cube.sel(band="RED").values[1], reflectance(new, "RED"), atol=1e-7)


def test_the_two_missions_are_not_mixed(tmp_path):
    sentinel = make.make_product(tmp_path, bands=("B04",))
    both = [make.landsat(make.make_landsat(tmp_path)), make.planetary_computer(sentinel)]
    with pytest.raises(InputError, match="of landsat and sentinel-2, whose bands differ; load each by itself"):
        s2koop.load(both)


def test_level_1_is_refused(tmp_path):
    item = make.landsat(make.make_landsat(tmp_path))
    item["id"] = "LC09_L1TP_193027_20230815_02_T1"
    item["collection"] = "landsat-c2-l1"
    item["properties"]["landsat:correction"] = "L1TP"
    with pytest.raises(InputError, match="is Landsat, but not of Level 2"):
        s2koop.load(item)
    with pytest.raises(InputError, match="level='L1C' is of Sentinel-2"):
        s2koop.load(item, level="L1C")


@pytest.mark.parametrize("through_pystac", [False, True])
def test_where_usgs_asks_to_log_in_the_file_on_s3_is_read(tmp_path, through_pystac):
    item = make.landsat(make.make_landsat(tmp_path, bands=("RED",)))
    path = "collection02/level-2/standard/oli-tirs/2023/193/027/SR_B4.TIF"
    red = item["assets"]["red"] | {"href": f"https://landsatlook.usgs.gov/data/{path}"}
    beside = {"alternate": {"s3": {"href": f"s3://usgs-landsat/{path}", "storage:requester_pays": True}}}
    for alternate, href in (
        (beside, f"s3://usgs-landsat/{path}"),
        ({"alternate": None}, red["href"]),
        ({}, red["href"]),
    ):
        item["assets"]["red"] = red | alternate
        [plain] = plain_items(pystac.Item.from_dict(item) if through_pystac else item)
        assert plain["assets"]["red"]["href"] == href


def test_what_stands_beside_is_checked_as_any_address(tmp_path):
    item = make.landsat(make.make_landsat(tmp_path, bands=("RED",)))
    item["links"] = [{"rel": "self", "href": "https://landsatlook.usgs.gov/stac-server/items/x"}]
    for asset in item["assets"].values():
        asset |= {"href": "https://landsatlook.usgs.gov/x.TIF", "alternate": {"s3": {"href": "/etc/passwd"}}}
    with pytest.raises(InputError, match="passwd"):
        s2koop.load(item)


def test_an_offset_of_ones_own(tmp_path):
    item = make.landsat(make.make_landsat(tmp_path))
    assert choose_offset(item, "red", offset=0.0) == 0.0
    assert harmonise(item, offset="metadata").boa_offset == -0.2


def test_search_of_a_folder_with_both(tmp_path):
    product = make.make_landsat(tmp_path)
    (tmp_path / "landsat.json").write_text(json.dumps(make.landsat(product)))
    sentinel = make.earth_search_c1(make.make_product(tmp_path, bands=("B04",), time="2021-08-15T09:59:00Z"))
    (tmp_path / "sentinel.json").write_text(json.dumps(sentinel))
    assert len(s2koop.search(tmp_path)) == 2
    items = s2koop.search(tmp_path, sensor="landsat")
    assert items.attribution == "Landsat Collection 2 2023 courtesy of the U.S. Geological Survey"
    [row] = items.to_dataframe().to_dict("records")
    assert (row["tile"], row["bands"], row["crs"]) == ("193027", ("BLUE", "RED", "NIR", "QA_PIXEL"), "EPSG:32632")
    assert row["bytes"] == 4 * 16 * 16 * 2
    assert s2koop.load(items).attrs["sensor"] == "Landsat"
    [other] = s2koop.search(tmp_path, sensor="sentinel-2")
    assert other.id == "scene"

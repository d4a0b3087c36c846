"""Items given twice, and items whose metadata cannot be read: each has one outcome, and a cube says what it lacks."""

from __future__ import annotations

import json

import numpy as np
import pystac
import pytest

import s2koop
from s2koop._skipped import Skip, from_text
from s2koop.errors import CatalogError, InputError, MaskedItemsWarning, NoItemsError, ReflectanceError
from tests.support import items as make

DAYS = ("2023-08-15T10:00:00Z", "2023-08-17T10:00:00Z", "2023-08-19T10:00:00Z")


@pytest.fixture
def three(tmp_path):
    """Three items of three days."""
    return [
        make.planetary_computer(make.make_product(tmp_path, f"s{number}", time=day, bands=("B04",), seed=number))
        for number, day in enumerate(DAYS)
    ]


def dates(cube) -> list[str]:
    return cube.time.values.astype("datetime64[D]").astype(str).tolist()


@pytest.mark.parametrize("through_pystac", [False, True])
@pytest.mark.parametrize("groupby", ["solar_day", None])
def test_an_item_given_twice_is_loaded_once(three, through_pystac, groupby):
    items = [pystac.Item.from_dict(item) if through_pystac else item for item in [*three, three[0], three[0]]]
    cube = s2koop.load(items, groupby=groupby)
    assert cube.sizes["time"] == 3
    assert cube.id.values.tolist() == ["s0", "s1", "s2"]
    np.testing.assert_array_equal(cube.values, s2koop.load(three).values)


def test_two_signatures_of_a_file_are_one_file(three):
    signed = []
    for token in ("sig=one", "sig=two"):
        assets = {
            key: {**asset, "href": f"https://host.org/B04.tif?{token}"} for key, asset in three[0]["assets"].items()
        }
        signed.append({**three[0], "assets": assets})
    assert s2koop.load(signed, groupby=None).sizes["time"] == 1


def test_one_name_for_other_files_is_another_item(three):
    """Two processings of a scene may share their id; both are there, and the newer one lies on top."""
    other = {**three[1], "id": "s0"}
    assert s2koop.load([three[0], other]).sizes["time"] == 2


BROKEN = {
    "shape in words": ({"proj:shape": ["a", "b"]}, "metadata of a wrong kind .ValueError"),
    "shape of one side": ({"proj:shape": [48]}, "metadata of a wrong kind"),
    "shape of no pixel": ({"proj:shape": [-48, 48]}, "has -48 x 48 pixels"),
    "shape of all memory": ({"proj:shape": [10**9, 10**9]}, "has 1000000000 x 1000000000 pixels"),
    "shape beyond numbers": ({"proj:shape": [float("inf"), 4]}, "metadata of a wrong kind .OverflowError"),
    "shape that is no number": ({"proj:shape": [float("nan"), 4]}, "metadata of a wrong kind .ValueError"),
    "transform of nulls": ({"proj:transform": [None] * 6}, "metadata of a wrong kind .TypeError"),
    "transform of two": ({"proj:transform": [10, 0]}, "metadata of a wrong kind .ValueError"),
    "transform as text": ({"proj:transform": "10 0 0 0 -10 0"}, "metadata of a wrong kind .ValueError"),
    "transform beyond numbers": ({"proj:transform": [10, 0, float("inf"), 0, -10, 0]}, "that is no grid"),
    "scale as text": ({"raster:bands": [{"scale": "fine"}]}, "metadata of a wrong kind .ValueError"),
    "bands that are numbers": ({"raster:bands": [5]}, "metadata of a wrong kind .AttributeError"),
    "bands that are one object": ({"raster:bands": {"scale": 1}}, "metadata of a wrong kind"),
}
PROPERTIES = {
    "sun in words": ({"s2:mean_solar_zenith": "high"}, "metadata of a wrong kind .ValueError"),
    "cloud as a list": ({"eo:cloud_cover": [1]}, "metadata of a wrong kind .TypeError"),
    "no CRS": ({"proj:epsg": None}, "gives no EPSG code"),
    "CRS in words": ({"proj:epsg": "UTM"}, "gives no EPSG code"),
    "date in words": ({"datetime": "yesterday"}, "metadata of a wrong kind .ValueError"),
}


def break_item(item, asset=None, properties=None):
    for held in item["assets"].values():
        held |= asset or {}
    item["properties"] |= properties or {}
    return item


@pytest.mark.parametrize("name", [*BROKEN, *PROPERTIES])
def test_metadata_that_cannot_be_read(three, name):
    asset, words = BROKEN.get(name, ({}, ""))
    properties, words = PROPERTIES.get(name, ({}, words))
    items = [three[0], break_item(three[1], asset, properties), three[2]]
    with pytest.raises(InputError, match=f"item 's1'.*{words}"):
        s2koop.load(items)
    with pytest.warns(MaskedItemsWarning, match=f"1 left out: 's1': .*{words}") as warned:
        cube = s2koop.load(items, errors="mask")
    assert [warning.filename for warning in warned] == [__file__]
    assert dates(cube) == ["2023-08-15", "2023-08-19"]
    [skip] = from_text(cube.attrs["skipped"])
    assert (skip.item, skip.asset) == ("s1", "")
    np.testing.assert_array_equal(cube.values, s2koop.load([three[0], three[2]]).values)


def test_an_offset_that_cannot_be_decided_is_left_out_too(three):
    del three[1]["properties"]["s2:processing_baseline"], three[1]["properties"]["s2:product_uri"]
    with pytest.raises(ReflectanceError, match="'s1'"):
        s2koop.load(three)
    with pytest.warns(MaskedItemsWarning, match="'s1'"):
        assert s2koop.load(three, errors="mask").sizes["time"] == 2


def test_nothing_left_is_an_error(three):
    for item in three:
        break_item(item, {"proj:shape": "many"})
    with pytest.warns(MaskedItemsWarning, match="3 left out"), pytest.raises(NoItemsError, match="of 3 items none"):
        s2koop.load(three, errors="mask")


def test_what_the_search_left_out_goes_with_the_cube_into_files(three, tmp_path):
    import xarray as xr

    folder = tmp_path / "items"
    folder.mkdir()
    for number, item in enumerate(three):
        broken = {**item, "properties": None} if number == 1 else item
        (folder / f"{number}.json").write_text(json.dumps(broken))
    with pytest.raises(CatalogError, match="'s1'"):
        s2koop.search(folder)
    with pytest.warns(MaskedItemsWarning, match="'s1'"):
        items = s2koop.search(folder, errors="mask")
    cube = s2koop.load(items)
    skips = from_text(cube.attrs["skipped"])
    assert skips == [Skip("s1", "", "its properties are None, expected an object")]
    cube.to_netcdf(tmp_path / "cube.nc")
    with xr.open_dataset(tmp_path / "cube.nc") as saved:
        assert from_text(saved.reflectance.attrs["skipped"]) == skips
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    assert from_text(xr.open_zarr(tmp_path / "cube.zarr", consolidated=False).reflectance.attrs["skipped"]) == skips


def test_a_whole_cube_says_nothing_of_it(three):
    assert "skipped" not in s2koop.load(three).attrs

"""Cubes of real scenes, pixel for pixel against their files."""

import numpy as np
import pystac
import pytest
import rasterio

import s2koop


@pytest.fixture(scope="module")
def tiles(shared_data):
    """Ten real items of two tiles and five dates."""
    folder = shared_data("stac_local")
    return [pystac.Item.from_file(path) for path in sorted(folder.glob("*/*.json"))]


def pixels(item, key):
    with rasterio.open(item.assets[key].get_absolute_href()) as dataset:
        return dataset.read(1), dataset.transform


def test_every_pixel_of_every_real_item(tiles):
    for item in tiles:
        cube = s2koop.load(item, bands=["blue", "nir"], mask=None)
        for band, key in (("B02", "blue"), ("B08", "nir")):
            numbers, transform = pixels(item, key)
            want = np.where(numbers == 0, np.nan, numbers / 10000).astype(np.float32)
            np.testing.assert_array_equal(cube.sel(band=band).values[0], want)
            assert cube.rio.transform() == transform


def test_scene_classes_of_real_items(tiles):
    item = tiles[0]
    classes, _ = pixels(item, "scl")
    cube = s2koop.load(item, bands=["red"], mask=[4, 5])
    numbers, _ = pixels(item, "red")
    keep = np.isin(classes, (4, 5)) & (numbers > 0)
    np.testing.assert_array_equal(np.isfinite(cube.values[0, 0]), keep)


def test_ten_items_make_five_dates(tiles):
    cube = s2koop.load(tiles, mask=None)
    assert cube.sizes["time"] == 5
    assert cube.platform.values.tolist() == [f"sentinel-2{letter}" for letter in "bbaab"]
    assert (np.diff(cube.time.values) > np.timedelta64(0)).all()
    assert cube.attrs["sensor"] == "Sentinel-2 MSI"
    south = [item for item in tiles if "33TWL" in item.id]
    lower = s2koop.load(south, bands=["red"], mask=None)
    both = cube.sel(band=["B04"]).sel(x=lower.x, y=lower.y, method="nearest")
    assert float(np.abs(both.mean() - lower.mean()).compute()) < 0.01


def test_all_resolutions_of_a_real_scene(shared_data):
    path = next(shared_data("stac_local_fullbands").glob("*.json"))
    item = pystac.Item.from_file(path)
    cube = s2koop.load(item, mask=None)
    assert cube.shape == (1, 12, 240, 240)
    for band, key, times in (("B04", "red", 1), ("B8A", "nir08", 2), ("B09", "nir09", 6)):
        numbers, _ = pixels(item, key)
        want = np.where(numbers == 0, np.nan, numbers / 10000).astype(np.float32).repeat(times, 0).repeat(times, 1)
        np.testing.assert_array_equal(cube.sel(band=band).values[0], want)
    layers = s2koop.load(item, bands=["AOT", "WVP"], mask=None).compute()
    assert 0 < float(layers.sel(band="AOT").median()) < 2
    assert 0 < float(layers.sel(band="WVP").median()) < 6

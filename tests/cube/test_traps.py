"""Traps that real catalogues have set: each test fails if the cure is taken away."""

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine

import s2koop
from tests.support import items as make


def test_1_a_corrected_scene_whose_offset_is_still_listed_is_not_corrected_again(tmp_path):
    """Earth Search v1: boa_offset_applied with offset -0.1 in raster:bands made dark ground negative."""
    product = make.make_product(tmp_path, baseline="05.09", carried=0, bands=("B04",))
    item = make.earth_search_v1(product, applied=True, listed=-0.1)
    np.testing.assert_array_equal(s2koop.load(item).values[0, 0], product.reflectance("B04"))
    twice = s2koop.load(item, offset="metadata").values[0, 0]
    np.testing.assert_allclose(twice, product.reflectance("B04") - 0.1, atol=1e-6)


def test_1_on_real_pixels(shared_data):
    folder = shared_data("stac_local")
    items = [pystac.Item.from_file(path) for path in sorted(folder.glob("*/*.json"))]
    assert all(item.properties["earthsearch:boa_offset_applied"] for item in items)
    clear = s2koop.load(items, bands=["red"], mask=[4, 5])
    assert (clear.boa_offset == 0).all()
    assert 0.01 < float(clear.compute().median()) < 0.1
    assert float(s2koop.load(items, bands=["red"], mask=[4, 5], offset="metadata").compute().median()) < -0.05


@pytest.mark.parametrize(("baseline", "carried"), [("03.01", 0), ("04.00", 1000), ("05.10", 1000), ("99.99", 1000)])
def test_2_the_planetary_computer_lists_no_offset(tmp_path, baseline, carried):
    product = make.make_product(tmp_path, baseline=baseline, carried=carried, bands=("B04",))
    cube = s2koop.load(make.planetary_computer(product))
    np.testing.assert_array_equal(cube.values[0, 0], product.reflectance("B04"))


def test_3_pystac_rewrites_proj_epsg(tmp_path):
    """Stackstac by itself stops at such items with "Cannot pick a common CRS"."""
    import stackstac

    product = make.make_product(tmp_path, baseline="02.14", bands=("B04",))
    item = pystac.Item.from_dict(make.earth_search_v1(product, applied=False, listed=0))
    assert "proj:epsg" not in item.to_dict()["properties"]
    with pytest.raises(ValueError, match="Cannot pick a common CRS"):
        stackstac.stack([item.to_dict()], assets=["red"])
    np.testing.assert_array_equal(s2koop.load([item]).values[0, 0], product.reflectance("B04"))


def test_4_an_origin_off_the_multiples_adds_no_column(tmp_path):
    """Stackstac by itself makes 257 columns of 256, and every pixel comes from half a pixel beside."""
    import stackstac

    transform = Affine(120, 0, 539580, 0, -120, 5060400)  # 539580 is 4496.5 times 120
    numbers = np.random.default_rng(4).integers(1, 5000, (256, 256)).astype(np.uint16)
    path = make.write_tiff(tmp_path / "B04.tif", numbers, transform, 32633)
    grid = {"proj:epsg": 32633, "proj:shape": [256, 256], "proj:transform": list(transform)[:6]}
    item = {
        "id": "x",
        "properties": {"datetime": "2023-08-15T10:00:00Z", "s2:processing_baseline": "02.14"},
        "assets": {"B04": {"href": str(path), **grid}},
    }
    assert stackstac.stack([item], assets=["B04"]).sizes["x"] == 257
    cube = s2koop.load(item, mask=None, level="L2A")
    assert dict(cube.sizes) == {"time": 1, "band": 1, "y": 256, "x": 256}
    assert cube.rio.transform() == transform
    np.testing.assert_array_equal(cube.values[0, 0], (numbers / 10000).astype(np.float32))


def test_5_both_levels_of_a_scene_follow_their_own_offset(tmp_path):
    toa = make.make_product(tmp_path, "toa", level="L1C", baseline="05.09", carried=1000, bands=("B04",), seed=1)
    boa = make.make_product(tmp_path, "boa", baseline="05.09", carried=0, bands=("B04",), seed=2)
    toa_cube = s2koop.load(make.l1c(toa))
    boa_cube = s2koop.load(make.earth_search_v1(boa, applied=True))
    assert (toa_cube.boa_offset.item(), boa_cube.boa_offset.item()) == (-0.1, 0.0)
    assert (toa_cube.attrs["level"], boa_cube.attrs["level"]) == ("TOA", "BOA")
    np.testing.assert_array_equal(toa_cube.values[0, 0], toa.reflectance("B04"))
    np.testing.assert_array_equal(boa_cube.values[0, 0], boa.reflectance("B04"))


def test_5_on_real_pairs(tmp_path, shared_data):
    """Two real chips whose L1C carried +1000 and nothing, put back and loaded through their items."""
    pairs = np.load(shared_data("l1c_l2a_pairs_terramind.npz"))
    for number, carried in enumerate(pairs["offset_removed_l1c"]):
        band = list(pairs["bands_l1c"]).index("B04")
        numbers = pairs["l1c"][number, band].astype(np.int64)
        stored = np.where(numbers > 0, numbers + carried, 0).astype(np.uint16)
        transform = Affine(10, 0, 399960, 0, -10, 5300040)
        path = make.write_tiff(tmp_path / f"chip{number}.tif", stored, transform, 32632)
        grid = {"proj:epsg": 32632, "proj:shape": list(stored.shape), "proj:transform": list(transform)[:6]}
        item = {
            "id": f"S2A_MSIL1C_chip{number}",
            "properties": {
                "datetime": "2023-08-15T10:00:00Z",
                "s2:processing_baseline": "04.00" if carried else "03.01",
            },
            "assets": {"B04": {"href": str(path), **grid}},
        }
        values = s2koop.load(item).values[0, 0]
        np.testing.assert_array_equal(values[numbers > 0], (numbers[numbers > 0] / 10000).astype(np.float32))


@pytest.mark.parametrize(
    ("dtype", "missing", "declared", "scale"),
    [
        ("uint16", 0, None, 1e-4),  # ESA, also where nobody says so
        ("uint16", 0, 0, 1e-4),  # Romania
        ("uint16", 65535, 65535, 1e-4),
        ("int16", -10000, None, 1e-4),  # Theia
        ("int16", -10000, -10000, 1e-4),
        ("int16", -9999, -9999, 1e-4),
        ("float32", np.nan, None, 1.0),  # EOA
        ("float32", 1e20, None, 1.0),
        ("float32", -9999, -9999, 1.0),
    ],
)
@pytest.mark.parametrize("resolution", [10, 20])
@pytest.mark.parametrize("listed", [False, True])
def test_7_every_providers_word_for_nothing(tmp_path, dtype, missing, declared, scale, resolution, listed):
    """``declared`` is in the file, or, where ``listed``, in the item only; both roads of the reader are taken."""
    truth = np.full((16, 16), 0.25, np.float32)
    numbers = (truth / scale).astype(dtype)
    numbers[:4] = missing
    transform = Affine(10, 0, 399960, 0, -10, 5300040)
    path = make.write_tiff(tmp_path / "B04.tif", numbers, transform, 32632, nodata=None if listed else declared)
    raster = {"data_type": dtype, "scale": scale, "offset": 0}
    if listed and declared is not None:
        raster["nodata"] = declared
    grid = {"proj:epsg": 32632, "proj:shape": [16, 16], "proj:transform": list(transform)[:6]}
    item = {
        "id": "x",
        "properties": {"datetime": "2023-08-15T10:00:00Z"},
        "assets": {"B04": {"href": str(path), "raster:bands": [raster], **grid}},
    }
    values = s2koop.load(item, mask=None, level="L2A", resolution=resolution).values[0, 0]
    gone = 40 // resolution
    assert np.isnan(values[:gone]).all()
    np.testing.assert_allclose(values[gone:], 0.25, atol=1e-6)


def test_7_nothing_outside_of_a_file_is_zero(tmp_path):
    """A file without a nodata value, resampled beyond its edge: NaN, not reflectance 0 or -0.1."""
    product = make.make_product(tmp_path, baseline="05.09", carried=1000, bands=("B04", "B8A"))
    with rasterio.open(product.files["B8A"], "r+") as dataset:
        dataset.nodata = None
    other = make.make_product(
        tmp_path, "other", baseline="05.09", carried=1000, bands=("B04",), origin=(400440.0, 5300040.0)
    )
    cube = s2koop.load([make.planetary_computer(product), make.planetary_computer(other)])
    beyond = cube.sel(band="B8A").values[0, :, 48:]
    assert np.isnan(beyond).all()
    assert np.isfinite(cube.sel(band="B8A").values[0, :, :48]).all()


def test_7_nothing_outside_of_a_signed_file_is_zero(tmp_path):
    """In signed numbers 0 is a value, so what lies beyond the file must be told from it; Theia writes int16."""
    items = []
    for number in range(2):
        transform = Affine(10, 0, 399960 + 160 * number, 0, -10, 5300040)
        path = tmp_path / f"{number}.tif"
        make.write_tiff(path, np.zeros((16, 16), np.int16), transform, 32632, nodata=-10000)
        raster = {"data_type": "int16", "scale": 0.0001, "offset": 0}
        grid = {"proj:epsg": 32632, "proj:shape": [16, 16], "proj:transform": list(transform)[:6]}
        stamp = f"2023-08-1{number}T10:00:00Z"
        asset = {"href": str(path), "raster:bands": [raster], **grid}
        items.append({"id": f"{number}", "properties": {"datetime": stamp}, "assets": {"B04": asset}})
    cube = s2koop.load(items, mask=None, level="L2A")
    want = np.full((2, 1, 16, 32), np.nan, np.float32)
    want[0, :, :, :16] = want[1, :, :, 16:] = 0
    np.testing.assert_array_equal(cube.values, want)

"""The cube that comes out of items: pixels, grid, days, chunks, coordinates, errors, against known truth."""

import json
import pickle

import dask
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

import s2koop
from s2koop.errors import InputError, NoItemsError, SparseCubeWarning
from tests.cube.test_harmonise import LEVEL_1C, PROVIDERS
from tests.support import items as make

pytestmark = pytest.mark.usefixtures("each_engine")


def expected(product, band):
    return product.reflectance(band)


def old(folder, name="scene", **options):
    """An item before baseline 04.00, as Earth Search describes it, and its product."""
    product = make.make_product(folder, name, **({"baseline": "02.14"} | options))
    return product, make.earth_search_v1(product, applied=False, listed=0)


@pytest.mark.parametrize(
    ("describe", "baseline", "carried", "offset"),
    [case[1:] for case in PROVIDERS],
    ids=[c[0] for c in PROVIDERS],
)
def test_every_provider_gives_the_true_reflectance(tmp_path, describe, baseline, carried, offset):
    product = make.make_product(tmp_path, baseline=baseline, carried=carried)
    cube = s2koop.load(describe(product))
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.dtype == np.float32
    assert cube.band.values.tolist() == ["B01", "B02", "B04", "B08", "B8A"]
    np.testing.assert_array_equal(cube.sel(band="B04").values[0], expected(product, "B04"))
    assert cube.boa_offset.values.tolist() == [offset]
    assert cube.attrs["level"] == "BOA"


@pytest.mark.parametrize(
    ("baseline", "carried", "offset"), [case[1:] for case in LEVEL_1C], ids=[c[0] for c in LEVEL_1C]
)
def test_level_1c_gives_the_true_reflectance(tmp_path, baseline, carried, offset):
    product = make.make_product(tmp_path, baseline=baseline, carried=carried, level="L1C", bands=("B04", "B10"))
    cube = s2koop.load(make.l1c(product))  # the default mask passes over L1C
    np.testing.assert_array_equal(cube.sel(band="B04").values[0], expected(product, "B04"))
    assert (cube.attrs["level"], cube.boa_offset.item()) == ("TOA", offset)


def test_all_forms_of_items_give_one_cube(tmp_path):
    _, item = old(tmp_path)
    features = {"type": "FeatureCollection", "features": [item]}
    parsed = pystac.Item.from_dict(item)

    class Search:
        def item_collection(self):
            return pystac.ItemCollection([parsed])

    first = s2koop.load(item).compute()
    for form in (features, [item], parsed, [parsed], pystac.ItemCollection([parsed]), Search()):
        xr.testing.assert_identical(s2koop.load(form).compute(), first)


def test_relative_hrefs_are_found_beside_their_item(tmp_path):
    product, item = old(tmp_path, bands=("B04",))
    for asset in item["assets"].values():
        asset["href"] = f"./{asset['href'].rsplit('/', 1)[-1]}"
    path = tmp_path / "item.json"
    item["links"] = [{"rel": "self", "href": str(path)}]
    path.write_text(json.dumps(item))
    for form in (item, pystac.Item.from_file(path)):
        np.testing.assert_array_equal(s2koop.load(form).values[0, 0], expected(product, "B04"))


class TestGrid:
    def test_crs_transform_and_centres_are_exact(self, tmp_path):
        _, item = old(tmp_path)
        cube = s2koop.load(item)
        assert cube.rio.crs.to_epsg() == 32632
        assert tuple(cube.rio.transform())[:6] == (10.0, 0.0, 399960.0, 0.0, -10.0, 5300040.0)
        assert cube.rio.bounds() == (399960.0, 5299560.0, 400440.0, 5300040.0)
        assert (cube.x.values[0], cube.y.values[0]) == (399965.0, 5300035.0)

    def test_coarser_bands_are_repeated_exactly(self, tmp_path):
        product, item = old(tmp_path)
        cube = s2koop.load(item)
        for band, times in (("B8A", 2), ("B01", 6)):
            want = expected(product, band).repeat(times, 0).repeat(times, 1)
            np.testing.assert_array_equal(cube.sel(band=band).values[0], want)

    def test_resolution_is_that_of_the_finest_asked_band(self, tmp_path):
        _, item = old(tmp_path)
        assert s2koop.load(item, bands=["B8A", "B01"]).rio.resolution() == (20.0, -20.0)
        assert s2koop.load(item, bands=["B01"]).rio.resolution() == (60.0, -60.0)

    def test_average_of_finer_pixels(self, tmp_path):
        product, item = old(tmp_path, bands=("B04",))
        cube = s2koop.load(item, resolution=20, resampling="average")
        fine = expected(product, "B04").astype(np.float64).reshape(24, 2, 24, 2).mean((1, 3))
        np.testing.assert_allclose(cube.values[0, 0], fine, atol=0.6e-4)  # digital numbers are whole

    def test_average_leaves_missing_pixels_out(self, tmp_path):
        holes = np.zeros((48, 48), bool)
        holes[0, 0] = True
        product, item = old(tmp_path, bands=("B04",), holes=holes)
        cube = s2koop.load(item, resolution=20, resampling="average")
        np.testing.assert_allclose(cube.values[0, 0, 0, 0], np.nanmean(expected(product, "B04")[:2, :2]), atol=0.6e-4)

    def test_bbox_clips_in_whole_pixels_of_the_files(self, tmp_path):
        product, item = old(tmp_path, bands=("B04",))
        box = box_of(32632, 399990.0 + 1, 5299700.0 + 1, 400200.0 - 1, 5300000.0 - 1)
        cube = s2koop.load(item, bbox=box)
        west, south, east, north = cube.rio.bounds()
        assert (west - 399960) % 10 == (5300040 - north) % 10 == 0
        assert (west <= 399991, south <= 5299701, east >= 400199, north >= 5299999) == (True,) * 4
        assert max(east - west - 240, north - south - 330) <= 0
        row, column = round((5300040 - north) / 10), round((west - 399960) / 10)
        want = expected(product, "B04")[row : row + cube.sizes["y"], column : column + cube.sizes["x"]]
        np.testing.assert_array_equal(cube.values[0, 0], want)

    def test_bbox_wider_than_the_items_is_clipped_to_them(self, tmp_path):
        _, item = old(tmp_path, bands=("B04",))
        assert s2koop.load(item, bbox=(7, 47, 9, 48.5)).rio.bounds() == (
            399960.0,
            5299560.0,
            400440.0,
            5300040.0,
        )

    def test_other_crs_puts_pixels_where_they_belong(self, tmp_path):
        product, item = old(tmp_path, bands=("B04",))
        cube = s2koop.load(item, crs=32631, resolution=10).isel(time=0, band=0)
        assert cube.rio.crs.to_epsg() == 32631
        assert cube.rio.transform().c % 10 == 0
        back = cube.rio.reproject(
            "EPSG:32632", transform=rasterio.Affine(*list(product.transforms["B04"])[:6]), shape=(48, 48)
        )
        inner = (slice(4, -4), slice(4, -4))
        same = back.values[inner] == expected(product, "B04")[inner]
        assert same.mean() > 0.6  # twice nearest: most pixels come home, and none would if the grid were shifted

    def test_warped_pixels_do_not_depend_on_chunks(self, tmp_path):
        """With GDAL's own tolerance of an eighth of a pixel some would, here between UTM and LAEA over 12 km."""
        _, item = old(tmp_path, bands=("B04",), size=1200)
        whole, tiles = (s2koop.load(item, crs=3035, resolution=10, chunks=size) for size in (4096, 500))
        np.testing.assert_array_equal(whole.values, tiles.values)

    @pytest.mark.parametrize(
        "resampling", ["nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "q1"]
    )
    def test_resampled_pixels_do_not_depend_on_chunks(self, tmp_path, resampling):
        """Finer and coarser pixels, with and without centres that coincide; holes at random."""
        holes = np.random.default_rng(1).random((48, 48)) < 0.1
        _, item = old(tmp_path, bands=("B01", "B04"), holes=holes)
        for resolution in (7, 20, 25):
            options = {"resolution": resolution, "resampling": resampling, "mask": None}
            whole, parts = (s2koop.load(item, chunks=size, **options).values for size in (4096, 13))
            assert 0 < np.isnan(whole).mean() < 0.5
            # a mean of areas that lies between two digital numbers is rounded to either
            np.testing.assert_allclose(parts, whole, rtol=0, atol=1.01e-4 if resampling == "average" else 0)

    def test_degrees_need_a_resolution(self, tmp_path):
        _, item = old(tmp_path, bands=("B04",))
        with pytest.raises(InputError, match=r"resolution is needed.*degree"):
            s2koop.load(item, crs="EPSG:4326")
        assert s2koop.load(item, crs="EPSG:4326", resolution=0.0001).notnull().any()

    def test_numbers_of_numpy_are_those_of_python(self, tmp_path):
        product, item = old(tmp_path, bands=("B04",))
        options = {"resolution": np.int64(10), "offset": np.float32(-0.1), "tries": np.int64(2), "mask": np.int64(4)}
        cube = s2koop.load(item, chunks=np.int64(16), **options)
        assert cube.chunks[2:] == ((16, 16, 16), (16, 16, 16))
        np.testing.assert_allclose(cube.values[0, 0], expected(product, "B04") - np.float32(0.1), atol=1e-6)

    def test_a_point_gives_the_pixel_that_holds_it(self, tmp_path):
        product, item = old(tmp_path, bands=("B04",))
        lon, lat, *_ = box_of(32632, 400005.0, 5299905.0, 400005.0, 5299905.0)
        cube = s2koop.load(item, bbox=(lon, lat, lon, lat))
        assert (cube.x.values.tolist(), cube.y.values.tolist()) == ([400005.0], [5299905.0])
        assert cube.values.item() == expected(product, "B04")[13, 4]

    def test_one_pixel_for_a_small_box_is_no_mistake(self, tmp_path):
        _, item = old(tmp_path, bands=("B04",))
        box = box_of(32632, 400003.0, 5299903.0, 400007.0, 5299907.0)
        assert s2koop.load(item, bbox=box).shape == (1, 1, 1, 1)


class TestFarApart:
    """Two whole tiles: only their metadata count, no pixel is read."""

    def tiles(self, folder, step):
        """Tiles one right of the other; ``step`` in metres from corner to corner."""
        for number in range(2):
            origin = (make.ORIGIN[0] + number * step, make.ORIGIN[1])
            _, item = old(folder, f"s{number}", origin=origin, bands=("B04",))
            for asset in item["assets"].values():
                asset["proj:shape"] = [size * 10980 // 48 for size in asset["proj:shape"]]
            yield item

    def test_mostly_empty_cubes_are_told_with_their_size(self, tmp_path):
        items = list(self.tiles(tmp_path, 1_000_000))
        with pytest.warns(SparseCubeWarning, match=r"fill only 20% of .* takes 4\.9 GB for each .*110,980 x") as caught:
            s2koop.load(items)
        assert caught[0].filename == __file__

    @pytest.mark.parametrize(
        ("step", "options"), [(100_000, {}), (1_000_000, {"resolution": 60}), (1_000_000, {"one": True})]
    )
    def test_neighbours_coarse_cubes_and_boxes_are_not(self, tmp_path, step, options):
        items = list(self.tiles(tmp_path, step))
        if options.pop("one", False):
            west, north = make.ORIGIN
            options["bbox"] = box_of(32632, west, north - 50_000, west + 50_000, north)
        s2koop.load(items, **options)


def box_of(epsg, *bounds):
    from pyproj import Transformer

    return Transformer.from_crs(epsg, 4326, always_xy=True).transform_bounds(*bounds)


class TestDays:
    def test_two_tiles_of_a_pass_make_one_date(self, tmp_path):
        west, item_west = old(tmp_path, "west", seed=1, bands=("B04",), time="2020-06-01T10:15:59Z")
        east, item_east = old(
            tmp_path,
            "east",
            seed=2,
            bands=("B04",),
            time="2020-06-01T10:16:13Z",
            origin=(400320.0, 5300040.0),
        )
        cube = s2koop.load([item_east, item_west])
        assert cube.shape == (1, 1, 48, 84)
        values = cube.values[0, 0]
        np.testing.assert_array_equal(values[:, :36], expected(west, "B04")[:, :36])
        np.testing.assert_array_equal(values[:, 48:], expected(east, "B04")[:, 12:])
        assert cube.id.item() == "west+east"
        assert cube.time.values[0] == np.datetime64("2020-06-01T10:15:59")

    def test_the_newest_baseline_lies_on_top_and_each_keeps_its_offset(self, tmp_path):
        holes = np.zeros((48, 48), bool)
        holes[:, :24] = True
        first = make.make_product(tmp_path, "first", baseline="02.14", bands=("B04",), seed=1)
        again = make.make_product(
            tmp_path, "again", baseline="05.00", carried=1000, bands=("B04",), seed=2, holes=holes
        )
        cube = s2koop.load([make.planetary_computer(first), make.planetary_computer(again)])
        values = cube.values[0, 0]
        np.testing.assert_array_equal(values[:, :24], expected(first, "B04")[:, :24])
        np.testing.assert_array_equal(values[:, 24:], expected(again, "B04")[:, 24:])
        assert np.isnan(cube.boa_offset.item())  # two offsets in one date
        assert cube.processing_baseline.item() == "05.00+02.14"

    def test_apart_on_request_and_times_repeat(self, tmp_path):
        pairs = [old(tmp_path, name, seed=i, bands=("B04",)) for i, name in enumerate("ab")]
        cube = s2koop.load([item for _, item in pairs], groupby=None)
        assert cube.sizes["time"] == 2
        assert cube.time.values[0] == cube.time.values[1]
        for row, (product, _) in enumerate(pairs):
            np.testing.assert_array_equal(cube.values[row, 0], expected(product, "B04"))

    def test_dates_are_sorted(self, tmp_path):
        stamps = ["2020-07-01T10:00:00Z", "2020-05-01T10:00:00Z", "2020-06-01T10:00:00Z"]
        items = [old(tmp_path, f"s{i}", time=stamp, bands=("B04",))[1] for i, stamp in enumerate(stamps)]
        assert s2koop.load(items).id.values.tolist() == ["s1", "s2", "s0"]

    @pytest.mark.parametrize(
        ("epsg", "first", "second", "dates"),
        [
            (
                32660,
                "2020-06-01T23:58:00Z",
                "2020-06-02T00:02:00Z",
                1,
            ),  # 177 E: one morning, two dates of UTC
            (32601, "2020-06-01T23:58:00Z", "2020-06-02T00:02:00Z", 1),  # 177 W
            (32632, "2020-06-01T10:00:00Z", "2020-06-02T10:00:00Z", 2),
        ],
    )
    def test_the_day_is_that_of_the_sun(self, tmp_path, epsg, first, second, dates):
        items = [
            old(tmp_path, name, time=stamp, epsg=epsg, bands=("B04",), origin=(500000.0, 5300040.0))[1]
            for name, stamp in (("a", first), ("b", second))
        ]
        assert s2koop.load(items).sizes["time"] == dates

    def test_a_pass_over_the_date_line_is_one_date(self, tmp_path):
        """180 degrees runs through the middle of these 480 m; noon there is midnight in UTC."""
        options = {"epsg": 32601, "bands": ("B04",), "origin": (169920.0, 1000020.0)}
        items = [
            old(tmp_path, name, time=stamp, **options)[1]
            for name, stamp in (("a", "2020-06-01T23:59:53Z"), ("b", "2020-06-02T00:00:07Z"))
        ]
        assert s2koop.load(items).sizes["time"] == 1

    def test_a_date_without_a_band_is_missing_there(self, tmp_path):
        _, full = old(tmp_path, "full", time="2020-06-01T10:00:00Z", bands=("B04", "B08"))
        _, part = old(tmp_path, "part", time="2020-06-06T10:00:00Z", bands=("B04",))
        cube = s2koop.load([full, part])
        missing = cube.isnull().mean(("y", "x")).values
        np.testing.assert_array_equal(missing, [[0, 0], [0, 1]])


class TestMask:
    def scene(self, folder):
        classes = np.repeat(np.arange(12, dtype=np.uint8), 48).reshape(24, 24)
        return old(folder, bands=("B04", "B8A"), scl=classes)

    @pytest.mark.parametrize(
        ("mask", "kept"),
        [
            ("scl", {4, 5, 6, 7}),
            (None, set(range(12))),
            ([4], {4}),
            (["vegetation", "snow", 2], {2, 4, 11}),
            (np.array([4, 5]), {4, 5}),
        ],
    )
    def test_classes_kept(self, tmp_path, mask, kept):
        product, item = self.scene(tmp_path)
        classes = product.truth["SCL"].repeat(2, 0).repeat(2, 1)
        keep = np.isin(classes, list(kept))
        cube = s2koop.load(item, mask=mask)
        np.testing.assert_array_equal(cube.sel(band="B04").values[0], np.where(keep, expected(product, "B04"), np.nan))
        coarse = expected(product, "B8A").repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(cube.sel(band="B8A").values[0], np.where(keep, coarse, np.nan))

    def test_layers_come_unmasked_in_the_asked_order(self, tmp_path):
        product, item = self.scene(tmp_path)
        cube = s2koop.load(item, bands=["SCL", "B04"], mask=[4])
        assert cube.band.values.tolist() == ["SCL", "B04"]
        classes = product.truth["SCL"].astype(np.float32)
        np.testing.assert_array_equal(
            cube.sel(band="SCL").values[0], np.where(classes == 0, np.nan, classes).repeat(2, 0).repeat(2, 1)
        )
        assert cube.sel(band="B04").isnull().mean() == pytest.approx(11 / 12)

    def test_classes_are_taken_nearest_whatever_the_resampling(self, tmp_path, rng):
        _, item = old(tmp_path, bands=("B04",), scl=rng.choice([4, 9], (24, 24)))
        cube = s2koop.load(item, bands=["SCL", "B04"], mask=None, resolution=40, resampling="average")
        assert set(np.unique(cube.sel(band="SCL"))) == {4.0, 9.0}

    @pytest.mark.parametrize("chunks", [None, "time", {"band": 1}, {"band": -1, "y": 16}])
    def test_scene_classes_are_read_once_for_each_chunk(self, tmp_path, opened, chunks):
        _, item = old(tmp_path)
        s2koop.load(item, chunks=chunks).compute(scheduler="sync")
        tiles = 3 if isinstance(chunks, dict) and "y" in chunks else 1
        assert sum("SCL" in path for path in opened) == tiles
        assert sum("SCL" not in path for path in opened) == 5 * tiles

    def test_items_without_classes(self, tmp_path):
        product = make.make_product(tmp_path, baseline="02.14", bands=("B04",))
        item = make.planetary_computer(product)
        del item["assets"]["SCL"]
        with pytest.raises(InputError, match="mask=None"):
            s2koop.load(item)
        np.testing.assert_array_equal(s2koop.load(item, mask=None).values[0, 0], expected(product, "B04"))

    def test_classes_asked_of_level_1c(self, tmp_path):
        item = make.l1c(make.make_product(tmp_path, level="L1C", bands=("B04",)))
        with pytest.raises(InputError, match="no SCL"):
            s2koop.load(item, mask=[4, 5])


class TestLazy:
    def test_opening_reads_nothing_and_selecting_reads_what_is_selected(self, tmp_path, opened):
        items = [old(tmp_path, f"s{i}", time=f"2020-06-{i + 1:02d}T10:00:00Z")[1] for i in range(4)]
        cube = s2koop.load(items)
        assert dask.is_dask_collection(cube.data)
        assert opened == []
        cube.isel(time=1).sel(band="B04").compute(scheduler="sync")
        assert sorted(path.rsplit("/", 1)[-1] for path in opened) == ["s1_B04.tif", "s1_SCL.tif"]

    def test_a_thousand_items_open_without_reading(self, tmp_path, opened):
        """How long it takes is in benchmarks/open_cube.py; here: nothing is read, the graph stays small."""
        _, item = old(tmp_path)
        items = [
            {**item, "id": f"s{i}", "properties": item["properties"] | {"datetime": f"{stamp}T10:00:00Z"}}
            for i, stamp in enumerate(np.datetime64("2018-01-01") + np.arange(1000))
        ]
        cube = s2koop.load(items, chunks="time")
        assert cube.sizes["time"] == 1000
        assert opened == []
        assert len(pickle.dumps(cube.data.dask)) < 20e6

    @pytest.mark.parametrize(
        ("chunks", "sizes"),
        [
            (None, ((1, 1, 1), (1, 1), (48,), (48,))),
            ("time", ((3,), (2,), (48,), (48,))),
            (32, ((1, 1, 1), (1, 1), (32, 16), (32, 16))),
            ({"time": 2, "band": -1}, ((2, 1), (2,), (48,), (48,))),
        ],
    )
    def test_chunks_and_same_numbers(self, tmp_path, chunks, sizes):
        pairs = [
            old(tmp_path, f"s{i}", seed=i, time=f"2020-06-0{i + 1}T10:00:00Z", bands=("B04", "B8A")) for i in range(3)
        ]
        cube = s2koop.load([item for _, item in pairs], chunks=chunks)
        assert cube.chunks == sizes
        want = np.stack([expected(product, "B04") for product, _ in pairs])
        np.testing.assert_array_equal(cube.sel(band="B04").values, want)

    def test_equal_loads_have_equal_names_in_the_graph(self, tmp_path):
        _, item = old(tmp_path)
        assert s2koop.load(item).data.name == s2koop.load(item).data.name

    def test_survives_pickling(self, tmp_path):
        product, item = old(tmp_path, bands=("B04",))
        cube = pickle.loads(pickle.dumps(s2koop.load(item)))
        np.testing.assert_array_equal(cube.values[0, 0], expected(product, "B04"))


class TestSaved:
    def cube(self, folder):
        return s2koop.load([old(folder, f"s{i}", time=f"2020-06-0{i + 1}T10:00:00Z")[1] for i in range(2)])

    def test_zarr(self, tmp_path):
        cube = self.cube(tmp_path)
        cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
        again = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, decode_coords="all").reflectance
        xr.testing.assert_equal(again.compute(), cube.compute())
        assert again.attrs["level"] == "BOA"
        assert again.rio.crs.to_epsg() == 32632
        assert again.rio.transform() == cube.rio.transform()

    def test_netcdf(self, tmp_path):
        cube = self.cube(tmp_path)
        cube.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
        with xr.open_dataarray(tmp_path / "cube.nc", engine="h5netcdf", decode_coords="all") as again:
            xr.testing.assert_equal(again.load(), cube.compute())
            assert again.rio.crs.to_epsg() == 32632

    def test_coordinates_are_typed(self, tmp_path):
        cube = self.cube(tmp_path)
        assert cube.time.dtype == "datetime64[ns]"
        for name in ("cloud_cover", "sun_zenith", "sun_azimuth", "view_zenith", "view_azimuth", "boa_offset"):
            assert cube[name].dims == ("time",)
            assert cube[name].dtype == np.float64
        assert cube.sun_zenith.values.tolist() == [30.0, 30.0]
        assert cube.cloud_cover.values.tolist() == [12.5, 12.5]
        assert all(isinstance(text, str) for text in (*cube.id.values, *cube.platform.values, *cube.band.values))
        assert cube.wavelength.sel(band="B04").item() == 664.6


class TestRefused:
    def test_no_items(self):
        with pytest.raises(NoItemsError, match="widen the search"):
            s2koop.load([])

    @pytest.mark.parametrize("items", ["sample", 5, [3], {"a": 1}])
    def test_what_is_no_item(self, items):
        with pytest.raises(InputError, match="items"):
            s2koop.load(items)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bands": ["B4x"]}, "did you mean 'B04'"),
            ({"bands": ["purple"]}, "unknown band 'purple'"),
            ({"bands": ["B04", "red"]}, "twice"),
            ({"bands": []}, "bands is empty"),
            ({"bands": ["B12"]}, "the items hold no B12; they hold B01, B02, B04, B08, B8A, SCL"),
            ({"bbox": (10, 50, 5, 45)}, "west 10 east of its east 5"),
            ({"bbox": (5, 45, 10)}, "has 3 numbers, expected four"),
            ({"bbox": (399960, 5299560, 400440, 5300040)}, "projected coordinates; give degrees"),
            ({"engine": "odc"}, "engine='odc' is unknown; expected 'stackstac', 'odc-stac'"),
            ({"errors": "ignore"}, "expected 'raise', 'mask'"),
            ({"groupby": "month"}, "expected 'solar_day', None"),
            ({"offset": "none"}, "'auto', 'metadata', or a number"),
            ({"offset": -1000}, "-0.1, not -1000"),
            ({"offset": None}, "'auto', 'metadata', or a number in reflectance such as 0.0"),
            ({"offset": True}, "'auto', 'metadata', or a number"),
            ({"offset": float("nan")}, "in reflectance"),
            ({"level": "L3"}, "expected 'L2A', 'L1C'"),
            ({"tries": 0}, "tries=0"),
            ({"tries": True}, "tries=True"),
            ({"gdal": 3}, "gdal is a int and no mapping"),
            ({"bands": 4}, "bands=4 is no name"),
            ({"resampling": "best"}, "expected 'nearest'"),
            ({"resolution": -10}, "positive"),
            ({"resolution": (10, 20)}, "positive number"),
            ({"resolution": 481}, r"481 is larger than the items, which cover 480 x 480 in EPSG:32632 \(unit: metre"),
            ({"crs": 4326, "resolution": 10}, r"EPSG:4326 \(unit: degree\).*or say crs=32632.*\(unit: metre\)"),
            ({"resolution": 0.001}, r"480,000 x 480,000 pixels .* more than 100 times.*resolution is 10"),
            ({"crs": 4326, "resolution": 1e-7}, r"resolution=1e-07 \(unit: degree\) makes"),
            ({"crs": "no such"}, "not understood"),
            ({"mask": "clouds"}, "'clouds'"),
            ({"mask": [40]}, "no scene class"),
            ({"mask": []}, "mask is empty"),
            ({"mask": 4.5}, "4.5"),
            ({"mask": True}, "True"),
            ({"chunks": "space"}, "'time'"),
            ({"chunks": {"z": 1}}, r"\['z'\]"),
            ({"chunks": {"y": 0}}, "whole number"),
            ({"chunks": {"y": True}}, "whole number"),
            ({"chunks": True}, "=True must be a whole number of pixels"),
            ({"chunks": 3.5}, "=3.5 must be a whole number of pixels"),
        ],
    )
    def test_arguments(self, tmp_path, options, message, opened):
        _, item = old(tmp_path)
        with pytest.raises(InputError, match=message):
            s2koop.load(item, **options)
        assert opened == []

    def test_bbox_outside_the_items_shows_both_extents(self, tmp_path):
        _, item = old(tmp_path)
        with pytest.raises(NoItemsError, match=r"bbox=\(1.0, 2.0, 3.0, 4.0\) lies outside.*\(7\.66\d+, 47\.8"):
            s2koop.load(item, bbox=(1, 2, 3, 4))

    def test_items_of_two_crs(self, tmp_path):
        items = [
            old(tmp_path, f"s{epsg}{i}", epsg=epsg, bands=("B04",))[1]
            for epsg, i in ((32632, 0), (32632, 1), (32633, 0))
        ]
        with pytest.raises(InputError, match=r"EPSG:32632 \(2 items\), EPSG:32633 \(1 items\).*crs=32632"):
            s2koop.load(items)
        assert s2koop.load(items, crs=32632, resolution=1000).rio.crs.to_epsg() == 32632

    def test_levels_are_not_mixed(self, tmp_path):
        _, boa = old(tmp_path, bands=("B04",))
        toa = make.l1c(make.make_product(tmp_path, "toa", level="L1C", bands=("B04",)))
        with pytest.raises(InputError, match="mix L1C"):
            s2koop.load([boa, toa], mask=None)

    def test_items_without_any_band(self):
        item = {
            "id": "x",
            "properties": {"datetime": "2020-01-01T00:00:00Z"},
            "assets": {"thumbnail": {"href": "a.png"}},
        }
        with pytest.raises(InputError, match="no band of Sentinel-2 or Landsat"):
            s2koop.load(item)


@pytest.mark.slow
def test_distributed_gives_the_same_numbers(tmp_path):
    distributed = pytest.importorskip("distributed")
    product, item = old(tmp_path)
    cube = s2koop.load(item, chunks={"y": 16})
    want = cube.compute(scheduler="sync")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        xr.testing.assert_identical(cube.compute(), want)
    np.testing.assert_array_equal(want.sel(band="B04").values[0], expected(product, "B04"))

"""One contract for all engines: from the same items the same cube to the last bit, the same reads, the same errors."""

import tracemalloc
import warnings
from collections import Counter

import cloudpickle
import dask
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from dask.callbacks import Callback

import s2koop
from s2koop.cube import _odc, _reader
from s2koop.errors import AssetError, MaskedItemsWarning, MissingDependencyError
from tests.cube.test_harmonise import PROVIDERS
from tests.support import items as make
from tests.support.provider import LoopbackProvider

pytest.importorskip("odc.loader")

ENGINES = ("stackstac", "odc-stac")
FIRST = "/files/s0_B04.tif"
GDAL = {"GDAL_HTTP_MAX_RETRY": 0, "GDAL_HTTP_TIMEOUT": 1}
#: Ways to cut cubes of 48 pixels and more: as by default, whole series, and sizes that no length is a multiple of.
CUTS = (None, "time", 33, {"time": 2, "band": 3, "y": 50, "x": 29})


def series(folder, count=3, **options):
    """Dates five days apart; the offset comes into the digital numbers between the first and the second."""
    for number in range(count):
        carried = 1000 if number else 0
        kind = {"baseline": "05.00" if number else "02.14", "carried": carried, "seed": number}
        time = f"2022-01-{22 + 5 * number if number < 2 else 31}T10:15:59Z"
        yield make.make_product(folder, f"s{number}", time=time, **kind, **options)


def mosaic(folder):
    """A pass over two tiles that overlap, one processed twice, holes in each; one more the day after."""
    rng = np.random.default_rng(7)
    holes = [rng.random((48, 48)) < share for share in (0.3, 0.6, 0.0, 0.2)]
    east, north, new = (400320.0, 5300040.0), (399960.0, 5300280.0), {"baseline": "05.00", "carried": 1000}
    options = [
        {"name": "west", "baseline": "02.14", "seed": 1},
        {**new, "name": "again", "seed": 2},
        {**new, "name": "east", "seed": 3, "origin": east},
        {**new, "name": "north", "seed": 4, "origin": north, "time": "2023-08-16T10:00:00Z"},
    ]  # fmt: skip
    products = [make.make_product(folder, holes=hole, **asked) for hole, asked in zip(holes, options, strict=True)]
    return [make.planetary_computer(product) for product in products]


def lacking(folder):
    """Dates that lack a band, or have it alone, and one that lies beside the box."""
    bands = (("B02", "B04"), ("B04",), ("B01", "B8A"))
    products = [
        make.make_product(folder, f"s{n}", bands=held, time=f"2023-08-0{n + 1}T10:00:00Z", seed=n)
        for n, held in enumerate(bands)
    ]
    return [make.cdse(product) for product in products]


def one_pixel(folder):
    product = make.make_product(folder, baseline="02.14")
    west, south, *_ = product.bbox
    return [make.cdse(product)], {"bbox": (west + 0.003, south + 0.002, west + 0.003, south + 0.002), "offset": 0.0}


#: Items with what is asked of them; every one is cut in all ways.
CASES = {
    "series of mixed offsets": lambda folder: ([*map(make.planetary_computer, series(folder))], {}),
    "one date": lambda folder: ([make.cdse(make.make_product(folder))], {}),
    "one pixel": one_pixel,
    "mosaic of tiles": lambda folder: (mosaic(folder), {"mask": None}),
    "mosaic, each item apart": lambda folder: (mosaic(folder), {"groupby": None}),
    "missing bands": lambda folder: (lacking(folder), {"mask": None}),
    "pixels of 20 m": lambda folder: (mosaic(folder), {"resolution": 20, "resampling": "average"}),
    "pixels of 7 m": lambda folder: (mosaic(folder), {"resolution": 7, "resampling": "bilinear"}),
    "another CRS": lambda folder: (mosaic(folder), {"crs": 3035, "resolution": 10, "resampling": "cubic"}),
    "degrees": lambda folder: (mosaic(folder), {"crs": 4326, "resolution": 0.0001, "mask": None}),
    "layers in between": lambda folder: (mosaic(folder), {"bands": ["B8A", "SCL", "B02"], "mask": [4]}),
    "nothing kept": lambda folder: (mosaic(folder), {"mask": [11]}),
}


def agreed(items, **options):
    """The values of a cube on which all engines agree to the last bit, NaN included."""
    first, second = (s2koop.load(items, engine=engine, **options) for engine in ENGINES)
    assert dask.is_dask_collection(second.data)
    assert (second.dtype, second.chunks, second.encoding) == (np.float32, first.chunks, first.encoding)
    first, second = first.compute(scheduler="sync"), second.compute(scheduler="sync")
    xr.testing.assert_identical(second, first)
    np.testing.assert_array_equal(second.values.view(np.uint32), first.values.view(np.uint32))
    return second.values


@pytest.mark.parametrize("case", CASES)
def test_engines_give_one_cube(tmp_path, case):
    items, options = CASES[case](tmp_path)
    whole, *parts = (agreed(items, chunks=cut, **options) for cut in CUTS)
    for part in parts:  # nor do pixels depend on the cut
        np.testing.assert_array_equal(part, whole)


@pytest.mark.parametrize("engine", ENGINES)
class TestTruth:
    """What the files hold, and nothing that both engines might get wrong alike."""

    @pytest.mark.parametrize(
        ("describe", "baseline", "carried"), [case[1:4] for case in PROVIDERS], ids=[case[0] for case in PROVIDERS]
    )
    def test_every_provider(self, tmp_path, engine, describe, baseline, carried):
        product = make.make_product(tmp_path, baseline=baseline, carried=carried)
        cube = s2koop.load(describe(product), engine=engine, chunks="time")
        for band, times in (("B04", 1), ("B8A", 2), ("B01", 6)):  # 10, 20 and 60 m
            want = product.reflectance(band).repeat(times, 0).repeat(times, 1)
            np.testing.assert_array_equal(cube.sel(band=band).values[0], want)

    def test_first_valid_pixel_of_a_day_with_the_offset_of_its_item(self, tmp_path, engine):
        items = mosaic(tmp_path)[:2]
        products = [make.make_product(tmp_path / "bare", seed=seed) for seed in (1, 2)]
        cube = s2koop.load(items, bands=["B04"], engine=engine, mask=None).values[0, 0]
        with (
            rasterio.open(items[0]["assets"]["B04"]["href"]) as old,
            rasterio.open(items[1]["assets"]["B04"]["href"]) as new,
        ):
            below, above = old.read(1), new.read(1)
        first, second = (product.reflectance("B04") for product in products)
        want = np.where(above > 0, second, np.where(below > 0, first, np.nan))
        assert {(above > 0).any(), ((above == 0) & (below > 0)).any(), np.isnan(want).any()} == {True}
        np.testing.assert_array_equal(cube, want)

    def test_a_window_opens_only_the_files_under_it(self, tmp_path, engine, opened):
        items = [item for item in mosaic(tmp_path) if item["id"] != "north"]
        cube = s2koop.load(items, bands=["B04"], mask=None, engine=engine, chunks=12)
        opened.clear()
        cube[:, :, :, -12:].compute(scheduler="sync")  # where the western tile does not reach
        assert {path.rsplit("/", 1)[-1] for path in opened} == {"east_B04.tif"}

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_threads_hold_what_they_work_on_and_not_the_cube(self, tmp_path, engine, threads):
        """Bands and scene classes are tasks of their own: one must not wait in memory for all of the others."""
        product = make.make_product(tmp_path, size=96)
        cube = s2koop.load(make.cdse(product), engine=engine, chunks={"time": -1, "band": -1, "y": 8, "x": 8})
        most = 0

        class Held(Callback):
            def _posttask(self, key, result, dsk, state, worker):
                nonlocal most
                most = max(most, sum(getattr(value, "nbytes", 0) for value in state["cache"].values()))

        few = cube.isel(y=slice(0, None, 8), x=slice(0, None, 8))
        with dask.config.set(scheduler="threads", num_workers=threads), Held():
            few.compute()
        tile = cube.nbytes // cube.data.npartitions
        assert cube.data.npartitions == 144
        assert most < few.nbytes + (2 * threads + 6) * tile

    def test_nothing_is_read_before_it_is_asked_and_names_are_kept(self, tmp_path, engine, opened):
        items = mosaic(tmp_path)
        options = ({}, {"tries": 2}, {"offset": 0.0}, {"resampling": "average"})  # tries change no value
        cubes = [s2koop.load(items, engine=engine, **more) for more in options]
        assert opened == []
        names = [cube.data.name for cube in cubes]
        assert names[0] == names[1]
        assert len(set(names)) == 3

    def test_a_cube_can_be_sent_away(self, tmp_path, engine):
        product = make.make_product(tmp_path, baseline="02.14")
        cube = cloudpickle.loads(cloudpickle.dumps(s2koop.load(make.earth_search_v0(product), engine=engine)))
        np.testing.assert_array_equal(cube.sel(band="B04").values[0], product.reflectance("B04"))

    def test_a_chunk_is_held_once(self, tmp_path, engine):
        products = [
            make.make_product(tmp_path, f"s{n}", bands=("B02", "B04"), size=240, time=f"2023-08-{n + 1:02d}T10:00:00Z")
            for n in range(12)
        ]
        cube = s2koop.load([*map(make.cdse, products)], mask=None, chunks="time", engine=engine).data
        assert cube.npartitions == 1
        corner = cube[:, :, :1, :1]  # the chunk is read whole, and the result is no copy of it
        corner.compute(scheduler="sync")  # imports and what is loaded once
        tracemalloc.start()
        corner.compute(scheduler="sync")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.3 * cube.nbytes


def test_engines_agree_on_the_sample():
    items = s2koop.search("sample", datetime="2018-06/2018-07")
    assert len(items) > 3
    agreed(items, chunks="time")


def test_engines_agree_on_real_scenes(shared_data):
    items = [pystac.Item.from_file(path) for path in sorted(shared_data("stac_local").glob("*/*.json"))]
    for options in (
        {"chunks": "time"},
        {"resolution": 240, "resampling": "average"},
        {"crs": 3035, "resolution": 1000},
    ):
        agreed(items, bands=["blue", "nir"], **options)


class TestFaults:
    """The same requests, tries and words, whoever builds the graph."""

    @pytest.fixture
    def products(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_reader.time, "sleep", lambda _: None)
        return [make.planetary_computer(product) for product in series(tmp_path, 2, bands=("B04",), size=96)]

    def outcome(self, products, folder, engine, kind, fault, **options):
        """What a load came to: its values or the words of its error, its warnings, and what the server was asked.

        Each load has a server of its own, since GDAL remembers what one answered.
        """
        with LoopbackProvider(products, root=folder) as server, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            server.fault(FIRST, kind, **fault)
            cube = s2koop.load([*map(server._served, products)], engine=engine, gdal=GDAL, **options)
            assert not server.seen
            try:
                result = cube.compute(scheduler="sync").values.tobytes()
            except AssetError as error:
                result = str(error).replace(server.url, "")
            told = [str(w.message).replace(server.url, "") for w in caught if w.category is MaskedItemsWarning]
            return result, told, Counter((seen.method, seen.path, seen.span, seen.status) for seen in server.seen)

    @pytest.mark.parametrize(
        ("kind", "fault", "options"),
        [
            ("status", {"status": 503, "times": 2}, {}),
            ("garbage", {"times": 1, "skip": 1}, {}),
            ("truncate", {"times": 2}, {"chunks": "time"}),
            ("status", {"status": 404}, {"tries": 2}),
            ("status", {"status": 403}, {"errors": "mask", "tries": 3, "chunks": 30}),
            ("reset", {"times": 1}, {"errors": "mask"}),
        ],
        ids=str,
    )
    def test_faults(self, products, tmp_path, kind, fault, options):
        first, second = (self.outcome(products, tmp_path, engine, kind, fault, **options) for engine in ENGINES)
        result, told, asked = second
        lasts = "times" not in fault
        if isinstance(result, str):  # what was read before it broke depends on the order of tasks
            first, second = (
                (words, asked["HEAD", FIRST, None, fault["status"]]) for words, _, asked in (first, second)
            )
        assert first == second
        assert isinstance(result, str) == (lasts and "errors" not in options)
        assert len(told) == (lasts and "errors" in options)
        assert sum(asked.values()) > 0

    def test_signatures_are_not_shown(self, products):
        for item in products:
            for asset in item["assets"].values():
                asset["href"] = f"https://host.org/{item['id']}.tif?sig=TOPSECRET"
        cube = s2koop.load(products, engine="odc-stac")
        graph = cube.data.dask
        assert (
            "TOPSECRET" not in f"{cube!r}{cube._repr_html_()}{graph!r}{graph._repr_html_()}{list(graph)}{dict(graph)}"
        )


def test_without_odc_stac_the_message_says_how_to_get_it(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(_odc, "find_spec", lambda name: None)
    item = make.cdse(make.make_product(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"pip install 's2koop\[odc\]'"):
        s2koop.load(item, engine="odc-stac")
    assert opened == []


class TestLargeCatalogues:
    """Sizes of graphs; how long building takes is in benchmarks/open_cube.py."""

    def items(self, folder, count):
        """Dates of one whole tile with all bands, 12 files each, as Earth Search names them; no file is there."""
        bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
        base = make.earth_search_v1(make.make_product(folder, bands=bands), applied=True)
        root = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/32/T/MT"
        for number in range(count):
            day = np.datetime64("1990-01-01") + number
            name = f"S2B_32TMT_{day}_0_L2A"
            assets = {
                key: {
                    **asset,
                    "href": f"{root}/{name}/{key}.tif",
                    "proj:shape": [size * 10980 // 48 for size in asset["proj:shape"]],
                }
                for key, asset in base["assets"].items()
            }
            properties = {**base["properties"], "datetime": f"{day}T10:15:59Z"}
            yield {**base, "id": name, "properties": properties, "assets": assets}

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
    def test_graphs_are_small(self, tmp_path, opened, engine, count):
        items = [*self.items(tmp_path, count)]
        cut = {"time": -1, "band": -1, "y": 512, "x": 512}
        cube = s2koop.load(items, resolution=60, chunks=cut, engine=engine)
        assert cube.shape == (count, 11, 1830, 1830)
        assert opened == []
        tiles = cube.data.npartitions
        assert tiles == 16
        graph = cube.data.dask
        assert len(graph.to_dict()) <= 6 * tiles + 6
        # an item is its id and folder, a file a place in a list; names, boxes and meanings are held once
        assert len(cloudpickle.dumps(cube.data)) < 800 * count + 2000 * tiles + 20_000
        (corner,) = dask.optimize(cube.data[:, :, :100, :100])
        assert len(corner.dask) <= 12

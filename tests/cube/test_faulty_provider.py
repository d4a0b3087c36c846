"""A provider where some requests fail, of every kind: a job ends with the right values, or says what it lacks."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest

import s2koop
from s2koop.cube import _reader
from s2koop.errors import AssetError
from tests.support import items as make
from tests.support.provider import LoopbackProvider

#: No retries of GDAL, so that ours are what is tested; a stall costs a second.
GDAL = {"GDAL_HTTP_MAX_RETRY": 0, "GDAL_HTTP_TIMEOUT": 1}
KINDS = {
    "404": ("status", {"status": 404}),
    "403 of an expired token": ("status", {"status": 403}),
    "429 with Retry-After": ("status", {"status": 429, "headers": {"Retry-After": "1"}}),
    "500": ("status", {"status": 500}),
    "503": ("status", {"status": 503}),
    "truncated body": ("truncate", {}),
    "wrong bytes": ("garbage", {}),
    "a page": ("html", {}),
    "connection reset": ("reset", {}),
}


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """Six dates over HTTP; random pixels do not compress, so that a file takes several requests."""
    monkeypatch.setattr(_reader, "FIRST_WAIT", 0.001)
    products = [
        make.make_product(
            tmp_path / "files", f"s{i}", time=f"2020-06-0{i + 1}T10:00:00Z", baseline="02.14", bands=("B04", "B08"),
            seed=i, size=120,
        )
        for i in range(6)
    ]  # fmt: skip
    with LoopbackProvider([make.planetary_computer(p) for p in products], root=tmp_path / "files") as server:
        yield server, products


def job(server, tmp_path, **options):
    """From the search at the API to the store of a job."""
    items = s2koop.search(server.api_url, datetime="2020-06")
    cube = s2koop.load(items, mask=None, chunks=60, gdal=GDAL, **options)
    return s2koop.run(cube, tmp_path / "cube.zarr", progress=False)


def truth(products):
    return np.stack([[product.reflectance(band) for band in ("B04", "B08")] for product in products])


def test_five_in_a_hundred_requests_of_every_kind_fail(remote, tmp_path):
    server, products = remote
    for seed, (kind, options) in enumerate(KINDS.values()):
        server.fault("/files/*", kind, share=0.05 / len(KINDS), seed=seed, **options)
    server.fault("/stac/search", "status", status=503, times=1)
    np.testing.assert_array_equal(job(server, tmp_path, tries=6), truth(products))
    assert any(seen.status not in (200, 206) for seen in server.seen)


@pytest.mark.parametrize("name", KINDS)
def test_many_requests_fail_in_one_way(remote, tmp_path, name):
    server, products = remote
    kind, options = KINDS[name]
    server.fault("/files/*", kind, share=0.06, **options)
    # wrong bytes spoil a read of six requests three times in ten: six tries fail once in sixty runs
    np.testing.assert_array_equal(job(server, tmp_path, tries=10), truth(products))


@pytest.mark.parametrize("name", KINDS)
def test_an_index_that_is_lost_after_a_file_was_opened_is_no_gap(tmp_path, monkeypatch, name):
    """GDAL reads where the blocks of a file lie as it needs them, unless told not to, and takes silence for no data."""
    monkeypatch.setattr(_reader, "FIRST_WAIT", 0.001)
    product = make.make_product(tmp_path, bands=("B04",), baseline="02.14", size=1200)  # an index of 45 kB
    kind, options = KINDS[name]
    skip = asked = 0
    while skip <= asked:  # each request of a read in turn, the last time none; no answer is known from before
        with LoopbackProvider([make.planetary_computer(product)], root=tmp_path) as server:
            server.fault("/files/*", kind, times=1, skip=skip, **options)
            cube = s2koop.load(s2koop.search(server.api_url), mask=None, chunks=60, gdal=GDAL)
            corner = cube[0, 0, -60:, -60:].compute()
            np.testing.assert_array_equal(corner, product.reflectance("B04")[-60:, -60:])
            skip, asked = skip + 1, server.count(pattern="/files/*")
    assert skip > 4


@pytest.mark.parametrize("name", KINDS)
def test_a_lost_asset_is_named_and_is_never_zero(remote, tmp_path, name):
    """First as an error, where nothing was allowed; then as NaN and in the summary of the finished store."""
    server, products = remote
    kind, options = KINDS[name]
    server.fault("/files/s2_B08.tif", kind, **options)
    with pytest.raises(AssetError, match=r"s2_B08\.tif of item 's2'"):
        job(server, tmp_path, tries=2)
    with pytest.warns(s2koop.errors.MaskedItemsWarning, match="'s2'"):
        stored = s2koop.run(
            s2koop.load(s2koop.search(server.api_url), mask=None, chunks=60, gdal=GDAL, tries=2, errors="mask"),
            tmp_path / "masked.zarr",
            progress=False,
        )
    wanted = truth(products)
    wanted[2, 1] = np.nan
    np.testing.assert_array_equal(stored, wanted)
    [skip] = json.loads(stored.attrs["skipped"])
    assert skip["item"] == "s2"
    assert skip["asset"] == f"{server.files_url}/s2_B08.tif"
    assert skip["reason"]


@pytest.mark.parametrize("engine", ["stackstac", "odc-stac"])
def test_a_masked_job_is_gone_on_with_on_another_day(remote, tmp_path, engine):
    """Which load warns, and how patiently it reads, is no part of what is computed; else none could be gone on with."""
    server, products = remote
    stored = job(server, tmp_path, errors="mask", engine=engine)
    before = server.count(pattern="/files/*")
    again = job(server, tmp_path, errors="mask", engine=engine, tries=9)
    assert server.count(pattern="/files/*") == before
    np.testing.assert_array_equal(again, stored)
    np.testing.assert_array_equal(again, truth(products))


@pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning", "ignore::s2koop.errors.MaskedItemsWarning"
)
def test_spoilt_files_are_errors_of_ours_or_gaps(tmp_path):
    """Bytes that were flipped anywhere: no error of a library, and no value where there is none."""
    product = make.make_product(tmp_path, bands=("B04",), baseline="02.14", size=48)
    path = product.files["B04"]
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    cube = s2koop.load(make.planetary_computer(product), mask=None, tries=1)
    masked = s2koop.load(make.planetary_computer(product), mask=None, errors="mask")
    refused = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 800), 3):  # where a file describes itself
            spoilt[at] = rng.integers(0, 256)
        path.write_bytes(spoilt)
        with contextlib.suppress(AssetError):
            cube.compute(scheduler="synchronous")
            continue
        refused += 1
        assert np.isnan(masked.compute(scheduler="synchronous")).all()
    assert refused > 20

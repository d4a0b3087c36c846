"""The loopback provider itself: ranges, counts and every fault do what the tests that use them rely on."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import requests

import s2koop
from s2koop.catalog._sample import sample_folder

FILE = "S2A_34TER_20181014_L2A/B04.tif"


def get(provider, headers=None):
    return requests.get(f"{provider.files_url}/{FILE}", headers=headers or {}, timeout=2)


@pytest.fixture(scope="module")
def content() -> bytes:
    return (sample_folder() / FILE).read_bytes()


@pytest.mark.parametrize(
    ("span", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-999999999", slice(5, None)),
    ],
)
def test_ranges(provider, content, span, part):
    answer = get(provider, {"Range": span})
    assert answer.status_code == 206
    assert answer.content == content[part]
    assert answer.headers["Content-Range"].endswith(f"/{len(content)}")
    assert provider.bytes_sent() == len(content[part])


def test_range_beyond_the_end(provider):
    assert get(provider, {"Range": "bytes=999999999-"}).status_code == 416


def test_head_sends_no_body(provider, content):
    answer = requests.head(f"{provider.files_url}/{FILE}", timeout=2)
    assert int(answer.headers["Content-Length"]) == len(content)
    assert (provider.count("HEAD"), provider.count("GET"), provider.bytes_sent()) == (1, 0, 0)


@pytest.mark.parametrize(
    "path", ["files/nothing.tif", "files/../../secret", "files/%2e%2e/%2e%2e/etc/passwd", "elsewhere"]
)
def test_nothing_else_is_served(provider, path):
    assert requests.get(f"{provider.url}/{path}", timeout=2).status_code == 404


def test_gdal_streams_the_same_pixels(provider):
    address = f"/vsicurl/{provider.files_url}/{FILE}"
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(address) as remote:
        pixels = remote.read(1)
    with rasterio.open(sample_folder() / FILE) as local:
        np.testing.assert_array_equal(pixels, local.read(1))
    assert provider.count(pattern=f"*{FILE}") >= 1


def test_search_and_stream_over_http(provider):
    items = s2koop.search(provider.api_url, datetime="2018-10")
    assert all(asset.href.startswith(provider.files_url) for item in items for asset in item.assets.values())
    cube = s2koop.load(items, bands=["B8A"], mask=None)
    assert provider.count(pattern="*.tif") == 0  # nothing is read before it is needed
    ours = s2koop.sample(bands=["B8A"], mask=None).sel(time="2018-10")
    np.testing.assert_array_equal(cube, ours)
    assert provider.count(pattern="*.tif") > 0


def test_status_a_number_of_times(provider, content):
    provider.fault("*/B04.tif", "status", status=503, times=2)
    assert [get(provider).status_code for _ in range(3)] == [503, 503, 200]


def test_faults_go_by_pattern(provider):
    provider.fault("*/B03.tif", "status", status=404)
    assert get(provider).status_code == 200
    assert requests.get(f"{provider.files_url}/{FILE.replace('B04', 'B03')}", timeout=2).status_code == 404
    provider.heal()
    assert requests.get(f"{provider.files_url}/{FILE.replace('B04', 'B03')}", timeout=2).status_code == 200


def test_truncated_body(provider):
    provider.fault("*.tif", "truncate", times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(provider)
    assert get(provider).ok


def test_garbage_has_the_right_length(provider, content):
    provider.fault("*.tif", "garbage", times=1)
    answer = get(provider)
    assert len(answer.content) == len(content)
    assert answer.content != content


def test_stall(provider):
    provider.fault("*.tif", "stall", seconds=0.5, times=1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(f"{provider.files_url}/{FILE}", timeout=0.1)


def test_reset(provider):
    provider.fault("*.tif", "reset", times=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        get(provider)

"""Files of a block are read several at once over the network, never more than were allowed."""

import dask
import numpy as np
import pytest

import s2koop
from s2koop.cube import _at_once
from s2koop.cube._load import _connections_of
from s2koop.cube.harmonise import harmonise_all
from s2koop.errors import AssetError, InputError
from tests.support import items as make
from tests.support.provider import LoopbackProvider

pytestmark = pytest.mark.usefixtures("each_engine")

DATES, BANDS = 6, ("B04", "B08")


@pytest.fixture
def remote(tmp_path):
    """Six dates of two bands, from a server that takes its time for every answer."""
    products = [
        make.make_product(
            tmp_path, f"s{i}", time=f"2020-06-0{i + 1}T10:00:00Z", baseline="02.14", bands=BANDS, seed=i, size=40
        )
        for i in range(DATES)
    ]
    with LoopbackProvider([make.planetary_computer(product) for product in products], root=tmp_path) as server:
        server.fault("/files/*", "stall", seconds=0.05)
        yield server, products, [server._served(item) for item in server.items]


def truth(products):
    return np.stack([[product.reflectance(band) for band in BANDS] for product in products])


def test_whole_series_do_not_wait_for_one_file_after_the_other(remote):
    server, products, items = remote
    with dask.config.set(scheduler="sync"):
        np.testing.assert_array_equal(s2koop.load(items, mask=None, chunks="time").values, truth(products))
    assert 6 <= server.at_once <= DATES * len(BANDS)


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("chunks", ["time", None])
def test_never_more_than_allowed_however_many_threads_compute(remote, connections, chunks):
    server, products, items = remote
    with dask.config.set(scheduler="threads", num_workers=8):
        cube = s2koop.load(items, mask=None, chunks=chunks, connections=connections)
        np.testing.assert_array_equal(cube.values, truth(products))
    assert server.at_once == connections


def test_large_windows_are_read_ahead_one_by_one(remote, monkeypatch):
    """Or a block would hold more than its own size of them."""
    server, products, items = remote
    monkeypatch.setattr(_at_once, "_AHEAD", 2 * 40 * 40 * _at_once._PIXEL)
    with dask.config.set(scheduler="sync"):
        np.testing.assert_array_equal(s2koop.load(items, mask=None, chunks="time").values, truth(products))
    assert server.at_once == 2


def test_a_lost_file_ends_the_block_without_asking_for_all_others(remote):
    server, _, items = remote
    server.heal()
    server.fault("*/s0_B04.tif", "status", status=404)
    cube = s2koop.load(items, mask=None, chunks="time", connections=1, tries=1)
    with pytest.raises(AssetError, match="s0_B04"), dask.config.set(scheduler="sync"):
        cube.compute()
    assert server.count(pattern="*/s5_*") == 0


@pytest.mark.parametrize("connections", [0, -1, 1.5, True, "many"])
def test_connections_are_a_whole_number(remote, connections):
    with pytest.raises(InputError, match="connections"):
        s2koop.load(remote[2], connections=connections)


def test_a_provider_that_allows_few_is_asked_for_few(remote):
    _, products, items = remote
    keyed = make.cdse(products[0])
    for asset in keyed["assets"].values():
        asset["href"] = f"s3://eodata/{asset['href'].rsplit('/', 1)[1]}"
    scenes, _ = harmonise_all([*items, keyed], bands=BANDS, offset="auto", level=None, errors="raise")
    assert _connections_of(scenes) == 4
    assert _connections_of(scenes[:-1]) == 16

"""What is kept of lazy data: a block is computed once while it fits, and a look takes no more than its block."""

from __future__ import annotations

import threading
import warnings
from collections import Counter

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._kept import Kept
from s2koop.errors import SlowReadWarning

#: Two dates, two bands and 4 x 6 pixels in blocks of 2 x 3.
SHAPE, CHUNKS = (2, 2, 4, 6), (1, 1, 2, 3)
#: Bytes of a variable; its coordinates take about a quarter more.
BLOCK = 2 * 2 * 3 * 8
VALUES = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)


def line(kept: Kept, source: str, band: int, row: int, col: int) -> xr.Dataset:
    """All dates of one band of one pixel."""
    return kept.points(source, [band], np.array([row]), np.array([col])).isel(band=0, point=0)


@pytest.fixture
def reads() -> Counter:
    return Counter()


@pytest.fixture
def lazy(reads: Counter) -> xr.Dataset:
    def read(block: np.ndarray, block_info=None) -> np.ndarray:
        reads[block_info[0]["chunk-location"]] += 1
        return block

    values = da.from_array(VALUES, chunks=CHUNKS).map_blocks(read, dtype=float, meta=np.empty((0,) * 4))
    coords = {"time": pd.date_range("2020-01-01", periods=2), "band": ["B04", "B8A"]}
    mean = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords)
    return xr.Dataset({"mean": mean, "spread": mean / 10})


def test_a_line_reads_its_block_and_the_next_line_of_the_block_nothing(lazy, reads) -> None:
    kept = Kept({"a": lazy}, budget=10 * BLOCK)
    found = line(kept, "a", 1, 2, 4)
    assert reads == {(0, 1, 1, 1): 1, (1, 1, 1, 1): 1}, "mean and spread are one computation"
    np.testing.assert_array_equal(found["mean"], VALUES[:, 1, 2, 4])
    np.testing.assert_allclose(line(kept, "a", 1, 3, 5)["spread"], VALUES[:, 1, 3, 5] / 10)
    assert reads.total() == 2
    line(kept, "a", 1, 1, 4)
    assert reads.total() == 4, "a pixel beyond the edge of the block"


def test_all_dates_are_kept_for_lines_and_for_one_date(lazy, reads) -> None:
    kept = Kept({"a": lazy}, budget=10 * BLOCK)
    assert kept.stack("a", 0).chunks
    assert not reads
    whole = kept.stack("a", 0, all_dates=True)
    np.testing.assert_array_equal(whole["mean"], VALUES[:, 0])
    np.testing.assert_array_equal(kept.stack("a", 0)["mean"], VALUES[:, 0])
    np.testing.assert_array_equal(line(kept, "a", 0, 3, 2)["mean"], VALUES[:, 0, 3, 2])
    assert reads.total() == 8


def test_one_chunk_of_all_dates_is_kept_at_the_first_look(lazy, reads) -> None:
    kept = Kept({"a": lazy.chunk(time=-1)}, budget=10 * BLOCK)
    for _ in range(2):
        np.testing.assert_array_equal(kept.stack("a", 0)["mean"], VALUES[:, 0])
    assert reads.total() == 8


def test_the_block_looked_at_longest_ago_makes_room(lazy, reads) -> None:
    kept = Kept({"a": lazy[["mean"]]}, budget=3 * BLOCK)
    for row in (0, 2, 0):
        line(kept, "a", 0, row, 0)
    assert reads.total() == 4
    line(kept, "a", 1, 0, 0)
    line(kept, "a", 0, 0, 0)
    assert reads.total() == 6
    line(kept, "a", 0, 2, 0)
    assert reads.total() == 8


def test_a_block_that_does_not_fit_is_read_at_each_look_and_said_once(lazy, reads) -> None:
    kept = Kept({"a": lazy}, budget=BLOCK)
    with pytest.warns(SlowReadWarning, match=r"pixel of 'a'.*\.load\(\)") as caught:
        np.testing.assert_array_equal(line(kept, "a", 0, 0, 0)["mean"], VALUES[:, 0, 0, 0])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line(kept, "a", 0, 0, 1)
        assert kept.stack("a", 0, all_dates=True).chunks
    assert set(reads.values()) == {2}


def test_who_wants_the_block_that_is_being_computed_waits_for_it(lazy, reads) -> None:
    kept = Kept({"a": lazy}, budget=10 * BLOCK)
    threads = [threading.Thread(target=line, args=(kept, "a", 0, 0, x)) for x in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads.total() == 2


def test_mean_and_spread_may_be_cut_in_different_ways(lazy) -> None:
    mixed = lazy.assign(spread=lazy["spread"].chunk(x=4))
    loaded = lazy.assign(spread=lazy["spread"].compute())
    for source in (mixed, loaded):
        found = line(Kept({"a": source}, budget=10 * BLOCK), "a", 0, 1, 3)
        np.testing.assert_allclose(found["spread"], VALUES[:, 0, 1, 3] / 10)
        np.testing.assert_allclose(found["mean"], VALUES[:, 0, 1, 3])


def test_what_is_in_memory_is_not_copied(lazy) -> None:
    loaded = lazy.compute()
    stack = Kept({"a": loaded}, budget=0).stack("a", 1, all_dates=True)
    assert np.shares_memory(stack["mean"].values, loaded["mean"].values)

"""Batches come from anywhere, depend on nothing but seed and number, and read few chunks at a time."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

from s2koop.errors import InputError
from s2koop.ssl import stream as module
from s2koop.ssl.stream import Stream


def all_usable(samples: np.ndarray) -> np.ndarray:
    return ~np.isnan(samples.reshape(len(samples), -1)).any(1)


def numbered(images: int = 12, side: int = 40) -> xr.DataArray:
    """Images whose pixels tell where they are from."""
    values = np.arange(images * side * side, dtype=np.float64).reshape(images, 1, side, side)
    return xr.DataArray(values, dims=("image", "band", "y", "x"))


@pytest.mark.parametrize("chunks", [None, {"image": 5, "y": 11, "x": 7}])
def test_samples_are_windows_of_the_data(chunks):
    data = numbered()
    found = Stream(data if chunks is None else data.chunk(chunks), 3, 8, all_usable, 16, 0).draw(3)
    assert found.shape == (16, 1, 8, 8)
    assert found.dtype == np.float32
    first = found[:, 0, 0, 0].astype(int)
    image, rest = np.divmod(first, 1600)
    row, column = np.divmod(rest, 40)
    for n in range(16):
        window = data[image[n], 0, row[n] : row[n] + 8, column[n] : column[n] + 8]
        np.testing.assert_array_equal(found[n, 0], window)


@pytest.mark.parametrize("chunks", [None, {"image": 3}])
def test_a_batch_depends_on_seed_and_number_alone(chunks):
    data = numbered() if chunks is None else numbered().chunk(chunks)
    one, other = (Stream(data, 3, 8, all_usable, 8, 5) for _ in range(2))
    for step in range(6):
        one.draw(step)
    np.testing.assert_array_equal(one.draw(4), other.draw(4))
    assert not np.array_equal(other.draw(4), other.draw(5))
    assert not np.array_equal(Stream(data, 3, 8, all_usable, 8, 6).draw(4), other.draw(4))


def test_no_place_comes_twice_in_a_batch():
    found = Stream(numbered(side=8), 3, 8, all_usable, 12, 0).draw(0)
    assert 2 <= len(found) <= 12
    assert len(np.unique(found[:, 0, 0, 0])) == len(found)


def test_few_chunks_are_held_and_all_are_read(monkeypatch):
    monkeypatch.setattr(module, "BUDGET", 2 * 64 * 64 * 8)
    read: list[tuple[int, ...]] = []

    def block(block_info=None) -> np.ndarray:
        place = block_info[None]["chunk-location"]
        read.append(place)
        return np.full((1, 1, 64, 64), float(place[0]))

    data = dask.array.map_blocks(block, chunks=((1,) * 10, (1,), (64,), (64,)), dtype=float, meta=np.empty((0,) * 4))
    stream = Stream(xr.DataArray(data, dims=("image", "band", "y", "x")), 3, 32, all_usable, 8, 0)
    assert stream.together == 2
    read.clear()
    stream.draw(0)
    assert len(read) == 2
    for step in range(5 * stream.round_length):
        assert len(np.unique(stream.draw(step))) <= 2
    assert len(set(read)) == 10


def test_gaps_are_passed_over():
    data = numbered(4)
    data[:, :, :, 20:] = np.nan
    found = Stream(data, 3, 8, all_usable, 8, 0).draw(0)
    assert np.isfinite(found).all()


def test_nothing_usable_is_an_error():
    with pytest.raises(InputError, match="no two usable samples"):
        Stream(numbered(4) * np.nan, 3, 8, all_usable, 8, 0).draw(0)


def test_series_are_whole():
    values = np.arange(6 * 7 * 5 * 2.0).reshape(6, 7, 5, 2)
    data = xr.DataArray(values, dims=("y", "x", "time", "band")).chunk(y=2, x=3, time=2)
    found = Stream(data, 2, None, all_usable, 6, 0).draw(0)
    assert found.shape == (6, 5, 2)
    rows = values.reshape(42, 5, 2)
    for sample in found:
        assert (rows == sample).all((1, 2)).any()

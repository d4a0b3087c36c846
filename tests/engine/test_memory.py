"""Blocks are cut for the memory that there is: what was set, what a container allows, what workers have."""

from __future__ import annotations

import os
import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr

import s2koop
from s2koop import _memory
from s2koop._memory import LARGEST_BLOCK, SMALLEST_BLOCK, block_bytes
from s2koop.engine import whole_series
from s2koop.errors import InputError


@pytest.fixture(autouse=True)
def _two_threads_and_much_memory(monkeypatch):
    monkeypatch.delenv("S2KOOP_MEMORY", raising=False)
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    monkeypatch.setattr(_memory, "_physical_memory", lambda: 64.0 * 2**30)
    monkeypatch.setattr(_memory, "_group_memory", lambda: iter(()))
    with dask.config.set(num_workers=2):
        yield


def test_plenty_gives_the_largest_blocks():
    assert block_bytes() == LARGEST_BLOCK


def test_what_a_container_allows_counts(monkeypatch):
    monkeypatch.setattr(_memory, "_group_memory", lambda: iter([2e9]))
    assert SMALLEST_BLOCK < block_bytes() < LARGEST_BLOCK


def test_the_environment_and_what_is_set_go_before(monkeypatch):
    monkeypatch.setenv("S2KOOP_MEMORY", "2 GB")
    small = block_bytes()
    assert small < LARGEST_BLOCK
    with s2koop.set_options(memory="1500 MB"):
        assert block_bytes() < small
        with s2koop.set_options(memory=8e9):
            assert block_bytes() == LARGEST_BLOCK
        assert block_bytes() < small
    assert block_bytes() == small


def test_more_threads_get_smaller_blocks():
    with s2koop.set_options(memory="4 GB"):
        few = block_bytes()
        with dask.config.set(num_workers=8):
            assert block_bytes() < few
        with dask.config.set(num_workers=1000):
            assert block_bytes() == SMALLEST_BLOCK


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": "many"}, "no number of bytes"),
        ({"memory": True}, "no number of bytes"),
        ({"memory": float("nan")}, "no number of bytes"),
        ({"memory": "10 MB"}, "at least '500 MB'"),
        ({"memroy": "2 GB"}, r"unknown option \['memroy'\]"),
    ],
)
def test_wrong_options_are_told_and_change_nothing(given, message):
    with pytest.raises(InputError, match=message):
        s2koop.set_options(**given)
    assert block_bytes() == LARGEST_BLOCK


def test_a_wrong_environment_is_told(monkeypatch):
    monkeypatch.setenv("S2KOOP_MEMORY", "lots")
    with pytest.raises(InputError, match="S2KOOP_MEMORY='lots' is no number"):
        block_bytes()


def test_series_are_cut_for_it():
    cube = xr.DataArray(np.zeros((100, 6, 1, 1), "f4"), dims=("time", "band", "y", "x"))
    wide = cube.isel(y=[0] * 512, x=[0] * 512).chunk()
    large = whole_series(wide)
    with s2koop.set_options(memory="1500 MB"):
        small = whole_series(wide)
        assert 4 * np.prod([max(c) for c in small.chunks]) <= block_bytes()
    assert len(small.chunks[2]) * len(small.chunks[3]) > len(large.chunks[2]) * len(large.chunks[3])
    assert len(small.chunks[0]) == len(small.chunks[1]) == 1


def test_what_is_read_is_cut_for_it_too():
    """A hundred dates of six bands: squares of 256 pixels, and smaller ones on a small machine."""
    from s2koop.cube._load import _contiguous_side

    assert _contiguous_side(20, 6) == 512
    assert _contiguous_side(100, 6) == 256
    with s2koop.set_options(memory="2 GB"):
        assert _contiguous_side(100, 6) == 128
        assert block_bytes() >= 4 * 100 * 6 * 128**2
    with s2koop.set_options(memory="600 MB"):
        assert 4 * 100 * 6 * _contiguous_side(100, 6) ** 2 <= SMALLEST_BLOCK


@pytest.mark.slow
def test_the_smallest_worker_of_a_cluster_counts():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        memory_limit="1500MB",
        processes=False,
        dashboard_address=":0",
        host="127.0.0.1",
        protocol="tcp",
    )
    with cluster, distributed.Client(cluster):
        assert SMALLEST_BLOCK <= block_bytes() < LARGEST_BLOCK
    assert block_bytes() == LARGEST_BLOCK


_FAULTS = """
import resource, numpy as np, torch, xarray as xr
from s2koop.engine import Output, map_pixels

def kernel(model, values):
    for _ in range(200):
        values = values + torch.ones(2**17)[:1]  # arrays of half a megabyte, as kernels take
    return {"out": values.mean((1, 2))}

cube = xr.DataArray(np.ones((4, 2, 32, 32), np.float32), dims=("time", "band", "y", "x")).chunk(time=-1, band=-1, y=16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
map_pixels(cube, kernel, outputs={"out": Output()}, model=None, tile=64).compute()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc")
def test_a_worker_keeps_what_tiles_free():
    """dask's nanny tells the heap to give all back at once; kernels would wait for pages most of their time."""
    faults = {}
    for name, extra in {
        "kept": {"MALLOC_TRIM_THRESHOLD_": "65536"},
        "asked for anew": {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "131072"},  # a user's choice
    }.items():
        done = subprocess.run(
            [sys.executable, "-c", _FAULTS], env=os.environ | extra, capture_output=True, text=True, check=True
        )
        faults[name] = int(done.stdout.split()[-1])
    assert faults["kept"] < faults["asked for anew"] / 3, faults

"""Jobs on ``dask.distributed``: the store that threads make, through lost workers and stops, with no shared cache."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import s2koop
from s2koop import _skipped
from s2koop.simulate import seasonal_cube
from tests.jobs import sums

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[2]
SCHEDULER = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
WORKER = ["distributed.cli.dask_worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]


@pytest.fixture
def client():
    """Scheduler and worker in this process: quick, and all that is sent is pickled."""
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", host="127.0.0.1", protocol="tcp"
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


def test_a_cluster_writes_the_same_store(client, tmp_path):
    stored = s2koop.run(sums.job(), tmp_path / "a.zarr", progress=False)
    xr.testing.assert_identical(stored.compute(), sums.job().compute(scheduler="synchronous"))


def test_a_rechunked_cube_is_written_and_gone_on_with(client, tmp_path):
    """Its tasks hang together across regions: with those of the regions alone, dependencies were lost."""

    def fragile(values: np.ndarray) -> np.ndarray:
        if (tmp_path / "weak").exists() and values.flat[0] > 300:
            raise ArithmeticError("power cut")
        return values

    rows = xr.DataArray(np.arange(400.0).reshape(20, 20), dims=("y", "x"), name="a").chunk(y=3, x=20)
    recut = rows.chunk(y=20, x=3).chunk(y=5, x=5)
    job = recut.copy(data=recut.data.map_blocks(fragile, dtype=float, name="fragile"))
    (tmp_path / "weak").touch()
    with pytest.raises(ArithmeticError):
        s2koop.run(job, tmp_path / "a.zarr", progress=False)
    (tmp_path / "weak").unlink()
    xr.testing.assert_equal(s2koop.run(job, tmp_path / "a.zarr", progress=False).compute(), rows.compute())


@contextlib.contextmanager
def machine(module: list[str], cache: Path):
    """A process of a cluster, as a batch system starts it: it shares no memory, no environment and no cache."""
    environment = {**os.environ, "S2KOOP_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", *module], env=environment, cwd=cache.parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def remote(tmp_path):
    """A client of a scheduler that was started elsewhere, and a function that adds a worker with a cache of its own."""
    file = tmp_path / "scheduler.json"
    with contextlib.ExitStack() as stack:
        stack.enter_context(machine([*SCHEDULER, "--scheduler-file", str(file)], tmp_path / "scheduler-cache"))
        deadline = time.time() + 60
        while not file.exists() and time.time() < deadline:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        client = stack.enter_context(distributed.Client(address))

        def add(name: str) -> subprocess.Popen:
            before = len(client.scheduler_info()["workers"])
            process = stack.enter_context(machine([*WORKER, address], tmp_path / name))
            client.wait_for_workers(before + 1, timeout=60)
            return process

        yield client, add


@pytest.mark.slow
def test_models_reach_workers_that_share_no_folder(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / "mine"))
    _client, add = remote
    add("first")
    cube = seasonal_cube(seed=0, every_days=20, shape=(4, 6))
    model = cube.koopman.fit(steps=20, hidden=(8,), latent=4, progress=False)
    eager = cube.koopman.forecast(model, steps=3, progress=False)
    lazy = cube.chunk(time=-1, band=-1, y=2, x=3).koopman.forecast(model, steps=3)
    add("second")  # it comes after the result was set up
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    stored = s2koop.run(lazy, tmp_path / "a.zarr", progress=False)
    xr.testing.assert_allclose(stored.compute(), eager, rtol=1e-4, atol=1e-6)
    assert {p.parent.parent.name for p in tmp_path.glob("*/models/*.safetensors")} >= {"first", "second", "elsewhere"}


@pytest.mark.slow
def test_a_worker_that_dies_in_the_middle_costs_nothing(remote, tmp_path):
    client, add = remote
    first, _second = add("first"), add("second")
    folder = tmp_path / "seen"
    folder.mkdir()
    future = client.submit(lambda: None)  # the cluster answers
    future.result()

    def killer() -> None:
        while len(list(folder.iterdir())) < 4:
            time.sleep(0.01)
        first.kill()

    import threading

    thread = threading.Thread(target=killer)
    thread.start()
    stored = s2koop.run(sums.job(str(folder), 0.1), tmp_path / "a.zarr", progress=False)
    thread.join()
    assert first.wait(10) != 0
    xr.testing.assert_identical(stored.compute(scheduler="synchronous"), sums.job().compute(scheduler="synchronous"))


def _noting(values: np.ndarray) -> np.ndarray:
    _skipped.note("token", _skipped.Skip("S2A_1", "http://h/B04.tif", "HTTP 404"))
    return values


def test_what_workers_skipped_is_gathered(client, tmp_path):
    lazy = xr.DataArray(np.ones((4, 2)), dims=("y", "x"), name="a").chunk(y=1)
    lazy = lazy.copy(data=lazy.data.map_blocks(_noting, dtype=float, meta=np.empty((0, 0)), name="noting"))
    stored = s2koop.run(lazy, tmp_path / "a.zarr", progress=False)
    assert [entry["item"] for entry in json.loads(stored.attrs["skipped"])] == ["S2A_1"]

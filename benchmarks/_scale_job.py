"""Jobs of the benchmark of scale in a process of their own: load over HTTP, assimilate and forecast, write."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

import s2koop
from benchmarks._archive import bytes_sent, items_of
from benchmarks._report import peak_memory_mb

#: Days after the last date that are forecast.
AHEAD = (10, 20, 30, 60)


def cube_of(case: dict[str, Any]) -> xr.DataArray:
    """The north-west corner of the archive's scene, lazily."""
    items = items_of(Path(case["archive"]), case["address"])
    chunks = case.get("chunk")
    wanted = "time" if chunks is None else {"time": -1, "band": -1, "y": chunks, "x": chunks}
    cube = s2koop.load(items, chunks=wanted, connections=case.get("connections"))
    return cube.isel(y=slice(case["side"]), x=slice(case["side"]))


def analysis(cube: xr.DataArray, case: dict[str, Any]) -> xr.Dataset:
    """Analysis on the last four dates of the cube and forecast beyond, in one pass."""
    last = cube["time"].values[-1]
    asked = np.concatenate([cube["time"].values[-4:], last + np.array(AHEAD, "timedelta64[D]")])
    return cube.koopman.assimilate(case["model"], times=asked, constraint=case["constraint"], progress=False)


@contextlib.contextmanager
def scheduler(case: dict[str, Any]) -> Iterator[Any]:
    """Threads of this process, or workers with a thread and a core each."""
    if not case.get("workers"):
        with dask.config.set(scheduler="threads", num_workers=case["threads"]):
            yield None
        return
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=case["workers"], threads_per_worker=1, dashboard_address=":0", host="127.0.0.1")
    with cluster, Client(cluster) as client:
        client.wait_for_workers(case["workers"])
        for core, worker in enumerate(client.scheduler_info(n_workers=-1)["workers"]):
            client.run(_pin, core, workers=[worker])  # or one of them would read its files on the cores of others
        client.run(_warm, case["model"])  # importing libraries is not what is measured
        yield client


def _pin(core: int) -> None:
    """Leave one core to this process; threads that begin later have what those have that begin them."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def _warm(model: str) -> None:
    for name in ("rasterio.vrt", "stackstac", "zarr", "rioxarray", "s2koop._jobs", "s2koop.koopman.analysis"):
        importlib.import_module(name)
    s2koop.koopman.load(model)


def alone(case: dict[str, Any]) -> dict[str, float]:
    """Seconds of the analysis of pixels in memory on one core, once it was done before."""
    _pin(case["core"])
    cube = cube_of(case).compute()
    analysis(cube, case)
    wall = time.perf_counter()
    for _ in range(2):
        analysis(cube, case)
    return {"wall_s": (time.perf_counter() - wall) / 2}


def do(case: dict[str, Any]) -> dict[str, float]:
    """Seconds, bytes that the server sent, and megabytes at most: of this process, or of the largest worker."""
    with scheduler(case) as client:
        _warm(case["model"])
        sent, wall, cpu = bytes_sent(case["address"]), time.perf_counter(), time.process_time()
        result = analysis(cube_of(case), case)
        s2koop.run(result, case["store"], progress=False)
        found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        found["http_bytes"] = bytes_sent(case["address"]) - sent
        found["peak_mb"] = max(client.run(peak_memory_mb).values()) if client else peak_memory_mb()
    return found


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        case = json.loads(wanted)
        print(json.dumps(alone(case) if "core" in case else do(case)), flush=True)

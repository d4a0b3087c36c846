"""One verb of each kind gives the same numbers in memory, in threads of dask, and in processes of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from s2koop import baselines, scores
from s2koop.simulate import seasonal_cube
from tests.trust.laws import without_counts
from tests.trust.small import image_encoder, koopman_model
from tests.trust.strategies import same

pytestmark = pytest.mark.slow
AIR = {"sensor": "S2A", "angles": {"sza": 35.0, "vza": 4.0, "raa": 110.0}}
VERBS: dict[str, Callable[[xr.DataArray], Any]] = {
    "koopman.assimilate": lambda cube: without_counts(
        cube.koopman.assimilate(koopman_model(), times=["2019-06-01", "2020-06-01"], progress=False)
    ),
    "koopman.monitor": lambda cube: cube.koopman.monitor(koopman_model(), start="2020-06-01", progress=False)["score"],
    "ac.invert": lambda cube: cube.assign_attrs(level="TOA").ac.invert(aot=0.2, **AIR),
    "ssl.embed": lambda cube: cube.ssl.embed(image_encoder(), stride=4, max_missing=0.9, progress=False),
    "baselines.harmonic": lambda cube: baselines.harmonic(cube, times=["2021-01-01"]),
    "baselines.gaussian_process": lambda cube: baselines.gaussian_process(cube, times=["2021-01-01"]),
    "scores.rmse": lambda cube: scores.rmse(cube + 0.1, cube, dim="time"),
}


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def cube():
    found = seasonal_cube(seed=0, every_days=30, shape=(18, 20))
    return found.where(np.random.default_rng(0).random(found.shape) > 0.2).transpose("time", "band", "y", "x")


@pytest.mark.parametrize("name", VERBS)
def test_memory_threads_and_processes_agree(name, cube, client):
    verb = VERBS[name]
    wanted = verb(cube)
    lazy = verb(cube.chunk({"time": 7, "y": 7, "x": 9}))
    for scheduler in ("threads", client):
        same(lazy.compute(scheduler=scheduler), wanted, rtol=1e-3, atol=1e-5)

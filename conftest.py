"""What all tests and doctests share: a cache of their own, and one thread for the small tensors they work on."""

from __future__ import annotations

import os

import pytest

# before torch is imported, and for the kernels of notebooks too: threads that wait for each other cost more than they
# bring to a few pixels, most of all on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Point the cache at a folder of this run, so that no test sees or touches the user's."""
    before = os.environ.get("S2KOOP_CACHE")
    # processes that share the work share the sample too: writing it takes a while
    beside = "PYTEST_XDIST_WORKER" in os.environ
    cache = tmp_path_factory.getbasetemp().parent / "cache" if beside else tmp_path_factory.mktemp("cache")
    os.environ["S2KOOP_CACHE"] = str(cache)
    yield
    if before is None:
        del os.environ["S2KOOP_CACHE"]
    else:
        os.environ["S2KOOP_CACHE"] = before

"""What every test gets: a cache folder of its own, a fixed seed, and where the shared real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

#: Real measurements that are not part of the repository; tests that need one skip where it is absent.
SHARED_DATA = Path(os.environ.get("S2KOOP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Point the cache at a folder of this run, so that no test sees or touches the user's."""
    before = os.environ.get("S2KOOP_CACHE")
    os.environ["S2KOOP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["S2KOOP_CACHE"]
    else:
        os.environ["S2KOOP_CACHE"] = before


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


@pytest.fixture(scope="session")
def shared_data():
    """Return a function that gives the path of a real data file, or skips the test with the reason."""

    def path(name: str) -> Path:
        found = SHARED_DATA / name
        if not found.exists():
            pytest.skip(f"real data file {name!r} is not here; set S2KOOP_TEST_DATA to the folder that holds it")
        return found

    return path

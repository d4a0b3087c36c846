"""What tests share: a fixed seed, and where the real data lies that is not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

# tensors of tests are small: threads would mostly wait for each other; before torch, and for kernels of notebooks too
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

# tests hold no timings: a busy machine would fail an example that is slow only once
settings.register_profile("s2koop", deadline=None, max_examples=50)
settings.load_profile("s2koop")

#: Real measurements that are not part of the repository; tests that need one skip where it is absent.
SHARED_DATA = Path(os.environ.get("S2KOOP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


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

"""A small simulated cube and a model trained on it once."""

from __future__ import annotations

import pytest

from s2koop.simulate import seasonal_cube


@pytest.fixture(scope="session")
def cube():
    return seasonal_cube(shape=(8, 8), start="2017-01-01", end="2020-12-31", seed=3)


@pytest.fixture(scope="session")
def truth():
    return seasonal_cube(shape=(8, 8), start="2017-01-01", end="2020-12-31", seed=3, truth=True)


@pytest.fixture(scope="session")
def model(cube):
    """Trained on the first three years."""
    past = cube.sel(time=slice(None, "2019-12-31"))
    return past.koopman.fit(steps=300, hidden=(32,), latent=8, progress=False)

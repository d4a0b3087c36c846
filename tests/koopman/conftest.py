"""A small simulated cube and a model trained on it once."""

from __future__ import annotations

from functools import partial

import pytest

from s2koop.koopman import training, uncertainty
from s2koop.simulate import seasonal_cube


@pytest.fixture(scope="module")
def few_origins():
    """Judge the held-out forecasts of a fit from two origins, not eight: most of the time of a short fit goes there.

    For modules that fit many models and ask nothing of their spread beyond what holds of any.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "lead_factors", partial(uncertainty.lead_factors, origins=2))
        yield


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

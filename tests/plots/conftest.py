"""One simulated scene for every plot."""

from __future__ import annotations

import pytest

from s2koop.session import Session
from tests.support.simulated import Simulated, simulated


@pytest.fixture(scope="session")
def scene() -> Simulated:
    return simulated(size=(12, 16))


@pytest.fixture
def session(scene: Simulated) -> Session:
    return Session(scene.cube, scene.result, later=scene.later, band="B8A")

"""Doctests of the package write into a cache of their own, as the tests do."""

from __future__ import annotations

import os

import pytest


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

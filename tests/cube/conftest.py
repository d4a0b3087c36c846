"""Fixtures of the cube tests."""

import pytest


@pytest.fixture
def opened(monkeypatch):
    """Paths that rasterio opens during a test: what is read, and how often."""
    import rasterio

    paths = []
    original = rasterio.open

    def counting(path, mode="r", *args, **kwargs):
        if mode == "r":
            paths.append(str(path))
        return original(path, mode, *args, **kwargs)

    monkeypatch.setattr(rasterio, "open", counting)
    return paths

"""Fixtures of the cube tests."""

import pytest

import s2koop


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


@pytest.fixture(params=["stackstac", pytest.param("odc-stac", marks=pytest.mark.slow)])
def each_engine(request, monkeypatch):
    """Load with each engine where a test names none."""
    if request.param == "odc-stac":
        pytest.importorskip("odc.loader")
    monkeypatch.setitem(s2koop.load.__kwdefaults__, "engine", request.param)

"""Shipped models: found by name, checked before use, and taken where no model is given."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import xarray as xr

from s2koop import zoo
from s2koop.errors import ModelError
from s2koop.koopman import load
from s2koop.simulate import seasonal_cube
from s2koop.simulate.canopy import BANDS


@pytest.fixture(scope="module")
def model():
    return seasonal_cube(seed=0, every_days=30).koopman.fit(steps=10, hidden=(8,), latent=4, progress=False)


@pytest.fixture
def folder(tmp_path, monkeypatch, model):
    """A zoo with one small model in the place of the shipped one."""
    file = model.save(tmp_path / "land.safetensors")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = {"file": file.name, "sha256": digest, "card": "land.json"}
    (tmp_path / "index.json").write_text(json.dumps({zoo.LAND: entry}))
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    return tmp_path


def test_a_name_loads_its_file(folder, model):
    assert zoo.names() == (zoo.LAND,)
    assert load(zoo.LAND).digest == model.digest
    assert zoo.card(zoo.LAND) == dict(model.card)


@pytest.mark.parametrize("method", ["assimilate", "forecast", "interpolate", "spectrum"])
def test_the_prior_is_taken_where_no_model_is_given(folder, model, method):
    cube = seasonal_cube(seed=1, shape=(2, 2))
    how = {"forecast": {"steps": 2}, "interpolate": {"freq": "90D"}}.get(method, {})
    found, wanted = (getattr(cube.koopman, method)(*given, progress=False, **how) for given in ((), (model,)))
    xr.testing.assert_identical(found, wanted)


def test_a_cube_of_fewer_bands_gets_all_of_them(folder):
    red = seasonal_cube(seed=1, shape=(2, 2)).sel(band=["B04"])
    found = red.koopman.assimilate(progress=False)["mean"]
    assert list(found.band.values) == ["B04", "B08"]
    assert np.isfinite(found).all()


def test_a_damaged_file_is_refused(folder):
    file = folder / "land.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="missing or damaged; install s2koop again"):
        load(zoo.LAND)
    file.unlink()
    with pytest.raises(ModelError, match="missing or damaged"):
        zoo.path(zoo.LAND)


def test_an_unknown_name_lists_those_that_are_there(folder):
    with pytest.raises(ModelError, match=r"no shipped model is named 'sea'; they are land"):
        zoo.path("sea")
    with pytest.raises(ModelError, match=r"no model file sea.*name of a shipped model \('land'\)"):
        load("sea")


def test_what_is_shipped_is_sound():
    if zoo.LAND not in zoo.names():
        pytest.skip("the prior for land is not trained yet; run scripts/train_land_prior.py")
    assert zoo.path(zoo.LAND).stat().st_size <= 2_000_000
    assert load(zoo.LAND).bands == BANDS
    card = zoo.card(zoo.LAND)
    assert {"title", "data", "licence", "split", "scores", "limits", "training"} <= set(card)

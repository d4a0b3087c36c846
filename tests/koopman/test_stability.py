"""A model whose operator grows says so wherever it is met: printed, saved, and when it forecasts."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from s2koop.errors import S2koopWarning
from s2koop.koopman import load
from s2koop.simulate import seasonal_cube


def dense_model(radius: float):
    model = seasonal_cube(seed=1).koopman.fit(
        operator="dense", learning_rate=1e-6, steps=1, hidden=(8,), latent=4, progress=False
    )
    model.network.operator.matrix.data = radius * torch.eye(4)
    return model


def test_growth_is_printed_saved_and_warned_of(tmp_path):
    cube, model = seasonal_cube(seed=1), dense_model(1.001)
    assert "spectral radius 1.001000 over 5 days: grows by a factor of 1.08 a year" in repr(model)
    path = model.save(tmp_path / "growing.safetensors")
    assert json.loads(path.with_suffix(".json").read_text())["spectral_radius"] == pytest.approx(1.001)
    for given in (model, path):
        with pytest.warns(S2koopWarning, match=r"1\.001000 over 5 days.*until .*operator='modal'"):
            cube.koopman.forecast(given, steps=2, progress=False)
    assert load(path).network.operator.grows


def test_what_does_not_grow_is_not_warned_of():
    cube, model = seasonal_cube(seed=1), dense_model(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cube.koopman.forecast(model, steps=2, progress=False)
    assert "spectral radius 1.000000 over 5 days" in repr(model)
    assert "grows" not in repr(model)

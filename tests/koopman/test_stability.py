"""A model whose operator grows says so wherever it is met: printed, saved, and when it forecasts."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings

import pytest
import torch

from s2koop.errors import S2koopWarning
from s2koop.koopman import load
from s2koop.simulate import seasonal_cube

CUBE = seasonal_cube(seed=1, every_days=20)


@pytest.fixture(scope="module")
def fitted(few_origins):
    return CUBE.koopman.fit(operator="dense", learning_rate=1e-6, steps=1, hidden=(8,), latent=4, progress=False)


def dense_model(fitted, radius: float):
    model = dataclasses.replace(fitted, network=copy.deepcopy(fitted.network))
    model.network.operator.matrix.data = radius * torch.eye(4)
    return model


def test_growth_is_printed_saved_and_warned_of(tmp_path, fitted):
    model = dense_model(fitted, 1.001)
    assert "spectral radius 1.001000 over 5 days: grows by a factor of 1.08 a year" in repr(model)
    path = model.save(tmp_path / "growing.safetensors")
    assert json.loads(path.with_suffix(".json").read_text())["spectral_radius"] == pytest.approx(1.001)
    for given in (model, path):
        with pytest.warns(S2koopWarning, match=r"1\.001000 over 5 days.*until .*operator='modal'"):
            CUBE.koopman.forecast(given, steps=2, progress=False)
    assert load(path).network.operator.grows


def test_what_does_not_grow_is_not_warned_of(fitted):
    model = dense_model(fitted, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CUBE.koopman.forecast(model, steps=2, progress=False)
    assert "spectral radius 1.000000 over 5 days" in repr(model)
    assert "grows" not in repr(model)

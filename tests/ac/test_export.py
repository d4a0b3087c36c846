"""ONNX files of emulators: onnxruntime gives the numbers of torch, in any size, and eight bits come near."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2koop.ac.emulator import AcModel, EmulatorSettings, make_networks
from s2koop.ac.export import quantise, to_onnx
from s2koop.ac.networks import LOCAL
from s2koop.ac.transfer import Coefficients, to_boa

onnxruntime = pytest.importorskip("onnxruntime")

BANDS = ("B02", "B04", "B08", "B11")


def model(kind, **options):
    settings = EmulatorSettings(kind=kind, bands=BANDS, width=12, patch=30, **options)
    return AcModel(settings, make_networks(settings), torch.zeros(4, 2), torch.ones(4))


def planes(model, size=9, seed=0):
    count = len(BANDS) + model.settings.water_vapour
    wide = size + 2 * model.radius
    return np.random.default_rng(seed).uniform(0, 0.5, (1, count, wide, wide + 3)).astype(np.float32)


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", LOCAL)
@pytest.mark.parametrize("water_vapour", [False, True])
def test_onnxruntime_agrees_with_torch(tmp_path, kind, water_vapour):
    made = model(kind, water_vapour=water_vapour)
    run = session(to_onnx(made, tmp_path / "net.onnx"))
    for size in (5, 9):
        given = planes(made, size)
        expected, _ = made.correct(given[0])
        found = run.run(None, {"planes": given})[0][0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.shape == (4, size, size + 3)


def test_a_context_model_takes_the_code_of_its_scene(tmp_path):
    made = model("context")
    given = planes(made)
    for seed in (0, 1):
        code = np.random.default_rng(seed).normal(size=(1, 12)).astype(np.float32)
        expected, _ = made.correct(given[0], code)
        found = session(to_onnx(made, tmp_path / "net.onnx")).run(None, {"planes": given, "code": code})[0][0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_eight_bits_come_near(tmp_path):
    made = model("fcnn")
    path = to_onnx(made, tmp_path / "net.onnx")
    small = quantise(path, tmp_path / "small.onnx", [{"planes": planes(made, 24, seed)} for seed in range(4)])
    given = planes(made, 24, seed=9)
    exact, near = (session(one).run(None, {"planes": given})[0] for one in (path, small))
    assert 0 < np.abs(exact - near).max() < 0.01


def test_a_hybrid_inverts_under_three_numbers(tmp_path):
    made = model("hybrid")
    given, rng = planes(made), np.random.default_rng(1)
    numbers = [
        rng.uniform(low, high, (1, 4)).astype(np.float32) for low, high in ((0.01, 0.1), (0.6, 0.9), (0.05, 0.2))
    ]
    expected = to_boa(given, Coefficients(*(value[..., None, None] for value in numbers)))
    run = session(to_onnx(made, tmp_path / "net.onnx"))
    found = run.run(None, {"planes": given, **dict(zip(Coefficients._fields, numbers, strict=True))})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)

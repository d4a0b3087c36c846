"""The notebook that goes from Sentinel-2 to PROBA-V."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, run

QUICK = "SCENES = 6\nSIZE = 24\nLEARNED = 30\nSTEPS = 4"
FEWER = {'"patches": 600, "batch": 8': '"patches": 40, "batch": 4'}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_probav_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = run("06_probav", tmp_path, monkeypatch, parameters=QUICK, fewer=FEWER).shown
    for cell in ("responses", "pixels-map", "misleads"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    for cell, methods in {"floor": 3, "table-a": 4, "table-b": 3, "table-c": 7, "table-d": 2}.items():
        median, _, low, high, error = np.reshape(numbers(shown[cell]), (methods, 4, 5)).transpose(2, 0, 1)
        assert ((low <= median) & (median <= high)).all()
        assert ((error >= 0) & (error < 0.1)).all()
    as_they_are, _, all_bands = np.reshape(numbers(shown["floor"]), (3, 4, 5))[..., -1]
    assert (all_bands <= as_they_are).all()
    averaged, blurred = np.reshape(numbers(shown["pixels"]), (2, 4))
    assert (blurred < averaged).all()
    image, distance, *surfaces = np.reshape(numbers(shown["translated"]), (4, 4)).T
    assert image[-1] == distance[-1] == 0  # Sentinel-2's own image
    assert all(0 < error < 0.1 for errors in surfaces for error in errors)
    if find_spec("onnxruntime"):
        full, eight_bits = np.reshape(numbers(shown["board"]), (2, 3))
        assert eight_bits[0] < full[0]  # kB
        assert eight_bits[1] == pytest.approx(full[1], rel=0.2)  # error
    for exercise in range(1, 4):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

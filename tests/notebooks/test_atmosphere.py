"""The notebook of atmospheric correction."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_atmosphere_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = run("05_atmosphere", tmp_path, monkeypatch, parameters="SCENES = 6\nSIZE = 24").shown
    plots = "lines simulate wrong retrieved maps neighbours-map misleads plot apu"
    for cell in plots.split():
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    alone, with_neighbours = np.reshape(numbers(shown["neighbours"]), (2, 12))
    assert (with_neighbours < alone).all()
    for cell, methods in {"table-a": 4, "table-b": 3, "table-c": 5, "table-d": 2, "floor": 3}.items():
        median, _, low, high, error = np.reshape(numbers(shown[cell]), (methods, 4, 5)).transpose(2, 0, 1)
        assert ((low <= median) & (median <= high)).all()
        assert ((error > 0) & (error < 0.1)).all()
    (page,) = tmp_path.glob("atmosphere-*/validation.html")
    assert "B11" in page.read_text()
    if find_spec("onnxruntime"):
        full, eight_bits = np.reshape(numbers(shown["board"]), (2, 3))
        assert eight_bits[0] < full[0]  # kB
        assert eight_bits[1] == pytest.approx(full[1], rel=0.2)  # error
    for exercise in range(1, 5):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

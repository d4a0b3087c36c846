"""The notebook of atmospheric correction."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_atmosphere_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = run("05_atmosphere", tmp_path, monkeypatch, parameters="SCENES = 6\nSIZE = 24").shown
    for cell in ["lines", "simulate", "wrong", "retrieved", "maps", "neighbours-map", "misleads", "plot", "apu"]:
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    alone, with_neighbours = np.reshape(numbers(shown["neighbours"]), (2, 12))
    assert (with_neighbours < alone).all()
    median, _, low, high, error, _ = np.reshape(numbers(shown["table"]), (5, 6)).T
    assert ((low <= median) & (median <= high)).all()
    assert (error[0] > 2 * error[1:]).all()  # no correction
    assert "Farthest from 1: no correction" in shown["reveal-ratio"][0]["text"]
    (page,) = tmp_path.glob("atmosphere-*/validation.html")
    assert "B11" in page.read_text()
    for exercise in range(1, 4):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

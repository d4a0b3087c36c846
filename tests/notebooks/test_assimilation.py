"""The notebook of assimilation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, printed, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_assimilation_runs(tmp_path, monkeypatch):
    parameters = "SIDE = 8\nSTEPS = 30\nPIXELS = 32"
    shown = run("03_assimilation", tmp_path, monkeypatch, parameters=parameters).shown
    for cell in ("weak", "haze", "effects", "gap"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    assert all(0 <= score <= 1 for score in numbers(shown["withhold"]))  # false of NaN
    filled = np.reshape(numbers(shown["gap-score"]), (6, 3))
    assert (filled > 0).all()
    assert filled[:, 1].mean() < filled[:, 0].mean()  # neighbours help
    said = printed(shown["update"]).splitlines()[-1]
    difference, spread = (float(part.split()[-1]) for part in said.split(", spread"))
    assert difference < spread
    for exercise in range(1, 4):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

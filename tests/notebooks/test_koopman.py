"""The notebook of the Koopman prior."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, printed, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_koopman_runs(tmp_path, monkeypatch):
    parameters = "SIDE = 8\nSTEPS = 30\nPIXELS = 32"
    shown = run("02_koopman", tmp_path, monkeypatch, parameters=parameters).shown
    for cell in ("hands", "disc", "forecast"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    scores = np.reshape(numbers(shown["score"]), (3, 5, 4))  # score, method by name, band
    assert (scores[0] > 0).all()
    assert (scores[0] < 0.3).all()
    koopman, persistence = scores[0, 1], scores[0, 2]
    assert koopman[2] < persistence[2]  # in near infrared a season is worth more than the last value
    assert all(0 <= share <= 1 for share in numbers(shown["common"]))
    low, high = (float(value) for value in printed(shown["solution-2"]).split("from ")[1].split(" to "))
    assert 0 < low <= high < 1
    for exercise in range(1, 4):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

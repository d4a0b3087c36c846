"""The notebook of ensembles and calibration."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ensembles_runs(tmp_path, monkeypatch):
    parameters = "SIDE = 8\nSTEPS = 30\nPIXELS = 32\nMEMBERS = 3"
    shown = run("04_ensembles", tmp_path, monkeypatch, parameters=parameters).shown
    for cell in ("members", "reliability", "pit"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    ranks = np.reshape(numbers(shown["ranks"]), (6, 4))
    np.testing.assert_allclose(ranks.sum(1), 1, atol=0.03)  # shares, rounded
    between, surface, observation = np.reshape(numbers(shown["parts"]), (6, 3)).T
    assert (between < surface).all()
    assert (surface < observation).all()
    assert all(score >= 0 for score in numbers(shown["score"]))  # false of NaN
    assert all(0.2 < factor < 5 for factor in numbers(shown["calibrate"]))
    for exercise in range(1, 5):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

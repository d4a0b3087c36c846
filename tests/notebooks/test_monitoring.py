"""The notebook of monitoring."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_monitoring_runs(tmp_path, monkeypatch):
    parameters = "SIDE = 14\nSTEPS = 30\nPIXELS = 60"
    shown = run("08_monitoring", tmp_path, monkeypatch, parameters=parameters).shown
    for cell in ("series", "map"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    *_, cleared, untouched = np.reshape(numbers(shown["found"]), (4, 3))
    assert cleared[0] > 0.8
    assert untouched[0] < 0.2
    assert 0 <= cleared[1] < cleared[2] < 60  # days to the first flag and to confirmation
    found, put_in = np.reshape(numbers(shown["magnitude"]), (6, 2)).T
    assert (np.sign(found) == np.sign(put_in)).all()
    for exercise in range(1, 4):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

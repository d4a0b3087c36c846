"""The notebook of the Koopman prior."""

from __future__ import annotations

import pytest

from tests.support.notebooks import PLOT, numbers, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_koopman_runs(tmp_path, monkeypatch):
    shown = run("02_koopman", tmp_path, monkeypatch, parameters="SIDE = 8\nSTEPS = 30\nMEMBERS = 2").shown
    for cell in ("spectrum", "assimilate", "haze", "gap", "calibration", "quantiles"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    filled = numbers(shown["gap-score"])
    assert len(filled) == 2 * 6
    assert all(0 < error < 0.1 for error in filled)
    scores = numbers(shown["score"])
    assert len(scores) == 3 * 3 * 6
    assert all(0 <= score <= 1 for score in scores)  # false of NaN

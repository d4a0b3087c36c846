"""The notebook of catalogues and cubes."""

from __future__ import annotations

import pytest

from tests.support.notebooks import PLOT, printed, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cube_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = run("01_cube", tmp_path, monkeypatch, parameters="YEARS = '2019'").shown
    for cell in ("maps", "series"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    assert "longitude comes first" in printed(shown["nothing"])
    assert "EPSG:3035 -> EPSG:3035 and EPSG:3035" in printed(shown["reopen"])
    assert "True True" in printed(shown["reopen"])
    assert not [cell for cell, outputs in shown.items() if "Warning" in printed(outputs)]
    for exercise in range(1, 4):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

"""The notebook of large cubes."""

from __future__ import annotations

import re

import pytest

from tests.support.notebooks import printed, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dask_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    parameters = "SIDE = 10\nCHUNK = 2\nREPEAT = 4\nPIXELS = 24\nMEMORY = '2GB'"
    shown = run("09_dask", tmp_path, monkeypatch, parameters=parameters).shown
    said = {cell: printed(outputs) for cell, outputs in shown.items()}
    assert "the power is out (simulated)" in said["cut"]
    again = int(re.findall(r"computed (\d+) blocks more; the store is complete: True", said["resume"])[0])
    assert 0 < again <= 25
    difference = float(re.findall(r"the cluster found: (\S+) of", said["same"])[0])
    assert difference < 1e-4
    for exercise in range(1, 3):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

"""The first notebook: from search to dashboard."""

from __future__ import annotations

import pytest

from tests.support.notebooks import numbers, printed, run

#: What is no parameter of the notebook, and still makes the quick suite wait: years.
FEWER = {'"2015-08/2020-12"': '"2018-01/2020-12"'}


@pytest.mark.timeout(900)
def test_start_runs(tmp_path, monkeypatch):
    parameters = "CUT = '2019-12-31'\nSIDE = 8"
    shown = run("00_start", tmp_path, monkeypatch, parameters=parameters, fewer=FEWER).shown
    assert "koopman" in shown["score"][0]["data"]["text/html"]
    assert all(0 <= score <= 1 for score in numbers(shown["score"]))  # false of NaN
    sure, ahead = (float(part.split()[0]) for part in printed(shown["sure"]).splitlines()[1].split(", "))
    assert sure < ahead
    view = shown["dashboard"][-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "<img" in view["text/html"]  # the still picture, for pages without widgets
    assert "0% of the result" in printed(shown["solution-1"])
    assert shown["solution-2"]

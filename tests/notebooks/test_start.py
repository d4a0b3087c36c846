"""The first notebook: from search to dashboard."""

from __future__ import annotations

import pytest

from tests.support.notebooks import run

#: What is no parameter of the notebook, and still makes the quick suite wait: years, pixels, and the size of a network.
FEWER = {
    '"2015-08/2020-12"': '"2018-01/2020-12"',
    "resolution=20": "resolution=40",
    "steps=STEPS": "steps=STEPS, hidden=(16,), latent=8, max_pixels=32",
}


@pytest.mark.timeout(900)
def test_start_runs(tmp_path, monkeypatch):
    shown = run("00_start", tmp_path, monkeypatch, parameters="CUT = '2019-12-31'\nSTEPS = 40", fewer=FEWER).shown
    assert "koopman" in shown["score"][0]["data"]["text/html"]
    view = shown["dashboard"][-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "<img" in view["text/html"]  # the still picture, for pages without widgets

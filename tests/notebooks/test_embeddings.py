"""The notebook of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.notebooks import PLOT, numbers, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_embeddings_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = run("07_embeddings", tmp_path, monkeypatch, parameters="SCENES = 60\nSTEPS = 4\nCOARSE = 5").shown
    for cell in ["views", "look", "curve", "search", "search-geometry", "scatter", "cover-curve", "map"]:
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    probed = shown["probe"][-1]["data"]["text/html"]
    assert all(row in probed for row in ("geometry + spectrum", "spectrum", "statistics", "untrained", "mean"))
    assert probed.count("★ ") == 3  # the best of two columns, and what the star means
    assert any("same numbers: True" in output.get("text", "") for output in shown["lazy"])
    scores = np.array(numbers(shown["table"]))
    *encoders, spectrum, _, _, mean = scores.reshape(-1, 4)
    assert np.isfinite(encoders).all()
    assert (spectrum[:2] < mean[:2]).all()  # errors of height and direction
    assert spectrum[2] > mean[2]  # ranks of tags
    cover = np.reshape(numbers(shown["cover"]), (4, 4))
    assert cover[0, 0] < 0.7 * cover[-1, 0]  # sorted by error, the mean last
    for exercise in range(1, 5):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"

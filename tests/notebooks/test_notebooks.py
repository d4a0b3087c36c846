"""Every notebook runs from top to bottom, with no output saved in the repository."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = {
    "00_start": "CUT = '2019-12-31'\nSTEPS = 40",
    "01_koopman": "SIDE = 8\nSTEPS = 30\nMEMBERS = 2",
    "02_atmosphere": "SCENES = 6\nSIZE = 24",
    "03_embeddings": "SCENES = 60\nSTEPS = 4\nCOARSE = 5",
}
#: What is no parameter of a notebook, and still makes the quick suite wait: years, pixels, and the size of a network.
FEWER = {
    "00_start": {
        '"2015-08/2020-12"': '"2018-01/2020-12"',
        "resolution=20": "resolution=40",
        "steps=STEPS": "steps=STEPS, hidden=(16,), latent=8, max_pixels=32",
    }
}
#: Seconds that a cell may take where other work has most of the machine; the limits of the tests lie above it.
CELL = 600
PLOT = "application/vnd.holoviews_exec.v0+json"


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:4] == ["00_start", "01_koopman", "02_atmosphere", "03_embeddings"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert path.stat().st_size < 100_000


@pytest.mark.timeout(900)
def test_start_runs(tmp_path, monkeypatch):
    shown = _run("00_start", tmp_path, monkeypatch)
    assert "koopman" in shown["score"][0]["data"]["text/html"]
    view = shown["dashboard"][-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "<img" in view["text/html"]  # the still picture, for pages without widgets


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_koopman_runs(tmp_path, monkeypatch):
    shown = _run("01_koopman", tmp_path, monkeypatch)
    for cell in ("spectrum", "assimilate", "haze", "gap", "calibration", "quantiles"):
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    filled = _numbers(shown["gap-score"])
    assert len(filled) == 2 * 6
    assert all(0 < error < 0.1 for error in filled)
    scores = _numbers(shown["score"])
    assert len(scores) == 3 * 3 * 6
    assert all(0 <= score <= 1 for score in scores)  # false of NaN


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_atmosphere_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = _run("02_atmosphere", tmp_path, monkeypatch)
    plots = "lines simulate wrong retrieved maps neighbours-map misleads plot apu"
    for cell in plots.split():
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    alone, with_neighbours = np.reshape(_numbers(shown["neighbours"]), (2, 12))
    assert (with_neighbours < alone).all()
    for cell, methods in {"table-a": 4, "table-b": 3, "table-c": 5, "table-d": 2, "floor": 3}.items():
        median, _, low, high, error = np.reshape(_numbers(shown[cell]), (methods, 4, 5)).transpose(2, 0, 1)
        assert ((low <= median) & (median <= high)).all()
        assert ((error > 0) & (error < 0.1)).all()
    (page,) = tmp_path.glob("atmosphere-*/validation.html")
    assert "B11" in page.read_text()
    if find_spec("onnxruntime"):
        full, eight_bits = np.reshape(_numbers(shown["board"]), (2, 3))
        assert eight_bits[0] < full[0]  # kB
        assert eight_bits[1] == pytest.approx(full[1], rel=0.2)  # error
    for exercise in range(1, 5):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_embeddings_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = _run("03_embeddings", tmp_path, monkeypatch)
    for cell in ["views", "look", "curve", "search", "search-geometry", "scatter", "cover-curve", "map"]:
        assert PLOT in shown[cell][-1]["data"], f"{cell} shows no plot"
    probed = shown["probe"][-1]["data"]["text/html"]
    assert all(row in probed for row in ("geometry + spectrum", "spectrum", "statistics", "untrained", "mean"))
    assert probed.count("★ ") == 3  # the best of two columns, and what the star means
    assert any("same numbers: True" in output.get("text", "") for output in shown["lazy"])
    scores = np.array(_numbers(shown["table"]))
    *encoders, spectrum, _, _, mean = scores.reshape(-1, 4)
    assert np.isfinite(encoders).all()
    assert (spectrum[:2] < mean[:2]).all()  # errors of height and direction
    assert spectrum[2] > mean[2]  # ranks of tags
    cover = np.reshape(_numbers(shown["cover"]), (6, 4))
    assert cover[0, 0] < 0.7 * cover[-1, 0]  # sorted by error, the mean last
    for exercise in range(1, 5):
        assert shown[f"solution-{exercise}"], f"the solution of exercise {exercise} shows nothing"


def _run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Outputs of each code cell by its name, run with quick parameters."""
    monkeypatch.setenv("PYTHONWARNINGS", "error:::s2koop")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = QUICK[name]
    for much, less in FEWER.get(name, {}).items():
        (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and much in cell.source]
        cell.source = cell.source.replace(much, less)
    notebook.cells += _solutions(notebook)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=CELL, store_widget_state=False, resources=resources).execute()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def _solutions(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code that exercises hide in their text, as cells to run at the end."""
    exercises = [cell for cell in notebook.cells if cell.id.startswith("exercise-")]
    hidden = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.S)
    return [
        nbformat.v4.new_code_cell("\n".join(hidden.findall(cell.source)), id=cell.id.replace("exercise", "solution"))
        for cell in exercises
    ]


def _numbers(outputs: list[Any]) -> list[float]:
    """The numbers of a table that a cell shows."""
    return [float(cell) for cell in re.findall(r"<td>([^<]*)</td>", outputs[-1]["data"]["text/html"])]

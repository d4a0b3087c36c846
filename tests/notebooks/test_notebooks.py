"""Every notebook runs from top to bottom, with no output saved in the repository."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = {"00_start": "CUT = '2019-12-31'\nSTEPS = 40"}


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:1] == ["00_start"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error:::s2koop")
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = QUICK[path.stem]
    NotebookClient(notebook, timeout=240, store_widget_state=False, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert "koopman" in shown["score"][0]["data"]["text/html"]
    view = shown["dashboard"][-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "<img" in view["text/html"]  # the still picture, for pages without widgets

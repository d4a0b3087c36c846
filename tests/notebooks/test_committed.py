"""What is committed of a notebook: valid, small, and without outputs."""

from __future__ import annotations

import nbformat
import pytest

from tests.support.notebooks import FOLDER

NOTEBOOKS = sorted(FOLDER.rglob("*.ipynb"))


def test_there_are_notebooks():
    assert "00_start" in [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert path.stat().st_size < 100_000

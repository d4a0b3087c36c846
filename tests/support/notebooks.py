"""Runs a notebook in a kernel of its own, offline, and says what its cells showed and what the kernel took."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"

#: What a cell that ends in a HoloViews plot shows.
PLOT = "application/vnd.holoviews_exec.v0+json"

#: What a notebook may take on two cores, so that it fits into a workshop and beside a server into Binder's memory.
MOST_SECONDS, MOST_MEGABYTES = 90, 900

#: Seconds that a cell may take where other work has most of the machine; the limits of the tests lie above it.
_CELL = 600

_COUNT = """
import json, time
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(json.dumps({"seconds": time.process_time(), "megabytes": int(peak.split()[1]) / 1024}))
"""


#: What pandas and pystac load by themselves where it is there, and whoever opens a notebook has not installed.
_OF_EXTRAS = ("pyarrow", "orjson")


@dataclass(frozen=True)
class Run:
    """Outputs of each code cell by its id, and the CPU seconds and peak memory of the kernel."""

    shown: dict[str, list[Any]]
    seconds: float
    megabytes: float


def run(
    path: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    parameters: str | None = None,
    fewer: Mapping[str, str] | None = None,
    solutions: bool = True,
) -> Run:
    """Run `notebooks/<path>.ipynb` in `folder`.

    Parameters
    ----------
    parameters : str, optional
        In place of the cell that is tagged ``parameters``; as committed by default.
    fewer : mapping of str to str, optional
        What is no parameter, and still makes the quick suite wait: text of one code cell, and its stand-in.
    solutions : bool
        Run the hidden solutions of the exercises at the end, as cells ``solution-1`` and so on.
    """
    monkeypatch.setenv("PYTHONWARNINGS", "error:::s2koop")
    monkeypatch.setenv("PYTHONPATH", str(_without_extras(folder)))
    notebook = nbformat.read(FOLDER / f"{path}.ipynb", as_version=4)
    if parameters is not None:
        (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        cell.source = parameters
    for much, less in (fewer or {}).items():
        (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and much in cell.source]
        cell.source = cell.source.replace(much, less)
    if solutions:
        notebook.cells += _solutions(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(_COUNT, id="count"))
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=_CELL, store_widget_state=False, resources=resources).execute()
    shown = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    return Run(shown, **json.loads(shown.pop("count")[0]["text"]))


def _without_extras(folder: Path) -> Path:
    """A folder that, on the path of a kernel, hides what the tests alone install."""
    place = folder / "without_extras"
    place.mkdir(exist_ok=True)
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in _OF_EXTRAS)
    (place / "sitecustomize.py").write_text(f"import sys\n{hidden}")
    return place


def numbers(outputs: list[Any]) -> list[float]:
    """Return the numbers of a table that a cell shows."""
    return [float(cell) for cell in re.findall(r"<td>([^<]*)</td>", outputs[-1]["data"]["text/html"])]


def printed(outputs: list[Any]) -> str:
    """Return what a cell prints; it may come in several parts."""
    return "".join(output.get("text", "") for output in outputs)


def _solutions(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code that exercises hide in their text."""
    exercises = [cell for cell in notebook.cells if cell.id.startswith("exercise-")]
    hidden = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.S)
    return [
        nbformat.v4.new_code_cell("\n".join(hidden.findall(cell.source)), id=cell.id.replace("exercise", "solution"))
        for cell in exercises
    ]

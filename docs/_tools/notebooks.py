"""Brings the notebooks and the pages of the workshop under docs/, where Sphinx finds them; links follow in links.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from _tools.paths import DOCS, NOTEBOOKS

#: Copies; not in the repository.
COPIES = DOCS / "notebooks"


def copy() -> None:
    """Copy what people read; a copy whose notebook is gone goes too, and one that has not changed keeps its time."""
    wanted = {path.relative_to(NOTEBOOKS) for path in sources()}
    if COPIES.exists():
        for old in [path for path in COPIES.rglob("*") if path.is_file()]:
            if old.relative_to(COPIES) not in wanted:
                old.unlink()
    for name in sorted(wanted):
        target = COPIES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != (NOTEBOOKS / name).read_bytes():
            shutil.copyfile(NOTEBOOKS / name, target)


def sources() -> Iterator[Path]:
    """All notebooks and Markdown pages below notebooks/, without what Jupyter leaves there."""
    for path in sorted(NOTEBOOKS.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(NOTEBOOKS).parts)
        if path.suffix in (".ipynb", ".md") and not hidden:
            yield path


def text(path: Path) -> str:
    """What is written in a page: all of a Markdown file, the Markdown cells of a notebook."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return content
    return "\n\n".join("".join(c["source"]) for c in json.loads(content)["cells"] if c["cell_type"] == "markdown")

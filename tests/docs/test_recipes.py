"""Every block of Python in the how-to pages runs as it stands, on a small cube; what cannot run says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+ -->\n)?```python\n(?P<code>.*?)```", re.S)

#: What stands for the first lines of the folder's page: fewer pixels, dates and steps.
_PRELUDE = """
import s2koop

cube = s2koop.sample(resolution=20, datetime="2017-06/2020-12").isel(y=slice(0, 6), x=slice(0, 6)).compute()
fit = dict(steps=10, hidden=(16,), latent=8, progress=False)
model = cube.koopman.fit(**fit)
"""

PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))


def blocks(page: str) -> list[tuple[bool, str]]:
    """All blocks of a page, and whether they are to be run."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return [(found["skip"] is None, found["code"]) for found in BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def prelude() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(_PRELUDE, names)
    return names


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in PAGES if page != "index"])
def test_recipes_run(page, prelude, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    names = dict(prelude)
    ran = 0
    for number, (runs, code) in enumerate(blocks(page)):
        if runs:
            code = code.replace(".fit()", ".fit(**fit)")
            exec(compile(code, f"{page}.md, block {number + 1}", "exec"), names)
            ran += 1
    assert ran or page == "cluster"


def test_few_blocks_are_not_run() -> None:
    every = [runs for page in PAGES for runs, _ in blocks(page)]
    assert len(every) > 20
    assert sum(every) / len(every) > 0.8


@pytest.mark.parametrize("page", PAGES)
def test_recipes_are_python(page) -> None:
    for number, (_, code) in enumerate(blocks(page)):
        compile(code, f"{page}.md, block {number + 1}", "exec")

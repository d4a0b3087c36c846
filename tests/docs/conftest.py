"""Lets tests import what makes the pages, and builds the pages once for all tests that look at them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The built pages, from a copy of what makes them; any warning fails, as in ``make docs``."""
    pytest.importorskip("sphinx_book_theme", reason="needs the extra docs")
    # a copy, so that generated pages do not appear in a working tree that others may look at
    copy = tmp_path_factory.mktemp("site")
    generated = shutil.ignore_patterns("_build", "notebooks", "reference", "gallery", "__pycache__")
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=generated)
    for name in ("notebooks", "benchmarks", "s2koop", "CHANGELOG.md"):
        (copy / name).symlink_to(ROOT / name)
    out = copy / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    run = subprocess.run(
        command, cwd=copy, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return out

"""Where things lie, for all that makes pages."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
RESULTS = DOCS / "results"
NOTEBOOKS = ROOT / "notebooks"
PACKAGE = ROOT / "s2koop"

#: Where files are shown that are no page.
REPOSITORY = "https://github.com/s2koop/s2koop/blob/main"

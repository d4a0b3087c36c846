"""Lets links that work in the repository work in the pages too: notebooks move, other files are shown on GitHub."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath

from _tools.paths import REPOSITORY, ROOT

#: A Markdown link or picture with a relative target: the bracket, the target, its anchor.
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")

#: Folders and files that are pages, by their place in the repository.
_PAGES = {
    "docs": "docs/index.md",
    "docs/results": "docs/benchmarks.md",
    "docs/results/koopman.md": "docs/results/koopman_accuracy.md",  # joins pages that are shown one by one
    "CHANGELOG.md": "docs/changelog.md",
    "notebooks": "docs/tutorial.md",
    "notebooks/workshop": "docs/notebooks/workshop/README.md",
}


def rewrite(page: str, text: str) -> str:
    """Make the links of a page hold where Sphinx sees it.

    Parameters
    ----------
    page : str
        Place of the page below docs/, with its suffix; those in notebooks/ are copies from the repository's root.
    text : str
        Markdown, or the JSON of a notebook.
    """
    here = PurePosixPath("docs", page).parent
    origin = PurePosixPath(page).parent if page.startswith("notebooks/") else here

    def follow(found: re.Match[str]) -> str:
        target, anchor = found.group(1), found.group(2) or ""
        place = posixpath.normpath(str(origin / target))
        place = _PAGES.get(place, place)
        if place.startswith("notebooks/") and place.endswith((".ipynb", ".md")):
            place = f"docs/{place}"
        if place.startswith("docs/") and not _only_on_github(place):
            return posixpath.relpath(place, str(here)) + anchor
        return f"{REPOSITORY}/{place}{anchor}"

    return LINK.sub(follow, text)


def missing(page: str, text: str) -> list[str]:
    """Targets of relative links of a file of the repository that are not there."""
    folder = PurePosixPath(page).parent
    targets = [found.group(1) for found in LINK.finditer(text)]
    return [t for t in targets if not (ROOT / posixpath.normpath(str(folder / t))).exists()]


def _only_on_github(place: str) -> bool:
    return place.endswith((".py", ".json", ".toml", ".yml", ".ini")) or place.startswith("docs/_tools")

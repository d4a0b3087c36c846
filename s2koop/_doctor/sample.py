"""Whether the sample data is built, and whether its folder can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from s2koop._cache import cache_dir
from s2koop._doctor.report import Finding


def sample_finding() -> Finding:
    """State of the sample in the cache; nothing is built and nothing is left behind."""
    folder = cache_dir()
    shown = str(folder).replace(str(Path.home()), "~", 1)
    # os.path tells of a folder that may not be entered that it is not there; Path raises.
    existing = next(p for p in (folder, *folder.parents) if os.path.exists(p))
    if (problem := _why_not_writable(existing)) is not None:
        found = f"{shown} cannot be written ({problem})"
        return Finding("sample data", found, "set S2KOOP_CACHE to a folder you can write to")
    built = [marker.parent for marker in folder.glob("sample-v*/complete.json")]
    if not built:
        return Finding("sample data", f"not built yet; the first use writes it into {shown}")
    size = sum(f.stat().st_size for f in built[-1].rglob("*") if f.is_file())
    return Finding("sample data", f"ready, {size / 1e6:.0f} MB in {shown}")


def _why_not_writable(folder: Path) -> str | None:
    """What the system says to a file in the folder: permission bits know of no quota or read-only disk."""
    if not folder.is_dir():
        return f"{folder.name} is no folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__

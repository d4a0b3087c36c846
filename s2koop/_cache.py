"""Where s2koop keeps what it writes for itself: one folder per user, moved by ``S2KOOP_CACHE``."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from s2koop.errors import CacheError


def cache_dir() -> Path:
    """The cache folder; not created here."""
    named = os.environ.get("S2KOOP_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("s2koop", appauthor=False))


def write_once(path: Path, content: bytes) -> None:
    """Put a file into the cache in one step: readers see all of it or nothing.

    Raises
    ------
    CacheError
        If the folder cannot be written.
    """
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CacheError(
            f"cannot write to the cache folder {path.parent} ({error.strerror or error}); "
            "set the environment variable S2KOOP_CACHE to a folder you can write to"
        ) from error

"""Models that are shipped with s2koop: small files with a card, known by name.

`index.json` names each file and its SHA-256; scripts/ holds what trained them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from s2koop.errors import ModelError

__all__ = ["LAND", "card", "names", "path"]

#: The prior for Sentinel-2 surface reflectance of land, which `.koopman` takes where no model is given.
LAND = "land"
_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names of the models that this version ships."""
    return tuple(sorted(_index()))


def path(name: str) -> Path:
    """File of a shipped model, checked against its SHA-256.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Path
        A safetensors file, with its card as JSON beside it; `s2koop.koopman.load` takes the name itself, too.

    Raises
    ------
    ModelError
        If no model has this name, or its file is missing or not the one that was shipped.

    Examples
    --------
    >>> path("nowhere")
    Traceback (most recent call last):
    ...
    s2koop.errors.ModelError: no shipped model is named 'nowhere'...
    """
    index = _index()
    if name not in index:
        known = f"they are {', '.join(sorted(index))}" if index else "this version ships none"
        raise ModelError(f"no shipped model is named {name!r}; {known}; or give the path of a file of model.save()")
    file = _FOLDER / index[name]["file"]
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != index[name]["sha256"]:
        raise ModelError(f"the shipped model {file} is missing or damaged; install s2koop again")
    return file


def card(name: str) -> dict[str, Any]:
    """What a shipped model is: its data, licence, split, scores and limits.

    Parameters
    ----------
    name : str
        One of `names`.

    Raises
    ------
    ModelError
        As for `path`.
    """
    file = path(name).with_name(_index()[name]["card"])
    return json.loads(file.read_text(encoding="utf-8"))["card"]


def _index() -> dict[str, dict[str, str]]:
    return json.loads((_FOLDER / "index.json").read_text(encoding="utf-8"))

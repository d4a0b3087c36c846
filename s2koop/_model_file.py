"""Files of models: safetensors with a JSON header, read without executing anything, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from s2koop import zoo
from s2koop._cache import write_once
from s2koop._file_checks import MOST_HEADER, as_model_error, check_finite, check_size, strict_json
from s2koop.engine import ModelReference
from s2koop.engine.broadcast import broadcast, model_path
from s2koop.errors import ModelError


class ModelFile(ABC):
    """What every model that is one file can do; a subclass gives `content` and `load`."""

    @property
    @abstractmethod
    def content(self) -> bytes:
        """The bytes of the model file."""

    @staticmethod
    @abstractmethod
    def load(path: Path) -> Any:
        """The model of a file."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self.content).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the model as one safetensors file, with a JSON card beside it.

        The file is complete or not there at all. The card repeats what the header of the file says, for people.
        """
        return save_content(self.content, path)

    def reference(self) -> ModelReference:
        """The model as a worker finds it: a content-addressed file in the cache folder."""
        path = model_path(self.digest)
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != self.digest:
            path.unlink()  # damaged: write it anew
        write_once(path, self.content)
        broadcast(self.digest, self.content)
        return ModelReference(str(path), self.digest, type(self).load)


def to_content(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """The bytes of a safetensors file with a header of s2koop."""
    return safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        {"s2koop": json.dumps(header, sort_keys=True)},
    )


def safetensors_header(content: bytes) -> str:
    """The JSON text that s2koop put into a safetensors header."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(MOST_HEADER, len(content) - 8):
        raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
    return strict_json(content[8 : 8 + length])["__metadata__"]["s2koop"]


def save_content(content: bytes, path: str | Path) -> Path:
    """Write the bytes of a safetensors file, and the JSON card of its header beside it, each in one step."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path.name!r} does not end in '.safetensors'; name the file such as 'forest.safetensors'")
    if not path.parent.is_dir():
        raise ModelError(f"the folder {path.parent} does not exist; create it first")
    header = json.loads(safetensors_header(content))
    for target, data in ((path, content), (path.with_suffix(".json"), json.dumps(header, indent=2).encode())):
        temporary = target.with_name(f".{target.name}.part")
        temporary.write_bytes(data)
        temporary.replace(target)
    return path


def load_content(path: str | Path, *, formats: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file in one of some formats of s2koop, refused where it is anything else.

    A name of the zoo stands for its file.
    """
    path = zoo.path(path) if isinstance(path, str) and path in zoo.names() else Path(path)
    if not path.is_file():
        shipped = " or ".join(repr(name) for name in zoo.names()) or "none yet"
        raise ModelError(
            f"there is no model file {path}; give the path of a file that model.save() wrote, or the name of a "
            f"shipped model ({shipped})"
        )
    with as_model_error(f"{path} is not a model that s2koop wrote, or damaged", "use a file from model.save()"):
        header, tensors = read_content(path)
        if not isinstance(header.get("card", {}), dict):
            raise TypeError("its card is no object")
        check_finite(tensors)
    if header.get("format") not in formats:
        known = " or ".join(repr(known) for known in formats)
        raise ModelError(
            f"{path} has format {header.get('format')!r}, this version reads {known} here; "
            f"use the s2koop that wrote it ({header.get('s2koop')})"
        )
    return header, tensors


def read_content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a safetensors file with a header of s2koop; whatever is wrong with it is some error."""
    check_size(path)
    content = path.read_bytes()  # not mapped: a file that changes later must not change the model
    header = strict_json(safetensors_header(content))
    if not isinstance(header, dict):
        raise TypeError("its header is no object")
    return header, safetensors.torch.load(content)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def beside(tensors: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The tensors whose names start with none of the prefixes."""
    return {name: value for name, value in tensors.items() if not name.startswith(prefixes)}

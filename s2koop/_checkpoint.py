"""Checkpoints of a training under way: one file from which a fit goes on as if it had never stopped.

A checkpoint is a safetensors file whose header holds, as JSON, everything that is no tensor. Reading it executes
nothing. It is complete or not there: a new one replaces the old in one step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
from torch import Tensor

from s2koop._file_checks import as_model_error
from s2koop._model_file import read_content
from s2koop.errors import InputError, ModelError

FORMAT = "s2koop-training-1"
#: Optimiser steps between two checkpoints.
EVERY = 50


def check_path(path: str | Path) -> Path:
    """The path of a checkpoint, refused before any work where it could not be written."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"checkpoint={path.name!r} does not end in '.safetensors'; name it such as 'fit.safetensors'")
    if not path.parent.is_dir():
        raise InputError(f"checkpoint: the folder {path.parent} does not exist; create it first")
    return path


def digest(*arrays: npt.NDArray[Any]) -> str:
    """SHA-256 of shapes and contents."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()


class Checkpoint:
    """Where a training keeps its state.

    Parameters
    ----------
    path : Path
    identity : mapping
        What the training is of (settings, data, ...), JSON-ready: a checkpoint of anything else is refused.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self._asked_to_stop = False

    def load(self) -> dict[str, Any] | None:
        """What was saved, or None where there is no file.

        Raises
        ------
        ModelError
            If the file is no checkpoint, or is one of another training.
        """
        if not self.path.is_file():
            return None
        cure = "delete it, or give another path"
        with as_model_error(f"{self.path} is no checkpoint", cure):
            header, tensors = read_content(self.path)
        if header.get("format") != FORMAT:
            raise ModelError(
                f"{self.path} has format {header.get('format')!r}, not {FORMAT!r}, so it is no checkpoint of a "
                "training; give checkpoint= another path"
            )
        with as_model_error(f"{self.path} is no checkpoint", cure):
            self._compare(header["identity"])
            tree = _unpack(header["tree"], tensors)
            if not isinstance(tree, dict):
                raise TypeError(f"it holds a {type(tree).__name__}")
            return tree

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Name the file where what it held does not fit the training that goes on from it."""
        with as_model_error(f"{self.path} does not hold the state of this training", "delete it to start anew"):
            yield

    def save(self, tree: Mapping[str, Any]) -> None:
        """Replace the file by what a training needs to go on: nested mappings of tensors and plain values."""
        tensors: dict[str, Tensor] = {}
        header = {"format": FORMAT, "identity": self.identity, "tree": _pack(tree, tensors)}
        content = safetensors.torch.save(tensors, {"s2koop": json.dumps(header)})
        temporary = self.path.with_name(f".{self.path.name}.part")
        temporary.write_bytes(content)
        temporary.replace(self.path)

    def remove(self) -> None:
        """Delete the file: the training has ended."""
        self.path.unlink(missing_ok=True)

    def due(self, step: int) -> bool:
        """Whether to save after a step: every so often, and before stopping on request."""
        return step % EVERY == 0 or self._asked_to_stop

    def stop_if_asked(self) -> None:
        """Raise the interrupt that was held back until the state was saved."""
        if self._asked_to_stop:
            self._asked_to_stop = False
            raise KeyboardInterrupt(f"stopped; the same call goes on from {self.path}")

    @contextlib.contextmanager
    def holding_interrupts(self) -> Iterator[None]:
        """Let Ctrl-C wait for the end of a step, because half a step cannot be continued; a second one does not wait.

        Signals reach the main thread only: elsewhere the last regular checkpoint has to do.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def hold(number: int, frame: FrameType | None) -> None:
            if self._asked_to_stop and callable(before):
                before(number, frame)
            self._asked_to_stop = True

        signal.signal(signal.SIGINT, hold)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _compare(self, found: Mapping[str, Any]) -> None:
        if found == self.identity:
            return
        differences = []
        for name in sorted({*found, *self.identity}):
            there, here = found.get(name), self.identity.get(name)
            if isinstance(there, dict) and isinstance(here, dict):
                differences += [
                    f"{key}={there.get(key)!r} there and {here.get(key)!r} here"
                    for key in sorted({*there, *here})
                    if there.get(key) != here.get(key)
                ]
            elif there != here:
                differences.append("other data" if name == "data" else f"{name}={there!r} there and {here!r} here")
        raise ModelError(
            f"the checkpoint {self.path} is of another training ({'; '.join(differences)}); make the same call on the "
            "same cube to go on, delete the file to start anew, or give another path"
        )


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A nested structure as JSON, its tensors moved into `tensors`; keys keep their types."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _pack(inner, tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(inner, tensors) for inner in value]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {key: _unpack(inner, tensors) for key, inner in value["items"]}
    if isinstance(value, list):
        return [_unpack(inner, tensors) for inner in value]
    return value

"""What kernels of pixels and of patches share: outputs, models that workers find, devices and threads."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2koop._memory import keep_between_tiles
from s2koop.engine.broadcast import model_path
from s2koop.errors import InputError, ModelError

# oneDNN keeps a compiled kernel for each shape of matrices that it has met, 1024 of them by default. Pixels that have
# converged leave a tile, so shapes seldom come back, and these kernels take 200 MB and more.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")


@dataclass(frozen=True)
class Output:
    """One output of a pixel kernel: its dims beside y and x, with their coordinates.

    Attributes
    ----------
    coords : mapping of str to sequence
        Core dims in order, each with its labels.
    dtype : numpy dtype
    attrs : mapping
    """

    coords: Mapping[str, Any] = field(default_factory=dict)
    dtype: Any = np.float32
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelReference:
    """A model as a worker finds it: a file, its SHA-256, and the function that reads it.

    Attributes
    ----------
    path : str
    digest : str
        Hexadecimal SHA-256 of the file.
    loader : callable
        An importable function from a path to a model.
    """

    path: str
    digest: str
    loader: Callable[[Path], Any]

    def load(self, device: str = "cpu") -> Any:
        """The model, read once a process and device."""
        return _load_once(self, device)


@lru_cache(maxsize=8)
def _load_once(reference: ModelReference, device: str) -> Any:
    places = [path for path in (Path(reference.path), model_path(reference.digest)) if path.is_file()]
    if not places:
        raise ModelError(
            f"the model file {reference.path} is not visible to this worker: models are sent to the workers of the "
            "client in use when a result is set up, so connect the Client first, or set S2KOOP_CACHE to a folder that "
            "all of them share"
        )
    path = next((path for path in places if hashlib.sha256(path.read_bytes()).hexdigest() == reference.digest), None)
    if path is None:
        raise ModelError(
            f"the model file {places[0]} has changed since the computation was set up; build the result again"
        )
    return reference.loader(path).to(device)


def check_device(device: str) -> str:
    """The name of a device that can be used here, refused before any work; ``"auto"`` is a GPU where there is one.

    Raises
    ------
    InputError
        If torch does not know the device or cannot reach one.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        usable = [
            "auto",
            "cpu",
            *(["cuda"] if torch.cuda.is_available() else []),
            *(["mps"] if torch.backends.mps.is_available() else []),
        ]
        raise InputError(f"device={device!r} cannot be used here; choose one of {usable}") from error
    return device


def blank(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Zeros for whole numbers, NaN for the others: what a pixel without observations keeps."""
    kind = np.dtype(dtype)
    return np.zeros(shape, kind) if kind.kind in "iub" else np.full(shape, np.nan, kind)


_GPU = threading.Lock()


def turn(device: str) -> contextlib.AbstractContextManager[object]:
    """One block at a time on a GPU, whose memory threads would share; any number on the processor."""
    return contextlib.nullcontext() if device == "cpu" else _GPU


@contextlib.contextmanager
def in_worker() -> Iterator[None]:
    """Where dask runs a thread a core, one torch thread in each, and a heap that keeps what tiles need again."""
    keep_between_tiles()
    before = torch.get_num_threads()
    if threading.current_thread() is threading.main_thread() or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

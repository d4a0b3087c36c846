"""Weights files of others: identified by their bytes, read without executing anything, and loaded strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from s2koop._file_checks import MOST_HEADER
from s2koop._foreign_weights import check_tensor, file_content, read_torch
from s2koop.errors import ModelError

#: Keys that a message lists before it says how many more there are.
_LISTED = 4
#: Entries under which files of a whole training keep the weights.
_NESTED = ("state_dict", "model", "teacher")


def git_blob_id(content: bytes | str | Path) -> str:
    r"""The name that git gives to the content of a file: what identifies a file in a public repository.

    Parameters
    ----------
    content : bytes, or str or Path of a file

    Returns
    -------
    str
        SHA-1 of ``"blob <size>\0"`` and the content, hexadecimal.

    Raises
    ------
    ModelError
        If there is no such file.

    Examples
    --------
    >>> git_blob_id(b"hello\n")
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """
    if not isinstance(content, bytes):
        content = file_content(content)
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def read_state(content: bytes, name: str = "the file") -> dict[str, Tensor]:
    """The tensors of a file of weights, on the CPU: of torch or of safetensors, bare or of a whole training.

    Parameters
    ----------
    content : bytes
    name : str
        Of the file, for messages.

    Raises
    ------
    ModelError
        If the content is no such file, or holds anything but tensors and plain values, which only executing it could
        restore.

    Examples
    --------
    >>> import io
    >>> import torch
    >>> kept = io.BytesIO()
    >>> torch.save({"epoch": 3, "state_dict": {"weight": torch.ones(2)}}, kept)
    >>> read_state(kept.getvalue())
    {'weight': tensor([1., 1.])}
    """
    if _is_safetensors(content):
        try:
            tensors = safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise ModelError(f"{name} is a damaged file of safetensors ({error}); download it again") from error
        return _checked(tensors, name)
    found = read_torch(content, name)
    for entry in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(entry), Mapping):
            found = found[entry]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{name} holds a {type(found).__name__} without tensors; expected a state dict")
    return _checked({str(key): value for key, value in found.items() if isinstance(value, Tensor)}, name)


def _checked(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: check_tensor(value, key, name) for key, value in state.items()}


def _is_safetensors(content: bytes) -> bool:
    """Whether content begins as safetensors do: the length of a JSON header, then the header."""
    if len(content) < 9 or content[8:9] != b"{":
        return False
    size = int.from_bytes(content[:8], "little")
    try:
        return size <= MOST_HEADER and isinstance(json.loads(content[8 : 8 + size]), dict)
    except (ValueError, RecursionError):
        return False


def load_exactly(network: nn.Module, state: Mapping[str, Any]) -> nn.Module:
    """Put tensors into a network that must be the very ones it has by name and shape; it is left in evaluation mode.

    Raises
    ------
    ModelError
        Names what is missing, left over or of another shape; the network is then unchanged. With some of its weights
        at random a network would give features all the same.

    Examples
    --------
    >>> import torch
    >>> load_exactly(nn.Linear(2, 1), {"weight": torch.ones(1, 2), "bias": torch.zeros(1)})(torch.ones(1, 2)).item()
    2.0
    """
    own = network.state_dict()
    faults = []
    for what, names in (("missing", own.keys() - state.keys()), ("unexpected", state.keys() - own.keys())):
        if names:
            faults.append(f"{len(names)} {what} ({some(names)})")
    shapes = [
        f"{name} is {_shape(state[name])}, expected {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and _shape(state[name]) != tuple(value.shape)
    ]
    if shapes:
        faults.append(f"{len(shapes)} of another shape ({some(shapes, '; ')})")
    if faults:
        raise ModelError(
            f"the weights are not those of this network of {len(own)} tensors: {', '.join(faults)}; give the file of "
            "this architecture and number of channels, and the prefix of its names if it has one"
        )
    network.load_state_dict(dict(state), strict=True)
    return network.eval()


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def some(names: Any, between: str = ", ") -> str:
    """Some names for a message, and how many more there are."""
    ordered = names if isinstance(names, list) else sorted(map(str, names))
    more = len(ordered) - _LISTED
    return between.join(ordered[:_LISTED]) + (f"{between}and {more} more" if more > 0 else "")


__all__ = ["file_content", "git_blob_id", "load_exactly", "read_state"]

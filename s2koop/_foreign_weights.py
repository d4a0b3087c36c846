"""Files of weights that others wrote with `torch.save`: tensors and plain values are read, and nothing is executed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2koop._file_checks import check_size
from s2koop.errors import ModelError


def file_content(path: str | Path) -> bytes:
    """The bytes of a file of weights: they are identified and read as one, so that nobody can change it in between.

    Raises
    ------
    ModelError
        If there is no such file, or it is larger than any that s2koop reads.
    """
    if not Path(path).is_file():
        raise ModelError(f"there is no file {str(path)!r}; give the path of the weights that you have downloaded")
    try:
        check_size(Path(path))
    except ValueError as error:
        raise ModelError(f"{path} is no file of weights: {error}") from None
    return Path(path).read_bytes()


def read_torch(content: bytes, name: str) -> Any:
    """What `torch.save` wrote, as long as it is tensors and plain values.

    Parameters
    ----------
    content : bytes
    name : str
        Of the file, for messages.

    Raises
    ------
    ModelError
        If it is no such content, or holds anything that only executing it could restore.
    """
    try:
        _check_parts(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler stumbles over foreign bytes in many ways, and then offers to trust them
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise ModelError(
            f"{name} cannot be read as tensors alone ({reason}): it is damaged, or holds more than a state dict and is "
            "not opened, as it could run code. Save model.state_dict() of it where you trust it, and give that file"
        ) from None


def _check_parts(content: bytes) -> None:
    """Refuse an archive that unpacks to more than itself: torch.save never compresses."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        parts = zipfile.ZipFile(io.BytesIO(content)).infolist()
        if sum(part.file_size for part in parts) > len(content):
            raise ValueError("its parts are larger than the whole")


def check_tensor(value: Tensor, name: str, path: str) -> Tensor:
    """A tensor of a foreign file whose numbers are all there and finite: a small file can hold a view of any size.

    Raises
    ------
    ModelError
        If it is another one.
    """
    whole = value.device.type == "cpu" and value.layout == torch.strided and not value.is_quantized
    if not whole or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ModelError(f"{path}: the tensor {name!r} is not held as plain numbers; save it from a CPU, contiguous")
    if not bool(torch.isfinite(value).all()):
        raise ModelError(f"{path}: the tensor {name!r} holds values that are not finite; it is damaged, or diverged")
    return value.detach()

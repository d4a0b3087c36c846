"""What a file of a model must be before memory is given to it: a small strict header, and the tensors it implies.

Files come from anywhere. A header may ask for a network of any size, so the network is first laid out without memory
and compared with the tensors that are really there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import Tensor, nn

from s2koop.errors import ModelError

Network = TypeVar("Network", bound=nn.Module)

#: Bytes of a file and of its header that are read: the largest networks of s2koop have a hundredth of either.
MOST_BYTES, MOST_HEADER = 4 * 2**30, 4 * 2**20
#: Levels of a header: cards have four.
_DEEPEST = 32
#: What reading a header or tensors that are not those of a model stumbles over.
_STUMBLES = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, MemoryError,
    OSError, RecursionError, safetensors.SafetensorError,
)  # fmt: skip


def strict_json(text: str | bytes) -> Any:
    """Read JSON in which no name stands twice, and which is not nested deeper than any card is.

    Raises
    ------
    ValueError
        If it is no such JSON.

    Examples
    --------
    >>> strict_json('{"width": 8, "width": 9}')
    Traceback (most recent call last):
    ...
    ValueError: 'width' stands there twice
    """
    try:
        found = json.loads(text, object_pairs_hook=_once_each)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [found]
    for _ in range(_DEEPEST):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [value for values in inner for value in values]
        if not level:
            return found
    raise ValueError("it is nested too deeply")


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def check_size(path: Path) -> None:
    """Refuse a file that is larger than any model.

    Raises
    ------
    ValueError
        If it is.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size / 2**30:.3g} GB; expected at most {MOST_BYTES / 2**30:g}")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors with NaN or infinity.

    Raises
    ------
    ValueError
        Names the first that hold some.
    """
    if strange := [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]:
        raise ValueError(f"{_few(strange)} holds values that are not finite")


@contextmanager
def as_model_error(what: str, cure: str = "use a file from model.save() that nobody has changed") -> Iterator[None]:
    """Turn whatever is raised where a file does not fit what it says of itself into one error that names the file."""
    try:
        yield
    except _STUMBLES as error:
        if isinstance(error, ModelError):
            raise
        reason = "".join(letter for letter in str(error).split("\n")[0] if letter.isprintable())[:300]
        raise ModelError(f"{what} ({reason or type(error).__name__}); {cure}") from error


def filled(make: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """A network with the tensors of a file.

    It is first laid out without memory, and its tensors compared with those of the file: settings that ask for more
    than the file holds cost nothing.

    Raises
    ------
    ValueError
        If names, shapes or types differ.
    """
    with torch.device("meta"):
        planned = make().state_dict()
    expect(state, {name: (*value.shape, value.dtype) for name, value in planned.items()})
    network = make()
    network.load_state_dict(dict(state))
    return network


def expect(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[Any]]) -> None:
    """Check that tensors are those that are named, of their shapes; None is any size, and a last entry may be a type.

    Raises
    ------
    ValueError
        Names the first that differs.
    """
    for what, names in (("lacks", shapes.keys() - tensors.keys()), ("has also", tensors.keys() - shapes.keys())):
        if names:
            raise ValueError(f"it {what} {_few(sorted(names))}")
    for name, wanted in shapes.items():
        sizes = [size for size in wanted if not isinstance(size, torch.dtype)]
        dtype = next((size for size in wanted if isinstance(size, torch.dtype)), torch.float32)
        found = tensors[name]
        fits = len(sizes) == found.dim() and all(a in (None, b) for a, b in zip(sizes, found.shape, strict=True))
        if not fits or found.dtype != dtype:
            raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}, expected {dtype} {tuple(sizes)}")


def expect_names(names: Any, what: str) -> tuple[str, ...]:
    """Names of bands in a header: texts, once each.

    Raises
    ------
    ValueError
        If they are none.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names) or not names:
        raise ValueError(f"{what} are {str(names)[:60]}, expected names")
    if len(set(names)) < len(names):
        raise ValueError(f"{what} repeat")
    return tuple(names)


def _few(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Decisions drawn from the bytes of an input; bytes that have run out decide for the plainest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Decisions in the order in which they are asked for; shorter and smaller inputs decide for less."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def bytes(self, count: int) -> bytes:
        """So many bytes, zeros where there are no more."""
        taken, self._left = bytes(self._left[:count]), self._left[count:]
        return taken.ljust(count, b"\0")

    def below(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        size = 1 if count <= 256 else 2 if count <= 65536 else 4
        return int.from_bytes(self.bytes(size), "little") % count

    def pick(self, options: Sequence[T]) -> T:
        """One of some options; the first is the plainest."""
        return options[self.below(len(options))]

    def once_in(self, count: int) -> bool:
        """True for one of so many decisions."""
        return self.below(count) == count - 1

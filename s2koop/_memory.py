"""Gives memory that was freed back to the system: glibc keeps it, and small machines kill whoever holds too much."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return free pages of the heap; does nothing where the C library does so itself."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)

"""Warnings that point at the line of the user, not at a line of s2koop."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_HERE = str(Path(__file__).parent) + os.sep


def warn_user(message: Warning) -> None:
    """Warn at the innermost frame that lies outside of this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)

"""Functions of a notebook that use the package can be sent to workers: its modules are pickled by name."""

from __future__ import annotations

import copyreg
import importlib
from types import ModuleType

import lazy_loader

#: lazy_loader (0.6 on) makes packages modules of a kind of its own, while pickle knows of plain modules only.
_KIND = getattr(lazy_loader, "_ShadowGuardModule", None)


def _by_name(module: ModuleType) -> tuple[object, tuple[str]]:
    return importlib.import_module, (module.__name__,)


if _KIND is not None:
    copyreg.pickle(_KIND, _by_name)  # type: ignore[arg-type]

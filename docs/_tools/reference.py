"""Writes the reference: a page for each package, one for each public name and one for each method of the accessors.

What is public is read from the stubs (``__init__.pyi``) and from ``__all__``, so that no name can be forgotten.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from _tools.paths import DOCS, PACKAGE

FOLDER = DOCS / "reference"

#: Modules in the order of the road, with the heading of their page.
MODULES = {
    "s2koop": "Top level",
    "s2koop.catalog": "Find",
    "s2koop.cube": "Load",
    "s2koop.cube.harmonise": "Load: scale and offset",
    "s2koop.cube.quality": "Load: masks and checks",
    "s2koop.cube.sensors": "Load: bands of sensors",
    "s2koop.koopman": "Koopman models",
    "s2koop.koopman.checkpoints": "Koopman models: published files",
    "s2koop.ac": "Atmospheric correction",
    "s2koop.ac.adaptation": "Atmospheric correction: sensors without pairs",
    "s2koop.ssl": "Embeddings",
    "s2koop.baselines": "Baselines",
    "s2koop.scores": "Scores",
    "s2koop.simulate": "Simulated scenes",
    "s2koop.zoo": "Shipped models",
    "s2koop.plots": "Plots",
    "s2koop.live": "Dashboards",
    "s2koop.errors": "Errors and warnings",
}


@dataclass(frozen=True)
class Entry:
    """A public name: where it is found, and where it is written down."""

    module: str
    name: str
    origin: str = field(compare=False, default="")

    @property
    def full(self) -> str:
        """The name a user types."""
        return f"{self.module}.{self.name}"

    @property
    def value(self) -> Any:
        """What the name stands for."""
        return getattr(importlib.import_module(self.module), self.name)


def entries(module: str) -> list[Entry]:
    """Public names of a module that are no modules, in alphabetical order, capitals first."""
    return sorted((e for e in _entries(module) if not isinstance(e.value, ModuleType)), key=lambda e: e.name)


def submodules(module: str) -> list[str]:
    """Public modules of a package."""
    return [f"{module}.{e.name}" for e in _entries(module) if isinstance(e.value, ModuleType)]


def accessors() -> dict[str, type]:
    """What s2koop adds to xarray: ``"DataArray.koopman"`` -> class."""
    import xarray as xr
    from xarray.core.extensions import _CachedAccessor

    importlib.import_module("s2koop")
    found = {}
    for kind in (xr.DataArray, xr.Dataset):
        for name, value in vars(kind).items():
            if isinstance(value, _CachedAccessor) and value._accessor.__module__.startswith("s2koop."):
                found[f"{kind.__name__}.{name}"] = value._accessor
    return dict(sorted(found.items()))


def methods(accessor: type) -> list[str]:
    """Public methods and properties of an accessor, as they are written."""
    return [name for name in vars(accessor) if not name.startswith("_")]


def public_name(target: str) -> str | None:
    """Name under which the pages know what a docstring calls by the place where it is written; None if they do not.

    Examples
    --------
    >>> public_name("s2koop.ac.emulator.train_emulator")
    's2koop.ac.train_emulator'
    >>> public_name("KoopmanStateAccessor.update")
    'xarray.Dataset.koopman.update'
    """
    for place, accessor in accessors().items():
        names = (accessor.__name__, f"{accessor.__module__}.{accessor.__name__}")
        for name in methods(accessor):
            if target in {f"{prefix}.{name}" for prefix in names}:
                return f"xarray.{place}.{name}"
    found = [entry.full for module in MODULES for entry in entries(module) if f"{entry.origin}.{entry.name}" == target]
    return found[0] if found else None


def write() -> None:
    """Write all pages anew; files that have not changed keep their time, so that Sphinx need not read them again."""
    pages = {"index.rst": _index(), "accessors.rst": _accessor_index()}
    for module, title in MODULES.items():
        pages[f"{module}.rst"] = _module_page(module, title)
        pages |= {f"names/{e.full}.rst": _name_page(e) for e in entries(module)}
    for place, accessor in accessors().items():
        pages |= {f"names/{place}.{name}.rst": _method_page(place, name) for name in methods(accessor)}
    for old in FOLDER.rglob("*.rst"):
        if str(old.relative_to(FOLDER)) not in pages:
            old.unlink()
    for name, text in pages.items():
        target = FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def _entries(module: str) -> Iterator[Entry]:
    stub = PACKAGE.joinpath(*module.split(".")[1:], "__init__.pyi")
    if stub.exists():
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                origin = ".".join(part for part in (module, node.module) if part)
                yield from (Entry(module, alias.asname or alias.name, origin) for alias in node.names)
        return
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", None) or _defined(loaded)
    yield from (Entry(module, name, module) for name in names)


def _defined(module: ModuleType) -> list[str]:
    """Functions and classes that are written in a module, and its constants that are explained."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    constants = [name for name in _comments(module.__name__) if name.isupper()]
    return [name for name in dict.fromkeys([*own, *constants]) if not name.startswith("_")]


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _index() -> str:
    pages = "\n".join(f"   {title} <{module}>" for module, title in MODULES.items())
    return f"""{_title("Reference")}
All public names, from their docstrings. Most work is done by the methods that ``import s2koop`` adds to xarray's
objects (:doc:`accessors`): ``cube.koopman.fit``, ``toa.ac.emulate``, ``images.ssl.embed``.

.. toctree::
   :maxdepth: 1

   Methods of xarray objects <accessors>
{pages}
"""


def _module_page(module: str, title: str) -> str:
    groups = [("Functions", inspect.isroutine), ("Classes", inspect.isclass), ("Data", _is_data)]
    tables = ""
    for heading, belongs in groups:
        names = [entry for entry in entries(module) if belongs(entry.value)]
        if names:
            rows = "".join(_row(entry.name, f"names/{entry.full}", _summary(entry)) for entry in names)
            tables += f"\n{_title(heading, '-')}\n{_table(rows)}"
    hidden = "".join(f"   {entry.name} <names/{entry.full}>\n" for entry in entries(module))
    below = [name for name in submodules(module) if name in MODULES] if module != "s2koop" else []
    links = "".join(f"* :doc:`{name}`\n" for name in below)
    heading = f"{title}: ``{module}``" if ":" not in title else f"``{module}``"
    return f"""{_title(heading)}
.. automodule:: {module}
   :no-members:

{links}{tables}
.. toctree::
   :hidden:

{hidden}"""


def _name_page(entry: Entry) -> str:
    title = _title(entry.full)
    if _is_data(entry.value):
        return f"{title}\n.. py:data:: {entry.full}\n\n   {_comment(entry)}\n"
    if not inspect.isclass(entry.value):
        return f"{title}\n.. autofunction:: {entry.full}\n"
    again = "   :no-index:\n" if _named_before(entry) else ""  # Sphinx knows a class by one name
    return f"{title}\n.. autoclass:: {entry.full}\n   :members:\n{again}"


def _named_before(entry: Entry) -> bool:
    earlier = list(MODULES)[: list(MODULES).index(entry.module)]
    return any(entry.value is other.value for module in earlier for other in entries(module))


def _accessor_index() -> str:
    text = _title("Methods of xarray objects")
    hidden = ""
    for place, accessor in accessors().items():
        first = {name: _first(getattr(accessor, name)) for name in methods(accessor)}
        rows = "".join(_row(name, f"names/{place}.{name}", line) for name, line in first.items())
        text += f"\n{_title(f'``{place}``', '-')}\n{_block(inspect.getdoc(accessor) or '')}\n\n{_table(rows)}"
        hidden += "".join(f"   {place.partition('.')[2]}.{name} <names/{place}.{name}>\n" for name in methods(accessor))
    return f"{text}\n.. toctree::\n   :hidden:\n\n{hidden}"


def _method_page(place: str, name: str) -> str:
    # Python finds xarray.DataArray.koopman.fit by itself: an accessor that is asked for on the class is its own class
    title = _title(f"{place}.{name}")
    if not isinstance(getattr(accessors()[place], name), property):
        return f"{title}\n.. automethod:: xarray.{place}.{name}\n"
    kind = _kind_of_property(place, name)
    below = f"\n.. autoclass:: {kind.__module__}.{kind.__name__}\n   :members:\n" if kind else ""
    return f"{title}\n.. autoproperty:: xarray.{place}.{name}\n{below}"


def _kind_of_property(place: str, name: str) -> type | None:
    """Class of ours that a property gives, such as that of ``cube.koopman.plot``; it is asked on nothing but a zero."""
    import numpy as np
    import xarray as xr

    zero = xr.DataArray(np.zeros((1, 1, 1, 1), "float32"), dims=("time", "band", "y", "x"), name="mean")
    owner = zero if place.startswith("DataArray") else zero.to_dataset()
    kind = type(getattr(getattr(owner, place.partition(".")[2]), name))
    return kind if kind.__module__.startswith("s2koop.") else None


def _table(rows: str) -> str:
    return f".. list-table::\n   :widths: 30 70\n\n{rows}"


def _row(name: str, page: str, summary: str) -> str:
    return f"   * - :doc:`{name} <{page}>`\n     - {summary}\n"


def _summary(entry: Entry) -> str:
    return _comment(entry) if _is_data(entry.value) else _first(entry.value)


def _first(value: Any) -> str:
    """First line of a docstring."""
    return (inspect.getdoc(value) or "").partition("\n")[0]


def _block(docstring: str) -> str:
    """The part of a docstring before its sections."""
    lines = docstring.splitlines()
    cut = next((i - 1 for i, line in enumerate(lines) if line and not line.strip("-")), len(lines))
    return "\n".join(lines[:cut]).strip()


def _comment(entry: Entry) -> str:
    """The comment ``#:`` of a constant, in the module that defines it."""
    return _comments(entry.origin).get(entry.name, "")


@cache
def _comments(module: str) -> dict[str, str]:
    from sphinx.pycode import ModuleAnalyzer

    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: " ".join(map(str.strip, lines)).strip() for (scope, name), lines in found.items() if not scope}


def _is_data(value: Any) -> bool:
    return not (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, ModuleType))

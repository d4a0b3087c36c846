"""The halves of the widget libraries that run in the page: found on disk, and compared with the halves in Python.

A page that lacks its half, or has one of another version, says "Error displaying widget: model not found" and no more.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from s2koop import _host
from s2koop._doctor.report import Finding


@dataclass(frozen=True)
class _Half:
    """A JupyterLab extension, and the distribution that brings it."""

    library: str
    extension: str
    distribution: str


_HALVES = (
    _Half("ipywidgets", "@jupyter-widgets/jupyterlab-manager", "jupyterlab_widgets"),
    _Half("anywidget", "anywidget", "anywidget"),
    _Half("jupyter_bokeh", "@bokeh/jupyter_bokeh", "jupyter_bokeh"),
)


def front_end_findings() -> list[Finding]:
    """What the page would load for each widget library, and the remedy where Python's half does not fit it."""
    folders = _extension_folders()
    return [_compare(half, folders) for half in _HALVES if _is_installed(half.library)]


def _compare(half: _Half, folders: list[Path]) -> Finding:
    name = f"{half.library} in the page"
    wanted = _brought(half)
    found = next(((f, v) for f in folders if (v := _version(f / half.extension))), None)
    where = f"{_server_python()} -m pip install"
    if found is None:
        return Finding(name, "not found where the server looks", f"{where} '{half.distribution}', and start it again")
    folder, version = found
    if wanted is None or _line(version) == _line(wanted):
        return Finding(name, f"{version}, fits")
    return Finding(
        name,
        f"{version}, where Python has the half of {wanted}",
        f"{where} '{half.distribution}=={metadata.version(half.distribution)}', or remove the copy in "
        f"{_short(folder / half.extension)}; then start the server again and reload the page",
    )


def _brought(half: _Half) -> str | None:
    """Version of the extension that the installed distribution brought; None where its record does not say."""
    try:
        files = metadata.files(half.distribution) or []
    except metadata.PackageNotFoundError:
        return None
    ending = f"labextensions/{half.extension}/package.json"
    return next((_version(Path(str(f.locate())).parent) for f in files if f.as_posix().endswith(ending)), None)


def _extension_folders() -> list[Path]:
    """Where the server looks for extensions, first one first; its own environment where it is another than ours."""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return []
    ours = Path(sys.prefix).resolve()
    server = _server_prefix()
    places = [Path(p) for p in jupyter_path("labextensions")]
    if server == ours:
        return places
    outside = [p for p in places if not p.resolve().is_relative_to(ours)]
    return [server / "share" / "jupyter" / "labextensions", *outside]


def _server_prefix() -> Path:
    """Environment of the server that started this kernel; our own where that is not known."""
    ours = Path(sys.prefix).resolve()
    for part in _host.server_command()[:2]:
        prefix = Path(part).parent.parent  # <prefix>/bin/python, <prefix>/bin/jupyter-lab; no resolve(): links of venvs
        if (prefix / "share" / "jupyter").is_dir():
            return prefix.resolve()
    return ours


def _server_python() -> str:
    prefix = _server_prefix()
    return "python" if prefix == Path(sys.prefix).resolve() else _short(prefix / "bin" / "python")


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False  # the list of libraries says so, with its remedy


def _version(extension: Path) -> str | None:
    try:
        return json.loads((extension / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None


def _line(version: str) -> tuple[str, ...]:
    """Return the part of a version that both halves have to share: what a caret of npm asks for."""
    major, minor, *_ = [*version.split("."), "0"]
    return (major, minor) if major == "0" else (major,)


def _short(path: Path) -> str:
    return str(path).replace(str(Path.home()), "~", 1)

"""What a session runs on, and what to do where something is missing: versions, memory, cores, sample data."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import metadata
from pathlib import Path

from s2koop._cache import cache_dir

#: Libraries in the order of the road: arrays, rasters, learning, what is seen. The last group is optional.
_NEEDED = (
    "numpy", "xarray", "dask", "rasterio", "rioxarray", "stackstac", "pystac", "pystac-client", "torch",
    "holoviews", "bokeh", "jupyter_bokeh", "anywidget", "ipywidgets",
)  # fmt: skip
_OPTIONAL: Mapping[str, str] = {
    "jupyterlab": "s2koop[notebook]",
    "matplotlib": "s2koop[notebook]",
    "distributed": "s2koop[cluster]",
    "cql2": "s2koop[cql2]",
}

#: Below this the sample notebooks do not fit.
_SMALL_MEMORY = 900 * 2**20


@dataclass(frozen=True)
class Finding:
    """One line of a report: what was looked at, what was found, and the remedy where one is needed."""

    name: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All findings; a notebook shows them as a table, a terminal as lines.

    Attributes
    ----------
    findings : tuple of Finding
        In the order in which they are shown.
    """

    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """True if nothing needs a remedy."""
        return not any(f.remedy for f in self.findings)

    def __repr__(self) -> str:
        width = max(len(f.name) for f in self.findings)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.name:<{width}}  {finding.found}")
            if finding.remedy:
                lines.append(f"{'':<{width}}  -> {finding.remedy}")
        return "\n".join([*lines, "", self._verdict()])

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        rows = "".join(
            f'<tr><th scope="row" {left}>{escape(f.name)}</th>'
            f"<td {left}>{escape(f.found)}</td><td {left}>{escape(f.remedy)}</td></tr>"
            for f in self.findings
        )
        return f"<table>{rows}</table><p><strong>{escape(self._verdict())}</strong></p>"

    def _verdict(self) -> str:
        wrong = sum(bool(f.remedy) for f in self.findings)
        return "All is well." if self.ok else f"{wrong} finding(s) with a remedy."


def doctor() -> Report:
    """Report versions, memory, cores and the state of the sample data, with a remedy for each finding.

    Nothing is imported, downloaded or left behind on disk, and neither credentials nor environment variables are shown.

    Returns
    -------
    Report
        Printed or displayed as a table; ``report.ok`` tells whether anything needs a remedy.

    Examples
    --------
    >>> import s2koop
    >>> report = s2koop.doctor()
    >>> report.findings[0].name
    's2koop'
    """
    from s2koop._version import __version__

    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    findings = [Finding("s2koop", __version__), Finding("system", system)]
    findings += [_library(name, "s2koop") for name in _NEEDED]
    findings += [_library(name, extra, optional=True) for name, extra in _OPTIONAL.items()]
    findings += [_cores(), _memory(), _sample_cache()]
    return Report(tuple(findings))


def _library(name: str, source: str, *, optional: bool = False) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        remedy = f"python -m pip install '{source}'"
        return Finding(name, "not installed (optional)") if optional else Finding(name, "not installed", remedy)
    if name == "torch":
        version = version.replace("+cpu", ", CPU build").replace("+cu", ", CUDA build ")
    return Finding(name, version)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _number(os.environ.get("CPU_LIMIT")) or _cgroup_cores()
    if limit and limit < usable:
        # A hosted notebook sees all cores of its machine; libraries then start far too many threads.
        threads = max(1, int(limit))
        remedy = "" if os.environ.get("OMP_NUM_THREADS") else f"set OMP_NUM_THREADS={threads} before Python starts"
        return Finding("cores", f"{limit:g} allowed of {usable} seen", remedy)
    return Finding("cores", str(usable))


def _memory() -> Finding:
    limits = [n for n in (_number(os.environ.get("MEM_LIMIT")), _cgroup_memory(), _physical_memory()) if n]
    if not limits:
        return Finding("memory", "unknown")
    total = min(limits)
    used = _resident_memory()
    found = f"{total / 2**30:.1f} GiB allowed" + (f", {used / 2**30:.2f} GiB used by this process" if used else "")
    small = "choose a smaller area or fewer dates, or a machine with 2 GiB" if total < _SMALL_MEMORY else ""
    return Finding("memory", found, small)


def _sample_cache() -> Finding:
    folder = cache_dir()
    shown = str(folder).replace(str(Path.home()), "~", 1)
    # os.path tells of a folder that may not be entered that it is not there; Path raises.
    existing = next(p for p in (folder, *folder.parents) if os.path.exists(p))
    if (problem := _why_not_writable(existing)) is not None:
        found = f"{shown} cannot be written ({problem})"
        return Finding("sample data", found, "set S2KOOP_CACHE to a folder you can write to")
    built = [marker.parent for marker in folder.glob("sample-v*/complete.json")]
    if not built:
        return Finding("sample data", f"not built yet; the first use writes it into {shown}")
    size = sum(f.stat().st_size for f in built[-1].rglob("*") if f.is_file())
    return Finding("sample data", f"ready, {size / 1e6:.0f} MB in {shown}")


def _why_not_writable(folder: Path) -> str | None:
    """What the system says to a file in the folder: permission bits know of no quota or read-only disk."""
    if not folder.is_dir():
        return f"{folder.name} is no folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _cgroup_memory() -> float | None:
    return _number(_text("/sys/fs/cgroup/memory.max")) or _number(_text("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def _cgroup_cores() -> float | None:
    quota, _, period = (_text("/sys/fs/cgroup/cpu.max") or "").partition(" ")
    return n / d if (n := _number(quota)) and (d := _number(period)) else None


def _physical_memory() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None


def _resident_memory() -> float | None:
    pages = (_text("/proc/self/statm") or "").split()
    return float(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None

"""Memory and cores that this process may use: limits of containers count, not what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from s2koop._doctor.report import Finding

#: Below this the sample notebooks do not fit.
_SMALL_MEMORY = 900 * 2**20
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def core_finding() -> Finding:
    """Cores allowed by CPU_LIMIT (Binder, JupyterHub), control groups and affinity."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = min((n for n in (_number(os.environ.get("CPU_LIMIT")), *_group_cores()) if n), default=None)
    if limit and limit < usable:
        # A hosted notebook sees all cores of its machine; libraries then start far too many threads.
        threads = max(1, int(limit))
        remedy = "" if os.environ.get("OMP_NUM_THREADS") else f"set OMP_NUM_THREADS={threads} before Python starts"
        return Finding("cores", f"{limit:g} allowed of {usable} seen", remedy)
    return Finding("cores", str(usable))


def memory_finding() -> Finding:
    """Memory allowed by MEM_LIMIT (Binder, JupyterHub), control groups and the machine, and what is used."""
    limits = [n for n in (_number(os.environ.get("MEM_LIMIT")), *_group_memory(), _physical_memory()) if n]
    if not limits:
        return Finding("memory", "unknown")
    total = min(limits)
    used = _resident_memory()
    found = f"{total / 2**30:.1f} GiB allowed" + (f", {used / 2**30:.2f} GiB used by this process" if used else "")
    small = "choose a smaller area or fewer dates, or a machine with 2 GiB" if total < _SMALL_MEMORY else ""
    return Finding("memory", found, small)


def _group_memory() -> Iterator[float | None]:
    for folder, version in _own_groups("memory"):
        yield _number(_text(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")))


def _group_cores() -> Iterator[float | None]:
    for folder, version in _own_groups("cpu"):
        if version == 2:
            quota, _, period = (_text(folder / "cpu.max") or "").partition(" ")
        else:
            quota, period = (_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
        if (n := _number(quota)) and (d := _number(period)):
            yield n / d


def _own_groups(controller: str) -> Iterator[tuple[Path, int]]:
    """Folders of this process's control group and of those above it, which bound it too, with their version."""
    for line in (_text(_OWN_GROUPS) or "0::/").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, version = _GROUPS, 2
        elif controller in controllers.split(","):
            root, version = _GROUPS / controller, 1
        else:
            continue
        group = root / path.lstrip("/")
        yield from ((folder, version) for folder in (group, *group.parents) if folder.is_relative_to(root))


def _physical_memory() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None


def _resident_memory() -> float | None:
    pages = (_text(Path("/proc/self/statm")) or "").split()
    return float(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _number(text: str | None) -> float | None:
    """Return a positive number; None for "max", -1, 0 and what else means no limit."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number > 0 else None

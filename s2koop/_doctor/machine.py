"""Memory and cores that this process may use: limits of containers count, not what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator

from s2koop import _memory
from s2koop._doctor.report import Finding

#: Below this the sample notebooks do not fit.
_SMALL_MEMORY = 900 * 2**20


def core_finding() -> Finding:
    """Cores allowed by CPU_LIMIT (Binder, JupyterHub), control groups and affinity."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = min((n for n in (_memory.number(os.environ.get("CPU_LIMIT")), *_group_cores()) if n), default=None)
    if limit and limit < usable:
        # A hosted notebook sees all cores of its machine; libraries then start far too many threads.
        threads = max(1, int(limit))
        remedy = "" if os.environ.get("OMP_NUM_THREADS") else f"set OMP_NUM_THREADS={threads} before Python starts"
        return Finding("cores", f"{limit:g} allowed of {usable} seen", remedy)
    return Finding("cores", str(usable))


def memory_finding() -> Finding:
    """Memory allowed by `s2koop.set_options`, Binder, control groups and the machine, and what is used."""
    total = _memory.memory_limit()
    if total is None:
        return Finding("memory", "unknown")
    used = _memory.resident_memory()
    found = f"{total / 2**30:.1f} GiB allowed" + (f", {used / 2**30:.2f} GiB used by this process" if used else "")
    small = "choose a smaller area or fewer dates, or a machine with 2 GiB" if total < _SMALL_MEMORY else ""
    return Finding("memory", found, small)


def _group_cores() -> Iterator[float | None]:
    for folder, version in _memory.own_groups("cpu"):
        if version == 2:
            quota, _, period = (_memory.text_of(folder / "cpu.max") or "").partition(" ")
        else:
            quota, period = (_memory.text_of(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
        if (n := _memory.number(quota)) and (d := _memory.number(period)):
            yield n / d

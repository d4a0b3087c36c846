"""Memory: what this process may use, what one task may take of it, and how it is given back."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from s2koop._options import options

#: Bytes of one input block on a machine that has plenty: larger ones gain nothing.
LARGEST_BLOCK = 128 * 2**20
#: Bytes of a block that is read: files are cut into large squares, and small ones read each of them again.
LARGEST_READ = 512 * 2**20
#: A block of fewer bytes is all overhead.
SMALLEST_BLOCK = 4 * 2**20
#: Part of the memory that is planned for: a notebook, a browser's kernel and the system live in it too.
PLANNED = 0.75
#: What Python and the libraries take before any work: torch, GDAL, dask, xarray.
LIBRARIES = 450 * 2**20
#: What a kernel takes for one tile beside its block, whatever the size of the block.
TILE = 150 * 2**20
#: Bytes up to which the heap keeps what is free for the next tile, and from which an array is the system's again once
#: it is freed: tiles take many small arrays, blocks few large ones.
KEPT, LARGE = 64 * 2**20, 4 * 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
#: How many times its input a task holds: what is read, what is prepared of it, what comes out.
COPIES = 4

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def block_bytes(largest: int = LARGEST_BLOCK) -> int:
    """Bytes of an input block, so that as many tasks as run at once stay within the memory that may be used."""
    share = (_task_bytes() - TILE) / COPIES
    return int(min(max(share, SMALLEST_BLOCK), largest))


def _task_bytes() -> float:
    """What one task may take: of the smallest worker of a cluster, or of this process and its threads."""
    workers = _workers()
    if workers:
        return min((PLANNED * limit - LIBRARIES) / max(threads, 1) for limit, threads in workers)
    limit = memory_limit()
    return float("inf") if limit is None else (PLANNED * limit - LIBRARIES) / local_threads()


def _workers() -> list[tuple[float, int]]:
    """Memory limit and threads of each worker of the client that is in use."""
    if "distributed" not in sys.modules:
        return []
    from distributed import default_client

    try:
        client = default_client()
    except ValueError:
        return []
    try:
        known = client.scheduler_info(n_workers=-1)["workers"].values()
    except TypeError:  # older ones tell of all
        known = client.scheduler_info()["workers"].values()
    # a limit of zero is dask's word for none
    return [(worker["memory_limit"] or float("inf"), worker["nthreads"]) for worker in known]


def local_threads() -> int:
    """Threads that dask's own scheduler uses here."""
    import dask
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def memory_limit() -> float | None:
    """Bytes that this process may use: what the user set, else the least of its container and its machine."""
    if (chosen := options().memory) is not None:
        return float(chosen)
    limits = [n for n in (number(os.environ.get("MEM_LIMIT")), *_group_memory(), _physical_memory()) if n]
    return min(limits, default=None)


def own_groups(controller: str) -> Iterator[tuple[Path, int]]:
    """Folders of this process's control group and of those above it, which bound it too, with their version."""
    for line in (text_of(_OWN_GROUPS) or "0::/").splitlines():
        place, controllers, path = line.split(":", 2)
        if place == "0":
            root, version = _GROUPS, 2
        elif controller in controllers.split(","):
            root, version = _GROUPS / controller, 1
        else:
            continue
        group = root / path.lstrip("/")
        yield from ((folder, version) for folder in (group, *group.parents) if folder.is_relative_to(root))


def text_of(path: Path) -> str | None:
    """The text of a small file of the system; None where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def number(text: str | None) -> float | None:
    """Return a positive number; None for "max", -1, 0 and what else means no limit."""
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if found > 0 else None


def _group_memory() -> Iterator[float | None]:
    for folder, version in own_groups("memory"):
        yield number(text_of(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")))


def _physical_memory() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None


def resident_memory() -> float | None:
    """Bytes that this process holds."""
    pages = (text_of(Path("/proc/self/statm")) or "").split()
    return float(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else None


@cache
def keep_between_tiles() -> None:
    """Let the heap of a dask worker keep what a tile frees, once for each process.

    dask's nanny sets ``MALLOC_TRIM_THRESHOLD_`` so that workers return memory at once. With it glibc asks the system
    for each array above 128 kB anew, whose pages are then mapped and zeroed, which takes as long as the kernels
    themselves. A process without that, or whose user chose a ``MALLOC_MMAP_THRESHOLD_``, stays as it is.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    for name, size in ((_M_TRIM_THRESHOLD, KEPT), (_M_MMAP_THRESHOLD, LARGE)):
        _call_libc("mallopt", name, size)


def give_back() -> None:
    """Return free pages of the heap: glibc keeps them, and small machines kill whoever holds too much."""
    _call_libc("malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    """Call a function of glibc; does nothing where the C library is another."""
    if sys.platform != "linux":
        return
    function = getattr(ctypes.CDLL(None), name, None)  # musl has none of those asked for
    if function is not None:
        function(*arguments)

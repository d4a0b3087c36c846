"""10 000 patches of a Zarr store embedded in bounded memory, killed on the way and begun again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _embed_store
from benchmarks._report import check, main, report


def run(quick: bool) -> dict[str, Any]:
    """The memory of the process that did the work, and what is missing or different afterwards."""
    count = 2_000 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        found = _embed_store.interrupted(Path(folder), count)
    whole = found["missing"] == 0 and found["size"] == count and found["different"] == 0
    rows = [{"case": f"{count} patches of 64 x 64", "method": "shipped geometry"} | found]
    checks = [
        check("store_peak_mb", found["peak_mb"], "<= 1500", found["peak_mb"] <= 1500),
        check("store_whole_after_a_kill", float(whole), "== 1", whole),
    ]
    return report(data="noise, uint8, 500 patches a chunk", seed=0, rows=rows, checks=checks)


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

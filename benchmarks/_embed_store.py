"""Embeds all images of a Zarr store into another one, in a process of its own that may be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import xarray as xr
import zarr

import s2koop  # noqa: F401  registers .ssl
from benchmarks._report import peak_memory_mb


def make_images(path: Path, count: int, side: int = 64) -> None:
    """A Zarr store of noise of several grains, 500 images a chunk; never more than a chunk in memory."""
    store = zarr.open_group(path, mode="w")
    images = store.create_array("image", shape=(count, side, side), chunks=(500, side, side), dtype="uint8",
                                dimension_names=["scene", "y", "x"])  # fmt: skip
    for start in range(0, count, 500):
        random = np.random.default_rng(start)
        images[start : start + 500] = random.integers(0, 256, (min(500, count - start), side, side), np.uint8)


def embed(source: Path, target: Path) -> float:
    """Embed all images; the most memory that it took, MB."""
    images = xr.open_zarr(source, consolidated=False)["image"]
    with dask.config.set(scheduler="threads", num_workers=2):
        images.ssl.embed("wave-geometry", patch=images.sizes["y"]).ssl.to_zarr(target, progress=False)
    return peak_memory_mb()


def interrupted(folder: Path, count: int) -> dict[str, float]:
    """Kill the work once some is done, start it again, and say what it took and whether all is there, once."""
    source, target = folder / "images.zarr", folder / "embedding.zarr"
    make_images(source, count)
    command = [sys.executable, "-m", "benchmarks._embed_store", str(source), str(target)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while first.poll() is None and _done(target) == 0:
        time.sleep(0.05)
    first.kill()
    first.wait()
    before = _done(target)
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    found = xr.open_zarr(target, consolidated=False)["embedding"]
    images = xr.open_zarr(source, consolidated=False)["image"]
    some = np.random.default_rng(0).choice(count, 200, replace=False)
    direct = images[np.sort(some)].load().ssl.embed("wave-geometry", patch=images.sizes["y"], progress=False)
    return {
        "regions_before": before, "peak_mb": float(json.loads(last.stdout.splitlines()[-1])["peak_mb"]),
        "missing": float(found.isnull().any("feature").sum()),
        "different": float(np.abs(found[np.sort(some)].values - direct.values).max()), "size": float(len(found)),
    }  # fmt: skip


def _done(store: Path) -> int:
    """Regions that are written."""
    try:
        return sum(map(bool, zarr.open_group(store, mode="r")["s2koop_regions_done"][:]))
    except (KeyError, FileNotFoundError, ValueError):
        return 0


if __name__ == "__main__":
    print(json.dumps({"peak_mb": embed(Path(sys.argv[1]), Path(sys.argv[2]))}))

"""A slow job that a test can kill: its blocks note in a folder that they were computed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

import s2koop

ROWS, SIDE = 24, 4


def block(values: np.ndarray, *, folder: str | None, seconds: float) -> np.ndarray:
    """Twice the values, slowly."""
    time.sleep(seconds)
    if folder is not None:
        row = int(values.flat[0]) // 1000
        marker = Path(folder) / f"{row}-{time.time_ns()}"
        marker.touch()
        while (Path(folder) / "hold").exists():
            time.sleep(0.01)
    return values * 2.0


def job(folder: str | None = None, seconds: float = 0.0) -> xr.Dataset:
    """24 regions of two variables, and a table that all share."""
    values = 1000.0 * np.arange(ROWS)[:, None, None] + np.arange(ROWS * SIDE * SIDE).reshape(ROWS, SIDE, SIDE)
    cube = xr.DataArray(values, dims=("y", "x", "band"), coords={"y": np.arange(ROWS) * 10.0}).chunk(y=1)
    twice = cube.copy(data=cube.data.map_blocks(block, folder=folder, seconds=seconds, dtype=float, name="twice"))
    return xr.Dataset({"twice": twice, "mean": twice.mean("band"), "shared": cube.mean("y")}, attrs={"title": "sums"})


if __name__ == "__main__":
    store, folder, seconds = sys.argv[1:]
    s2koop.run(job(folder, float(seconds)), store, identity="sums", progress=False)

"""Throughput of atmospheric correction: inversion, hybrid, and the FCNN in torch, in onnxruntime and in eight bits.

Megapixels of twelve bands per CPU second of one core, best of several runs in one process, so that what else a machine
does counts little. Memory is the peak of the process after a lazy scene went through tile by tile.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import torch
import xarray as xr

import s2koop  # noqa: F401  registers .ac
from benchmarks import _corrections as ways
from benchmarks._report import check, main, peak_memory_mb, report
from s2koop.ac.emulate import emulate
from s2koop.ac.emulator import load
from s2koop.ac.export import quantise, to_onnx
from s2koop.simulate import toa_scenes

ANGLES = {"sza": 40.0, "vza": 5.0, "raa": 100.0}
NEAR = 1000.0
THREADS = 1
REPEATS = 3
PLAIN = "inversion, one atmosphere, no spread"


def run(quick: bool) -> dict[str, Any]:
    """All rows."""
    torch.set_num_threads(THREADS)
    size = 1024
    scene = _scene(size)
    rows = [
        _row(
            "inversion, one atmosphere, no spread", lambda: scene.ac.invert(aot=0.2, angles=ANGLES, spread=False), size
        ),
        _row("inversion, one atmosphere, spread", lambda: scene.ac.invert(aot=0.2, angles=ANGLES), size),
    ]
    rows += [
        _row(f"{name}, as users call it", lambda name=name: emulate(scene, f"s2-{name}", angles=ANGLES), size)
        for name in ("hybrid", "context", "fcnn")
    ]
    rows.append(
        _row(
            "hybrid, neighbours known, as users call it",
            lambda: emulate(_placed(scene), "s2-hybrid-adjacency", angles=ANGLES, adjacency=NEAR),
            size,
        )
    )
    rows += _fcnn(scene, size)
    rows.append(_lazy(quick))
    rows.append(_lazy(quick, near=True))
    speed = {row["method"]: row.get("mpx_s", 0.0) for row in rows}
    ratio = speed["FCNN, onnxruntime"] / speed["FCNN, torch"]
    checks = [
        check("invert_mpx_s", speed[PLAIN], ">= 10", speed[PLAIN] >= 10),
        check("hybrid_mpx_s", speed["hybrid, as users call it"], ">= 5", speed["hybrid, as users call it"] >= 5),
        check("fcnn_onnx_over_torch", ratio, ">= 3", ratio >= 3),
    ]  # fmt: skip
    return report(data=f"a simulated scene of {size} x {size} pixels, one thread", seed=0, rows=rows, checks=checks)


def _scene(size: int) -> xr.DataArray:
    drawn = toa_scenes("test", scenes=1, size=64)
    toa = drawn["toa"].isel(scene=0, drop=True)
    wide = np.tile(toa.values, (1, size // 64, size // 64))
    return xr.DataArray(wide, dims=toa.dims, coords={"band": toa["band"].values}, attrs=toa.attrs)


def _row(method: str, call: Callable[[], Any], size: int) -> dict[str, Any]:
    call()
    best = min(_seconds(call) for _ in range(REPEATS))
    return {"method": method, "mpx_s": size * size / 1e6 / best}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _fcnn(scene: xr.DataArray, size: int) -> list[dict[str, Any]]:
    """The network alone, on planes as it takes them, and what eight bits cost in accuracy."""
    import onnxruntime

    model = load("s2-fcnn")
    network, margin = model.networks[0], model.radius
    planes = np.pad(scene.values, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")[None]
    given = torch.from_numpy(planes)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = to_onnx(model, Path(folder) / "fcnn.onnx")
        examples = [{"planes": values[None]} for values in toa_scenes("validation", scenes=24, size=32)["toa"].values]
        small = quantise(path, Path(folder) / "small.onnx", examples)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        sessions = {
            name: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            for name, file in (("FCNN, onnxruntime", path), ("FCNN, onnxruntime, eight bits", small))
        }
        rows = [_row("FCNN, torch", lambda: network(given), size)]
        scenes = ways.draw(scenes=50, size=32)
        for name, session in sessions.items():
            row = _row(name, lambda session=session: session.run(None, {"planes": planes}), size)
            row["kB"] = round((path if session is sessions["FCNN, onnxruntime"] else small).stat().st_size / 1000, 1)
            row["mae"] = _mae(session, scenes, margin)
            rows.append(row)
    return rows


def _mae(session: Any, scenes: xr.Dataset, margin: int) -> float:
    wide = np.pad(scenes["toa"].values, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    found = scenes["boa"].copy(data=session.run(None, {"planes": wide})[0])
    return float(ways.judge(xr.Dataset({"mean": found}), scenes)["mae"])


def _placed(scene: xr.DataArray) -> xr.DataArray:
    """The scene with coordinates: how far neighbours are has to be known."""
    return scene.assign_coords(y=-10.0 * np.arange(scene.sizes["y"]), x=10.0 * np.arange(scene.sizes["x"]))


def _lazy(quick: bool, near: bool = False) -> dict[str, Any]:
    """A scene that does not fit well into memory, tile by tile: a whole tile of Sentinel-2 unless quick."""
    size, chunk = (2048 if quick else 10980), 512
    one = _scene(512)
    blocks = -(-size // chunk)
    data = da.tile(da.from_array(one.values, chunks=(12, chunk, chunk)), (1, blocks, blocks))[:, :size, :size]
    lazy = xr.DataArray(data, dims=one.dims, coords={"band": one["band"].values}, attrs=one.attrs)
    start = time.process_time()
    if near:
        found = emulate(_placed(lazy), "s2-hybrid-adjacency", angles=ANGLES, adjacency=NEAR)
    else:
        found = emulate(lazy, "s2-hybrid", angles=ANGLES)
    mean = found["mean"].data
    total = float(da.nanmean(mean[:4]).compute(num_workers=THREADS))
    seconds = time.process_time() - start
    method = f"hybrid{', neighbours known' if near else ''}, lazy, {size} x {size} in tiles of {chunk}"
    return {"method": method, "mpx_s": size * size / 1e6 / seconds, "peak_mb": peak_memory_mb(), "mean": total}


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

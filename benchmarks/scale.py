"""From a scene to a tile: pixels x dates a second, and peak memory, against scene, chunks and workers; beside loops.

Every job reads simulated COGs over HTTP on loopback, assimilates each pixel's series, forecasts two months and writes a
Zarr store with ``s2koop.run``, in a process of its own. Rivals do the same work on pixels that are in memory: the same
kernel by ``xarray.apply_ufunc(vectorize=True)`` and in a plain loop over pixels.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import s2koop
from benchmarks import _archive
from benchmarks._report import check, main, report
from benchmarks._scale_job import cube_of
from benchmarks.open_cube import make_items

#: A Sentinel-2 tile, five years of it, and the tiles of a continent's land (Europe's, about).
TILE, YEARS, DATES_A_YEAR, TILES = 10980, 5, 73, 1000


def run(quick: bool) -> dict[str, Any]:
    """All cases: sizes of scenes first, then what makes them fast or slow."""
    plan: dict[str, Any] = {
        "sizes": (500, 1000, 2000), "dates": 100, "bands": 6, "chunk": None, "chunks": (128, 256, 512), "middle": 500,
        "workers": {"": {"side": 200, "chunk": 100, "constraint": "weak"}, ", strong": {"side": 500, "chunk": 250}},
        "kills": 20, "loop": 100, "steps": 100,
    }  # fmt: skip
    if quick:
        plan = {
            "sizes": (128, 256), "dates": 10, "bands": 3, "chunk": 128, "chunks": (), "middle": 256,
            "workers": {"": {"side": 128, "chunk": 64, "constraint": "weak"}}, "kills": 0, "loop": 16, "steps": 10,
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, _archive_of(Path(folder), plan) as case:
        middle = case | {"side": plan["middle"]}
        rows = []
        for name, own in plan["workers"].items():
            rows += _jobs({f"{n} worker{'s' * (n > 1)}{name}": case | own | {"workers": n} for n in (1, 2)}, plan)
        rows += [_ceiling(case | {"side": 50, "constraint": "weak"})] if not quick else []
        for side in plan["sizes"]:
            rows += _jobs({f"scene of {side} x {side}": case | {"side": side, "chunk": plan["chunk"]}}, plan)
        for size in plan["chunks"]:
            rows += _jobs({f"chunks of {size}": middle | {"chunk": size}}, plan)
        if not quick:
            rows += _jobs({"default constraint (weak)": middle | {"side": 200, "constraint": "weak"}}, plan)
            rows += _far_away(case | {"side": 100}, plan)
        rows += _rivals(middle, plan)
        rows += [_staged(middle, plan)] if not quick else []
        opening = _opening(Path(folder), 1000)
        rows += [opening] if quick else [opening, _building(10_000)]
        killed = _killed(middle | {"side": 96, "chunk": 24}, plan["kills"]) if plan["kills"] else None
    rows += [killed] if killed else []
    rows += _cost(rows, plan)
    return report(data=_about(plan), seed=0, rows=rows, checks=_checks(rows, plan))


def _about(plan: dict[str, Any]) -> str:
    return (
        f"simulated COGs of 10 m, {plan['dates']} dates x {plan['bands']} bands and scene classes, 35 % clouds, served "
        "over HTTP on loopback; two threads; linear prior of 8 latents, strong constraint (workers, which have a core "
        "each: the weak one, which is the default, unless they are called strong); 8 dates are written"
    )


@contextmanager
def _archive_of(folder: Path, plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An archive, its server and a model that was fitted on a corner of it: what all cases share."""
    files = folder / "archive"
    files.mkdir()
    bands = _archive.BANDS[: plan["bands"]]
    _archive.make_archive(files, side=max(plan["sizes"]), dates=plan["dates"], bands=bands)
    with _archive.served(files) as address:
        case = {
            "archive": str(files), "address": address, "model": str(folder / "model.safetensors"), "threads": 2,
            "constraint": "strong", "folder": str(folder),
        }  # fmt: skip
        window = cube_of(case | {"side": 40}).compute()
        window.koopman.fit(hidden=(), latent=8, steps=plan["steps"], progress=False).save(case["model"])
        yield case


def _jobs(cases: dict[str, dict[str, Any]], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Cases in a process of their own, each with what the server sent for it; workers are others for each."""
    stores = [Path(case["folder"]) / f"{name}.zarr" for name, case in cases.items()]
    wanted = [case | {"store": str(store)} for case, store in zip(cases.values(), stores, strict=True)]
    done = subprocess.run(_command(*wanted), stdout=subprocess.PIPE, text=True, check=True)
    for store in stores:
        shutil.rmtree(store)
    return [
        _row(name, case, json.loads(line), plan)
        for (name, case), line in zip(cases.items(), done.stdout.splitlines(), strict=True)
    ]


def _row(name: str, case: dict[str, Any], found: dict[str, float], plan: dict[str, Any]) -> dict[str, Any]:
    print(name, found, file=sys.stderr, flush=True)
    pixels = case["side"] ** 2
    return {
        "case": name, "pixels": pixels, "peak_mb": found["peak_mb"], "wall_s": round(found["wall_s"], 1),
        "pixel_dates_per_s": round(pixels * plan["dates"] / found["wall_s"]),
        "cpu_ms_per_pixel": round(1e3 * found["cpu_s"] / pixels, 4) if not case.get("workers") else "",
        "http_mb": round(found["http_bytes"] / 1e6, 1),
    }  # fmt: skip


def _command(*cases: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "benchmarks._scale_job", *map(json.dumps, cases)]


def _ceiling(case: dict[str, Any]) -> dict[str, Any]:
    """What a second core gives to processes that share nothing but the machine: more, workers cannot have."""
    walls = []
    for cores in ((0,), (0, 1)):
        running = [subprocess.Popen(_command(case | {"core": n}), stdout=subprocess.PIPE, text=True) for n in cores]
        walls.append(np.mean([json.loads(process.communicate()[0])["wall_s"] for process in running]))
    found = {"case": "two processes that share nothing", "pixels": case["side"] ** 2}
    return found | {"speedup": round(float(2 * walls[0] / walls[1]), 2)}


def _far_away(case: dict[str, Any], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """A server whose every answer takes a while, read by one file at once and by as many as are read by default."""
    with _archive.served(Path(case["archive"]), wait=0.025) as address:
        far = case | {"address": address}
        return [
            *_jobs({"answers after 25 ms, one file at once": far | {"connections": 1}}, plan),
            *_jobs({"answers after 25 ms": far}, plan),
        ]


def _rivals(case: dict[str, Any], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The same analysis of pixels in memory: all at once, vectorised by xarray, and one after the other."""
    side = int(np.ceil(np.sqrt(plan["loop"])))
    cube = cube_of(case | {"side": side}).compute()
    model, last = s2koop.koopman.load(case["model"]), cube["time"].values[-1]
    asked = last + np.array([10, 20, 30, 60], "timedelta64[D]")
    options: dict[str, Any] = {
        "times": asked,
        "constraint": "strong",
        "scene": False,
        "progress": False,
        "spread": False,
    }

    def series(values: np.ndarray) -> np.ndarray:
        pixel = cube.isel(y=[0], x=[0]).copy(data=values[:, :, None, None])
        return pixel.koopman.assimilate(model, **options)["mean"].values[..., 0, 0]

    def at_once() -> np.ndarray:
        return cube.koopman.assimilate(model, **options)["mean"].values

    def vectorised() -> np.ndarray:
        found = xr.apply_ufunc(
            series, cube, input_core_dims=[["time", "band"]], output_core_dims=[["asked", "band"]],
            exclude_dims={"time"}, vectorize=True,
        )  # fmt: skip
        return found.transpose("asked", "band", "y", "x").values

    def loop() -> np.ndarray:
        found = np.empty((len(asked), cube.sizes["band"], side, side), np.float32)
        for y in range(side):
            for x in range(side):
                found[..., y, x] = series(cube.values[..., y, x])
        return found

    rows, truth = [], None
    for name, method in (("engine", at_once), ("apply_ufunc, vectorize=True", vectorised), ("plain loop", loop)):
        cpu = time.process_time()
        values = method()
        cpu = time.process_time() - cpu
        truth = values if truth is None else truth
        rows.append(
            {"case": f"in memory: {name}", "pixels": side**2, "cpu_ms_per_pixel": round(1e3 * cpu / side**2, 3),
             "max_difference": float(np.nanmax(np.abs(values - truth)))}
        )  # fmt: skip
    return rows


def _staged(case: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """The cube itself into a store of whole series, in large images: what a second pass would read instead."""
    store = Path(case["folder"]) / "cube.zarr"
    sent, wall = _archive.bytes_sent(case["address"]), time.perf_counter()
    items = _archive.items_of(Path(case["archive"]), case["address"])
    cube = s2koop.load(items, chunks={"time": 10, "band": -1, "y": 1024, "x": 1024})
    cube = cube.isel(y=slice(case["side"]), x=slice(case["side"]))
    s2koop.run(cube, store, chunks={"y": 250, "x": 250}, progress=False)
    return {
        "case": "staged to Zarr", "pixels": case["side"] ** 2, "wall_s": round(time.perf_counter() - wall, 1),
        "http_mb": round((_archive.bytes_sent(case["address"]) - sent) / 1e6, 1),
        "stored_mb": round(sum(f.stat().st_size for f in store.rglob("*") if f.is_file()) / 1e6, 1),
    }  # fmt: skip


def _opening(folder: Path, count: int) -> dict[str, Any]:
    """Search a folder of items and open what was found as a lazy cube."""
    place = folder / "items"
    place.mkdir()
    for item in make_items(count, "earth-search"):
        (place / f"{item.id}.json").write_text(json.dumps(item.to_dict()))
    first, _ = _opened(place, count)
    wall, cpu = _opened(place, count)
    return {"case": f"search and load of {count} local items", "wall_s": wall, "cpu_s": cpu, "with_imports_s": first}


def _opened(place: Path, count: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    cube = s2koop.load(s2koop.search(place), chunks="time")
    assert cube.sizes["time"] == count
    return round(time.perf_counter() - wall, 2), round(time.process_time() - cpu, 2)


def _building(count: int) -> dict[str, Any]:
    items = make_items(count, "earth-search")
    wall, cpu = time.perf_counter(), time.process_time()
    cube = s2koop.load(items, chunks="time")
    return {
        "case": f"load of {count} items", "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2), "tasks_per_tile": len(cube.data.dask) / cube.data.npartitions,
    }  # fmt: skip


def _killed(case: dict[str, Any], kills: int) -> dict[str, Any]:
    """A job killed at random moments while it had regions left, and begun again, against one that never was."""
    stores = {name: Path(case["folder"]) / f"{name}.zarr" for name in ("whole", "killed")}
    subprocess.run(_command(case | {"store": str(stores["whole"])}), stdout=subprocess.DEVNULL, check=True)
    rng, count, anew, command = random.Random(0), 0, 0, _command(case | {"store": str(stores["killed"])})
    while count < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = _marks(stores["killed"]) + rng.choice((0, 1, 1, 2))
        while process.poll() is None and _marks(stores["killed"]) < wanted:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            process.kill()
            count += 1
        elif count < kills:  # it came to its end: the rest of the kills are of another one
            shutil.rmtree(stores["killed"])
            anew += 1
        process.wait()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    files = {
        name: {f.relative_to(store): f.read_bytes() for f in store.rglob("*") if f.is_file() and f.name != "zarr.json"}
        for name, store in stores.items()
    }
    same = files["whole"] == files["killed"]
    return {
        "case": f"killed {kills} times", "pixels": case["side"] ** 2, "kills": count, "begun_anew": anew,
        "same_bytes": float(same),
    }  # fmt: skip


def _marks(store: Path) -> int:
    """Regions that a job under way has noted as done."""
    return len(list((store / "s2koop_regions_done" / "c").glob("*")))


def _cost(rows: list[dict[str, Any]], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """What a tile and a continent would take, from the largest scene that was measured."""
    largest = max((row for row in rows if str(row["case"]).startswith("scene")), key=lambda row: row["pixels"])
    dates = YEARS * DATES_A_YEAR
    factor = dates / plan["dates"]
    found = []
    for name, tiles in (("a tile, 5 years", 1), ("a continent of 1000 tiles, 5 years", TILES)):
        pixels = tiles * TILE**2
        hours = largest["cpu_ms_per_pixel"] * factor * pixels / 3.6e6
        found.append(
            {"case": f"model: {name}", "pixels": pixels, "cpu_hours": round(hours),
             "http_gb": round(largest["http_mb"] / largest["pixels"] * factor * pixels / 1e3)}
        )  # fmt: skip
    return found


def _checks(rows: list[dict[str, Any]], plan: dict[str, Any]) -> list[dict[str, Any]]:
    by_name = {str(row["case"]): row for row in rows}
    scenes = [row for name, row in by_name.items() if name.startswith("scene")]
    peak = max(row["peak_mb"] for row in scenes)
    growth = scenes[-1]["peak_mb"] / scenes[0]["peak_mb"]
    speedup = by_name["1 worker"]["wall_s"] / by_name["2 workers"]["wall_s"]
    opened = next(row for name, row in by_name.items() if name.startswith("search"))["wall_s"]
    differs = max(row["max_difference"] for name, row in by_name.items() if name.startswith("in memory"))
    engine, ufunc, loop = (row["cpu_ms_per_pixel"] for name, row in by_name.items() if name.startswith("in memory"))
    found = [
        check("peak_mb", peak, "<= 2500", peak <= 2500),
        check("peak_growth", round(growth, 3), "<= 1.25, largest over smallest scene", growth <= 1.25),
        check("two_worker_speedup", round(speedup, 2), ">= 1.8", speedup >= 1.8),
        check("open_1000_items_s", opened, "< 2", opened < 2),
        check("apply_ufunc_ratio", round(ufunc / engine, 1), "> 1", ufunc > engine),
        check("loop_ratio", round(loop / engine, 1), "> 1", loop > engine),
        check("loop_difference", differs, "<= 1e-5 of reflectance", differs <= 1e-5),
    ]
    if plan["kills"]:
        same = next(row for name, row in by_name.items() if name.startswith("killed"))["same_bytes"]
        found.append(check("same_bytes_after_20_kills", same, "== 1", same == 1))
    return found


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

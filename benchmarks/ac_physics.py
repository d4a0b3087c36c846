"""The physics of atmospheric correction: neighbours, other sensors, maps on a lattice, and the memory of a comparison.

What the documentation says of these is printed here. Scenes and spectra are simulated; those of the test split have
been seen by no fit. Adjacency is simulated with the same formula for the share of scattered light that is inverted, so
its rows say that inversion works, not how good the formula is.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

import s2koop  # noqa: F401  registers .ac
from benchmarks import _corrections as ways
from benchmarks._report import check, main, peak_memory_mb, report
from s2koop.ac import Atmosphere, Table, to_boa, to_toa
from s2koop.ac.sensors import adjustment, band_weights
from s2koop.ac.states import STEPS
from s2koop.simulate.spectra import KINDS, surface_spectra

ALL = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
FOUR, PROBAV = ["B02", "B04", "B08", "B11"], ["BLUE", "RED", "NIR", "SWIR"]
#: Ranges of what varies: over one large scene in hilly land, and over nearly all that the table covers.
SCENE = {
    "aot": (0.1, 0.3), "water_vapour": (1.0, 2.5), "ozone": (0.31, 0.33), "sza": (35.0, 36.5), "vza": (2.0, 10.0),
    "raa": (80.0, 120.0), "altitude": (200.0, 1700.0),
}  # fmt: skip
WHOLE = {
    "aot": (0.02, 0.85), "water_vapour": (0.15, 5.0), "ozone": (0.25, 0.45), "sza": (20.0, 72.0), "vza": (0.0, 11.5),
    "raa": (0.0, 180.0), "altitude": (0.0, 2900.0),
}  # fmt: skip
#: Where a quantity stands that does not vary.
MIDDLE = Atmosphere(aot=0.22, water_vapour=1.7, ozone=0.32, sza=37.3, vza=5.1, raa=97.0, altitude=420.0)


def run(quick: bool) -> dict[str, Any]:
    """All parts; memory comes first, in a process of its own that inherits little."""
    memory = [in_memory(size) for size in ((1024,) if quick else (2048, 4096))]
    near = neighbours(3 if quick else 12)
    bands = other_sensor()
    maps = on_the_lattice(8 if quick else 24)
    rows = [*near, *bands, *maps, *memory]
    data = "simulated scenes and spectra of the test split, random states"
    return report(data=data, seed=0, rows=rows, checks=checks(near, bands, maps, memory))


def neighbours(scenes: int) -> list[dict[str, Any]]:
    """Error under the true atmosphere, with and without ``adjacency=1000``, on scenes with and without adjacency."""
    rows = []
    worlds = (("with adjacency, no noise", True, 0.0), ("with adjacency", True, 1.0), ("without adjacency", False, 1.0))
    for world, there, noise in worlds:
        drawn = ways.draw(scenes=scenes, size=96, resolution=60.0, adjacency=there, noise=noise)
        truth = drawn.attrs["truth"]
        known: dict[str, Any] = {name: truth[name] for name in ("aot", "water_vapour", "ozone", "altitude")}
        for method, reach in (("adjacency=None", None), ("adjacency=1000", 1000.0)):
            found = drawn["toa"].ac.invert(angles=ways.angles(drawn), adjacency=reach, spread=False, **known)
            row: dict[str, Any] = {"case": f"{scenes} scenes {world}", "method": method}
            rows.append(row | {"mae": ways.judge(found, drawn)["mae"]} | _named("mae", ways.by_band(found, drawn)))
    return rows


def _named(name: str, values: Any) -> dict[str, float]:
    return {f"{name}_{band}": float(value) for band, value in values.items()}


def other_sensor() -> list[dict[str, Any]]:
    """Root mean square difference to PROBA-V's bands on spectra of the test split, kinds of surface counting alike."""
    table = Table.load()
    wanted = _seen(table, "PROBAV", PROBAV)
    rows = []
    for method, bands in (("as they are", FOUR), ("adjusted", FOUR), ("adjusted", ALL)):
        have = _seen(table, "S2A", bands)
        if method == "adjusted":
            fit = adjustment("S2A", bands, "PROBAV", table)
            have = {kind: values @ fit.weights.T + fit.offset for kind, values in have.items()}
        squares = [((have[kind] - wanted[kind]) ** 2).mean(0) for kind in KINDS]
        error = np.sqrt(np.mean(squares, axis=0))
        case = f"Sentinel-2A to PROBA-V, {'B02, B04, B08, B11' if bands is FOUR else 'all bands'}"
        rows.append({"case": case, "method": method} | _named("rms", dict(zip(PROBAV, error, strict=True))))
    return rows


def _seen(table: Table, sensor: str, bands: list[str]) -> dict[str, np.ndarray]:
    weights = band_weights(table, sensor, bands)
    return {kind: surface_spectra(kind, "test").astype(np.float64) @ weights.T for kind in KINDS}


def on_the_lattice(size: int) -> list[dict[str, Any]]:
    """What maps differ from asking the table for each of their pixels, where one quantity varies and where all do."""
    rows = []
    for case, ranges in (("as in a scene", SCENE), ("over the table", WHOLE)):
        each = [(name,) for name in STEPS] + [tuple(STEPS)]
        for varying in each:
            error = np.abs(_lattice_error(size, {name: ranges[name] for name in varying}))
            used = error[[band != ways.APART for band in ALL]]
            row: dict[str, Any] = {
                "case": f"maps, {case}",
                "method": varying[0] if len(varying) == 1 else "all at once",
            }
            rows.append(
                row | {"mae": float(used.mean()), "p99": float(np.percentile(used, 99)), "max": float(used.max())}
            )
            rows[-1]["max_B09"] = float(error[ALL.index(ways.APART)].max())
    return rows


def _lattice_error(size: int, ranges: dict[str, tuple[float, float]]) -> np.ndarray:
    """Surface reflectance (band, pixel) by ``.ac.invert`` with maps, less the true one by the table itself."""
    rng = np.random.default_rng(0)
    pixels = size * size
    state = Atmosphere(
        *(rng.uniform(*ranges[name], pixels) if name in ranges else np.full(pixels, getattr(MIDDLE, name))
          for name in Atmosphere._fields)
    )  # fmt: skip
    truth = rng.uniform(0.01, 0.5, (len(ALL), pixels))
    exact = Table.load().coefficients("S2A", state, "continental", ALL)
    exact = type(exact)(*(np.asarray(value, np.float64).T for value in exact))
    toa = to_toa(truth, exact)
    assert np.abs(to_boa(toa, exact) - truth).max() < 1e-12
    scene = xr.DataArray(
        toa.reshape(-1, size, size), dims=("band", "y", "x"), coords={"band": ALL},
        attrs={"level": "TOA", "sensor": "S2A"},
    )  # fmt: skip
    maps = {
        name: xr.DataArray(getattr(state, name).reshape(size, size), dims=("y", "x"))
        if name in ranges
        else getattr(MIDDLE, name)
        for name in Atmosphere._fields
    }
    angles = {name: maps.pop(name) for name in ("sza", "vza", "raa")}
    found = scene.ac.invert(angles=angles, spread=False, **maps)["mean"].values
    return found.reshape(len(ALL), -1) - truth


def in_memory(size: int) -> dict[str, Any]:
    """Peak of a process that compares two lazy scenes of three bands, what it held before, and what a scene holds.

    It depends on how many blocks are worked on at once, and differs by a fifth from run to run.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, after = pool.apply(_compare, (size,))
    scene = 3 * size * size * 4 / 2**20
    row: dict[str, Any] = {"case": f"compare of {size} x {size} pixels, 3 bands", "method": "lazy, chunks of 1024"}
    return row | {"peak_mb": after, "added_mb": after - before, "one_scene_mb": scene}


def _compare(size: int) -> tuple[float, float]:
    """Peak memory in MB before and after a comparison."""
    truth = _lazy(size, 0)
    found = 1.02 * truth + 0.002 * _lazy(size, 1)
    before = peak_memory_mb()
    assert len(found.ac.compare(truth).table) == 4
    return before, peak_memory_mb()


def _lazy(size: int, seed: int) -> xr.DataArray:
    chunk = min(size, 1024)
    values = da.random.default_rng(seed).uniform(0.02, 0.4, (3, size, size), chunks=(3, chunk, chunk))
    coords = {"band": ["B02", "B04", "B08"]}
    return xr.DataArray(values.astype("float32"), dims=("band", "y", "x"), coords=coords, attrs={"level": "BOA"})


def checks(
    near: list[dict[str, Any]], bands: list[dict[str, Any]], maps: list[dict[str, Any]], memory: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What this part has to show."""
    left = near[1]["mae"] / near[0]["mae"]
    blue, added = bands[-1]["rms_BLUE"], memory[-1]["added_mb"]
    usual, worst = (
        max(row[name] for row in maps if row["case"].endswith(case))
        for name, case in (("mae", "a scene"), ("max", "the table"))
    )
    return [
        check("adjacency_error_left", left, "<= 0.1", left <= 0.1),
        check("all_bands_blue_rms", blue, "<= 0.001", blue <= 0.001),
        check("maps_mae_in_a_scene", usual, "<= 5e-5", usual <= 5e-5),
        check("maps_max_over_the_table", worst, "<= 5e-4", worst <= 5e-4),
        check("compare_added_mb", added, "<= 1500", added <= 1500),
    ]


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

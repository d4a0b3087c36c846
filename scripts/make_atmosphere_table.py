"""Make s2koop/ac/atmosphere.safetensors: scattering, gases and sensors, computed with 6S, for `ac.lut` to interpolate.

What is run, all with 6SV 2.1 (scripts/sixs.py):

- *Above*: the sensor looks down vertically. The reflectance of the path is reciprocal, and with the sun in the
  zenith 6S needs one Fourier term instead of some eighty. So sun and view change places, which costs a tenth of the
  time and pays for a dense grid of aerosol, angle and altitude. Transmittances of both directions and the spherical
  albedo come with it.
- *Aside*: what a slanted view changes of that, on a coarse grid; also with sun and view exchanged, for the time.
- *Optics*: phase function, scattering share and depth of each aerosol, so that `ac.lut` computes single scattering
  itself and interpolates the remainder, which is smooth.
- *Gas*: transmittance of each gas at every wavelength without scattering, to which the two numbers of 6S's own band
  model are fitted: interpolation in the column is exact.

6S prints spectra to four decimals, but interpolates in wavelength by a power law between 20 wavelengths of its own.
The values there are fitted to the hundreds that are printed, which takes the rounding down to about 0.00001.

    pip install "s2koop[atmosphere-table]"
    python scripts/make_atmosphere_table.py run --keep runs.jsonl            # 20 CPU-minutes; goes on where it stopped
    python scripts/make_atmosphere_table.py write --keep runs.jsonl --responses FOLDER
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from scipy.interpolate import CubicSpline
from sixs import GASES, STEP, Gas, State, line, spectrum

from s2koop.ac.lut import AEROSOLS, PHASE_STEP, TABLE, Axis, Table, dry_depth, on_grid, pressure, water_depth

LOW, HIGH = 0.4, 2.4
#: Wavelengths (µm) at which 6S solves scattering; the last stands for 3.75, beyond the table.
NODES = (
    0.4, 0.412, 0.443, 0.47, 0.488, 0.515, 0.55, 0.59, 0.633, 0.67,
    0.694, 0.76, 0.86, 1.24, 1.536, 1.65, 1.95, 2.25, 2.4,
)  # fmt: skip
AOT = (0.0, 0.04, 0.1, 0.2, 0.33, 0.5, 0.7, 0.9)
#: Not 0: exactly backwards, the phase function that 6S prints has a glory that its Fourier terms do not resolve.
SUN = (2.0, 12.0, 24.0, 34.0, 43.0, 50.0, 56.0, 61.0, 65.5, 69.0, 72.0, 75.0)
ALTITUDE = (0.0, 1.5, 3.0)
#: Of the grid aside. (view, azimuth) pairs; the vertical view is the grid above.
ASIDE = ((24.0, 0.0), (24.0, 90.0), (24.0, 180.0), (12.0, 0.0), (12.0, 180.0))
AOT_ASIDE = (0.0, 0.3, 0.9)
SUN_ASIDE = (20.0, 40.0, 55.0, 66.0, 75.0)
ALTITUDE_ASIDE = (0.0, 3.0)
#: Angles between the backward direction and that of scattering, degrees.
BACK = tuple(float(angle) for angle in range(0, 101, 2))
ALTITUDE_GAS = (0.0, 1.0, 2.0, 3.0)
#: Water vapour (g/cm²) and view angle of the runs for gases.
GAS_PATHS = ((1.0, 60.0), (6.0, 75.5))
#: Ozone in those runs, cm-atm.
OZONE = 0.3
#: Files with a column of wavelengths (nm) and one per band.
SENSORS = {
    **{sensor: f"{sensor}_MSI.csv" for sensor in ("S2A", "S2B", "S2C")},
    **{f"PROBAV{camera}": f"PROBAV_cam{camera}.csv" for camera in (1, 2, 3)},
}


def plan() -> Iterator[tuple[str, dict[str, Any]]]:
    """All runs in the order of their use: a kind, and what identifies the run."""
    for aerosol in AEROSOLS:
        for altitude in ALTITUDE:
            for aot in AOT:
                if aot or aerosol == "continental":  # without aerosol there is one atmosphere
                    yield from (("above", State(0.0, sun, 0.0, aot, aerosol, altitude)._asdict()) for sun in SUN)
    for aerosol in AEROSOLS:
        for node in NODES[:-1]:
            yield "optics", {"aerosol": aerosol, "wavelength": round(round(node / STEP) * STEP, 4)}
    for altitude in ALTITUDE_GAS:
        for step in range(round((HIGH - LOW) / STEP) + 1):
            yield "gas", {"altitude": altitude, "wavelength": round(LOW + step * STEP, 4)}
    for view, azimuth in ASIDE:
        for aerosol in AEROSOLS:
            for altitude in ALTITUDE_ASIDE:
                for aot in AOT_ASIDE:
                    if aot or aerosol == "continental":
                        yield from (
                            ("aside", State(view, sun, azimuth, aot, aerosol, altitude)._asdict()) for sun in SUN_ASIDE
                        )


def run(keep: Path, kinds: list[str]) -> None:
    """Do what is left of the plan; each result is a line of `keep` at once."""
    done = {(entry["kind"], json.dumps(entry["of"])) for entry in read(keep)} if keep.exists() else set()
    with keep.open("a") as out:
        out.write("\n" if keep.stat().st_size and not keep.read_bytes().endswith(b"\n") else "")
        for kind, of in plan():
            if kind in kinds and (kind, json.dumps(of)) not in done:
                out.write(json.dumps({"kind": kind, "of": of, "result": RUNS[kind](of)}) + "\n")
                out.flush()


def run_spectrum(of: dict[str, Any]) -> str:
    """Four spectra, as base64 of int16 in units of 0.0001: as precise as 6S prints them."""
    printed = spectrum(State(**of), LOW, HIGH)
    rows = np.stack([printed[name] for name in ("down", "up", "albedo", "path")])
    return base64.b64encode(np.round(rows * 1e4).astype("<i2").tobytes()).decode()


def run_optics(of: dict[str, Any]) -> dict[str, Any]:
    """Depth relative to 550 nm, scattering share, and the phase function in the directions `BACK`."""
    lines = []
    for back in BACK:
        # one Fourier term suffices as long as the sun may stay in the zenith
        sun, view = (0.0, back) if back <= 86 else (24.0, back - 24.0)
        state = State(sun, view, 180.0, 1.0, of["aerosol"], 0.0)
        lines.append(line(state, None, of["wavelength"]))
    names = ("depth_aerosol", "single_aerosol", "depth_rayleigh")
    return {name: lines[0][name] for name in names} | {
        "phase_aerosol": [found["phase_aerosol"] for found in lines],
        "phase_rayleigh": [found["phase_rayleigh"] for found in lines],
    }


def run_gas(of: dict[str, Any]) -> dict[str, list[float]]:
    """Transmittance of each gas along six paths: vertical, slanted and both, in a dry and in a wet atmosphere."""
    out: dict[str, list[float]] = {name: [] for name in GASES}
    for water, view in GAS_PATHS:
        state = State(0.0, view, 0.0, 0.0, "continental", of["altitude"])
        found = line(state, Gas(water, OZONE), of["wavelength"])
        for name in GASES:
            out[name] += [found[f"{name}_{path}"] for path in ("down", "up", "total")]
    return out


RUNS = {"above": run_spectrum, "aside": run_spectrum, "optics": run_optics, "gas": run_gas}


def read(keep: Path) -> list[dict[str, Any]]:
    """The runs done so far, without one that an interruption cut short."""
    entries = []
    for text in keep.read_text().splitlines():
        try:
            entries.append(json.loads(text))
        except json.JSONDecodeError:
            print(f"{keep}: a run that was cut short is left out")
    return entries


def write(keep: Path, responses: Path, out: Path) -> None:
    """Fit the runs, take single scattering out, and write the table."""
    runs: dict[str, dict[tuple[Any, ...], Any]] = {kind: {} for kind in RUNS}
    for entry in read(keep):
        runs[entry["kind"]][tuple(entry["of"].values())] = entry["result"]
    tensors = axes() | optics(runs["optics"]) | gases(runs["gas"])
    tensors |= scattering(runs, Table(tensors, {}))
    solar, sensors, names = spectra(responses)
    tensors |= {"solar": solar} | sensors
    stored = {name: values.to(torch.float32).contiguous() for name, values in tensors.items()}
    safetensors.torch.save_file(stored, out, {"bands": json.dumps(names), "format": "1"})
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def axes() -> dict[str, torch.Tensor]:
    """Knots of each dimension, in the variable in which it is interpolated."""
    knots = {
        "aot": AOT,
        "angle": _slope(SUN),
        "height": _height(ALTITUDE),
        "aot_slant": AOT_ASIDE,
        "sun_slant": (0.0, *SUN_ASIDE),  # in degrees: what is odd in the azimuth goes with the sine
        "height_slant": _height(ALTITUDE_ASIDE),
        "height_gas": _height(ALTITUDE_GAS),
    }
    # the highest place has the least pressure: knots rise
    return {f"axis.{name}": torch.tensor(sorted(values), dtype=torch.float64) for name, values in knots.items()}


def _slope(degrees: tuple[float, ...]) -> list[float]:
    return list(1 / np.cos(np.deg2rad(degrees)))


def _height(altitudes: tuple[float, ...]) -> list[float]:
    return [float(pressure(torch.tensor(1000 * altitude, dtype=torch.float64))) for altitude in altitudes]


def optics(runs: dict[tuple[Any, ...], Any]) -> dict[str, torch.Tensor]:
    """Of each aerosol model: depth per unit at 550 nm, scattering share, phase function in fine steps."""
    fine = np.arange(0, BACK[-1] + PHASE_STEP / 2, PHASE_STEP)
    found = [[runs[model, _on_step(node)] for node in NODES[:-1]] for model in AEROSOLS]
    phase = np.array([[CubicSpline(BACK, one["phase_aerosol"])(fine) for one in model] for model in found])
    depth = np.array([[one["depth_aerosol"] for one in model] for model in found])
    single = np.array([[one["single_aerosol"] for one in model] for model in found])
    # at the last node only what is removed and put back has to be the same: the optics of 2.25 µm serve
    tables = [np.concatenate([table, table[:, -1:]], 1) for table in (depth, single, phase)]
    rayleigh = np.array([one["depth_rayleigh"] for one in found[0]])
    rayleigh = np.append(rayleigh, rayleigh[-1] * (NODES[-2] / NODES[-1]) ** 4)
    return {
        "node": 1000 * torch.tensor(NODES, dtype=torch.float64),
        "depth": torch.from_numpy(tables[0]),
        "single": torch.from_numpy(tables[1]),
        "phase": torch.from_numpy(tables[2].transpose(0, 2, 1).copy()),  # (model, angle, node)
        "rayleigh_depth": torch.from_numpy(rayleigh),
    }


def _on_step(node: float) -> float:
    return round(round(node / STEP) * STEP, 4)


def gases(runs: dict[tuple[Any, ...], Any]) -> dict[str, torch.Tensor]:
    """Two numbers of 6S's band model for water and for all gases but water and ozone; one for ozone."""
    steps = range(round((HIGH - LOW) / STEP) + 1)
    found = [[runs[altitude, round(LOW + step * STEP, 4)] for step in steps] for altitude in reversed(ALTITUDE_GAS)]
    printed = {gas: np.array([[one[gas] for one in level] for level in found]) for gas in GASES}
    paths = np.array([(1.0, 1 / np.cos(np.deg2rad(view))) for _, view in GAS_PATHS])
    air_mass = np.concatenate([[down, up, down + up] for down, up in paths])
    water = air_mass * np.repeat([water for water, _ in GAS_PATHS], 3)
    others = np.prod([values for gas, values in printed.items() if gas not in ("water", "ozone")], axis=0)
    slantest = air_mass.argmax()
    ozone = -np.log(printed["ozone"][..., slantest]).mean(0) / (OZONE * air_mass[slantest])
    pairs = _fit_pairs(water, printed["water"], water_depth), _fit_pairs(air_mass, others, dry_depth)
    table = np.stack([number for pair in pairs for number in pair], 1)  # (height, number, wavelength)
    return {"gas": torch.from_numpy(table), "ozone": torch.from_numpy(ozone)}


def _fit_pairs(x: np.ndarray, transmittance: np.ndarray, depth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Depth at the reference amount and logarithm of the growth, each (height, wavelength).

    The growth is searched for on finer and finer steps, since where lines are weak or saturated any of it does; the
    depth that goes with it is found by Newton's method. `transmittance` is (height, wavelength, amount).
    """
    best, k = np.full(transmittance.shape[:2], np.inf), np.zeros(transmittance.shape[:2])
    growth = np.zeros_like(k)
    for width, steps in ((9.2, 81), (0.24, 17), (0.03, 9)):
        centre = growth.copy()
        for offset in np.linspace(-width, width, steps):
            trial = np.clip(centre + offset, -9.2, 9.2)
            reference, cost = _fit_depth(x, transmittance, trial, depth)
            better = cost < best - 1e-13
            best, k, growth = np.where(better, (cost, reference, trial), (best, k, growth))
    print(f"6S's band model is met to {np.sqrt(best.max() / len(x)):.1e} rms at the worst wavelength")
    absorbs = transmittance.min(-1) < 1 - 2e-5
    return np.where(absorbs, k, 0), np.where(absorbs, growth, 0)


def _fit_depth(
    x: np.ndarray, transmittance: np.ndarray, growth: np.ndarray, depth: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Depth at the reference amount for a given growth, and the squared error of the transmittance."""
    unit = depth(torch.from_numpy(x), torch.ones(1).double(), torch.from_numpy(growth)[..., None]).numpy()
    heaviest = x.argmax()
    k = -np.log(np.maximum(transmittance[..., heaviest], 1e-3)) / unit[..., heaviest]
    for _ in range(12):
        guess = np.exp(-k[..., None] * unit)
        slope = -unit * guess
        change = ((transmittance - guess) * slope).sum(-1) / np.maximum((slope**2).sum(-1), 1e-12)
        k = np.maximum(k + np.clip(change, -0.5 * (k + 0.1), 0.5 * (k + 0.1)), 0)
    return k, ((np.exp(-k[..., None] * unit) - transmittance) ** 2).sum(-1)


def scattering(runs: dict[str, dict[tuple[Any, ...], Any]], known: Table) -> dict[str, torch.Tensor]:
    """Transmittance, albedo and path at the nodes, the latter without what `known` has of single scattering."""
    fits = {tuple(State(*of)): nodes(result) for of, result in runs["above"].items()}
    heights = ALTITUDE[::-1]  # knots are pressures, and rise
    above = np.array(
        [
            [[[fits[0.0, sun, 0.0, aot, _air(aerosol, aot), z] for sun in SUN] for aot in AOT] for z in heights]
            for aerosol in AEROSOLS
        ]
    )  # (aerosol, height, aot, sun, quantity, node)
    vertical = np.zeros_like(above[..., 0, :])
    for model, height, thickness, sun in np.ndindex(vertical.shape[:4]):
        state = State(SUN[sun], 0.0, 0.0, AOT[thickness], AEROSOLS[model], heights[height])
        vertical[model, height, thickness, sun] = _remainder(known, above[model, height, thickness, sun, 3], state)
    return {
        "transmittance": torch.from_numpy(above[..., 1, :]),
        "albedo": torch.exp(torch.from_numpy(above[..., 0, 2, :])),  # straighter in the aerosol than its logarithm
        "vertical": torch.from_numpy(vertical),
        "slant": torch.from_numpy(slanted(runs["aside"], known, vertical)),
    }


def slanted(runs: dict[tuple[Any, ...], Any], known: Table, vertical: np.ndarray) -> np.ndarray:
    """What slanted views add to the remainder of the vertical one: (aerosol, height, aot, sun, geometry, node)."""
    suns = (0.0, *SUN_ASIDE)
    shape = (len(AEROSOLS), len(ALTITUDE_ASIDE), len(AOT_ASIDE), len(suns), len(ASIDE))
    out = np.zeros((*shape, len(NODES)))
    for model, height, thickness, sun, geometry in np.ndindex(shape):
        (view, azimuth), aot, z = ASIDE[geometry], AOT_ASIDE[thickness], ALTITUDE_ASIDE[::-1][height]
        at = out[model, height, thickness, sun, geometry]
        if suns[sun] == 0:  # the vertical view with the sun at `view`, exchanged
            at += _interpolated(known, vertical[model], z, aot, view) / np.cos(np.deg2rad(view))
        else:
            path = nodes(runs[view, suns[sun], azimuth, aot, _air(AEROSOLS[model], aot), z])[3]
            at += _remainder(known, path, State(suns[sun], view, azimuth, aot, AEROSOLS[model], z))
        at -= _interpolated(known, vertical[model], z, aot, suns[sun])
    return out


def _air(aerosol: str, aot: float) -> str:
    """Without aerosol there is one atmosphere, run under the first name."""
    return aerosol if aot else AEROSOLS[0]


def _remainder(known: Table, path: np.ndarray, state: State) -> np.ndarray:
    """What single scattering leaves of a path given as logarithms (node,), times the cosine of the sun's angle."""
    arguments = (state.aot, state.sun, state.view, state.azimuth, *_height((state.altitude,)))
    tensors = [torch.tensor([value], dtype=torch.float64) for value in arguments]
    single = known.single_scattering(*tensors, AEROSOLS.index(state.aerosol))[0].numpy()
    return (np.exp(path) - single) * np.cos(np.deg2rad(state.sun))


def _interpolated(known: Table, vertical: np.ndarray, altitude: float, aot: float, sun: float) -> np.ndarray:
    """The remainder (node,) of the vertical view, as `ac.lut` interpolates it from (height, aot, sun, node)."""
    places = {"height": _height((altitude,)), "aot": [aot], "angle": _slope((sun,))}
    weights = [
        Axis(known.tensors[f"axis.{name}"])(torch.tensor(place, dtype=torch.float64))[0].numpy()
        for name, place in places.items()
    ]
    return np.einsum("h,a,s,hasn->n", *weights, vertical)


def nodes(result: str) -> np.ndarray:
    """Logarithms (quantity, node) of what 6S interpolates, fitted to a printed spectrum of each quantity."""
    printed = np.frombuffer(base64.b64decode(result), "<i2").reshape(4, -1) / 1e4
    return np.array([_fit_nodes(values) for values in printed])


def _fit_nodes(values: np.ndarray) -> np.ndarray:
    """Least squares of a function straight between nodes in logarithms; what is left must be rounding alone."""
    spread = _spread()
    wavelength = LOW + STEP * np.arange(len(values))
    found = np.log(np.maximum(np.interp(NODES, wavelength, values), 3e-5))
    for _ in range(20):
        guess = np.exp(found @ spread)
        slope = spread * guess
        step = np.linalg.solve(slope @ slope.T + 1e-12 * np.eye(len(found)), slope @ (values - guess))
        found += np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-8:
            break
    left = values - np.exp(found @ spread)
    if left.std() > 3.2e-5:  # rounding to 0.0001 leaves 2.9e-5
        print(f"a spectrum is left with {left.std():.1e}")
    return found


@cache
def _spread() -> np.ndarray:
    """Weights (node, wavelength) of 6S's power law between its wavelengths."""
    wavelength = LOW + STEP * np.arange(round((HIGH - LOW) / STEP) + 1)
    low = np.clip(np.searchsorted(NODES, wavelength - 1e-9) - 1, 0, len(NODES) - 2)
    at = np.array(NODES)
    share = np.log(wavelength / at[low]) / np.log(at[low + 1] / at[low])
    spread = np.zeros((len(NODES), len(wavelength)))
    each = np.arange(len(wavelength))
    spread[low, each], spread[low + 1, each] = 1 - share, share
    return spread


def spectra(folder: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, list[str]]]:
    """Sunlight and the responses of all sensors on the table's wavelengths, and the names of their bands."""
    grid = 1000 * (LOW + STEP * np.arange(round((HIGH - LOW) / STEP) + 1))
    sun = np.loadtxt(folder / "solar_coddington2023_1nm.csv", delimiter=",", skiprows=1)
    sensors, names = {}, {}
    for name, file in SENSORS.items():
        with (folder / file).open() as text:
            bands = text.readline().strip().split(",")[1:]
            columns = np.loadtxt(text, delimiter=",")
        sensors[f"response.{name}"] = np.stack(
            [on_grid(b, columns[:, 0], columns[:, k + 1], grid) for k, b in enumerate(bands)]
        )
        names[name] = bands
    sunlight = on_grid("sun", *sun[(sun[:, 0] >= grid[0]) & (sun[:, 0] <= grid[-1])].T, grid)
    sunlight[[0, -1]] *= 2  # the first and the last share their samples with no wavelength beyond
    return torch.from_numpy(sunlight), {k: torch.from_numpy(v) for k, v in sensors.items()}, names


def main() -> None:
    """Run 6S, or write the table from its runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--keep", type=Path, required=True, help="file of finished runs, continued if it is there")
    runs.add_argument("--kinds", nargs="+", choices=sorted(RUNS), default=sorted(RUNS))
    table = commands.add_parser("write")
    table.add_argument("--keep", type=Path, required=True, help="file of finished runs")
    table.add_argument("--responses", type=Path, required=True, help="folder of the responses and of sunlight")
    table.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    if options.command == "run":
        run(options.keep, options.kinds)
    else:
        write(options.keep, options.responses, options.out)


if __name__ == "__main__":
    main()

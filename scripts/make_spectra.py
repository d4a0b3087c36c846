"""Make s2koop/simulate/spectra.safetensors: reflectance spectra of surfaces, in disjoint sets for training and judging.

Canopies are runs of PROSPECT-D and 4SAIL over soils; soils are PROSAIL's two with absorption features, tilt and
moisture; water is the semi-analytical model of Gordon; snow that of Kokhanovsky and Zege; built surfaces are smooth
curves through usual values of each material. What they are for is variety with physical shapes, not any one place.

Each kind has *series*: a leaf species, a soil, a water body, a material. The members of a series differ in growth,
moisture, angles or brightness. A series belongs to one split only, and so do the soils under its canopies.

It needs the package ``progeosail`` (GPL-3, with numba), which users of s2koop do not: what is shipped is reflectance.

    pip install progeosail
    python scripts/make_spectra.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from make_canopy_table import HOT_SPOT
from scipy.interpolate import PchipInterpolator

from s2koop.simulate.spectra import KINDS, LIBRARY, SPLITS, WAVELENGTH

Array = npt.NDArray[np.float64]
SEED = 40_961
#: Wavelengths of the computation in nm: those of PROSPECT-D.
FINE = np.arange(400.0, 2501.0)
#: Series of each kind in the splits, and members of each series.
SERIES = {"train": 24, "validation": 8, "test": 12}
MEMBERS = 14
#: Principal components are added until their rms error is below this, in reflectance.
TOLERANCE = 2e-4

#: Traits that a species has: least and most of structure, chlorophyll, brown pigment, water and dry matter; then what
#: its stands have: leaf area and mean leaf angle, and the share of light that crowns leave each other.
_LEAVES = {
    "forest": ((1.4, 2.3), (28, 70), (0, 0.25), (0.007, 0.025), (0.005, 0.014), (1.5, 7), (38, 65), (0.5, 0.95)),
    "crop": ((1.2, 1.9), (22, 68), (0, 0.3), (0.010, 0.030), (0.003, 0.008), (0.3, 6.5), (35, 66), (0.9, 1.0)),
    "grass": ((1.3, 2.0), (12, 52), (0, 0.7), (0.005, 0.020), (0.003, 0.009), (0.3, 5.5), (48, 72), (0.9, 1.0)),
    "litter": ((1.7, 2.6), (1, 9), (0.4, 1.6), (0.001, 0.005), (0.006, 0.016), (0.4, 4.0), (35, 70), (0.8, 1.0)),
}
_TRAITS = ("structure", "chlorophyll", "brown", "water", "dry_matter", "lai", "leaf_angle", "light")
#: Imaginary refractive index of ice at wavelengths in nm: Warren and Brandt (2008), J. Geophys. Res. 113, D14220.
_ICE = np.array(
    [
        (400, 2.365e-11), (430, 4.14e-11), (450, 9.239e-11), (480, 2.861e-10), (500, 5.889e-10), (550, 2.289e-9),
        (600, 5.73e-9), (620, 8.58e-9), (650, 1.43e-8), (680, 2.09e-8), (700, 2.9e-8), (730, 4.3e-8), (750, 5.87e-8),
        (770, 8.58e-8), (800, 1.34e-7), (830, 1.45e-7), (850, 1.83e-7), (870, 2.65e-7), (890, 3.92e-7), (920, 4.74e-7),
        (950, 6.02e-7), (970, 9.26e-7), (1000, 1.62e-6), (1030, 2.33e-6), (1070, 1.81e-6), (1100, 1.7e-6),
        (1150, 2.29e-6), (1180, 4.77e-6), (1210, 8.66e-6), (1240, 1.22e-5), (1270, 1.35e-5), (1310, 1.31e-5),
        (1350, 1.39e-5), (1380, 1.58e-5), (1400, 1.98e-5), (1420, 5.959e-5), (1440, 1.516e-4), (1471, 3.987e-4),
        (1493, 5.532e-4), (1515, 5.143e-4), (1538, 4.594e-4), (1563, 3.858e-4), (1587, 3.105e-4), (1613, 2.659e-4),
        (1650, 2.361e-4), (1700, 1.875e-4), (1760, 1.522e-4), (1830, 1.302e-4), (1850, 1.339e-4), (1870, 1.632e-4),
        (1890, 2.566e-4), (1905, 4.081e-4), (1923, 7.06e-4), (1942, 1.108e-3), (1961, 1.442e-3), (1980, 1.614e-3),
        (2000, 1.64e-3), (2041, 1.458e-3), (2083, 1.023e-3), (2105, 7.586e-4), (2130, 5.255e-4), (2170, 3.235e-4),
        (2190, 2.707e-4), (2220, 2.228e-4), (2245, 2.026e-4), (2270, 2.171e-4), (2290, 2.538e-4), (2310, 3.138e-4),
        (2350, 4.591e-4), (2410, 5.956e-4), (2500, 7.53e-4),
    ]
).T  # fmt: skip
#: Reflectance of built materials at these wavelengths in nm.
_BUILT_AT = np.array([400, 480, 550, 620, 700, 850, 1050, 1300, 1650, 2000, 2200, 2400, 2500.0])
_BUILT = {
    "asphalt": [0.06, 0.07, 0.08, 0.088, 0.096, 0.11, 0.125, 0.14, 0.155, 0.15, 0.148, 0.14, 0.135],
    "concrete": [0.14, 0.18, 0.21, 0.228, 0.24, 0.265, 0.285, 0.30, 0.32, 0.30, 0.305, 0.27, 0.26],
    "clay tile": [0.06, 0.08, 0.11, 0.20, 0.235, 0.25, 0.31, 0.34, 0.36, 0.345, 0.335, 0.32, 0.31],
    "metal": [0.26, 0.30, 0.32, 0.33, 0.33, 0.32, 0.36, 0.40, 0.43, 0.45, 0.46, 0.46, 0.46],
    "white roof": [0.35, 0.62, 0.66, 0.67, 0.67, 0.66, 0.63, 0.58, 0.46, 0.38, 0.34, 0.26, 0.24],
    "dark roof": [0.035, 0.037, 0.039, 0.04, 0.042, 0.046, 0.05, 0.055, 0.062, 0.065, 0.066, 0.066, 0.066],
    "blue paint": [0.16, 0.22, 0.14, 0.07, 0.10, 0.30, 0.34, 0.36, 0.35, 0.30, 0.27, 0.22, 0.21],
    "gravel": [0.16, 0.20, 0.235, 0.26, 0.275, 0.29, 0.30, 0.315, 0.335, 0.32, 0.315, 0.29, 0.28],
}


#: How common each of them is.
_BUILT_SHARES = (0.27, 0.2, 0.15, 0.08, 0.04, 0.12, 0.04, 0.1)


def main() -> None:
    """Draw all series, compress their spectra kind by kind, and write them with a card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    found: dict[str, dict[str, Array]] = {}
    for kind in sorted(KINDS, key=lambda name: name in _LEAVES):  # soils come first: they lie under the leaves
        found[kind] = {}
        for split in SPLITS:
            rng = np.random.default_rng([SEED, KINDS.index(kind), SPLITS.index(split)])
            drawn = [
                canopy_series(rng, kind, found["soil"][split]) if kind in _LEAVES else _MAKERS[kind](rng)
                for _ in range(SERIES[split])
            ]
            found[kind][split] = np.concatenate(drawn)
    write({kind: np.concatenate([found[kind][split] for split in SPLITS]) for kind in KINDS})


def canopy_series(rng: np.random.Generator, kind: str, soils: Array) -> Array:
    """Stands of one species over soils (soil, wavelength): (member, wavelength)."""
    import progeosail

    *traits, area, angle, light = _LEAVES[kind]
    usual = [rng.uniform(*limits) for limits in traits]
    out = []
    for _ in range(MEMBERS):
        structure, chlorophyll, brown, water, dry = (
            np.clip(value + rng.normal(0, 0.1) * (limits[1] - limits[0]), *limits)
            for value, limits in zip(usual, traits, strict=True)
        )
        carotenoids = 2.0 + 0.2 * chlorophyll  # Gitelson's ratio of about 1 to 5, and what stays in autumn
        _, leaf, through = progeosail.run_prospect(
            structure, chlorophyll, carotenoids, brown, water, dry, ant=0.0, prospect_version="D"
        )
        spectrum = progeosail.run_sail(
            leaf, through, rng.uniform(*area), rng.uniform(*angle), HOT_SPOT, rng.uniform(18, 70),
            rng.uniform(0, 12), rng.uniform(0, 180), rsoil0=soils[rng.integers(len(soils))],
        )  # fmt: skip
        out.append(rng.uniform(*light) * spectrum)
    return np.array(out)


def soil_series(rng: np.random.Generator) -> Array:
    """One soil, dry to wet: a share of organic matter, iron, clay and carbonate, and a tilt: (member, wavelength)."""
    from progeosail import spectral_lib

    dry, wet = spectral_lib.soil.rsoil1, spectral_lib.soil.rsoil2
    body = dry ** rng.uniform(0.75, 1.25) * np.exp(wiggle(rng, 0.06, 250))
    body *= np.exp(-rng.uniform(0, 0.7) * np.exp(-(FINE - 400) / 450))  # organic matter bends the visible down
    iron = rng.uniform(0, 0.5) * rng.random()
    body *= 1 - iron * (dip(480, 70) + 0.5 * dip(660, 40) + 0.45 * dip(880, 90)).clip(0, 1)
    body *= 1 - rng.uniform(0, 0.15) * dip(2205, 18) - rng.uniform(0, 0.15) * dip(2340, 28)
    bright = np.exp(rng.normal(-0.25, 0.35))
    members = []
    for _ in range(MEMBERS):
        damp = rng.beta(0.8, 1.6)
        mixed = (1 - damp) * bright * body + damp * (0.35 * bright * body + 0.5 * wet)
        mixed *= 1 - damp * (0.35 * dip(1450, 60) + 0.5 * dip(1930, 70))
        tilt = 1 + rng.normal(0, 0.04) * (FINE - 1200) / 800
        members.append(mixed * tilt * np.exp(rng.normal(0, 0.12)))
    return saturate(np.array(members))


def water_series(rng: np.random.Generator) -> Array:
    """One water body: its algae, sediment and dissolved matter from day to day, and sun glint: (member, wavelength).

    Gordon et al. (1988), J. Geophys. Res. 93, for reflectance; Bricaud et al. (1995), J. Geophys. Res. 100, for how the
    absorption of algae falls per chlorophyll; pure water absorbs as in PROSPECT-D.
    """
    from progeosail import spectral_lib

    pure = 100 * spectral_lib.prospectd.kw
    pure_back = 0.00144 * (FINE / 500) ** -4.32
    usual = [rng.uniform(np.log(0.3), np.log(25)), rng.uniform(np.log(0.3), np.log(40)), rng.uniform(-3, 0.5)]
    cdom_slope, mineral_slope, size_slope = rng.uniform(0.013, 0.019), rng.uniform(0.009, 0.013), rng.uniform(0, 1.2)
    members = []
    for _ in range(MEMBERS):
        algae, sediment, dissolved = np.exp(np.array(usual) + rng.normal(0, 0.45, 3))
        pigment = 0.04 * dip(440, 45) + 0.008 * dip(620, 30) + 0.019 * dip(674, 12) + 0.012 * dip(500, 60)
        absorbed = (
            pure
            + pigment * algae**0.7
            + dissolved * np.exp(-cdom_slope * (FINE - 440))
            + 0.03 * sediment * np.exp(-mineral_slope * (FINE - 440))
        )
        back = pure_back + 0.01 * sediment * (550 / FINE) ** size_slope + 0.0018 * algae**0.7 * (550 / FINE)
        share = back / (absorbed + back)
        below = 0.0949 * share + 0.0794 * share**2
        leaving = np.pi * 0.52 * below / (1 - 1.7 * below)
        members.append(leaving + rng.exponential(0.004))
    return np.array(members)


def snow_series(rng: np.random.Generator) -> Array:
    """One snow pack, fresh to old, with its soot or dust: (member, wavelength).

    Kokhanovsky and Zege (2004), Applied Optics 43, equations 20 and 25, as in `s2koop.simulate.materials`.
    """
    ice = np.exp(np.interp(FINE, _ICE[0], np.log(_ICE[1])))
    dirt, fall = np.exp(rng.uniform(np.log(2e-9), np.log(6e-7))), rng.uniform(1, 3)
    members = []
    for _ in range(MEMBERS):
        grain = np.exp(rng.uniform(np.log(6e-5), np.log(1.8e-3)))
        soiled = dirt * np.exp(rng.normal(0, 0.5)) * (550 / FINE) ** fall
        depth = grain * 4 * np.pi * (ice + soiled) / (FINE * 1e-9)
        members.append(rng.uniform(0.7, 1.0) * np.exp(-5.8 * np.sqrt(depth)))
    return np.array(members)


def built_series(rng: np.random.Generator) -> Array:
    """One built material, more or less bright: (member, wavelength)."""
    curve = PchipInterpolator(_BUILT_AT, _BUILT[rng.choice(list(_BUILT), p=_BUILT_SHARES)])(FINE)
    curve = curve * np.exp(wiggle(rng, 0.10, 200) + rng.normal(0, 0.2))
    curve *= 1 - rng.uniform(0, 0.12) * dip(1725, 18) - rng.uniform(0, 0.15) * dip(2320, 30)
    members = [curve * np.exp(rng.normal(0, 0.15) + wiggle(rng, 0.02, 300)) for _ in range(MEMBERS)]
    return saturate(np.array(members))


def saturate(spectrum: Array) -> Array:
    """Keep reflectance below 0.8, smoothly."""
    return spectrum / (1 + (spectrum / 0.8) ** 6) ** (1 / 6)


def dip(centre: float, width: float) -> Array:
    """A Gaussian of height 1 (wavelength,)."""
    return np.exp(-0.5 * ((FINE - centre) / width) ** 2)


def wiggle(rng: np.random.Generator, size: float, length: float) -> Array:
    """A smooth random curve of standard deviation `size` that forgets over `length` nm: (wavelength,)."""
    knots = np.arange(FINE[0] - 3 * length, FINE[-1] + 3 * length, length / 2)
    weights = np.exp(-0.5 * ((FINE[:, None] - knots) / length) ** 2)
    weights /= np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
    return size * (weights @ rng.standard_normal(len(knots)))


#: What draws a series of each kind without leaves.
_MAKERS: dict[str, Callable[[np.random.Generator], Array]] = {
    "soil": soil_series,
    "water": water_series,
    "snow": snow_series,
    "built": built_series,
}


def compress(spectra: Array) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16], Array]:
    """Mean and principal components (1 + component, wavelength), scores (member, component), and what they miss."""
    mean = spectra.mean(axis=0)
    left, size, right = np.linalg.svd(spectra - mean, full_matrices=False)
    for count in range(2, len(size)):
        peak = np.abs(right[:count]).max(axis=1)  # components of height 1: scores are in reflectance
        basis = np.concatenate([mean[None], right[:count] / peak[:, None]]).astype(np.float16)
        scores = (left[:, :count] * size[:count] * peak).astype(np.float16)
        missed = basis[0].astype(float) + scores.astype(float) @ basis[1:].astype(float) - spectra
        if np.sqrt(np.square(missed).mean()) < TOLERANCE:
            break
    return basis, scores, missed


def write(spectra: dict[str, Array]) -> None:
    """Compress and write the spectra of each kind, (member, wavelength) with the splits one after the other."""
    tensors, error = {}, {}
    for kind, fine in spectra.items():
        exact = np.array([np.interp(WAVELENGTH, FINE, row) for row in fine])
        basis, scores, missed = compress(exact)
        tensors |= {f"{kind}.basis": basis, f"{kind}.scores": scores}
        error[kind] = {"components": scores.shape[1], "rms": round(float(np.sqrt(np.square(missed).mean())), 6),
                       "largest": round(float(np.abs(missed).max()), 5)}  # fmt: skip
    card = {
        "what": "simulated reflectance spectra of surfaces; series (species, soils, waters, materials) of a split are "
        "in no other, and the soils under canopies are of their split; all splits draw from the same ranges",
        "wavelength_nm": [WAVELENGTH[0], WAVELENGTH[-1], WAVELENGTH[1] - WAVELENGTH[0]],
        "series": SERIES, "members": MEMBERS, "seed": SEED, "error": error,
        "leaves": {kind: dict(zip(_TRAITS, limits, strict=True)) for kind, limits in _LEAVES.items()},
        "made_with": f"progeosail {version('progeosail')}",
        "not_in_it": "measured spectra of any place; directional effects beyond those of 4SAIL; clouds and shadows",
    }  # fmt: skip
    LIBRARY.write_bytes(safetensors.numpy.save(tensors, {"s2koop": json.dumps(card, sort_keys=True)}))
    print(json.dumps(card, indent=2), f"{LIBRARY.stat().st_size} bytes")


if __name__ == "__main__":
    main()

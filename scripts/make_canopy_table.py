"""Make s2koop/simulate/canopy.safetensors: a small emulator of PROSAIL in the bands of Sentinel-2.

PROSPECT-D and 4SAIL are run on a Latin hypercube of leaves, canopies and angles, over three soils. Over a
Lambertian soil the reflectance of a canopy is, band by band, ``direct + through * soil / (1 - back * soil)``: so
the three terms are fitted from the three soils, and any soil (snow too) can be put under the canopy later. A
small network learns the terms from the parameters.

It needs the package ``progeosail`` (GPL-3, with numba), which users of s2koop do not: what is shipped is the
network alone. The spectral responses are ESA's (COPE-GSEG-EOPG-TN-15-0007), as a table of wavelengths and bands.

    pip install progeosail
    python scripts/make_canopy_table.py --responses S2A_MSI.csv
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from scipy.stats import qmc
from torch import nn

from s2koop.simulate.canopy import BANDS, PARAMETERS, TABLE, features

SEED = 20260
SOILS = (0.0, 0.15, 0.5)
#: Hot spot: leaf size over canopy height; Sentinel-2 sees it from too far off for more than a fixed value.
HOT_SPOT = 0.05
#: Units of each hidden layer.
WIDTH = 64


def main() -> None:
    """Run PROSAIL, fit the network, and write both the file and what its error is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=Path, required=True, help="CSV: wavelength_nm, then a column per band")
    parser.add_argument("--runs", type=int, default=16_000)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="keep the runs of PROSAIL in this .npz, or use them if it is there")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        kept = np.load(options.keep)
        drawn, terms, soil = kept["drawn"], kept["terms"], kept["soil"]
    else:
        response = responses(options.responses)
        drawn = draw(options.runs)
        terms, soil = run_prosail(drawn, response), dry_and_wet_soil(response)
        if options.keep:
            np.savez(options.keep, drawn=drawn, terms=terms, soil=soil)
    network, error = train(drawn, terms, options.epochs)
    write(network, soil, error, options.runs)


def responses(path: Path) -> np.ndarray:
    """Weights (band, wavelength) of 400 to 2500 nm in steps of 1 nm, each row with the sum 1."""
    names = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    weights = np.zeros((len(BANDS), 2101))
    row = table[:, 0].astype(int) - 400
    for number, band in enumerate(BANDS):
        weights[number, row] = table[:, names.index(band)]
    return weights / weights.sum(axis=1, keepdims=True)


def draw(runs: int) -> np.ndarray:
    """Parameters (run, parameter) on a Latin hypercube; leaf area is dense where reflectance bends."""
    unit = qmc.LatinHypercube(len(PARAMETERS), rng=np.random.default_rng(SEED)).random(runs)
    low, high = np.array(list(PARAMETERS.values())).T
    values = low + (high - low) * unit
    lai = list(PARAMETERS).index("lai")
    values[:, lai] = low[lai] + (high[lai] - low[lai]) * unit[:, lai] ** 1.7
    return values


def run_prosail(drawn: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The three terms (run, 3, band) of each set of parameters, from runs over three soils."""
    import progeosail

    found = np.empty((len(drawn), len(SOILS), len(BANDS)))
    ones = np.ones(2101)
    for number, row in enumerate(drawn):
        p = dict(zip(PARAMETERS, row, strict=True))
        carotenoids = 2.0 + 0.2 * p["chlorophyll"]  # Gitelson's ratio of about 1 to 5, and what stays in autumn
        _, leaf, through = progeosail.run_prospect(
            p["structure"], p["chlorophyll"], carotenoids, p["brown"], p["water"], p["dry_matter"],
            ant=0.0, prospect_version="D",
        )  # fmt: skip
        for at, soil in enumerate(SOILS):
            spectrum = progeosail.run_sail(
                leaf, through, p["lai"], p["leaf_angle"], HOT_SPOT,
                p["sun_zenith"], p["view_zenith"], p["azimuth"], rsoil0=soil * ones,
            )  # fmt: skip
            found[number, at] = response @ spectrum
    return _terms(found)


def _terms(found: np.ndarray) -> np.ndarray:
    """Solve direct + through s / (1 - back s) for its terms: black soil gives the first, the others the rest."""
    direct = found[:, 0]
    low, high = (found[:, at] - direct for at in (1, 2))
    a, b = SOILS[1:]
    with np.errstate(divide="ignore", invalid="ignore"):  # no light comes through a dense canopy: then back is moot
        back = np.clip(np.nan_to_num((high * a - low * b) / (a * b * (high - low))), 0, 0.9)
    return np.stack([direct, low * (1 - back * a) / a, back], axis=1)


def dry_and_wet_soil(response: np.ndarray) -> np.ndarray:
    """The dry and the wet soil spectrum of PROSAIL in the bands: (2, band)."""
    from progeosail import spectral_lib

    return np.stack([response @ spectral_lib.soil.rsoil1, response @ spectral_lib.soil.rsoil2])


def train(drawn: np.ndarray, terms: np.ndarray, epochs: int) -> tuple[nn.Sequential, np.ndarray]:
    """Fit a network of two hidden layers; its error (band,) is that of reflectance on held-out runs, over soils.

    The loss is relative to a dark target's reflectance, or the few hundredths of the visible bands would not count.
    """
    torch.manual_seed(SEED)
    torch.set_flush_denormal(True)  # saturated sigmoids would cost ten times the time
    x = torch.from_numpy(features(dict(zip(PARAMETERS, drawn.T.astype(np.float32), strict=True))))
    y = torch.tensor(terms.reshape(len(terms), -1)).float()
    held = len(x) // 8
    network = nn.Sequential(
        nn.Linear(x.shape[1], WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, y.shape[1]),
        nn.Sigmoid(),
    )
    soils = torch.tensor([0.0, 0.05, 0.15, 0.3, 0.8])
    optimiser = torch.optim.Adam(network.parameters())
    steps = epochs * ((len(x) - held) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(steps):
        rows = held + torch.randint(len(x) - held, (256,))
        out, wanted = network(x[rows]), _over(y[rows], soils)
        loss = ((_over(out, soils) - wanted) / (0.03 + wanted)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    usual = soils[soils < 0.5]
    with torch.inference_mode():
        misfit = _over(network(x[:held]), usual) - _over(y[:held], usual)
    return network, misfit.square().mean((0, 1)).sqrt().numpy()


def _over(terms: torch.Tensor, soils: torch.Tensor) -> torch.Tensor:
    """Reflectance (run, soil, band) of terms over grey soils."""
    direct, through, back = terms.reshape(len(terms), 3, 1, len(BANDS)).unbind(1)
    soil = soils[:, None]
    return direct + through * soil / (1 - back * soil)


def write(network: nn.Sequential, soil: np.ndarray, error: np.ndarray, runs: int) -> None:
    """Write the weights, the soils and a card of their making."""
    tensors = {name: value.detach().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    card = {
        "what": "network for PROSPECT-D + 4SAIL in the bands of Sentinel-2A: direct, through, back per band",
        "bands": list(BANDS), "parameters": {name: list(limits) for name, limits in PARAMETERS.items()},
        "runs": runs, "seed": SEED, "made_with": f"progeosail {version('progeosail')}",
        "rmse": {band: round(float(value), 5) for band, value in zip(BANDS, error, strict=True)},
    }  # fmt: skip
    tensors["soil"] = soil.astype(np.float32)
    TABLE.write_bytes(safetensors.numpy.save(tensors, {"s2koop": json.dumps(card, sort_keys=True)}))
    print(json.dumps(card, indent=2), f"{TABLE.stat().st_size} bytes")


if __name__ == "__main__":
    main()

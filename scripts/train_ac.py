"""Train the shipped emulators of atmospheric correction, s2koop/ac/weights, on simulated scenes.

Surfaces are of the training split, a new atmosphere is drawn for every patch of every batch, and errors come from the
validation split; the test split is for benchmarks/ac_accuracy.py alone. PROBA-V models never see a label of PROBA-V:
their scenes are the same surfaces with its responses and noise.

    python scripts/train_ac.py                      # all
    python scripts/train_ac.py s2-hybrid four-fcnn  # some
    python scripts/train_ac.py --jobs 16            # members side by side, one thread each
    python scripts/train_ac.py --steps 20 --out trial
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2koop.ac.emulator import WEIGHTS, EmulatorSettings, assembled, make_networks, with_bands
from s2koop.ac.lut import Table
from s2koop.ac.training import Scenes, trained_member

SEED = 4
MOST_BYTES = 1_000_000
#: What a hybrid weighs; urban aerosol stays unseen, for the benchmark to say what that costs.
MIXED = {"continental": 0.6, "maritime": 0.2, "desert": 0.2}
#: Bands and sensor by the first part of a name.
INPUTS: Mapping[str, dict[str, Any]] = {
    "s2": {"sensor": "S2A"},
    "four": {"sensor": "S2A", "bands": ("B02", "B04", "B08", "B11")},
    "probav": {"sensor": "PROBAV"},
}
#: What models for real scenes learn beside: light from neighbours, errors of calibration, a low sun, other spectra.
REAL = {"aerosol": MIXED, "adjacency": True, "gain_error": 0.01, "sun": (15.0, 74.0), "variety": 0.1}
#: Settings by the second part.
KINDS: Mapping[str, dict[str, Any]] = {
    "hybrid": {"kind": "hybrid", "aerosol": MIXED, "width": 48, "pixels": 160, "steps": 1500, "members": 3,
               "specification": 2e-3},
    "context": {"kind": "context", "width": 48, "pixels": 192, "steps": 2000, "specification": 2e-3},
    "hybrid-adjacency": {"kind": "hybrid", "width": 64, "pixels": 160, "steps": 1400, "members": 2,
                         "specification": 2e-3, "learning_rate": 6e-3, **REAL},
    "context-adjacency": {"kind": "context", "width": 64, "pixels": 192, "steps": 2500, "specification": 2e-3, **REAL},
    "fcnn": {"kind": "fcnn", "width": 32, "batch": 32, "steps": 2000},
    "fcnn-wv": {"kind": "fcnn", "width": 32, "batch": 32, "steps": 3500, "scenes": 2400, "water_vapour": True},
    "unet": {"kind": "unet", "width": 24, "batch": 16, "patch": 32, "steps": 3000, "scenes": 2400, "structure": 1e-3,
             "angle": 1e-3},
    "pixel": {"kind": "pixel", "batch": 32, "steps": 1500},
    "linear": {"kind": "linear", "batch": 32, "steps": 800},
}  # fmt: skip
#: Twelve bands leave more to learn than four.
OWN: Mapping[str, dict[str, Any]] = {"s2-fcnn": {"steps": 3500, "scenes": 2400}}
NAMES = (
    "s2-hybrid", "s2-context", "s2-fcnn", "s2-unet", "four-hybrid", "four-context", "four-fcnn", "probav-hybrid",
    "probav-context", "probav-fcnn", "s2-fcnn-wv", "s2-pixel", "s2-linear",
    *(f"{family}-{kind}-adjacency" for family in INPUTS for kind in ("hybrid", "context")),
)  # fmt: skip
LIMITS = "simulated surfaces without clouds, flat terrain, known angles and altitude, one atmosphere per scene"


def main() -> None:
    """Train what is asked for, and write each model with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--steps", type=int, help="fewer, for a trial")
    parser.add_argument("--seed", type=int, default=SEED, help=f"another than {SEED}, that of the shipped ones")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder, which has to exist")
    parser.add_argument("--jobs", type=int, default=1, help="networks that are trained at once")
    options = parser.parse_args()
    train(options.names, options.out, seed=options.seed, steps=options.steps, jobs=options.jobs)


def settings_of(name: str, seed: int = SEED) -> EmulatorSettings:
    """The settings of a shipped model."""
    family, _, kind = name.partition("-")
    own = EmulatorSettings(**{**INPUTS[family], **KINDS[kind], **OWN.get(name, {})}, seed=seed)
    return with_bands(own, Table.load())


def train(names: Sequence[str], folder: Path, *, seed: int = SEED, steps: int | None = None, jobs: int = 1) -> None:
    """One file with its card for each name."""
    every = {name: settings_of(name, seed) for name in names}
    if steps:
        every = {name: replace(settings, steps=steps) for name, settings in every.items()}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        members = {
            name: [pool.submit(member, settings, at, jobs == 1) for at in range(settings.members)]
            for name, settings in every.items()
        }
        written = [
            pool.submit(write, name, settings, [weights.result() for weights in members[name]], folder)
            for name, settings in every.items()
        ]
        for file in written:
            print(file.result(), flush=True)


def member(settings: EmulatorSettings, at: int, progress: bool) -> dict[str, Tensor]:
    """The weights of one network of an ensemble."""
    torch.set_num_threads(1)
    scenes = Scenes(settings, Table.load(), "train", settings.scenes, settings.seed)
    return dict(trained_member(scenes, at, progress).state_dict())


def write(name: str, settings: EmulatorSettings, members: Sequence[Mapping[str, Tensor]], folder: Path) -> str:
    """Put a model together and write it; a line that says so."""
    torch.set_num_threads(1)
    networks = make_networks(settings)
    for network, weights in zip(networks, members, strict=True):
        network.load_state_dict(weights)
    model = assembled(settings, list(networks), Table.load())
    card = {"name": name, "licence": "Apache-2.0", "limits": LIMITS, "made_by": f"scripts/train_ac.py {name}"}
    file = replace(model, card={**model.card, **card}).save(folder / f"{name}.safetensors")
    if file.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {MOST_BYTES}: take smaller layers")
    return f"{name}: {file.stat().st_size} bytes, validation MAE {model.card['validation_mae']}"


if __name__ == "__main__":
    main()

"""Train the shipped emulators of atmospheric correction, s2koop/ac/weights, on simulated scenes.

Surfaces are of the training split, a new atmosphere is drawn for every patch of every batch, and errors come from the
validation split; the test split is for benchmarks/ac_accuracy.py alone. PROBA-V models never see a label of PROBA-V:
their scenes are the same surfaces with its responses and noise.

    python scripts/train_ac.py                      # all
    python scripts/train_ac.py s2-hybrid four-fcnn  # some
    python scripts/train_ac.py --steps 20 --out trial
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2koop.ac.emulator import WEIGHTS, EmulatorSettings, train_emulator

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
#: Settings by the second part.
KINDS: Mapping[str, dict[str, Any]] = {
    "hybrid": {"kind": "hybrid", "aerosol": MIXED, "width": 48, "pixels": 160, "steps": 1500, "members": 3,
               "specification": 2e-3},
    "context": {"kind": "context", "width": 48, "pixels": 192, "steps": 2000, "specification": 2e-3},
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
)  # fmt: skip
LIMITS = "simulated surfaces without clouds, flat terrain, known angles and altitude, one atmosphere per scene"


def main() -> None:
    """Train what is asked for, and write each model with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--steps", type=int, help="fewer, for a trial")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder, which has to exist")
    options = parser.parse_args()
    for name in options.names:
        train(name, options.out, options.steps)


def settings_of(name: str) -> EmulatorSettings:
    """The settings of a shipped model."""
    family, _, kind = name.partition("-")
    return EmulatorSettings(**{**INPUTS[family], **KINDS[kind], **OWN.get(name, {})}, seed=SEED)


def train(name: str, folder: Path, steps: int | None = None) -> None:
    """One file with its card."""
    settings = settings_of(name)
    if steps:
        settings = replace(settings, steps=steps)
    model = train_emulator(settings)
    card = {"name": name, "licence": "Apache-2.0", "limits": LIMITS, "made_by": f"scripts/train_ac.py {name}"}
    file = replace(model, card={**model.card, **card}).save(folder / f"{name}.safetensors")
    if file.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {MOST_BYTES}: take smaller layers")
    print(f"{name}: {file.stat().st_size} bytes, validation MAE {model.card['validation_mae']}", flush=True)


if __name__ == "__main__":
    main()

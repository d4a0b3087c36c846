"""Trains the encoders of wave-mode images that are shipped, on simulated scenes alone.

    python scripts/train_ssl.py [--policy geometry] [--steps 1200] [--scenes 3000]

Scenes of seed 0 are trained on; the card's scores are from scenes of a third seed, which neither the training nor the
benchmark's test saw.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

import s2koop
from s2koop.simulate import ocean_scenes
from s2koop.ssl.encoder import WEIGHTS, Encoder
from s2koop.ssl.probing import probe

#: Seeds of scenes: for the training, and for the scores of the card.
TRAIN, VALIDATION = 0, 5
LIMITS = (
    "trained on simulated scenes only: no accuracy at sea follows from its scores; images of 50 m pixels, stretched "
    "between their percentiles 1 and 99; sea ice, land, fronts and internal waves were never seen"
)


def scores(encoder: Encoder, count: int = 1200) -> dict[str, float]:
    """Errors of a linear probe on scenes of the validation seed, a quarter of them held out."""
    scenes = ocean_scenes(count, seed=VALIDATION)
    found = scenes["image"].ssl.embed(encoder).values.reshape(count, -1)
    known = np.arange(count) < 3 * count // 4
    height = probe({"embedding": found}, scenes["significant_wave_height"].values, train=known, budgets=())
    tags = probe({"embedding": found}, scenes["tags"].values.astype(int), task="multilabel", train=known, budgets=())
    return {
        "validation_hs_rmse_m": round(float(height.scores["score"].sel(features="embedding", metric="rmse")), 3),
        "validation_auroc_micro": round(float(tags.scores["score"].sel(features="embedding", metric="auroc_micro")), 3),
    }


def main() -> None:
    """Train and write s2koop/ssl/weights/wave-<policy>.safetensors with its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=("geometry", "semantic"), action="append")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--cache", type=Path, help="a Zarr store to keep the scenes of the training in")
    options = parser.parse_args()
    images = _scenes(options.scenes, options.cache)
    for policy in options.policy or ("geometry", "semantic"):
        encoder = images.ssl.pretrain(
            policy, steps=options.steps, name=f"wave-{policy}", checkpoint=f"wave-{policy}-training.safetensors"
        )
        card = {
            **encoder.card,
            "data": f"{options.scenes} simulated scenes of s2koop.simulate.ocean_scenes, seed {TRAIN}",
            "licence": "Apache-2.0",
            "split": f"scenes of seed {TRAIN} trained on, of seed {VALIDATION} for the scores",
            **scores(encoder),
            "limits": LIMITS,
            "s2koop": s2koop.__version__,
        }
        print(replace(encoder, card=card).save(WEIGHTS / f"wave-{policy}.safetensors"))


def _scenes(count: int, cache: Path | None) -> xr.DataArray:
    if cache is not None and cache.is_dir():
        return xr.open_zarr(cache)["image"].load()
    images = ocean_scenes(count, seed=TRAIN)["image"]
    if cache is not None:
        images.to_dataset(name="image").to_zarr(cache, consolidated=False)
    return images


if __name__ == "__main__":
    main()

"""How much of the accuracy of emulators is chance: other test scenes, and networks trained anew from other seeds.

Three draws of 200 simulated test scenes judge what is shipped. On the first of them stand networks of the same settings
from two more seeds, which draw other surfaces, atmospheres and first weights; one network each, beside the first member
of what is shipped. They are trained once, some minutes a network, and kept in the cache (`--quick` trains none).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks import _corrections as ways
from benchmarks._report import check, main, report
from s2koop._cache import cache_dir
from s2koop.ac.emulator import AcModel, assembled, load, train_emulator
from s2koop.ac.lut import Table

SEEDS, SCENES = (0, 1, 2), 200
TRAINED = (5, 6)
#: Models that are trained anew: some five minutes a network.
ANEW = ("s2-hybrid", "s2-context")
#: Models that are judged, and the most of the mean absolute error that any draw may have.
TARGETS = {"s2-hybrid": 0.0023, "s2-context": 0.0030, "s2-fcnn": 0.0050, "four-hybrid": 0.0033, "probav-hybrid": 0.0035}


def run(quick: bool) -> dict[str, Any]:
    """Other scenes for all, other trainings on the first scenes."""
    torch.set_num_threads(1)
    count, size = (60, 32) if quick else (SCENES, 64)
    rows: list[dict[str, Any]] = []
    for name in TARGETS:
        model = load(name)
        for seed in SEEDS:
            rows.append({"case": f"scenes of seed {seed}", "method": name} | score(model, seed, count, size))
        if not quick and name in ANEW:
            for label, other in trained(model, name):
                rows.append({"case": label, "method": name} | score(other, SEEDS[0], count, size))
    data = f"simulated test scenes of {size} x {size} pixels, {count} of each of the seeds {SEEDS}, one aerosol model"
    return report(data=data, seed=0, rows=rows, checks=checks(rows))


def score(model: AcModel, seed: int, count: int, size: int) -> dict[str, Any]:
    """Scores on the scenes of one seed; that the aerosol is continental is known."""
    s = model.settings
    scenes = ways.draw(scenes=count, size=size, sensor=s.sensor, seed=seed).sel(band=list(s.bands))
    return ways.judge(ways.emulated(model, aerosol="continental")(scenes), scenes)


def trained(model: AcModel, name: str) -> Iterator[tuple[str, AcModel]]:
    """Single networks: the first one shipped, and those of other seeds, from the cache or trained now."""
    alone = replace(model.settings, members=1)
    yield f"one network, seed {alone.seed}", assembled(alone, [next(iter(model.networks))], Table.load())
    for seed in TRAINED:
        path = cache_dir() / "benchmarks" / f"{name}-seed{seed}.safetensors"
        settings = replace(alone, seed=seed)
        if not path.is_file() or load(path).settings != settings:
            path.parent.mkdir(parents=True, exist_ok=True)
            train_emulator(settings).save(path)
        yield f"one network, seed {seed}", load(path)


def checks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst of all draws and trainings against the target of each, and how far they spread."""
    out = []
    for name, target in TARGETS.items():
        found = [row["mae"] for row in rows if row["method"] == name]
        out.append(check(f"{name}_worst_mae", max(found), f"<= {target}", max(found) <= target))
        alone = [row["mae"] for row in rows if row["method"] == name and row["case"].startswith("one network")]
        if alone:
            spread = float(np.ptp(alone) / np.mean(alone))
            out.append(check(f"{name}_spread_of_trainings", spread, "<= 0.15 of the mean", spread <= 0.15))
    return out


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

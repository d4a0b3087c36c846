"""What each loss of the training is worth: the same networks, surfaces and steps, one loss added at a time.

FCNN and U-Net of the four bands that Sentinel-2 shares with PROBA-V, trained briefly on simulated scenes and judged on
scenes of the validation split, which they never saw. It is a comparison of losses, not of what is shipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks import _corrections as ways
from benchmarks._report import check, main, report
from s2koop.ac.emulator import EmulatorSettings, train_emulator
from s2koop.simulate import toa_scenes

BANDS = ("B02", "B04", "B08", "B11")
#: Weights beside the mean absolute error of reflectance.
LOSSES: Mapping[str, dict[str, float]] = {
    "reflectance": {},
    "and specification": {"specification": 2e-3},
    "and structural similarity": {"structure": 2e-3},
    "and spectral angle": {"angle": 2e-3},
    "and radiative transfer": {"transfer": 0.3},
    "and all of them": {"specification": 2e-3, "structure": 2e-3, "angle": 2e-3, "transfer": 0.3},
}
KINDS: Mapping[str, dict[str, Any]] = {"fcnn": {"width": 32, "patch": 24}, "unet": {"width": 16, "patch": 32}}


def run(quick: bool) -> dict[str, Any]:
    """Train and judge every network with every loss."""
    torch.set_num_threads(1)
    steps, seeds = (30, (0,)) if quick else (500, (0, 1))
    drawn = toa_scenes("validation", scenes=30 if quick else 120, size=48, seed=11)
    scenes = ways.as_dates(drawn).sel(band=list(BANDS))  # type: ignore[arg-type]
    rows = []
    for kind, size in KINDS.items() if not quick else [("fcnn", KINDS["fcnn"])]:
        for name, weights in LOSSES.items():
            found = []
            for seed in seeds:
                settings = EmulatorSettings(
                    kind=kind,
                    bands=BANDS,
                    steps=steps,
                    batch=16,
                    scenes=60 if quick else 600,
                    seed=seed,
                    **size,
                    **weights,
                )
                model = train_emulator(settings, progress=False)
                found.append(ways.judge(ways.emulated(model, aerosol="continental")(scenes), scenes))
            row = {
                key: float(np.mean([one[key] for one in found])) for key in ("mae", "in_spec", "ssim", "sam_degrees")
            }
            rows.append({"case": kind, "method": name} | row | {"mae_of_seeds": _listed(one["mae"] for one in found)})
    data = f"{scenes.sizes['time']} simulated scenes of the validation split; {steps} steps; seeds {seeds}"
    return report(data=data, seed=0, rows=rows, checks=checks(rows))


def _listed(values: Any) -> str:
    return " ".join(f"{value:.5f}" for value in values)


def checks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """That a loss for one thing serves that thing."""
    out = []
    for kind in dict.fromkeys(row["case"] for row in rows):
        of = {row["method"]: row for row in rows if row["case"] == kind}
        plain, angle, shape = of["reflectance"], of["and spectral angle"], of["and structural similarity"]
        gain = angle["sam_degrees"] / plain["sam_degrees"]
        out.append(check(f"{kind}_angle_with_its_loss", gain, "<= 1", gain <= 1))
        lost = (1 - shape["ssim"]) / (1 - plain["ssim"])
        out.append(check(f"{kind}_dissimilarity_with_its_loss", lost, "<= 1", lost <= 1))
    return out


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

"""Embeddings beside what they must beat: simulated seas, real quicklooks, and real pixel series.

Encoders are trained on simulated scenes of one seed and probed on scenes of another, with three seeds of the training.
Scenes and labels of the sea are simulated: no figure here is an accuracy at sea. With ``--quick`` the training is
short, and what a short training cannot show is judged with the shipped encoders.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from benchmarks import _embeddings as ways
from benchmarks._report import check, main, report
from s2koop import ssl
from s2koop._time import to_days
from s2koop.koopman import embedding as latents
from s2koop.koopman import load as load_koopman
from s2koop.simulate import ocean_scenes
from s2koop.ssl.features import series_features
from s2koop.ssl.probing import ProbeResult, probe, spatial_blocks

#: Seeds of the scenes that encoders are trained on and that they are tested on; no choice was made on the second.
TRAIN, TEST = 0, 11
POLICIES = ("geometry", "semantic")


def run(quick: bool) -> dict[str, Any]:
    """All cases."""
    rows: list[dict[str, Any]] = []
    checks = seas(rows, quick) + quicklooks(rows) + neighbours(rows)
    if not quick:
        checks += series(rows)
    data = (
        f"simulated seas of seeds {TRAIN} (training) and {TEST} (test); 15 real quicklooks of Sentinel-1's wave mode; "
        "pixel series of Romania, 2015 to 2021"
    )
    return report(data=data, seed=0, rows=rows, checks=checks)


def seas(rows: list[dict[str, Any]], quick: bool) -> list[dict[str, Any]]:
    """Wave height, tags and search on simulated scenes."""
    count, test, steps, batch, seeds = (800, 150, 50, 64, (0,)) if quick else (3000, 600, 500, 96, (0, 1, 2))
    scenes = _scenes(count, test)
    images, known = scenes["image"], np.arange(count + test) < count
    features = ways.handmade(images, quick=quick)
    wanted = [(policy, seed) for policy in (("geometry",) if quick else POLICIES) for seed in seeds]
    seconds: dict[str, float] = {}
    for (policy, seed), (encoder, cpu) in _trained(images[:count], wanted, {"steps": steps, "batch": batch}).items():
        seconds[policy] = cpu
        features[f"{policy}, seed {seed}"] = ways.embedded(images, encoder)
        if policy == "geometry":
            features[f"untrained, seed {seed}"] = ways.embedded(images, encoder.untrained())
    for policy in ("semantic",) if quick else POLICIES:
        features[f"shipped {policy}"] = ways.embedded(images, ssl.load(f"wave-{policy}"))
    for name in [] if quick else [name for name in features if name.startswith((*POLICIES, "shipped"))]:
        features[f"{name} + spectrum"] = np.concatenate([features[name], features["spectrum"]], 1)
    found = ways.judged(features, scenes, known)
    for name, scores in found.items():
        rows.append({"case": "simulated sea", "method": name} | scores)

    def mean(name: str, score: str) -> float:
        return float(np.mean([found[name.format(seed)][score] for seed in seeds]))

    ratio = mean("geometry, seed {}", "hs_rmse") / mean("untrained, seed {}", "hs_rmse")
    least = 0.96 if quick else 0.75
    checks = [check("hs_rmse_over_untrained", ratio, f"<= {least}", ratio <= least)]
    if quick:
        return [*checks, *_at_least(found["shipped semantic"], auroc_micro=("semantic_auroc_micro", 0.94))]
    semantic = {
        "auroc_micro": mean("semantic, seed {}", "auroc_micro"),
        "p10_same_tags": mean("semantic, seed {}", "p10_same_tags"),
    }
    height = mean("geometry, seed {}", "hs_rmse")
    both = mean("geometry, seed {} + spectrum", "hs_rmse")
    rows += [{"case": "CPU seconds of a training", "method": name, "cpu_s": value} for name, value in seconds.items()]
    return [
        *checks,
        check("hs_rmse", height, "<= 0.62 m", height <= 0.62),
        check("hs_rmse_with_spectrum", both, "<= 0.54 m", both <= 0.54),
        *_at_least(semantic, auroc_micro=("semantic_auroc_micro", 0.94), p10_same_tags=("semantic_p10_same_tags", 0.5)),
    ]


def _scenes(count: int, test: int) -> xr.Dataset:
    """Simulated scenes to train on, then those to test on, made side by side."""
    half = count // 2
    parts = [(0, half, TRAIN), (half, count - half, TRAIN), (0, test, TEST)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        made = [pool.submit(ocean_scenes, n, first=first, seed=seed, progress=False) for first, n, seed in parts]
        return xr.concat([part.result() for part in made], "scene")


def _trained(
    images: xr.DataArray, wanted: list[tuple[str, int]], options: dict[str, int]
) -> dict[tuple[str, int], tuple[ssl.Encoder, float]]:
    """Encoders by policy and seed with the CPU seconds of their training, one thread each, side by side."""
    if len(wanted) == 1:
        return {wanted[0]: _train(images, *wanted[0], options, threads=torch.get_num_threads())}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        running = {one: pool.submit(_train, images, *one, options) for one in wanted}
        return {one: training.result() for one, training in running.items()}


def _train(
    images: xr.DataArray, policy: str, seed: int, options: dict[str, int], threads: int = 1
) -> tuple[ssl.Encoder, float]:
    torch.set_num_threads(threads)
    before = time.process_time()
    encoder = images.ssl.pretrain(policy, seed=seed, progress=False, **options)
    return encoder, time.process_time() - before


def _at_least(scores: dict[str, float], **wanted: tuple[str, float]) -> list[dict[str, Any]]:
    return [
        check(name, scores[score], f">= {least}", scores[score] >= least) for score, (name, least) in wanted.items()
    ]


def _skipped(case: str, path: Path) -> dict[str, Any]:
    return {"case": case, "method": f"skipped: no {path.name} here; set S2KOOP_TEST_DATA"}


def quicklooks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether patches of real vignettes find others of the same one, with encoders that saw simulated scenes only."""
    if not ways.QUICKLOOKS.is_dir():
        rows.append(_skipped("real quicklooks", ways.QUICKLOOKS))
        return []
    patches, owner = ways.vignettes()
    features = ways.handmade(patches)
    for policy in POLICIES:
        features[f"shipped {policy}"] = ways.embedded(patches, ssl.load(f"wave-{policy}"))
    features["untrained"] = ways.embedded(patches, ssl.load("wave-geometry").untrained())
    found = ways.same_vignette(features, owner)
    rows += [{"case": "real quicklooks"} | {"method": name} | scores for name, scores in found.items()]
    value = found["shipped geometry"]["p8_same_vignette"]
    return [check("real_vignette_p8", value, ">= 0.75", value >= 0.75)]


def neighbours(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The order of neighbours of the published embeddings."""
    if not ways.QUICKLOOKS.is_dir():
        rows.append(_skipped("order of neighbours", ways.QUICKLOOKS))
        return []
    share = ways.neighbour_order()
    return [check("neighbour_order_equal", share, "== 1", share == 1)]


def series(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tree cover of real pixels from few labels, blocks of 250 m held out."""
    if not ways.SERIES.is_file():
        rows.append(_skipped("tree cover of Romanian pixels", ways.SERIES))
        return []
    data = xr.open_dataset(ways.SERIES)
    cube = (data["reflectance"] / 10000).where(data["mask"] == 1).astype(np.float32)
    cube = cube.assign_attrs(level="BOA", sensor="S2A").transpose("time", "band", "y", "x").load()
    trained = cube.ssl.pretrain("series", steps=600, batch=256, width=64, progress=False)
    prior = load_koopman("land")
    days = torch.from_numpy(to_days(cube["time"].values))
    pixels = torch.from_numpy(cube.transpose("y", "x", "time", "band").values.reshape(-1, *cube.shape[:2]))
    features = {
        "series encoder": trained, "series encoder, untrained": trained.untrained(), "Koopman latents": prior,
        "Koopman latents, untrained": latents.untrained(prior),
    }  # fmt: skip
    values = {name: _of_pixels(cube, made) for name, made in features.items()}
    values["raw series"] = torch.cat([series_features(part, days) for part in pixels.split(256)]).numpy()
    cover = data["tree_cover_density_2018"].values.astype(float).ravel()
    row, column = np.meshgrid(np.arange(50), np.arange(50), indexing="ij")
    blocks = spatial_blocks(20.0 * row.ravel(), 20.0 * column.ravel(), 250.0)
    found = probe(values, cover, groups=blocks, budgets=(10, 50), draws=10)
    rows += [{"case": "tree cover of Romanian pixels", "method": name} | _curve(found, name) for name in values]
    scores = {name: _curve(found, name) for name in values}
    ratio = scores["series encoder"]["cover_rmse_50"] / scores["series encoder, untrained"]["cover_rmse_50"]
    raw = min(scores["series encoder"]["cover_rmse_50"], scores["Koopman latents"]["cover_rmse_50"])
    against = raw / scores["raw series"]["cover_rmse_50"]
    return [
        check("series_rmse_50_over_untrained", ratio, "< 1", ratio < 1),
        check("series_rmse_50_over_raw", against, "<= 1", against <= 1),
    ]


def _of_pixels(cube: xr.DataArray, made: Any) -> np.ndarray:
    found = cube.ssl.embed(made, progress=False) if isinstance(made, ssl.Encoder) else made.embed(cube, progress=False)
    return found.values.reshape(-1, found.sizes["feature"])


def _curve(found: ProbeResult, name: str) -> dict[str, float]:
    """Errors at 10, 50 and all labels, in percent of cover, with the standard deviation over draws."""
    curve = found.curve["rmse"].sel(features=name)
    few = {
        f"cover_rmse_{labels}{tail}": float(getattr(curve.sel(labels=labels), of)())
        for labels in (10, 50) for tail, of in (("", "mean"), ("_spread", "std"))
    }  # fmt: skip
    return few | {"cover_rmse_all": float(found.scores["score"].sel(features=name, metric="rmse"))}


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

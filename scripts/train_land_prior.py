"""Train the shipped prior for land, s2koop/zoo/land.safetensors, on simulated scenes and on the sample catalogue.

Simulated: many scenes of ten bands, each with its own weather, latitude, sky and landscape, on a common five-day grid.
Real: pixels of the sample catalogue (six bands; the other four are missing) until the end of 2019. The year 2020 of the
sample and two more simulated scenes are held out; the card says how the prior does there beside a harmonic per pixel.

    python scripts/train_land_prior.py                       # the shipped file
    python scripts/train_land_prior.py --scenes 2 --steps 50 --out trial
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import s2koop
from s2koop import zoo
from s2koop._time import to_days
from s2koop.baselines import harmonic
from s2koop.koopman import KoopmanModel
from s2koop.koopman.uncertainty import Uncertainty, over_scenes
from s2koop.simulate import land_cube
from s2koop.simulate.canopy import BANDS
from s2koop.simulate.covers import SHARES

SEED = 2020
FIRST, LAST = "2017-01-01", "2021-01-01"
#: The sample is learned to here; what comes later is held out.
SAMPLE_UNTIL = "2019-12-31"
MOST_BYTES = 2_000_000
#: Days of the held-out end of a simulated scene that are forecast.
BEYOND_DAYS = 100
NAME = zoo.LAND


def main() -> None:
    """Train, score, and write the file, its card and its line in the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--pixels", type=int, default=80, help="of each simulated scene")
    parser.add_argument("--sample-pixels", type=int, default=400)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path(zoo.__file__).parent, help="folder, which has to exist")
    options = parser.parse_args()
    scenes = [pixels_of(scene(SEED + n), options.pixels, SEED + n) for n in range(options.scenes)]
    real = pixels_of(sample().sel(time=slice(None, SAMPLE_UNTIL)), options.sample_pixels, SEED)
    cube = one_cube([*scenes, real])
    model = cube.koopman.fit(
        seed=SEED, steps=options.steps, hidden=(192, 96), validate_every=100, patience=3, max_pixels=cube.sizes["x"]
    )
    model = replace(model, uncertainty=errors_of_scenes(model, scenes))
    card = {**model.card, **describe(options), "scores": scores(model)}
    write(replace(model, card=card), options.out)


def errors_of_scenes(model: KoopmanModel, scenes: list[xr.DataArray]) -> Uncertainty:
    """Anomalies and date effects within each simulated scene: in the training, all scenes lie side by side."""
    assert model.uncertainty is not None
    given = []
    for cube in scenes:
        series = torch.from_numpy(cube.values[:, :, 0].transpose(2, 0, 1).copy())
        series = series[torch.isfinite(series).flatten(1).any(1)]
        days = to_days(cube.time.values)
        start = model.anchor(float(days[0]))
        given.append((model.standardise(series), torch.as_tensor(days - start, dtype=torch.float32), start))
    return over_scenes(
        model.network, given, model.background, model.noise, model.settings.robust, model.uncertainty.lead
    )


def scene(seed: int, *, truth: bool = False) -> xr.DataArray | xr.Dataset:
    """A scene whose landscape, latitude and sky are drawn; ground under snow is masked, as scene classes would."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "shape": (24, 24), "dates": pd.date_range(FIRST, LAST, freq="5D"), "parcel": rng.uniform(3, 6),
        "covers": dict(zip(SHARES, rng.dirichlet(8 * np.array(list(SHARES.values()))), strict=True)),
        "latitude": rng.uniform(36, 58), "clear_share": rng.uniform(0.25, 0.6), "cloud_share": rng.uniform(0.05, 0.3),
        "haze": rng.uniform(0.004, 0.015), "noise": rng.uniform(0.002, 0.005), "snow_days": rng.uniform(0, 40),
        "seed": seed,
    }  # fmt: skip
    made = land_cube(**options, truth=True)
    seen = made["observed"].where(made["snow"] < 0.5).astype(np.float32)
    return made.assign(observed=seen) if truth else seen.assign_attrs(made["observed"].attrs)


def sample() -> xr.DataArray:
    """The sample catalogue in the ten bands, four of which it lacks."""
    return s2koop.sample(resolution=20).load().reindex(band=list(BANDS))


def pixels_of(cube: xr.DataArray, count: int, seed: int) -> xr.DataArray:
    """Some pixels as a row (time, band, y, x), without the dates that none of them has."""
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    chosen = np.random.default_rng(seed).choice(rows * columns, min(count, rows * columns), replace=False)
    values = cube.values.reshape(cube.sizes["time"], len(BANDS), -1)[:, :, np.sort(chosen)]
    row = xr.DataArray(values[:, :, None], {"time": cube.time.values, "band": list(BANDS)}, ("time", "band", "y", "x"))
    return row.dropna("time", how="all").groupby("time").mean() if row.indexes["time"].has_duplicates else row


def one_cube(parts: list[xr.DataArray]) -> xr.DataArray:
    """Pixels side by side on the dates of all, NaN where a pixel has none."""
    parts = [part.assign_coords(time=part.time.dt.floor("D").values) for part in parts]
    joined = xr.concat(parts, "x", join="outer").sortby("time").dropna("time", how="all")
    return joined.assign_coords(y=[0.0], x=np.arange(joined.sizes["x"], dtype=float)).assign_attrs(
        level="BOA", sensor="Sentinel-2 MSI, simulated and real", units="1"
    )


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """What the card says of data, licence, split and limits."""
    return {
        "title": "Koopman prior for Sentinel-2 surface reflectance of land, ten bands",
        "data": f"{options.scenes} simulated scenes, {options.pixels} pixels each ({FIRST} to {LAST}); the sample "
        f"catalogue (Romania, package nrt 0.2.0; six bands), {options.sample_pixels} pixels until {SAMPLE_UNTIL}",
        "licence": "Apache-2.0; the sample contains modified Copernicus Sentinel data 2015-2019, EUPL-1.2",
        "split": "held out: the sample's year 2020, and two simulated scenes with seeds of their own; the traits of "
        "the simulated covers were set beside medians of real series, the sample's whole period among them",
        "limits": "temperate zone, 36 to 58 degrees north; crops, mowing and disturbances leave the yearly rhythm "
        "that a prior knows; snow was masked; B05 B06 B07 B12 are known from simulation alone",
        "training": {"script": "scripts/train_land_prior.py", "seed": SEED, "steps": options.steps},
    }


def scores(model: KoopmanModel) -> dict[str, Any]:
    """RMSE of the prior and of a harmonic per pixel, against simulated truth and on the sample's 2020."""
    found: dict[str, Any] = {}
    for number in (1, 2):
        made = scene(SEED - number, truth=True)
        cut = pd.Timestamp(LAST) - pd.Timedelta(days=BEYOND_DAYS)
        bare = made["truth"].where(made["snow"] < 0.5)
        past, later = made["observed"].sel(time=slice(None, cut)), bare.sel(time=bare.time > np.datetime64(cut))
        found[f"simulated {number}, forecast of {BEYOND_DAYS} days"] = _beside(model, past, later)
    cube = s2koop.sample(resolution=20).load()
    past, later = cube.sel(time=slice(None, SAMPLE_UNTIL)), cube.sel(time=slice("2020-01-01", "2020-12-31"))
    found["sample, forecast of 2020"] = _beside(model, past, later)
    return found


def _beside(model: KoopmanModel, past: xr.DataArray, later: xr.DataArray) -> dict[str, dict[str, float]]:
    """RMSE per band of two forecasts, where there is something to compare with."""
    once = later.isel(time=np.unique(later.time.values, return_index=True)[1])
    forecasts = {
        "prior": past.koopman.forecast(model, times=once.time, progress=False)["mean"].sel(band=once.band.values),
        "harmonic": harmonic(past, times=once.time)["mean"],
    }
    return {name: _rmse(mean, once) for name, mean in forecasts.items()}


def _rmse(mean: xr.DataArray, later: xr.DataArray) -> dict[str, float]:
    found = np.sqrt(((mean - later) ** 2).mean(("time", "y", "x")))
    return {str(band): round(float(value), 4) for band, value in zip(found.band.values, found.values, strict=True)}


def write(model: KoopmanModel, folder: Path) -> None:
    """The file, the card beside it, and its entry in the index of the folder."""
    file = model.save(folder / f"{NAME}.safetensors")
    if file.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {MOST_BYTES}: take smaller layers")
    index = folder / "index.json"
    known = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    known[NAME] = {
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "card": file.with_suffix(".json").name,
    }
    index.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(model.card, indent=1), f"\n{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""What benchmarks of embeddings share: encoders and hand-made features on the same images, and how they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

import s2koop  # noqa: F401  registers .ssl
from benchmarks._series import DATA
from s2koop.ssl import Encoder, precision_at, probe, read_quicklooks, search
from s2koop.ssl.features import co_occurrence, spectrum, statistics

Array = npt.NDArray[Any]

QUICKLOOKS = DATA / "wv_quicklooks"
SERIES = DATA / "s2_timeseries_ro_nrt_20m.nc"
#: First neighbours of the published embeddings, as their authors' file has them.
FIRST_NEIGHBOURS = (2, 11, 11, 5, 9, 3, 10, 11, 2, 4, 4, 2, 0, 3, 11)


def handmade(images: xr.DataArray, *, quick: bool = False) -> dict[str, Array]:
    """Features (image, feature) that need no training, of images (image, y, x)."""
    patches = torch.from_numpy(images.values[:, None]).float()
    pixel = float(images["y"].diff("y").mean())
    rows = {
        "statistics": _by_parts(statistics, patches),
        "spectrum": _by_parts(partial(spectrum, pixel=pixel), patches),
    }
    if quick:
        return rows
    rows["co-occurrence"] = _by_parts(co_occurrence, patches)
    return rows | {"all hand-made": np.concatenate(list(rows.values()), 1)}


def _by_parts(of: Any, patches: torch.Tensor) -> Array:
    return torch.cat([of(part) for part in patches.split(64)]).numpy()


def embedded(images: xr.DataArray, encoder: Encoder) -> Array:
    """Embeddings (image, feature) of whole images."""
    return images.ssl.embed(encoder, patch=images.sizes["y"], progress=False).values.reshape(len(images), -1)


def judged(
    features: Mapping[str, Array], scenes: xr.Dataset, train: npt.NDArray[np.bool_]
) -> dict[str, dict[str, float]]:
    """Errors of a linear probe on simulated scenes, and the precision of a search among those held out."""
    tags = scenes["tags"].values.astype(int)
    options: dict[str, Any] = {"train": train, "budgets": ()}
    numbers = {"hs": "significant_wave_height", "wavelength": "swell_wavelength", "wind": "wind_speed"}
    rows: dict[str, dict[str, float]] = {name: {} for name in (*features, "mean")}
    for short, label in numbers.items():
        found = probe(features, scenes[label].values, **options).to_dataframe()
        for name in rows:
            rows[name][f"{short}_rmse"] = float(found.loc[name, "rmse"])
    turned = probe(features, scenes["swell_direction"].values, task="direction", **options)
    tagged = probe(features, tags, task="multilabel", **options)
    for name in rows:
        rows[name]["direction_degrees"] = _score(turned, name, turned.metrics[0])
        rows[name]["auroc_micro"] = _score(tagged, name, "auroc_micro")
        rows[name]["auroc_macro"] = _score(tagged, name, "auroc_macro")
    for name, values in features.items():
        rows[name]["p10_same_tags"] = _precision(values[~train], tags[~train], 10)
    return rows


def _score(result: Any, row: str, metric: str) -> float:
    return float(result.scores["score"].sel(features=row, metric=metric))


def _precision(values: Array, labels: Array, k: int) -> float:
    """Share of the `k` nearest that have the label of the query; features are standardised first."""
    spread = values.std(0)
    standard = (values - values.mean(0)) / np.where(spread > 0, spread, 1)
    cloud = xr.DataArray(standard, dims=("sample", "feature"))
    found = search(cloud, np.arange(len(values)), k)
    return float(precision_at(found, labels)[k - 1])


def vignettes() -> tuple[xr.DataArray, Array]:
    """Patches (patch, y, x) of 128 pixels of 50 m from the 15 real quicklooks, nine of each, and whose they are."""
    images = read_quicklooks(QUICKLOOKS)
    corners = [0, (images.sizes["y"] - 128) // 2, images.sizes["y"] - 128]
    cut = [
        images.isel(y=slice(top, top + 128), x=slice(left, left + 128)).drop_vars(["y", "x"])
        for top in corners for left in corners
    ]  # fmt: skip
    patches = xr.concat(cut, "place").stack(patch=("image", "place"), create_index=False)
    owner = np.repeat(np.arange(images.sizes["image"]), len(cut))
    place = (np.arange(128) + 0.5) * 50.0
    return patches.transpose("patch", "y", "x").assign_coords(y=place, x=place).assign_attrs(sensor="SAR"), owner


def same_vignette(features: Mapping[str, Array], owner: Array) -> dict[str, dict[str, float]]:
    """How often the nearest patches are of the same vignette."""
    return {
        name: {f"p{k}_same_vignette": _precision(values, owner, k) for k in (1, 8)} for name, values in features.items()
    }


def neighbour_order(folder: Path = QUICKLOOKS) -> float:
    """Share of the published embeddings whose first neighbour is found as their authors' file has it."""
    published = xr.DataArray(np.load(folder / "valid_embs.npy"), dims=("image", "feature"))
    found = search(published, np.arange(15), 1)["position"].values[:, 0]
    return float((found == np.array(FIRST_NEIGHBOURS)).mean())

"""Every way to correct a simulated scene, on the same scenes, and what each result scores against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import spearmanr

import s2koop  # noqa: F401  registers .ac
from s2koop import scores
from s2koop.ac.emulate import emulate
from s2koop.ac.emulator import AcModel
from s2koop.ac.lut import Atmosphere
from s2koop.simulate import toa_scenes

Correction = Callable[[xr.Dataset], xr.Dataset]
#: Half the width of a 90 % interval in standard deviations.
NINETY = 1.6449
#: Not in means over bands: its surface reflectance is that of water vapour.
APART = "B09"
#: Values that say what a rank correlation is, and scenes that say what the similarity of images is.
_PIXELS, _IMAGES = 100_000, 60


def draw(**options: Any) -> xr.Dataset:
    """Test scenes as dates of a cube: surfaces and atmospheres that no training saw."""
    scenes = toa_scenes("test", **options)
    assert isinstance(scenes, xr.Dataset)
    return as_dates(scenes)


def as_dates(scenes: xr.Dataset) -> xr.Dataset:
    """Scenes along `time`, without coordinates that a correction could read the truth from."""
    truth = {name: scenes[name].values for name in (*Atmosphere._fields, "aerosol")}
    kept = scenes[["toa", "boa"]]
    kept = kept.drop_vars([name for name in kept.coords if name not in ("band", "y", "x")])
    return kept.rename(scene="time").assign_attrs(truth=truth)


def angles(scenes: xr.Dataset) -> dict[str, npt.NDArray[np.float32]]:
    """The geometry of every scene."""
    return {name: scenes.attrs["truth"][name] for name in ("sza", "vza", "raa")}


def nothing(scenes: xr.Dataset) -> xr.Dataset:
    """No correction."""
    return xr.Dataset({"mean": scenes["toa"]})


def climatology(method: str = "lut") -> Correction:
    """A usual atmosphere for every scene, at the true altitude and angles."""

    def run(scenes: xr.Dataset) -> xr.Dataset:
        altitude = scenes.attrs["truth"]["altitude"]
        return scenes["toa"].ac.invert(method=method, angles=angles(scenes), altitude=altitude, spread=False)

    return run


def told(method: str = "lut", aerosol: str | None = None) -> Correction:
    """The true atmosphere, with the true aerosol model or another one: what nobody has."""

    def run(scenes: xr.Dataset) -> xr.Dataset:
        truth, out = scenes.attrs["truth"], scenes["boa"].astype("float32").copy()
        for model in np.unique(truth["aerosol"].astype(str)):
            rows = np.flatnonzero(truth["aerosol"] == model)
            known = {name: truth[name][rows] for name in ("aot", "water_vapour", "ozone", "altitude")}
            found = scenes["toa"].isel(time=rows).ac.invert(
                method=method, aerosol=aerosol or model, spread=False,
                angles={name: value[rows] for name, value in angles(scenes).items()}, **known,
            )  # fmt: skip
            out[rows] = found["mean"].values
        return xr.Dataset({"mean": out})

    return run


def emulated(model: str | AcModel, **options: Any) -> Correction:
    """An emulator; `altitude_error` in m puts a wrong altitude."""

    def run(scenes: xr.Dataset, altitude_error: float = 0.0, **more: Any) -> xr.Dataset:
        altitude = np.minimum(scenes.attrs["truth"]["altitude"] + altitude_error, 3000.0)
        return emulate(scenes["toa"], model, angles=angles(scenes), altitude=altitude, **options, **more)

    return run


def judge(found: xr.Dataset, scenes: xr.Dataset, bands: list[str] | None = None) -> dict[str, Any]:
    """Scores of a correction against the surface, over all bands but B09."""
    names = [band for band in (bands or list(found["mean"]["band"].values)) if band != APART]
    mean, truth = found["mean"].sel(band=names), scenes["boa"].sel(band=names)
    error = np.abs(mean.values - truth.values)
    row: dict[str, Any] = {
        "mae": float(error.mean()),
        "in_spec": float((error <= 0.05 * truth.values + 0.005).mean()),
        "ssim": float(scores.ssim(mean[:_IMAGES], truth[:_IMAGES], data_range=1.0).mean()),
        "sam_degrees": float(np.degrees(_angle(mean.values, truth.values).mean())),
    }
    ratio = (mean.values / truth.values)[truth.values > 0.02]
    low, middle, high = np.percentile(ratio, [5, 50, 95])
    row |= {"ratio_p5": float(low), "ratio": float(middle), "ratio_p95": float(high)}
    if "spread" in found:
        spread = found["spread"].sel(band=names).values
        row["coverage_90"] = float((error <= NINETY * spread).mean())
        step = max(1, error.size // _PIXELS)
        row["rank_correlation"] = float(spearmanr(error.ravel()[::step], spread.ravel()[::step]).statistic)
    for name in ("aot", "water_vapour"):
        if name in found:
            row[f"{name}_rmse"] = float(np.sqrt(np.mean((found[name].values - scenes.attrs["truth"][name]) ** 2)))
    return row


def by_band(found: xr.Dataset, scenes: xr.Dataset) -> Mapping[str, float]:
    """Mean absolute error of each band."""
    error = np.abs(found["mean"].values - scenes["boa"].sel(band=found["mean"]["band"].values).values)
    return dict(zip(map(str, found["mean"]["band"].values), error.mean((0, 2, 3)).tolist(), strict=True))


def _angle(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    cosine = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.arccos(np.clip(cosine, -1, 1))

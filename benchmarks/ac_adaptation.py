"""Sentinel-2's networks on PROBA-V's images: as they are, and after every way to adapt images without pairs.

Nothing is paired: source and target are simulated scenes of different places and atmospheres, of the training split;
settings were chosen on the validation split, and the test split judges. Both sensors see the test scenes, so that a
translation can be compared with what Sentinel-2 would have seen. Corrected images are compared with the surface in
PROBA-V's bands, in Sentinel-2's, and in Sentinel-2's adjusted to PROBA-V: their difference is a floor of its own. One
row of linear maps was fitted to pairs, which nobody has: it says what a linear map could do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from benchmarks import _corrections as ways
from benchmarks._report import check, main, report
from s2koop.ac.adaptation import AdaptationSettings, Adapter, distances, fit
from s2koop.ac.sensors import adjustment
from s2koop.simulate import toa_scenes

Array = npt.NDArray[Any]
Mapped = Callable[[xr.DataArray], xr.DataArray]

FOUR, OWN = ["B02", "B04", "B08", "B11"], ["BLUE", "RED", "NIR", "SWIR"]
#: Scenes of each side to learn from, of which the first is judged in full, and their rows and columns.
LEARNED, LEARNED_SIZE = (600, 150, 2400), 32
SCENES = 200
SETTINGS = AdaptationSettings()
NETWORKS = ("fcnn", "context")
ASIS, ADAPTED = "as it is", "adapted"
UNPAIRED = ("histograms", "moments of bands", "moments of all bands")
#: Points of a histogram's cumulative curve.
_QUANTILES = np.linspace(0, 1, 513)


def run(quick: bool) -> dict[str, Any]:
    """All tables."""
    torch.set_num_threads(1)
    sizes = (150,) if quick else LEARNED
    settings = replace(SETTINGS, steps=60, batch=8, patches=600) if quick else SETTINGS
    sentinel, probav = both(60 if quick else SCENES, 36 if quick else 48)
    rows: list[dict[str, Any]] = []
    found: dict[Any, Any] = {}
    for count in sizes:
        full = count == sizes[0]
        sides = learned(count)
        made = methods(*sides, settings, full)
        for name, method in made.items():
            image = method(probav["toa"])
            found[count, name] = looks(image, sentinel)
            rows.append({"case": f"image, {count} scenes", "method": name} | found[count, name])
            for network in NETWORKS:
                boa = corrected(image, network, probav, sentinel)
                for truth, surface in truths(probav, sentinel).items() if full else [("Sentinel-2 truth", sentinel)]:
                    scored = judged(boa, surface)
                    found[count, name, network, truth] = scored
                    title = f"{network}, {truth}, {count} scenes"
                    rows.append({"case": title, "method": name} | scored)
                if full and name == ADAPTED:
                    title = f"{network}, PROBA-V truth, {count} scenes"
                    rows.append({"case": title, "method": f"{name}, then bands"} | in_own_bands(boa, probav))
        if full:
            found["tiling"] = tiling(made[ADAPTED], probav["toa"])
    rows += floors(sentinel, probav)
    data = (
        f"{SCENES if not quick else 60} simulated test scenes seen by both sensors; "
        f"{' / '.join(map(str, sizes))} simulated training scenes of each sensor, of different places"
    )
    return report(data=data, seed=settings.seed, rows=rows, checks=checks(found, sizes))


def both(scenes: int, size: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Test scenes as Sentinel-2 and as PROBA-V see them."""
    seen = toa_scenes("test", scenes=scenes, size=size, sensor=("S2A", "PROBAV"))
    return ways.as_dates(seen["S2A"]).sel(band=FOUR), ways.as_dates(seen["PROBAV"])


def learned(count: int) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Scenes of the training split: Sentinel-2's, PROBA-V's of other places, and Sentinel-2's of these, for pairs."""
    options: dict[str, Any] = {"scenes": count, "size": LEARNED_SIZE}
    source = toa_scenes("train", sensor="S2A", **options)["toa"].sel(band=FOUR)
    seen = toa_scenes("train", sensor=("PROBAV", "S2A"), first=count, **options)
    return source, seen["PROBAV"]["toa"], seen["S2A"]["toa"].sel(band=FOUR)


def methods(
    source: xr.DataArray, target: xr.DataArray, pairs: xr.DataArray, settings: AdaptationSettings, full: bool
) -> Mapping[str, Mapped]:
    """From PROBA-V's images to ones like Sentinel-2's."""
    options: dict[str, Any] = {"progress": False}
    still = replace(settings, steps=0)
    histograms, bands, every = UNPAIRED
    out: dict[str, Mapped] = {ASIS: renamed} if full else {}
    out |= {
        histograms: by_histograms(source, target),
        bands: translated(fit(source, target, settings=replace(still, start="moments"), **options)),
        every: translated(fit(source, target, settings=still, **options)),
    }
    if full:
        out["spectral responses"] = by_responses()
        identity = replace(settings, start="identity")
        out[f"{ADAPTED}, begun as it is"] = translated(fit(source, target, settings=identity, **options))
    out[ADAPTED] = translated(fit(source, target, settings=settings, **options))
    if full:
        out["linear, from pairs"] = by_pairs(target, pairs)
    return out


def renamed(image: xr.DataArray) -> xr.DataArray:
    """PROBA-V's image under Sentinel-2's names."""
    return image.assign_coords(band=FOUR).assign_attrs(sensor="S2A")


def translated(adapter: Adapter) -> Mapped:
    """An adapter's translation."""
    return adapter.to_source


def linear(matrix: Array, offset: Array) -> Mapped:
    """The same linear map of every pixel."""

    def run(image: xr.DataArray) -> xr.DataArray:
        moved = np.einsum("ij,tjyx->tiyx", matrix, image.values) + offset[:, None, None]
        return renamed(image.copy(data=moved.astype("float32")))

    return run


def by_histograms(source: xr.DataArray, target: xr.DataArray) -> Mapped:
    """Each band by the cumulative curves of both sides."""
    curves = [np.quantile(pixels(side), _QUANTILES, axis=1) for side in (target, source)]

    def run(image: xr.DataArray) -> xr.DataArray:
        moved = image.values.copy()
        for band in range(moved.shape[1]):
            moved[:, band] = np.interp(moved[:, band], curves[0][:, band], curves[1][:, band])
        return renamed(image.copy(data=moved))

    return run


def by_responses() -> Mapped:
    """Bands adjusted by the spectral responses of both sensors, as one would adjust a surface."""
    fitted = adjustment("PROBAV", OWN, "S2A")
    rows = [fitted.bands.index(band) for band in FOUR]
    return linear(fitted.weights[rows], fitted.offset[rows])


def by_pairs(target: xr.DataArray, pairs: xr.DataArray) -> Mapped:
    """The linear map with the least squared error on pairs."""
    known = np.vstack([pixels(target), np.ones(target.size // len(OWN))])
    fitted = np.linalg.lstsq(known.T, pixels(pairs).T, rcond=None)[0].T
    return linear(fitted[:, :-1], fitted[:, -1])


def pixels(images: xr.DataArray) -> Array:
    """Values (band, pixel)."""
    return images.transpose("band", ...).values.reshape(images.sizes["band"], -1).astype(float)


def looks(image: xr.DataArray, sentinel: xr.Dataset) -> dict[str, float]:
    """How far an image is from what Sentinel-2 saw of the same places: pixel by pixel, and as a distribution."""
    own = sentinel["toa"].values
    apart = distances(image.values, own)
    row = {"image_mae": float(np.abs(image.values - own).mean()), "wasserstein": float(apart.wasserstein.mean()),
           "kolmogorov": float(apart.kolmogorov.mean())}  # fmt: skip
    return row | {f"wasserstein_{band}": float(value) for band, value in zip(FOUR, apart.wasserstein, strict=True)}


def corrected(image: xr.DataArray, network: str, probav: xr.Dataset, sentinel: xr.Dataset) -> xr.Dataset:
    """An image like Sentinel-2's through a network of Sentinel-2."""
    scenes = sentinel.assign(toa=image).assign_attrs(probav.attrs)
    return ways.emulated(f"four-{network}", aerosol="continental")(scenes)[["mean"]]


def truths(probav: xr.Dataset, sentinel: xr.Dataset) -> Mapping[str, xr.Dataset]:
    """The surface in PROBA-V's bands, in Sentinel-2's, and in Sentinel-2's adjusted to PROBA-V."""
    named = probav.assign_coords(band=FOUR)
    return {
        "Sentinel-2 truth": sentinel,
        "PROBA-V truth": named,
        "Sentinel-2 truth, adjusted": named.assign(boa=as_probav(sentinel["boa"])),
    }


def as_probav(surface: xr.DataArray) -> xr.DataArray:
    """A surface in Sentinel-2's bands, adjusted to PROBA-V's, under the names that it has."""
    fitted = adjustment("S2A", FOUR, "PROBAV")
    adjusted = np.einsum("pb,tbyx->tpyx", fitted.weights, surface.values) + fitted.offset[:, None, None]
    return surface.copy(data=adjusted.astype("float32"))


def in_own_bands(boa: xr.Dataset, probav: xr.Dataset) -> dict[str, Any]:
    """Scores of a corrected image whose bands are adjusted to PROBA-V's afterwards."""
    return judged(xr.Dataset({"mean": as_probav(boa["mean"])}), probav.assign_coords(band=FOUR))


def judged(boa: xr.Dataset, surface: xr.Dataset) -> dict[str, Any]:
    """Scores of a corrected image, with those of each band."""
    named = boa.assign_coords(band=FOUR)
    per_band = {f"mae_{band}": value for band, value in ways.by_band(named, surface).items()}
    return ways.judge(named, surface) | per_band


def floors(sentinel: xr.Dataset, probav: xr.Dataset) -> list[dict[str, Any]]:
    """What is left where nothing has to be adapted: PROBA-V's own emulators, and surfaces of the other sensor."""
    rows = []
    surfaces = truths(probav, sentinel)
    results = {f"PROBA-V {name}": ways.emulated(f"probav-{name}", aerosol="continental")(probav)
               for name in ("fcnn", "context", "hybrid")}  # fmt: skip
    results |= {f"Sentinel-2 {name}, its own image": corrected(sentinel["toa"], name, probav, sentinel)
                for name in NETWORKS}  # fmt: skip
    results["Sentinel-2 truth itself"] = xr.Dataset({"mean": sentinel["boa"]})
    for truth, surface in surfaces.items():
        rows += [{"case": f"no adaptation, {truth}", "method": name} | judged(boa[["mean"]], surface)
                 for name, boa in results.items()]  # fmt: skip
    return rows


def tiling(method: Mapped, images: xr.DataArray) -> float:
    """The largest difference of an image cut into tiles from the same at once."""
    whole = method(images[:4])
    tiles = method(images[:4].chunk({"time": 1, "y": 17, "x": 23})).compute()
    return float(np.abs(tiles - whole).max())


def checks(found: Mapping[Any, Any], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """What this part has to show."""
    first = sizes[0]
    out = []
    for network, target in (("context", 0.5), ("fcnn", 0.1)):
        errors = {name: found[first, name, network, "Sentinel-2 truth"]["mae"] for name in (ASIS, ADAPTED, *UNPAIRED)}
        gained = 1 - errors[ADAPTED] / errors[ASIS]
        out.append(check(f"{network}_error_removed", gained, f">= {target}", gained >= target))
        best = errors[ADAPTED] / min(errors[name] for name in UNPAIRED)
        out.append(check(f"{network}_beside_best_unpaired_map", best, "<= 1", best <= 1))
    for size in sizes[1:]:
        errors = {name: found[size, name, "context", "Sentinel-2 truth"]["mae"] for name in (ADAPTED, *UNPAIRED)}
        best = errors[ADAPTED] / min(errors[name] for name in UNPAIRED)
        out.append(check(f"context_beside_best_unpaired_map_{size}_scenes", best, "<= 1", best <= 1))
    nearer = found[first, ADAPTED]["wasserstein"] / found[first, ASIS]["wasserstein"]
    out.append(check("wasserstein_left", nearer, "<= 0.6", nearer <= 0.6))
    return [*out, check("tiles_differ_by", found["tiling"], "<= 1e-6", found["tiling"] <= 1e-6)]


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

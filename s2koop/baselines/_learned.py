"""The road of baselines that learn from a scene before they predict its pixels: sample, learn, apply.

`learn(values, days, **options)` sees a sample of the pixels, (pixel, date, band) float64 with NaN = missing, and
returns a model of any kind that can be pickled. `apply(model, values, days, asked)` then returns mean and spread,
each (pixel, asked date, band), of the pixels it is given. On a dask-backed cube both are tasks of the graph.
Neither meets a band that the sample never saw, nor `apply` a pixel without any usable value: these are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from s2koop._digital import warn_digital_numbers
from s2koop._time import to_days
from s2koop.baselines._apply import OBSERVED, as_result, check_cube, check_number, timeless, whole_blocks
from s2koop.cube.harmonise import missing_pixels

Learn = Callable[..., Any]
Apply = Callable[[Any, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

#: Pixels that `apply` sees at once: bounds its float64 copies whatever the size of a block.
_PIXELS = 1024

#: The dim of the array that carries the model to the blocks.
_MODEL = "model"


def predict_learned(
    learn: Learn,
    apply: Apply,
    cube: xr.DataArray,
    asked: np.ndarray,
    *,
    name: str,
    long_name: str,
    sample: int,
    seed: int,
    options: Mapping[str, Any],
) -> xr.Dataset:
    """Learn from `sample` random pixels of `cube` (all if it has no more) and predict every pixel on `asked` dates."""
    check_cube(cube)
    check_number("sample", sample, low=1, whole=True)
    check_number("seed", seed, low=0, whole=True)
    warn_digital_numbers(cube, "the cube")
    days = to_days(cube["time"].values)
    banded = cube if "band" in cube.dims else cube.expand_dims("band", axis=1)
    model = _learned(learn, _sampled(banded, sample, seed), days, {"seed": seed, **options})
    mean, spread = xr.apply_ufunc(
        _run,
        timeless(whole_blocks(banded, "time", "band")),
        model,
        kwargs={"apply": apply, "days": days, "asked": to_days(asked)},
        input_core_dims=[[OBSERVED, "band"], [_MODEL]],
        output_core_dims=[["time", "band"], ["time", "band"]],
        dask="parallelized",
        output_dtypes=[np.float32, np.float32],
        dask_gufunc_kwargs={"output_sizes": {"time": len(asked)}},
        keep_attrs=False,
    )
    if "band" not in cube.dims:
        mean, spread = (array.squeeze("band") for array in (mean, spread))
    told = {"sample": sample, "seed": seed, **options}
    return as_result(mean, spread, cube, asked, name=name, long_name=long_name, options=told)


def standards(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (band,) of values (pixel, date, band); 1 for the deviation where all are equal."""
    level, scale = np.nanmean(values, axis=(0, 1)), np.nanstd(values, axis=(0, 1))
    return level, np.where(scale > 0, scale, 1.0)


def merge_dates(values: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and number of the values (pixel, distinct date, band) on each date, zero where there is none."""
    starts = np.flatnonzero(np.diff(days, prepend=-np.inf))
    seen = np.isfinite(values)
    number = np.add.reduceat(seen.astype(np.float64), starts, axis=1)
    total = np.add.reduceat(np.where(seen, values, 0.0), starts, axis=1)
    return total / np.maximum(number, 1), number


def _sampled(cube: xr.DataArray, sample: int, seed: int) -> Any:
    """Random pixels as an array (pixel, date, band), lazy if the cube is; the same ones either way."""
    over = [dim for dim in cube.dims if dim not in ("time", "band")]
    sizes = [cube.sizes[dim] for dim in over]
    count = int(np.prod(sizes))
    chosen = np.arange(count)
    if count > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(count, sample, replace=False))
    where = dict(zip(over, np.unravel_index(chosen, sizes) if over else (), strict=True))
    picked = cube.variable.isel({dim: xr.Variable("pixel", index) for dim, index in where.items()})
    bare = picked if over else cube.expand_dims("pixel").variable
    return bare.transpose("pixel", "time", "band").data


def _learned(learn: Learn, values: Any, days: np.ndarray, options: Mapping[str, Any]) -> xr.DataArray:
    """The model as an array of one object, so that blocks share it; a delayed one if the values are lazy."""
    if isinstance(values, np.ndarray):
        return xr.DataArray(_learn(learn, values, days, dict(options)), dims=_MODEL)
    import dask
    import dask.array as da

    task = dask.delayed(_learn, pure=True)(learn, values, days, dict(options))
    return xr.DataArray(da.from_delayed(task, shape=(1,), dtype=object), dims=_MODEL)


def _learn(learn: Learn, values: np.ndarray, days: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """What was learned, and of which bands: those that were seen at all."""
    taught = (~missing_pixels(values)).any(axis=(0, 1))
    holder = np.empty(1, dtype=object)
    holder[0] = (learn(_finite(values[..., taught]), days, **options) if taught.any() else None, taught)
    return holder


def _run(
    values: np.ndarray, model: np.ndarray, *, apply: Apply, days: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A block (..., date, band) through `apply`, some thousand pixels at a time; what was never seen stays NaN."""
    learned, taught = model.item()
    lead, bands = values.shape[:-2], values.shape[-1]
    pixels = values.reshape(-1, *values.shape[-2:])
    mean, spread = np.full((2, len(pixels), len(asked), bands), np.nan, dtype=np.float32)
    seen = np.flatnonzero((~missing_pixels(pixels[..., taught])).any(axis=(1, 2)))
    for begin in range(0, len(seen), _PIXELS):
        part = seen[begin : begin + _PIXELS]
        where = np.ix_(part, np.arange(len(asked)), np.flatnonzero(taught))
        mean[where], spread[where] = apply(learned, _finite(pixels[part][..., taught]), days, asked)
    return mean.reshape(*lead, -1, bands), spread.reshape(*lead, -1, bands)


def _finite(values: np.ndarray) -> np.ndarray:
    """A float64 copy in which fill values are missing, and what is not finite."""
    return np.where(missing_pixels(values), np.nan, values).astype(np.float64)

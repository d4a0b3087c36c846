"""The road every baseline takes: check the cube, run a kernel on blocks of series, give back a Result.

A kernel is a plain function on arrays, ``kernel(values, weights, days, asked, **options)``:
`values` (series, date) float64 with NaN = missing, `weights` of the same shape (0 where missing), `days`
and `asked` in days since `s2koop._time.EPOCH`; it returns mean and spread, each (series, asked date).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from s2koop._array_checks import check_not_empty
from s2koop._dates import asked_dates
from s2koop._digital import warn_digital_numbers
from s2koop._time import to_days
from s2koop._version import __version__
from s2koop.cube.harmonise import missing_pixels
from s2koop.errors import InputError

Kernel = Callable[..., tuple[np.ndarray, np.ndarray]]

#: Series a kernel sees at once: bounds the float64 copies to some tens of MB whatever the size of a block.
_SERIES = 4096

#: The dates of the cube under another name than those of the result, since the two differ in length.
OBSERVED = "observed_time"


def predict(
    kernel: Kernel,
    cube: xr.DataArray,
    times: Any,
    *,
    name: str,
    long_name: str,
    weights: xr.DataArray | None = None,
    options: Mapping[str, Any],
) -> xr.Dataset:
    """Run `kernel` on every series of `cube` and return its mean and spread on `times`, both float32."""
    check_cube(cube)
    asked = asked_dates(times)
    warn_digital_numbers(cube, "the cube")
    series = whole_blocks(cube, "time")
    inputs = [timeless(series)]
    if weights is not None:
        inputs.append(timeless(_check_weights(weights, cube)))
    mean, spread = xr.apply_ufunc(
        _run,
        *inputs,
        kwargs={
            "kernel": kernel,
            "days": to_days(cube["time"].values),
            "asked": to_days(asked),
            "options": dict(options),
        },
        input_core_dims=[[OBSERVED]] * len(inputs),
        output_core_dims=[["time"], ["time"]],
        dask="parallelized",
        output_dtypes=[np.float32, np.float32],
        dask_gufunc_kwargs={"output_sizes": {"time": len(asked)}, "allow_rechunk": True},
        keep_attrs=False,
    )
    return as_result(mean, spread, cube, asked, name=name, long_name=long_name, options=options)


def as_result(
    mean: xr.DataArray,
    spread: xr.DataArray,
    cube: xr.DataArray,
    asked: np.ndarray,
    *,
    name: str,
    long_name: str,
    options: Mapping[str, Any],
) -> xr.Dataset:
    """Join mean and spread on the asked dates into a Result with the dims, coordinates and words of its cube."""
    result = xr.Dataset({"mean": mean, "spread": spread}).transpose(*cube.dims)
    result = result.assign_coords({c: cube[c] for c in result.coords})
    result = result.assign_coords(time=("time", asked, {"standard_name": "time"}))
    return _described(result, cube, name=name, long_name=long_name, options=options)


def check_cube(cube: xr.DataArray) -> None:
    """Raise `InputError` unless `cube` is a floating point DataArray with sorted dates along ``time``."""
    if not isinstance(cube, xr.DataArray):
        raise InputError(f"expected an xarray.DataArray with a time dimension, found {type(cube).__name__}")
    if "time" not in cube.dims or "time" not in cube.coords:
        raise InputError(f"expected a cube with dates along 'time', found dims {tuple(cube.dims)}")
    if cube["time"].dtype.kind != "M":
        raise InputError(f"expected datetime64 dates along 'time', found {cube['time'].dtype}; use pd.to_datetime")
    if cube.sizes["time"] == 0:
        raise InputError("the cube has no date at all; widen the period it is cut to")
    check_not_empty(cube, "the cube")
    if cube.dtype.kind != "f":
        raise InputError(
            f"expected reflectance as floating point with NaN = missing, found {cube.dtype}; "
            "scale it and mask nodata first, as s2koop.load does"
        )
    stamps = cube["time"].values
    if np.isnat(stamps).any():
        raise InputError("the cube has dates that are NaT; drop them with cube.dropna('time', how='all')")
    if (stamps[1:] < stamps[:-1]).any():
        raise InputError("the dates of the cube are not sorted; use cube.sortby('time')")


def check_flag(name: str, value: Any) -> None:
    """Raise `InputError` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, found {value!r}")


def check_number(name: str, value: Any, *, low: float, strict: bool = False, whole: bool = False) -> None:
    """Raise `InputError` unless `value` is a finite number (`whole`: an int) of at least, or above, `low`."""
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    good = isinstance(value, kinds) and not isinstance(value, bool) and np.isfinite(value)
    if not good or value < low or (strict and value == low):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{name} must be {kind} {'above' if strict else 'of at least'} {low}, found {value!r}")


def _check_weights(weights: xr.DataArray, cube: xr.DataArray) -> xr.DataArray:
    """Return `weights` cut into the blocks of the cube, or raise `InputError`."""
    if not isinstance(weights, xr.DataArray) or "time" not in weights.dims:
        raise InputError("weights must be a DataArray with a 'time' dimension that matches the cube's")
    extra = set(weights.dims) - set(cube.dims)
    if extra:
        raise InputError(f"weights have dims {sorted(map(str, extra))} that the cube {tuple(cube.dims)} lacks")
    try:
        xr.align(cube, weights, join="exact", copy=False)
    except ValueError as problem:
        raise InputError(f"weights do not lie on the dates and grid of the cube: {problem}") from problem
    weights = weights.transpose(*[d for d in cube.dims if d in weights.dims])
    return weights if weights.chunks is None else weights.chunk({"time": -1})


def whole_blocks(cube: xr.DataArray, *whole: str) -> xr.DataArray:
    """Rechunk a lazy cube so that no block cuts the dims `whole`, splitting the others where blocks grow too big."""
    if cube.chunks is None or all(len(cube.chunksizes[dim]) == 1 for dim in whole):
        return cube
    import dask
    from dask.utils import parse_bytes

    joined = cube.chunk(dict.fromkeys(whole, -1))
    block = cube.dtype.itemsize * np.prod([max(sizes) for sizes in joined.chunksizes.values()], dtype=float)
    if block <= parse_bytes(dask.config.get("array.chunk-size")):
        return joined
    return cube.chunk({d: -1 if d in whole else "auto" for d in cube.dims})


def timeless(array: xr.DataArray) -> xr.DataArray:
    """Free the name ``time`` for the dates of the result: the array without its time coordinates."""
    along = [name for name, coord in array.coords.items() if "time" in coord.dims]
    return array.drop_vars(along).rename(time=OBSERVED)


def _run(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    kernel: Kernel,
    days: np.ndarray,
    asked: np.ndarray,
    options: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Feed a block (..., date) to the kernel, some thousand series at a time."""
    lead = values.shape[:-1]
    rows = values.reshape(-1, len(days))
    trust = None if weights is None else np.broadcast_to(weights, values.shape).reshape(-1, len(days))
    mean = np.empty((len(rows), len(asked)), dtype=np.float32)
    spread = np.empty_like(mean)
    for begin in range(0, len(rows), _SERIES):
        part = slice(begin, begin + _SERIES)
        series = rows[part].astype(np.float64)
        usable = (~missing_pixels(series)).astype(np.float64)
        if trust is not None:
            given = trust[part].astype(np.float64)
            usable *= np.where(given > 0, given, 0.0)  # NaN and negative trust count as none
        series[usable == 0] = np.nan
        mean[part], spread[part] = kernel(series, usable, days, asked, **options)
    return mean.reshape(*lead, -1), spread.reshape(*lead, -1)


def _described(
    result: xr.Dataset, cube: xr.DataArray, *, name: str, long_name: str, options: Mapping[str, Any]
) -> xr.Dataset:
    """Add the attributes that say what the numbers are and where they come from."""
    kept = {key: cube.attrs[key] for key in ("level", "sensor") if key in cube.attrs}
    units = {"units": cube.attrs.get("units", "1")}
    result["mean"].attrs = {
        **units, **kept, "long_name": f"{long_name}, mean", "ancillary_variables": "spread",
    }  # fmt: skip
    result["spread"].attrs = {**units, **kept, "long_name": f"{long_name}, one standard deviation"}
    step = f"s2koop.baselines.{name} {__version__}"
    result.attrs = {
        **kept,
        "Conventions": "CF-1.11",
        "title": long_name,
        "model": name,
        "model_version": __version__,
        "options": json.dumps(dict(options), default=lambda number: number.item()),
        "history": "\n".join(filter(None, [str(cube.attrs.get("history", "")), step])),
    }
    return result

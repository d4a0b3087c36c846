"""Results beside observations: their parts, and putting them on the dates, bands and pixels they share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from s2koop._array_checks import check_array, check_labels
from s2koop._warn import warn_user
from s2koop.errors import InputError, UnscoredDatesWarning

Result = xr.Dataset | xr.DataArray

#: Grids are the same when their coordinates differ by less than this part of a pixel.
_GRID_TOLERANCE = 1e-3


def parts(result: Result) -> tuple[xr.DataArray, xr.DataArray | None, xr.DataArray | None]:
    """The mean, the spread and the members of a result; None for what it does not have."""
    if isinstance(result, xr.DataArray):
        if "member" not in result.dims:
            return result, None, None
        if result.sizes["member"] == 1:
            return result.isel(member=0, drop=True), None, None  # one member has no spread
        return result.mean("member", skipna=False), result.std("member", ddof=1, skipna=False), result
    if not isinstance(result, xr.Dataset) or "mean" not in result:
        found = f"variables {sorted(map(str, result))}" if isinstance(result, xr.Dataset) else type(result).__name__
        raise InputError(f"a result is a Dataset with mean and spread, or a DataArray; found {found}")
    members = next((result[name] for name in result.data_vars if "member" in result[name].dims), None)
    return result["mean"], result.get("spread"), members


def align(results: Mapping[str, Result], observations: xr.DataArray) -> tuple[dict[str, Result], xr.DataArray]:
    """Put results and observations on the dates they all share, and on the observed bands and grid."""
    check_array(observations, "the array of observations")
    for name, result in results.items():
        mean = parts(result)[0]
        check_array(mean, repr(name))
        for dim in {"band"} & set(mean.dims) & set(mean.coords):
            check_labels(mean, dim, repr(name))
        if set(mean.dims) != set(observations.dims):
            raise InputError(f"{name!r} has dims {tuple(mean.dims)}, the observations {tuple(observations.dims)}")
    if "time" not in observations.dims:
        return {name: _on_grid(name, result, observations) for name, result in results.items()}, observations
    stamps = observations["time"].values
    dates = {name: pd.Index(result["time"].values) for name, result in results.items()}
    shared = np.ones(len(stamps), dtype=bool)
    for index in dates.values():
        shared &= np.isin(stamps, index)
    if not shared.any():
        raise InputError(f"there is no date that all share: observations {_span(stamps)}; {_spans(dates)}")
    _warn_of_lost_dates(stamps, shared, dates)
    observed = observations.isel(time=np.flatnonzero(shared))
    aligned = {}
    for name, result in results.items():
        # a repeated date of a result says the same thing twice, one of an observation is another look
        once = ~dates[name].duplicated()
        position = np.flatnonzero(once)[dates[name][once].get_indexer(observed["time"].values)]
        aligned[name] = _on_grid(name, result.isel(time=position), observed)
    return aligned, observed


def _warn_of_lost_dates(stamps: np.ndarray, shared: np.ndarray, dates: Mapping[str, pd.Index]) -> None:
    """Warn where most observations in the period that all results cover have no counterpart in one of them."""
    begin, end = max(index.min() for index in dates.values()), min(index.max() for index in dates.values())
    inside = stamps[(stamps >= begin) & (stamps <= end)]
    if 2 * shared.sum() >= inside.size:
        return
    lacking = ", ".join(f"{name!r} lacks {int((~np.isin(inside, index)).sum())}" for name, index in dates.items())
    message = (
        f"{inside.size - int(shared.sum())} of the {inside.size} observed dates from {begin:%Y-%m-%d} to "
        f"{end:%Y-%m-%d} are not scored, because only equal dates are compared: {lacking}. "
        "Compute results with times=observations.time"
    )
    warn_user(UnscoredDatesWarning(message))


def _span(stamps: np.ndarray) -> str:
    days = np.sort(stamps).astype("datetime64[D]")
    return f"{len(days)} from {days[0]} to {days[-1]}" if len(days) else "none"


def _spans(dates: Mapping[str, pd.Index]) -> str:
    return "; ".join(f"{name!r} {_span(index.to_numpy())}" for name, index in dates.items())


def _on_grid(name: str, result: Result, observed: xr.DataArray) -> Result:
    """Put a result on the coordinates of the observations, or raise `InputError`."""
    for dim in observed.dims:
        if dim == "time" or dim not in observed.coords or dim not in result.coords:
            continue
        ours, theirs = observed[dim].values, result[dim].values
        if ours.dtype.kind != "f":
            absent = [value for value in ours.tolist() if value not in theirs]
            if absent:
                raise InputError(f"{name!r} has no {dim} {absent}; it has {theirs.tolist()}")
            result = result.sel({dim: ours})
            continue
        if len(ours) != len(theirs) or not _close(ours, theirs):
            raise InputError(
                f"{name!r} lies on another grid along {dim}: "
                f"{len(theirs)} from {theirs[0]:g} to {theirs[-1]:g}, "
                f"observed {len(ours)} from {ours[0]:g} to {ours[-1]:g}; reproject one onto the other"
            )
        result = result.assign_coords({dim: observed[dim]})
    sizes = dict(parts(result)[0].sizes)
    if sizes != dict(observed.sizes):
        raise InputError(f"{name!r} has sizes {sizes}, the observations {dict(observed.sizes)}")
    return result


def _close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    step = np.abs(np.diff(ours)).min() if len(ours) > 1 else 1.0
    return bool(np.abs(ours - theirs).max() <= _GRID_TOLERANCE * step)

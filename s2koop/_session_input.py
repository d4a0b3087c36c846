"""What a session accepts: cubes and results, checked, named and listed before anything is read."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from s2koop._array_checks import check_array
from s2koop._views import Box
from s2koop.errors import InputError

#: Results that one view can tell apart (colours, markers and dashes that every eye separates).
MAX_RESULTS = 4

_DIMS = ("time", "band", "y", "x")

Limits = dict[tuple[str, str], tuple[float, float]]


def named(results: Sequence[xr.Dataset], names: Sequence[str] | None) -> dict[str, xr.Dataset]:
    if len(results) > MAX_RESULTS:
        raise InputError(
            f"{len(results)} results were given; a view holds at most {MAX_RESULTS}. Leave some out, "
            "or open a second dashboard."
        )
    for number, result in enumerate(results, start=1):
        if not isinstance(result, xr.Dataset) or "mean" not in result:
            raise InputError(
                f"Result {number} is {_what(result)}; expected an xarray.Dataset with 'mean' and 'spread', "
                "such as cube.koopman.assimilate(...) or a function of s2koop.baselines returns."
            )
    if names is None:
        names = _own_names(results)
    if taken := sorted({"observed", "later"} & set(names)):
        raise InputError(f"names holds {taken}, which the observations are called; give the results other names.")
    if len(names) != len(results) or len(set(names)) != len(names):
        raise InputError(
            f"names={list(names)!r} does not name {len(results)} result(s); give one different name for each."
        )
    return dict(zip(names, results, strict=True))


def _own_names(results: Sequence[xr.Dataset]) -> list[str]:
    """What the results call their method; where two do so alike, their title; the number is the last resort."""
    short = [
        str(r.attrs.get("method") or r.attrs.get("model") or f"result {n}") for n, r in enumerate(results, start=1)
    ]
    names: list[str] = []
    for number, (result, name) in enumerate(zip(results, short, strict=True), start=1):
        name = str(result.attrs.get("title") or name) if short.count(name) > 1 else name
        names.append(name if name not in names else f"{name} ({number})")
    return names


def _what(thing: object) -> str:
    if isinstance(thing, xr.Dataset):
        return f"a Dataset with {', '.join(map(str, thing.data_vars)) or 'no variables'}"
    return f"of type {type(thing).__name__}"


def check_cube(cube: object, name: str) -> None:
    if not isinstance(cube, xr.DataArray) or cube.dims != _DIMS:
        found = f"dims {cube.dims}" if isinstance(cube, xr.DataArray) else _what(cube)
        raise InputError(f"Expected {name} as an xarray.DataArray with dims {_DIMS}, found {found}. {_cure(cube)}")
    check_array(cube, name)
    if "time" in cube.coords and not (
        np.issubdtype(cube["time"].dtype, np.datetime64) and (np.diff(cube["time"].values) >= np.timedelta64(0)).all()
    ):
        raise InputError(
            f"The dates of {name} are {cube['time'].dtype} and not all in order; expected datetime64, none missing. "
            "Use cube.sortby('time'), or cube.assign_coords(time=pandas.to_datetime(...))."
        )
    missing = [d for d in _DIMS if d not in cube.coords]
    if missing or 0 in cube.shape:
        raise InputError(
            f"Expected {name} with coordinates along {_DIMS} and at least one entry each; found shape "
            f"{cube.shape} and no coordinate {missing}. s2koop.load returns such a cube."
        )


def _cure(cube: object) -> str:
    """How to make a cube out of what was given in its place."""
    if isinstance(cube, xr.Dataset):
        variable = next(iter(map(str, cube.data_vars)), "reflectance")
        return f"Give one of its variables, such as dataset[{variable!r}]; results follow after the cube."
    if not isinstance(cube, xr.DataArray):
        return "s2koop.load returns such a cube."
    if set(cube.dims) == set(_DIMS):
        return "Bring the dims into order with cube.transpose('time', 'band', 'y', 'x')."
    if missing := [dim for dim in _DIMS if dim not in cube.dims]:
        return f"Add what is missing with cube.expand_dims({missing}), or select with a list: cube.sel(band=['B8A'])."
    return f"Choose along {[dim for dim in cube.dims if dim not in _DIMS]} with cube.isel(...)."


def check_grid(cube: xr.DataArray, name: str, values: xr.DataArray) -> None:
    check_cube(values, name)
    same_pixels(cube, name, values)


def check_breaks(cube: xr.DataArray, breaks: object) -> xr.Dataset:
    if not isinstance(breaks, xr.Dataset) or "break_date" not in breaks or breaks["break_date"].dims != ("y", "x"):
        raise InputError(
            f"breaks is {_what(breaks)}; expected what cube.koopman.monitor(...) returns, with break_date (y, x)."
        )
    same_pixels(cube, "breaks", breaks["break_date"])
    return breaks[["break_date"]].compute()


def known_region(region: object, shape: tuple[int, int]) -> Box:
    try:
        r0, c0, r1, c1 = (operator.index(i) for i in region)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(
            f"region is {region!r}; expected first row, first column, and the row and column behind the last."
        ) from None
    if not (0 <= r0 < r1 <= shape[0] and 0 <= c0 < c1 <= shape[1]):
        raise InputError(
            f"region {(r0, c0, r1, c1)} is empty or lies outside the cube of {shape[0]} rows and {shape[1]} columns; "
            "give first row, first column, and the row and column behind the last."
        )
    return r0, c0, r1, c1


def same_pixels(
    cube: xr.DataArray | xr.Dataset, name: str, values: xr.DataArray | xr.Dataset, *, of: str = "the cube"
) -> None:
    for dim in ("y", "x"):
        ours, theirs = cube[dim].values, values[dim].values
        step = abs(ours[1] - ours[0]) if ours.size > 1 else 1.0
        if ours.size != theirs.size or np.abs(ours - theirs).max() > step / 4:
            raise InputError(
                f"{name!r} and {of} have no common grid: {dim} has {theirs.size} values from {theirs[0]} to "
                f"{theirs[-1]}, {of} {ours.size} from {ours[0]} to {ours[-1]}. "
                "Load both with the same resolution and bbox, or use other.rio.reproject_match(...)."
            )


def given_limits(
    limits: Mapping[str, tuple[float, float]] | None,
) -> dict[tuple[str, str], tuple[float, float]]:
    if limits is not None and not isinstance(limits, Mapping):
        raise InputError(f"limits is {limits!r}; expected a range per band, such as {{'B8A': (0, 0.5)}}.")
    given: Limits = {}
    for band, pair in (limits or {}).items():
        given[("reflectance", band)] = _low_and_high(band, pair)
    return given


def _low_and_high(band: str, pair: object) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in pair)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(f"limits[{band!r}] is {pair!r}; expected two numbers, such as (0, 0.5).") from None
    if not -np.inf < low < high < np.inf:
        raise InputError(f"limits[{band!r}] is ({low}, {high}); expected two finite numbers, the lower value first.")
    return low, high


def known_pixel(pixel: object, shape: tuple[int, int]) -> tuple[int, int]:
    try:
        row, col = (operator.index(i) for i in pixel)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(f"pixel is {pixel!r}; expected row and column as whole numbers, such as (10, 20).") from None
    rows, cols = shape
    if not (0 <= row < rows and 0 <= col < cols):
        raise InputError(
            f"Pixel (row {row}, column {col}) lies outside the cube; "
            f"rows run from 0 to {rows - 1} and columns from 0 to {cols - 1}."
        )
    return row, col


def known_level(level: float) -> float:
    if not isinstance(level, numbers.Real) or not 0 < level < 1:
        raise InputError(f"level is {level!r}; the coverage of an interval lies between 0 and 1, such as 0.9.")
    return float(level)

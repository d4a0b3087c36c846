"""Cubes as they come from real archives, drawn by hypothesis: gaps, odd dates, any chunks, any dtype, bare or labelled.

`cubes` draws what every verb has to take, `broken` gives what it has to refuse. Values come from a seed, so that an
example shrinks by its structure: fewer dates, one pixel, no gap, one chunk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: ``S2KOOP_HYPOTHESIS=thorough`` asks for a thousand times the examples: for a night, not for each change.
THOROUGH = os.environ.get("S2KOOP_HYPOTHESIS") == "thorough"

#: What hides observations, and for how much of a cube.
GAPS = ("none", "some", "most", "dates", "bands", "pixels", "all")
#: Days over which dates are spread.
_DAYS = 700
_EPOCH = np.datetime64("2018-03-01", "ns")


def examples(quick: int) -> Callable[[Any], Any]:
    """So many examples in the usual suite, the same in each run; many new ones where it is asked to be thorough."""
    return settings(
        max_examples=1000 * quick if THOROUGH else quick,
        derandomize=not THOROUGH,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


def dates(*, least: int = 1, most: int = 8) -> st.SearchStrategy[np.ndarray]:
    """Sorted dates: irregular, some within a second of each other, some repeated."""
    day = st.one_of(st.integers(0, _DAYS), st.floats(0, _DAYS, allow_nan=False, allow_subnormal=False))
    return st.lists(day, min_size=least, max_size=most).map(_as_dates)


def _as_dates(days: Sequence[float]) -> np.ndarray:
    return _EPOCH + (np.sort(np.asarray(days, float)) * 86_400_000).round().astype("timedelta64[ms]")


def chunkings(sizes: Mapping[Any, int]) -> st.SearchStrategy[dict[Any, Any]]:
    """Chunks for each dim: whole, of one, larger than the dim, or uneven."""
    return st.fixed_dictionaries({dim: _cuts(size) for dim, size in sizes.items()})


def _cuts(size: int) -> st.SearchStrategy[Any]:
    ends = st.sets(st.integers(1, max(size - 1, 1)), max_size=3).map(
        lambda cuts: tuple(np.diff([0, *sorted(cut for cut in cuts if cut < size), size]).tolist())
    )
    return st.one_of(st.just(-1), st.just(1), st.just(size + 3), ends)


@st.composite
def cubes(
    draw: st.DrawFn,
    *,
    bands: Sequence[str] = ("B04", "B08"),
    least_dates: int = 1,
    most_dates: int = 8,
    most_side: int = 4,
    gaps: Sequence[str] = GAPS,
    dtypes: Sequence[str] = ("float32", "float64", "float16"),
    subset: bool = True,
    turned: bool = True,
    extremes: bool = False,
    least_side: int = 1,
    always: Sequence[str] = (),
) -> xr.DataArray:
    """A cube in memory, dims (time, band, y, x) in any order, which every verb has to take.

    Parameters
    ----------
    bands : sequence of str
        That may be there: in any order, and not all of them where `subset`.
    least_dates, most_dates, least_side, most_side : int
    gaps : sequence of str
        Among `GAPS`.
    dtypes : sequence of str
    subset, turned : bool
        Whether bands may be missing, and dims stand in another order.
    extremes : bool
        Whether single values are infinite, negative, huge or those that stand for no observation.
    always : sequence of str
        What is not left out, such as ``"places"``.
    """
    names = draw(st.permutations(list(bands)))
    names = names[: draw(st.integers(1, len(names)))] if subset else names
    times = draw(dates(least=least_dates, most=most_dates))
    shape = (len(times), len(names), draw(st.integers(least_side, most_side)), draw(st.integers(least_side, most_side)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = _seasons(rng, times, shape)
    hidden = draw(st.sampled_from(list(gaps)))
    values[_hidden(rng, shape, hidden)] = np.nan
    if extremes:
        _spoil(rng, values, draw(st.sampled_from(["none", "inf", "negative", "huge", "fill"])))
    coords = {"time": times, "band": list(names)} | _places(shape)
    with np.errstate(over="ignore"):  # half precision ends at 65504: larger values become infinite, as they would
        values = values.astype(draw(st.sampled_from(list(dtypes))))
    cube = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords, name=draw(st.sampled_from([None, "r"])))
    cube = draw(_labels(cube, always))
    if turned and draw(st.booleans()):
        cube = cube.transpose(*draw(st.permutations(list(cube.dims))))
    return cube


def _seasons(rng: np.random.Generator, times: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Reflectance of land: a season for each band, a level for each pixel, and noise."""
    year = ((times - _EPOCH) / np.timedelta64(1, "D"))[:, None, None, None] / 365.25
    level = rng.uniform(0.05, 0.4, (1, *shape[1:]))
    return level * (1 + 0.3 * np.cos(2 * np.pi * year + rng.uniform(0, 6))) + rng.normal(0, 0.01, shape)


def _hidden(rng: np.random.Generator, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Which values are missing."""
    share = {"none": 0.0, "some": 0.3, "most": 0.9, "all": 1.0}.get(what, 0.1)
    hidden = rng.random(shape) < share
    kept = {"dates": (0,), "bands": (1,), "pixels": (2, 3)}.get(what)
    if kept is not None:
        whole = rng.random([size if axis in kept else 1 for axis, size in enumerate(shape)]) < 0.5
        hidden |= whole
    return hidden


def _spoil(rng: np.random.Generator, values: np.ndarray, what: str) -> None:
    """Put values into a few places that no surface has."""
    odd = {
        "none": (),
        "inf": (np.inf, -np.inf),
        "negative": (-0.05, -3.0),
        "huge": (1e4, 65535.0, 1e300),
        "fill": (-9999.0, 1e20),
    }[what]
    for value in odd:
        values.flat[rng.integers(values.size)] = value


def _places(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"y": 5_000_000.0 - 20.0 * np.arange(shape[2]), "x": 400_000.0 + 20.0 * np.arange(shape[3])}


@st.composite
def _labels(draw: st.DrawFn, cube: xr.DataArray, always: Sequence[str]) -> xr.DataArray:
    """The cube with what `load` writes beside the pixels, or with some of it, or with none."""
    count = cube.sizes["time"]
    some = {
        "platform": ("time", [f"sentinel-2{'ab'[i % 2]}" for i in range(count)]),
        "cloud_cover": ("time", np.linspace(0, 100, count)),
        "id": ("time", [f"scene {i}" for i in range(count)]),
        "title": ("band", [f"band {name}" for name in cube["band"].values]),
    }
    kept = draw(st.sets(st.sampled_from([*some, "crs", "attrs", "places"]))) | set(always)
    if "crs" in kept:
        cube = cube.rio.write_crs(32635)
    if "places" not in kept:
        cube = cube.drop_vars(["y", "x"])
    cube = cube.assign_coords({name: value for name, value in some.items() if name in kept})
    attrs = {"level": "BOA", "sensor": "S2A", "units": "1", "history": "drawn", "scale_factor": 2.0}
    return cube.assign_attrs(attrs if "attrs" in kept else {})


def broken(cube: xr.DataArray, fault: str) -> Any:
    """What a cube must not be, by the name of the `FAULTS`, from a good one of two dates and two bands or more."""
    return _FAULTS[fault](cube)


_FAULTS: Mapping[str, Callable[[xr.DataArray], Any]] = {
    "no xarray": lambda cube: cube.values,
    "nothing": lambda cube: None,
    "a dataset": lambda cube: cube.to_dataset(name="r"),
    "no time": lambda cube: cube.isel(time=0),
    "no band": lambda cube: cube.isel(band=0),
    "no y": lambda cube: cube.isel(y=0),
    "one dim more": lambda cube: cube.expand_dims("member"),
    "no dates": lambda cube: cube.isel(time=slice(0)),
    "no bands": lambda cube: cube.isel(band=slice(0)),
    "no pixels": lambda cube: cube.isel(x=slice(0)),
    "no labels of dates": lambda cube: cube.drop_vars("time"),
    "no labels of bands": lambda cube: cube.drop_vars("band"),
    "numbers for dates": lambda cube: cube.assign_coords(time=np.arange(cube.sizes["time"])),
    "words for dates": lambda cube: cube.assign_coords(time=[str(day)[:10] for day in cube["time"].values]),
    "unsorted": lambda cube: cube.assign_coords(time=pd.date_range("2020", periods=cube.sizes["time"])[::-1]),
    "a date that is none": lambda cube: cube.assign_coords(
        time=np.append(cube["time"].values[:-1], np.datetime64("NaT"))
    ),
    "a band twice": lambda cube: cube.assign_coords(band=[cube["band"].values[0]] * cube.sizes["band"]),
    "an unknown band": lambda cube: cube.assign_coords(band=[f"{name}?" for name in cube["band"].values]),
    "digital numbers": lambda cube: (cube.fillna(0.2) * 10000).astype("uint16"),
    "words": lambda cube: cube.astype(str),
    "complex numbers": lambda cube: cube.astype(complex),
    "truth": lambda cube: cube > 0.1,
}
FAULTS = tuple(_FAULTS)


def same(found: Any, wanted: Any, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Assert that two results agree: labels and attributes exactly, values exactly or within tolerances."""
    assert type(found) is type(wanted)
    found, wanted = (one.to_dataset(name="value") if isinstance(one, xr.DataArray) else one for one in (found, wanted))
    assert list(found.data_vars) == list(wanted.data_vars)
    _same_words(found, wanted)
    xr.testing.assert_identical(found.coords.to_dataset().compute(), wanted.coords.to_dataset().compute())
    for name, variable in wanted.data_vars.items():
        other = found[name]
        assert other.dims == variable.dims
        assert other.dtype == variable.dtype
        _same_words(other, variable)
        np.testing.assert_allclose(
            other.values, variable.values, rtol=rtol, atol=atol, err_msg=str(name), equal_nan=True
        ) if variable.dtype.kind == "f" else np.testing.assert_array_equal(other.values, variable.values, str(name))


def _same_words(found: Any, wanted: Any) -> None:
    """Attributes may be arrays, which do not compare to one truth."""
    xr.testing.assert_identical(xr.Dataset(attrs=found.attrs), xr.Dataset(attrs=wanted.attrs))

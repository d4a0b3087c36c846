"""What holds of every verb, whatever the cube: each law is a function of a verb and a cube that asserts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from hypothesis import reject
from hypothesis import strategies as st

from s2koop.errors import S2koopError, S2koopWarning
from tests.trust.strategies import chunkings, cubes, same

Result = xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class Verb:
    """A verb with its arguments, and what may be asked of it.

    Attributes
    ----------
    call : callable
        From a cube to a result.
    rtol, atol : float
        How far the same numbers may differ where sums run in another order: over other tiles, threads or dates.
    only : frozenset of str
        Names of the laws that hold of it; all by default.
    cubes : mapping
        Options of `tests.trust.strategies.cubes` that it needs.
    """

    call: Callable[[xr.DataArray], Result]
    rtol: float = 0.0
    atol: float = 0.0
    only: frozenset[str] = frozenset({"pixels", "dates", "bands", "unseen"})
    cubes: Mapping[str, Any] = field(default_factory=dict)


def is_lazy(result: Result) -> bool:
    """Whether dask backs a result: all of its numbers, or none of them."""
    arrays = result.data_vars.values() if isinstance(result, xr.Dataset) else [result]
    lazy = {array.chunks is not None for array in arrays if array.ndim}
    assert len(lazy) <= 1, "some variables of the result are lazy and others are not"
    return lazy == {True}


def leaves_its_input_alone(verb: Verb, cube: xr.DataArray) -> Result:
    """Values, labels, attributes and encoding of a cube are after a call what they were; gives the result."""
    before, encoding = cube.copy(deep=True), dict(cube.encoding)
    result = verb.call(cube)
    xr.testing.assert_identical(cube, before)
    assert cube.name == before.name
    assert cube.encoding == encoding
    for name, coord in before.coords.items():
        assert cube[name].dtype == coord.dtype
    return result


def is_sound(result: Result, cube: xr.DataArray) -> None:
    """No infinite number, no negative spread; pixels in their places, in the CRS of the cube."""
    variables = result.data_vars if isinstance(result, xr.Dataset) else {"value": result}
    for name, variable in variables.items():
        values = variable.values
        if values.dtype.kind == "f":
            assert not np.isinf(values).any(), f"{name} holds infinite numbers"
        if str(name).startswith("spread"):
            assert not (values < 0).any(), f"{name} is negative"
            if name == "spread" and "mean" in variables:
                known = np.isfinite(values)
                assert np.isfinite(variables["mean"].values[known]).all(), "a spread around no mean"
    for dim in ("y", "x"):
        if dim in result.dims and dim in cube.coords and result.sizes[dim] == cube.sizes[dim]:
            xr.testing.assert_equal(result[dim].variable, cube[dim].variable)
    if "spatial_ref" in cube.coords and "y" in result.dims:
        assert result.rio.crs == cube.rio.crs


def is_the_same_in_chunks(verb: Verb, cube: xr.DataArray, chunks: Mapping[Any, Any], wanted: Result) -> None:
    """A lazy cube gives a lazy result with the same numbers, however it is cut; one in memory gives one in memory."""
    assert not is_lazy(wanted)
    lazy = verb.call(cube.chunk(chunks))
    assert is_lazy(lazy)
    same(lazy.compute(scheduler="sync"), wanted, rtol=verb.rtol, atol=verb.atol)


def follows_pixels(verb: Verb, cube: xr.DataArray, seed: int, wanted: Result) -> None:
    """Pixels in another order give the same numbers in that order."""
    rng = np.random.default_rng(seed)
    order = {dim: rng.permutation(cube.sizes[dim]) for dim in ("y", "x")}
    same(verb.call(cube.isel(order)), wanted.isel(order), rtol=verb.rtol, atol=verb.atol)


def passes_over_an_empty_date(verb: Verb, cube: xr.DataArray, at: float) -> None:
    """A date on which nothing was seen, between two others, changes no number."""
    first, last = cube["time"].values[[0, -1]]
    blank = cube.isel(time=[0]).drop_vars([n for n, c in cube.coords.items() if "time" in c.dims])
    blank = xr.full_like(blank, np.nan).assign_coords(time=[first + (last - first) * at])
    bare = cube.drop_vars([name for name, coord in cube.coords.items() if "time" in coord.dims and name != "time"])
    more = xr.concat([bare, blank.transpose(*cube.dims)], "time", coords="minimal", compat="override", join="override")
    more = more.sortby("time").transpose(*cube.dims).assign_attrs(cube.attrs)
    same(_numbers(verb.call(more)), _numbers(verb.call(bare)), rtol=verb.rtol, atol=verb.atol)


def passes_over_the_order_of_bands(verb: Verb, cube: xr.DataArray, wanted: Result) -> None:
    """Bands in another order give the same numbers for each band."""
    found = verb.call(cube.isel(band=slice(None, None, -1)))
    if "band" in wanted.dims:
        found = found.sel(band=wanted["band"].values)
    same(_numbers(found), _numbers(wanted), rtol=verb.rtol, atol=verb.atol)


def knows_nothing_of_unseen_pixels(cube: xr.DataArray, wanted: Result) -> None:
    """A pixel in which nothing was ever seen is NaN throughout, and 0 where numbers are whole."""
    unseen = ~np.isfinite(cube).any([dim for dim in cube.dims if dim not in ("y", "x")])
    for name, variable in (wanted.data_vars if isinstance(wanted, xr.Dataset) else {"value": wanted}).items():
        if {"y", "x"} <= set(variable.dims) and variable.dtype.kind == "f":
            assert not bool((variable.notnull() & unseen).any()), f"{name} is told where nothing was seen"


def without_counts(result: xr.Dataset) -> xr.Dataset:
    """A result without what a minimiser did on its way: iterations may differ where the numbers agree."""
    return result.drop_vars(["iterations", "cost", "misfit"], errors="ignore")


def _numbers(result: Result) -> xr.Dataset:
    """A result without words about it, which say how many dates there were."""
    found = result if isinstance(result, xr.Dataset) else result.to_dataset(name="value")
    return xr.Dataset({name: variable.drop_attrs() for name, variable in found.data_vars.items()}).drop_attrs()


def obey(verb: Verb, data: st.DataObject) -> None:
    """Draw a cube and its chunks, and hold a verb against every law that is said to hold of it."""
    extremes = data.draw(st.booleans(), label="extremes")
    cube = data.draw(cubes(**{"extremes": extremes, **verb.cubes}), label="cube")
    chunks = data.draw(chunkings(cube.sizes), label="chunks")
    seed, at = data.draw(st.integers(0, 99), label="seed"), data.draw(st.floats(0, 1), label="at")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", S2koopWarning)  # values of the extremes look like digital numbers
        try:
            result = leaves_its_input_alone(verb, cube)
        except S2koopError:
            reject()  # refused, as too few dates or too many absurd values may be
        try:
            _hold(verb, cube, chunks, seed, at, result)
        except S2koopError:
            if not extremes:
                raise
            reject()  # digital numbers are looked for on some dates, and in blocks


def _hold(verb: Verb, cube: xr.DataArray, chunks: Mapping[Any, Any], seed: int, at: float, result: Result) -> None:
    is_sound(result, cube)
    is_the_same_in_chunks(verb, cube, chunks, result)
    if "unseen" in verb.only:
        knows_nothing_of_unseen_pixels(cube, result)
    if "pixels" in verb.only:
        follows_pixels(verb, cube, seed, result)
    if "dates" in verb.only:
        passes_over_an_empty_date(verb, cube, at)
    if "bands" in verb.only:
        passes_over_the_order_of_bands(verb, cube, result)

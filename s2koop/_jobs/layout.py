"""A lazy dataset as regions: the blocks of one regular grid of chunks, each of which is written at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.base
import numpy as np
import xarray as xr

from s2koop._jobs.checks import plain
from s2koop.errors import InputError

#: Kinds of NumPy that are written as they are.
_NUMBERS = "biufc"
#: Values of a coordinate that is read at once.
_SMALL = 100_000
#: Words that link variables: xarray keeps them apart from attributes, rioxarray among these.
_LINKS = ("grid_mapping", "coordinates", "bounds")
#: Encodings that are kept, of links and dates: others were made for the values, or the format, of another file.
_KEPT_ENCODING = (*_LINKS, "units", "calendar")


@dataclass(frozen=True)
class Layout:
    """What is written, and how it is cut.

    Attributes
    ----------
    dataset : Dataset
        Its lazy variables have regular chunks: all of one size along a dim, but the last.
    sizes : mapping of str to int
        Dims that are cut, with the size of a region along each.
    stored : mapping of str to int
        Sizes of chunks in the store, where they are smaller than a region.
    """

    dataset: xr.Dataset
    sizes: Mapping[str, int]
    stored: Mapping[str, int]

    @property
    def lazy(self) -> list[str]:
        """Names of the variables and coordinates that are computed."""
        return _lazy(self.dataset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Regions along each of the dims that are cut."""
        return tuple(-(-self.dataset.sizes[dim] // size) for dim, size in self.sizes.items())

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def chunks(self, name: str) -> tuple[int, ...]:
        """Sizes of the chunks of a variable, none larger than the variable."""
        variable = self.dataset.variables[name]
        sizes = zip(variable.dims, variable.chunks or (), strict=False)
        return tuple(max(min(self.stored.get(str(dim), of[0]), of[0]), 1) for dim, of in sizes)

    @property
    def dates(self) -> list[str]:
        """Names of the variables that hold dates or spans of time."""
        return [str(name) for name, variable in self.dataset.variables.items() if variable.dtype.kind in "mM"]

    def encoding(self) -> dict[str, dict[str, Any]]:
        """How variables lie in the store: in chunks, and without a value of xarray's own for what is missing."""
        found: dict[str, dict[str, Any]] = {
            name: {"chunks": self.chunks(name)} for name in self.lazy if self.chunks(name)
        }
        for name, variable in self.dataset.variables.items():
            if variable.dtype.kind == "f" and "_FillValue" not in variable.attrs:
                found.setdefault(str(name), {})["_FillValue"] = None
        return found

    def identity(self) -> str:
        """A digest of the computation: dask names its arrays by what was asked, of which data, with which options."""
        names = [(name, self.dataset.variables[name].data.name) for name in self.lazy]
        return str(dask.base.tokenize(names))


def layout(result: xr.Dataset, stored: Mapping[str, int] | None = None) -> Layout:
    """Cut a result where its chunks end; where these are irregular, along regular ones of the largest size.

    Parameters
    ----------
    result : Dataset
    stored : mapping of str to int, optional
        Sizes of chunks in the store; each divides that of a region.

    Raises
    ------
    InputError
        If a lazy variable holds dates or objects, which have no place in a store before they are known; or a chunk of
        the store would reach over the end of a region, so that two tasks wrote it.
    """
    whole = with_small_coords(result)
    if not _lazy(whole):  # one region
        whole = whole.assign({n: v.chunk() for n, v in whole.data_vars.items() if v.dtype.kind in _NUMBERS})
    for name in _lazy(whole):
        if whole.variables[name].dtype.kind not in _NUMBERS:
            raise InputError(
                f"the lazy variable {name!r} has dtype {whole.variables[name].dtype}; numbers are written region by "
                f"region, others have to be known before: {name}.load() it, or drop it"
            )
    united = whole.unify_chunks()
    lazy = _lazy(united)
    cuts = {str(dim): max(sizes) for dim, sizes in united.chunksizes.items() if len(sizes) > 1}
    regular = {}
    for name in lazy:
        variable = united.variables[name]
        wanted = {dim: cuts[dim] for dim in variable.dims if dim in cuts and _irregular(united.chunksizes[dim])}
        made = variable.chunk(wanted) if wanted else variable
        regular[name] = made
    return Layout(_tidy(united.assign(regular)), cuts, _checked(stored or {}, united, cuts))


def _tidy(dataset: xr.Dataset) -> xr.Dataset:
    """Text as objects, since text of fixed length has no place in Zarr v3; links and dates alone keep encodings."""
    made = {}
    for name, variable in dataset.variables.items():
        new = variable.astype(object) if variable.dtype.kind == "U" else variable.copy(deep=False)
        encoding = {key: value for key, value in variable.encoding.items() if key in _KEPT_ENCODING}
        if new.dtype.kind not in "mM":
            encoding = {key: value for key, value in encoding.items() if key in _LINKS}
        new.encoding = encoding | {key: new.attrs[key] for key in _LINKS if key in new.attrs}
        new.attrs = _simple({key: value for key, value in new.attrs.items() if key not in _LINKS})
        made[name] = new
    coords = {name: variable for name, variable in made.items() if name in dataset.coords}
    tidy = dataset.assign({n: v for n, v in made.items() if n not in coords}).assign_coords(coords)
    tidy.attrs = _simple(dataset.attrs)
    return tidy


def _simple(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Lists and mappings without numbers of NumPy inside, which the writer of attributes does not know."""
    return {key: plain(value) if isinstance(value, Mapping | list | tuple) else value for key, value in attrs.items()}


def _checked(stored: Mapping[str, int], dataset: xr.Dataset, cuts: Mapping[str, int]) -> dict[str, int]:
    for dim, size in stored.items():
        if dim not in dataset.sizes:
            raise InputError(f"chunks names {dim!r}; the dims of the result are {', '.join(map(str, dataset.sizes))}")
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise InputError(f"chunks[{dim!r}]={size!r} must be a whole number from 1 on")
        if dim in cuts and cuts[dim] % size:
            raise InputError(
                f"chunks[{dim!r}]={size} does not divide a region, which has {cuts[dim]} along {dim!r}; give a "
                f"divisor, or rechunk the result to a multiple of {size} first"
            )
    return {dim: int(size) for dim, size in stored.items()}


def with_small_coords(dataset: xr.Dataset) -> xr.Dataset:
    """Coordinates that are small in memory, all at once: a cube from a store has lazy ones, of text too."""
    small = {n: c for n, c in dataset.coords.items() if c.chunks is not None and c.size <= _SMALL}
    found = dask.compute({name: coord.variable for name, coord in small.items()})[0]
    return dataset.assign_coords(found)


def _lazy(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name, variable in dataset.variables.items() if variable.chunks is not None]


def _irregular(sizes: tuple[int, ...]) -> bool:
    return len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]


def region(sizes: Mapping[str, int], index: Mapping[str, int], dims: tuple[str, ...]) -> tuple[slice, ...] | None:
    """Where a region lies in a variable; None where another region of the same place writes it.

    Parameters
    ----------
    sizes : mapping of str to int
        Size of a region along the dims that are cut.
    index : mapping of str to int
        The region's place along each of these.
    dims : tuple of str
        Those of the variable.
    """
    if any(at for dim, at in index.items() if dim not in dims):
        return None
    return tuple(
        slice(index[dim] * sizes[dim], (index[dim] + 1) * sizes[dim]) if dim in index else slice(None) for dim in dims
    )


def numbers(layout: Layout, dims: Sequence[str]) -> np.ndarray:
    """The number of each region, with an axis for each of some dims, whether they are cut or not."""
    order = [list(layout.sizes).index(dim) for dim in dims if dim in layout.sizes]
    sizes = [layout.shape[list(layout.sizes).index(dim)] if dim in layout.sizes else 1 for dim in dims]
    return np.arange(layout.count).reshape(layout.shape).transpose(order).reshape(sizes)

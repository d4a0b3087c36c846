"""Samples of an embedding: all its dims but ``feature`` stacked, with labels, groups and coordinates beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop.errors import InputError
from s2koop.ssl.folds import spatial_blocks

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """An embedding as a table.

    Attributes
    ----------
    frame : DataArray
        Zeros with the dims and coordinates of samples, in their order.
    rows : mapping of str to array (sample, feature)
    labels : anything
        As given, computed.
    """

    frame: xr.DataArray
    rows: Mapping[str, Array]
    labels: Any

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(self.frame.size)

    @property
    def coordinates(self) -> dict[str, Array]:
        """Every coordinate, one value a sample; positions of dims without any."""
        bare = {dim: np.arange(size) for dim, size in self.frame.sizes.items() if dim not in self.frame.coords}
        known = self.frame.assign_coords(bare)
        return {str(name): _spread(coordinate, known) for name, coordinate in known.coords.items()}


def sample_dims(embedding: Any) -> tuple[str, ...]:
    """The dims of samples, in their order.

    Raises
    ------
    InputError
        If this is no embedding.
    """
    if not isinstance(embedding, xr.DataArray):
        raise InputError(f"the embedding is a {type(embedding).__name__}; expected a DataArray with a dim 'feature'")
    if "feature" not in embedding.dims:
        raise InputError(f"the embedding has dims {tuple(embedding.dims)}, without 'feature'; make one with ssl.embed")
    if 0 in embedding.shape:
        raise InputError(f"the embedding is empty: {dict(embedding.sizes)}")
    return tuple(str(dim) for dim in embedding.dims if dim != "feature")


def frame_of(embedding: xr.DataArray) -> xr.DataArray:
    """Dims and coordinates of samples, without values."""
    dims = sample_dims(embedding)
    coords = {name: c for name, c in embedding.coords.items() if c.dims and set(c.dims) <= set(dims)}
    blank = np.broadcast_to(np.float32(0), tuple(embedding.sizes[dim] for dim in dims))
    return xr.DataArray(blank, dims=dims, coords=coords)


def gather(embedding: xr.DataArray, arrays: Mapping[str, xr.DataArray], labels: Any) -> Samples:
    """All values, computed in one go, as tables with the order of samples.

    Parameters
    ----------
    embedding : DataArray (..., feature)
        Gives the samples.
    arrays : mapping of str to DataArray (..., feature)
        On the same dims or some of them.
    labels : anything
        Computed together with the rest where it is of xarray.

    Returns
    -------
    Samples

    Raises
    ------
    InputError
        If dims or coordinates do not fit.
    """
    frame = frame_of(embedding)
    aligned = {}
    for name, values in arrays.items():
        sample_dims(values)
        aligned[name] = _onto(values, frame, f"features {name!r}")
    wanted = labels
    if isinstance(labels, xr.Dataset):
        wanted = labels.to_array("target")
    if isinstance(wanted, xr.DataArray):
        wanted = _onto(wanted, frame, "labels")
    computed, wanted = dask.compute(aligned, wanted)
    rows = {name: _table(values, frame, f"features {name!r}") for name, values in computed.items()}
    return Samples(frame, rows, wanted)


def as_labels(samples: Samples) -> tuple[Sequence[Any] | None, Any]:
    """Names of the columns, where they have any, and labels (sample,) or (sample, column)."""
    labels = samples.labels
    if not isinstance(labels, xr.DataArray):
        if len(np.atleast_1d(np.asarray(labels))) != samples.size:
            raise InputError(
                f"labels have shape {np.shape(labels)} for {samples.size} samples {dict(samples.frame.sizes)}; "
                "labels of one dim alone need its name: xr.DataArray(labels, dims='image')"
            )
        return (list(labels.columns) if isinstance(labels, pd.DataFrame) else None), labels
    extra = [dim for dim in labels.dims if dim not in samples.frame.dims]
    table = _table(labels, samples.frame, "labels")
    names = list(labels[extra[0]].values) if extra and extra[0] in labels.coords else None
    return names, table if extra else table[:, 0]


def as_groups(samples: Samples, groups: Any) -> Array | None:
    """A group for each sample, from a name, the side of blocks, or values."""
    if groups is None:
        return None
    if isinstance(groups, str):
        known = samples.coordinates
        if groups not in known:
            raise InputError(f"there is no dim or coordinate {groups!r} to group by; there are {', '.join(known)}")
        return known[groups]
    if isinstance(groups, Real) and not isinstance(groups, bool):
        return _blocks(samples, float(groups))
    return _values(samples, groups, "groups")


def as_mask(samples: Samples, train: Any) -> Array | None:
    """A fixed split, one value a sample."""
    return None if train is None else _values(samples, train, "train")


def default_groups(samples: Samples, labels: Any, folds: int) -> Array | None:
    """Groups that keep neighbours together where patches have any; see `probe_embedding`."""
    frame = samples.frame
    ground = [dim for dim in ("y", "x") if frame.sizes.get(dim, 1) > 1]
    if not ground:
        return None
    labels = np.asarray(labels).reshape(*frame.shape, -1)
    others = [dim for dim in frame.dims if dim not in ("y", "x") and frame.sizes[dim] > 1]
    if others and all(_constant(labels, frame.get_axis_num(dim)) for dim in ground):
        varying = [dim for dim in others if not _constant(labels, frame.get_axis_num(dim))] or others
        # An image at another time is the same image, so time groups only where nothing else does.
        chosen = next((dim for dim in varying if dim != "time"), varying[0])
        return np.indices(frame.shape)[frame.get_axis_num(chosen)].ravel()
    return _blocks(samples, _block_size(samples, ground, folds))


def _constant(labels: Array, axis: int) -> bool:
    """Whether labels do not change along an axis; missing ones do not count."""
    first = np.take(labels, [0], axis=axis)
    missing = pd.isna(labels) | pd.isna(first)
    return bool(((labels == first) | missing).all())


def _block_size(samples: Samples, ground: Sequence[str], folds: int) -> float:
    """Side of blocks, some four of which make a fold; no smaller than a patch."""
    places = [np.unique(samples.coordinates[dim].astype(np.float64)) for dim in ground]
    steps = [float(np.diff(place).min()) for place in places]
    extents = [float(np.ptp(place)) + step for place, step in zip(places, steps, strict=True)]
    # As many blocks as asked for, if the ground is cut into equal parts along each dim.
    return max(float(np.prod(extents) / (4 * folds)) ** (1 / len(ground)), max(steps))


def _blocks(samples: Samples, size: float) -> Array:
    known = samples.coordinates
    missing = [name for name in ("y", "x") if name not in known]
    if missing:
        raise InputError(f"blocks of {size:g} need coordinates y and x of samples; {', '.join(missing)} is not there")
    return spatial_blocks(known["y"], known["x"], size)


def _values(samples: Samples, values: Any, name: str) -> Array:
    if isinstance(values, xr.DataArray):
        return _table(_onto(values, samples.frame, name).compute(), samples.frame, name)[:, 0]
    found = np.asarray(values)
    if found.shape != (samples.size,):
        raise InputError(f"{name} has shape {found.shape}; expected ({samples.size},), one for each sample")
    return found


def _onto(values: xr.DataArray, frame: xr.DataArray, name: str) -> xr.DataArray:
    """Values in the order of the frame along the dims they share, NaN where they have none; lazy ones stay so."""
    for dim in (dim for dim in values.dims if dim in frame.dims):
        if dim in values.indexes and dim in frame.indexes:
            ours, theirs = frame.indexes[dim], values.indexes[dim]
            if ours.equals(theirs):
                continue
            if not theirs.is_unique:
                raise InputError(
                    f"{name} repeat coordinates along {dim!r}; make them unique, or in the embedding's order"
                )
            if not theirs.isin(ours).any():
                raise InputError(f"{name} have no coordinate along {dim!r} in common with the embedding")
            values = values.astype(float) if values.dtype == bool else values
            values = values.reindex({dim: ours})
        elif values.sizes[dim] != frame.sizes[dim]:
            raise InputError(f"{name} have {values.sizes[dim]} along {dim!r}, the embedding {frame.sizes[dim]}")
    return values


def _table(values: xr.DataArray, frame: xr.DataArray, name: str) -> Array:
    """Aligned values as (sample, column), each held for the dims of samples that it lacks."""
    extra = [dim for dim in values.dims if dim not in frame.dims]
    if len(extra) > 1:
        raise InputError(f"{name} have dims {tuple(values.dims)}; expected some of {tuple(frame.dims)} and one more")
    bare = values.variable
    sizes = {**frame.sizes, **({extra[0]: values.sizes[extra[0]]} if extra else {})}
    return bare.set_dims(sizes).transpose(*sizes).values.reshape(frame.size, -1)


def _spread(coordinate: xr.DataArray, frame: xr.DataArray) -> Array:
    return coordinate.variable.set_dims(frame.sizes).transpose(*frame.dims).values.ravel()

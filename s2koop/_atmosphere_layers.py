"""What a dashboard of corrections compares: reflectance in layers, checked, named, on common dates and pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._session_input import same_pixels
from s2koop.ac.lut import AEROSOLS
from s2koop.errors import InputError

Kind = Literal["TOA", "result", "live", "reference"]

#: Lines of one spectrum that every eye can tell apart: two results more than the one that is opened.
MAX_OTHERS = 2

TOA, LIVE, REFERENCE = "TOA", "inverted live", "reference"

_DIMS = ("time", "band", "y", "x")


@dataclass(frozen=True)
class Layer:
    """One cube of reflectance: ``data`` holds ``mean`` and maybe ``spread``, dims (time, band, y, x)."""

    name: str
    kind: Kind
    data: xr.Dataset

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(map(str, self.data["band"].values))

    @property
    def lazy(self) -> bool:
        return bool(self.data.chunks)

    def number(self, band: str) -> int | None:
        """Where a band stands, None if it is not there."""
        return self.bands.index(band) if band in self.bands else None


def layers(
    result: Any, toa: Any, reference: Any, others: Mapping[str, Any] | None, name: str | None
) -> dict[str, Layer]:  # fmt: skip
    """Everything that can be shown, in its order: TOA, results, the live inversion's place is the caller's, reference.

    Raises
    ------
    InputError
        If something is no reflectance of the kind that is expected, lies on another grid, or names repeat.
    """
    main = Layer(name or own_name(result), "result", _parts("the result", result, "BOA"))
    found = [] if toa is None else [Layer(TOA, "TOA", _toa(toa, main.data))]
    found.append(main)
    if len(others or {}) > MAX_OTHERS:
        raise InputError(f"{len(others or {})} other results were given; a view holds at most {MAX_OTHERS}")
    given: list[tuple[str, Kind, Any]] = [(str(key), "result", value) for key, value in (others or {}).items()]
    if reference is not None:
        given.append((REFERENCE, "reference", reference))
    for key, kind, value in given:
        data = _parts(repr(key), value, "BOA")
        same_pixels(main.data, key, data, of="the result")
        found.append(Layer(key, kind, _on_dates(key, data, main.data)))
    names = [layer.name for layer in found]
    if len({*names, LIVE}) <= len(names):
        raise InputError(f"the names {names} repeat, or one is {LIVE!r}; give every result a name of its own")
    return {layer.name: layer for layer in found}


def own_name(result: Any) -> str:
    """What a result calls the way it was made."""
    method = str(getattr(result, "attrs", {}).get("ac_method", ""))
    if not method:
        return "result"
    return f"inverted ({method})" if method in ("lut", "smac") else f"emulated ({method})"


def aerosol_of(result: xr.Dataset) -> str:
    """The aerosol's model of a result, the likeliest where it weighs several."""
    said = str(result.attrs.get("aerosol_model", ""))
    if said in AEROSOLS:
        return said
    if "aerosol_probability" in result:
        share = result["aerosol_probability"]
        share = share.mean([dim for dim in share.dims if dim != "aerosol"])
        if np.isfinite(share.values).any():
            return str(share["aerosol"].values[int(np.nanargmax(share.values))])
    return "continental"


def _parts(name: str, value: Any, level: str) -> xr.Dataset:
    """Mean and, where there is one, spread as (time, band, y, x), with nothing else."""
    if isinstance(value, xr.Dataset) and "mean" in value:
        found = value[[key for key in ("mean", "spread") if key in value]]
    elif isinstance(value, xr.DataArray):
        found = value.to_dataset(name="mean")
    else:
        raise InputError(
            f"{name} is a {type(value).__name__}; expected what .ac.invert or .ac.emulate return, or a DataArray of "
            "surface reflectance"
        )
    mean = found["mean"]
    _check_dims(name, mean)
    if mean.attrs.get("level", level) != level:
        raise InputError(f"{name} is reflectance at the level {mean.attrs['level']!r}; expected {level!r}")
    kept = [c for c in found.coords if c in (*_DIMS, "spatial_ref")]
    return _four(found.drop_vars([c for c in found.coords if c not in kept]))


def _toa(value: Any, main: xr.Dataset) -> xr.Dataset:
    """The scene that was corrected, with all its coordinates: they say angles and sensor of each date."""
    if not isinstance(value, xr.DataArray):
        raise InputError(f"toa is a {type(value).__name__}; expected the DataArray that was corrected")
    _check_dims("toa", value)
    data = _four(value.to_dataset(name="mean"))
    same_pixels(main, "toa", data, of="the result")
    dates = main.indexes.get("time")
    own = data.indexes.get("time")
    if dates is None or own is None:
        if data.sizes["time"] != main.sizes["time"]:
            raise InputError(f"toa has {data.sizes['time']} dates, the result {main.sizes['time']}")
        return data
    if own.equals(dates):
        return data
    place = own.drop_duplicates().get_indexer(dates)
    if (place < 0).any():
        raise InputError(
            f"toa has no {str(dates[int(np.argmin(place))])[:16]}, which the result has; give the scene it was made of"
        )
    return data.isel(time=np.flatnonzero(~own.duplicated())[place])


def _check_dims(name: str, values: xr.DataArray) -> None:
    if set(values.dims) - {"time"} != {"band", "y", "x"} or "band" not in values.coords or 0 in values.shape:
        raise InputError(
            f"{name} has dims {dict(values.sizes)}; expected ([time], band, y, x) with names of bands; keep a dim by "
            "selecting with a list, such as scene.isel(time=[0])"
        )


def _four(data: xr.Dataset) -> xr.Dataset:
    if "time" not in data.dims:
        data = data.expand_dims("time")  # with its coordinate, where the scene knows its date
    bare = {dim: np.arange(data.sizes[dim], dtype=float) for dim in ("y", "x") if dim not in data.coords}
    return data.assign_coords(bare).transpose(*_DIMS, ...)


def _on_dates(name: str, data: xr.Dataset, main: xr.Dataset) -> xr.Dataset:
    """Put on the dates of the result, NaN where there is none within half a day."""
    dates, own = main.indexes.get("time"), data.indexes.get("time")
    if dates is None or own is None:
        if data.sizes["time"] != main.sizes["time"]:
            raise InputError(f"{name!r} has {data.sizes['time']} dates, the result {main.sizes['time']}")
        data = data.drop_vars("time", errors="ignore")
        return data if dates is None else data.assign_coords(time=dates)
    if own.equals(dates):
        return data
    near = data.drop_duplicates("time").sortby("time").reindex(time=dates, method="nearest", tolerance="12h")
    if not near.indexes["time"].size or not (_distance(dates, own) <= np.timedelta64(12, "h")).any():
        raise InputError(f"{name!r} has no date in common with the result: {own[0]} to {own[-1]}")
    return near


def _distance(dates: Any, own: Any) -> npt.NDArray[np.timedelta64]:
    return np.abs(np.asarray(dates)[:, None] - np.asarray(own)[None]).min(axis=1)

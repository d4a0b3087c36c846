"""The two sides of an adaptation: what images of each are, and whether they pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from s2koop._crs import crs_of
from s2koop.errors import InputError

#: Pixels of two grids are of one size up to this share.
_SAME = 0.01


class Side(NamedTuple):
    """What images of one side are.

    Attributes
    ----------
    bands : tuple of str
        In the order in which they pair with those of the other side.
    sensor : str
        Empty where the images did not say.
    level : str
        ``"TOA"`` or ``"BOA"``; empty where they did not say.
    """

    bands: tuple[str, ...]
    sensor: str
    level: str


def paired(source: xr.DataArray, target: xr.DataArray, bands: Mapping[str, str] | None) -> tuple[Side, Side]:
    """Both sides, checked before any pixel is read."""
    named = [_bands_of(as_images(cube, label)[0], label) for cube, label in ((source, "source"), (target, "target"))]
    if bands is not None:
        if not isinstance(bands, Mapping) or not bands:
            raise InputError(f"bands={bands!r} must map bands of the target to bands of the source, such as "
                             "{'BLUE': 'B02'}")  # fmt: skip
        named = [[str(band) for band in bands.values()], [str(band) for band in bands]]
        if len(set(named[0])) < len(named[0]):
            raise InputError(f"bands={dict(bands)!r} names a band of the source twice; every band may stand once")
    elif len(named[0]) != len(named[1]):
        raise InputError(
            f"the source has the bands {', '.join(named[0])}, the target {', '.join(named[1])}: select as many of "
            "each, or say bands={'BLUE': 'B02', ...}, from target to source"
        )
    elif any(a in named[1] and named[1].index(a) != at for at, a in enumerate(named[0])):
        raise InputError(
            f"bands pair by position, but {', '.join(named[0])} and {', '.join(named[1])} share names in another "
            "order; reorder one, or say bands= from target to source"
        )
    levels = [level_of(cube) for cube in (source, target)]
    if all(levels) and levels[0] != levels[1]:
        raise InputError(f"the source has level {levels[0]}, the target {levels[1]}; give images of one level")
    _check_pixels(source, target)
    sides = [Side(tuple(names), str(cube.attrs.get("sensor", "")), level)
             for names, cube, level in zip(named, (source, target), levels, strict=True)]  # fmt: skip
    for cube, side, label in zip((source, target), sides, ("source", "target"), strict=True):
        select(as_images(cube, label)[0], side.bands, label)
    return sides[0], sides[1]


def as_images(cube: Any, label: str) -> tuple[xr.DataArray, str | None]:
    """The cube with dims (image, band, y, x), and what images were called, None where it is one."""
    if not isinstance(cube, xr.DataArray):
        raise InputError(f"the {label} is a {type(cube).__name__}; expected a DataArray of reflectance")
    lead = [str(dim) for dim in cube.dims if dim not in ("band", "y", "x")]
    if len(lead) > 1 or not {"band", "y", "x"} <= set(cube.dims):
        raise InputError(
            f"the {label} has dims {tuple(cube.dims)}; expected ('band', 'y', 'x'), with 'time' or 'scene' before"
        )
    if 0 in cube.shape:
        raise InputError(f"the {label} has the sizes {dict(cube.sizes)}; was a selection empty?")
    if not np.issubdtype(cube.dtype, np.floating):
        raise InputError(
            f"the {label} has dtype {cube.dtype}; expected reflectance in 0..1 as floating point numbers: s2koop.load "
            "scales as the metadata say"
        )
    images = cube.rename({lead[0]: "image"}) if lead else cube.expand_dims("image")
    return images.transpose("image", "band", "y", "x"), (lead[0] if lead else None)


def _bands_of(cube: xr.DataArray, label: str) -> list[str]:
    if "band" not in cube.coords:
        raise InputError(f"the {label} has no coordinate 'band'; name its bands: assign_coords(band=...)")
    names = [str(band) for band in cube["band"].values]
    if len(set(names)) < len(names):
        raise InputError(f"the bands {', '.join(names)} of the {label} repeat; every band may stand once")
    return names


def select(images: xr.DataArray, bands: tuple[str, ...], label: str) -> xr.DataArray:
    """Some bands, in an order."""
    names = _bands_of(images, label)
    lacking = [band for band in bands if band not in names]
    if lacking:
        raise InputError(f"the {label} has the bands {', '.join(names)}; {', '.join(lacking)} is missing")
    order = [names.index(band) for band in bands]
    return images if order == list(range(len(names))) else images.isel(band=order)


def level_of(cube: xr.DataArray) -> str:
    named = str(cube.attrs.get("level", "")).upper()
    return {"L1C": "TOA", "L2A": "BOA"}.get(named, named)


def _check_pixels(source: xr.DataArray, target: xr.DataArray) -> None:
    """Refuse pixels of different sizes, where both say theirs in one unit."""
    sizes, units = [], []
    for cube in (source, target):
        if "x" not in cube.coords or cube.sizes["x"] < 2:
            return
        crs = crs_of(cube)
        sizes.append(float(np.abs(np.diff(cube["x"].values)).mean()))
        units.append(None if crs is None else crs.is_projected)
    if None not in units and units[0] != units[1]:
        return
    if abs(sizes[0] - sizes[1]) > _SAME * max(sizes):
        raise InputError(
            f"pixels of the source are {sizes[0]:g} wide, those of the target {sizes[1]:g}; bring both to one size "
            "first, such as with s2koop.load(..., resolution=...) or .coarsen"
        )

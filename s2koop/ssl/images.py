"""What embeddings take for images: any array with y and x, with or without bands and further dims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._numbers import whole
from s2koop.errors import InputError

#: Smallest side of an image in pixels that the networks can halve as often as they do.
LEAST = 16


def check_images(images: xr.DataArray, patch: int) -> None:
    """Refuse what patches cannot be cut from.

    Raises
    ------
    InputError
        If y or x are missing or shorter than a patch, or values are no numbers.
    """
    whole("patch", patch, least=LEAST)
    lacking = [dim for dim in ("y", "x") if dim not in images.dims]
    if lacking:
        raise InputError(
            f"images have dims {tuple(images.dims)}; 'y' and 'x' are needed, rename those of yours to them"
        )
    if images.dtype.kind not in "uif":
        raise InputError(f"images have dtype {images.dtype}; real numbers are needed")
    if not images.size:
        raise InputError(f"there are no images: {dict(images.sizes)}")
    for dim in ("y", "x"):
        if images.sizes[dim] < patch:
            raise InputError(
                f"images have {images.sizes[dim]} pixels in {dim}, fewer than a patch of {patch}; give a smaller patch="
            )


def check_step(patch: int, stride: int) -> None:
    """Refuse sides and steps that no patch can have."""
    whole("patch", patch, least=1)
    whole("stride", stride, least=1)


def band_names(images: xr.DataArray) -> tuple[str, ...]:
    """Names of the bands; none where there is no such dim."""
    if "band" not in images.dims:
        return ()
    if "band" not in images.coords:
        return tuple(str(i) for i in range(images.sizes["band"]))
    return tuple(str(name) for name in images["band"].values)


def with_bands(images: xr.DataArray, bands: Sequence[str]) -> xr.DataArray:
    """Images with the bands that an encoder takes, in its order.

    Raises
    ------
    InputError
        If a band is missing.
    """
    found = band_names(images)
    if not bands:
        if images.sizes.get("band", 1) != 1:
            raise InputError(
                f"the encoder takes images of one band, these have {len(found)} ({', '.join(found)}); select one, such "
                f"as images.sel(band={found[0]!r})"
            )
        return images
    if not found:
        raise InputError(f"the encoder takes the bands {', '.join(bands)}; these images have no dim 'band'")
    missing = [band for band in bands if band not in found]
    if missing:
        raise InputError(f"the encoder takes the bands {', '.join(bands)}; the images lack {', '.join(missing)}")
    order = [found.index(band) for band in bands]
    return images if order == list(range(len(found))) else images.isel(band=order)


def with_bands_first(images: xr.DataArray) -> xr.DataArray:
    """Images with dims (..., band, y, x)."""
    banded = images if "band" in images.dims else images.expand_dims("band")
    return banded.transpose(..., "band", "y", "x")


def pixel_size(images: xr.DataArray) -> float:
    """Size of a pixel in the units of y, which are m for projected images; 0 where they do not say."""
    if "y" not in images.coords or images.sizes["y"] < 2 or images["y"].dtype.kind not in "uif":
        return 0.0
    ends = images["y"].values[[0, -1]].astype(float)
    return float(abs(ends[1] - ends[0]) / (images.sizes["y"] - 1))


def sensor_of(images: xr.DataArray) -> str:
    """Sensor as the images say it."""
    said: Any = images.attrs.get("sensor", "")
    return str(said) if isinstance(said, str) else ", ".join(map(str, np.atleast_1d(said)))


def seen_enough(patches: npt.NDArray[Any], max_missing: float) -> npt.NDArray[np.bool_]:
    """Whether patches (n, band, y, x) miss no more than a share of their values, and not all."""
    if patches.dtype.kind != "f":
        return np.ones(len(patches), bool)
    missing = np.isnan(patches).mean((1, 2, 3))
    return (missing <= max_missing) & (missing < 1)


__all__ = [
    "LEAST",
    "band_names",
    "check_images",
    "check_step",
    "pixel_size",
    "seen_enough",
    "sensor_of",
    "with_bands",
    "with_bands_first",
]

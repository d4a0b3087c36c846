"""Which bands of images make a picture: one, or three as red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from s2koop.errors import InputError

TRUE_COLOUR = ("B04", "B03", "B02")


def picture_bands(images: xr.DataArray, bands: Sequence[str] | None) -> xr.DataArray:
    """Images with the one or three bands that are asked for; by default true colour where there is, else the first.

    Images without bands get a dim of one, without a coordinate.

    Raises
    ------
    InputError
        If a band is not there, or their number is neither one nor three.
    """
    if "band" not in images.dims:
        if bands is not None:
            raise InputError(f"bands={list(bands)} were asked for, but images have no dim 'band'")
        return images.drop_vars("band", errors="ignore").expand_dims("band")
    known = [str(band) for band in images["band"].values]
    if bands is None:
        wanted = list(TRUE_COLOUR) if set(TRUE_COLOUR) <= set(known) else known[:1]
    else:
        wanted = [bands] if isinstance(bands, str) else [str(band) for band in bands]
    unknown = [band for band in wanted if band not in known]
    if unknown or len(wanted) not in (1, 3):
        raise InputError(f"bands={wanted} must be one or three of {', '.join(known)}")
    return images.isel(band=[known.index(band) for band in wanted])

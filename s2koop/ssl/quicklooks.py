"""Quicklooks of Sentinel-1's wave mode, as one array: at a common pixel size, or as WV-Net wants them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch.nn import functional

from s2koop._numbers import real
from s2koop.errors import InputError
from s2koop.ssl._wvnet import cropped

#: Side of a vignette in m, along azimuth and range.
SIDE = 20_000.0
#: Pixels on a side that are unpacked: a small file can hold an image of any size.
_LONGEST_SIDE = 8192
_NAME = re.compile(r"(s1[a-d])-(wv[12])-ql-(vv|hh)-(\d{8}t\d{6})-", re.IGNORECASE)


def read_quicklooks(
    source: str | Path | Sequence[str | Path], *, pixel: float | None = 50.0, legacy_pad: bool = True
) -> xr.DataArray:
    """Read quicklooks (PNG) of wave-mode vignettes.

    Parameters
    ----------
    source : path or sequence of paths
        A folder, all of whose PNG files are read in the order of their names, or files.
    pixel : float, optional
        Size of a pixel in m to which images are brought, averaging where they are finer: 50 for encoders that were
        trained on `s2koop.simulate.ocean_scenes`. None cuts the middle 450 x 450 pixels as they are, for WV-Net.
    legacy_pad : bool
        With ``pixel=None``: pad small images as the published code of WV-Net does.

    Returns
    -------
    DataArray, dims (image, y, x), uint8
        Grey levels. ``image`` holds names of files; ``y`` (azimuth) and ``x`` (range) are in m from the corner, where a
        vignette is taken for 20 x 20 km; ``time``, ``platform``, ``beam`` and ``polarisation`` follow from the names.

    Raises
    ------
    InputError
        If there is no image, or one is none.

    Examples
    --------
    >>> read_quicklooks("quicklooks/").ssl.embed("wave-geometry")  # doctest: +SKIP
    """
    files = _files(source)
    if pixel is not None and real("pixel", pixel, least=0) < 10:
        raise InputError(f"pixel={pixel} m is finer than a vignette; give 10 or more")
    grey = [_grey(file) for file in files]
    if pixel is None:
        images = [cropped(torch.from_numpy(image)[None], legacy_pad=legacy_pad)[0].numpy() for image in grey]
        step = SIDE / 489  # of rows, the usual number
    else:
        images, step = [_resampled(image, round(SIDE / pixel)) for image in grey], pixel
    stacked = np.stack(images)
    coords: dict[str, Any] = {"image": [file.stem for file in files]}
    for dim, size in zip(("y", "x"), stacked.shape[1:], strict=True):
        coords[dim] = (dim, (np.arange(size) + 0.5) * step, {"units": "m"})
    found = [_NAME.match(file.name) for file in files]
    if all(found):
        parts = [match.groups() for match in found if match]
        coords["time"] = ("image", np.array([_time(part[3]) for part in parts], "datetime64[ns]"))
        for name, at in (("platform", 0), ("beam", 1), ("polarisation", 2)):
            coords[name] = ("image", [part[at].upper() for part in parts])
    about = {"long_name": "grey level", "units": "1", "sensor": "SAR", "title": "Sentinel-1 wave-mode quicklooks"}
    return xr.DataArray(stacked, dims=("image", "y", "x"), coords=coords, attrs=about, name="image_levels")


def _files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(source, str | Path):
        path = Path(source)
        files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    else:
        files = [Path(path) for path in source]
    if not files:
        raise InputError(f"{source} holds no PNG files; give a folder of quicklooks, or files")
    for file in files:
        if not file.is_file():
            raise InputError(f"there is no file {file}")
    return files


def _grey(file: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=["PNG"]) as image:
                if max(image.size) > _LONGEST_SIDE:
                    raise InputError(
                        f"{file} has {image.size[0]} x {image.size[1]} pixels; quicklooks have some 500 on a side"
                    )
                return np.array(image.convert("L"))
    except InputError:
        raise
    except Exception as error:  # Pillow raises whatever its parsing stumbles over
        raise InputError(f"{file} is no PNG that can be read ({type(error).__name__})") from error


def _resampled(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """The image at another size, averaged where that is coarser."""
    values = torch.from_numpy(image).float()[None, None]
    found = functional.interpolate(values, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return found[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()


def _time(text: str) -> np.datetime64:
    day, clock = text.lower().split("t")
    return np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}", "ns")


__all__ = ["read_quicklooks"]

"""Embeddings of image patches and of pixel series, as lazy as what they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from s2koop._array_checks import check_array, check_dates
from s2koop._fill import masked
from s2koop._numbers import real
from s2koop._time import to_days
from s2koop._warn import warn_user
from s2koop.engine import Output, check_device, map_patches, map_pixels
from s2koop.errors import InputError, S2koopWarning
from s2koop.ssl.encoder import Encoder
from s2koop.ssl.images import check_images, check_step, pixel_size, with_bands

#: Pixels of another size than an encoder's by more than this factor show other things at the same place of a filter.
_SCALES_APART = 1.5
#: Patches in one call of a network, by default.
TILE = 32


def embed(
    images: xr.DataArray,
    encoder: Encoder,
    *,
    patch: int | None = None,
    stride: int | None = None,
    max_missing: float = 0.0,
    tile: int = TILE,
    device: str = "cpu",
    progress: bool = True,
) -> xr.DataArray:
    """Embed patches or pixel series; see `s2koop.ssl.accessor` for the arguments."""
    device = check_device(device)
    if encoder.settings.reads_series:
        return _series(images, encoder, device, progress)
    side = encoder.settings.patch if patch is None else patch
    step = side if stride is None else stride
    check_images(images, side)
    check_step(side, step)
    if real("max_missing", max_missing, least=0) >= 1:
        raise InputError(f"max_missing={max_missing} is a share of a patch; give less than 1")
    chosen = with_bands(masked(images), encoder.settings.bands)
    _compare_pixels(chosen, encoder)
    found = map_patches(
        chosen, _patches, patch=side, stride=step, output=_output(encoder), max_missing=max_missing, tile=tile,
        model=encoder if chosen.chunks is None else encoder.reference(), device=device,
        progress="embed" if progress else None,
    )  # fmt: skip
    return found.assign_attrs(_attrs(images, encoder, side, step, max_missing)).rename("embedding")


def _series(cube: xr.DataArray, encoder: Encoder, device: str, progress: bool) -> xr.DataArray:
    """Embeddings (y, x, feature) of the pixels of a cube."""
    check_array(cube, f"{encoder.name} reads pixel series; the cube", ("time", "band", "y", "x"))
    check_dates(cube, "the cube of pixel series")
    chosen = with_bands(masked(cube), encoder.settings.bands)
    days = to_days(chosen["time"].values)
    found = map_pixels(
        chosen, _pixels, outputs={"embedding": _output(encoder)}, tile=1024, device=device,
        model=encoder if chosen.chunks is None else encoder.reference(), options={"days": days.tolist()},
        progress="embed" if progress else None,
    )["embedding"].transpose("y", "x", "feature")  # fmt: skip
    return found.assign_attrs(_attrs(cube, encoder, 1, 1, 1.0)).rename("embedding")


def _patches(encoder: Encoder, patches: Tensor) -> Tensor:
    return encoder(patches)


def _pixels(encoder: Encoder, values: Tensor, *, days: list[float]) -> dict[str, Tensor]:
    return {"embedding": encoder(values, torch.tensor(days, dtype=torch.float32, device=values.device))}


def _output(encoder: Encoder) -> Output:
    return Output({"feature": np.arange(encoder.features)})


def _attrs(images: xr.DataArray, encoder: Encoder, patch: int, stride: int, max_missing: float) -> dict[str, Any]:
    """What an embedding is of, in words that files can hold."""
    s = encoder.settings
    return {
        "long_name": "embedding", "units": "1", "encoder": encoder.name, "encoder_digest": encoder.digest,
        "patch": patch, "stride": stride, "sensor": s.sensor or str(images.attrs.get("sensor", "")), "policy": s.policy,
        "forgets": s.forgets, "max_missing": float(max_missing),
    }  # fmt: skip


def _compare_pixels(images: xr.DataArray, encoder: Encoder) -> None:
    trained, here = encoder.settings.pixel, pixel_size(images)
    if trained and here and not 1 / _SCALES_APART <= here / trained <= _SCALES_APART:
        warn_user(
            S2koopWarning(
                f"pixels are {here:g} m apart and {encoder.name} was trained at {trained:g} m: it will see other "
                "things in the same shapes; resample the images, such as with images.coarsen(y=2, x=2).mean()"
            )
        )


__all__ = ["TILE", "embed"]

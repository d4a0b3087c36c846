"""What an embedding has to beat: simpler features of the same samples, and the encoder before its training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from s2koop._cache import cache_dir
from s2koop._model_file import load_content
from s2koop._time import to_days
from s2koop.engine import Output, map_patches, map_pixels
from s2koop.errors import InputError, ModelError
from s2koop.koopman import embedding as koopman_embedding
from s2koop.koopman.model import FORMAT as KOOPMAN_FORMAT
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.model import load as load_koopman
from s2koop.ssl.embed import embed
from s2koop.ssl.encoder import FORMAT, Encoder, load
from s2koop.ssl.features import handmade, handmade_series
from s2koop.ssl.images import pixel_size, with_bands


def compared(
    embedding: xr.DataArray, images: xr.DataArray, *, encoder: Any = None, progress: bool = True
) -> dict[str, xr.DataArray]:
    """Rows to set beside an embedding, on its own samples.

    Parameters
    ----------
    embedding : DataArray (..., feature)
        From `embed` or `KoopmanModel.embed`.
    images : DataArray
        What was embedded.
    encoder : Encoder or KoopmanModel, optional
        What made the embedding; found in the cache by default.
    progress : bool

    Returns
    -------
    dict of str to DataArray (..., feature)
        ``statistics`` and, for SAR, ``spectrum`` and both together; or ``raw series``; and ``untrained``.

    Raises
    ------
    InputError
        If the array is no embedding, or the images are not what was embedded.
    ModelError
        If the encoder is not in the cache.
    """
    made = encoder if encoder is not None else _made_by(embedding)
    if made.digest != embedding.attrs.get("encoder_digest", made.digest):
        raise InputError(f"encoder= is not what made this embedding ({embedding.attrs.get('encoder')})")
    if isinstance(made, KoopmanModel):
        rows = {"raw series": _series(images, list(made.bands), progress)}
        rows["untrained"] = koopman_embedding.embed(images, koopman_embedding.untrained(made), progress=progress)
    elif made.settings.reads_series:
        rows = {"raw series": _series(images, list(made.settings.bands), progress)}
        rows["untrained"] = embed(images, made.untrained(), progress=progress)
    else:
        rows = _patches(embedding, images, made, progress)
    for row in rows.values():
        _compare(embedding, row)
    return rows


def _patches(
    embedding: xr.DataArray, images: xr.DataArray, encoder: Encoder, progress: bool
) -> dict[str, xr.DataArray]:
    """Rows of image patches."""
    chosen = with_bands(images, encoder.settings.bands)
    side, step = int(embedding.attrs["patch"]), int(embedding.attrs["stride"])
    missing = float(embedding.attrs["max_missing"])

    def mapped(**options: Any) -> xr.DataArray:
        size = handmade(None, torch.zeros(1, encoder.settings.channels, side, side), **options).shape[1]
        return map_patches(
            chosen, handmade, patch=side, stride=step, output=Output({"feature": np.arange(size)}), options=options,
            max_missing=missing, progress="features" if progress else None,
        )  # fmt: skip

    rows = {}
    if embedding.attrs.get("sensor") == "SAR":
        waves = mapped(kind="spectrum", pixel=pixel_size(chosen) or 1.0)
        _compare(embedding, waves)
        name = str(embedding.attrs.get("encoder", "embedding"))
        rows[f"{name} + spectrum"] = xr.concat([_bare(embedding), _bare(waves)], "feature", join="override")
        rows["spectrum"] = waves
    rows["statistics"] = mapped(kind="statistics")
    rows["untrained"] = embed(
        images, encoder.untrained(), patch=side, stride=step, max_missing=missing, progress=progress
    )
    return rows


def _bare(values: xr.DataArray) -> xr.DataArray:
    return values.drop_vars("feature", errors="ignore").drop_attrs()


def _series(cube: xr.DataArray, bands: list[str], progress: bool) -> xr.DataArray:
    """The series themselves (y, x, feature), without gaps."""
    known = [band for band in bands if band in cube["band"].values]
    chosen = cube.sel(band=known)
    days = to_days(chosen["time"].values).tolist()
    size = handmade_series(None, torch.zeros(1, len(days), len(known)), days=days)["embedding"].shape[1]
    found = map_pixels(
        chosen, handmade_series, outputs={"embedding": Output({"feature": np.arange(size)})}, options={"days": days},
        progress="features" if progress else None,
    )  # fmt: skip
    return found["embedding"].transpose("y", "x", "feature")


def _made_by(embedding: xr.DataArray) -> Encoder | KoopmanModel:
    """The encoder of an embedding, from the cache."""
    if "feature" not in embedding.dims or "encoder_digest" not in embedding.attrs:
        raise InputError("this array is no embedding of .ssl.embed: it lacks the dim 'feature' or attributes")
    digest = str(embedding.attrs["encoder_digest"])
    path = cache_dir() / "models" / f"{digest}.safetensors"
    if not digest.isalnum() or not path.is_file():
        raise ModelError(f"the encoder {embedding.attrs.get('encoder')!r} is not in the cache; give encoder= it")
    header, _ = load_content(path, formats=(FORMAT, KOOPMAN_FORMAT))
    found: Encoder | KoopmanModel = load(path) if header["format"] == FORMAT else load_koopman(path)
    if found.digest != digest:
        raise ModelError(f"the encoder {embedding.attrs.get('encoder')!r} in the cache is damaged; give encoder= it")
    return found


def _compare(embedding: xr.DataArray, row: xr.DataArray) -> None:
    """Refuse images that are not those of the embedding."""
    here = {dim: size for dim, size in embedding.sizes.items() if dim != "feature"}
    there = {dim: size for dim, size in row.sizes.items() if dim != "feature"}
    if here != there:
        raise InputError(
            f"these images give {there} patches and the embedding has {here}; give the images it was made of"
        )


__all__ = ["compared"]

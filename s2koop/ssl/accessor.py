"""The ``.ssl`` accessor: parses and delegates; the work is in `pretraining`, `embed`, `probe` and `retrieval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from s2koop.ssl.encoder import Encoder
    from s2koop.ssl.series_views import SeriesViews
    from s2koop.ssl.views import Views


@xr.register_dataarray_accessor("ssl")
class EmbeddingAccessor:
    """Encoders of images without labels, and what their embeddings are good for.

    On images ([time or any other dims], [band], y, x): `pretrain` and `embed`. On embeddings (..., y, x, feature):
    `probe`, `search`, `scatter` and `to_zarr`.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self._array.sizes.items())
        of = "an embedding" if "feature" in self._array.dims else "images"
        does = "probe, search, scatter, to_zarr" if "feature" in self._array.dims else "pretrain, embed"
        return f"<ssl accessor of {of} ({sizes}): {does}>"

    def pretrain(
        self,
        policy: str | Views | SeriesViews,
        *,
        steps: int = 500,
        batch: int = 96,
        patch: int | None = None,
        backbone: str | None = None,
        width: int = 0,
        temperature: float = 0.2,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        projection: int = 64,
        max_missing: float = 0.0,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        name: str = "",
        checkpoint: str | Path | None = None,
        progress: bool = True,
    ) -> Encoder:
        """Train an encoder on the images themselves, without labels, by SimCLR.

        Two views of one patch shall be nearer to each other than to any other patch of the batch. What the views differ
        in is what the embedding forgets: the policy decides what it is good for. Batches are cut from a few chunks at a
        time, in random order, so that data larger than memory serve.

        Parameters
        ----------
        policy : {"geometry", "semantic", "reflectance", "series"}, Views or SeriesViews
            ``"geometry"`` keeps scale and direction (wave height, wavelength, heading). ``"semantic"`` keeps phenomena,
            whatever their scale, direction and brightness. ``"reflectance"`` is for several bands: gain of each band,
            haze, missing bands, crops and turns. ``"series"`` is for pixel series (time, band, y, x): dates that are
            missing, cloudy weeks, shifted seasons. Own ones: `s2koop.ssl.Views`, `s2koop.ssl.SeriesViews`.
        steps, batch : int
            Steps of the training, and patches in each.
        patch : int, optional
            Side in pixels of the patches that views are cut from; 128 by default, or the whole image if that is less.
        backbone : {"texture", "resnet18", "resnet50"}, optional
            Of images; a small texture network by default. Minutes on a processor do not train a ResNet.
        width : int
            Of the first layer; the usual one of the backbone by default.
        temperature, learning_rate, weight_decay, projection
            As `s2koop.ssl.PretrainSettings`.
        max_missing : float
            Share of the values of a patch that may be NaN (images).
        seed : int
            Of weights, batches and views.
        device : str
            Such as ``"cuda"``.
        precision : {"float32", "bf16"}
        name : str
            What embeddings will call the encoder.
        checkpoint : path, optional
            A file that the training is saved to every 50 steps, and when it is interrupted; the same call on the same
            data goes on from it. It is deleted at the end.
        progress : bool
            Show a bar.

        Returns
        -------
        Encoder

        Raises
        ------
        InputError
            If the images cannot be cut into patches, a band never changes, or no patch is free of gaps.
        ModelError
            If the checkpoint is of another training.

        Examples
        --------
        >>> import numpy as np, xarray as xr, s2koop
        >>> images = xr.DataArray(np.random.default_rng(0).random((12, 32, 32)), dims=("image", "y", "x"))
        >>> images.ssl.pretrain("geometry", steps=2, batch=8, width=4, progress=False).settings.forgets
        'absolute brightness, and what lies where in the image'

        References
        ----------
        Chen, Kornblith, Norouzi, Hinton (2020), A Simple Framework for Contrastive Learning of Visual Representations.
        Glaser et al. (2024), WV-Net, arXiv:2406.18765.
        """
        from s2koop.ssl.pretraining import PretrainSettings, pretrain_images, pretrain_series
        from s2koop.ssl.series_views import SeriesViews

        settings = PretrainSettings(
            steps=steps, batch=batch, temperature=temperature, learning_rate=learning_rate, weight_decay=weight_decay,
            projection=projection, seed=seed, precision=precision, device=device,
        )  # fmt: skip
        common: dict[str, Any] = {"width": width, "name": name, "checkpoint": checkpoint, "progress": progress}
        if policy == "series" or isinstance(policy, SeriesViews):
            views = policy if isinstance(policy, SeriesViews) else None
            return pretrain_series(self._array, views, settings, **common)
        side = min(128, *(self._array.sizes.get(dim, 128) for dim in ("y", "x"))) if patch is None else patch
        return pretrain_images(
            self._array, policy, settings, patch=side, backbone=backbone or "texture", max_missing=max_missing, **common
        )

    def embed(
        self,
        encoder: Encoder | str | Path,
        *,
        patch: int | None = None,
        stride: int | None = None,
        max_missing: float = 0.0,
        tile: int = 32,
        device: str = "cpu",
        progress: bool = True,
    ) -> xr.DataArray:
        """Embed every patch, or every pixel's series, lazily where the images are dask-backed.

        Parameters
        ----------
        encoder : Encoder, name or path
            What `pretrain` gave, a shipped encoder (`s2koop.ssl.shipped`), or a file.
        patch : int, optional
            Side in pixels; that of the encoder's training by default.
        stride : int, optional
            Pixels from one patch to the next; `patch` by default, so that patches do not overlap.
        max_missing : float
            Share of the values of a patch that may be NaN, and are then taken for the band's mean; other patches give
            NaN throughout.
        tile : int
            Patches in one call of the network: what bounds its memory.
        device : str
        progress : bool
            Show a bar; images in memory only.

        Returns
        -------
        DataArray
            ``embedding``, float32: the other dims of the images, then y and x (centres of patches) and feature; for
            encoders of pixel series (y, x, feature). Patches start at the first pixel; what is left at the other edge
            is not embedded. Attributes name encoder, digest, patch and stride.

        Raises
        ------
        InputError
            If bands are missing, or images are smaller than a patch.

        Examples
        --------
        >>> import numpy as np, xarray as xr, s2koop
        >>> image = xr.DataArray(np.random.default_rng(0).random((128, 256)), dims=("y", "x"))
        >>> image.ssl.embed("wave-geometry", stride=64, progress=False).sizes["x"]
        3
        """
        from s2koop.ssl.embed import embed
        from s2koop.ssl.encoder import Encoder, load

        chosen = encoder if isinstance(encoder, Encoder) else load(encoder)
        return embed(
            self._array, chosen, patch=patch, stride=stride, max_missing=max_missing, tile=tile, device=device,
            progress=progress,
        )  # fmt: skip

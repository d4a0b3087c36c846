"""The ``.ssl`` accessor: parses and delegates; the work is in `pretraining`, `embed`, `probe` and `retrieval`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    import holoviews as hv

    from s2koop.live.embedding import EmbeddingDashboard
    from s2koop.ssl.encoder import Encoder
    from s2koop.ssl.probing import ProbeResult
    from s2koop.ssl.series_views import SeriesViews
    from s2koop.ssl.views import Views


@xr.register_dataarray_accessor("ssl")
class EmbeddingAccessor:
    """Encoders of images without labels, and what their embeddings are good for.

    On images ([time or any other dims], [band], y, x): `pretrain`, `embed` and `gallery`. On embeddings (..., y, x,
    feature): `probe`, `search`, `scatter`, `dashboard` and `to_zarr`.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self._array.sizes.items())
        of = "an embedding" if "feature" in self._array.dims else "images"
        does = (
            "probe, search, scatter, dashboard, to_zarr"
            if "feature" in self._array.dims
            else "pretrain, embed, gallery"
        )
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
        chosen.reference()  # in the cache, where `probe` finds it again
        return embed(
            self._array, chosen, patch=patch, stride=stride, max_missing=max_missing, tile=tile, device=device,
            progress=progress,
        )  # fmt: skip

    def probe(
        self,
        labels: Any,
        images: xr.DataArray,
        *,
        task: str = "regression",
        groups: Any = None,
        train: Any = None,
        encoder: Any = None,
        folds: int = 5,
        budgets: Sequence[int] | None = None,
        draws: int = 5,
        seed: int = 0,
        progress: bool = True,
    ) -> ProbeResult:
        """Train a linear head on the embedding, beside what it has to beat, on the same samples held out.

        The rows of the result: the embedding; the embedding with the image spectrum (SAR); the spectrum (SAR); raw
        statistics of the patches, or the raw series; the same encoder untrained; and the mean of the labels. Where a
        simpler row wins, the result says so.

        Parameters
        ----------
        labels : DataArray, Dataset, array, Series or DataFrame
            Numbers; directions in degrees, where those 180 apart are the same; tags of 0 and 1 along one more dim; or
            classes. A DataArray may have some of the dims of the embedding: one label an image holds for all of its
            patches. Anything else has one row a sample.
        images : DataArray
            What was embedded: simpler features of the same patches are taken from it.
        task : {"regression", "direction", "multilabel", "classification"}
        groups : str, float, array or DataArray, optional
            Samples of one group are never in training and held out at once: name of a dim or coordinate; side of square
            blocks of ground, in the unit of y and x; or a group a sample. By default, where patches have neighbours:
            the other dim if labels hold for whole images, else blocks of ground.
        train : bool array or DataArray, optional
            A fixed split instead of folds.
        encoder : Encoder or KoopmanModel, optional
            What made the embedding, if it is not in the cache of this machine any more.
        folds : int
        budgets : sequence of int, optional
            Numbers of labels of the label curve.
        draws : int
            How often few labels are drawn.
        seed : int
            Of folds and draws.
        progress : bool
            Show bars.

        Returns
        -------
        ProbeResult
            ``scores``, ``curve``, ``predictions``, ``to_dataframe()``, ``plot()``.

        Raises
        ------
        InputError
            If labels, groups or images do not fit the embedding, there is one class only, or too few samples.
        ModelError
            If the encoder is not known here any more.

        Examples
        --------
        >>> import numpy as np, xarray as xr, s2koop
        >>> random = np.random.default_rng(0)
        >>> noise = random.normal(size=(40, 32, 32)) * random.random((40, 1, 1))
        >>> images = xr.DataArray(noise, dims=("image", "y", "x"))
        >>> encoder = images.ssl.pretrain("geometry", steps=1, batch=8, width=4, progress=False)
        >>> embedding = images.ssl.embed(encoder, progress=False)
        >>> result = embedding.ssl.probe(images.std(("y", "x")), images, budgets=(), progress=False)
        >>> result.scores.features.values.tolist()
        ['texture, geometry', 'statistics', 'untrained', 'mean']
        """
        from s2koop.ssl.compared import compared
        from s2koop.ssl.probing import BUDGETS, probe_embedding

        others = compared(self._array, images, encoder=encoder, progress=progress)
        return probe_embedding(
            self._array, labels, others=others, task=task, groups=groups, train=train, folds=folds, seed=seed,
            budgets=BUDGETS if budgets is None else budgets, draws=draws,
            name=str(self._array.attrs.get("encoder", "embedding")),
        )  # fmt: skip

    def search(
        self,
        query: Any,
        k: int = 10,
        *,
        metric: str = "cosine",
        index: Any = "exact",
        exclude_self: bool = True,
    ) -> xr.Dataset:
        """Find the samples most like a query.

        Parameters
        ----------
        query : DataArray, mapping, int or sequence of int
            Embeddings to look for; coordinates of a sample, such as ``dict(time="2020-06-01", y=5214900, x=412100)``,
            of which the nearest is taken; or positions of samples.
        k : int
            Number of neighbours.
        metric : {"cosine", "euclidean", "dot"}
        index : {"exact", "faiss"} or what `s2koop.ssl.build_index` returned
            Exact search reads the embedding once, block by block.
        exclude_self : bool
            Whether a query that is a sample is left out of its own neighbours.

        Returns
        -------
        Dataset (query, rank)
            ``similarity``, ``position``, and the coordinates of neighbours and queries; see `s2koop.ssl.search`.

        Raises
        ------
        InputError
            If query and embedding do not fit, or there are fewer than `k` samples.
        MissingDependencyError
            If faiss is asked for and not installed.

        Examples
        --------
        >>> import xarray as xr, s2koop
        >>> vectors = xr.DataArray([[1.0, 0.0], [0.0, 1.0], [0.8, 0.2]], dims=("image", "feature"))
        >>> vectors.ssl.search(0, k=1).position.item()
        2
        """
        from s2koop.ssl.retrieval import search

        return search(self._array, query, k, metric=metric, index=index, exclude_self=exclude_self)

    def gallery(self, neighbours: xr.Dataset, **options: Any) -> hv.Layout:
        """Show what a search found, as thumbnails of the images that were embedded.

        Parameters
        ----------
        neighbours : Dataset
            From ``embedding.ssl.search``.
        **options
            Of `s2koop.plots.gallery`, such as ``bands`` or ``queries``. `s2koop.plots.still_gallery` is the same for
            pages without scripts.

        Returns
        -------
        holoviews.Layout

        Raises
        ------
        InputError
            If the neighbours are not patches of these images.

        Examples
        --------
        >>> images.ssl.gallery(embedding.ssl.search([0, 7], k=5))  # doctest: +SKIP
        """
        from s2koop.plots.embeddings import gallery

        return gallery(self._array, neighbours, **options)

    def scatter(self, images: xr.DataArray | None = None, **options: Any) -> hv.Points:
        """Draw all samples of the embedding on two axes; the pointer shows the patch of a sample.

        Parameters
        ----------
        images : DataArray, optional
            What was embedded.
        **options
            Of `s2koop.plots.scatter`: ``method="pca"`` or ``"umap"``, ``color``, ``bands``, ``most``.

        Returns
        -------
        holoviews.Points

        Raises
        ------
        InputError
            If the images are not what was embedded.
        MissingDependencyError
            If umap is asked for and not installed.

        Examples
        --------
        >>> embedding.ssl.scatter(images, color="wind_speed")  # doctest: +SKIP
        """
        from s2koop.plots.embeddings import scatter

        return scatter(self._array, images, **options)

    def dashboard(self, images: xr.DataArray, labels: Any = None, **options: Any) -> EmbeddingDashboard:
        """Look for what is alike: click a patch, pixel or sample, and see its neighbours, and where they lie.

        A map of the images beside that of the similarity, where they have more than one sample each; all samples on
        two axes; and a row of the nearest, each of which becomes the query when it is pressed.

        Parameters
        ----------
        images : DataArray
            What was embedded.
        labels : str, DataArray, Dataset, mapping or array, optional
            What samples can be coloured by: the name of a coordinate, or one or several numbers or words a sample.
        **options
            ``query`` and ``metric`` as for `search`; ``k``, number of neighbours; ``method="pca"`` or ``"umap"``;
            ``bands``, one or three for the pictures; ``most``, samples that are drawn on the axes; ``seed``.

        Returns
        -------
        EmbeddingDashboard
            A widget for notebooks; where widgets cannot be shown, its still picture appears.

        Raises
        ------
        InputError
            If embedding, images and labels do not fit, or a choice does not exist.
        MissingDependencyError
            If UMAP is asked for and not installed.

        Examples
        --------
        >>> embedding.ssl.dashboard(images, labels="wind_speed")  # doctest: +SKIP
        """
        from s2koop.live.embedding import embedding_dashboard

        return embedding_dashboard(self._array, images, labels, **options)

    def to_zarr(self, path: str | Path, *, progress: bool = True) -> xr.DataArray:
        """Write the embedding to a Zarr store chunk by chunk; after a stop, the same call goes on where it was.

        Parameters
        ----------
        path : str or Path
            Of a store that does not exist, or that the same call began.
        progress : bool
            Show a bar.

        Returns
        -------
        DataArray
            The embedding, read lazily from the store.

        Raises
        ------
        InputError
            If the store holds anything else.
        StoreError
            If it cannot be written.

        See Also
        --------
        s2koop.run : the same for any result, and with more options.
        """
        from s2koop._jobs import run

        return run(self._array, path, progress=progress)

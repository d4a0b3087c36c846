"""The state of a dashboard of embeddings: a query, what is like it and where, with no widget and no plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets as tl
import xarray as xr

from s2koop._embedding_map import Ground
from s2koop._frames import NO_DATA, encode, robust_range, stride_for
from s2koop._kept import KEPT_BYTES
from s2koop._numbers import whole
from s2koop._picture_bands import picture_bands
from s2koop._requests import Recent, Requests
from s2koop._views import Box, Frames
from s2koop._warn import warn_user
from s2koop.errors import InputError, SlowReadWarning
from s2koop.ssl._axes import Axes, check_method, two_axes
from s2koop.ssl._samples import Samples, _onto, frame_of
from s2koop.ssl.retrieval import search

Array = npt.NDArray[Any]

#: Largest stack of pictures handed out at once: proxies and hosted notebooks drop bigger messages.
MESSAGE_BYTES = 10_000_000
#: Largest part of a picture that is sent when it is magnified.
DETAIL_BYTES = 1_500_000

#: What samples can be coloured by beside labels.
SIMILARITY = "similarity"

_METRICS = {"cosine": "cosine similarity", "euclidean": "minus the distance", "dot": "inner product"}
#: Frames that a range of brightness is taken from.
_SAMPLED = 12


class EmbeddingSession(Requests):
    """What a dashboard of embeddings shows, and the arrays behind it.

    An embedding that is lazy is computed once if it fits into 256 MB; a larger one is read at every query, which a
    warning says. Of images only what is shown is read.

    Parameters
    ----------
    embedding : DataArray (..., feature)
        Of patches, of the pixels of a series, or of whole images.
    images : DataArray (..., [band], y, x)
        What was embedded.
    labels : str, DataArray, Dataset, mapping or array, optional
        What samples can be coloured by: the name of a coordinate, or one or several numbers or words for each sample; a
        DataArray may lack dims along which it is the same.
    query : int or mapping, optional
        Position or coordinates of the sample to begin with, as for ``.ssl.search``; by default the first with values.
    k : int
        Number of neighbours.
    metric : {"cosine", "euclidean", "dot"}
    method : {"pca", "umap"}
        How samples are put on two axes.
    bands : sequence of str, optional
        One or three bands of pictures; by default true colour where there is, else the first.
    most : int
        Most samples on the axes, drawn at random.
    seed : int

    Attributes
    ----------
    query : int
        Position of a sample.
    k : int
    colour : str
        ``"similarity"``, or the name of labels.
    frame : int
        Of the images: which one is looked at.

    Raises
    ------
    InputError
        If embedding, images and labels do not fit, or a choice does not exist.

    Examples
    --------
    >>> images = xr.DataArray(np.random.default_rng(0).random((6, 32, 32)), dims=("image", "y", "x"))
    >>> vectors = images.mean("y").rename(x="feature")
    >>> session = EmbeddingSession(vectors, images, k=2)
    >>> session.query, session.ground, int(session.neighbours().sizes["rank"])
    (0, None, 2)
    >>> bool(session.similarity()[0].round(5) == 1)
    True
    """

    query = tl.Int(0)
    k = tl.Int(12)
    colour = tl.Unicode(SIMILARITY)
    frame = tl.Int(0)

    def __init__(
        self,
        embedding: xr.DataArray,
        images: xr.DataArray,
        *,
        labels: Any = None,
        query: Any = None,
        k: int = 12,
        metric: str = "cosine",
        method: str = "pca",
        bands: Sequence[str] | None = None,
        most: int = 2000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if metric not in _METRICS:
            raise InputError(f"metric={metric!r} must be one of {', '.join(_METRICS)}")
        check_method(method)
        self.metric, self.method = metric, method
        frame = frame_of(embedding)
        if frame.size < 4:
            raise InputError(f"there are {frame.size} samples; a view needs at least four")
        if not isinstance(images, xr.DataArray) or {"y", "x"} - set(images.dims):
            raise InputError("images must be the DataArray with y and x that was embedded")
        self.images = picture_bands(images, bands)
        self.samples = Samples(frame, {}, None)
        self.ground = Ground.of(embedding, images)
        self.labels = _all_labels(frame, labels)
        self._lazy = embedding.chunks is not None
        self.embedding = self._held(embedding.transpose(*frame.dims, "feature"))
        self._likeness: Recent[Array] = Recent(8)
        self._found: Recent[xr.Dataset] = Recent(8)
        self._ranges: list[tuple[float, float]] = []
        self.drawn, self.axes = self._drawn(whole("most", most, least=4), seed)
        self.k = min(whole("k", k, least=1), frame.size - 1)
        self.query = self._first(query)
        self.frame = (self.ground.frame_of(self.query) if self.ground else None) or 0

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self.samples.frame.sizes.items())
        return f"<EmbeddingSession: {self.samples.size} samples ({sizes}), query {self.query}, {self.k} neighbours>"

    # What can be chosen

    @property
    def colours(self) -> tuple[str, ...]:
        """What samples can be coloured by."""
        return (SIMILARITY, *self.labels)

    @property
    def measure(self) -> str:
        """What similarity is, for people."""
        return _METRICS[self.metric]

    @tl.validate("query")
    def _valid_query(self, proposal: Mapping[str, Any]) -> int:
        if not 0 <= proposal["value"] < self.samples.size:
            raise InputError(f"there is no sample {proposal['value']}; they are numbered 0 to {self.samples.size - 1}")
        return int(proposal["value"])

    @tl.validate("k")
    def _valid_k(self, proposal: Mapping[str, Any]) -> int:
        if not 1 <= proposal["value"] < self.samples.size:
            raise InputError(f"k={proposal['value']} neighbours of {self.samples.size} samples; expected fewer")
        return int(proposal["value"])

    @tl.validate("colour")
    def _valid_colour(self, proposal: Mapping[str, Any]) -> str:
        if proposal["value"] not in self.colours:
            raise InputError(f"there are no labels {proposal['value']!r}; choose one of {', '.join(self.colours)}")
        return str(proposal["value"])

    @tl.validate("frame")
    def _valid_frame(self, proposal: Mapping[str, Any]) -> int:
        frames = 1 if self.ground is None else len(self.ground.labels)
        if not 0 <= proposal["value"] < frames:
            raise InputError(f"there is no frame {proposal['value']} of {frames}")
        return int(proposal["value"])

    def pick(self, row: int, col: int) -> bool:
        """Make the sample at a pixel of the current frame the query; False where there is none with values."""
        assert self.ground is not None
        position = self.ground.sample_at(self.frame, row, col)
        if not self.has_values(position):
            return False
        self.query = position
        return True

    def has_values(self, position: int) -> bool:
        """Whether a sample was embedded; masked ones were not."""
        return bool(np.isfinite(self._vectors([position])).all())

    # The numbers behind the view

    def similarity(self) -> Array:
        """Similarity of every sample to the query, float32 (sample,); NaN where a sample has no values."""
        query = self.query
        return self._likeness.get_or(query, lambda: self._compared(query))

    def neighbours(self) -> xr.Dataset:
        """The `k` samples most like the query, as ``.ssl.search`` returns them."""
        return self.answer()[1]

    def answer(self) -> tuple[int, xr.Dataset]:
        """The query and its neighbours, which belong together whatever is chosen meanwhile."""
        query, k = self.query, self.k
        return query, self._found.get_or((query, k), lambda: self._search(query, k))

    def positions(self) -> list[int]:
        """Positions of the neighbours, the nearest first."""
        return positions_of(self.neighbours())

    def values(self) -> Array:
        """What samples are coloured by, (sample,)."""
        return self.similarity() if self.colour == SIMILARITY else self.labels[self.colour]

    def place(self, positions: Sequence[int]) -> Array:
        """Where samples lie on the two axes (sample, 2); NaN where nobody knows."""
        if self.axes.project is not None:
            vectors = self._vectors(positions)
            there = np.isfinite(vectors).all(axis=1)
            found = np.full((len(positions), 2), np.nan)
            if there.any():
                found[there] = self.axes.project(vectors[there])
            return found
        known = {int(position): place for position, place in zip(self.drawn, self.axes.places, strict=True)}
        return np.array([known.get(int(position), (np.nan, np.nan)) for position in positions]).reshape(-1, 2)

    def describe(self, position: int) -> str:
        """Where a sample is from: its coordinates in words."""
        words = []
        for name, values in self.samples.frame.coords.items():
            if values.size > 1 and set(values.dims) <= set(self.samples.frame.dims):
                words.append(f"{name} {_word(self._coordinate(values, position))}")
        return ", ".join(words) or f"sample {position}"

    @cached_property
    def words(self) -> list[str]:
        """Where the drawn samples are from."""
        return [self.describe(int(position)) for position in self.drawn]

    def _coordinate(self, values: xr.DataArray, position: int) -> Any:
        frame = self.samples.frame
        at = dict(zip(frame.dims, np.unravel_index(position, frame.shape), strict=True))
        return values.values[tuple(at[dim] for dim in values.dims)]

    def _held(self, embedding: xr.DataArray) -> xr.DataArray:
        if not self._lazy:
            return embedding
        size = embedding.nbytes / 2**20
        if embedding.nbytes <= KEPT_BYTES:
            with self.waiting_for(f"Reading the embedding: {size:.0f} MB"):
                return embedding.compute()
        message = (
            f"every query reads the embedding anew: {size:.0f} MB are more than the {KEPT_BYTES / 2**20:.0f} MB that "
            "are kept; write it by .ssl.to_zarr first if it is computed, or embed with a wider stride"
        )
        warn_user(SlowReadWarning(message))
        return embedding

    def _vectors(self, positions: Sequence[int]) -> Array:
        """Vectors (sample, feature), of a lazy embedding those alone."""
        frame = self.samples.frame
        found = np.unravel_index(np.asarray(positions, int), frame.shape)
        at = {dim: xr.DataArray(index, dims="sample") for dim, index in zip(frame.dims, found, strict=True)}
        with self.waiting_for("Reading vectors", lazy=self.embedding.chunks is not None):
            return np.asarray(self.embedding.isel(at).transpose("sample", "feature").values, np.float64)

    def _drawn(self, most: int, seed: int) -> tuple[Array, Axes]:
        """Samples with values that are put on the axes, and their places."""
        size = self.samples.size
        if self.embedding.chunks is None:
            there = np.flatnonzero(np.isfinite(self.embedding.values).all(axis=-1).ravel())
        else:
            there = np.sort(np.random.default_rng(seed).choice(size, min(size, 2 * most), replace=False))
            there = there[np.isfinite(self._vectors(there.tolist())).all(axis=1)]
        if there.size < 4:
            raise InputError(f"{there.size} of {size} samples have values; a view needs at least four")
        if there.size > most:
            there = np.sort(np.random.default_rng(seed).choice(there, most, replace=False))
        return there, two_axes(self._vectors(there.tolist()), self.method, seed)

    def _first(self, query: Any) -> int:
        if query is None:
            return int(self.drawn[0])
        found = search(self.embedding, query, k=1, metric=self.metric)
        if found.sizes["query"] != 1 or int(found["query_position"][0]) < 0:
            raise InputError(f"query={query!r} must be one sample of the embedding: its position or coordinates")
        return int(found["query_position"][0])

    def _search(self, query: int, k: int) -> xr.Dataset:
        with self.waiting_for("Searching", lazy=self.embedding.chunks is not None):
            return search(self.embedding, query, k=k, metric=self.metric)

    def _compared(self, query: int) -> Array:
        vector = self._vectors([query])[0].astype(np.float32)
        with self.waiting_for("Comparing", lazy=self.embedding.chunks is not None):
            found = xr.apply_ufunc(
                _likeness, self.embedding, input_core_dims=[["feature"]], dask="parallelized",
                kwargs={"vector": vector, "metric": self.metric}, output_dtypes=[np.float32],
                dask_gufunc_kwargs={"allow_rechunk": True},
            )  # fmt: skip
            return np.asarray(found.values, np.float32).ravel()

    # Pictures

    def similarity_frames(self) -> Frames:
        """The similarity of all samples where they lie on the images."""
        assert self.ground is not None
        values = self.similarity()
        low, high = robust_range(values) or (0.0, 1.0)
        levels, stride = self.ground.pictured(values, low, high, MESSAGE_BYTES)
        return Frames(SIMILARITY, self.measure, np.array([]), levels, low, high, stride)

    def image_frames(self) -> Frames:
        """All images, thinned in space to fit into a message: levels of one band, or colours (frame, y, x, 3)."""
        assert self.ground is not None
        rows, cols = self.ground.shape
        bands = self.images.sizes["band"]
        frames = len(self.ground.labels)
        stride = stride_for((frames * bands, rows, cols), MESSAGE_BYTES)
        if frames * bands * math.prod(-(-n // stride) for n in (rows, cols)) > MESSAGE_BYTES:
            raise InputError(f"{frames} images do not fit into one view; select fewer, such as images.isel(time=[0])")
        levels = self._pictured(self._read(stride, {}))
        names = "" if self.bands is None else ", ".join(self.bands)
        return Frames("images", names, np.array([]), levels, *self._ranges[0], stride)

    def image_detail(self, box: Box, *, budget: int = DETAIL_BYTES) -> Frames:
        """A part of the image that is looked at, with as many of its pixels as fit into `budget`.

        Parameters
        ----------
        box : (int, int, int, int)
            First row and column, and the row and column behind the last.
        budget : int
        """
        assert self.ground is not None
        shape = box[2] - box[0], box[3] - box[1]
        stride = stride_for((self.images.sizes["band"], *shape), budget)
        others = self.ground.others
        at = np.unravel_index(self.frame, list(others.values())) if others else ()
        part = {dim: slice(int(index), int(index) + 1) for dim, index in zip(others, at, strict=True)}
        part |= {"y": slice(box[0], box[2]), "x": slice(box[1], box[3])}
        levels = self._pictured(self._read(stride, part))
        return Frames("images", "", np.array([]), levels, *self._ranges[0], stride)

    @property
    def bands(self) -> tuple[str, ...] | None:
        """One or three bands that pictures show; None where images have no bands."""
        return tuple(map(str, self.images["band"].values)) if "band" in self.images.coords else None

    def _read(self, stride: int, part: Mapping[str, slice]) -> Array:
        """Values (frame, band, y, x) of a part of the images, every `stride`-th pixel: each chunk is read once."""
        assert self.ground is not None
        steps = slice(None, None, stride)
        thin = self.images.isel(part).isel(y=steps, x=steps).transpose(*self.ground.others, "band", "y", "x")
        with self.waiting_for(f"Reading images: {thin.nbytes / 2**20:.0f} MB are shown", lazy=thin.chunks is not None):
            values = np.asarray(thin.values, np.float32)
        return values.reshape(-1, *values.shape[-3:])

    def _pictured(self, values: Array) -> Array:
        """Levels (frame, y, x), or colours (frame, y, x, 3), in one range for all images, found at the first look."""
        if not self._ranges:
            few = values[np.unique(np.linspace(0, len(values) - 1, _SAMPLED).round().astype(int))]
            self._ranges = [robust_range(few[:, band]) or (0.0, 1.0) for band in range(values.shape[1])]
        levels = [encode(values[:, band], *ends) for band, ends in enumerate(self._ranges)]
        if len(levels) == 1:
            return levels[0]
        picture = np.stack(levels, axis=-1)
        picture[(picture == NO_DATA).any(axis=-1)] = NO_DATA
        return picture

    def outlines(self) -> list[list[Any]]:
        """Frames of the query and its neighbours on the image that is looked at: edges in pixels, and a text."""
        if self.ground is None:
            return []
        ranked = [(self.query, "query"), *((at, str(rank + 1)) for rank, at in enumerate(self.positions()))]
        return [[*self.ground.box_of(at), text] for at, text in ranked if self.ground.on(at, self.frame)]


def _likeness(values: Array, *, vector: Array, metric: str) -> Array:
    """Similarity of vectors (..., feature) to one, as ``.ssl.search`` has it."""
    table = values.astype(np.float32, copy=False)
    if metric == "euclidean":
        return -np.asarray(np.linalg.norm(table - vector, axis=-1))
    product = np.asarray(table @ vector)
    if metric == "dot":
        return product
    size = np.linalg.norm(table, axis=-1) * np.linalg.norm(vector)
    return np.where(size > 0, product / np.where(size > 0, size, 1), np.nan).astype(np.float32)


def _all_labels(frame: xr.DataArray, labels: Any) -> dict[str, Array]:
    """Labels by name, each (sample,)."""
    if labels is None:
        return {}
    if isinstance(labels, str):
        known = Samples(frame, {}, None).coordinates
        if labels not in known:
            raise InputError(f"there is no coordinate {labels!r} of samples; choose one of {', '.join(known)}")
        return {labels: known[labels]}
    if isinstance(labels, xr.Dataset):
        return {str(name): _flat(str(name), values, frame) for name, values in labels.data_vars.items()}
    if isinstance(labels, Mapping):
        return {str(name): _flat(str(name), values, frame) for name, values in labels.items()}
    name = str(getattr(labels, "name", None) or "label")
    return {name: _flat(name, labels, frame)}


def _flat(name: str, values: Any, frame: xr.DataArray) -> Array:
    if name == SIMILARITY:
        raise InputError(f"labels must not be called {SIMILARITY!r}")
    if not isinstance(values, xr.DataArray):
        found = np.asarray(values)
        if found.shape != (frame.size,):
            raise InputError(f"labels {name!r} have shape {found.shape}; expected one for each of {frame.size} samples")
        return found
    if set(values.dims) - set(frame.dims):
        raise InputError(f"labels {name!r} have dims {tuple(values.dims)}; expected some of {tuple(frame.dims)}")
    aligned = _onto(values, frame, f"labels {name!r}").compute()
    return np.asarray(aligned.variable.set_dims(dict(frame.sizes)).transpose(*frame.dims).values).ravel()


def _word(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[D]"))
    if isinstance(value, float | np.floating):
        number = float(value)
        # Metres of a map are written out; degrees, and what else there is, are not.
        return f"{number:.0f}" if abs(number) >= 1e4 else f"{number:.6g}"
    return str(value)


def positions_of(neighbours: xr.Dataset) -> list[int]:
    """Positions of the neighbours of one query, the nearest first."""
    return [int(position) for position in neighbours["position"].values[0] if position >= 0]

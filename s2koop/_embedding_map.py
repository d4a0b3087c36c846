"""Where the samples of an embedding lie on the images it was made of: pixels, patches, and pictures of all samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._frames import NO_DATA, encode, stride_for
from s2koop.errors import InputError
from s2koop.ssl._samples import frame_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Ground:
    """Samples on the frames of images: a frame for each combination of the dims that are neither band, y nor x.

    Attributes
    ----------
    samples : DataArray
        Zeros with the dims and coordinates of samples, in their order.
    others : mapping of str to int
        Dims of the images that make frames, and their sizes.
    rows, cols : array
        Middles of the patches, counted in pixels of the images; between two pixels where patches are even.
    patch : int
        Side in pixels; 1 for embeddings of pixels.
    shape : (int, int)
        Rows and columns of the images.
    labels : tuple of str
        What the frames are called.
    """

    samples: xr.DataArray
    others: Mapping[str, int]
    rows: Array
    cols: Array
    patch: int
    shape: tuple[int, int]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, embedding: xr.DataArray, images: xr.DataArray) -> Ground | None:
        """Place samples on images; None where every image is one sample."""
        samples = frame_of(embedding)
        if {"y", "x"} - set(samples.dims) or samples.sizes["y"] * samples.sizes["x"] == 1:
            return None
        others = {str(dim): size for dim, size in images.sizes.items() if dim not in ("band", "y", "x")}
        for dim, size in samples.sizes.items():
            if dim not in ("y", "x") and others.get(str(dim)) != size:
                raise InputError(
                    f"the embedding has {size} along {dim!r}, the images {others.get(str(dim), 0)}; "
                    "give the images that were embedded"
                )
        patch = int(embedding.attrs.get("patch", 1))
        rows, cols = (_middles(embedding, images, dim, patch) for dim in ("y", "x"))
        shape = images.sizes["y"], images.sizes["x"]
        for dim, middles, size in (("y", rows, shape[0]), ("x", cols, shape[1])):
            if middles.min() < -0.5 or middles.max() > size - 0.5:
                raise InputError(
                    f"patches reach from pixel {middles.min():g} to {middles.max():g} of {size} along {dim}: these "
                    "are not the images that were embedded"
                )
        return cls(samples, others, rows, cols, patch, shape, _labels(images, others))

    @property
    def varies(self) -> bool:
        """Whether frames have samples of their own, or share all of them, as the dates of a pixel's series do."""
        return self.samples.ndim > 2

    def sample_at(self, frame: int, row: int, col: int) -> int:
        """Position of the sample whose middle is nearest to a pixel."""
        at = self._lead(frame) | {
            "y": int(np.abs(self.rows - row).argmin()),
            "x": int(np.abs(self.cols - col).argmin()),
        }
        return int(np.ravel_multi_index([at[str(dim)] for dim in self.samples.dims], self.samples.shape))

    def frame_of(self, position: int) -> int | None:
        """The frame that a sample lies on; None where it lies on all of them."""
        if not self.varies:
            return None
        at = self._index(position)
        # Dims that the embedding lacks have any value: the first.
        lead = [at.get(dim, 0) for dim in self.others]
        return int(np.ravel_multi_index(lead, list(self.others.values())))

    def pixel_of(self, position: int) -> tuple[int, int]:
        """Row and column in the middle of a sample."""
        at = self._index(position)
        return int(self.rows[at["y"]]), int(self.cols[at["x"]])

    def box_of(self, position: int) -> tuple[int, int, int, int]:
        """First row and column, and the row and column behind the last, of a sample."""
        at = self._index(position)
        first = [round(float(middles[at[dim]]) - (self.patch - 1) / 2) for dim, middles in self._middles.items()]
        return first[0], first[1], first[0] + self.patch, first[1] + self.patch

    def on(self, position: int, frame: int) -> bool:
        """Whether a sample lies on a frame."""
        own = self.frame_of(position)
        return own is None or self._lead(own) == self._lead(frame)

    def pictured(self, values: Array, low: float, high: float, budget: int) -> tuple[Array, int]:
        """A number for each sample as levels (frame, y, x), and the pixels from one cell to the next.

        Frames that share all samples share one picture.
        """
        stack = values.reshape(self.samples.shape)
        order = [dim for dim in self.samples.dims if dim not in ("y", "x")]
        stack = xr.DataArray(stack, dims=self.samples.dims).transpose(*order, "y", "x").values
        stack = stack.reshape(-1, *stack.shape[-2:])
        if (cell := self._cell()) is not None:
            return self._repeated(encode(stack, low, high)), cell
        stride = stride_for((len(self.labels) if self.varies else 1, *self.shape), budget)
        places = [
            _nearest(middles, np.arange(0, size, stride), self.patch)
            for middles, size in zip(self._middles.values(), self.shape, strict=True)
        ]
        levels = encode(stack, low, high)[:, places[0].clip(0)[:, None], places[1].clip(0)[None]]
        levels[:, (places[0] < 0)[:, None] | (places[1] < 0)[None]] = NO_DATA
        return self._repeated(levels), stride

    @property
    def _middles(self) -> dict[str, Array]:
        return {"y": self.rows, "x": self.cols}

    def _index(self, position: int) -> dict[str, int]:
        found = np.unravel_index(position, self.samples.shape)
        return {str(dim): int(at) for dim, at in zip(self.samples.dims, found, strict=True)}

    def _lead(self, frame: int) -> dict[str, int]:
        """Indices of a frame along the dims that samples have too."""
        found = np.unravel_index(frame, list(self.others.values())) if self.others else ()
        at = {dim: int(index) for dim, index in zip(self.others, found, strict=True)}
        return {dim: index for dim, index in at.items() if dim in self.samples.dims}

    def _cell(self) -> int | None:
        """Pixels from one middle to the next, where patches fill the images from their first pixel without overlap."""
        steps = {self.patch}
        for middles in self._middles.values():
            steps |= set(np.diff(middles).tolist())
            if middles[0] != (self.patch - 1) / 2:
                return None
        return self.patch if len(steps) == 1 else None

    def _repeated(self, levels: Array) -> Array:
        """One picture for each frame of the images, where they have samples of their own."""
        if not self.varies:
            return levels
        order = [dim for dim in self.samples.dims if dim not in ("y", "x")]
        sizes = [self.samples.sizes[dim] for dim in order]
        leads = (self._lead(frame) for frame in range(len(self.labels)))
        return levels[[int(np.ravel_multi_index([lead[str(dim)] for dim in order], sizes)) for lead in leads]]


def _middles(embedding: xr.DataArray, images: xr.DataArray, dim: str, patch: int) -> Array:
    """Middles of patches along a dim, in pixels of the images."""
    if dim not in images.coords or dim not in embedding.coords:
        stride = int(embedding.attrs.get("stride", patch))
        return stride * np.arange(embedding.sizes[dim]) + (patch - 1) / 2
    known, ours = images[dim].values.astype(float), embedding[dim].values.astype(float)
    step = (known[-1] - known[0]) / (known.size - 1) if known.size > 1 else 1.0
    return np.round(2 * (ours - known[0]) / step) / 2


def _nearest(middles: Array, pixels: Array, patch: int) -> npt.NDArray[np.int64]:
    """The patch that is nearest to each pixel, -1 where none holds it."""
    distance = np.abs(middles[:, None] - pixels[None])
    found = distance.argmin(axis=0)
    return np.where(distance.min(axis=0) <= patch / 2, found, -1)


def _labels(images: xr.DataArray, others: Mapping[str, int]) -> tuple[str, ...]:
    if not others:
        return ("one image",)
    words = []
    for at in np.ndindex(*others.values()):
        parts = [_word(images, dim, index) for dim, index in zip(others, at, strict=True)]
        words.append(", ".join(parts))
    return tuple(words)


def _word(images: xr.DataArray, dim: str, index: int) -> str:
    if dim not in images.coords:
        return f"{dim} {index}"
    value = images[dim].values[index]
    return str(value.astype("datetime64[D]")) if isinstance(value, np.datetime64) else f"{dim} {value}"

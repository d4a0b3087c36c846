"""Pixels that are looked at together: one, or a lattice over a region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2koop._views import Box

#: Pixels of a region that its series are made of: as many as can be analysed again within a second.
REGION_PIXELS = 36


@dataclass(frozen=True)
class Place:
    """Pixels that are read together: rows and columns of the same length."""

    rows: np.ndarray
    cols: np.ndarray

    @property
    def around(self) -> tuple[slice, slice]:
        """The window that holds them."""
        return tuple(slice(int(i.min()), int(i.max()) + 1) for i in (self.rows, self.cols))  # type: ignore[return-value]


def pixel_place(pixel: tuple[int, int]) -> Place:
    """Return one pixel."""
    return Place(np.array([pixel[0]]), np.array([pixel[1]]))


def lattice(region: Box, most: int = REGION_PIXELS) -> Place:
    """Return at most so many pixels, spread evenly over a region."""
    r0, c0, r1, c1 = region
    step = 1
    while -(-(r1 - r0) // step) * -(-(c1 - c0) // step) > most:
        step += 1
    rows, cols = np.meshgrid(
        np.arange(r0 + ((r1 - r0 - 1) % step) // 2, r1, step), np.arange(c0 + ((c1 - c0 - 1) % step) // 2, c1, step),
        indexing="ij",
    )  # fmt: skip
    return Place(rows.ravel(), cols.ravel())


def place_text(pixel: tuple[int, int], region: Box | None) -> str:
    """Say what is read."""
    if region is None:
        return f"pixel row {pixel[0]}, column {pixel[1]}"
    return f"region of {region[2] - region[0]} × {region[3] - region[1]} pixels"

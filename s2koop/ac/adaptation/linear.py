"""Linear maps of pixels between two sensors in closed form, from the moments of both alone: where translators begin."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Linear(NamedTuple):
    """``matrix @ x + offset`` of each pixel.

    Attributes
    ----------
    matrix : Tensor, shape (band, band)
    offset : Tensor, shape (band,)
    """

    matrix: Tensor
    offset: Tensor


def moments(before: Tensor, after: Tensor) -> Linear:
    """The map that gives each band of `before` the mean and standard deviation that it has in `after`."""
    a, b = _pixels(before), _pixels(after)
    gain = b.std(0) / a.std(0)
    return Linear(torch.diag(gain), b.mean(0) - gain * a.mean(0))


def transport(before: Tensor, after: Tensor) -> Linear:
    """The map that moves pixels least, on average of the square, and gives them the mean and covariance of `after`.

    Optimal transport between normal distributions.

    References
    ----------
    Olkin and Pukelsheim (1982), The distance between two random vectors with given dispersion matrices, Linear Algebra
    and its Applications 48.
    """
    a, b = _pixels(before), _pixels(after)
    root = _root(torch.cov(a.T))
    inverse = torch.linalg.inv(root)
    matrix = inverse @ _root(root @ torch.cov(b.T) @ root) @ inverse
    return Linear(matrix, b.mean(0) - matrix @ a.mean(0))


#: By their names in settings.
MAPS = {"moments": moments, "transport": transport}


def _pixels(patches: Tensor) -> Tensor:
    return patches.movedim(1, -1).flatten(0, -2).double()


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(1e-12).sqrt()) @ vectors.T

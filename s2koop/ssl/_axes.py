"""Samples of an embedding on two axes: principal components, or UMAP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from s2koop.errors import InputError, MissingDependencyError

Array = npt.NDArray[Any]

METHODS = ("pca", "umap")


@dataclass(frozen=True, eq=False)
class Axes:
    """Places of samples (sample, 2), names of the axes, and where other vectors would lie (None: nobody knows)."""

    places: Array
    names: tuple[str, str]
    project: Callable[[Array], Array] | None


def check_method(method: str) -> None:
    """Refuse an unknown method, or one whose library is missing, before anything is read."""
    if method not in METHODS:
        raise InputError(f"method={method!r} must be 'pca' or 'umap'")
    if method == "umap":
        _umap()


def two_axes(table: Array, method: str, seed: int) -> Axes:
    """Put vectors (sample, feature) on two axes.

    Parameters
    ----------
    table : array (sample, feature)
        Finite, at least three samples.
    method : {"pca", "umap"}
        The two directions of largest variance; or neighbours stay neighbours, and far distances mean little.
    seed : int

    Raises
    ------
    InputError
        If there is one feature only.
    MissingDependencyError
        If UMAP is not installed.
    """
    check_method(method)
    return _pca(table) if method == "pca" else _umap_places(table, seed)


def _pca(table: Array) -> Axes:
    from sklearn.decomposition import PCA

    if table.shape[1] < 2:
        raise InputError(f"the embedding has {table.shape[1]} feature; a map needs two")
    model = PCA(2, random_state=0).fit(table)
    first, second = (
        f"component {number + 1} ({share:.0%})" for number, share in enumerate(model.explained_variance_ratio_)
    )
    return Axes(model.transform(table), (first, second), model.transform)


def _umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingDependencyError(
            "method='umap' needs the package umap-learn. Run: pip install 's2koop[umap]'; or use method='pca'"
        ) from error
    return UMAP


def _umap_places(table: Array, seed: int) -> Axes:
    near = min(15, len(table) - 1)
    # n_jobs=1 is what a seed asks for; stated, it is no reason for a warning.
    model = _umap()(n_components=2, n_neighbors=near, metric="cosine", random_state=seed, n_jobs=1)
    return Axes(np.asarray(model.fit_transform(table)), ("UMAP 1", "UMAP 2"), None)

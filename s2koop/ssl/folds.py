"""Folds of a probe: who trains and who is held out, by groups, by blocks of ground, by class, or by a given split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from s2koop._numbers import real, whole
from s2koop.errors import InputError

Array = npt.NDArray[Any]
Fold = tuple[Array, Array]


def spatial_blocks(y: Any, x: Any, size: float) -> npt.NDArray[np.int64]:
    """Number square blocks of ground, so that neighbours fall into one fold.

    Parameters
    ----------
    y, x : array_like (n,)
        Coordinates of samples.
    size : float
        Side of a block, in the unit of the coordinates. It should exceed the distance over which labels are alike.

    Returns
    -------
    (n,) array of int64
        Number of the block of each sample, from 0 without gaps.

    Raises
    ------
    InputError
        If coordinates differ in length or are not finite, or the size is not positive.

    References
    ----------
    Roberts et al. (2017), Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic
    structure, Ecography 40, 913-929.

    Examples
    --------
    >>> spatial_blocks([0, 10, 120, 0], [0, 10, 0, 130], 100).tolist()
    [0, 0, 2, 1]
    """
    places = [np.asarray(values, np.float64).ravel() for values in (y, x)]
    if places[0].size != places[1].size or not all(np.isfinite(values).all() for values in places):
        raise InputError(f"y has {places[0].size} and x {places[1].size} values; give as many of both, all finite")
    if real("size", size, least=0) == 0:
        raise InputError("size=0 makes no blocks; give the side of a block in the unit of y and x")
    if places[0].size == 0:
        return np.zeros(0, np.int64)
    cells = np.stack([np.floor((values - values.min()) / size) for values in places], axis=1)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def make_folds(
    size: int,
    *,
    folds: int = 5,
    seed: int = 0,
    classes: Array | None = None,
    groups: Array | None = None,
    train: Array | None = None,
) -> tuple[list[Fold], str]:
    """Positions that train and that are held out, and what to call the scheme.

    Parameters
    ----------
    size : int
        Number of samples.
    folds : int
        Number of folds, at least 2; without meaning where `train` is given.
    seed : int
        Decides folds without groups, and those of classes with groups.
    classes : array (size,), optional
        Classes whose shares the folds should keep.
    groups : array (size,), optional
        A group is never in training and held out at once.
    train : bool array (size,), optional
        A fixed split instead of folds: these train, the others are held out.

    Returns
    -------
    list of (train, test) positions, str

    Raises
    ------
    InputError
        If there are too few samples, groups or members of a class for so many folds, or if a group is on both sides of
        a fixed split.

    Examples
    --------
    >>> parts, scheme = make_folds(6, folds=3, groups=np.array([0, 0, 1, 1, 2, 2]))
    >>> scheme, sorted(part[1].tolist() for part in parts)
    ('3 folds of 3 groups', [[0, 1], [2, 3], [4, 5]])
    """
    if train is not None:
        return _fixed(np.asarray(train), groups)
    number = whole("folds", folds, least=2)
    if size < 2 * number:
        raise InputError(f"{size} samples are too few for {number} folds of at least two; give more or fewer folds")
    everything = np.arange(size)
    if groups is not None:
        codes, names = pd.factorize(np.asarray(groups))
        if len(names) < number:
            raise InputError(
                f"{len(names)} groups are fewer than {number} folds; use folds={max(len(names), 2)} or less"
            )
        scheme = f"{number} folds of {len(names)} groups"
        if classes is None:
            return list(GroupKFold(number).split(everything, groups=codes)), scheme
        splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
        return list(splitter.split(everything, pd.factorize(classes)[0], codes)), f"{scheme}, stratified"
    if classes is not None:
        counts = pd.Series(classes).value_counts()
        if counts.min() < number:
            raise InputError(
                f"class {str(counts.idxmin())!r} has {counts.min()} samples, fewer than {number} folds; "
                "leave it out, or use fewer folds"
            )
        splitter = StratifiedKFold(number, shuffle=True, random_state=seed)
        return list(splitter.split(everything, pd.factorize(classes)[0])), f"{number} stratified random folds"
    return list(KFold(number, shuffle=True, random_state=seed).split(everything)), f"{number} random folds"


def _fixed(train: Array, groups: Array | None) -> tuple[list[Fold], str]:
    if train.dtype != bool:
        raise InputError(f"train has dtype {train.dtype}; expected True for samples that train, False for the others")
    inside, outside = np.flatnonzero(train), np.flatnonzero(~train)
    if inside.size < 2 or outside.size < 2:
        raise InputError(f"train marks {inside.size} samples and holds out {outside.size}; both need at least two")
    if groups is not None:
        both = set(np.asarray(groups)[inside].tolist()) & set(np.asarray(groups)[outside].tolist())
        if both:
            raise InputError(f"groups {sorted(both, key=str)[:5]} are on both sides of the split that train gives")
    return [(inside, outside)], f"a fixed split, {inside.size} train and {outside.size} are held out"

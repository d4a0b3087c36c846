"""Series that share the dates on which they were seen, so that what depends on these alone is done once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def alike(trust: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows that share one pattern of weights (series, date), with it; those without any weight are left out.

    Examples
    --------
    >>> [(rows.tolist(), pattern.tolist()) for rows, pattern in alike(np.array([[1, 0], [0, 0], [1, 0], [0, 2]]))]
    [([3], [0, 2]), ([0, 2], [1, 0])]
    """
    patterns, member = np.unique(trust, axis=0, return_inverse=True)
    order = np.argsort(member, kind="stable")
    edges = np.searchsorted(member[order], np.arange(len(patterns) + 1))
    for number, pattern in enumerate(patterns):
        if pattern.any():
            yield order[edges[number] : edges[number + 1]], pattern

"""How far two sets of pixels lie apart, band by band, where none of one has its counterpart in the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

Array = npt.NDArray[Any]

#: Values of a band that are compared at most, and quantiles whose differences are averaged.
_VALUES = 500_000
_QUANTILES = (np.arange(1000) + 0.5) / 1000


class Distance(NamedTuple):
    """Distances of the distributions of each band.

    Attributes
    ----------
    wasserstein : float64 array (band,)
        The mean difference of quantiles, in the unit of the bands: how far values have to move, on average.
    kolmogorov : float64 array (band,)
        The largest difference of the shares of values below any one value (Kolmogorov-Smirnov), in 0..1.
    """

    wasserstein: Array
    kolmogorov: Array


def distances(found: Array, wanted: Array) -> Distance:
    """Distances of images (image, band, y, x) from others; what is not finite does not count.

    Examples
    --------
    >>> ramp = np.linspace(0, 1, 401).reshape(1, 1, 401, 1)
    >>> distances(ramp + 0.1, ramp).wasserstein.round(3).tolist()
    [0.1]
    """
    pairs = list(zip(_bands(found), _bands(wanted), strict=True))
    apart = [np.abs(np.quantile(a, _QUANTILES) - np.quantile(b, _QUANTILES)).mean() for a, b in pairs]
    return Distance(np.array(apart), np.array([ks_2samp(a, b, method="asymp").statistic for a, b in pairs]))


def _bands(images: Array) -> list[Array]:
    bands = np.moveaxis(images, 1, 0).reshape(images.shape[1], -1)
    seen = [band[np.isfinite(band)] for band in bands]
    return [band[:: 1 + len(band) // _VALUES] for band in seen]

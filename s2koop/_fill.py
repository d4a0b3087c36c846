"""Arrays as they come in, without what stands for no observation: fill values and infinite numbers become NaN."""

from __future__ import annotations

import numpy as np
import xarray as xr

from s2koop.cube.harmonise import without_fill


def masked(array: xr.DataArray) -> xr.DataArray:
    """A floating point array with NaN where nothing was observed, in single precision at least; lazy where it was.

    Examples
    --------
    >>> masked(xr.DataArray([0.25, -9999.0, np.inf])).values
    array([0.25,  nan,  nan])
    """
    if array.dtype.kind != "f":
        return array
    dtype = np.promote_types(array.dtype, np.float32)
    return xr.apply_ufunc(without_fill, array, dask="parallelized", output_dtypes=[dtype], keep_attrs=True)

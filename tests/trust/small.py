"""Small models that verbs take, made once a process."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from s2koop.simulate import seasonal_cube


@lru_cache(maxsize=1)
def koopman_model() -> Any:
    """Trained on two years of 16 pixels."""
    cube = seasonal_cube(seed=0, every_days=20, shape=(4, 4))
    return cube.koopman.fit(steps=5, hidden=(8,), latent=4, progress=False)


@lru_cache(maxsize=1)
def image_encoder() -> Any:
    """Of patches of 16 pixels in two bands."""
    images = xr.DataArray(
        np.random.default_rng(0).random((6, 2, 32, 32), np.float32),
        dims=("time", "band", "y", "x"),
        coords={"band": ["B04", "B08"]},
    )
    return images.ssl.pretrain("reflectance", steps=1, batch=4, width=4, patch=16, progress=False)


@lru_cache(maxsize=1)
def series_encoder() -> Any:
    """Of pixel series in two bands."""
    return seasonal_cube(seed=0, every_days=60, shape=(4, 4)).ssl.pretrain("series", steps=1, batch=4, progress=False)

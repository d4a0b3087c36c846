"""Patches of lazy images are those of images in memory, wherever chunks end."""

from __future__ import annotations

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2koop.engine import Output, map_patches
from s2koop.errors import InputError

CORNERS = Output({"feature": [0, 1, 2]})


def corners(model: None, patches: Tensor) -> Tensor:
    """First, last and mean value of the last band of each patch."""
    flat = patches[:, -1].flatten(1)
    return patches.new_tensor(np.stack([flat[:, 0], flat[:, -1], flat.mean(1)], 1))


@pytest.fixture
def images() -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(3, 2, 41, 53)).astype(np.float32)
    y, x = 5000 - 10.0 * np.arange(41), 300 + 10.0 * np.arange(53)
    return xr.DataArray(
        values, dims=("time", "band", "y", "x"), coords={"time": [1, 2, 3], "band": ["B02", "B08"], "y": y, "x": x},
        attrs={"sensor": "S2A"},
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(
    patch=st.integers(1, 20), stride=st.integers(1, 24), rows=st.integers(5, 45), columns=st.integers(5, 60),
    dates=st.integers(2, 3),
)  # fmt: skip
def test_chunks_never_show(patch, stride, rows, columns, dates):
    values = np.random.default_rng(0).normal(size=(3, 2, 41, 53)).astype(np.float32)
    images = xr.DataArray(values, dims=("time", "band", "y", "x"))
    whole = map_patches(images, corners, patch=patch, stride=stride, output=CORNERS)
    lazy = map_patches(images.chunk(time=dates, y=rows, x=columns), corners, patch=patch, stride=stride, output=CORNERS)
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), whole)


def test_patch_is_what_slicing_gives(images):
    found = map_patches(images, corners, patch=7, stride=3, output=CORNERS)
    assert found.dims == ("time", "y", "x", "feature")
    assert found.sizes["y"] == (41 - 7) // 3 + 1
    window = images.isel(time=1, band=1, y=slice(12, 19), x=slice(30, 37))
    here = found.isel(time=1, y=4, x=10)
    np.testing.assert_allclose(here, [window[0, 0], window[-1, -1], window.mean()], rtol=1e-5)
    assert here["y"] == window["y"].mean()
    assert here["x"] == window["x"].mean()


def test_even_patches_have_their_centre_between_pixels(images):
    found = map_patches(images, corners, patch=4, stride=4, output=CORNERS)
    np.testing.assert_allclose(found["x"][:2], [315.0, 355.0])


def test_images_without_band_or_other_dims(images):
    found = map_patches(images[0, 1].drop_vars(["time", "band"]), corners, patch=8, stride=8, output=CORNERS)
    assert found.dims == ("y", "x", "feature")
    np.testing.assert_allclose(found[..., 0], images[0, 1, :40:8, :48:8])


def test_patches_with_gaps_are_blank_unless_some_are_allowed(images):
    images[0, 0, 20, 20] = np.nan
    strict = map_patches(images, corners, patch=8, stride=8, output=CORNERS)
    assert strict[0, 2, 2].isnull().all()
    assert strict.isnull().sum() == 3
    mild = map_patches(images, corners, patch=8, stride=8, output=CORNERS, max_missing=0.01)
    assert mild.notnull().all()


def test_nothing_but_gaps_is_blank_whatever_is_allowed(images):
    images[1] = np.nan
    found = map_patches(images, corners, patch=8, stride=8, output=CORNERS, max_missing=1.0)
    assert found[1].isnull().all()
    assert found[[0, 2]].notnull().all()


def test_crs_and_time_stay(images):
    images = images.rio.write_crs(32635)
    found = map_patches(images.chunk(y=20), corners, patch=8, stride=4, output=CORNERS)
    assert found.rio.crs == images.rio.crs
    np.testing.assert_array_equal(found["time"], images["time"])
    assert "band" not in found.coords


def test_large_chunks_are_split(images, monkeypatch):
    from s2koop.engine import patches

    monkeypatch.setattr(patches, "block_bytes", lambda: 20_000)
    whole = map_patches(images, corners, patch=8, stride=4, output=CORNERS)
    lazy = map_patches(images.chunk(), corners, patch=8, stride=4, output=CORNERS)
    assert lazy.data.npartitions >= 4
    xr.testing.assert_identical(lazy.compute(), whole)


def test_images_smaller_than_a_patch_are_refused(images):
    with pytest.raises(InputError, match="y has 41 pixels, fewer than a patch of 64"):
        map_patches(images, corners, patch=64, stride=8, output=CORNERS)

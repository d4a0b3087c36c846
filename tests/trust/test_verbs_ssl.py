"""Every verb of ``.ssl`` on any images and series: the laws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from s2koop.errors import S2koopError
from s2koop.simulate import seasonal_cube
from tests.trust.laws import Verb, obey
from tests.trust.small import image_encoder, series_encoder
from tests.trust.strategies import FAULTS, broken, examples

IMAGES = {"least_side": 16, "most_side": 22, "most_dates": 3, "subset": False}
NEAR = {"rtol": 1e-4, "atol": 1e-4}
VERBS = {
    "embed": Verb(
        lambda images: images.ssl.embed(image_encoder(), stride=3, max_missing=0.5, progress=False),
        only=frozenset({"bands"}), cubes=IMAGES, **NEAR,
    ),
    "embed, series": Verb(
        lambda cube: cube.ssl.embed(series_encoder(), progress=False), cubes={"subset": False}, **NEAR
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
@examples(4)
@given(data=st.data())
def test_a_verb_obeys_the_laws_on_any_images(name, data):
    obey(VERBS[name], data)


@examples(2)
@given(data=st.data())
def test_what_an_encoder_learns_does_not_depend_on_numpy_or_dask(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = xr.DataArray(rng.random((8, 20, 20), np.float32), dims=("image", "y", "x"))
    before = images.copy(deep=True)
    options = {"steps": 1, "batch": 4, "width": 4, "patch": 16, "progress": False}
    wanted = images.ssl.pretrain("geometry", **options)
    xr.testing.assert_identical(images, before)
    assert images.chunk().ssl.pretrain("geometry", **options).digest == wanted.digest


@examples(4)
@given(data=st.data())
def test_neighbours_are_the_same_in_chunks_and_never_samples_without_an_embedding(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    vectors = xr.DataArray(rng.normal(size=(12, 4)).astype("float32"), dims=("image", "feature"))
    lost = data.draw(st.sets(st.integers(1, 11), max_size=6))
    vectors[sorted(lost)] = np.nan
    metric = data.draw(st.sampled_from(["cosine", "euclidean", "dot"]))
    wanted = vectors.ssl.search(0, k=3, metric=metric)
    assert not set(wanted["position"].values.ravel().tolist()) & lost
    found = vectors.chunk({"image": data.draw(st.integers(1, 13))}).ssl.search(0, k=3, metric=metric)
    xr.testing.assert_allclose(found.compute(), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if f not in ("no xarray", "nothing", "a dataset", "unsorted", "digital numbers")]
)
def test_what_are_no_pixel_series_is_refused(fault):
    bad = broken(seasonal_cube(seed=0, every_days=60, shape=(4, 4)), fault)
    with pytest.raises(S2koopError):
        bad.ssl.embed(series_encoder(), progress=False)


@pytest.mark.parametrize("fault", ["no y", "no pixels", "words", "complex numbers", "an unknown band", "no band"])
def test_what_are_no_images_is_refused(fault):
    bad = broken(seasonal_cube(seed=0, every_days=60, shape=(16, 16)), fault)
    with pytest.raises(S2koopError):
        bad.ssl.embed(image_encoder(), progress=False)


def test_a_probe_is_the_same_in_chunks():
    rng = np.random.default_rng(0)
    images = xr.DataArray(rng.normal(size=(24, 16, 16)) * rng.random((24, 1, 1)), dims=("image", "y", "x"))
    encoder = images.ssl.pretrain("geometry", steps=1, batch=4, width=4, progress=False)
    labels = images.std(("y", "x"))
    scores = [
        one.ssl.embed(encoder, progress=False).ssl.probe(labels, one, budgets=(), progress=False).to_dataframe()
        for one in (images, images.chunk(image=5))
    ]
    numbers = [table.select_dtypes("number") for table in scores]
    np.testing.assert_allclose(*numbers, rtol=1e-3, atol=1e-3)

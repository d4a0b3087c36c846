"""A probe of an embedding always stands beside what the embedding has to beat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import s2koop
from s2koop.errors import InputError, ModelError
from s2koop.koopman import embedding as latents
from s2koop.simulate import seasonal_cube
from s2koop.ssl.encoder import Encoder, EncoderSettings, make_network


@pytest.fixture(scope="module")
def waves() -> xr.DataArray:
    """Plane waves of other lengths under noise, 60 images of 32 pixels; the length is a coordinate."""
    random = np.random.default_rng(0)
    length = random.uniform(4, 12, 60)
    phase = 2 * np.pi * (np.arange(32)[None] / length[:, None] + random.random((60, 1)))
    values = np.sin(phase)[:, None, :] + 0.7 * random.normal(size=(60, 32, 32))
    place = np.arange(32) * 50.0
    return xr.DataArray(
        values.astype(np.float32), dims=("image", "y", "x"), attrs={"sensor": "SAR"},
        coords={"image": np.arange(60), "y": place, "x": place, "length": ("image", length)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    settings = EncoderSettings(patch=32, width=4, sensor="SAR")
    return Encoder(settings, make_network(settings), {"name": "trial"})


@pytest.fixture(scope="module")
def embedding(waves, encoder) -> xr.DataArray:
    return waves.ssl.embed(encoder, progress=False)


def test_all_rows_are_there_and_waves_are_known_by_their_spectrum(waves, embedding):
    result = embedding.ssl.probe(waves["length"], waves, budgets=(10,), progress=False)
    assert result.scores["features"].values.tolist() == [
        "trial", "trial + spectrum", "spectrum", "statistics", "untrained", "mean",
    ]  # fmt: skip
    table = result.to_dataframe()
    assert table.loc["spectrum", "rmse"] < 0.5 * table.loc["mean", "rmse"]
    assert result.best("rmse") in ("spectrum", "trial + spectrum")
    assert result.best("rmse") in result.verdict


def test_an_untrained_encoder_is_another_draw_of_the_same_network(waves, embedding, encoder):
    values = waves.ssl.embed(encoder.untrained(seed=3), progress=False)
    assert values.shape == embedding.shape
    assert not np.allclose(values, embedding)


def test_optical_images_have_no_spectrum(waves):
    settings = EncoderSettings(patch=16, width=4, sensor="S2A")
    made = Encoder(settings, make_network(settings), {"name": "optical"})
    images = waves.assign_attrs(sensor="S2A")
    found = images.ssl.embed(made, progress=False)
    result = found.ssl.probe(waves["length"], images, budgets=(), progress=False)
    assert "spectrum" not in result.scores["features"].values
    assert result.scheme == "5 folds of 60 groups"  # four patches an image, one label


def test_lazy_images_give_the_same(waves, embedding, encoder):
    lazy = waves.chunk(image=7)
    found = lazy.ssl.embed(encoder)
    one = found.ssl.probe(waves["length"], lazy, budgets=(), progress=False).to_dataframe()
    other = embedding.ssl.probe(waves["length"], waves, budgets=(), progress=False).to_dataframe()
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_patches_with_gaps_are_missing_in_every_row(waves, encoder):
    gappy = waves.copy()
    gappy[:7, 3, 3] = np.nan
    found = gappy.ssl.embed(encoder, progress=False)
    assert found.ssl.probe(waves["length"], gappy, budgets=(), progress=False).left_out == 7


def test_other_images_are_refused(waves, embedding):
    with pytest.raises(InputError, match="give the images it was made of"):
        embedding.ssl.probe(waves["length"], waves[:20], progress=False)


def test_an_encoder_that_is_gone_has_to_be_given(waves, embedding, encoder, monkeypatch, tmp_path):
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="'trial' is not in the cache; give encoder="):
        embedding.ssl.probe(waves["length"], waves, progress=False)
    result = embedding.ssl.probe(waves["length"], waves, encoder=encoder, budgets=(), progress=False)
    assert "untrained" in result.scores["features"].values
    with pytest.raises(InputError, match="not what made this embedding"):
        embedding.ssl.probe(waves["length"], waves, encoder=encoder.untrained(), progress=False)


def test_names_in_a_file_choose_no_path(waves, embedding):
    strange = embedding.assign_attrs(encoder_digest="../../etc/passwd")
    with pytest.raises(ModelError, match="not in the cache"):
        strange.ssl.probe(waves["length"], waves, progress=False)


def test_what_is_no_embedding_is_refused(waves):
    with pytest.raises(InputError, match="no embedding"):
        waves.ssl.probe(waves["length"], waves, progress=False)


# latents of a Koopman model


@pytest.fixture(scope="module")
def cube() -> xr.DataArray:
    return seasonal_cube(seed=0)


@pytest.fixture(scope="module")
def model(cube):
    return cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)


def test_latents_embed_pixels_lazily_and_know_their_place(cube, model):
    whole = model.embed(cube, progress=False)
    assert whole.dims == ("y", "x", "feature")
    assert whole.sizes["feature"] == 8
    for dim in ("y", "x"):
        np.testing.assert_array_equal(whole[dim], cube[dim])
    lazy = model.embed(cube.chunk(y=2, x=3))
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy.values, whole.values, rtol=1e-3, atol=1e-4)


def test_latents_decode_to_the_series(cube, model):
    """The latent of a pixel is all that its trajectory needs."""
    found = model.embed(cube, progress=False)
    latent = model.background.latent(torch.from_numpy(found.values.reshape(-1, 8)))
    analysis = cube.koopman.assimilate(model, constraint="strong", scene=False, progress=False)["mean"]
    start = model.anchor(float(s2koop._time.to_days(cube["time"].values[0])))
    days = torch.from_numpy(s2koop._time.to_days(cube["time"].values) - start).float()
    with torch.no_grad():
        states = model.network.operator.advance(latent, days)
        decoded = model.reflectance(model.network.decode(states)[..., : len(model.bands)])
    np.testing.assert_allclose(
        decoded.numpy().reshape(*found.shape[:2], *decoded.shape[1:]),
        analysis.transpose("y", "x", "time", "band").values, atol=2e-3,
    )  # fmt: skip


def test_latents_are_probed_beside_the_raw_series(cube, model):
    label = cube.max("time").isel(band=0)
    found = model.embed(cube, progress=False)
    size = 2 * abs(float(cube["y"][1] - cube["y"][0]))
    result = found.ssl.probe(label, cube, groups=size, folds=3, budgets=(), progress=False)
    assert result.scores["features"].values.tolist() == ["koopman modal", "raw series", "untrained", "mean"]


def test_an_untrained_model_has_other_latents(cube, model):
    fresh = latents.untrained(model)
    assert not np.allclose(fresh.embed(cube, progress=False), model.embed(cube, progress=False))


def test_bands_that_a_model_does_not_know_are_refused(cube, model):
    with pytest.raises(ModelError):
        model.embed(cube.assign_coords(band=[f"B{n:02d}X" for n in range(cube.sizes["band"])]))

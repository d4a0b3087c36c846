"""Encoders: trained without labels, kept in files, and the same numbers on any road to an embedding."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import s2koop
from s2koop import _checkpoint as resume
from s2koop import ssl
from s2koop.errors import InputError, ModelError, S2koopWarning
from s2koop.ssl import pretraining
from s2koop.ssl.contrastive import nt_xent
from s2koop.ssl.encoder import Encoder, EncoderSettings, make_network
from s2koop.ssl.series import SeriesNet
from s2koop.ssl.texture import TextureNet

QUICK = {"steps": 4, "batch": 8, "width": 4, "progress": False}


@pytest.fixture
def textures() -> xr.DataArray:
    """Waves of two wavelengths under noise, 40 images of 48 pixels."""
    random = np.random.default_rng(0)
    at = np.arange(48)
    wavelength = np.where(np.arange(40) % 2, 5.0, 12.0)
    phase = random.uniform(0, 2 * np.pi, 40)
    waves = np.sin(2 * np.pi * at[None] / wavelength[:, None] + phase[:, None])[:, None, :]
    values = (waves + 0.5 * random.normal(size=(40, 48, 48))).astype(np.float32)
    return xr.DataArray(
        values, dims=("image", "y", "x"), coords={"image": np.arange(40), "y": at * 50.0, "x": at * 50.0},
        attrs={"sensor": "SAR"},
    )  # fmt: skip


@pytest.fixture
def cube() -> xr.DataArray:
    """Pixel series of two bands with gaps, half of them of another season."""
    random = np.random.default_rng(0)
    times = pd.date_range("2020-01-03", periods=50, freq="10D")
    phase = np.where(np.arange(12) < 6, 0.0, np.pi)
    season = np.sin(2 * np.pi * times.dayofyear.values[:, None] / 365.25 + phase)
    values = 0.3 + 0.1 * season[:, None, None, :] + 0.01 * random.normal(size=(50, 2, 10, 12))
    values[random.random((50, 1, 10, 12)).repeat(2, 1) < 0.4] = np.nan
    return xr.DataArray(
        values.astype(np.float32), dims=("time", "band", "y", "x"),
        coords={"time": times, "band": ["B04", "B08"], "y": np.arange(10) * 20.0, "x": np.arange(12) * 20.0},
    )  # fmt: skip


def encoder(**options) -> Encoder:
    settings = EncoderSettings(**{"patch": 16, "width": 4, "sensor": "SAR", **options})
    return Encoder(settings, make_network(settings), {"name": "trial"})


# the loss and the networks


def test_loss_is_what_its_equation_says():
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 3, generator=random), torch.randn(5, 3, generator=random)
    both = torch.cat([first, second])
    total = 0.0
    for i in range(10):
        similar = [torch.cosine_similarity(both[i], both[k], dim=0) / 0.3 for k in range(10)]
        others = torch.stack([similar[k] for k in range(10) if k != i])
        total += float(torch.logsumexp(others, 0) - similar[(i + 5) % 10])
    assert float(nt_xent(first, second, 0.3)) == pytest.approx(total / 10, rel=1e-5)


def test_loss_does_not_know_lengths():
    first, second = torch.randn(6, 4), torch.randn(6, 4)
    torch.testing.assert_close(nt_xent(first, second), nt_xent(7 * first, 0.1 * second))


def test_texture_features_do_not_know_where():
    network = TextureNet(1, width=4).eval()
    images = torch.randn(3, 1, 64, 64)
    moved = images.roll(16, 3)
    there, here = network(moved), network(images)
    assert network.features == here.shape[1] == 120
    torch.testing.assert_close(there, here, rtol=0.2, atol=0.1)


@torch.no_grad()
def test_series_network_ignores_dates_without_values():
    network = SeriesNet(2, width=8).eval()
    values, days = torch.randn(3, 20, 2), torch.arange(20) * 10.0
    gaps = torch.cat([values, torch.full((3, 5, 2), torch.nan)], 1)
    torch.testing.assert_close(network(gaps, torch.arange(25) * 10.0), network(values, days))
    order = torch.randperm(20)
    torch.testing.assert_close(network(values[:, order], days[order]), network(values, days), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_series_network_knows_the_season_and_not_the_year():
    network = SeriesNet(2, width=8).eval()
    values, days = torch.randn(3, 20, 2), torch.arange(20) * 10.0
    torch.testing.assert_close(network(values, days + 365.2425), network(values, days), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(network(values, days + 90), network(values, days), atol=1e-3)


# training


def test_training_tells_textures_apart(textures):
    trained = textures.ssl.pretrain("geometry", steps=30, batch=20, width=8, progress=False)
    assert trained.card["loss_last"] < trained.card["loss_first"]
    found = textures.ssl.embed(trained, progress=False).values.reshape(40, -1)
    kind = np.arange(40) % 2
    apart = np.linalg.norm(found[kind == 0].mean(0) - found[kind == 1].mean(0))
    within = np.mean([np.linalg.norm(found[kind == k] - found[kind == k].mean(0), axis=1).mean() for k in (0, 1)])
    assert apart > 3 * within


def test_seeds_repeat_and_differ(textures):
    one, same, other = (textures.ssl.pretrain("geometry", **QUICK, seed=seed) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest


def test_chunks_serve_as_well(textures):
    trained = textures.chunk(image=7).ssl.pretrain("semantic", **QUICK)
    assert trained.settings.pixel == 50
    assert trained.settings.sensor == "SAR"
    assert "direction" in trained.settings.forgets


def test_what_was_interrupted_goes_on_as_if_nothing_had_been(textures, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "EVERY", 2)
    whole = textures.ssl.pretrain("geometry", **QUICK)
    path = tmp_path / "training.safetensors"
    step = pretraining._Run._step

    def interrupted(self, number, views):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, views)

    monkeypatch.setattr(pretraining._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        textures.ssl.pretrain("geometry", **QUICK, checkpoint=path)
    assert path.is_file()
    monkeypatch.setattr(pretraining._Run, "_step", step)
    with pytest.raises(ModelError, match="other|another training"):
        textures[::-1].ssl.pretrain("geometry", **QUICK, checkpoint=path)
    gone_on = textures.ssl.pretrain("geometry", **QUICK, checkpoint=path)
    assert not path.exists()
    for name, weights in whole.network.state_dict().items():
        torch.testing.assert_close(gone_on.network.state_dict()[name], weights, rtol=0, atol=0)
    assert gone_on.card == whole.card


def test_half_precision_learns_too(textures):
    trained = textures.ssl.pretrain("geometry", **QUICK, precision="bf16")
    assert all(weights.dtype == torch.float32 for weights in trained.network.parameters())


def test_series_of_other_seasons_are_told_apart(cube):
    trained = cube.ssl.pretrain("series", steps=25, batch=40, width=16, progress=False)
    found = cube.ssl.embed(trained, progress=False)
    assert found.dims == ("y", "x", "feature")
    left, right = found[:, :6].values.reshape(60, -1), found[:, 6:].values.reshape(60, -1)
    apart = np.linalg.norm(left.mean(0) - right.mean(0))
    assert apart > 2 * np.linalg.norm(left - left.mean(0), axis=1).mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.ssl.pretrain("geometrie"), "policy='geometrie' is unknown"),
        (lambda a: a.ssl.pretrain("geometry", patch=64), "48 pixels in y, fewer than a patch of 64"),
        (lambda a: a.rename(y="row").ssl.pretrain("geometry"), "'y' and 'x' are needed"),
        (lambda a: a.ssl.pretrain("series"), "pixel series need"),
        (lambda a: a.ssl.pretrain("geometry", steps=0), "steps=0"),
        (lambda a: a.ssl.pretrain("geometry", backbone="vgg"), "backbone='vgg' is unknown"),
        (lambda a: a.ssl.pretrain("geometry", device="tpu"), "device='tpu'"),
        (lambda a: a.ssl.pretrain("geometry", temperature=0), "temperature=0"),
        (lambda a: a.ssl.pretrain("geometry", checkpoint="x.pt"), ".safetensors"),
        (lambda a: (a * 0 + 1).ssl.pretrain("geometry"), "never change"),
        (lambda a: (a * np.nan).ssl.pretrain("geometry"), "no two usable samples"),
        (lambda a: a.astype(str).ssl.pretrain("geometry"), "real numbers are needed"),
        (lambda a: a[:0].ssl.pretrain("geometry"), "no images"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(textures, call, message):
    with pytest.raises(InputError, match=message):
        call(textures)


# embedding


def test_memory_chunks_and_files_give_the_same(textures, tmp_path):
    textures.to_dataset(name="image_values").to_zarr(tmp_path / "images.zarr", consolidated=False)
    stored = xr.open_zarr(tmp_path / "images.zarr", consolidated=False)["image_values"]
    whole = textures.ssl.embed(encoder(), stride=8, progress=False)
    for lazy in (textures.chunk(image=3, y=20, x=11), stored):
        found = lazy.ssl.embed(encoder(), stride=8)
        assert found.chunks is not None
        np.testing.assert_array_equal(found.values, whole.values)
    assert whole.dims == ("image", "y", "x", "feature")
    assert whole.attrs["encoder"] == "trial"


def test_bands_are_taken_by_name(textures):
    banded = xr.concat([textures, 2 * textures, -textures], "band").assign_coords(band=["B02", "B03", "B04"])
    chosen = encoder(bands=("B04", "B02"), mean=(0, 0), std=(1, 1))
    found = banded.transpose("image", "band", "y", "x").ssl.embed(chosen, progress=False)
    by_hand = banded.sel(band=["B04", "B02"]).ssl.embed(chosen, progress=False)
    np.testing.assert_array_equal(found.transpose(*by_hand.dims), by_hand)
    with pytest.raises(InputError, match="lack B04"):
        banded.sel(band=["B02", "B03"]).ssl.embed(chosen)
    with pytest.raises(InputError, match="no dim 'band'"):
        textures.ssl.embed(chosen)
    with pytest.raises(InputError, match="images of one band, these have 3"):
        banded.ssl.embed(encoder())


def test_constant_and_missing_patches(textures):
    textures[0] = 3.0
    textures[1] = np.nan
    found = textures.ssl.embed(encoder(), progress=False)
    assert found[0].notnull().all()
    assert found[1].isnull().all()
    assert found[2:].notnull().all()


def test_other_pixels_than_those_of_the_training_are_told(textures):
    with pytest.warns(S2koopWarning, match="pixels are 50 m apart and trial was trained at 10 m"):
        textures.ssl.embed(encoder(pixel=10.0), progress=False)


def test_series_embeddings_are_lazy_too(cube):
    settings = EncoderSettings(
        backbone="series", bands=("B04", "B08"), mean=(0.3, 0.3), std=(0.1, 0.1), patch=1, width=8
    )
    chosen = Encoder(settings, make_network(settings))
    cube[:, :, 0, 0] = np.nan
    whole = cube.ssl.embed(chosen, progress=False)
    assert whole[0, 0].isnull().all()
    np.testing.assert_allclose(cube.chunk(y=3, time=20).ssl.embed(chosen).values, whole.values, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="reads pixel series"):
        cube[0].ssl.embed(chosen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 64}, "fewer than a patch of 64"),
        ({"stride": 0}, "stride=0"),
        ({"max_missing": 1.0}, "less than 1"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_what_cannot_be_embedded_is_refused(textures, options, message):
    with pytest.raises(InputError, match=message):
        textures.ssl.embed(encoder(), **options)


# files


def test_files_give_the_same_encoder(textures, tmp_path):
    made = encoder()
    path = made.save(tmp_path / "trial.safetensors")
    loaded = ssl.load(path)
    assert loaded.digest == made.digest
    np.testing.assert_array_equal(textures.ssl.embed(path, progress=False), textures.ssl.embed(made, progress=False))


def test_files_of_other_models_are_refused(tmp_path):
    path = encoder().save(tmp_path / "trial.safetensors")
    with pytest.raises(ModelError, match="format"):
        s2koop.koopman.load(path)
    (tmp_path / "noise.safetensors").write_bytes(b"noise" * 100)
    with pytest.raises(ModelError, match="not a model that s2koop wrote"):
        ssl.load(tmp_path / "noise.safetensors")
    with pytest.raises(ModelError, match="there is no encoder 'nowhere'"):
        ssl.load("nowhere")


def test_untrained_twin_has_the_same_shape_and_other_weights(textures):
    trained = textures.ssl.pretrain("geometry", **QUICK)
    twin = trained.untrained()
    assert twin.features == trained.features
    assert twin.settings.mean == trained.settings.mean
    assert twin.digest != trained.digest
    assert twin.settings.policy == "untrained"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg"}, "is unknown"),
        ({"bands": "B02"}, "sequence of names"),
        ({"bands": ("B02", "B03")}, "mean and std have 1 and 1 numbers for 2 bands"),
        ({"std": (0.0,)}, "must be positive"),
        ({"prepare": "magic"}, "prepare='magic' is unknown"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        EncoderSettings(**options)


def test_misspelt_setting_is_told():
    with pytest.raises(InputError, match="did you mean 'patch'"):
        EncoderSettings.from_dict({"pach": 3})


def test_small_patches_of_several_bands_are_trained_on(textures):
    """Views of the smallest patch are no smaller than what the network can halve."""
    banded = xr.concat([textures, 0.5 * textures], "band").assign_coords(band=["B03", "B08"])
    banded[0, 0, 3, 3] = np.nan
    trained = banded.transpose("image", "band", "y", "x").ssl.pretrain("reflectance", patch=16, **QUICK)
    found = banded.ssl.embed(trained, stride=16, progress=False)
    assert found.sizes["y"] == 3
    assert int(found.isnull().any("feature").sum()) == 1
    with pytest.raises(InputError, match="patch=8 must be a whole number of at least 16"):
        banded.ssl.pretrain("reflectance", patch=8)

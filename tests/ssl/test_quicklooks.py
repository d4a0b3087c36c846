"""Quicklooks become one array, at a common pixel size or as WV-Net wants them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from s2koop.errors import InputError
from s2koop.ssl import read_quicklooks
from s2koop.ssl._wvnet import SETTINGS, preprocess
from s2koop.ssl.encoder import Encoder, make_network

NAMES = [
    "s1a-wv1-QL-vv-20190213t130655-20190213t130658-025911-02e29d-095.png",
    "s1b-wv2-QL-vv-20191221t142622-20191221t142625-030447-037c33-018.png",
]


@pytest.fixture
def folder(tmp_path):
    """A wave of 16 rows of some 41 m on 489 x 555 pixels, and grey 100 on 478 x 440."""
    rows = 128 + 100 * np.sin(2 * np.pi * np.arange(489)[:, None] / 16) * np.ones(555)
    Image.fromarray(rows.astype(np.uint8)).save(tmp_path / NAMES[0])
    Image.fromarray(np.full((478, 440), 100, np.uint8)).save(tmp_path / NAMES[1])
    return tmp_path


def test_images_of_other_sizes_meet_on_one_grid(folder):
    images = read_quicklooks(folder)
    assert images.dims == ("image", "y", "x")
    assert images.shape == (2, 400, 400)
    assert images.dtype == np.uint8
    assert (images[1] == 100).all()
    assert float(images["y"].diff("y").mean()) == 50
    wave = images[0, :, 0].values.astype(float) - images[0].mean().item()
    assert np.argmax(np.abs(np.fft.rfft(wave))) == pytest.approx(489 / 16, abs=1)


def test_names_say_when_and_who(folder):
    images = read_quicklooks([folder / NAMES[1]])
    assert images["time"].values[0] == np.datetime64("2019-12-21T14:26:22")
    assert (images["platform"].item(), images["beam"].item(), images["polarisation"].item()) == ("S1B", "WV2", "VV")
    assert images.attrs["sensor"] == "SAR"


def test_other_names_are_no_error(folder):
    (folder / NAMES[0]).rename(folder / "mine.png")
    assert "time" not in read_quicklooks(folder / "mine.png").coords


def test_images_for_wvnet_are_cut_and_padded(folder):
    images = read_quicklooks(folder, pixel=None)
    assert images.shape == (2, 450, 450)
    np.testing.assert_array_equal(images[0, :, 0], np.array(Image.open(folder / NAMES[0]))[20:470, 52])


def test_what_is_no_image_is_refused(folder):
    (folder / "notes.png").write_text("no image")
    with pytest.raises(InputError, match="notes.png is no PNG"):
        read_quicklooks(folder)
    with pytest.raises(InputError, match="there is no file"):
        read_quicklooks(folder / "nowhere.png")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds no PNG files"):
        read_quicklooks(folder / "empty")
    with pytest.raises(InputError, match="finer than a vignette"):
        read_quicklooks(folder, pixel=1)


def test_wvnet_sees_what_its_own_preprocessing_gives(folder):
    settings = replace(SETTINGS, backbone="resnet18")  # the same road, a smaller network
    encoder = Encoder(settings, make_network(settings))
    found = read_quicklooks(folder, pixel=None).ssl.embed(encoder, tile=2, progress=False)
    assert found.dims == ("image", "y", "x", "feature")
    for at, name in enumerate(NAMES):
        direct = encoder.network(preprocess(np.array(Image.open(folder / name)))[None])
        np.testing.assert_allclose(found[at, 0, 0], direct[0], rtol=1e-4, atol=1e-5)

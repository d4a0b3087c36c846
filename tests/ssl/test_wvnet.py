"""WV-Net: the published preprocessing on real quicklooks, and a file of weights that must be the published one."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.errors import InputError, ModelError
from s2koop.ssl import _wvnet as module
from s2koop.ssl._wvnet import CROP, MEAN, STD, authenticate, cropped, preprocess, resized, wvnet, wvnet_network
from s2koop.ssl.resnet import Bottleneck, ResNet
from s2koop.ssl.state_dicts import git_blob_id, read_state

Image = pytest.importorskip("PIL.Image")
#: Mean, standard deviation and three pixels of each quicklook after the published preprocessing.
GOLDEN = json.loads(Path(__file__).with_name("wvnet_golden.json").read_text())


def by_hand(grey):
    """The published preprocessing by another road: pasted with PIL, interpolated by gathering in float64.

    Torch rounds positions to float32, which on noise makes a difference of 2e-4.
    """
    height, width = grey.shape
    missing_rows, missing_columns = max(0, 450 - height), max(0, 450 - width)
    # the quirk: what is missing of the width becomes rows on top
    padded = Image.new("L", (width, missing_columns + height + missing_rows), 0)
    padded.paste(Image.fromarray(grey), (0, missing_columns))
    left, top = (round((size - 450) / 2) if size > 450 else -((450 - size) // 2) for size in padded.size)
    square = np.asarray(padded.crop((left, top, left + 450, top + 450)), float) / 255
    at = np.arange(224) * 449 / 223
    low = np.minimum(at.astype(int), 448)
    part = at - low
    rows = square[low] * (1 - part)[:, None] + square[low + 1] * part[:, None]
    both = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return (both - 103.4862417561056 / 255) / (56.745013435601074 / 255)


def quicklook(shared_data, name):
    return np.asarray(Image.open(shared_data(f"wv_quicklooks/{name}")).convert("L"))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_numbers_of_real_quicklooks(shared_data, name):
    grey = quicklook(shared_data, name)
    found = preprocess(grey).numpy()
    assert found.dtype == np.float32
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    golden = GOLDEN[name]
    assert found[0].mean() == pytest.approx(golden["mean"], abs=1e-4)
    assert found[0].std() == pytest.approx(golden["std"], abs=1e-4)
    for row, column, value in golden["pixels"]:
        assert found[0, row, column] == pytest.approx(value, abs=1e-4)
    np.testing.assert_allclose(found[0], by_hand(grey), atol=3e-4)


def test_golden_numbers_are_those_of_all_quicklooks(shared_data):
    folder = shared_data("wv_quicklooks")
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(GOLDEN)


@pytest.mark.parametrize("shape", [(489, 540), (491, 541), (451, 449), (440, 440), (300, 301), (449, 800), (450, 450)])
def test_any_size_as_published(shape):
    grey = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    np.testing.assert_allclose(preprocess(grey)[0], by_hand(grey), atol=4e-4)


def test_the_quirk_pads_missing_columns_on_top():
    grey = torch.full((1, 478, 431), 255, dtype=torch.uint8)
    legacy, even = cropped(grey), cropped(grey, legacy_pad=False)
    assert legacy.shape == even.shape == (1, CROP, CROP)
    # 19 rows on top leave 497, of which 24 are cut on top again (a half, rounded to even): none remain
    assert (legacy[0].any(1).sum(), legacy[0].any(0).sum()) == (450, 431)
    narrow = torch.full((1, 460, 400), 255, dtype=torch.uint8)
    assert (cropped(narrow)[0, :20] == 0).all()
    assert (cropped(narrow)[0, 20:, 25:425] == 255).all()
    assert (cropped(narrow, legacy_pad=False)[0, :, 25:425] == 255).all()


def test_the_quirk_moves_wv2_images_only(shared_data):
    for name in GOLDEN:
        grey = quicklook(shared_data, name)
        moved = (preprocess(grey) - preprocess(grey, legacy_pad=False)).abs().max()
        assert moved > 1 if "-wv2-" in name else moved == 0


def test_kinds_of_input_give_the_same():
    grey = np.random.default_rng(2).integers(0, 256, (2, 460, 455), np.uint8)
    expected = preprocess(grey)
    assert expected.shape == (2, 3, 224, 224)
    torch.testing.assert_close(preprocess(torch.from_numpy(grey)), expected)
    torch.testing.assert_close(preprocess(xr.DataArray(grey, dims=("image", "y", "x"))), expected)
    torch.testing.assert_close(preprocess(grey[1]), expected[1])
    torch.testing.assert_close(preprocess(grey[:, ::-1])[0], preprocess(grey[0, ::-1].copy()))


def test_missing_pixels_are_black():
    levels = torch.full((1, 1, 450, 450), 200.0)
    levels[..., :100, :] = torch.nan
    out = resized(levels)
    assert out.shape == (1, 3, 224, 224)
    assert out[0, 0, 0, 0].item() == pytest.approx(-MEAN / STD)
    assert out[0, 0, -1, 0].item() == pytest.approx((200 / 255 - MEAN) / STD, abs=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((450, 450), np.float32), "float32; WV-Net takes grey levels of uint8"),
        (np.zeros((450, 450, 3), np.uint8), "expected \\(y, x\\)"),
        (np.zeros((1, 1, 450, 450), np.uint8), "expected \\(y, x\\)"),
        (np.zeros((0, 450), np.uint8), "expected \\(y, x\\)"),
    ],
)
def test_bad_images_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        preprocess(image)


def test_blob_ids_are_those_of_git(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"what is up, doc?")
    assert git_blob_id(path) == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # the example of Pro Git, chapter 10.2


class Executed:
    """What sets a mark when it is unpickled."""

    ran = False

    def __reduce__(self):
        return (exec, ("import tests.ssl.test_wvnet as t; t.Executed.ran = True",))


def test_another_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "wvnet_resnet50_weights.pt"
    torch.save({"conv1.weight": Executed()}, path)
    for call in (authenticate, wvnet_network, wvnet):
        with pytest.raises(ModelError, match=f"git blob id is {git_blob_id(path)}.*expected 1f2bb018"):
            call(path)
    with pytest.raises(ModelError, match="cannot be read as tensors alone"):
        read_state(path.read_bytes())
    assert not Executed.ran
    with pytest.raises(ModelError, match="there is no file"):
        wvnet(tmp_path / "none.pt")


def test_an_authentic_file_loads(tmp_path, monkeypatch):
    """With the id of a file of our own, of a shallower network, in place of the published one."""
    monkeypatch.setattr(module, "resnet50", lambda: ResNet((1, 1, 1, 1), Bottleneck))
    network = ResNet((1, 1, 1, 1), Bottleneck)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    monkeypatch.setattr(module, "BLOB_ID", git_blob_id(path))
    encoder = wvnet(path)
    assert (encoder.name, encoder.features, encoder.settings.patch) == ("wvnet", 2048, 450)
    grey = np.random.default_rng(3).integers(0, 256, (1, 450, 450), np.uint8)
    with torch.no_grad():
        expected = network.eval()(preprocess(grey))
    found = encoder(torch.from_numpy(grey)[:, None].float())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.save({name: value for name, value in network.state_dict().items() if name != "bn1.bias"}, path)
    monkeypatch.setattr(module, "BLOB_ID", git_blob_id(path))
    with pytest.raises(ModelError, match="1 missing .bn1.bias"):
        wvnet(path)


def test_equal_to_the_published_embeddings(shared_data):
    weights = os.environ.get("S2KOOP_WVNET_WEIGHTS")
    if not weights:
        pytest.skip("set S2KOOP_WVNET_WEIGHTS to the published file of weights, which s2koop does not distribute")
    expected = np.load(shared_data("wv_quicklooks/valid_embs.npy"))
    with open(shared_data("wv_quicklooks/sample_data.csv")) as file:
        names = [Path(row["filename"]).name for row in csv.DictReader(file)]
    network = wvnet_network(weights)
    with torch.no_grad():
        found = np.concatenate([network(preprocess(quicklook(shared_data, name))[None]).numpy() for name in names])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)

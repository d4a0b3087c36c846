"""ONNX files of encoders: onnxruntime gives the numbers of torch for any number of images or series."""

from __future__ import annotations

import json
import logging
import sys
import warnings

import numpy as np
import pytest
import torch

from s2koop.errors import InputError, MissingDependencyError
from s2koop.ssl.encoder import Encoder, EncoderSettings, make_network
from s2koop.ssl.export import to_onnx
from s2koop.ssl.resnet import BasicBlock, ResNet, resnet50
from s2koop.ssl.texture import TextureNet

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


def seeded(network, seed=0):
    """Statistics of a training, so that the graph has to hold these too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) / 4)
    return network.eval()


def encoder(**options):
    settings = EncoderSettings(**options)
    return Encoder(settings, seeded(make_network(settings)), {"name": "small"})


def run(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert {given.name for given in session.get_inputs()} == set(inputs)
    return session.run(["features"], {name: value.numpy() for name, value in inputs.items()})[0]


def assert_same(found, expected):
    expected = expected.numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(lambda: ResNet((1, 1, 1, 1), BasicBlock, 3), (3, 40, 56), marks=pytest.mark.slow),
        pytest.param(lambda: TextureNet(2, width=16), (2, 48, 40), marks=pytest.mark.slow),
        pytest.param(lambda: resnet50(13), (13, 64, 64), marks=pytest.mark.slow),
    ],
    ids=["basic", "texture", "resnet50"],
)
def test_networks_of_images(tmp_path, make, shape):
    network = seeded(make())
    path = to_onnx(network, tmp_path / "network.onnx", shape)
    for count in (1, 5):
        images = torch.randn((count, *shape), generator=torch.Generator().manual_seed(count))
        assert_same(run(path, images=images), network(images))


@torch.no_grad()
def test_encoders_prepare_values_themselves_and_export_in_silence(tmp_path, capfd, caplog):
    own = encoder(bands=("B04", "B08"), mean=(0.1, 0.3), std=(0.05, 0.1), patch=32, width=4)
    with warnings.catch_warnings(record=True) as heard, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        path = to_onnx(own, tmp_path / "encoder.onnx")
    assert [str(warning.message) for warning in heard] == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.onnx"]
    for count in (1, 3):
        images = torch.rand((count, 2, 32, 32), generator=torch.Generator().manual_seed(count))
        images[0, 1, :4] = torch.nan
        assert_same(run(path, images=images), own(images))
    known = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert EncoderSettings.from_dict(json.loads(known["s2koop"])["settings"]) == own.settings


@torch.no_grad()
def test_series_of_any_number_of_dates(tmp_path):
    own = encoder(backbone="series", bands=("B04", "B08"), mean=(0.1, 0.3), std=(0.05, 0.1), patch=1, width=8)
    path = to_onnx(own, tmp_path / "encoder.onnx", (6, 2))
    for count, dates in ((1, 6), (4, 11)):
        series = torch.rand((count, dates, 2), generator=torch.Generator().manual_seed(dates))
        series[0, 2] = series[0, 4, 1] = torch.nan
        days = torch.linspace(3, 700, dates)
        assert_same(run(path, series=series, days=days), own(series, days))


@pytest.mark.slow
@torch.no_grad()
def test_wvnet_takes_quicklooks(tmp_path):
    """The graph of an encoder with the preprocessing of WV-Net, of a smaller network and quicklook."""
    settings = EncoderSettings(backbone="resnet18", patch=450, prepare="wvnet")
    own = Encoder(settings, seeded(ResNet((1, 1, 1, 1), BasicBlock, 3)))
    path = to_onnx(own, tmp_path / "wvnet.onnx", (1, 60, 60))
    images = torch.randint(0, 256, (2, 1, 60, 60), generator=torch.Generator().manual_seed(1)).float()
    assert_same(run(path, images=images), own(images))


def test_the_network_stays_in_its_mode(tmp_path, monkeypatch):
    network = TextureNet(1, width=2).train()
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_onnx(network, tmp_path / "network.onnx", (1, 32, 32))
    assert network.training


def test_bad_shapes_are_refused(tmp_path):
    own = encoder(patch=32, width=4)
    with pytest.raises(InputError, match="small takes .band, y, x. of 1 band"):
        to_onnx(own, tmp_path / "x.onnx", (2, 32, 32))
    with pytest.raises(InputError, match="small takes .band, y, x. of 1 band"):
        to_onnx(own, tmp_path / "x.onnx", (12, 1))
    with pytest.raises(InputError, match="is of 4 dims"):
        to_onnx(own, tmp_path / "x.onnx", (1, 1, 32, 32))
    with pytest.raises(InputError, match="example_shape is needed"):
        to_onnx(own.network, tmp_path / "x.onnx")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match='pip install "s2koop.onnx."'):
        to_onnx(TextureNet(1, width=2), tmp_path / "x.onnx", (1, 32, 32))

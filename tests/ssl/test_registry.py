"""The table of published encoders, and loading of files of their layouts: prefixes, names, channels and hashes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from s2koop.errors import InputError, ModelError
from s2koop.ssl import registry
from s2koop.ssl._presto import BANDS, Presto
from s2koop.ssl.registry import ENCODERS, _from_transformers, describe, encoders, load_foreign
from s2koop.ssl.resnet import BasicBlock, ResNet, resnet50

CHILDREN = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
S2_RESNET18 = "ssl4eo-s2-resnet18-moco"


def resnet18(channels):
    """A network of half the size under the names that ResNet-18 has."""
    return ResNet((1, 1, 1, 1), BasicBlock, channels)


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    monkeypatch.setattr(registry, "resnet18", resnet18)


@pytest.fixture(scope="module")
def trained():
    """A network of 13 channels in evaluation mode with statistics that are not those of the start."""
    return seeded(resnet18(13))


def seeded(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point():
                fan = value[0].numel() if value.ndim == 4 else 4
                value.copy_(torch.randn(value.shape, generator=generator) / fan**0.5)
    return network.eval()


def moco(state):
    """A checkpoint of MoCo v2: the encoder that is kept, its slow twin, a head of two layers, and the queue."""
    whole = {f"module.encoder_q.{name}": value for name, value in state.items()}
    whole |= {f"module.encoder_k.{name}": value + 1 for name, value in state.items() if value.is_floating_point()}
    whole |= {"module.encoder_q.fc.0.weight": torch.zeros(8, 512), "module.queue": torch.zeros(8, 32)}
    return {"epoch": 100, "arch": "resnet18", "state_dict": whole, "optimizer": {"state": {}, "param_groups": []}}


def same(encoder, network, images):
    settings = encoder.settings
    mean, std = (torch.tensor(values)[:, None, None] for values in (settings.mean, settings.std))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), network((images - mean) / std), rtol=1e-5, atol=1e-5)


def images(channels):
    return torch.rand(2, channels, 40, 40, generator=torch.Generator().manual_seed(5))


def test_the_table_says_what_is_known():
    table = encoders()
    assert {"wvnet", "oceansar-1", "ssl4eo-s1-resnet50-moco", "seco-resnet50", "satlas-resnet50-si", "presto",
            "galileo-nano"} <= set(table.index)  # fmt: skip
    assert table.index.is_unique
    assert not table.loc["galileo-nano", "loads"]
    assert table.loc["galileo-nano", "reason"]
    assert table.loc["seco-resnet18", "licence"] is None  # not stated by its authors: not invented
    assert "<table" in table._repr_html_()
    for entry in ENCODERS:
        assert entry.paper and entry.source and entry.title, entry.name  # noqa: PT018
        for values in (entry.mean, entry.std):
            assert values is None or len(values) == max(len(entry.bands), 1)
        for known in entry.hashes:
            kind, digits = known.split(":")
            assert len(digits) <= {"git": 40, "md5": 32, "sha256": 64}[kind]
            assert len(digits) >= 8
            assert set(digits) <= set("0123456789abcdef")


def test_order_of_bands_and_normalisation():
    assert describe("ssl4eo-s2-resnet50-dino").bands.index("B8A") == 8  # before B09, not at the end
    assert describe("satlas-resnet50-si").bands[:4] == ("B04", "B03", "B02", "B05")
    seco = describe("seco-resnet50")
    assert seco.bands == ("B04", "B03", "B02")
    # reflectance 0.2 of B04 is level 51, which is stretched to 51 / 129, then standardised as ImageNet's red
    assert (0.2 - seco.mean[0]) / seco.std[0] == pytest.approx((51 / 129 - 0.485) / 0.229)
    assert (0.2 - seco.mean[2]) / seco.std[2] == pytest.approx((48 / 85 - 0.406) / 0.225)
    radar = describe("ssl4eo-s1-resnet50-moco")
    assert (-12.54847273 - radar.mean[0]) / radar.std[0] == pytest.approx(0.5)
    assert describe("presto").bands == BANDS


@pytest.mark.parametrize("layout", ["bare", "moco", "dino", "nested"])
def test_ssl4eo_files_load_in_every_layout(tmp_path, trained, layout):
    state = trained.state_dict()
    content = {
        "bare": state | {"fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)},
        "moco": moco(state),
        "dino": {"teacher": {f"module.backbone.{k}": v for k, v in state.items()} | {"module.head.x": torch.zeros(1)}},
        "nested": {"state_dict": {f"encoder_q.{name}": value for name, value in state.items()}},
    }[layout]
    torch.save(content, tmp_path / "weights.pth")
    encoder = load_foreign(S2_RESNET18, tmp_path / "weights.pth", verify=False)
    assert (encoder.name, encoder.features, encoder.settings.patch) == (S2_RESNET18, 512, 224)
    same(encoder, trained, images(13))


def test_seco_checkpoints_of_numbered_children_load(tmp_path):
    network = seeded(resnet18(3))
    state = {
        f"encoder_q.{CHILDREN.index(name.split('.')[0])}.{name.split('.', 1)[1]}": value
        for name, value in network.state_dict().items()
    }
    torch.save({"state_dict": state | {"heads_q.0.0.weight": torch.zeros(1)}}, tmp_path / "seco.ckpt")
    same(load_foreign("seco-resnet18", tmp_path / "seco.ckpt", verify=False), network, images(3))
    torch.save({"state_dict": state | {"encoder_q.8.weight": torch.zeros(1)}}, tmp_path / "seco.ckpt")
    with pytest.raises(ModelError, match="unexpected .8.weight"):
        load_foreign("seco-resnet18", tmp_path / "seco.ckpt", verify=False)


def transformers_name(name):
    """The name in a ResNet of transformers of a tensor that torchvision calls `name`."""
    parts = name.split(".")
    if len(parts) == 2:
        return f"embedder.embedder.{'convolution' if parts[0] == 'conv1' else 'normalization'}.{parts[1]}"
    stage, block = int(parts[0][-1]) - 1, parts[1]
    at = f"encoder.stages.{stage}.layers.{block}"
    if parts[2] == "downsample":
        return f"{at}.shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[4]}"
    kind = "convolution" if parts[2].startswith("conv") else "normalization"
    return f"{at}.layer.{int(parts[2][-1]) - 1}.{kind}.{parts[3]}"


def test_names_of_transformers_are_translated():
    with torch.device("meta"):
        names = list(resnet50(1).state_dict())
    assert [_from_transformers(transformers_name(name)) for name in names] == names


@pytest.mark.parametrize("prefix", ["", "resnet."])
def test_oceansar_loads_from_safetensors_of_transformers(tmp_path, monkeypatch, prefix):
    """As the published ResNet-50, by a network that is quicker to write."""
    monkeypatch.setattr(registry, "ENCODERS", (replace(describe("oceansar-1"), architecture="resnet18"),))
    network = resnet18(1).eval()
    state = {prefix + transformers_name(name): value for name, value in network.state_dict().items()}
    if prefix:
        state["classifier.1.weight"] = torch.zeros(1, 512)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(InputError, match="normalisation of OceanSAR-1 is not published; give mean and std of 1 band"):
        load_foreign("oceansar-1", path)
    same(load_foreign("oceansar-1", path, mean=[0.3], std=[0.2]), network, images(1))


def test_presto_loads(tmp_path):
    network = Presto()
    torch.save({f"encoder.{name}": value for name, value in network.state_dict().items()}, tmp_path / "presto.pt")
    with pytest.raises(ModelError, match="no known copy of Presto"):
        load_foreign("presto", tmp_path / "presto.pt")
    found = load_foreign("presto", tmp_path / "presto.pt", verify=False)
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in network.state_dict().items())
    assert not found.training


def test_hashes_of_known_copies_are_asked_for(tmp_path, trained, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(trained.state_dict(), path)
    message = "its SHA-256 is .*, expected one of sha256:59bfdff9; download it from zhu-xlab"
    with pytest.raises(ModelError, match=message):
        load_foreign(S2_RESNET18, path)
    content = path.read_bytes()
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    for known in (f"sha256:{sha256}", f"sha256:{sha256[:8]}", f"md5:{md5}"):
        entry = replace(describe(S2_RESNET18), hashes=("sha256:00000000", known))
        with monkeypatch.context() as patched:
            patched.setattr(registry, "ENCODERS", (entry,))
            assert load_foreign(S2_RESNET18, path).features == 512


def test_other_files_are_refused(tmp_path, trained):
    path = tmp_path / "weights.pth"
    torch.save(resnet18(12).state_dict(), path)
    with pytest.raises(ModelError, match="conv1.weight is .64, 12, 7, 7., expected .64, 13, 7, 7."):
        load_foreign(S2_RESNET18, path, verify=False)
    torch.save(trained.state_dict(), path)
    with pytest.raises(ModelError, match="missing"):
        load_foreign("ssl4eo-s2-resnet50-moco", path, verify=False)
    torch.save({"patch_embed.proj.weight": torch.zeros(3)}, path)
    with pytest.raises(
        ModelError, match="not one of SSL4EO-S12, MoCo: it has no tensor conv1.weight or module.encoder_q"
    ):
        load_foreign(S2_RESNET18, path, verify=False)
    path.write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="cannot be read as tensors alone"):
        load_foreign(S2_RESNET18, path, verify=False)
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(9)})[:-4])
    with pytest.raises(ModelError, match="damaged file of safetensors"):
        load_foreign(S2_RESNET18, path, verify=False)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds a list without tensors"):
        load_foreign(S2_RESNET18, path, verify=False)
    with pytest.raises(ModelError, match="there is no file"):
        load_foreign(S2_RESNET18, tmp_path / "none.pth")


def test_what_does_not_load_says_why(tmp_path):
    with pytest.raises(ModelError, match="Galileo, nano does not load here: its transformer"):
        load_foreign("galileo-nano", tmp_path / "encoder.pt")
    with pytest.raises(InputError, match="did you mean 'seco-resnet50'"):
        load_foreign("seco-resnet5", tmp_path / "x")
    with pytest.raises(ModelError, match="there is no file"):
        load_foreign("wvnet", tmp_path / "none.pt")
    for name in ("wvnet", "presto"):
        with pytest.raises(InputError, match="prepares values itself; leave out mean and std"):
            load_foreign(name, tmp_path / "none.pt", mean=[0.1])

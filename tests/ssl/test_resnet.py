"""Residual networks: equal to a second implementation over the same tensors, and strict about what they load."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional

from s2koop.errors import InputError, ModelError
from s2koop.ssl.resnet import BasicBlock, Bottleneck, ResNet, load_torchvision, resnet18, resnet34, resnet50

#: Blocks in each group, and convolutions in a block.
ARCHITECTURES = {"resnet18": ((2, 2, 2, 2), 2), "resnet34": ((3, 4, 6, 3), 2), "resnet50": ((3, 4, 6, 3), 3)}
#: First features of the seeded network of `test_golden_numbers`.
GOLDEN = (0.000000, 1.296092, 0.072850, 0.705645, 0.000000, 0.543351)
MAKERS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


def published_names(layers, convolutions):
    """Names in torchvision's files in their order, from the rule that they follow."""

    def norm(name):
        return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    names = ["conv1.weight", *norm("bn1")]
    for group, count in enumerate(layers, start=1):
        for block in range(count):
            at = f"layer{group}.{block}"
            for number in range(1, convolutions + 1):
                names += [f"{at}.conv{number}.weight", *norm(f"{at}.bn{number}")]
            if block == 0 and (group > 1 or convolutions == 3):
                names += [f"{at}.downsample.0.weight", *norm(f"{at}.downsample.1")]
    return names


def seeded(network, seed=0):
    """A state dict of the network's shapes with weights and statistics of a fixed generator."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            fan = value[0].numel() if value.ndim == 4 else 4
            state[name] = torch.randn(value.shape, generator=generator) / fan**0.5
    return state


def functional_resnet(state, images, layers, convolutions):
    """The network as published, by functions over the entries of the dict alone."""

    def norm(x, name):
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)

    def convolution(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)

    x = torch.relu(norm(convolution(images, "conv1", 2), "bn1"))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for group, count in enumerate(layers, start=1):
        for block in range(count):
            at = f"layer{group}.{block}"
            stride = 2 if group > 1 and block == 0 else 1
            wide = 2 if convolutions == 3 else 1  # which convolution has the stride
            out = x
            for number in range(1, convolutions + 1):
                out = norm(convolution(out, f"{at}.conv{number}", stride if number == wide else 1), f"{at}.bn{number}")
                out = torch.relu(out) if number < convolutions else out
            if f"{at}.downsample.0.weight" in state:
                x = norm(convolution(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = torch.relu(out + x)
    return functional.adaptive_avg_pool2d(x, 1).flatten(1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_and_order_are_those_of_torchvision(name):
    with torch.device("meta"):
        network = MAKERS[name]()
    assert list(network.state_dict()) == published_names(*ARCHITECTURES[name])


@pytest.mark.parametrize(
    ("layers", "block", "convolutions"), [((2, 1, 2, 1), BasicBlock, 2), ((1, 2, 1, 2), Bottleneck, 3)]
)
@pytest.mark.parametrize("channels", [1, 13])
def test_equal_to_a_second_implementation(layers, block, convolutions, channels):
    state = seeded(ResNet(layers, block, channels))
    network = load_torchvision(ResNet(layers, block, channels), state)
    images = torch.randn(2, channels, 37, 50, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = network(images), functional_resnet(state, images, layers, convolutions)
    assert found.shape == (2, network.features)
    assert found.std() > 0.01
    assert (found - expected).abs().max() == 0.0


def test_golden_numbers():
    """Kept numbers of a seeded dict: what a change of both implementations in the same way would alter."""
    network = ResNet((1, 1, 1, 1), BasicBlock, 2)
    load_torchvision(network, seeded(network, 3))
    images = torch.linspace(-1, 1, 2 * 32 * 32).reshape(1, 2, 32, 32)
    with torch.no_grad():
        found = network(images)[0]
    torch.testing.assert_close(found[:6], torch.tensor(GOLDEN), rtol=1e-4, atol=1e-5)


def test_resnet50_has_the_published_size():
    network = resnet50()
    assert len(network.state_dict()) == 318
    assert sum(value.numel() for value in network.parameters()) == 23_508_032
    state = seeded(network)
    load_torchvision(network, state)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert (network(images) - functional_resnet(state, images, *ARCHITECTURES["resnet50"])).abs().max() == 0.0


def test_only_the_classifier_is_left_out():
    state = seeded(resnet18())
    load_torchvision(resnet18(), state | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)})
    with pytest.raises(ModelError, match="1 unexpected \\(head.weight\\)"):
        load_torchvision(resnet18(), state | {"head.weight": torch.zeros(10, 512)})


def test_missing_and_misshaped_tensors_are_named():
    state = seeded(resnet18())
    less = {name: value for name, value in state.items() if not name.startswith("layer4.1.bn2")}
    with pytest.raises(ModelError, match=r"5 missing \(layer4.1.bn2.bias.*and 1 more\)"):
        load_torchvision(resnet18(), less)
    with pytest.raises(ModelError, match=re.escape("conv1.weight is (64, 3, 7, 7), expected (64, 13, 7, 7)")):
        load_torchvision(resnet18(13), state)
    with pytest.raises(ModelError, match="another shape .conv1.weight is a list"):
        load_torchvision(resnet18(), state | {"conv1.weight": [1.0]})


def test_another_architecture_is_refused_and_changes_nothing():
    network = resnet18()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for other in (resnet34, resnet50):
        with torch.device("meta"):
            state = other().state_dict()
        with pytest.raises(ModelError, match="unexpected"):
            load_torchvision(network, state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_prefixes_are_removed_only_if_asked():
    state = seeded(resnet18())
    whole = {f"module.encoder_q.{name}": value for name, value in state.items()}
    whole |= {f"module.encoder_k.{name}": value + 1 for name, value in state.items()} | {"module.queue": torch.ones(3)}
    with pytest.raises(ModelError, match="missing"):
        load_torchvision(resnet18(), whole)
    network = load_torchvision(resnet18(), whole, prefix="module.encoder_q.")
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    with pytest.raises(ModelError, match="begins with 'backbone.'"):
        load_torchvision(resnet18(), whole, prefix="backbone.")


def test_loaded_networks_are_in_evaluation_mode():
    network = load_torchvision(resnet18().train(), seeded(resnet18()))
    assert not any(module.training for module in network.modules())


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="channels=0"):
        resnet18(0)
    with pytest.raises(InputError, match="must be 4 numbers"):
        ResNet((1, 1, 1), BasicBlock)

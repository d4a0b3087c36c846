"""Residual networks in plain torch, whose tensors have the names, order and shapes of torchvision's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from s2koop._numbers import sequence, whole
from s2koop.errors import InputError, ModelError
from s2koop.ssl.state_dicts import load_exactly, some

#: Channels of the four groups of blocks, before the expansion of their last convolution.
WIDTHS = (64, 128, 256, 512)


def _convolution(inside: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, out, size, stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _convolution(inside, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Planes (n, inside, y, x) to (n, width, y / stride, x / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 and a shortcut; the stride is that of the 3x3, as torchvision has it."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1 = _convolution(inside, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, out, 1)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = _shortcut(inside, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Planes (n, inside, y, x) to (n, 4 width, y / stride, x / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + self.downsample(x))


def _shortcut(inside: int, out: int, stride: int) -> nn.Sequential:
    """What makes the input of a block fit its output; empty, so without tensors, where it fits as it is."""
    if stride == 1 and inside == out:
        return nn.Sequential()
    return nn.Sequential(_convolution(inside, out, 1, stride), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    """A residual network without its classifier: images to the mean over space of the last group of blocks.

    Parameters
    ----------
    layers : sequence of 4 int
        Blocks in each group.
    block : type
        `BasicBlock` or `Bottleneck`.
    channels : int
        Of the images.

    Attributes
    ----------
    features : int
        Numbers in the result: 512 for basic blocks, 2048 for bottlenecks.

    References
    ----------
    He et al. (2016), Deep residual learning for image recognition, CVPR. Names and order of the tensors are those of
    torchvision's state dicts, so that its files and those of the many who trained with it load.

    Examples
    --------
    >>> import torch
    >>> network = ResNet((1, 1, 1, 1), BasicBlock, channels=2)
    >>> network(torch.zeros(3, 2, 32, 40)).shape, network.features
    (torch.Size([3, 512]), 512)
    """

    def __init__(self, layers: Sequence[int], block: type[BasicBlock | Bottleneck], channels: int = 3) -> None:
        super().__init__()
        layers = sequence("layers", layers, whole, least=1)
        if len(layers) != len(WIDTHS):
            raise InputError(f"layers={layers} must be {len(WIDTHS)} numbers of blocks, such as (2, 2, 2, 2)")
        self.channels = whole("channels", channels, least=1)
        self.features = WIDTHS[-1] * block.expansion
        self.conv1 = _convolution(self.channels, WIDTHS[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = _groups(layers, block)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, channel, y, x) to features (n, feature)."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.max_pool2d(x, 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


def _groups(layers: Sequence[int], block: type[BasicBlock | Bottleneck]) -> list[nn.Sequential]:
    """Groups of blocks, each but the first beginning with a stride of two."""
    groups: list[nn.Sequential] = []
    inside = WIDTHS[0]
    for width, count in zip(WIDTHS, layers, strict=True):
        blocks = [block(inside, width, 2 if groups else 1)]
        inside = width * block.expansion
        groups.append(nn.Sequential(*blocks, *(block(inside, width) for _ in range(count - 1))))
    return groups


def resnet18(channels: int = 3) -> ResNet:
    """ResNet-18 of random weights: 512 features.

    Examples
    --------
    >>> sum(tensor.numel() for tensor in resnet18().parameters())
    11176512
    """
    return ResNet((2, 2, 2, 2), BasicBlock, channels)


def resnet34(channels: int = 3) -> ResNet:
    """ResNet-34 of random weights: 512 features.

    Examples
    --------
    >>> len(resnet34().layer3)
    6
    """
    return ResNet((3, 4, 6, 3), BasicBlock, channels)


def resnet50(channels: int = 3) -> ResNet:
    """ResNet-50 of random weights: 2048 features.

    Examples
    --------
    >>> resnet50().features
    2048
    """
    return ResNet((3, 4, 6, 3), Bottleneck, channels)


def load_torchvision(network: nn.Module, state: Mapping[str, Any], *, prefix: str = "") -> nn.Module:
    """Put the tensors of a state dict in torchvision's format into a network, all of them or none.

    Parameters
    ----------
    network : Module
        Such as `resnet50`; it is changed and returned, in evaluation mode.
    state : mapping of str to Tensor
        Entries ``fc.*``, the classifier, are left out.
    prefix : str
        What stands before the names in files of a whole training, such as ``"module.encoder_q."``. Entries without it
        belong to other parts of the training and are then left out.

    Raises
    ------
    ModelError
        If tensors are missing, left over or of another shape: a network with some of its weights at random would give
        features all the same.

    Examples
    --------
    >>> network, other = resnet18(), resnet18()
    >>> network = load_torchvision(network, {f"module.{name}": value for name, value in other.state_dict().items()},
    ...                            prefix="module.")
    >>> bool((network.conv1.weight == other.conv1.weight).all())
    True
    """
    given = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not given:
        raise ModelError(f"no tensor of the file has a name that begins with {prefix!r}; its names are {some(state)}")
    return load_exactly(network, {name: value for name, value in given.items() if not name.startswith("fc.")})


__all__ = ["BasicBlock", "Bottleneck", "ResNet", "load_torchvision", "resnet18", "resnet34", "resnet50"]

"""A small network for textures: few layers, pooled as mean and standard deviation at every level."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Levels of the network: each sees twice as far as the one before.
LEVELS = 4


class TextureNet(nn.Module):
    """Convolutions on four scales; of each, mean and standard deviation over the image are its features.

    At the scale of a notebook pooling matters more than depth: what is known of a texture is the energy in a few
    directions and wavelengths, which is a standard deviation of a filtered image, and every level has its own
    wavelengths. The first level takes every other pixel only, which keeps the energy of a filtered image and costs a
    quarter; the others see means of four pixels of the level before.

    Parameters
    ----------
    channels : int
        Of the images.
    width : int
        Filters of the first level; every level has twice as many as the one before.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.blocks = nn.ModuleList(
            [_Block(channels, width, 5, stride=2), *(_Block(*pair, 3) for pair in pairwise(widths))]
        )
        self.features = 2 * sum(widths)

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, feature) of images (n, channel, y, x) of any size from 16 pixels."""
        found = []
        for level, block in enumerate(self.blocks):
            images = block(F.avg_pool2d(images, 2) if level else images)
            spread, mean = torch.var_mean(images, (2, 3), correction=0)
            found += [mean, spread.add(1e-6).sqrt()]
        return torch.cat(found, 1)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, side, stride, side // 2, padding_mode="replicate", bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(images)))


__all__ = ["LEVELS", "TextureNet"]

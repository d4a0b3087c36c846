"""Networks of unpaired adaptation: a translator that keeps resolution and sees a neighbourhood, and its critic.

Both scale bands by numbers that are fixed before the training, and normalise nothing else: with batch normalisation, a
pixel's result would depend on the tile that it lies in.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

#: Pixels on each side that a translated pixel depends on: two 3x3 layers, and two more with a dilation of 2.
RADIUS = 2 + 4
#: Share of a band's standard deviation that one unit of the last layer moves it by.
_STEP = 0.1
#: Channels of the critic's layers, each of which halves the resolution.
_CRITIC = (8, 16, 32, 64)
#: Rows and columns that a critic needs for a single verdict.
LEAST_SEEN = 2 ** len(_CRITIC)


class Translator(nn.Module):
    """Images of one sensor to images of another: (patch, band, y + 2 radius, x + 2 radius) to (patch, band, y, x).

    Two blocks of two separable 3x3 layers, the second with a dilation of 2. What the first finds joins the input, what
    the second finds joins it again, and one layer on single pixels says by how much the image changes.

    Parameters
    ----------
    center, scale : Tensor, shape (band,)
        What is taken from each band before the first layer, and divided by.
    width : int
        Channels of the layers.

    References
    ----------
    Mateo-García et al. (2020), Cross-sensor adversarial domain adaptation of Landsat-8 and Proba-V images for cloud
    detection, IEEE JSTARS 13: their generator, which has batch normalisation besides.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, center: Tensor, scale: Tensor, width: int) -> None:
        super().__init__()
        bands = len(center)
        self.near = nn.Sequential(_Separable(bands, width, 1), _Separable(width, width, 1))
        self.far = nn.Sequential(_Separable(width + bands, width, 2), _Separable(width, width, 2))
        self.out = nn.Conv2d(width + bands, bands, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.register_buffer("center", center.clone())
        self.register_buffer("scale", scale.clone())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half the time of convolutions on a processor

    @torch.no_grad()
    def start_from(self, matrix: Tensor, offset: Tensor) -> None:
        """Begin as the linear map ``matrix @ x + offset`` of each pixel instead of the identity."""
        bands = len(self.center)
        change = matrix.to(self.center) - torch.eye(bands).to(self.center)
        moved = change @ self.center + offset.to(self.center)
        self.out.weight[:, -bands:, 0, 0] = change * self.scale / (_STEP * self.scale[:, None])
        self.out.bias.copy_(moved / (_STEP * self.scale))  # type: ignore[union-attr]

    def forward(self, image: Tensor) -> Tensor:
        scale = self.scale[:, None, None]
        standard = ((image - self.center[:, None, None]) / scale).contiguous(memory_format=torch.channels_last)
        found = self.near(standard)
        found = self.far(torch.cat([found, trim(standard, 2)], 1))
        return trim(image, RADIUS) + _STEP * scale * self.out(torch.cat([found, trim(standard, RADIUS)], 1))


def make_translators(center: Tensor, scale: Tensor, width: int, seed: int = 0) -> nn.ModuleList:
    """Translators to the source and to the target, with weights from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.ModuleList(Translator(center, scale, width) for _ in range(2))


class Critic(nn.Module):
    """How likely parts of images are of a sensor: logits (patch, 1, row, column) from (patch, band, y, x).

    Four 4x4 layers that halve the resolution, and one on what is left: each logit judges some 46 x 46 pixels.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, center: Tensor, scale: Tensor) -> None:
        super().__init__()
        sizes = (len(center), *_CRITIC)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 1))
        self.register_buffer("center", center.clone())
        self.register_buffer("scale", scale.clone())

    def standardise(self, image: Tensor) -> Tensor:
        """The image in standard deviations of its bands."""
        return (image - self.center[:, None, None]) / self.scale[:, None, None]

    def forward(self, standard: Tensor) -> Tensor:
        """Logits of a standardised image."""
        return self.layers(standard)


class _Separable(nn.Module):
    """A 3x3 layer on each channel, one across channels, and what is positive of it; without padding."""

    def __init__(self, before: int, after: int, dilation: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(before, before, 3, dilation=dilation, groups=before)
        self.across = nn.Conv2d(before, after, 1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.relu(self.across(self.around(image)))


def trim(image: Tensor, margin: int) -> Tensor:
    """The image without a margin of so many pixels."""
    return image[..., margin:-margin, margin:-margin]

"""The networks of the emulators: local ones that see a neighbourhood, and one that also sees the whole scene.

All are correctors: surface reflectance is the measurement less what the network says. None has batch normalisation or
decimation, so a pixel's result depends on the pixels within `radius` of it and on nothing else, however a scene is cut.
Convolutions take no padding of their own: who calls them gives `radius` pixels more on every side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from s2koop.ac.features import GEOMETRY, compressed

#: Shares of a scene's pixels that lie below the percentiles that describe it.
LOW = (0.04, 0.15)
#: Kinds of networks that see a neighbourhood only.
LOCAL = ("linear", "pixel", "fcnn", "unet")
#: How far they see; a U-Net through three layers on the way down and two on the way up.
RADIUS = {"linear": 0, "pixel": 0, "fcnn": 2, "unet": (1 + 2 + 4) + (2 + 1)}


class Local(nn.Module):
    """A corrector of the bands from their neighbourhood: input (scene, channel, y + 2 radius, x + 2 radius).

    Channels are the bands, and perhaps further planes behind them. Output (scene, band, y, x).
    """

    center: Tensor
    scale: Tensor

    def __init__(self, bands: int, extra: int, body: nn.Module, radius: int) -> None:
        super().__init__()
        self.bands, self.radius, self.body = bands, radius, body
        self.register_buffer("center", torch.zeros(bands + extra))
        self.register_buffer("scale", torch.ones(bands + extra))

    def standardise(self, planes: Tensor) -> None:
        """Take center and scale of the channels from examples (scene, channel, y, x)."""
        self.center.copy_(planes.mean((0, 2, 3)))
        self.scale.copy_(planes.std((0, 2, 3)).clamp_min(1e-3))

    def forward(self, planes: Tensor) -> Tensor:
        standard = (planes - self.center[:, None, None]) / self.scale[:, None, None]
        inner = _trim(planes[:, : self.bands], self.radius)
        return inner - 0.1 * self.body(standard)


def local_network(kind: str, bands: int, *, extra: int = 0, width: int = 32) -> Local:
    """A network of one of the kinds `LOCAL`.

    ``"linear"``: one matrix. ``"pixel"``: two layers on single pixels. ``"fcnn"``: the fully convolutional network of
    Gomez-Chova et al. (2022), two 3x3 layers and one of single pixels. ``"unet"``: down and up again over three
    scales, with skips; coarser scales are dilated and not decimated, so that tiles agree.
    """
    channels = bands + extra
    if kind == "linear":
        return Local(bands, extra, nn.Conv2d(channels, bands, 1), 0)
    if kind == "pixel":
        hidden = 4 * bands
        return Local(
            bands, extra, nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, bands, 1)), 0
        )
    if kind == "fcnn":
        layers = [nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()]
        return Local(bands, extra, nn.Sequential(*layers, nn.Conv2d(width, bands, 1)), RADIUS[kind])
    if kind == "unet":
        return Local(bands, extra, DilatedUNet(channels, bands, width), RADIUS[kind])
    raise ValueError(f"{kind!r} is none of {LOCAL}")


class DilatedUNet(nn.Module):
    """A U-Net whose scales 1, 2 and 4 are dilations instead of decimated grids."""

    _SCALES = (1, 2, 4)

    def __init__(self, channels: int, out: int, width: int) -> None:
        super().__init__()
        sizes = [channels, width, width, width]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, dilation=scale) for a, b, scale in zip(sizes, sizes[1:], self._SCALES, strict=False)
        )
        self.up = nn.ModuleList(nn.Conv2d(2 * width, width, 3, dilation=scale) for scale in self._SCALES[-2::-1])
        self.last = nn.Conv2d(width, out, 1)

    def forward(self, planes: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            planes = torch.relu(layer(planes))
            skips.append(planes)
        planes = skips.pop()
        for layer in self.up:
            skip = skips.pop()
            skip = _trim(skip, (skip.shape[-1] - planes.shape[-1]) // 2)
            planes = torch.relu(layer(torch.cat([planes, skip], 1)))
        return self.last(planes)


def _trim(planes: Tensor, margin: int) -> Tensor:
    return planes[..., margin:-margin, margin:-margin] if margin else planes


class SceneEncoder(nn.Module):
    """A scene as one vector: low percentiles of its pixels, and descriptions of each, pooled by mean and attention.

    What aerosol there is, dark pixels know; attention finds them. A sample of the scene's pixels suffices, in any order
    and number.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.describe = nn.Sequential(
            nn.Linear(features + GEOMETRY, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.attend = nn.Linear(width, width)
        self.size = 2 * width + len(LOW) * features + GEOMETRY
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def standardise(self, pixels: Tensor) -> None:
        """Take center and scale of the features from examples (scene, pixel, feature)."""
        self.center.copy_(pixels.mean((0, 1)))
        self.scale.copy_(pixels.std((0, 1)).clamp_min(1e-3))

    def forward(self, pixels: Tensor, geometry: Tensor, valid: Tensor) -> Tensor:
        """Vectors (scene, size) from pixels (scene, pixel, feature), geometry (scene, 5), and which pixels count."""
        known = geometry[:, None].expand(-1, pixels.shape[1], -1)
        standard = (pixels - self.center) / self.scale
        found = self.describe(torch.cat([standard, known], -1))
        none = ~valid[..., None]
        mean = found.masked_fill(none, 0).sum(1) / valid.sum(1, keepdim=True).clamp_min(1)
        weight = torch.softmax(self.attend(found).masked_fill(none, -1e9), 1)
        return torch.cat([mean, (weight * found).sum(1), low_percentiles(standard, valid), geometry], -1)


def low_percentiles(pixels: Tensor, valid: Tensor) -> Tensor:
    """The percentiles `LOW` of each feature (scene, len(LOW) * feature), among the pixels that count."""
    behind = pixels.detach().masked_fill(~valid[..., None], torch.inf).swapaxes(1, 2)
    ordered = torch.from_numpy(np.sort(behind.contiguous().numpy(), axis=-1))  # some ten times as fast as torch's
    last = (valid.sum(1) - 1).clamp_min(0)
    rows = torch.arange(len(pixels))
    found = [ordered[rows, :, (share * last).round().long()] for share in LOW]
    return torch.cat(found, -1).nan_to_num(posinf=0.0)


class Sky(NamedTuple):
    """What a network says of the atmosphere over scenes: tensors (scene,), or (scene, model).

    Attributes
    ----------
    logits : Tensor, shape (scene, model)
        Of the probabilities of the aerosol models.
    aot, aot_error : Tensor, shape (scene, model)
        Aerosol optical thickness if the aerosol is of that model, and its standard deviation.
    water_vapour, water_vapour_error : Tensor, shape (scene,)
        g/cm², and the standard deviation of its logarithm.
    """

    logits: Tensor
    aot: Tensor
    aot_error: Tensor
    water_vapour: Tensor
    water_vapour_error: Tensor


class SkyHead(nn.Module):
    """From the vector of a scene to its atmosphere."""

    def __init__(self, size: int, width: int, models: int) -> None:
        super().__init__()
        self.models = models
        self.layers = nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, 3 * models + 2))

    def forward(self, scene: Tensor) -> Sky:
        logits, aot, aot_error, water, water_error = self.layers(scene).split([self.models] * 3 + [1, 1], -1)
        return Sky(
            logits,
            0.15 + 0.15 * aot,
            torch.exp((aot_error - 3).clamp(-7, 1)),
            torch.exp((0.5 + water[..., 0]).clamp(-4, 3)),
            torch.exp((water_error[..., 0] - 2).clamp(-7, 1)),
        )


class Retrieval(nn.Module):
    """The atmosphere over scenes, from samples of their pixels under reference skies: (scene, pixel, 2 * band)."""

    def __init__(self, bands: int, width: int, models: int) -> None:
        super().__init__()
        self.encoder = SceneEncoder(2 * bands, width)
        self.head = SkyHead(self.encoder.size, width, models)

    def forward(self, pixels: Tensor, geometry: Tensor, valid: Tensor) -> Sky:
        return self.head(self.encoder(pixels, geometry, valid))


class Context(nn.Module):
    """A corrector of single pixels that knows their scene: its vector bends the layers, and gives an affine part.

    It also says what atmosphere it sees, for the radiative-transfer constraint in training.
    """

    radius = 0

    def __init__(self, bands: int, width: int, models: int) -> None:
        super().__init__()
        self.bands = bands
        self.encoder = SceneEncoder(bands, width)
        self.sky = SkyHead(self.encoder.size, width, models)
        self.code = nn.Sequential(nn.Linear(self.encoder.size, width), nn.GELU())
        self.affine = nn.Linear(width, 2 * bands)
        self.bend = nn.Linear(width, width)
        self.pixel = nn.Linear(bands, width)
        self.out = nn.Linear(width, bands)

    def standardise(self, pixels: Tensor) -> None:
        """Take center and scale from examples (scene, pixel, band)."""
        self.encoder.standardise(compressed(pixels))

    def scene(self, pixels: Tensor, geometry: Tensor, valid: Tensor) -> tuple[Tensor, Sky]:
        """The code (scene, width) and the atmosphere of scenes, from samples (scene, pixel, band) of their pixels."""
        vector = self.encoder(compressed(pixels), geometry, valid)
        return self.code(vector), self.sky(vector)

    def forward(self, pixels: Tensor, code: Tensor) -> Tensor:
        """Surface reflectance (scene, pixel, band) of pixels, under the `code` of their scenes."""
        offset, slope = self.affine(code)[:, None].chunk(2, -1)
        standard = (compressed(pixels) - self.encoder.center) / self.encoder.scale
        hidden = nn.functional.gelu(self.pixel(standard) + self.bend(code)[:, None])
        return pixels - 0.1 * (offset + self.out(hidden)) - slope * pixels


def count_weights(networks: Sequence[nn.Module]) -> int:
    """Number of trained weights."""
    return sum(weight.numel() for network in networks for weight in network.parameters())

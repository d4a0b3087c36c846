"""Views of images: what two views of one image may differ in is what an embedding forgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s2koop._numbers import real
from s2koop.errors import InputError
from s2koop.ssl.images import LEAST


@dataclass(frozen=True, kw_only=True)
class Views:
    """How views of an image are drawn. All random numbers are drawn for each view anew.

    Values are standardised by band, so that sizes are in standard deviations of the data.

    Attributes
    ----------
    crop : float
        Side of a view, as a share of that of the patch it is cut from.
    zoom : tuple of float
        Least and most of the side that a view covers, as a share of the patch; ``(crop, crop)`` keeps the scale.
    turns : {"none", "half", "quarter"}
        By which a view may be turned; half turns keep directions, which images of waves tell modulo 180 degrees.
    flips : bool
        Whether a view may be mirrored.
    level, contrast : float
        Standard deviations of an offset of all bands and of the logarithm of a factor on the anomalies.
    gain : float
        Standard deviation of the logarithm of a factor of each band.
    haze : float
        Mean of an offset that falls from the first to the last band, as haze does with wavelength; never negative.
    speckle : float
        Standard deviation of noise that grows with the brightness of the pixel.
    noise : float
        Standard deviation of noise of each pixel.
    blur : float
        Most of the standard deviation of a Gaussian filter, pixels; half of the views are left sharp.
    drop : float
        Probability with which each band is replaced by its mean; one band at least stays.
    forgets : str
        What an embedding from such views does not tell, in words.
    """

    crop: float = 0.5
    zoom: tuple[float, float] | None = None
    turns: str = "none"
    flips: bool = False
    level: float = 0.0
    contrast: float = 0.0
    gain: float = 0.0
    haze: float = 0.0
    speckle: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    drop: float = 0.0
    forgets: str = ""

    def __post_init__(self) -> None:
        for name in ("level", "contrast", "gain", "haze", "speckle", "noise", "blur", "drop"):
            real(name, getattr(self, name), least=0)
        if self.turns not in ("none", "half", "quarter"):
            raise InputError(f"turns={self.turns!r} is unknown; choose 'none', 'half' or 'quarter'")
        if not 0 < self.crop <= 1:
            raise InputError(f"crop={self.crop!r} must be a share of the patch, above 0 and at most 1")
        if self.drop >= 1:
            raise InputError(f"drop={self.drop} would leave no band; give less than 1")
        if self.zoom is not None:
            object.__setattr__(self, "zoom", tuple(self.zoom))
            low, high = self.zoom
            if not 0 < low <= high <= 1:
                raise InputError(f"zoom={self.zoom!r} must be two shares of the patch, 0 < least <= most <= 1")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)

    def pixels(self, patch: int) -> int:
        """Side of a view of a patch: a multiple of 8, which halvings leave whole, and no less than networks need."""
        return max(int(self.crop * patch) // 8 * 8, min(patch, LEAST))

    def draw(self, patches: Tensor, random: torch.Generator) -> Tensor:
        """One view (n, band, side, side) of each of n standardised patches (n, band, y, x)."""
        side = self.pixels(patches.shape[-1])
        views = _cut(patches, side, random) if self.zoom is None else _zoomed(patches, side, self.zoom, random)
        views = _turned(views, self.turns, self.flips, random)
        return self._look(views, random)

    def _look(self, views: Tensor, random: torch.Generator) -> Tensor:
        """The same views under another light, sky and sensor."""
        count, bands = views.shape[:2]

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random).to(views.device)

        if self.blur:
            views = _blurred(views, self.blur * torch.rand(count, generator=random).sub(0.5).clamp(min=0).mul(2))
        if self.contrast:
            mean = views.mean((2, 3), keepdim=True)
            views = mean + (views - mean) * torch.exp(self.contrast * normal(count, 1, 1, 1))
        if self.gain:
            views = views * torch.exp(self.gain * normal(count, bands, 1, 1))
        if self.level:
            views = views + self.level * normal(count, 1, 1, 1)
        if self.haze:
            falls = (
                torch.linspace(1, 0, bands, device=views.device) if bands > 1 else torch.ones(1, device=views.device)
            )
            views = views + self.haze * torch.rand(count, 1, 1, 1, generator=random).to(views.device) * 2 * falls.view(
                1, -1, 1, 1
            )
        if self.speckle:
            bright = (views - views.amin((2, 3), keepdim=True)).div(2)
            views = views + self.speckle * bright * normal(*views.shape)
        if self.noise:
            views = views + self.noise * normal(*views.shape)
        if self.drop and bands > 1:
            lost = torch.rand(count, bands, generator=random) < self.drop
            lost[torch.arange(count), torch.randint(bands, (count,), generator=random)] = False
            views = views.masked_fill(lost.to(views.device)[..., None, None], 0.0)
        return views


#: Views by name. A policy's name says what the embedding keeps.
POLICIES: Mapping[str, Views] = {
    "geometry": Views(
        crop=0.5, turns="half", level=0.07, contrast=0.07, speckle=0.1,
        forgets="absolute brightness, and what lies where in the image",
    ),
    "semantic": Views(
        crop=0.5, zoom=(0.45, 1.0), turns="quarter", flips=True, level=0.3, contrast=0.3, blur=1.0, speckle=0.1,
        forgets="scale, direction, brightness and sharpness: wavelengths, headings and heights of waves",
    ),
    "reflectance": Views(
        crop=0.5, zoom=(0.4, 0.7), turns="quarter", flips=True, gain=0.1, haze=0.3, noise=0.03, drop=0.15,
        forgets="haze, calibration, direction, and small differences of brightness",
    ),
}  # fmt: skip


def policy(named: str | Views) -> Views:
    """Views of a name, or those given.

    Raises
    ------
    InputError
        If no policy has this name.

    Examples
    --------
    >>> policy("geometry").turns
    'half'
    """
    if isinstance(named, Views):
        return named
    if named not in POLICIES:
        raise InputError(
            f"policy={named!r} is unknown; choose one of {', '.join(POLICIES)}, or give s2koop.ssl.Views(...)"
        )
    return POLICIES[named]


def _cut(patches: Tensor, side: int, random: torch.Generator) -> Tensor:
    """Windows (n, band, side, side) anywhere in patches, pixel by pixel."""
    count, _, rows, columns = patches.shape
    at = torch.arange(side, device=patches.device)
    row = torch.randint(rows - side + 1, (count, 1), generator=random).to(patches.device) + at
    column = torch.randint(columns - side + 1, (count, 1), generator=random).to(patches.device) + at
    image = torch.arange(count, device=patches.device)[:, None, None]
    return patches[image, :, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def _zoomed(patches: Tensor, side: int, zoom: tuple[float, float], random: torch.Generator) -> Tensor:
    """Windows of random size, brought to one size; what covers much is averaged first, so that nothing aliases."""
    count, _, rows, _ = patches.shape
    share = zoom[0] + (zoom[1] - zoom[0]) * torch.rand(count, generator=random)
    stretch = share * rows / side  # pixels of the patch in one of the view
    centre = (1 - share)[:, None] * (2 * torch.rand(count, 2, generator=random) - 1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = share, share, centre
    grid = F.affine_grid(theta, [count, 1, side, side], align_corners=False).to(patches.device)
    coarse = (stretch > 1.4).to(patches.device)
    sharp = F.grid_sample(patches, grid, padding_mode="reflection", align_corners=False)
    smooth = F.grid_sample(
        _blurred(patches, torch.full((count,), 0.5)), grid, padding_mode="reflection", align_corners=False
    )
    return torch.where(coarse[:, None, None, None], smooth, sharp)


def _turned(views: Tensor, turns: str, flips: bool, random: torch.Generator) -> Tensor:
    """Views turned and mirrored at random."""
    count = len(views)
    if turns == "quarter":
        some = (torch.rand(count, generator=random) < 0.5).to(views.device)[:, None, None, None]
        views = torch.where(some, views.transpose(2, 3).flip(3), views)
    if turns != "none":
        some = (torch.rand(count, generator=random) < 0.5).to(views.device)[:, None, None, None]
        views = torch.where(some, views.flip((2, 3)), views)
    if flips:
        some = (torch.rand(count, generator=random) < 0.5).to(views.device)[:, None, None, None]
        views = torch.where(some, views.flip(3), views)
    return views


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Images (n, band, y, x), each under a Gaussian filter of its own width in pixels; 0 leaves it as it is."""
    count, bands, rows, columns = images.shape
    reach = 3
    distance = torch.arange(-reach, reach + 1, device=images.device)
    width = sigma.to(images.device).clamp(min=1e-3)[:, None]
    kernel = torch.exp(-0.5 * (distance / width) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(bands, 0)
    padded = F.pad(images, (reach,) * 4, mode="reflect").reshape(
        1, count * bands, rows + 2 * reach, columns + 2 * reach
    )
    along = F.conv2d(padded, kernel[:, None, None, :], groups=count * bands)
    return F.conv2d(along, kernel[:, None, :, None], groups=count * bands).reshape(images.shape)


__all__ = ["POLICIES", "Views", "policy"]

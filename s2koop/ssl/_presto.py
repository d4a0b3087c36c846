"""Presto, a published transformer of pixel series of many sensors: its network, normalisation and file of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from s2koop.errors import InputError, ModelError
from s2koop.ssl.state_dicts import file_content, load_exactly, read_state, some

#: Bands, and how they are grouped: one token of a date sees the bands of one group.
GROUPS: dict[str, tuple[str, ...]] = {
    "S1": ("VV", "VH"),
    "S2_RGB": ("B02", "B03", "B04"),
    "S2_Red_Edge": ("B05", "B06", "B07"),
    "S2_NIR_10m": ("B08",),
    "S2_NIR_20m": ("B8A",),
    "S2_SWIR": ("B11", "B12"),
    "ERA5": ("temperature_2m", "total_precipitation"),
    "SRTM": ("elevation", "slope"),
    "NDVI": ("NDVI",),
}
BANDS: tuple[str, ...] = tuple(band for group in GROUPS.values() for band in group)
#: What is added to a band, and what it is then divided by. The temperature is shifted by 272.15 K, as published.
SCALES: dict[str, tuple[float, float]] = {
    "VV": (25.0, 25.0), "VH": (25.0, 25.0), "temperature_2m": (-272.15, 35.0), "total_precipitation": (0.0, 0.03),
    "elevation": (0.0, 2000.0), "slope": (0.0, 50.0),
}  # fmt: skip
#: Classes of Dynamic World, after which comes the number for none.
CLASSES = 9
#: Most dates, numbers in a token, heads and blocks.
DATES, WIDTH, HEADS, DEPTH = 24, 128, 8, 2
#: Parts of a token's place: its month, its group, and its position in the series.
_MONTH, _GROUP, _POSITION = WIDTH // 4, WIDTH // 4, WIDTH // 2


class Attention(nn.Module):
    """Self-attention of several heads, to tokens that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Tokens (n, token, width), of which `there` (n, token) counts."""
        n, tokens, _ = x.shape
        query, key, value = self.qkv(x).view(n, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None, :])
        return self.proj(seen.transpose(1, 2).reshape(n, tokens, WIDTH))


class Mlp(nn.Module):
    """Two layers on every token."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, token, width)."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then two layers, each beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = Mlp()

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Tokens (n, token, width), of which `there` (n, token) counts."""
        x = x + self.attn(self.norm1(x), there)
        return x + self.mlp(self.norm2(x))


class Presto(nn.Module):
    """The encoder of Presto: pixel series of any of its bands to 128 features; random weights.

    Attributes
    ----------
    features : int

    References
    ----------
    Tseng et al. (2023), Lightweight, pre-trained transformers for remote sensing timeseries, arXiv:2304.14065. Tensors
    are named as in the published file, below ``encoder.``.

    Examples
    --------
    >>> network = Presto()
    >>> series = presto_normalised(torch.rand(5, 12, 3), ("B02", "B03", "B04"))
    >>> network(series, months=torch.arange(12), latlon=torch.tensor([[45.0, 25.0]])).shape
    torch.Size([5, 128])
    """

    features = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.eo_patch_embed = nn.ModuleDict({name: nn.Linear(len(bands), WIDTH) for name, bands in GROUPS.items()})
        self.dw_embed = nn.Embedding(CLASSES + 1, WIDTH)
        self.latlon_embed = nn.Linear(3, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH)
        self.pos_embed = nn.Parameter(_positions()[None], requires_grad=False)
        self.month_embed = nn.Embedding.from_pretrained(_month_table(), freeze=True)
        self.channel_embed = nn.Embedding(len(GROUPS) + 1, _GROUP)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, series: Tensor, months: Tensor, latlon: Tensor, classes: Tensor | None = None) -> Tensor:
        """Features (n, 128); NaN for a pixel without any observation.

        Parameters
        ----------
        series : Tensor, shape (n, time, 17)
            Bands of `BANDS` as `presto_normalised` gives them. A group with a NaN among its bands is left out on that
            date; elevation and slope are those of the first date.
        months : int Tensor, shape (time,) or (n, time)
            0 for January to 11.
        latlon : Tensor, shape (n, 2) or (1, 2)
            Degrees.
        classes : int Tensor, shape (n, time), optional
            Of Dynamic World, 0 to 8, and 9 for none.

        Raises
        ------
        InputError
            If shapes or months are not these.
        """
        months = self._checked(series, months, latlon)
        n, dates, _ = series.shape
        if classes is None:
            classes = torch.full((n, dates), CLASSES, dtype=torch.long, device=series.device)
        position = self.pos_embed[:, :dates].expand(n, -1, -1)
        month = self.month_embed(months).expand(n, -1, -1)
        tokens, there = [], []
        at = 0
        for number, (name, bands) in enumerate(GROUPS.items()):
            values = series[..., at : at + len(bands)]
            at += len(bands)
            if name == "SRTM":  # one token, which has no date
                values = values[:, :1]
                place = self._place(torch.zeros_like(month[:, :1]), number, torch.zeros_like(position[:, :1]))
            else:
                place = self._place(month, number, position)
            tokens.append(self.eo_patch_embed[name](values.nan_to_num(0.0)) + place)
            there.append(values.isfinite().all(-1))
        tokens.append(self.dw_embed(classes) + self._place(month, len(GROUPS), position))
        there.append(classes < CLASSES)
        observed = torch.cat(there, 1)
        where = self.latlon_embed(_on_sphere(latlon))[:, None].expand(n, -1, -1)
        x = torch.cat([where, *tokens], 1)
        counts = torch.cat([torch.ones_like(observed[:, :1]), observed], 1)
        for block in self.blocks:
            x = block(x, counts)
        weight = counts[..., None].to(x.dtype)
        mean = (x * weight).sum(1) / weight.sum(1)
        return self.norm(mean).masked_fill(~observed.any(1, keepdim=True), math.nan)

    def _place(self, month: Tensor, group: int, position: Tensor) -> Tensor:
        channel = self.channel_embed.weight[group].expand(*month.shape[:-1], -1)
        return torch.cat([month, channel, position], -1)

    @staticmethod
    def _checked(series: Tensor, months: Tensor, latlon: Tensor) -> Tensor:
        if series.ndim != 3 or series.shape[2] != len(BANDS) or not 1 <= series.shape[1] <= DATES:
            raise InputError(
                f"series have shape {tuple(series.shape)}; Presto takes (n, time, {len(BANDS)}) of 1 to {DATES} dates, "
                "such as monthly means: s2koop.ssl.presto_normalised makes the bands"
            )
        n, dates, _ = series.shape
        if months.shape not in ((dates,), (1, dates), (n, dates)) or months.is_floating_point():
            raise InputError(f"months have shape {tuple(months.shape)}; expected ({dates},) or ({n}, {dates}) integers")
        if months.min() < 0 or months.max() > 11:
            raise InputError(f"months are {int(months.min())} to {int(months.max())}; expected 0 for January to 11")
        if latlon.shape not in ((1, 2), (n, 2)):
            raise InputError(f"latlon has shape {tuple(latlon.shape)}; expected ({n}, 2) or (1, 2) in degrees")
        return months.reshape(-1, dates)


def _positions() -> Tensor:
    """Sines and cosines (date, number) of the position in a series."""
    number = torch.arange(_POSITION)
    rate = 1000.0 ** (-2 * (number // 2).double() / _POSITION)
    angle = torch.arange(DATES).double()[:, None] * rate
    return torch.where(number % 2 == 0, angle.sin(), angle.cos()).float()


def _month_table() -> Tensor:
    """Sine and cosine of the month (month, number): a year is a circle."""
    angle = (torch.arange(12).double() * 2 * math.pi / 12)[:, None].expand(-1, _MONTH // 2)
    return torch.cat([angle.sin(), angle.cos()], -1).float()


def _on_sphere(latlon: Tensor) -> Tensor:
    """Latitude and longitude (n, 2), degrees, as a point of the unit sphere (n, 3)."""
    latitude, longitude = torch.deg2rad(latlon).unbind(-1)
    level = latitude.cos()
    return torch.stack([level * longitude.cos(), level * longitude.sin(), latitude.sin()], -1)


def presto_normalised(values: Tensor, bands: Sequence[str]) -> Tensor:
    """Series of some bands as Presto takes them.

    Parameters
    ----------
    values : Tensor, shape (..., band)
        Backscatter in dB, reflectance at the top of the atmosphere 0..1, temperature in K, precipitation of the month
        in m, elevation in m, slope in degrees. NaN is missing.
    bands : sequence of str
        Names among `BANDS`; others, such as B01, are left out. The vegetation index is computed from B08 and B04.

    Returns
    -------
    Tensor, shape (..., 17)
        NaN where a band was not given.

    Raises
    ------
    InputError
        If no band is one of Presto's, a name is there twice, or there are not as many values as names.

    Examples
    --------
    >>> series = presto_normalised(torch.tensor([[-15.0, 0.05, 0.45]]), ("VV", "B04", "B08"))
    >>> [round(series[0, BANDS.index(band)].item(), 2) for band in ("VV", "B04", "NDVI")]
    [0.4, 0.05, 0.8]
    """
    if values.shape[-1] != len(bands) or len(set(bands)) != len(bands):
        raise InputError(f"{values.shape[-1]} values were given for {len(bands)} bands {list(bands)}, named once each")
    if not set(bands) & set(BANDS):
        raise InputError(f"none of the bands {list(bands)} is one of Presto's: {', '.join(BANDS)}")
    out = values.new_full((*values.shape[:-1], len(BANDS)), math.nan)
    for at, band in enumerate(bands):
        if band in BANDS:
            shift, scale = SCALES.get(band, (0.0, 1.0))
            out[..., BANDS.index(band)] = (values[..., at] + shift) / scale
    if {"B04", "B08"} <= set(bands):
        red, near = (out[..., BANDS.index(band)] for band in ("B04", "B08"))
        both = near + red
        ratio = torch.where(both > 0, (near - red) / both, torch.zeros_like(both))
        out[..., BANDS.index("NDVI")] = ratio.masked_fill(both.isnan(), math.nan)
    return out


def presto(weights: str | Path | bytes) -> Presto:
    """Presto with the published weights.

    Parameters
    ----------
    weights : str, Path or bytes
        ``default_model.pt`` of the public repository, or its content. Of its tensors those of the encoder are taken.

    Raises
    ------
    ModelError
        If the file is another one.

    Examples
    --------
    >>> network = presto("default_model.pt")  # doctest: +SKIP
    """
    name = "the file" if isinstance(weights, bytes) else str(weights)
    state = read_state(weights if isinstance(weights, bytes) else file_content(weights), name)
    ours = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    if not ours:
        raise ModelError(f"{name} is not Presto's: no tensor is named encoder.*, but {some(state)}")
    network = Presto()
    load_exactly(network, ours)
    return network


__all__ = ["BANDS", "GROUPS", "Presto", "presto", "presto_normalised"]

"""Encoders: what a network takes and forgets, and the network itself, as one file."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s2koop._file_checks import as_model_error, expect, filled
from s2koop._model_file import ModelFile, beside, load_content, to_content, under
from s2koop._numbers import real, whole
from s2koop._settings import Settings
from s2koop._version import __version__
from s2koop.errors import InputError, ModelError
from s2koop.ssl.backbones import IMAGES, SERIES, build

FORMAT = "s2koop-ssl-1"
#: Encoders that are shipped.
WEIGHTS = Path(__file__).with_name("weights")
#: How images become what a network takes.
PREPARE = ("standardise", "wvnet")


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(Settings):
    """What an encoder takes, and how its network is built; checked when made.

    Attributes
    ----------
    backbone : {"texture", "resnet18", "resnet50", "series"}
        The last one reads pixel series, the others images.
    bands : tuple of str
        Bands that it takes, in order; empty for images without a dim ``band``.
    mean, std : tuple of float
        Of each band, in the units of the images; what is missing is taken for the mean.
    patch : int
        Side in pixels of the images that it was trained for; 1 for pixel series.
    pixel : float
        Size of a pixel in m that it was trained at; 0 where that does not matter.
    sensor : str
        Such as ``"SAR"`` or ``"S2"``.
    policy : str
        What the views of its training changed.
    forgets : str
        What the embedding therefore does not tell.
    width : int
        Of the network's first layer; only ``"texture"`` and ``"series"`` take another than their usual.
    seed : int
        Of the weights before the training.
    prepare : {"standardise", "wvnet"}
        How images become what the network takes.
    """

    backbone: str = "texture"
    bands: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    patch: int = 128
    pixel: float = 0.0
    sensor: str = ""
    policy: str = ""
    forgets: str = ""
    width: int = 0
    seed: int = 0
    prepare: str = "standardise"

    def __post_init__(self) -> None:
        if self.backbone not in (*IMAGES, *SERIES):
            raise InputError(f"backbone={self.backbone!r} is unknown; choose one of {', '.join((*IMAGES, *SERIES))}")
        if self.prepare not in PREPARE:
            raise InputError(f"prepare={self.prepare!r} is unknown; choose one of {', '.join(PREPARE)}")
        if isinstance(self.bands, str):
            raise InputError(f"bands={self.bands!r} must be a sequence of names, such as ({self.bands!r},)")
        for name in ("bands", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.mean) == len(self.std) == self.channels:
            raise InputError(
                f"mean and std have {len(self.mean)} and {len(self.std)} numbers for {self.channels} bands"
            )
        if min(self.std) <= 0:
            raise InputError(f"std={self.std} must be positive; a band that never changes cannot be embedded")
        whole("patch", self.patch, least=1)
        whole("width", self.width, least=0)
        whole("seed", self.seed, least=0)
        real("pixel", self.pixel, least=0)

    @property
    def channels(self) -> int:
        """Bands that it takes."""
        return max(len(self.bands), 1)

    @property
    def reads_series(self) -> bool:
        """Whether it reads pixel series instead of images."""
        return self.backbone in SERIES


def make_network(settings: EncoderSettings) -> nn.Module:
    """The network of the settings, with weights from its seed."""
    channels = 3 if settings.prepare == "wvnet" else settings.channels
    options = {"width": settings.width} if settings.width else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return build(settings.backbone, channels, **options)


@dataclass(frozen=True, eq=False)
class Encoder(ModelFile):
    """A network that gives images or pixel series a place among others. It does not change.

    Attributes
    ----------
    settings : EncoderSettings
    network : Module
        In evaluation mode, without gradients.
    card : mapping
        Data, licence, training and limits; JSON-ready. ``name`` is what embeddings call it.
    """

    settings: EncoderSettings
    network: nn.Module
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @property
    def name(self) -> str:
        """What embeddings call it."""
        return str(self.card.get("name", self.settings.backbone))

    @property
    def features(self) -> int:
        """Numbers of an embedding."""
        return int(self.network.features)  # type: ignore[arg-type]

    @torch.no_grad()
    def __call__(self, values: Tensor, days: Tensor | None = None) -> Tensor:
        """Embeddings (n, feature).

        Parameters
        ----------
        values : Tensor
            Images (n, band, y, x), or pixel series (n, time, band), in the units of the training; NaN is missing.
        days : Tensor, shape (time,)
            Dates of series, in days since a first of January.
        """
        if self.settings.reads_series:
            return self.network(standardised(values, self.settings, -1), days)
        return self.network(prepared(values, self.settings))

    def untrained(self, seed: int | None = None) -> Encoder:
        """The same network before any training: what embeddings have to be compared with."""
        settings = replace(
            self.settings, policy="untrained", forgets="", seed=self.settings.seed if seed is None else seed
        )
        return Encoder(settings, make_network(settings), {"name": f"{self.name}, untrained"})

    @cached_property
    def content(self) -> bytes:
        """The bytes of the model file."""
        header = {"format": FORMAT, "s2koop": __version__, "settings": self.settings.to_dict(), "card": dict(self.card)}
        return to_content({f"network.{name}": value for name, value in self.network.state_dict().items()}, header)

    @staticmethod
    def load(path: str | Path) -> Encoder:
        """As `s2koop.ssl.load`."""
        return load(path)

    def to(self, device: str) -> Encoder:
        """The encoder on another device; itself where it is there already."""
        here = next(self.network.parameters()).device
        if here == torch.device(device):
            return self
        network = make_network(self.settings)
        network.load_state_dict(self.network.state_dict())
        return replace(self, network=network.to(device))

    def __repr__(self) -> str:
        s = self.settings
        size = sum(weights.numel() for weights in self.network.parameters())
        takes = f"bands {' '.join(s.bands)}" if s.bands else "images of one band"
        shape = (
            "pixel series"
            if s.reads_series
            else f"patches of {s.patch} pixels" + (f" of {s.pixel:g} m" if s.pixel else "")
        )
        lines = [f"<Encoder {self.name}: {shape} to {self.features} features>"]
        lines += [f"    {s.backbone}, {size:,} weights, {takes}"]
        lines += [f"    policy {s.policy or 'none'}" + (f": forgets {s.forgets}" if s.forgets else "")]
        lines += [f"    {k}: {v}" for k, v in self.card.items() if k != "name" and isinstance(v, str | int | float)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        first, *rest = repr(self).splitlines()
        rows = "".join(f"<li>{html.escape(line.strip())}</li>" for line in rest)
        return f"<div><b>{html.escape(first.strip('<>'))}</b><ul>{rows}</ul></div>"


def prepared(images: Tensor, settings: EncoderSettings) -> Tensor:
    """Images (n, band, y, x) as the network takes them."""
    if settings.prepare == "wvnet":
        from s2koop.ssl._wvnet import resized

        return resized(images)
    return standardised(images, settings, 1).nan_to_num(0.0)


def standardised(values: Tensor, settings: EncoderSettings, axis: int) -> Tensor:
    """Values in standard deviations from the mean of their band, which lies on `axis`."""
    shape = [1] * values.ndim
    shape[axis] = -1
    mean, std = (torch.tensor(numbers, device=values.device).view(shape) for numbers in (settings.mean, settings.std))
    return (values - mean) / std


def shipped() -> tuple[str, ...]:
    """Names of the encoders that this version ships.

    Examples
    --------
    >>> "wave-geometry" in shipped()
    True
    """
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def load(path: str | Path) -> Encoder:
    """Read an encoder: one of `shipped` by its name, or a file that `Encoder.save` wrote. Nothing in it is executed.

    Raises
    ------
    ModelError
        If there is no such encoder or file, or the file was not written by s2koop.

    Examples
    --------
    >>> load("wave-geometry").features
    480
    """
    if isinstance(path, str) and path in shipped():
        path = WEIGHTS / f"{path}.safetensors"
    if not Path(path).is_file():
        raise ModelError(
            f"there is no encoder {str(path)!r}; give the path of a file that encoder.save() wrote, or the name of a "
            f"shipped one: {', '.join(shipped()) or 'none in this version'}"
        )
    header, tensors = load_content(Path(path), formats=(FORMAT,))
    with as_model_error(f"{path} is damaged: its tensors do not fit its settings"):
        settings = EncoderSettings.from_card(header["settings"])
        expect(beside(tensors, "network."), {})
        network = filled(lambda: make_network(settings), under("network.", tensors))
        return Encoder(settings, network, header["card"])


__all__ = ["Encoder", "EncoderSettings", "load", "make_network", "shipped"]

"""Networks that turn images or series into features, by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from s2koop.errors import InputError
from s2koop.ssl.series import SeriesNet
from s2koop.ssl.texture import TextureNet

#: Networks for images (n, channel, y, x), and for pixel series (n, time, band).
IMAGES = ("texture", "resnet18", "resnet50")
SERIES = ("series",)


def build(name: str, channels: int, **options: Any) -> nn.Module:
    """A network with random weights; its attribute ``features`` says how many numbers it gives.

    Parameters
    ----------
    name : {"texture", "resnet18", "resnet50", "series"}
    channels : int
        Bands that it takes.
    **options
        Of the network, such as ``width``.

    Raises
    ------
    InputError
        If no network has this name.

    Examples
    --------
    >>> build("texture", 1, width=16).features
    480
    """
    if name == "texture":
        return TextureNet(channels, **options)
    if name in ("resnet18", "resnet50"):
        from s2koop.ssl import resnet

        return getattr(resnet, name)(channels=channels, **options)
    if name == "series":
        return SeriesNet(channels, **options)
    raise InputError(f"backbone={name!r} is unknown; choose one of {', '.join((*IMAGES, *SERIES))}")


__all__ = ["IMAGES", "SERIES", "build"]

"""WV-Net, a published encoder of Sentinel-1 wave-mode quicklooks: its preprocessing, and the user's file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional

from s2koop.errors import InputError, ModelError
from s2koop.ssl.encoder import Encoder, EncoderSettings
from s2koop.ssl.resnet import load_torchvision, resnet50
from s2koop.ssl.state_dicts import file_content, git_blob_id, read_state

#: Name by git of the published file of weights.
BLOB_ID = "1f2bb01893b41c357e514256681ce682c4003d14"
#: Rows and columns of a quicklook that count, and of what the network gets.
CROP, SIZE = 450, 224
#: Mean and standard deviation of the grey levels of the training.
MEAN, STD = 103.4862417561056 / 255, 56.745013435601074 / 255
#: What is known of the encoder.
CARD = {
    "name": "wvnet",
    "paper": "Glaser et al. (2024), WV-Net, arXiv:2406.18765",
    "source": "hawaii-ai/WV-Net",
    "licence": "MIT by its package metadata; the repository holds no text of a licence",
    "images": "quicklooks of some 41 m, stretched to 0..255 between their percentiles 1 and 99",
    "git_blob_id": BLOB_ID,
}
#: What it takes: the middles of quicklooks, as `s2koop.ssl.read_quicklooks` gives them with ``pixel=None``.
SETTINGS = EncoderSettings(
    backbone="resnet50", patch=CROP, sensor="SAR", prepare="wvnet", policy="SimCLR; its views are not published",
    forgets="absolute backscatter, which the stretch of each quicklook takes away",
)  # fmt: skip


def preprocess(image: Any, *, legacy_pad: bool = True) -> Tensor:
    """Quicklooks as the network of WV-Net takes them, with the quirks of the published code.

    Parameters
    ----------
    image : DataArray, array or Tensor of uint8, shape (y, x) or (image, y, x)
        Grey levels, stretched to 0..255 between the percentiles 1 and 99 of an image as the published quicklooks are.
    legacy_pad : bool
        The published code pads images below 450 pixels wrongly: what is missing of the *width* it adds as rows of
        zeros on top. The network was run on such images, so this is reproduced; False pads all sides evenly instead,
        and moves WV2 images by some tens of pixels.

    Returns
    -------
    float32 Tensor, shape (3, 224, 224) or (image, 3, 224, 224)

    Raises
    ------
    InputError
        If the image is not grey levels of 8 bits.

    Notes
    -----
    Rows on top and at the bottom are added, the middle 450 x 450 pixels are cut (zeros where there are none), resized
    by bilinear interpolation with aligned corners and without antialiasing, and standardised.

    References
    ----------
    The class ``ImagePreprocessor`` of hawaii-ai/WV-Net; Glaser et al. (2024), arXiv:2406.18765.

    Examples
    --------
    >>> grey = np.full((478, 440), 103, "uint8")
    >>> preprocess(grey).shape
    torch.Size([3, 224, 224])
    >>> round(preprocess(grey)[0, 112, 112].item(), 4)
    -0.0086
    """
    grey = _grey(image)
    stacked = grey if grey.ndim == 3 else grey[None]
    out = resized(cropped(stacked, legacy_pad=legacy_pad)[:, None])
    return out if grey.ndim == 3 else out[0]


def _grey(image: Any) -> Tensor:
    values = image.values if isinstance(image, xr.DataArray) else image
    values = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    if values.dtype != torch.uint8:
        raise InputError(
            f"the image is {str(values.dtype).removeprefix('torch.')}; WV-Net takes grey levels of uint8: stretch it "
            "to 0..255 between its percentiles 1 and 99, and convert it"
        )
    if values.ndim not in (2, 3) or values.shape[-1] <= 4 or 0 in values.shape:
        raise InputError(
            f"the image has shape {tuple(values.shape)}; expected (y, x) or (image, y, x) of one grey channel, such as "
            'PIL\'s image.convert("L")'
        )
    return values


def cropped(images: Tensor, *, legacy_pad: bool = True) -> Tensor:
    """The middle 450 x 450 pixels of images (..., y, x), zeros where there are none; `legacy_pad` as `preprocess`."""
    if legacy_pad:
        rows, columns = (max(0, CROP - size) for size in images.shape[-2:])
        images = functional.pad(images, (0, 0, columns, rows))
    less = [max(0, CROP - size) for size in images.shape[-2:]]
    images = functional.pad(images, (less[1] // 2, (less[1] + 1) // 2, less[0] // 2, (less[0] + 1) // 2))
    # round() takes halves to the even number, as the published code does
    top, left = (round((size - CROP) / 2) for size in images.shape[-2:])
    return images[..., top : top + CROP, left : left + CROP]


def resized(images: Tensor) -> Tensor:
    """Grey levels 0..255 (image, 1, y, x) as the network takes them (image, 3, 224, 224); what is missing is black."""
    values = images.to(torch.float32).nan_to_num(0.0) / 255
    values = functional.interpolate(values, (SIZE, SIZE), mode="bilinear", align_corners=True, antialias=False)
    return ((values - MEAN) / STD).repeat(1, 3, 1, 1)


def authenticate(path: str | Path) -> bytes:
    """The content of the published file of weights; nothing in it has been executed.

    Raises
    ------
    ModelError
        If the file is another one.

    Examples
    --------
    >>> authenticate("wvnet_resnet50_weights.pt")
    Traceback (most recent call last):
    s2koop.errors.ModelError: there is no file 'wvnet_resnet50_weights.pt'; give the path of ...
    """
    content = file_content(path)
    found = git_blob_id(content)
    if found != BLOB_ID:
        raise ModelError(
            f"{path} is not the published file of WV-Net: its git blob id is {found} ({len(content):,} bytes), "
            f"expected {BLOB_ID}; download it again from {CARD['source']}, as raw bytes"
        )
    return content


def wvnet_network(weights: str | Path) -> nn.Module:
    """The network of WV-Net: (image, 3, 224, 224) of `preprocess` to (image, 2048).

    Parameters
    ----------
    weights : str or Path
        The published file; it is identified by its git blob id before it is read.

    Raises
    ------
    ModelError
        If it is another file.
    """
    return load_torchvision(resnet50(), read_state(authenticate(weights), str(weights)))


def wvnet(weights: str | Path) -> Encoder:
    """WV-Net, from the user's copy of the published weights.

    Parameters
    ----------
    weights : str or Path
        ``wvnet_resnet50_weights.pt`` of the public repository; s2koop does not distribute it.

    Returns
    -------
    Encoder
        Of 2048 features.

    Raises
    ------
    ModelError
        If the file is not the published one: it is identified by its git blob id before anything in it is read.

    References
    ----------
    Glaser et al. (2024), WV-Net: a foundation model for SAR wave-mode imagery, arXiv:2406.18765.

    Examples
    --------
    >>> encoder = wvnet("wvnet_resnet50_weights.pt")  # doctest: +SKIP
    """
    return Encoder(SETTINGS, wvnet_network(weights), CARD)


__all__ = ["authenticate", "cropped", "preprocess", "resized", "wvnet", "wvnet_network"]

"""What training minimises: reflectance, structure, spectral shape, and that radiative transfer gives the input back."""

from __future__ import annotations

import torch
from torch import Tensor

from s2koop.ac.networks import Sky
from s2koop.ac.transfer import Coefficients, to_toa

#: The line inside which a correction is to stay: ``RELATIVE * rho + ABSOLUTE`` (Copernicus specification, ACIX).
RELATIVE, ABSOLUTE = 0.05, 0.005
#: Standard deviation in pixels of the window of SSIM, and its constants for reflectance.
_WINDOW, _SIZE = 1.5, 11
_C1, _C2 = 0.01**2, 0.03**2


def l1(found: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error."""
    return (found - truth).abs().mean()


def specification(found: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error in units of the specification line, ``0.05 * rho + 0.005``.

    Examples
    --------
    >>> float(specification(torch.tensor([0.115]), torch.tensor([0.1])).round(decimals=4))
    1.5
    """
    return ((found - truth).abs() / (RELATIVE * truth.clamp_min(0) + ABSOLUTE)).mean()


def structure(found: Tensor, truth: Tensor) -> Tensor:
    """``1 - SSIM`` of images (scene, band, y, x) in a Gaussian window, for reflectance in 0..1.

    References
    ----------
    Wang et al. (2004), Image quality assessment: from error visibility to structural similarity, IEEE TIP 13(4).
    """
    size = min(_SIZE, *found.shape[-2:])
    place = torch.arange(size).to(found) - (size - 1) / 2
    weight = torch.exp(-0.5 * (place / _WINDOW) ** 2)
    kernel = torch.outer(weight, weight) / weight.sum() ** 2

    def smooth(planes: Tensor) -> Tensor:
        flat = planes.reshape(-1, 1, *planes.shape[-2:])
        return torch.nn.functional.conv2d(flat, kernel[None, None])

    a, b = smooth(found), smooth(truth)
    aa, bb, ab = smooth(found**2) - a**2, smooth(truth**2) - b**2, smooth(found * truth) - a * b
    ssim = (2 * a * b + _C1) * (2 * ab + _C2) / ((a**2 + b**2 + _C1) * (aa + bb + _C2))
    return 1 - ssim.mean()


def spectral_angle(found: Tensor, truth: Tensor, dim: int = 1) -> Tensor:
    """Mean angle in radians between spectra along `dim`; brightness does not count.

    Examples
    --------
    >>> spectrum = torch.tensor([[0.1, 0.2, 0.3]])
    >>> float(spectral_angle(2 * spectrum, spectrum)) < 1e-3
    True
    """
    a, b = (torch.nn.functional.normalize(values, dim=dim) for values in (found, truth))
    return 2 * torch.asin((0.5 * (a - b).norm(dim=dim)).clamp(max=1 - 1e-6)).mean()


def transfer(boa: Tensor, toa: Tensor, c: Coefficients) -> Tensor:
    """The radiative-transfer constraint: mean absolute difference of what `boa` looks like from space to `toa`.

    Parameters
    ----------
    boa, toa : Tensor, shape (scene, band, y, x)
        What a network says of the surface, and what it was given.
    c : Coefficients of tensors (scene, band)
        Of the atmosphere that the network says.

    Examples
    --------
    >>> c = Coefficients(*(torch.tensor([[value]]) for value in (0.09, 0.78, 0.16)))
    >>> surface = torch.full((1, 1, 4, 4), 0.2)
    >>> float(transfer(surface, to_toa(surface, c), c))
    0.0
    """
    return (to_toa(boa, Coefficients(*(value[..., None, None] for value in c))) - toa).abs().mean()


def sky(found: Sky, aot: Tensor, water_vapour: Tensor, model: Tensor) -> Tensor:
    """Negative log-likelihood of an atmosphere: the aerosol's model, its thickness under that model, water vapour.

    Means only feel their absolute errors, in usual units, and standard deviations only the likelihood: a likelihood
    that moved both would learn the easy scenes and declare the others uncertain.

    Parameters
    ----------
    found : Sky
    aot, water_vapour : Tensor, shape (scene,)
    model : Tensor of int64, shape (scene,)
        Index of the aerosol's true model.
    """
    rows = torch.arange(len(model))
    thickness = aot - found.aot[rows, model]
    column = torch.log(water_vapour / found.water_vapour)
    loss = torch.nn.functional.cross_entropy(found.logits, model)
    for residual, error, usual in (
        (thickness, found.aot_error[rows, model], 0.03), (column, found.water_vapour_error, 0.05)
    ):  # fmt: skip
        loss = loss + ((residual.detach() / error) ** 2 / 2 + torch.log(error)).mean() + residual.abs().mean() / usual
    return loss

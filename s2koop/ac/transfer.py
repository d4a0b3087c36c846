"""The atmosphere as three numbers per band: reflectance at its top from that of the surface, back, and all derivatives.

Over a Lambertian surface of reflectance ``rho``, the reflectance at the top of the atmosphere is

    toa = path + gain * rho / (1 - albedo * rho)

whatever code or table the three numbers come from. Everything here is plain arithmetic, so arrays of NumPy, torch
and xarray all serve, broadcast by their own rules and are differentiated by their own means.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Coefficients(NamedTuple):
    """The atmosphere of one band, or of arrays of bands, dates or pixels that broadcast against a scene.

    Attributes
    ----------
    path : float or array
        Reflectance of the atmosphere over a black surface, with absorption by gases.
    gain : float or array
        Transmittance from sun to surface to sensor, with absorption by gases.
    albedo : float or array
        Reflectance of the atmosphere for light that comes from below.

    Examples
    --------
    >>> hazy = Coefficients(path=0.09, gain=0.78, albedo=0.16)
    >>> round(to_boa(to_toa(0.25, hazy), hazy), 6)
    0.25
    """

    path: Any
    gain: Any
    albedo: Any


def to_toa(rho: Any, c: Coefficients) -> Any:
    """Reflectance at the top of the atmosphere over a surface of reflectance `rho`.

    Parameters
    ----------
    rho : float or array
        Surface reflectance (0 to 1).
    c : Coefficients
        The atmosphere; its arrays broadcast against `rho`.

    Returns
    -------
    What the arithmetic of the arguments gives: the kind and the broadcast shape of `rho` and `c`.

    References
    ----------
    Vermote et al. (1997), Second Simulation of the Satellite Signal in the Solar Spectrum, 6S, IEEE TGRS 35.

    Examples
    --------
    >>> to_toa(0.0, Coefficients(0.09, 0.78, 0.16))
    0.09
    """
    return c.path + c.gain * rho / (1 - c.albedo * rho)


def to_boa(toa: Any, c: Coefficients) -> Any:
    """Surface reflectance under a reflectance `toa` at the top of the atmosphere: the exact inverse of `to_toa`.

    A scene darker than the path alone gives a negative reflectance, which is kept: clipping would bias dark surfaces.

    Parameters
    ----------
    toa : float or array
        Reflectance at the top of the atmosphere.
    c : Coefficients
        The atmosphere; its arrays broadcast against `toa`.

    Returns
    -------
    What the arithmetic of the arguments gives: the kind and the broadcast shape of `toa` and `c`.

    Examples
    --------
    >>> to_boa(0.05, Coefficients(0.09, 0.78, 0.16)) < 0
    True
    """
    y = (toa - c.path) / c.gain
    return y / (1 + c.albedo * y)


def d_toa_d_boa(rho: Any, c: Coefficients) -> Any:
    """How much of a change of the surface arrives at the top: ``gain / (1 - albedo * rho)**2``."""
    return c.gain / (1 - c.albedo * rho) ** 2


def d_boa_d_toa(toa: Any, c: Coefficients) -> Any:
    """How an error of the measurement becomes one of the surface: ``1 / (gain * (1 + albedo * y)**2)``.

    Here ``y = (toa - path) / gain``. The surface answers to an error of the path with the opposite sign.

    Examples
    --------
    >>> clear, hazy = Coefficients(0.02, 0.95, 0.05), Coefficients(0.15, 0.55, 0.25)
    >>> d_boa_d_toa(0.2, hazy) > d_boa_d_toa(0.2, clear) > 1
    True
    """
    y = (toa - c.path) / c.gain
    return 1 / (c.gain * (1 + c.albedo * y) ** 2)


def d_boa_d_coefficients(toa: Any, c: Coefficients) -> Coefficients:
    """Derivatives of the surface reflectance by each of the three numbers, in their places.

    Parameters
    ----------
    toa : float or array
        Reflectance at the top of the atmosphere.
    c : Coefficients
        The atmosphere; its arrays broadcast against `toa`.

    Returns
    -------
    Coefficients
        ``path``, ``gain`` and ``albedo`` hold the derivative by that number. With those of the three numbers by
        aerosol or water vapour (autograd, or a difference of two atmospheres), the chain rule gives the uncertainty.

    Examples
    --------
    >>> by = d_boa_d_coefficients(0.2, Coefficients(0.09, 0.78, 0.16))
    >>> by.path < 0 and by.gain < 0 and by.albedo < 0
    True
    """
    y = (toa - c.path) / c.gain
    by_toa = d_boa_d_toa(toa, c)
    rho = y / (1 + c.albedo * y)
    return Coefficients(path=-by_toa, gain=-by_toa * y, albedo=-rho * rho)

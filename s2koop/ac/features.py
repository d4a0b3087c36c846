"""What networks take of a scene: numbers of order one, from reflectance, from geometry, and from a reference air."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from s2koop.ac.lut import Atmosphere, Table, pressure
from s2koop.ac.transfer import Coefficients, to_boa

#: Numbers that `geometry_features` gives.
GEOMETRY = 5
#: Reflectance below which differences count fully: aerosol shows over what is dark.
DARK = 0.03
#: A clear and a hazy atmosphere: what a surface would be under each says how much the sky matters to it.
REFERENCES = ({"aot": 0.05, "water_vapour": 0.5}, {"aot": 0.35, "water_vapour": 3.0})
#: Ozone where it is not known, cm-atm, and its standard deviation.
OZONE, OZONE_ERROR = 0.32, 0.035


def as_floats(state: Atmosphere) -> Atmosphere:
    """The state as float32 tensors."""
    return Atmosphere(*(torch.as_tensor(value, dtype=torch.float32) for value in state))


def geometry_features(state: Atmosphere) -> Tensor:
    """What is known of a scene beforehand (..., 5): air masses, scattering angle, pressure, and the view's side.

    Parameters
    ----------
    state : Atmosphere of float32 tensors (...)
        Angles in degrees and altitude in m; aerosol and gases are not looked at.
    """
    sza, vza, raa = (torch.deg2rad(value) for value in (state.sza, state.vza, state.raa))
    sun, view = torch.cos(sza), torch.cos(vza)
    side = torch.sin(vza) * torch.cos(raa)
    back = sun * view + torch.sin(sza) * side
    return torch.stack([1 / sun - 1.5, 20 * (1 / view - 1), back, 4 * (1 - pressure(state.altitude)), 5 * side], -1)


def compressed(reflectance: Tensor) -> Tensor:
    """Reflectance on a scale that is linear where it is dark and logarithmic where it is bright."""
    return torch.asinh(reflectance / DARK)


def reference_features(toa: Tensor, state: Atmosphere, *, table: Table, sensor: Any, bands: Sequence[str]) -> Tensor:
    """Surface reflectance that pixels would have under a clear and a hazy sky, compressed.

    That takes geometry, altitude and the sensor's responses out of what a network has to learn.

    Parameters
    ----------
    toa : Tensor, shape (scene, pixel, band)
    state : Atmosphere of float32 tensors (scene,)
        Only angles and altitude are used.

    Returns
    -------
    Tensor, shape (scene, pixel, 2 * band)
    """
    seen = []
    for reference in REFERENCES:
        values = {"ozone": OZONE, **reference}
        air = state._replace(**{name: torch.full_like(state.sza, value) for name, value in values.items()})
        c = table.coefficients(sensor, air, bands=list(bands))
        seen.append(compressed(to_boa(toa, Coefficients(*(value[:, None] for value in c)))))
    return torch.cat(seen, -1)

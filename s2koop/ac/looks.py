"""How a retrieval looks at scenes: under reference skies first, and again under what it has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from s2koop.ac.features import OZONE, compressed, geometry_features, reference_features
from s2koop.ac.lut import LIMITS, Atmosphere, Table
from s2koop.ac.networks import Retrieval, Sky
from s2koop.ac.transfer import Coefficients, to_boa


def look_again(
    network: Retrieval, toa: Tensor, state: Atmosphere, valid: Tensor, *, models: Sequence[str], table: Table,
    sensor: Any, bands: Sequence[str],
) -> tuple[Sky, Sky]:  # fmt: skip
    """Both looks of a retrieval at samples of scenes.

    Parameters
    ----------
    network : Retrieval
    toa : Tensor, shape (scene, pixel, band)
    state : Atmosphere of float32 tensors (scene,)
        Only angles and altitude are used.
    valid : bool Tensor, shape (scene, pixel)
    models : sequence of str
        Aerosol models in the order of the network.
    table, sensor, bands
        As for `Table.coefficients`.
    """
    geometry = geometry_features(state)
    features = reference_features(toa, state, table=table, sensor=sensor, bands=bands)
    first = network.first(features, geometry, valid)
    with torch.no_grad():
        surfaces = []
        water = first.water_vapour.clamp(*LIMITS["water_vapour"])
        for at, model in enumerate(models):
            aot = first.aot[:, at].clamp(*LIMITS["aot"])
            air = state._replace(aot=aot, water_vapour=water, ozone=torch.full_like(aot, OZONE))
            c = table.coefficients(sensor, air, model, list(bands))
            surfaces.append(compressed(to_boa(toa, Coefficients(*(value[:, None] for value in c)))))
    return first, network.second(first, torch.stack(surfaces, 1), geometry, valid)

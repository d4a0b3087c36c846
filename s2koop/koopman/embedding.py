"""Latents as embeddings: what a model needs of a pixel to say its whole trajectory, as a place among other pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from s2koop._time import to_days
from s2koop.engine import Output, check_device, map_pixels
from s2koop.koopman._checks import TELLING, check_cube, refuse_digital_numbers
from s2koop.koopman.analysis import for_blocks, on_model_bands, tile_size
from s2koop.koopman.assimilation import Background
from s2koop.koopman.kernels import window_of
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import make_network
from s2koop.koopman.solvers import minimise


def embed(cube: xr.DataArray, model: KoopmanModel, *, device: str = "cpu", progress: bool = True) -> xr.DataArray:
    """Embed the series of each pixel of a cube; see `KoopmanModel.embed`."""
    times, device = check_cube(cube), check_device(device)
    start = model.anchor(float(to_days(times[0])))
    prepared = on_model_bands(cube, model)
    found = map_pixels(
        prepared,
        _latents,
        outputs={"embedding": Output({"feature": np.arange(model.network.latent)})},
        model=for_blocks(prepared, model, device),
        options={"days": to_days(times) - start},
        tile=tile_size(model, len(times)),
        device=device,
        progress="embed" if progress else None,
    )["embedding"].transpose("y", "x", "feature")
    spatial = {name: coord.variable for name, coord in cube.coords.items() if set(coord.dims) <= {"y", "x"}}
    about = {
        "long_name": "latent on the anniversary that the model begins at", "units": "1",
        "encoder": f"koopman {model.settings.operator}", "encoder_digest": model.digest, "patch": 1, "stride": 1,
        "max_missing": 1.0,
        "sensor": str(cube.attrs.get("sensor", "")), "policy": "koopman",
        "forgets": "what does not come back on another date: haze, single dates, short anomalies",
    }  # fmt: skip
    return found.assign_coords({k: v for k, v in spatial.items() if k not in found.dims}).assign_attrs(about)


def untrained(model: KoopmanModel) -> KoopmanModel:
    """The same network with the weights it began with, and a background that knows nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.settings.seed)
        network = make_network(len(model.bands), model.settings)
    latent = network.latent
    background = Background(torch.zeros(latent), torch.eye(latent))
    return replace(model, network=network, background=background, uncertainty=None, card={"title": "untrained"})


def _latents(model: KoopmanModel, values: Tensor, *, days: npt.NDArray[np.float64]) -> dict[str, Tensor]:
    """Latents (pixel, latent) in standard deviations of the prior."""
    refuse_digital_numbers(values, least=TELLING)
    return {"embedding": minimise(window_of(model, values, days)).u}


__all__ = ["embed", "untrained"]

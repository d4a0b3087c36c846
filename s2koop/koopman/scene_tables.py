"""Date effects of a whole cube as small tables that every block of pixels can share, lazy where the cube is."""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from s2koop.engine import ModelReference
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.scene import DateEffects, scene_effects

#: Pixels on a lattice over the whole scene that the effects are estimated from.
LATTICE_PIXELS = 1024
#: Dates whose passing effects weigh as much as the belief that the sky adds nothing on average.
BELIEF = 10.0

OWN, ASKED, BAND = "own_time", "asked_time", "model_band"
_TABLES = {"effect": OWN, "lasting": ASKED, "lasting_variance": ASKED, "passing": ASKED, "known": ASKED}


def scene_tables(
    cube: xr.DataArray,
    model: KoopmanModel,
    reference: KoopmanModel | ModelReference,
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    device: str,
) -> dict[str, xr.DataArray]:
    """Tables for `s2koop.engine.map_pixels`, standardised.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        On the bands of the model.
    model : KoopmanModel
    reference : KoopmanModel or ModelReference
        What a worker gets.
    days, asked : ndarray
        Days since the start of the window; `asked` is sorted.
    device : str

    Returns
    -------
    dict of str to DataArray
        ``effect`` (own_time, model_band) of the cube's dates; on the asked dates ``lasting`` and its variance
        ``lasting_variance``: what belongs to the surface; ``passing``: what an observation shows beside it, the
        sky of a date that was seen, and its average elsewhere; and ``known``: one on dates that were seen.
    """
    found = xr.apply_ufunc(
        _tables,
        lattice(cube),
        input_core_dims=[["time", "band", "y", "x"]],
        output_core_dims=[[dim, BAND] for dim in _TABLES.values()],
        exclude_dims={"time", "band", "y", "x"},
        dask="parallelized",
        output_dtypes=[np.float32] * len(_TABLES),
        dask_gufunc_kwargs={"output_sizes": {OWN: len(days), ASKED: len(asked), BAND: len(model.bands)}},
        kwargs={"model": reference, "days": days, "asked": asked, "device": device},
    )
    return dict(zip(_TABLES, found, strict=True))


def lattice(cube: xr.DataArray, *, again: bool = True) -> xr.DataArray:
    """Pixels all over a scene (..., y, x), bare of labels and in one chunk.

    Computed `again` for a lazy cube, for cubes that are cheaper to read twice than to keep.
    """
    step = max(1, math.ceil(math.sqrt(cube.sizes["y"] * cube.sizes["x"] / LATTICE_PIXELS)))
    some = cube.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))
    if some.chunks is not None and again:
        # tasks of their own: shared ones would keep every chunk in memory until the effects are known
        some = some.copy(data=own_tasks(some.data))
    some = some if some.chunks is None else some.chunk(-1)
    return some.drop_vars(list(some.coords))


def own_tasks(array: da.Array) -> da.Array:
    """The same dask array by tasks of its own, down to those that read.

    dask's `clone` renames what is not yet written out; of tasks that are, it changes neither name nor what they read,
    so that they would be shared after all, and that fusing them fails.
    """
    from dask.base import clone_key
    from dask.graph_manipulation import clone
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    seed = "own tasks"
    twin, known = clone(array, seed=seed), set(array.dask)

    def renamed(key: Any, task: Any) -> Any:
        if not hasattr(task, "substitute"):
            return task  # a task of the old kind, which `clone` renames
        return task.substitute({one: clone_key(one, seed) for one in task.dependencies if one in known}, key=key)

    layers = {
        name: MaterializedLayer({key: renamed(key, task) for key, task in layer.items()})
        if isinstance(layer, MaterializedLayer)
        else layer
        for name, layer in twin.dask.layers.items()
    }
    graph = HighLevelGraph(layers, twin.dask.dependencies)
    return da.Array(graph, twin.name, chunks=twin.chunks, meta=array._meta)


@torch.no_grad()
def _tables(
    values: npt.NDArray[np.float32],
    *,
    model: Any,
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    device: str,
) -> tuple[npt.NDArray[np.float32], ...]:
    """The tables from the pixels of the lattice (time, band, y, x)."""
    if isinstance(model, ModelReference):
        model = model.load(device)
    series = torch.from_numpy(values.reshape(*values.shape[:2], -1).transpose(2, 0, 1).copy()).to(device)
    series = series[torch.isfinite(series).flatten(1).any(1)]
    own, wanted = (torch.as_tensor(part, dtype=torch.float32, device=device) for part in (days, asked))
    effects = DateEffects.none(own, len(model.bands))
    if len(series):
        standard = model.standardise(series)
        effects = scene_effects(model.network, standard, own, model.background, model.noise, model.settings.robust)
    lasting, variance = effects.lasting(model.uncertainty.scene, wanted)
    on_own_dates, _ = effects.lasting(model.uncertainty.scene, own)
    sky = torch.where(effects.known, effects.effect - on_own_dates, torch.zeros_like(effects.effect))
    passing = (sky.sum(0) / (effects.known.sum(0) + BELIEF)).expand(len(wanted), -1).clone()
    at = torch.searchsorted(own, wanted).clamp(max=len(own) - 1)
    same = ((own[at] - wanted).abs() < 1e-3)[:, None] & effects.known[at]
    passing = torch.where(same, sky[at], passing)
    parts = (effects.effect, lasting, variance, passing, same)
    return tuple(part.cpu().numpy().astype(np.float32) for part in parts)

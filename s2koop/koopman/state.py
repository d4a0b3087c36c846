"""The state of a cube on its last date: all that a forecast, or a new date, needs of the past.

A window of years becomes one Gaussian for each pixel (`s2koop.koopman.joint`) and a small one for what the scene
shares. A new scene moves both forward; no old date is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from s2koop._time import from_days, to_days
from s2koop._version import __version__
from s2koop.engine import ModelReference, Output, check_device, map_pixels
from s2koop.errors import InputError, ModelError
from s2koop.koopman._checks import TELLING, Dates, check_asked, check_cube, check_model, day, refuse_digital_numbers
from s2koop.koopman.analysis import SolverOptions, for_blocks, labelled, on_model_bands, tile_size
from s2koop.koopman.departures import departures
from s2koop.koopman.joint import Joint, Lasting, Observer
from s2koop.koopman.kernels import observed_from_to, on, window_of
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.model_error import ModelError as AnomalyError
from s2koop.koopman.scene import LIMIT, DateEffects, date_effects
from s2koop.koopman.scene_tables import BAND, lattice, scene_tables
from s2koop.koopman.solvers import minimise
from s2koop.koopman.uncertainty import Uncertainty, lead_of, season_of
from s2koop.koopman.weak import refine

NEW = "new_time"
_DIMS = {
    "latent": "component",
    "anomaly": "process",
    "departure": "direction",
    "covariance": "pair",
    "departure_covariance": "departure_pair",
}
#: What the scene shares, with the dims of each.
_SCENE: dict[str, list[str]] = {
    "scene_anomaly": ["scene_process"],
    "scene_covariance": ["scene_pair"],
    "scene_departure_size": [],
}
_LONG = {
    "latent": "whitened latent at the start of the window",
    "anomaly": "anomalies around the trajectory on the last date, in standard deviations",
    "departure": "departures from all that the model expects of land on the last date, in those of all land",
    "covariance": "rows of the lower triangle of the covariance of latent and anomaly",
    "departure_covariance": "rows of departure that follow those of covariance",
    "departure_size": "standard deviation of departures, as a share of that of all land",
    "last": "days from the start of the window to the last observation",
    "scene_anomaly": "anomalies, then departures, that the scene shares on the last date",
    "scene_covariance": "rows of the lower triangle of the covariance of scene_anomaly",
    "scene_departure_size": "standard deviation of the departures of the scene, as a share of that of all land",
}


@dataclass(frozen=True)
class Clock:
    """When a state is: its window's start in days since 2000-01-01, and its last date."""

    start: float
    last: np.datetime64

    @property
    def day(self) -> float:
        """The last date in days since the start of the window."""
        return float(to_days(self.last)) - self.start


def state(cube: xr.DataArray, model: KoopmanModel | str | Path, *, options: SolverOptions) -> xr.Dataset:
    """State of a cube on its last date; see `s2koop.koopman.KoopmanAccessor.state`."""
    times = check_cube(cube)
    model = with_errors(check_model(model, cube))
    clock = Clock(model.anchor(float(to_days(times[0]))), times[-1])
    prepared = on_model_bands(cube, model)
    reference = for_blocks(prepared, model, options.device)
    days = to_days(times) - clock.start
    tables, scene = {}, xr.Dataset()
    if options.scene:
        last = np.array([clock.day])
        tables = {"effect": scene_tables(prepared, model, reference, days, last, options.device)["effect"]}
        scene = _scene_state(tables["effect"], model, reference, days, options.device)
    result = map_pixels(
        prepared,
        state_kernel,
        outputs=state_outputs(model, options.scene),
        model=reference,
        shared=tables,
        options={
            "days": days,
            "last": clock.day,
            "solver": options.solver,
            "max_iterations": options.max_iterations,
            "tolerance": options.tolerance,
        },
        tile=tile_size(model, len(times)),
        device=options.device,
        progress="state" if options.progress else None,
    )
    return _finished(_never_seen(result, model, options.scene), scene, cube, model, times, clock)


def update(
    before: xr.Dataset,
    cube: xr.DataArray,
    model: KoopmanModel | str | Path,
    *,
    device: str = "cpu",
    progress: bool = True,
) -> xr.Dataset:
    """State after some new dates; see `s2koop.koopman.KoopmanStateAccessor.update`."""
    times = check_cube(cube)
    model = with_errors(check_model(model, cube))
    clock = check_state(before, model)
    _check_grid(before, cube)
    if times[0] <= clock.last:
        raise InputError(
            f"the first new date {day(times[0])} is not after {day(clock.last)}, the last date of the state; select "
            f"later ones: cube.sel(time=cube.time > numpy.datetime64('{clock.last}'))"
        )
    shares = shares_scene(before)
    device = check_device(device)
    stack = stacked([*(before[name] for name in state_outputs(model, shares)), on_model_bands(cube, model)])
    reference = for_blocks(stack, model, device)
    how = {"day": clock.day, "days": to_days(times) - clock.start}
    tables, scene = {}, xr.Dataset()
    if shares:
        effect, *moved = xr.apply_ufunc(
            _follow_scene,
            lattice(stack, again=False),
            *(_bare(before[name]) for name in _SCENE),
            input_core_dims=[["time", "band", "y", "x"], *_SCENE.values()],
            output_core_dims=[[NEW, BAND], *_SCENE.values()],
            exclude_dims={"time", "band", "y", "x"},
            dask="parallelized",
            output_dtypes=[np.float32] * (1 + len(_SCENE)),
            dask_gufunc_kwargs={"output_sizes": {NEW: len(times), BAND: len(model.bands)}},
            kwargs={"model": reference, "device": device, **how},
        )
        tables, scene = {"effect": effect}, xr.Dataset(dict(zip(_SCENE, moved, strict=True)))
    result = map_pixels(
        stack,
        update_kernel,
        outputs=state_outputs(model, shares),
        model=reference,
        shared=tables,
        options=how,
        tile=tile_size(model, 8),
        device=device,
        progress="update" if progress else None,
    )
    return _finished(result, scene, cube, model, times, Clock(clock.start, times[-1]))


def forecast_state(
    before: xr.Dataset,
    model: KoopmanModel | str | Path,
    *,
    times: Any,
    device: str = "cpu",
    progress: bool = True,
) -> xr.Dataset:
    """Forecast from a state; see `s2koop.koopman.KoopmanStateAccessor.forecast`."""
    model = with_errors(check_model(model, _no_bands()))
    clock, asked = check_state(before, model), check_asked(times)
    if asked[0] < clock.last:
        raise InputError(
            f"the first asked date {day(asked[0])} is before {day(clock.last)}, the date of the state, which knows no "
            "past; use cube.koopman.assimilate(times=...)"
        )
    shares, device = shares_scene(before), check_device(device)
    stack = stacked([before[name] for name in state_outputs(model, shares)])
    coords = {"time": asked, "band": np.array(model.bands, dtype=object)}
    about = {
        "mean": "forecast of surface reflectance",
        "spread": "standard deviation of an observation around the forecast",
        "spread_state": "standard deviation of the forecast: what latents and anomalies leave open",
    }
    result = map_pixels(
        stack,
        forecast_kernel,
        outputs={name: Output(coords, attrs={"long_name": text, "units": "1"}) for name, text in about.items()},
        model=for_blocks(stack, model, device),
        shared={name: before[name] for name in _SCENE} if shares else {},
        options={
            "day": clock.day,
            "asked": to_days(asked) - clock.start,
            "seasons": season_of(to_days(asked)),
        },
        tile=tile_size(model, len(asked)),
        device=device,
        progress="forecast" if progress else None,
    )
    like = before["last"].expand_dims(time=1, band=list(model.bands)).assign_attrs(before.attrs)
    return labelled(result, like, model, "forecast", np.array([clock.last] * 2), clock.start)


def state_kernel(
    model: KoopmanModel,
    values: Tensor,
    *,
    days: npt.NDArray[np.float64],
    last: float,
    solver: str,
    max_iterations: int | None,
    tolerance: float,
    effect: Tensor | None = None,
) -> dict[str, Tensor]:
    """Pixels (pixel, time, band) to their state on the day `last`."""
    refuse_digital_numbers(values, least=TELLING)
    window = window_of(model, values, days, effect)
    analysis = minimise(window, solver=solver, max_iterations=max_iterations, tolerance=tolerance)
    error = pixel_error(model, effect is not None)
    refined = refine(window, analysis, error, robust=model.settings.robust is not None)
    lasting = lasting_of(model, effect is not None)
    joint = Joint.posterior(refined, on(np.array([last]), values), lasting.usual(refined.size))
    return packed(lasting, joint, observed_from_to(values, days)[1])


def update_kernel(
    model: KoopmanModel,
    values: Tensor,
    *,
    day: float,
    days: npt.NDArray[np.float64],
    effect: Tensor | None = None,
) -> dict[str, Tensor]:
    """States and new observations of `stacked` pixels to new states."""
    lasting = lasting_of(model, effect is not None)
    joint, last, new = unpacked(lasting, values, len(days))
    refuse_digital_numbers(new, least=TELLING)
    standard = model.standardise(new)
    if effect is None:
        effect = standard.new_zeros(standard.shape[1:])
    joint, _ = _followed(model, lasting.error, joint, standard, on(np.append(day, days), values), effect)
    newest = observed_from_to(new, days)[1]
    return packed(lasting, joint, torch.where(torch.isfinite(newest), newest, last))


def forecast_kernel(
    model: KoopmanModel,
    values: Tensor,
    *,
    day: float,
    asked: npt.NDArray[np.float64],
    seasons: npt.NDArray[np.int64],
    **scene: Tensor,
) -> dict[str, Tensor]:
    """States of `stacked` pixels to reflectance on the asked days; NaN where a pixel was never seen.

    `scene` is what the scene shares, where it does.
    """
    lasting, shared = lasting_of(model, bool(scene)), scene_of(model)
    joint, last, _ = unpacked(lasting, values, 0)
    common = shared.unpack(*(scene[name][None] for name in _SCENE)) if scene else None
    wanted = on(asked, values)
    observer = Observer(model.network, model.background, wanted)
    mean = values.new_empty(len(values), len(asked), len(model.bands))
    variance = torch.empty_like(mean)
    for date, ahead in enumerate(wanted - day):
        later = joint.decayed(lasting.error, ahead[None])
        mean[:, date], rows = observer.expected(later, date, lasting.error.lasting())
        variance[:, date] = torch.einsum("pbi,pij,pbj->pb", rows, later.covariance, rows).clamp(min=0)
        if common is not None:
            later, loadings = common.decayed(shared.error, ahead[None]), shared.error.lasting()
            mean[:, date] += later.x @ loadings
            variance[:, date] += torch.einsum("ib,pij,jb->pb", loadings, later.covariance, loadings)
    season = torch.as_tensor(seasons, device=values.device)
    spread = errors_of(model).spread(variance, season, lead_of(last, wanted))
    never = torch.where(torch.isfinite(last), 0.0, torch.nan)[:, None, None]
    return {
        "mean": model.reflectance(mean) + never,
        "spread": model.scale * spread + never,
        "spread_state": model.scale * variance.sqrt() + never,
    }


def errors_of(model: KoopmanModel) -> Uncertainty:
    """What `with_errors` made sure of."""
    assert isinstance(model.uncertainty, Uncertainty)
    return model.uncertainty


def pixel_error(model: KoopmanModel, shares: bool) -> AnomalyError:
    """Anomalies of a pixel; those of the scene among them where it shares no effect of its dates."""
    uncertainty = errors_of(model)
    return uncertainty.local if shares else uncertainty.local + uncertainty.scene


def lasting_of(model: KoopmanModel, shares: bool) -> Lasting:
    """How the state of a pixel is stored: with departures, where an analysis looks for them."""
    own = pixel_error(model, shares)
    return Lasting(model.network.latent, own) if model.settings.robust is None else _departing(own, model)


def scene_of(model: KoopmanModel) -> Lasting:
    """How the state of a scene is stored: as a pixel without a latent."""
    return replace(_departing(errors_of(model).scene, model), latent=0)


def _departing(own: AnomalyError, model: KoopmanModel) -> Lasting:
    further = departures(model.network, model.background)
    return Lasting(model.network.latent, own + further, len(further.decay_days))


def packed(lasting: Lasting, joint: Joint, last: Tensor) -> dict[str, Tensor]:
    """The variables of a state, in the order in which they are stacked."""
    mean, covariance = lasting.pack(joint)
    sizes = [lasting.latent, lasting.size - lasting.latent - lasting.departing, lasting.departing]
    latent, anomaly, departure = mean.split(sizes, 1)
    if not lasting.departing:
        return {"latent": latent, "anomaly": anomaly, "covariance": covariance, "last": last}
    expected = lasting.size - lasting.departing
    expected = expected * (expected + 1) // 2
    return {
        "latent": latent,
        "anomaly": anomaly,
        "departure": departure,
        "covariance": covariance[:, :expected],
        "departure_covariance": covariance[:, expected:],
        "departure_size": joint.usual[:, -1].sqrt(),
        "last": last,
    }


def unpacked(lasting: Lasting, values: Tensor, dates: int) -> tuple[Joint, Tensor, Tensor]:
    """States, last days (pixel,) and observations (pixel, time, band) of `stacked` pixels (pixel, entry, 1)."""
    bands, sized = lasting.error.loadings.shape[1], int(lasting.departing > 0)
    entries = [lasting.size, lasting.pairs, sized, 1, dates * bands]
    mean, covariance, size, last, new = values[..., 0].split(entries, 1)
    size = size[:, 0] if sized else torch.zeros_like(last[:, 0])
    return lasting.unpack(mean, covariance, size), last[:, 0], new.unflatten(1, (dates, bands))


def stacked(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    """Arrays over (y, x) end to end in one cube with a single band: what goes through the engine together."""
    bare = [_bare_core(part, number) for number, part in enumerate(parts)]
    core = [[dim for dim in part.dims if dim not in ("y", "x")] for part in bare]
    entries = sum(part.isel(y=0, x=0).size for part in bare)
    joined = xr.apply_ufunc(
        _end_to_end,
        *bare,
        input_core_dims=core,
        output_core_dims=[["time", "band"]],
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"time": entries, "band": 1}},
    )
    return joined.transpose("time", "band", "y", "x")


def _bare_core(part: xr.DataArray, number: int) -> xr.DataArray:
    """An array whose dims beside (y, x) are its own and in one chunk."""
    bare = part.drop_vars(list(part.coords))
    own = {dim: f"{dim}_{number}" for dim in bare.dims if dim not in ("y", "x")}
    bare = bare.rename(own)
    return bare if bare.chunks is None else bare.chunk(dict.fromkeys(own.values(), -1))


def _end_to_end(*parts: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Parts (y, x, ...) as (y, x, entry, 1)."""
    flat = [part.reshape(*part.shape[:2], -1) for part in parts]
    return np.concatenate(flat, 2, dtype=np.float32)[..., None]


def state_outputs(model: KoopmanModel, shares: bool) -> dict[str, Output]:
    """What a kernel of states returns."""
    about = {name: {"long_name": _LONG[name], "units": "d" if name == "last" else "1"} for name in _LONG}
    return {
        name: Output({_DIMS[name]: np.arange(part.shape[1])} if part.ndim == 2 else {}, attrs=about[name])
        for name, part in _blank(model, shares).items()
    }


def _blank(model: KoopmanModel, shares: bool) -> dict[str, Tensor]:
    """What is stored for a pixel (1, ...) that was never seen: the prior, which departs from nothing."""
    lasting = lasting_of(model, shares)
    never = lasting.error.noise.new_full((1,), torch.nan)
    prior = Joint.prior(lasting.latent, lasting.usual(torch.zeros_like(never)))
    return packed(lasting, prior, never)


def with_errors(model: KoopmanModel) -> KoopmanModel:
    """A model that knows the memory of its errors, without which nothing can be carried forward."""
    if model.uncertainty is None:
        raise ModelError(
            "the model holds no errors with a memory (it was imported), so that it has no state to carry forward; "
            "fit one (cube.koopman.fit()), or assimilate all dates together with .assimilate()"
        )
    return model


def check_state(before: Any, model: KoopmanModel) -> Clock:
    """Refuse what is no state of this model, and say when it is."""
    if not isinstance(before, xr.Dataset) or not {"latent", "anomaly", "covariance", "last"} <= set(before):
        found = f"a Dataset of {sorted(map(str, before))}" if isinstance(before, xr.Dataset) else type(before).__name__
        raise InputError(f"expected a state from cube.koopman.state(model), found {found}")
    missing = [name for name in ("model", "window_start_day", "last_date") if name not in before.attrs]
    if missing:
        raise InputError(f"the state has lost its attributes {missing}; keep attrs in what is done to a state")
    if before.attrs["model"] != model.digest:
        raise ModelError(
            f"the state is of model {str(before.attrs['model'])[:12]}, not of {model.digest[:12]}; give the model that "
            "made it, or make a new state: cube.koopman.state(model)"
        )
    shares = shares_scene(before)
    if missing := [name for name in (*state_outputs(model, shares), *(_SCENE if shares else ())) if name not in before]:
        raise InputError(
            f"the state lacks {missing}: it lost them, or an s2koop that did not know departures saved it; make it "
            "again: cube.koopman.state(model)"
        )
    return Clock(float(before.attrs["window_start_day"]), np.datetime64(before.attrs["last_date"], "ns"))


def shares_scene(before: xr.Dataset) -> bool:
    """Whether a state holds what its scene shares."""
    return "scene_anomaly" in before


def _check_grid(before: xr.Dataset, cube: xr.DataArray) -> None:
    for dim in ("y", "x"):
        if before.sizes[dim] != cube.sizes[dim]:
            raise InputError(
                f"the new scene has {cube.sizes[dim]} pixels along {dim} and the state {before.sizes[dim]}; "
                "load it on the same grid (the same bbox, crs and resolution)"
            )
        if (dim in before.coords) != (dim in cube.coords) or (
            dim in before.coords and not np.allclose(before[dim].values, cube[dim].values, rtol=0, atol=1e-6)
        ):
            raise InputError(
                f"the {dim} coordinates of the new scene are not those of the state; load it on the same grid (the "
                "same bbox, crs and resolution), or cube.reindex_like(state, method='nearest')"
            )


@torch.no_grad()
def _followed(
    model: KoopmanModel, error: AnomalyError, joint: Joint, values: Tensor, days: Tensor, effect: Tensor | None
) -> tuple[Joint, Tensor]:
    """States after some dates, and the effects (time, band) that were taken off: those given, or what pixels share.

    Parameters
    ----------
    values : Tensor, shape (pixel, time, band)
        Standardised, NaN where there is no observation.
    days : Tensor, shape (1 + time,)
        The day of the state, then those of the values.
    effect : Tensor, shape (time, band), optional
    """
    observer = Observer(model.network, model.background, days[1:])
    limit = LIMIT if model.settings.robust is not None else None
    taken = values.new_zeros(values.shape[1:])
    for date in range(values.shape[1]):
        joint = joint.decayed(error, days[date + 1 : date + 2] - days[date : date + 1])
        seen = torch.isfinite(values[:, date])
        expected, rows = observer.expected(joint, date, error.loadings, seen.any(1))
        innovation = torch.where(seen, values[:, date] - expected, 0.0)
        taken[date] = effect_of(innovation, seen) if effect is None else effect[date]
        joint = joint.absorbed(innovation - taken[date], rows, error.noise, seen, limit)
    return joint, taken


def effect_of(innovation: Tensor, seen: Tensor) -> Tensor:
    """Effect (band,) of one date, from the innovations (pixel, band) of its pixels."""
    return date_effects(innovation[:, None], seen[:, None], innovation.new_zeros(1)).effect[0]


def _scene_followed(scene: Joint, error: AnomalyError, effect: Tensor, days: Tensor) -> Joint:
    """The state of a scene after the effects (time, band) of some dates; `days` (1 + time,) start with its own."""
    loadings = error.loadings
    for date in range(len(effect)):
        scene = scene.decayed(error, days[date + 1 : date + 2] - days[date : date + 1])
        # an effect is exactly zero where no pixel was seen
        known = (effect[date] != 0)[None]
        scene = scene.absorbed(effect[date] - scene.x @ loadings, loadings.T[None], error.noise, known, LIMIT)
    return scene


def _scene_state(
    effect: xr.DataArray,
    model: KoopmanModel,
    reference: KoopmanModel | ModelReference,
    days: npt.NDArray[np.float64],
    device: str,
) -> xr.Dataset:
    """The state of a scene from the effects of its dates, lazy where they are."""
    lasting = scene_of(model)
    found = xr.apply_ufunc(
        _filter_scene,
        effect,
        input_core_dims=[list(effect.dims)],
        output_core_dims=list(_SCENE.values()),
        dask="parallelized",
        output_dtypes=[np.float32] * len(_SCENE),
        dask_gufunc_kwargs={"output_sizes": {"scene_process": lasting.size, "scene_pair": lasting.pairs}},
        kwargs={"model": reference, "days": days, "device": device},
    )
    return xr.Dataset(dict(zip(_SCENE, found, strict=True)))


@torch.no_grad()
def _filter_scene(
    effect: npt.NDArray[np.float32], *, model: Any, days: npt.NDArray[np.float64], device: str
) -> tuple[npt.NDArray[np.float32], ...]:
    model = loaded(model, device)
    given = torch.from_numpy(np.array(effect)).to(device)
    when = on(days, given)
    # an effect is exactly zero where no pixel was seen
    effects = DateEffects(when, given, given != 0, departures(model.network, model.background))
    anomalies = effects.filter(errors_of(model).scene, given[None])
    asked = torch.stack([when[0] - 1, when[-1]])  # before the first date all is as usual
    x, covariance = anomalies.at(given[None, ..., None], asked, inclusive=True)
    return _scene_packed(scene_of(model), Joint(x[:, 1, :, 0], covariance[1], covariance[0].diagonal(dim1=1, dim2=2)))


def _scene_packed(lasting: Lasting, scene: Joint) -> tuple[npt.NDArray[np.float32], ...]:
    """The values of `_SCENE`."""
    return tuple(part[0].cpu().numpy() for part in (*lasting.pack(scene), scene.usual[:, -1].sqrt()))


@torch.no_grad()
def _follow_scene(
    stack: npt.NDArray[np.float32],
    anomaly: npt.NDArray[np.float32],
    covariance: npt.NDArray[np.float32],
    size: npt.NDArray[np.float32],
    *,
    model: Any,
    day: float,
    days: npt.NDArray[np.float64],
    device: str,
) -> tuple[npt.NDArray[np.float32], ...]:
    """Effects of new dates and the state of the scene after them, from the lattice (entry, 1, y, x)."""
    model = loaded(model, device)
    values = torch.from_numpy(stack.reshape(len(stack), -1).T.copy()).to(device)[..., None]
    pixel, shared = lasting_of(model, shares=True), scene_of(model)
    joint, last, new = unpacked(pixel, values, len(days))
    # what was never seen before says nothing of what the others share
    use = torch.isfinite(last)
    when = on(np.append(day, days), values)
    _, effect = _followed(model, pixel.error, joint[use], model.standardise(new[use]), when, None)
    stored = (torch.from_numpy(np.array(part)).to(device)[None] for part in (anomaly, covariance, size))
    scene = _scene_followed(shared.unpack(*stored), shared.error, effect, when)
    return (effect.cpu().numpy(), *_scene_packed(shared, scene))


def loaded(model: KoopmanModel | ModelReference, device: str) -> KoopmanModel:
    """A model that may have come as a reference."""
    return model.load(device) if isinstance(model, ModelReference) else model


def _bare(table: xr.DataArray) -> xr.DataArray:
    bare = table.drop_vars(list(table.coords))
    return bare if bare.chunks is None else bare.chunk(-1)


def _never_seen(result: xr.Dataset, model: KoopmanModel, shares: bool) -> xr.Dataset:
    """The prior for pixels that no date has seen: a later one may."""
    blank = {name: part[0].cpu().numpy() for name, part in _blank(model, shares).items()}
    return result.fillna(xr.Dataset({name: (result[name].dims[:-2], part) for name, part in blank.items()}))


def _finished(
    result: xr.Dataset,
    scene: xr.Dataset,
    cube: xr.DataArray,
    model: KoopmanModel,
    times: Dates,
    clock: Clock,
) -> xr.Dataset:
    """Name what a state is of, and when."""
    decay = Lasting(model.network.latent, pixel_error(model, bool(scene))).decay_days.cpu().numpy()
    about = {"long_name": "time in which an anomaly falls to 1/e", "units": "d"}
    result = result.assign_coords(decay=("process", decay, about))
    for name, variable in scene.items():
        result[name] = variable.assign_attrs(long_name=_LONG[str(name)], units="1")
    result = labelled(result, cube, model, "state", times, clock.start)
    return result.assign_attrs(
        title="Koopman state",
        window=f"until {day(clock.last)}, latent at {day(from_days(clock.start))}",
        source=f"s2koop {__version__}, model {model.digest[:12]} ({model.settings.operator} operator)",
        model=model.digest,
        window_start_day=clock.start,
        last_date=str(clock.last),
    )


def _no_bands() -> xr.DataArray:
    """What a state has of a cube: no bands that a model could miss."""
    return xr.DataArray(np.empty(0), dims="band", coords={"band": np.empty(0, dtype=object)})

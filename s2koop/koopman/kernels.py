"""What is done to the pixels of one tile: tensors in, tensors out, for `s2koop.engine.map_pixels`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from s2koop.koopman._checks import TELLING, refuse_digital_numbers
from s2koop.koopman.assimilation import Analysis, Prior, Window, evaluate
from s2koop.koopman.decode import decode_dates
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.shared import SharedTrunk, add_members
from s2koop.koopman.solvers import minimise
from s2koop.koopman.uncertainty import Uncertainty, lead_of
from s2koop.koopman.weak import WeakAnalysis, predict, refine


def analysis_kernel(
    model: KoopmanModel,
    values: Tensor,
    *,
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    seasons: npt.NDArray[np.int64],
    constraint: str,
    as_observed: bool,
    solver: str,
    max_iterations: int | None,
    tolerance: float,
    members: bool,
    leave_out: bool = False,
    precision: str = "float32",
    spread: bool = True,
    effect: Tensor | None = None,
    lasting: Tensor | None = None,
    lasting_variance: Tensor | None = None,
    passing: Tensor | None = None,
    known: Tensor | None = None,
    prior: Prior | None = None,
) -> dict[str, Tensor]:
    """Pixels to mean and spread on the asked days, with diagnostics.

    Parameters
    ----------
    model : KoopmanModel
    values : Tensor, shape (pixel, time, band)
        Reflectance, NaN where there is no observation.
    days, asked : ndarray
        Days since the start of the window; `asked` is sorted.
    seasons : ndarray of int
        Of the asked days.
    constraint : {"weak", "strong"}
    as_observed : bool
        Add what the sky adds on an asked date.
    solver, max_iterations, tolerance
        As for `s2koop.koopman.solvers.minimise`.
    members : bool
        Add the members of a shared trunk.
    leave_out : bool
        Anomalies on an asked date without its own observations.
    precision : {"float32", "bfloat16"}
        Of the decoder on the asked dates; the minimisation is always in float32.
    spread : bool
        Without it the asked dates are decoded without derivatives, which costs a fraction, and no spread is returned.
    effect : Tensor, shape (time, band), optional
        Date effects of the window, standardised, and with them
    lasting, lasting_variance, passing, known : Tensor, shape (asked, band)
        of `s2koop.koopman.scene_tables`.
    prior : Prior, optional
        What earlier windows leave.
    """
    refuse_digital_numbers(values, least=TELLING)
    window = window_of(model, values, days, effect, prior)
    analysis = minimise(window, solver=solver, max_iterations=max_iterations, tolerance=tolerance)
    wanted = on(asked, values)
    shared = (0.0, 0.0) if lasting is None or lasting_variance is None else (lasting, lasting_variance)
    refined = _refined(model, window, analysis, lasting is not None) if constraint == "weak" else None
    found = analysis if refined is None else refined
    if not spread:
        mean = _mean(model, found.u, wanted, precision) + shared[0]
        mean = mean if refined is None else mean + _anomaly(refined, wanted, leave_out)
        out = {"mean": model.reflectance(mean)}
    elif refined is None:
        out = _strong(model, analysis, values, days, wanted, shared, precision)
    else:
        sky = known if as_observed else None
        out = _weak(model, refined, values, days, wanted, seasons, shared, sky, leave_out, precision)
    if as_observed and passing is not None:
        out["mean"] = out["mean"] + model.scale * passing
    if isinstance(model.network, SharedTrunk):
        latents = model.network.operator.advance(model.background.latent(found.u), wanted)
        out = add_members(model.network, out, latents, model.scale, keep=members)
    return out | {"cost": found.cost, "misfit": found.misfit, "iterations": analysis.iterations}


def _mean(model: KoopmanModel, u: Tensor, wanted: Tensor, precision: str) -> Tensor:
    """Standardised reflectance (pixel, n, band) of the trajectories alone."""
    powers = model.network.operator.powers(wanted)
    carry, center = model.background.factor.T @ powers, model.background.mean @ powers
    return decode_dates(model.network, carry, center, u, precision=precision)


def _anomaly(refined: WeakAnalysis, wanted: Tensor, leave_out: bool) -> Tensor:
    """What lasts of the anomalies (pixel, n, band), without what depends on the latent."""
    anomalies = refined.departed
    given = anomalies.error.lasting()
    return anomalies.smooth(refined.rows[..., :1], wanted, given=given, leave_out=leave_out)[0][..., 0]


def _strong(
    model: KoopmanModel,
    analysis: Analysis,
    values: Tensor,
    days: npt.NDArray[np.float64],
    wanted: Tensor,
    shared: tuple[Tensor | float, Tensor | float],
    precision: str,
) -> dict[str, Tensor]:
    mean, variance = evaluate(model.network, model.background, analysis, wanted, precision=precision)
    mean, variance = mean + shared[0], variance + shared[1]
    first, last = observed_from_to(values, days)
    beyond = ((wanted < first[:, None]) | (wanted > last[:, None])).unsqueeze(-1)
    error = torch.where(beyond, model.forecast_error, model.window_error)
    return {
        "mean": model.reflectance(mean),
        "spread": model.scale * (variance + error.square()).sqrt(),
        "spread_state": model.scale * variance.sqrt(),
    }


def _weak(
    model: KoopmanModel,
    refined: WeakAnalysis,
    values: Tensor,
    days: npt.NDArray[np.float64],
    wanted: Tensor,
    seasons: npt.NDArray[np.int64],
    shared: tuple[Tensor | float, Tensor | float],
    sky: Tensor | None,
    leave_out: bool,
    precision: str,
) -> dict[str, Tensor]:
    uncertainty = model.uncertainty
    assert isinstance(uncertainty, Uncertainty)
    mean, variance = predict(refined, wanted, leave_out=leave_out, precision=precision)
    mean, variance = mean + shared[0], variance + shared[1]
    _, last = observed_from_to(values, days)
    season = torch.as_tensor(seasons, device=values.device)
    spread = uncertainty.spread(variance, season, lead_of(last, wanted), sky)
    return {
        "mean": model.reflectance(mean),
        "spread": model.scale * spread,
        "spread_state": model.scale * variance.sqrt(),
    }


def _refined(model: KoopmanModel, window: Window, analysis: Analysis, scene_known: bool) -> WeakAnalysis:
    uncertainty = model.uncertainty
    assert isinstance(uncertainty, Uncertainty)
    error = uncertainty.local if scene_known else uncertainty.local + uncertainty.scene
    return refine(window, analysis, error, robust=model.settings.robust is not None)


def posterior(
    model: KoopmanModel,
    values: Tensor,
    days: npt.NDArray[np.float64],
    effect: Tensor | None,
    prior: Prior | None,
    *,
    constraint: str,
    solver: str,
    max_iterations: int | None,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """Latents (pixel, latent) and their precision (pixel, latent, latent); parameters as for `analysis_kernel`."""
    window = window_of(model, values, days, effect, prior)
    analysis = minimise(window, solver=solver, max_iterations=max_iterations, tolerance=tolerance)
    if constraint == "strong":
        return analysis.u, analysis.precision
    refined = _refined(model, window, analysis, effect is not None)
    return refined.u, refined.precision


def amplitude_kernel(model: KoopmanModel, values: Tensor, *, days: npt.NDArray[np.float64]) -> dict[str, Tensor]:
    """Pixels (pixel, time, band) to the amplitude of each mode at the start of the window."""
    refuse_digital_numbers(values, least=TELLING)
    latent = model.background.latent(minimise(window_of(model, values, days)).u)
    coordinates = torch.from_numpy(model.spectrum().coordinates.astype(np.complex64)).to(values.device)
    return {"amplitude": (latent.to(torch.complex64) @ coordinates).abs()}


def window_of(
    model: KoopmanModel,
    values: Tensor,
    days: npt.NDArray[np.float64],
    effect: Tensor | None = None,
    prior: Prior | None = None,
) -> Window:
    """The window of a tile, without the effects of its dates."""
    standard = model.standardise(values)
    if effect is not None:
        standard = standard - effect
    robust = model.settings.robust
    return Window(model.network, standard, on(days, values), model.background, model.noise, robust, prior=prior)


def on(days: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    """Days as a tensor beside another one."""
    return torch.as_tensor(days, dtype=torch.float32, device=like.device)


def observed_from_to(values: Tensor, days: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """First and last day (pixel,) that each pixel was observed on."""
    seen = torch.isfinite(values).any(dim=2)
    at = on(days, values).expand_as(seen)
    return torch.where(seen, at, torch.inf).amin(1), torch.where(seen, at, -torch.inf).amax(1)

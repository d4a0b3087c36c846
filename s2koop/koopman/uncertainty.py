"""What a model knows of its own errors: anomalies of pixels and of the scene, the sky of each season, and lead times.

All of it is estimated from training pixels around their own trajectories; only the factors of lead times need
forecasts of a period that the network has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from s2koop._memory import give_back
from s2koop._time import from_days
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.background import ROUGH, pooled
from s2koop.koopman.error_fit import averaged, fit_error
from s2koop.koopman.model_error import ModelError
from s2koop.koopman.network import KoopmanNetwork
from s2koop.koopman.scene import DateEffects, date_effects, scene_effects
from s2koop.koopman.solvers import minimise
from s2koop.koopman.weak import predict, refine

#: Decay times, in days, of what a pixel does of its own accord, and of what the whole scene does.
LOCAL_DECAYS = (15.0, 150.0)
SCENE_DECAYS = (30.0,)
#: Edges of the lead times, in days after the last observation, that have a factor each.
LEADS = (0.0, 15.0, 45.0, 105.0)
ROUNDS = 3
#: Processes of a part for each band: one for each decay time and none is what `fit` finds.
MOST_PROCESSES = 8
#: Dates whose evidence weighs as much as the belief that a season is like the others.
BELIEF = 5.0
#: The same for lead times: the dates of one held-out period share its weather, so that each of them says less.
LEAD_BELIEF = 20.0
#: Coefficients of the season that the dates of a scene determine together: a mean, a year and its overtone.
FREEDOM = 5
#: Errors of forecasts beyond so many spreads count as this many: haze says nothing of lead times.
FARTHEST = 6.0
#: Forecasts are never surer than analyses, and a few held-out weeks do not say how much less sure they are.
MOST_FACTOR = 2.5
#: Share of the observations that an interval of the spread shall hold, and half its width in standard deviations.
LEVEL, DEVIATES = 0.9, 1.6449


@dataclass(frozen=True)
class Uncertainty:
    """Errors of a model, standardised.

    Attributes
    ----------
    local : ModelError
        Anomalies of a pixel.
    scene : ModelError
        Anomalies, haze and the like that all pixels share.
    passing : Tensor, shape (season, band)
        Standard deviation of an observation around the surface of its own date, for DJF, MAM, JJA and SON; such that
        nine in ten lie within 1.645 of it, whatever the shape of the distribution.
    lead : Tensor, shape (lead, band)
        Factors on the spread in the window and for each of the lead times that `LEADS` separate.
    """

    local: ModelError
    scene: ModelError
    passing: Tensor
    lead: Tensor

    def to(self, device: str) -> Uncertainty:
        """The same on another device."""
        return Uncertainty(self.local.to(device), self.scene.to(device), self.passing.to(device), self.lead.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Everything under a name of its own."""
        named = {"passing": self.passing, "lead": self.lead}
        for part in ("local", "scene"):
            error = getattr(self, part)
            named |= {
                f"{part}.decay_days": error.decay_days,
                f"{part}.loadings": error.loadings,
                f"{part}.noise": error.noise,
            }
        return named

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> Uncertainty:
        """The inverse of `tensors`."""
        local, scene = (
            ModelError(named[f"{part}.decay_days"], named[f"{part}.loadings"], named[f"{part}.noise"])
            for part in ("local", "scene")
        )
        return cls(local, scene, named["passing"], named["lead"])

    def spread(self, variance: Tensor, seasons: Tensor, leads: Tensor, sky: Tensor | None = None) -> Tensor:
        """Standard deviation of an observation.

        Parameters
        ----------
        variance : Tensor, shape (pixel, n, band)
            Of the surface.
        seasons : Tensor of int, shape (n,)
        leads : Tensor of int, shape (pixel, n)
            Rows of `lead`.
        sky : Tensor, shape (n, band), optional
            One where the effect of the date is known and in the mean, so that only the pixel's own part is open.
        """
        passing = self.passing[seasons].square()
        if sky is not None:
            local, scene = self.local.passing_variance(), self.scene.passing_variance()
            passing = passing * (1 - sky * scene / (local + scene))
        whole = self.lead[leads].square() * (variance + passing)
        return torch.maximum(whole, 1.001 * variance).sqrt()  # an observation is never surer than the surface


def shapes_of_errors(named: Mapping[str, Tensor], bands: int) -> dict[str, tuple[int, ...]]:
    """Shapes that the tensors of an `Uncertainty` have to have; the processes of a model may be few or many.

    Raises
    ------
    ValueError
        If there are far more processes than bands can tell apart: each costs its square for every pixel.
    """
    shapes: dict[str, tuple[int, ...]] = {"passing": (4, bands), "lead": (len(LEADS) + 1, bands)}
    for part in ("local", "scene"):
        count = len(named[f"{part}.decay_days"])
        if count > MOST_PROCESSES * bands:
            raise ValueError(f"{count} processes for {bands} bands")
        shapes |= {f"{part}.decay_days": (count,), f"{part}.loadings": (count, bands), f"{part}.noise": (bands,)}
    return shapes


def over_scenes(
    network: KoopmanNetwork,
    scenes: Sequence[tuple[Tensor, Tensor, float]],
    background: Background,
    noise: Tensor,
    robust: float | None,
    lead: Tensor,
) -> Uncertainty:
    """Mean errors of a network that was trained on several scenes, each of which has a sky of its own.

    Parameters
    ----------
    network : KoopmanNetwork
    scenes : sequence of (values, days, start)
        Of each scene: standardised series (pixel, time, band), days (time,) since `start`, days since the epoch.
    background : Background
    noise : Tensor, shape (band,)
    robust : float, optional
    lead : Tensor, shape (lead, band)
        Factors that are kept.
    """
    found = [
        estimate_uncertainty(network, values, days, start, background, noise, robust)[1]
        for values, days, start in scenes
    ]
    passing = torch.stack([part.passing for part in found]).square().mean(0).sqrt()
    return Uncertainty(averaged([p.local for p in found]), averaged([p.scene for p in found]), passing, lead)


def season_of(days: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Season (0 for December to February) of days since the epoch."""
    months = from_days(days).astype("datetime64[M]").astype(int) % 12 + 1
    return months % 12 // 3


def lead_of(last: Tensor, asked: Tensor) -> Tensor:
    """Row of the lead factors (pixel, n) of asked days (n,), from the last day (pixel,) that each pixel was seen on."""
    edges = torch.tensor(LEADS, dtype=asked.dtype, device=asked.device)
    return torch.bucketize((asked - last[:, None]).contiguous(), edges)


@torch.no_grad()
def estimate_uncertainty(
    network: KoopmanNetwork,
    values: Tensor,
    days: Tensor,
    start: float,
    background: Background,
    noise: Tensor,
    robust: float | None,
) -> tuple[Background, Uncertainty]:
    """Errors of a network, and the background of latents once they are accounted for.

    Parameters
    ----------
    network : KoopmanNetwork
    values : Tensor, shape (pixel, time, band)
        Standardised, NaN where there is no observation.
    days : Tensor, shape (time,)
        Days since `start`.
    start : float
        Days since the epoch.
    background : Background
    noise : Tensor, shape (band,)
    robust : float, optional
    """
    # of a large scene these are some pixels only, and a date may have been clear for none of them
    seen = torch.isfinite(values).any(2).any(0)
    values, days = values[:, seen], days[seen]
    bands = values.shape[2]
    effects = DateEffects.none(days, bands)
    local: ModelError | None = None
    for _ in range(ROUNDS):
        window = Window(network, values - effects.effect, days, background, noise, robust)
        analysis = minimise(window, tolerance=ROUGH)
        u, precision = analysis.u, analysis.precision
        if local is not None:
            weak = refine(window, analysis, local)
            u, precision = weak.u, weak.precision
        trajectory = window.trajectory(u)
        residual = torch.where(window.mask, values.nan_to_num()[:, window.dates] - trajectory, 0.0)
        effects = date_effects(residual, window.mask, window.days)
        rest = torch.where(window.mask, residual - effects.effect, 0.0)
        local = fit_error(rest, window.mask, window.days, LOCAL_DECAYS)
        scene = fit_error(effects.effect[None], effects.known[None], window.days, SCENE_DECAYS)
        background = pooled(background, u, precision)
    assert local is not None
    ones = torch.ones(len(LEADS) + 1, bands).to(values)
    rough = Uncertainty(local, scene, ones[:4], ones)
    mean, variance, observed = _surface(network, values, days, days, background, noise, robust, rough)
    seasons = torch.as_tensor(season_of(days.double().cpu().numpy() + start), device=values.device)
    return background, replace(rough, passing=_passing(observed - mean, variance, seasons))


@torch.no_grad()
def lead_factors(
    network: KoopmanNetwork,
    values: Tensor,
    days: Tensor,
    start: float,
    background: Background,
    noise: Tensor,
    robust: float | None,
    uncertainty: Uncertainty,
    cut: float,
    origins: int = 8,
) -> Uncertainty:
    """The same errors with factors that make spreads of forecasts from several origins after `cut` as large as errors.

    A lead time is believed to be like the other leads of its band, a band like the other bands, and all to be as
    uncertain as a regression on so many dates is, as far as the held-out dates do not say otherwise. Of n dates that
    determined p coefficients, what is left of them is too small by ``(n - p) / n`` in variance, and an error on
    another date larger than on these by ``(n + p) / n`` (Akaike's final prediction error, 1970).

    Parameters
    ----------
    network, values, days, start, background, noise, robust
        As for `estimate_uncertainty`; the network has not seen what follows `cut`.
    uncertainty : Uncertainty
    cut : float
        Days since `start`.
    origins : int
        Forecasts that are made.
    """
    later = torch.nonzero(days >= cut).flatten().tolist()
    starts = sorted({later[int(k)] for k in np.linspace(0, max(len(later) - 3, 0), origins)})
    squared, rows, dates = [], [], []
    for first in starts:
        asked = days[first:]
        mean, variance, _ = _surface(
            network, values[:, :first], days[:first], asked, background, noise, robust, uncertainty
        )
        seen = torch.isfinite(values[:, :first]).any(2)
        last = torch.where(seen, days[:first], -torch.inf).amax(1)
        seasons = torch.as_tensor(season_of(asked.double().cpu().numpy() + start), device=values.device)
        rows.append(lead_of(last, asked))
        ratio = (values[:, first:] - mean) / uncertainty.spread(variance, seasons, rows[-1])
        squared.append(ratio.clamp(-FARTHEST, FARTHEST).square())
        dates.append(asked)
    square, row, date = torch.cat(squared, 1), torch.cat(rows, 1), torch.cat(dates)
    seen = torch.isfinite(square)
    count = len(days)
    left = max(count - FREEDOM, 1)
    whole = _logarithm(square, seen, date, 0.5 * math.log((count + FREEDOM) / left))
    factors = uncertainty.lead * math.sqrt(count / left)
    for band in range(values.shape[2]):
        of_band = _logarithm(square[..., band], seen[..., band], date, whole)
        for lead in range(1, len(factors)):
            chosen = seen[..., band] & (row == lead)
            factors[lead, band] = float(np.exp(_logarithm(square[..., band], chosen, date, of_band)))
    return replace(uncertainty, lead=torch.maximum(factors, factors[0]).clamp(max=MOST_FACTOR))


def _logarithm(square: Tensor, chosen: Tensor, date: Tensor, towards: float) -> float:
    """Logarithm of the root of the mean of the chosen squares (pixel, date, ...), as far as so many dates say."""
    seen = chosen.flatten(2).any(2).any(0) if chosen.ndim > 2 else chosen.any(0)
    dates = len(date[seen].unique())
    if not dates:
        return towards
    weight = dates / (dates + LEAD_BELIEF)
    return weight * 0.5 * float(square[chosen].mean().clamp(min=1e-6).log()) + (1 - weight) * towards


def _surface(
    network: KoopmanNetwork,
    values: Tensor,
    days: Tensor,
    asked: Tensor,
    background: Background,
    noise: Tensor,
    robust: float | None,
    uncertainty: Uncertainty,
) -> tuple[Tensor, Tensor, Tensor]:
    """Surface and its variance on asked days, and the observations as given, for the pixels of one scene."""
    effects = scene_effects(network, values, days, background, noise, robust)
    window = Window(network, values - effects.effect, days, background, noise, robust)
    mean, variance = predict(refine(window, minimise(window, tolerance=ROUGH), uncertainty.local), asked)
    shared, shared_variance = effects.lasting(uncertainty.scene, asked)
    give_back()  # each origin takes arrays of other sizes, between which the heap would grow
    return mean + shared, variance + shared_variance, values


def _passing(departure: Tensor, variance: Tensor, seasons: Tensor) -> Tensor:
    """Standard deviation (season, band) that explains nine in ten departures."""
    bands = departure.shape[2]
    ratios = [
        [_by_date(departure[:, seasons == s, b], variance[:, seasons == s, b]) for b in range(bands)] for s in range(4)
    ]
    found = departure.new_ones(4, bands)
    for band in range(bands):
        overall = _quantile([part for season in ratios for part in season[band]])
        for season in range(4):
            dates = ratios[season][band]
            own = _quantile(dates) if dates else overall
            weight = len(dates) / (len(dates) + BELIEF)
            found[season, band] = float(np.exp(weight * np.log(own) + (1 - weight) * np.log(overall)))
    return found.clamp(min=1e-2)


def _by_date(departure: Tensor, variance: Tensor) -> list[Tensor]:
    """Size of each seen date's departures (pixel, date) from a surface that knew them, as if it had not.

    What an analysis leaves of an observation has the variance of the noise less that of the analysis, so that the
    latter is added.
    """
    whole = (departure.square() + DEVIATES**2 * variance).sqrt()
    return [part[torch.isfinite(part)] for part in whole.unbind(1) if bool(torch.isfinite(part).any())]


def _quantile(parts: list[Tensor]) -> float:
    if not parts:
        return 1.0
    return max(float(np.quantile(torch.cat(parts).cpu().numpy(), LEVEL)) / DEVIATES, 1e-3)

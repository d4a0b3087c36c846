"""Training on plain arrays: masked irregular series of some pixels in, `KoopmanModel`s out.

In three acts: train on the earlier part of the period and see after how many steps the forecast of the held-out later
part gains no more; train again on the whole period for as many steps; then estimate the background of latents and the
errors of observations by assimilating the training pixels themselves (an EM iteration). Several networks may train
together, as members of one ensemble whose loss looks at all of them.

Few dates cannot teach what many can: a longer training is taken only where it forecasts the held-out dates better by
more than the standard error of that gain over the dates (the one-standard-error rule of Breiman et al. 1984). A short
series so keeps the harmonic regression that its network started from.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from s2koop._checkpoint import Checkpoint, digest
from s2koop._numbers import whole
from s2koop._time import YEAR_DAYS, from_days
from s2koop._warn import warn_user
from s2koop.errors import InputError, ModelError, S2koopWarning
from s2koop.koopman.assimilation import Background, Window, evaluate
from s2koop.koopman.background import BACKGROUND_PIXELS, Series, estimate, trained_days
from s2koop.koopman.losses import Batch, Draw, Score, network_terms, squares, total_loss
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import KoopmanNetwork, make_network
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.shared import SharedTrunk
from s2koop.koopman.solvers import minimise
from s2koop.koopman.states import complete_states
from s2koop.koopman.uncertainty import Uncertainty, estimate_uncertainty, lead_factors
from s2koop.koopman.warm_start import warm_start

#: Pixels that are completed, or judged, at once.
PIXELS_AT_ONCE = 1024
LEAST_DATES = 8
#: Pixels whose forecasts say how spreads grow with lead time.
LEAD_PIXELS = 96
_ONE_FIT = threading.Lock()


@dataclass(frozen=True)
class Compared:
    """What members say of some training pixels, beside the observations; standardised.

    Attributes
    ----------
    mean : Tensor, shape (member, pixel, time, band)
    variance : Tensor, shape (pixel, time, band)
        What the posterior of the latent leaves open.
    truth : Tensor, same shape
        The observations, NaN where there is none.
    lead : Tensor, shape (lead, band), optional
        Factors on the spread, as in `Uncertainty`, where it is forecasts that are compared.
    """

    mean: Tensor
    variance: Tensor
    truth: Tensor
    lead: Tensor | None = None


@dataclass(frozen=True)
class Fitted:
    """A trained member.

    Attributes
    ----------
    model : KoopmanModel
    held_out : Compared
        How it forecast the held-out end of the period, before it was trained on that.
    within : Compared, optional
        Its analyses of the whole period, where members of an ensemble shall be compared.
    """

    model: KoopmanModel
    held_out: Compared
    within: Compared | None = None


def train(
    values: npt.NDArray[np.float32],
    days: npt.NDArray[np.float64],
    bands: Sequence[str],
    settings: KoopmanSettings,
    *,
    device: str = "cpu",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
) -> KoopmanModel:
    """Train a model on pixel series.

    Parameters
    ----------
    values : ndarray of float32, shape (pixel, time, band)
        Reflectance, NaN where there is no usable observation.
    days : ndarray, shape (time,)
        Days since the epoch, sorted.
    bands : sequence of str
    settings : KoopmanSettings
    device : str
    progress : bool
        Show a progress bar with the losses.
    card : mapping, optional
        More entries for the model's card.
    checkpoint : Path, optional
        File that the training keeps its state in, and goes on from where it is there; removed at the end.

    Returns
    -------
    KoopmanModel

    Raises
    ------
    InputError
        If there are too few dates, or a band was never observed.
    ModelError
        If the training diverges, or the checkpoint is of another training.
    """
    fitted = train_members(
        values, days, bands, settings, device=device, progress=progress, card=card, checkpoint=checkpoint
    )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return with_common_error(fitted)[0]


def train_members(
    values: npt.NDArray[np.float32],
    days: npt.NDArray[np.float64],
    bands: Sequence[str],
    settings: KoopmanSettings,
    *,
    members: int = 1,
    score: Score | None = None,
    loss: str = "squares",
    compare: bool = False,
    device: str = "cpu",
    progress: bool = True,
    label: str = "",
    card: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
) -> list[Fitted]:
    """Train some networks together; parameters as `train`.

    Parameters
    ----------
    members : int
    score : callable, optional
        What the residuals of all members are weighed with (see `s2koop.koopman.losses`).
    loss : str
        Its name and parameters: a checkpoint made with another one is refused.
    compare : bool
        Whether to analyse some training pixels, so that members can be compared inside the window.
    label : str
        What the progress bars say first.
    checkpoint : Path, optional
        It is left in place at the end; with it, the same call needs no more training.
    """
    values = np.where(np.isfinite(values), values, np.float32(np.nan))
    seen = np.isfinite(values).any(axis=(0, 2))  # a date that nobody saw would stand for a year in the hold-out
    if not seen.all():
        values, days = values[:, seen], days[seen]
    _check(values, days, bands)
    keep = None
    if checkpoint is not None:
        identity = {"settings": settings.to_dict(), "bands": list(bands), "members": members, "loss": loss}
        keep = Checkpoint(checkpoint, identity | {"data": digest(values, days)})
    saved = keep.load() if keep is not None else None
    # the generators of torch belong to the process: two fits at once would take each other's numbers
    with _ONE_FIT, torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(settings.seed)
        series = _standardised(values, days, device)
        cut = _holdout_start(series, settings.holdout)
        if saved is None or saved.get("phase") == "fit":
            first = _Trainer(series.until(cut), settings, members=members, score=score)
            # members that train together and all stayed where they start would be one and the same
            alone = members == settings.heads == 1
            steps = first.run(
                settings.steps, judge=series, cut=cut, from_start=alone and first.warm,
                progress=progress, label=f"{label}fit", keep=keep, saved=saved,
            )  # fmt: skip
            held_out, saved = _forecast_errors(first, series, cut), None
            del first
        else:
            assert keep is not None
            with keep.going_on():
                steps = whole("steps", saved["steps"], least=0, most=settings.steps)
                held_out = [Compared(**parts) for parts in saved["held_out"]]
        second = _Trainer(series, settings, members=members, score=score)
        so_far = {"phase": "refit", "steps": steps, "held_out": [vars(held) for held in held_out]}
        if not steps:  # the start is kept: only the encoder has still to learn where it leads
            second.freeze_but_encoder()
        second.run(
            steps or min(settings.steps, settings.validate_every),
            progress=progress, label=f"{label}refit", keep=keep, saved=saved, so_far=so_far,
        )  # fmt: skip
        estimates = [
            _estimated(network, series, own.detach(), settings)
            for network, own in zip(second.networks, second.latents, strict=True)
        ]
        within = [
            _compared(network, background, noise, settings, series, series) if compare else None
            for network, (background, noise, *_) in zip(second.networks, estimates, strict=True)
        ]
    described = {
        "pixels": len(values), "dates": len(days), "first": str(from_days(days[0]))[:10],
        "last": str(from_days(days[-1]))[:10],
        "steps": steps, "losses": second.last_losses, "holdout_from": str(from_days(series.start + cut))[:10],
    }  # fmt: skip
    return [
        Fitted(
            KoopmanModel(
                settings=settings,
                network=network,
                bands=tuple(bands),
                center=series.center,
                scale=series.scale,
                slope_scale=second.slope_scale,
                background=background,
                noise=noise,
                window_error=window_error,
                forecast_error=window_error,
                anchor_day=series.start % YEAR_DAYS,
                card=dict(card or {}) | described,
                uncertainty=uncertainty if held.lead is None else replace(uncertainty, lead=held.lead),
            ).to("cpu"),
            held,
            inside,
        )
        for network, (background, noise, window_error, uncertainty), held, inside in zip(
            second.networks, estimates, held_out, within, strict=True
        )
    ]


def with_common_error(fitted: Sequence[Fitted]) -> list[KoopmanModel]:
    """The models, knowing the errors of an observation around what they say together.

    Beyond the window it is what the held-out residuals of their mean hold besides the posteriors' variance and the
    variance between members, so that the sum of all three is right. Where nothing was held out, and never less than
    that, the error inside the window has to do, from which the variance between members is taken too.
    """
    held = _together([member.held_out for member in fitted])
    inside = [member.within for member in fitted if member.within is not None]
    between = _together(inside).between.cpu() if inside else torch.zeros(())
    error = torch.stack([member.model.window_error for member in fitted]).square().mean(0)
    # several models: their mean is nearer to the observations than they are, by that variance once more
    window = (error - (2 if len(fitted) > 1 else 1) * between).clamp(min=1e-4)
    beyond = (held.error - held.variance - held.between).cpu()
    known = held.known.cpu()
    forecast = torch.where(known, torch.maximum(beyond, window + between - held.between.cpu()), window).clamp(min=1e-4)
    models = []
    for member in fitted:
        model = member.model
        rmse = torch.where(known, held.error.sqrt().cpu(), model.window_error)
        scores = {b: round(float(e), 5) for b, e in zip(model.bands, rmse * model.scale, strict=True)}
        models.append(
            replace(
                model,
                window_error=window.sqrt(),
                forecast_error=forecast.sqrt(),
                card=dict(model.card) | {"holdout_rmse": scores},
            )
        )
        _warn_of_growth(models[-1])
    return models


@dataclass(frozen=True)
class _Moments:
    """Mean squares by band, over the observations: of the error of the members' mean, and what explains it."""

    error: Tensor
    variance: Tensor
    between: Tensor
    known: Tensor


def _together(compared: Sequence[Compared]) -> _Moments:
    """Moments of all members of all networks together."""
    mean = torch.cat([part.mean for part in compared])
    truth = compared[0].truth
    mask = torch.isfinite(truth)
    count = mask.sum((0, 1))

    def average(values: Tensor) -> Tensor:
        return torch.where(mask, values, 0.0).sum((0, 1)) / count.clamp(min=1)

    variance = torch.stack([part.variance for part in compared]).mean(0)
    error = (truth - mean.mean(0)).square()
    return _Moments(average(error), average(variance), average(mean.var(0, correction=0)), count > 0)


class _Trainer:
    """Some networks that train together, their training series, and the latents of their trajectories."""

    def __init__(
        self, series: Series, settings: KoopmanSettings, *, members: int = 1, score: Score | None = None
    ) -> None:
        self.settings, self.score = settings, score
        self.values = series.values
        self.days = trained_days(series.days, settings)
        self.states, self.slope_scale = _training_states(series, settings)
        device = series.values.device
        self.networks = [make_network(series.values.shape[2], settings).to(device) for _ in range(members)]
        self.latents = torch.nn.Parameter(
            0.1 * torch.randn(members, len(self.values), self.networks[0].latent).to(device)
        )
        self.warm = True  # whether the start of all networks says something already
        for network, own in zip(self.networks, self.latents.data, strict=True):
            started = warm_start(network, series.values, self.days, self.slope_scale, settings.step_days)
            self.warm &= started is not None
            if started is not None:
                own.copy_(started)
        self.last_losses: dict[str, float] = {}

    @property
    def network(self) -> KoopmanNetwork:
        """The first network; the only one outside of ensembles."""
        return self.networks[0]

    def freeze_but_encoder(self) -> None:
        """Keep dynamics, decoders and latents as they are in what follows."""
        self.latents.requires_grad_(False)
        for network in self.networks:
            for name, weight in network.named_parameters():
                weight.requires_grad_(name.startswith("encoder."))

    def run(
        self,
        steps: int,
        *,
        label: str,
        progress: bool,
        judge: Series | None = None,
        cut: float = 0.0,
        from_start: bool = False,
        keep: Checkpoint | None = None,
        saved: Mapping[str, Any] | None = None,
        so_far: Mapping[str, Any] | None = None,
    ) -> int:
        """Train, and return the number of steps taken: with a judge, those after which nothing was clearly gained.

        Parameters
        ----------
        steps : int
        judge : Series, optional
            Forecasts of its dates from `cut` on decide when to stop, and what is kept.
        from_start : bool
            Whether to judge the start too, so that no step at all may be best.
        keep : Checkpoint, optional
        saved : mapping, optional
            What `keep` had saved: where to go on.
        so_far : mapping, optional
            What to save beside the state of this training.
        """
        modules = torch.nn.ModuleList(self.networks)
        optimiser, schedule = self._optimiser(modules, steps)
        best = _Best()
        step = 0
        if keep is not None and saved is not None:
            with keep.going_on():
                step = self._restore(saved["trainer"], optimiser, schedule, best)
        if judge is not None and from_start and not step:
            best.consider(*self._errors_by_date(judge, cut), 0, self._state)

        def save() -> None:
            assert keep is not None
            state = {"step": step, "now": self._state(), "best": vars(best), "losses": self.last_losses}
            state |= {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            keep.save({"phase": "fit", **(so_far or {}), "trainer": state | {"random": torch.get_rng_state()}})

        bar = tqdm(total=steps, initial=step, desc=label, disable=not progress, mininterval=0.5)
        with keep.holding_interrupts() if keep is not None else contextlib.nullcontext():
            while step < steps and best.waited < self.settings.patience:
                losses = self._descend(modules, optimiser, step + 1)
                schedule.step()
                step += 1
                bar.update()
                if step % 20 == 0 or step == steps:
                    self._show(bar, losses)
                if judge is not None and (step % self.settings.validate_every == 0 or step == steps):
                    best.consider(*self._errors_by_date(judge, cut), step, self._state)
                if keep is not None and (keep.due(step) or step == steps):
                    save()
                    keep.stop_if_asked()
        bar.close()
        if judge is None:
            return steps
        self._load(best.state)
        return best.steps

    def _optimiser(self, modules: torch.nn.Module, steps: int) -> tuple[torch.optim.Adam, Any]:
        settings = self.settings
        groups = [
            {"params": modules.parameters(), "weight_decay": settings.weight_decay},
            {"params": [self.latents], "lr": 1e-2},
        ]
        optimiser = torch.optim.Adam(groups, lr=settings.learning_rate)
        return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def _descend(self, modules: torch.nn.Module, optimiser: torch.optim.Adam, step: int) -> dict[str, Tensor]:
        losses = self._losses()
        if not torch.isfinite(losses["total"]):
            raise ModelError(
                f"the training diverged at step {step} (loss {float(losses['total'].detach())}); "
                f"lower learning_rate (it is {self.settings.learning_rate:g}), or look for wrong values in the cube"
            )
        optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimiser.step()
        return losses

    def _losses(self) -> dict[str, Tensor]:
        pixels = torch.randperm(len(self.values))[: self.settings.batch_pixels]
        raw, states = self.values[pixels], self.states[pixels]
        mask = torch.isfinite(raw)
        values = torch.where(mask, raw, 0.0)
        draw = self._draw()
        bfloat16 = self.settings.precision == "bfloat16"
        with torch.autocast(raw.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            terms = [
                network_terms(network, Batch(values, mask.float(), states, own[pixels], self.days), draw, self.settings)
                for network, own in zip(self.networks, self.latents, strict=True)
            ]
        return total_loss(terms, self.settings, self.score)

    def _draw(self) -> Draw:
        """Random dates: one origin with its targets, dates for the trajectories, and pairs a short time apart."""
        settings, days, dates = self.settings, self.days.cpu(), len(self.days)
        count = min(settings.batch_dates, dates - 1)
        origin = int(torch.randint(0, dates - count, ()))
        end = dates
        if settings.long_days is not None:  # at least the next date, however far
            end = max(_first_after(days, days[origin] + settings.long_days), origin + 2)
        targets = origin + torch.randperm(end - origin)[:count]
        anywhere = torch.randperm(dates)[:count] if settings.trajectory else targets[:0]
        starts = ends = targets[:0]
        if settings.short_term:
            choices = _first_after(days, days[targets] + settings.short_days) - targets - 1
            starts = torch.nonzero(choices > 0).flatten()
            ends = targets[starts] + 1 + (torch.rand(len(starts)) * choices[starts]).long()
        return Draw(origin, targets, anywhere, starts, ends)

    def _show(self, bar: Any, losses: Mapping[str, Tensor]) -> None:
        self.last_losses = {name: round(float(value.detach()), 5) for name, value in losses.items()}
        bar.set_postfix(loss=f"{self.last_losses['total']:.3f}", prediction=f"{self.last_losses['prediction']:.3f}")

    def _state(self) -> dict[str, Any]:
        weights = [{name: value.clone() for name, value in n.state_dict().items()} for n in self.networks]
        return {"networks": weights, "latents": self.latents.detach().clone()}

    def _load(self, state: Mapping[str, Any]) -> None:
        for network, weights in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(weights)
        self.latents.data.copy_(state["latents"])

    def _restore(self, saved: Mapping[str, Any], optimiser: torch.optim.Adam, schedule: Any, best: _Best) -> int:
        self._load(saved["now"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        vars(best).update(saved["best"])
        self.last_losses = saved["losses"]
        torch.set_rng_state(saved["random"])
        return saved["step"]

    @torch.no_grad()
    def _errors_by_date(self, judge: Series, cut: float) -> tuple[Tensor, Tensor]:
        """Of each held-out date: mean square of the forecast from the pixels' own latents, and its share of the whole.

        All bands count alike.
        """
        later = judge.days >= cut
        days = trained_days(judge.days[later], self.settings)
        squared, count = torch.zeros_like(days), torch.zeros_like(days)
        for pixels in torch.arange(len(self.values)).split(PIXELS_AT_ONCE):
            truth = judge.values[pixels][:, later]
            mask = torch.isfinite(truth)
            forecasts = [
                network.observe(network.operator.advance(own[pixels], days))
                for network, own in zip(self.networks, self.latents, strict=True)
            ]
            residual = torch.where(mask, torch.stack(forecasts).mean(0) - truth, torch.zeros_like(truth))
            squared += squares(residual, self.settings.robust).sum((0, 2))
            count += mask.sum((0, 2))
        return squared / count.clamp(min=1), count / count.sum().clamp(min=1)


@dataclass
class _Best:
    """The state that is kept: the earliest that no later one clearly beat in forecasting the held-out end.

    Attributes
    ----------
    lowest : float
        Mean error of the best of all: when nothing has come below it for long, training stops.
    waited : int
        Looks since then.
    errors : Tensor, shape (date,)
        Of the state that is kept.
    steps : int
    state : dict
    """

    lowest: float = float("inf")
    waited: int = 0
    errors: Tensor | None = None
    steps: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    def consider(self, errors: Tensor, share: Tensor, step: int, state: Callable[[], dict[str, Any]]) -> None:
        mean = float(share @ errors)
        self.waited = 0 if mean < self.lowest else self.waited + 1
        self.lowest = min(mean, self.lowest)
        if self.errors is None or _clearly_less(errors, self.errors, share):
            self.errors, self.steps, self.state = errors, step, state()


def _clearly_less(errors: Tensor, before: Tensor, share: Tensor) -> bool:
    """Whether errors (date,) are below those before by more than the standard error of their mean difference."""
    gain = before - errors
    mean, dates = share @ gain, int((share > 0).sum())
    if dates < 2:
        return bool(mean > 0)
    return bool(mean > ((share * (gain - mean)).square().sum() * dates / (dates - 1)).sqrt())


def _first_after(days: Tensor, limit: Tensor) -> Any:
    """Index of the first date beyond a day, as an int or, for several days, a tensor."""
    found = torch.searchsorted(days, limit.contiguous(), right=True)
    return found if found.ndim else int(found)


def _check(values: npt.NDArray[np.float32], days: npt.NDArray[np.float64], bands: Sequence[str]) -> None:
    seen = np.isfinite(values)
    dates = int(seen.any(axis=(0, 2)).sum())
    if dates < LEAST_DATES:
        raise InputError(
            f"only {dates} dates have any observation; a fit needs at least {LEAST_DATES}, better two years of them"
        )
    blind = [band for band, any_seen in zip(bands, np.atleast_1d(seen.any(axis=(0, 1))), strict=True) if not any_seen]
    if blind:
        raise InputError(f"band(s) {blind} have no observation at all; leave them out: cube.sel(band=[...])")
    if days[-1] - days[0] < 60:
        raise InputError(f"the series spans {days[-1] - days[0]:.0f} days; a fit needs more than 60, better two years")


def _standardised(values: npt.NDArray[np.float32], days: npt.NDArray[np.float64], device: str) -> Series:
    # band by band: quantiles copy what they look at
    seen = [values[..., band][np.isfinite(values[..., band])] for band in range(values.shape[2])]
    low, center, high = np.array([np.quantile(band, (0.16, 0.5, 0.84)) for band in seen], dtype=np.float32).T
    scale = np.maximum((high - low) / 2, np.float32(1e-4))  # not the standard deviation: haze makes it, in the visible
    start = float(np.floor(days[0]))

    def tensor(array: npt.ArrayLike) -> Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float32), device=device)

    return Series(tensor((values - center) / scale), tensor(days - start), start, tensor(center), tensor(scale))


def _holdout_start(series: Series, holdout: float) -> float:
    """The day from which dates are held out: the last fraction of the dates, never all but a few."""
    dates = len(series.days)
    first = min(max(round(dates * (1 - holdout)), LEAST_DATES // 2), dates - 1)
    return float(series.days[first])


def _training_states(series: Series, settings: KoopmanSettings) -> tuple[Tensor, Tensor]:
    """Complete standardised states (pixel, time, state), and the scale of the slope; some pixels at a time."""
    pixels, dates, bands = series.values.shape
    states = series.values.new_empty(pixels, dates, bands * (2 if settings.derivative else 1))
    for part in range(0, pixels, PIXELS_AT_ONCE):
        values = series.values[part : part + PIXELS_AT_ONCE]
        level, slope = complete_states(
            values, torch.isfinite(values), series.days, series.days, step_days=settings.step_days
        )
        states[part : part + PIXELS_AT_ONCE, :, :bands] = level
        if settings.derivative:
            states[part : part + PIXELS_AT_ONCE, :, bands:] = slope
    if not settings.derivative:
        return states, torch.ones_like(series.scale)
    slope_scale = states[..., bands:].std(dim=(0, 1)).clamp(min=1e-4)
    states[..., bands:] /= slope_scale
    return states, slope_scale


@torch.no_grad()
def _forecast_errors(trainer: _Trainer, series: Series, cut: float) -> list[Compared]:
    """What each network, trained on what lies before `cut`, forecasts for what follows."""
    settings, earlier, later = trainer.settings, series.until(cut), series.days >= cut
    asked = Series(series.values[:, later], series.days[later], series.start, series.center, series.scale)
    compared = []
    for network, own in zip(trainer.networks, trainer.latents, strict=True):
        background, noise, _, uncertainty = _estimated(network, earlier, own.detach(), settings)
        found = lead_factors(
            network,
            series.values[_judged(series)[:LEAD_PIXELS]],
            trained_days(series.days, settings),
            series.start,
            background,
            noise,
            settings.robust,
            uncertainty,
            cut,
        )
        forecast = _compared(network, background, noise, settings, earlier, asked)
        compared.append(replace(forecast, lead=found.lead))
    return compared


@torch.no_grad()
def _compared(
    network: KoopmanNetwork,
    background: Background,
    noise: Tensor,
    settings: KoopmanSettings,
    known: Series,
    asked: Series,
) -> Compared:
    """Analyses from the dates of one series, on the dates of another, for some pixels."""
    chosen = _judged(known)
    window = Window(
        network, known.values[chosen], trained_days(known.days, settings), background, noise, settings.robust
    )
    analysis, days = minimise(window), trained_days(asked.days, settings)
    mean, variance = evaluate(network, background, analysis, days)
    members = mean[None]
    if isinstance(network, SharedTrunk):
        members = network.observe_members(network.operator.advance(background.latent(analysis.u), days))
    return Compared(members, variance, asked.values[chosen])


def _judged(series: Series) -> Tensor:
    """Pixels that errors are taken from: the same whatever the seed, so that members can be judged together."""
    return torch.randperm(len(series.values), generator=torch.Generator().manual_seed(0))[:BACKGROUND_PIXELS]


def _estimated(
    network: KoopmanNetwork, series: Series, own: Tensor, settings: KoopmanSettings
) -> tuple[Background, Tensor, Tensor, Uncertainty]:
    """Background, noise and error as `estimate` gives them, then the errors with a memory and the background beside."""
    background, noise, error = estimate(network, series, own, settings)
    values, days = series.values[_judged(series)], trained_days(series.days, settings)
    background, uncertainty = estimate_uncertainty(
        network, values, days, series.start, background, noise, settings.robust
    )
    return background, noise, error, uncertainty


def _warn_of_growth(model: KoopmanModel) -> None:
    """A dense operator is only softly bound to the unit circle."""
    radius = float(np.abs(model.spectrum().eigenvalue).max())
    yearly = radius ** (YEAR_DAYS / model.settings.step_days)
    if yearly > 1.2:
        message = (
            f"the operator grows by a factor of {yearly:.2g} a year, so long forecasts will run away; "
            "raise orthogonality=, train longer, or take operator='modal', which cannot grow"
        )
        warn_user(S2koopWarning(message))

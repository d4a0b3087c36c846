"""Training on plain arrays: masked irregular series of some pixels in, a `KoopmanModel` out.

In three acts: train on the earlier part of the period and stop where the forecast of the held-out later part is
best; train again on the whole period for as many steps; then estimate the background of latents and the errors of
observations by assimilating the training pixels themselves (an EM iteration).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import trange

from s2koop._time import YEAR_DAYS, from_days
from s2koop._warn import warn_user
from s2koop.errors import InputError, ModelError, S2koopWarning
from s2koop.koopman.assimilation import Window, evaluate
from s2koop.koopman.background import BACKGROUND_PIXELS, Series, estimate, trained_days
from s2koop.koopman.losses import Batch, squares, total_loss
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import make_network
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import minimise
from s2koop.koopman.states import complete_states

#: Pixels that are completed, or judged, at once.
PIXELS_AT_ONCE = 1024
LEAST_DATES = 8
_ONE_FIT = threading.Lock()


def train(
    values: npt.NDArray[np.float32],
    days: npt.NDArray[np.float64],
    bands: Sequence[str],
    settings: KoopmanSettings,
    *,
    device: str = "cpu",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
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

    Returns
    -------
    KoopmanModel

    Raises
    ------
    InputError
        If there are too few dates, or a band was never observed.
    """
    values = np.where(np.isfinite(values), values, np.float32(np.nan))
    seen = np.isfinite(values).any(axis=(0, 2))  # a date that nobody saw would stand for a year in the hold-out
    values, days = values[:, seen], days[seen]
    _check(values, days, bands)
    # the generators of torch belong to the process: two fits at once would take each other's numbers
    with _ONE_FIT, torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(settings.seed)
        series = _standardised(values, days, device)
        cut = _holdout_start(series, settings.holdout)
        first = _Trainer(series.until(cut), settings)
        steps = first.run(settings.steps, judge=series, cut=cut, progress=progress, label="fit")
        forecast_error, skill = _forecast_errors(first, series, cut)
        del first
        second = _Trainer(series, settings)
        second.run(steps, progress=progress, label="refit")
        background, noise, window_error = estimate(second.network, series, second.latents.detach(), settings)
    described = {
        "pixels": len(values), "dates": len(days), "first": str(from_days(days[0]))[:10],
        "last": str(from_days(days[-1]))[:10],
        "steps": steps, "losses": second.last_losses, "holdout_from": str(from_days(series.start + cut))[:10],
        "holdout_rmse": {b: round(float(e), 5) for b, e in zip(bands, skill * series.scale, strict=True)},
    }  # fmt: skip
    model = KoopmanModel(
        settings=settings,
        network=second.network,
        bands=tuple(bands),
        center=series.center,
        scale=series.scale,
        slope_scale=second.slope_scale,
        background=background,
        noise=noise,
        window_error=window_error,
        forecast_error=torch.maximum(forecast_error, window_error),
        anchor_day=series.start % YEAR_DAYS,
        card=dict(card or {}) | described,
    ).to("cpu")
    _warn_of_growth(model)
    return model


class _Trainer:
    """One network, its training series, and the latents of their trajectories."""

    def __init__(self, series: Series, settings: KoopmanSettings) -> None:
        self.settings = settings
        self.mask = torch.isfinite(series.values)
        self.values = torch.where(self.mask, series.values, 0.0)
        self.days = trained_days(series.days, settings)
        self.states, self.slope_scale = _training_states(series, self.mask, settings)
        self.network = make_network(series.values.shape[2], settings).to(series.values.device)
        self.latents = torch.nn.Parameter(
            0.1 * torch.randn(len(self.values), self.network.latent).to(series.values.device)
        )
        self.last_losses: dict[str, float] = {}

    def run(self, steps: int, *, label: str, progress: bool, judge: Series | None = None, cut: float = 0.0) -> int:
        """Train, and return the number of steps taken: with a judge, those after which the forecast was best."""
        settings = self.settings
        groups = [
            {"params": self.network.parameters(), "weight_decay": settings.weight_decay},
            {"params": [self.latents], "lr": 1e-2},
        ]
        optimiser = torch.optim.Adam(groups, lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        best, best_steps, best_state, waited = float("inf"), steps, self._state(), 0
        bar = trange(1, steps + 1, desc=label, disable=not progress, mininterval=0.5)
        for step in bar:
            losses = self._losses()
            if not torch.isfinite(losses["total"]):
                raise ModelError(
                    f"the training diverged at step {step} (loss {float(losses['total'].detach())}); "
                    f"lower learning_rate (it is {settings.learning_rate:g}), or look for wrong values in the cube"
                )
            optimiser.zero_grad(set_to_none=True)
            losses["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0 or step == steps:
                self.last_losses = {name: round(float(value.detach()), 5) for name, value in losses.items()}
                bar.set_postfix(
                    loss=f"{self.last_losses['total']:.3f}",
                    prediction=f"{self.last_losses['prediction']:.3f}",
                )
            if judge is not None and (step % settings.validate_every == 0 or step == steps):
                error = self._forecast_error(judge, cut)
                if error < best:
                    best, best_steps, best_state, waited = error, step, self._state(), 0
                else:
                    waited += 1
                if waited >= settings.patience:
                    break
        bar.close()
        if judge is not None:
            self.network.load_state_dict(best_state[0])
            self.latents.data.copy_(best_state[1])
        return best_steps

    def _losses(self) -> dict[str, Tensor]:
        settings, dates = self.settings, len(self.days)
        pixels = torch.randperm(len(self.values))[: settings.batch_pixels]
        batch = Batch(
            self.values[pixels],
            self.mask[pixels].float(),
            self.states[pixels],
            self.latents[pixels],
            self.days,
        )
        count = min(settings.batch_dates, dates - 1)
        origin = int(torch.randint(0, dates - count, ()))
        targets = origin + torch.randperm(dates - origin)[:count]
        return total_loss(self.network, batch, origin, targets, settings)

    def _state(self) -> tuple[dict[str, Tensor], Tensor]:
        return copy.deepcopy(self.network.state_dict()), self.latents.detach().clone()

    @torch.no_grad()
    def _forecast_error(self, judge: Series, cut: float) -> float:
        """Mean square of the forecast from the pixels' own latents over the held-out dates, bands alike."""
        later = judge.days >= cut
        days = trained_days(judge.days[later], self.settings)
        squared, count = 0.0, 0.0
        for pixels in torch.arange(len(self.latents)).split(PIXELS_AT_ONCE):
            truth = judge.values[pixels][:, later]
            mask = torch.isfinite(truth)
            predicted = self.network.observe(self.network.operator.advance(self.latents[pixels], days))
            residual = torch.where(mask, predicted - truth, torch.zeros_like(truth))
            squared += float(squares(residual, self.settings.robust).sum())
            count += float(mask.sum())
        return squared / count if count else float("inf")


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
    low, center, high = np.nanquantile(values.reshape(-1, values.shape[2]), (0.16, 0.5, 0.84), axis=0)
    scale = np.maximum((high - low) / 2, 1e-4)  # not the standard deviation, which is made of haze in the visible
    standard = ((values - center) / scale).astype(np.float32)
    start = float(np.floor(days[0]))

    def tensor(array: npt.ArrayLike) -> Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float32), device=device)

    return Series(tensor(standard), tensor(days - start), start, tensor(center), tensor(scale))


def _holdout_start(series: Series, holdout: float) -> float:
    """The day from which dates are held out: the last fraction of the dates, never all but a few."""
    dates = len(series.days)
    first = min(max(round(dates * (1 - holdout)), LEAST_DATES // 2), dates - 1)
    return float(series.days[first])


def _training_states(series: Series, mask: Tensor, settings: KoopmanSettings) -> tuple[Tensor, Tensor]:
    """Complete standardised states (pixel, time, state), and the scale of the slope; some pixels at a time."""
    parts = [
        complete_states(values, seen, series.days, series.days, step_days=settings.step_days)
        for values, seen in zip(series.values.split(PIXELS_AT_ONCE), mask.split(PIXELS_AT_ONCE), strict=True)
    ]
    level = torch.cat([part[0] for part in parts])
    if not settings.derivative:
        return level, torch.ones_like(series.scale)
    slope = torch.cat([part[1] for part in parts])
    slope_scale = slope.std(dim=(0, 1)).clamp(min=1e-4)
    return torch.cat([level, slope / slope_scale], -1), slope_scale


@torch.no_grad()
def _forecast_errors(trainer: _Trainer, series: Series, cut: float) -> tuple[Tensor, Tensor]:
    """Error of an observation beyond the window, and root mean square error, from a forecast of what follows `cut`."""
    network, settings = trainer.network, trainer.settings
    earlier, later = series.until(cut), series.days >= cut
    background, noise, everything = estimate(network, earlier, trainer.latents.detach(), settings)
    chosen = torch.randperm(len(series.values))[:BACKGROUND_PIXELS]
    days = trained_days(earlier.days, settings)
    window = Window(network, earlier.values[chosen], days, background, noise, settings.robust)
    mean, variance = evaluate(network, background, minimise(window), trained_days(series.days[later], settings))
    truth = series.values[chosen][:, later]
    mask = torch.isfinite(truth)
    count = mask.sum((0, 1))
    error = torch.where(mask, truth - mean, 0.0).square().sum((0, 1)) / count.clamp(min=1)
    left_open = (variance * mask).sum((0, 1)) / count.clamp(min=1)
    held_out = (error - left_open).clamp(min=0).sqrt()
    return torch.where(count > 0, held_out, everything), torch.where(count > 0, error.sqrt(), everything)


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

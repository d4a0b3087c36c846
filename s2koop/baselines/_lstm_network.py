"""The network of the LSTM baseline and its training, on plain arrays on a regular grid of dates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from s2koop._time import YEAR_DAYS
from s2koop.baselines._lags import LAG_CLASSES, lag_class

#: Decay times in days by which the head reads how far ahead a date lies.
_LEADS = (10.0, 40.0, 160.0)
#: Grid steps after which an observation counts as 1/e fresh.
_FRESH = 3.0
#: Series and origins in one training step, and in the hold-out.
_BATCH = 256
_HELD_OUT = 1024
#: Batches between two looks at the hold-out.
_CHECK_EVERY = 20
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-2


@dataclass(frozen=True)
class Grid:
    """Standardised series on a regular grid, with what a forecast from any of its steps may know.

    Attributes
    ----------
    value : array (pixel, step, band)
        Mean of the observations of a step, interpolated linearly in time where there is none.
    seen : bool array (pixel, step, band)
        Where there is one.
    last, next : int array (pixel, step, band)
        The latest seen step up to, and the first from, each step; -1 and the number of steps where there is none.
    level : array (pixel, step, band)
        Mean of what was seen up to each step; 0 before.
    days : array (step,)
    """

    value: np.ndarray
    seen: np.ndarray
    last: np.ndarray
    next: np.ndarray
    level: np.ndarray
    days: np.ndarray


def make_grid(values: np.ndarray, days: np.ndarray, step: float) -> Grid:
    """Put series (pixel, date, band), NaN = missing, on a grid of `step` days that ends on the last date."""
    size = grid_size(days, step)
    cell = size - 1 + np.rint((days - days[-1]) / step).astype(int)
    there = np.isfinite(values)
    number, total = np.zeros((2, len(values), size, values.shape[2]))
    for date, place in enumerate(cell):
        number[:, place] += there[:, date]
        total[:, place] += np.where(there[:, date], values[:, date], 0.0)
    seen = number > 0
    value = total / np.maximum(number, 1)
    index = np.arange(size)[:, None]
    last = np.maximum.accumulate(np.where(seen, index, -1), axis=1)
    coming = np.minimum.accumulate(np.where(seen, index, size)[:, ::-1], axis=1)[:, ::-1]
    left, right = (np.take_along_axis(value, np.clip(place, 0, size - 1), axis=1) for place in (last, coming))
    share = (index - last) / np.maximum(coming - last, 1)
    filled = np.where(last < 0, right, np.where(coming == size, left, left + share * (right - left)))
    level = np.cumsum(np.where(seen, value, 0.0), axis=1) / np.maximum(np.cumsum(seen, axis=1), 1)
    return Grid(filled, seen, last, coming, level, days[-1] + step * (np.arange(size) - size + 1))


def grid_size(days: np.ndarray, step: float) -> int:
    """Steps of the grid that holds these dates."""
    return int(np.rint((days[-1] - days[0]) / step)) + 1


def histories(grid: Grid, pixel: np.ndarray, origin: np.ndarray, lookback: int) -> Tensor:
    """What the network reads (series, step, feature) of the steps up to each origin: nothing that was seen later."""
    steps = origin[:, None] + np.arange(1 - lookback, 1)
    inside = np.maximum(steps, 0)
    rows = pixel[:, None]
    bands = np.arange(grid.value.shape[2])
    last, level = grid.last[rows, inside], grid.level[pixel, origin][:, None]
    # where the interpolation leans on an observation after the origin, the last one before it is held instead
    held = np.where(last >= 0, grid.value[rows[..., None], np.maximum(last, 0), bands], level)
    held = np.where(grid.next[rows, inside] <= origin[:, None, None], grid.value[rows, inside], held)
    fresh = np.where(last >= 0, np.exp(-(inside[..., None] - last) / _FRESH), 0.0)
    before = (steps < 0)[..., None]
    season = _season(grid.days[0] + (grid.days[-1] - grid.days[0]) * steps / max(len(grid.days) - 1, 1), 1)
    return _tensor(np.concatenate([np.where(before, 0.0, held - level), np.where(before, 0.0, fresh), season], axis=2))


class Forecaster(nn.Module):
    """An LSTM over the past, and a head that reads its last state, the season and the lead of each asked date."""

    def __init__(self, bands: int, hidden: int, horizon: float, generator: torch.Generator) -> None:
        super().__init__()
        self.horizon = horizon
        wide = hidden + 4 + len(_LEADS)
        with torch.device("meta"):  # without numbers, which would be drawn from the global generator
            self.lstm = nn.LSTM(2 * bands + 2, hidden, batch_first=True)
            self.head = nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, bands))
        self.to_empty(device="cpu")
        bound = hidden**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, history: Tensor, days: np.ndarray, lead: np.ndarray) -> Tensor:
        """Deviation from the level (series, date, band) on `days`, `lead` days after the origin, (series, date)."""
        state = self.lstm(history)[1][0][0]
        # beyond the longest lead that was trained only the season goes on, so that no forecast runs away
        near = np.exp(-np.minimum(lead, self.horizon)[..., None] / np.array(_LEADS))
        asked = _tensor(np.concatenate([_season(days, 2), near], axis=-1))
        return self.head(torch.cat([state[:, None].expand(-1, asked.shape[1], -1), asked], dim=2))


@dataclass(frozen=True)
class Training:
    """How a forecaster is trained: widths and spans in steps of the grid, and the batches that are drawn."""

    hidden: int
    lookback: int
    horizon: int
    seed: int


def train(grid: Grid, how: Training, *, until: int, batches: int) -> Iterator[tuple[int, Forecaster]]:
    """Train on the steps of the grid before `until`; yield the forecaster, and how many batches it saw, now and then.

    It goes on learning after each yield.
    """
    draw = np.random.default_rng(how.seed)
    generator = torch.Generator().manual_seed(how.seed)
    network = Forecaster(grid.value.shape[2], how.hidden, how.horizon * _spacing(grid), generator)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    for batch in range(1, batches + 1):
        windows = draw.integers(len(grid.value), size=_BATCH), draw.integers(until - 1, size=_BATCH)
        error, weight = _errors(network, grid, *windows, how, until)
        loss = (weight * nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none")).sum()
        optimiser.zero_grad()
        (loss / weight.sum().clamp(min=1.0)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if batch % _CHECK_EVERY == 0 or batch == batches:
            yield batch, network


def hold_out(grid: Grid, how: Training, *, since: int, batches: int) -> tuple[int, np.ndarray]:
    """Batches after which the steps from `since` on are forecast best, and the errors by lead (class, band) then.

    The errors are root mean squares, of origins from just before `since` on. For a class of leads that the steps
    since then are too few to show, it is that of the pixel's own mean: nothing is known of what a forecast is worth.
    """
    draw = np.random.default_rng(how.seed + 1)
    pixel = draw.integers(len(grid.value), size=_HELD_OUT)
    origin = draw.integers(since - 1, len(grid.days) - 1, size=_HELD_OUT)
    best, chosen, square = np.inf, batches, np.empty(0)
    for batch, network in train(grid, how, until=since, batches=batches):
        with torch.no_grad():
            error, weight = _errors(network, grid, pixel, origin, how, len(grid.days))
        total = float((weight * error**2).sum())
        if total < best:
            best, chosen, square = total, batch, (error**2).double().numpy()
    usable = weight.double().numpy()
    deviation = np.where(grid.seen, grid.value - grid.level, 0.0)
    no_skill = (deviation**2).sum(axis=(0, 1)) / np.maximum(grid.seen.sum(axis=(0, 1)), 1)
    return chosen, np.sqrt(_mean_by_lead(square, usable, no_skill, _spacing(grid)))


def _mean_by_lead(square: np.ndarray, usable: np.ndarray, otherwise: np.ndarray, spacing: float) -> np.ndarray:
    """Mean (class of lag, band) of what is usable of `square` (series, lead, band), else `otherwise` (band,).

    A class shorter than the spacing of leads takes the next longer one.
    """
    klass = lag_class(spacing * np.arange(1, square.shape[1] + 1))
    total, number = np.zeros((2, LAG_CLASSES, square.shape[2]))
    np.add.at(total, klass, (usable * square).sum(axis=0))
    np.add.at(number, klass, usable.sum(axis=0))
    mean = np.where(number > 0, total / np.maximum(number, 1), otherwise)
    for shorter in range(klass[0] - 1, -1, -1):
        mean[shorter] = mean[shorter + 1]
    return mean


def _errors(
    network: Forecaster,
    grid: Grid,
    pixel: np.ndarray,
    origin: np.ndarray,
    how: Training,
    until: int,
) -> tuple[Tensor, Tensor]:
    """Forecast minus observation (series, lead, band), and 1 where there is one before step `until`, else 0."""
    ahead = origin[:, None] + np.arange(1, how.horizon + 1)
    inside = np.minimum(ahead, len(grid.days) - 1)
    usable = grid.seen[pixel[:, None], inside] & (ahead < until)[..., None]
    spacing = _spacing(grid)
    lead = np.broadcast_to(spacing * np.arange(1, how.horizon + 1), ahead.shape)
    change = network(histories(grid, pixel, origin, how.lookback), grid.days[0] + spacing * ahead, lead)
    wanted = grid.value[pixel[:, None], inside] - grid.level[pixel, origin][:, None]
    return change - _tensor(wanted), _tensor(usable)


def _spacing(grid: Grid) -> float:
    return float(grid.days[1] - grid.days[0])


def _season(days: np.ndarray, harmonics: int) -> np.ndarray:
    """Cosine and sine (..., 2 harmonics) of the day of the year."""
    phase = 2 * np.pi * days[..., None] / YEAR_DAYS * np.arange(1, harmonics + 1)
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=-1)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: sums in another order would train another network, lazy or on another machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

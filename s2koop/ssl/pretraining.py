"""Contrastive training without labels (SimCLR): two views of each image or series, and a loss that joins them."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm.auto import trange

from s2koop._array_checks import check_array, check_dates
from s2koop._checkpoint import Checkpoint, check_path
from s2koop._numbers import real, whole
from s2koop._time import to_days
from s2koop.engine import check_device, whole_series
from s2koop.errors import InputError
from s2koop.ssl.contrastive import nt_xent
from s2koop.ssl.encoder import Encoder, EncoderSettings, make_network, standardised
from s2koop.ssl.images import band_names, check_images, pixel_size, seen_enough, sensor_of, with_bands_first
from s2koop.ssl.series_views import SeriesViews
from s2koop.ssl.stream import Stream
from s2koop.ssl.views import Views
from s2koop.ssl.views import policy as views_of

#: Steps over which the learning rate rises.
_WARM_UP = 20
#: Batches that mean and standard deviation of the bands are taken from.
_LOOKED_AT = 4
#: A series needs as many dates, or its two views have little in common.
_LEAST_DATES = 8


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """How an encoder is trained; checked when made.

    Attributes
    ----------
    steps, batch : int
        Steps of AdamW, and images in each; every image gives two views.
    temperature : float
        Of the loss; below 1, the images that are most alike count most.
    learning_rate, weight_decay : float
        The rate rises over the first steps and then falls as a cosine.
    projection : int
        Numbers that the loss is computed on, from a head that is left behind.
    seed : int
        Of weights, batches and views.
    precision : {"float32", "bf16"}
        The second halves memory and time on a GPU.
    device : str
    """

    steps: int = 500
    batch: int = 96
    temperature: float = 0.2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    projection: int = 64
    seed: int = 0
    precision: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        whole("steps", self.steps, least=1)
        whole("batch", self.batch, least=2)
        whole("projection", self.projection, least=2)
        whole("seed", self.seed, least=0)
        for name in ("temperature", "learning_rate"):
            if real(name, getattr(self, name), least=0) == 0:
                raise InputError(f"{name}=0 would learn nothing; give a number above 0")
        real("weight_decay", self.weight_decay, least=0)
        if self.precision not in ("float32", "bf16"):
            raise InputError(f"precision={self.precision!r} is unknown; choose 'float32' or 'bf16'")
        object.__setattr__(self, "device", check_device(self.device))


def pretrain_images(
    images: xr.DataArray,
    views: str | Views = "geometry",
    settings: PretrainSettings | None = None,
    *,
    patch: int = 128,
    backbone: str = "texture",
    width: int = 0,
    max_missing: float = 0.0,
    name: str = "",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Encoder:
    """Train an encoder of image patches; see `s2koop.ssl.accessor` for the arguments."""
    settings = settings or PretrainSettings()
    chosen = views_of(views)
    check_images(images, patch)
    data = with_bands_first(images)
    stream = Stream(data, 3, patch, lambda found: seen_enough(found, max_missing), settings.batch, settings.seed)
    mean, std = _levels(stream, axis=1)
    made = EncoderSettings(
        backbone=backbone, bands=band_names(images), mean=mean, std=std, patch=patch, pixel=pixel_size(images),
        sensor=sensor_of(images), policy=views if isinstance(views, str) else "own views", forgets=chosen.forgets,
        width=width, seed=settings.seed,
    )  # fmt: skip

    def pairs(step: int) -> tuple[Tensor, Tensor]:
        patches = torch.from_numpy(stream.draw(step)).to(settings.device)
        known = standardised(patches, made, 1).nan_to_num(0.0)
        random = _generator(settings.seed, step)
        return chosen.draw(known, random), chosen.draw(known, random)

    run = _Run(made, settings, chosen.to_dict(), lambda: _identity(images, stream), progress)
    card = {"name": name or f"{backbone}, {made.policy}", "data": _described(images)}
    return run.encoder(pairs, checkpoint, card)


def pretrain_series(
    cube: xr.DataArray,
    views: SeriesViews | None = None,
    settings: PretrainSettings | None = None,
    *,
    width: int = 0,
    name: str = "",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Encoder:
    """Train an encoder of pixel series; see `s2koop.ssl.accessor` for the arguments."""
    settings = settings or PretrainSettings()
    chosen = views or SeriesViews()
    check_array(cube, "pixel series need dates and bands; the cube", ("time", "band", "y", "x"))
    check_dates(cube, "the cube of pixel series")
    if cube.chunks is not None:
        cube = whole_series(cube)
    data = cube.transpose("y", "x", "time", "band")
    least = min(_LEAST_DATES, cube.sizes["time"])
    stream = Stream(
        data, 2, None, lambda found: np.isfinite(found).any(2).sum(1) >= least, settings.batch, settings.seed
    )
    mean, std = _levels(stream, axis=2)
    made = EncoderSettings(
        backbone="series", bands=band_names(cube), mean=mean, std=std, patch=1, pixel=pixel_size(cube),
        sensor=sensor_of(cube), policy="series", forgets=chosen.forgets, width=width, seed=settings.seed,
    )  # fmt: skip
    days = torch.from_numpy(to_days(cube["time"].values)).to(torch.float32).to(settings.device)

    def pairs(step: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        values = torch.from_numpy(stream.draw(step)).to(settings.device)
        known = standardised(values, made, 2)
        random = _generator(settings.seed, step)
        return chosen.draw(known, days, random), chosen.draw(known, days, random)

    run = _Run(made, settings, chosen.to_dict(), lambda: _identity(cube, stream), progress)
    return run.encoder(pairs, checkpoint, {"name": name or "series", "data": _described(cube)})


@dataclass
class _Run:
    """One training: network, head and optimiser, and what they were made of."""

    made: EncoderSettings
    settings: PretrainSettings
    views: Mapping[str, Any]
    data: Callable[[], Mapping[str, Any]]
    progress: bool
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        s = self.settings
        self.network = make_network(self.made).to(s.device)
        features = int(self.network.features)  # type: ignore[arg-type]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed + 1)
            self.head = nn.Sequential(
                nn.Linear(features, 2 * s.projection, bias=False), nn.BatchNorm1d(2 * s.projection), nn.ReLU(),
                nn.Linear(2 * s.projection, s.projection),
            ).to(s.device)  # fmt: skip
        self.weights = [*self.network.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(self.weights, lr=s.learning_rate, weight_decay=s.weight_decay)

    def encoder(self, pairs: Any, checkpoint: str | Path | None, card: Mapping[str, Any]) -> Encoder:
        """The encoder after all steps, begun or gone on with."""
        kept = None if checkpoint is None else Checkpoint(check_path(checkpoint), self._identity())
        first = self._resume(kept)
        self.network.train()
        with kept.holding_interrupts() if kept else contextlib.nullcontext():
            bar = trange(first, self.settings.steps, initial=first, total=self.settings.steps, desc="pretrain",
                         disable=not self.progress)  # fmt: skip
            for step in bar:
                self.losses.append(self._step(step, pairs(step)))
                bar.set_postfix(loss=f"{np.mean(self.losses[-20:]):.3f}", refresh=False)
                if kept and kept.due(step + 1):
                    kept.save(self._state(step + 1))
                    kept.stop_if_asked()
        if kept:
            kept.remove()
        trained = {"steps": self.settings.steps, "batch": self.settings.batch, "seed": self.settings.seed,
                   "loss_first": _rounded(self.losses[:20]), "loss_last": _rounded(self.losses[-20:]),
                   "views": dict(self.views)}  # fmt: skip
        return Encoder(self.made, self.network.to("cpu"), {**card, **trained})

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint is of: data, network, views and training."""
        training = {k: v for k, v in vars(self.settings).items() if k != "device"}
        return {
            "data": self.data(), "encoder": self.made.to_dict(), "views": dict(self.views), "training": training,
        }  # fmt: skip

    def _step(self, step: int, views: tuple[Any, Any]) -> float:
        s = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = s.learning_rate * _rate(step, s.steps)
        kind = torch.device(s.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=s.precision == "bf16"):
            first, second = self._projected(*views)
        loss = nt_xent(first, second, s.temperature)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        return float(loss.detach())

    def _projected(self, first: Any, second: Any) -> tuple[Tensor, ...]:
        """Projections of both views, which share their batch statistics."""
        if isinstance(first, tuple):
            both = self.network(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
        else:
            both = self.network(torch.cat([first, second]))
        return self.head(both).chunk(2)

    def _state(self, step: int) -> dict[str, Any]:
        return {
            "step": step, "network": dict(self.network.state_dict()), "head": dict(self.head.state_dict()),
            "optimiser": self.optimiser.state_dict(), "losses": self.losses,
        }  # fmt: skip

    def _resume(self, kept: Checkpoint | None) -> int:
        state = kept.load() if kept else None
        if kept is None or state is None:
            return 0
        with kept.going_on():
            self.network.load_state_dict(state["network"])
            self.head.load_state_dict(state["head"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.losses = list(state["losses"])
            return int(state["step"])


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: a rise, then a cosine to zero."""
    warm = min(_WARM_UP, max(steps // 5, 1))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of a step, the same whenever it is run."""
    number = int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(number)


def _levels(stream: Stream, axis: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each band over some batches."""
    looked = [np.moveaxis(stream.draw(step), axis, 0) for step in range(_LOOKED_AT)]
    values = np.concatenate([part.reshape(len(part), -1) for part in looked], 1).astype(np.float64)
    std = np.nanstd(values, 1)
    if not (std > 0).all():
        raise InputError(
            f"bands {np.flatnonzero(~(std > 0)).tolist()} (by position) never change, or have no values; leave them out"
        )
    return tuple(np.nanmean(values, 1).tolist()), tuple(std.tolist())


def _identity(images: xr.DataArray, stream: Stream) -> dict[str, Any]:
    """What a checkpoint knows its data by: their shape, and the first batch."""
    first = hashlib.sha256(stream.draw(0).tobytes()).hexdigest()
    return {"dims": list(map(str, images.dims)), "shape": list(images.shape), "first batch": first}


def _described(images: xr.DataArray) -> str:
    sizes = ", ".join(f"{dim} {size}" for dim, size in images.sizes.items())
    return f"{images.attrs.get('title') or images.name or 'images'} ({sizes})"


def _rounded(losses: list[float]) -> float:
    return round(float(np.mean(losses)), 4)


__all__ = ["PretrainSettings", "pretrain_images", "pretrain_series"]

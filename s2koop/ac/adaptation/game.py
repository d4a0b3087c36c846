"""The adversarial game of unpaired adaptation: two translators against two critics, on patches that never match.

A critic learns to tell translated patches from true ones; a translator learns to pass, to leave alone what is of its
own side already, and to undo the other translator. Random numbers of a step follow from the seed and the step alone, so
a training that was interrupted goes on to the same numbers.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm.auto import tqdm

from s2koop._checkpoint import Checkpoint, digest
from s2koop.ac.adaptation.linear import MAPS
from s2koop.ac.adaptation.networks import RADIUS, Critic, Translator, make_translators, trim
from s2koop.errors import ModelError

if TYPE_CHECKING:
    from s2koop.ac.adaptation import AdaptationSettings

#: Momenta of Adam in an adversarial game, where the slopes of yesterday are those of another game.
_MOMENTA = (0.5, 0.999)
#: Steps between two looks at the losses.
_SHOWN = 20


class Losses(NamedTuple):
    """What one step left: of the translators their sum and its adversarial part, of the critics their sum."""

    translators: Tensor
    adversarial: Tensor
    critics: Tensor


def train(
    source: Tensor, target: Tensor, settings: AdaptationSettings, *, device: str = "cpu", progress: bool = True,
    checkpoint: Path | None = None,
) -> nn.ModuleList:  # fmt: skip
    """Train translators on patches.

    Parameters
    ----------
    source, target : float32 Tensor, shape (patch, band, row, column)
        Without gaps; square, as many bands on both sides, in one order.
    settings : AdaptationSettings
    device : str
    progress : bool
        Show a bar.
    checkpoint : Path, optional
        File that the training keeps its state in, and goes on from where it is there; removed at the end.

    Returns
    -------
    ModuleList
        The translators to the source and to the target, on the processor, averaged over the last steps.

    Raises
    ------
    ModelError
        If the training diverges, or the checkpoint is of another training.
    """
    keep = None
    if checkpoint is not None:
        identity = {"of": "adaptation", "settings": settings.to_dict(), "data": digest(source.numpy(), target.numpy())}
        keep = Checkpoint(checkpoint, identity)
    with torch.enable_grad():
        game = Game(source, target, settings, device)
        game.play(progress, keep)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return game.averaged.cpu()


class Game:
    """Translators, critics and their optimisers over two sets of patches."""

    def __init__(self, source: Tensor, target: Tensor, settings: AdaptationSettings, device: str) -> None:
        self.settings, self.device, self.step = settings, device, 0
        both = torch.cat([source, target]).double()
        center, scale = both.mean((0, 2, 3)).float(), both.std((0, 2, 3)).float().clamp_min(1e-3)
        self.translators = make_translators(center, scale, settings.width, settings.seed)
        self.averaged = make_translators(center, scale, settings.width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.critics = nn.ModuleList(Critic(center, scale) for _ in range(2)).to(device)
        for translator, (before, after) in zip(self.translators, ((target, source), (source, target)), strict=True):
            if settings.start != "identity":
                assert isinstance(translator, Translator)
                translator.start_from(*MAPS[settings.start](before, after))
        self.averaged.load_state_dict(self.translators.state_dict())
        self.translators.to(device)
        self.averaged.to(device)
        self.optimisers = [
            torch.optim.Adam(players.parameters(), lr=settings.learning_rate, betas=_MOMENTA)
            for players in (self.translators, self.critics)
        ]
        self.patches = [each.flatten(2).to(device) for each in (source, target)]
        self.turns = turns(source.shape[-1]).to(device)

    def play(self, progress: bool, keep: Checkpoint | None) -> None:
        """All steps, from the start or from a checkpoint."""
        saved = keep.load() if keep is not None else None
        if keep is not None and saved is not None:
            with keep.going_on():
                self._restore(saved)
        steps = self.settings.steps
        bar = tqdm(total=steps, initial=self.step, desc="adapt", disable=not progress, mininterval=0.5)
        with keep.holding_interrupts() if keep is not None else contextlib.nullcontext():
            while self.step < steps:
                losses = self.advance()
                bar.update()
                if self.step % _SHOWN == 0 or self.step == steps:
                    self._show(losses, bar)
                if keep is not None and keep.due(self.step):
                    keep.save(self._state())
                    keep.stop_if_asked()
        bar.close()

    def advance(self) -> Losses:
        """One step of the translators, then one of the critics on what these made."""
        rate = self.settings.learning_rate * min(1.0, 2 * (1 - self.step / self.settings.steps))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        rng = np.random.default_rng([self.settings.seed, self.step])
        true = [self._draw(patches, rng) for patches in self.patches]
        self.critics.requires_grad_(False)
        made = [translator(other) for translator, other in zip(self.translators, reversed(true), strict=True)]
        adversarial = sum((_believed(critic, image) for critic, image in zip(self.critics, made, strict=True)),
                          start=torch.zeros((), device=self.device))  # fmt: skip
        translators = adversarial + self._kept(true, made)
        self._descend(self.optimisers[0], translators)
        self.critics.requires_grad_(True)
        critics = sum((self._judged(critic, trim(own, RADIUS), image.detach())
                       for critic, own, image in zip(self.critics, true, made, strict=True)),
                      start=torch.zeros((), device=self.device))  # fmt: skip
        self._descend(self.optimisers[1], critics)
        self.step += 1
        self._average()
        return Losses(translators.detach(), adversarial.detach(), critics.detach())

    def _draw(self, patches: Tensor, rng: np.random.Generator) -> Tensor:
        """Some patches, each turned and mirrored as it happens."""
        count, size = self.settings.batch, int(self.turns.shape[1] ** 0.5)
        chosen = torch.from_numpy(rng.integers(len(patches), size=count)).to(self.device)
        turned = self.turns[torch.from_numpy(rng.integers(len(self.turns), size=count)).to(self.device)]
        drawn = torch.gather(patches[chosen], 2, turned[:, None].expand(-1, patches.shape[1], -1))
        return drawn.unflatten(2, (size, size))

    def _kept(self, true: list[Tensor], made: list[Tensor]) -> Tensor:
        """What ties translators down: own images stay as they are, and there and back again ends at the start."""
        loss = torch.zeros((), device=self.device)
        s = self.settings
        for translator, own, other in zip(self.translators, true, reversed(made), strict=True):
            if s.identity:
                inner = trim(own, RADIUS)
                loss = loss + s.identity * self._distance(translator(inner), trim(inner, RADIUS))
            if s.cycle:
                loss = loss + s.cycle * self._distance(translator(other), trim(own, 2 * RADIUS))
        return loss

    def _distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean absolute difference, smooth below the tolerance: at a kink, translators would stay at the identity."""
        tolerance = self.settings.tolerance
        if not tolerance:
            return (found - wanted).abs().mean()
        return (torch.hypot(found - wanted, torch.full_like(found, tolerance)) - tolerance).mean()

    def _judged(self, critic: nn.Module, own: Tensor, made: Tensor) -> Tensor:
        """Cross-entropy of a critic, and the penalty on its slope at true images, which keeps the game steady."""
        assert isinstance(critic, Critic)
        own = critic.standardise(own).requires_grad_()
        verdicts = critic(own)
        (slope,) = torch.autograd.grad(verdicts.sum(), own, create_graph=True)
        penalty = 0.5 * self.settings.penalty * slope.square().sum((1, 2, 3)).mean()
        return penalty + _entropy(verdicts, 1.0) + _entropy(critic(critic.standardise(made)), 0.0)

    def _descend(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averages on; early ones forget the start sooner."""
        weight = min(self.settings.average, self.step / (self.step + 9))
        for average, now in zip(self.averaged.parameters(), self.translators.parameters(), strict=True):
            average.lerp_(now, 1 - weight)

    def _show(self, losses: Losses, bar: Any) -> None:
        numbers = [float(value) for value in losses]
        if not np.isfinite(numbers).all():
            raise ModelError(
                f"the adaptation diverged by step {self.step} (losses {numbers}); lower learning_rate (it is "
                f"{self.settings.learning_rate:g}), or look for wrong values in the images"
            )
        bar.set_postfix(translators=f"{numbers[0]:.3f}", adversarial=f"{numbers[1]:.3f}", critics=f"{numbers[2]:.3f}")

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in _MODULES}
        return state | {"step": self.step, "optimisers": [optimiser.state_dict() for optimiser in self.optimisers]}

    def _restore(self, saved: dict[str, Any]) -> None:
        for name in _MODULES:
            getattr(self, name).load_state_dict(saved[name])
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step = int(saved["step"])


_MODULES = ("translators", "averaged", "critics")


def _believed(critic: nn.Module, made: Tensor) -> Tensor:
    """How little a critic believes that an image is true."""
    assert isinstance(critic, Critic)
    return _entropy(critic(critic.standardise(made)), 1.0)


def _entropy(verdicts: Tensor, truth: float) -> Tensor:
    return binary_cross_entropy_with_logits(verdicts, torch.full_like(verdicts, truth))


def turns(size: int) -> Tensor:
    """Places (8, size * size) from which the pixels of a square come when it is turned and mirrored.

    Examples
    --------
    >>> turns(2)[:4].tolist()
    [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]]
    """
    square = torch.arange(size * size).reshape(size, size)
    turned = [torch.rot90(square, quarter) for quarter in range(4)]
    return torch.stack([each.flatten() for each in turned + [each.flip(1) for each in turned]])

"""Coupling layers: invertible networks whose inverse is as cheap and as exact as they are themselves.

A layer holds one half of its input and moves the other by what a small network makes of the held half: by adding
(NICE, Dinh et al. 2015) or by scaling and adding (RealNVP, Dinh et al. 2017). The halves take turns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from s2koop.koopman.layers import LEAK, mlp, with_jacobian

#: The largest logarithm of a scale of one RealNVP layer: six of them stay within e^12, far from overflow.
LOG_SCALE_BOUND = 2.0

#: Rows with respect to the moved half to those with respect to the held half and to the half before it was moved.
HalvesPullback = Callable[[Tensor], tuple[Tensor, Tensor]]


class Coupling(nn.Module, ABC):
    """Moves one half by what it makes of the other, and back."""

    @abstractmethod
    def forward(self, held: Tensor, other: Tensor) -> Tensor:
        """`other` (..., other), moved by what `held` (..., held) says."""

    @abstractmethod
    def inverse(self, held: Tensor, moved: Tensor) -> Tensor:
        """What `forward` moved, put back."""

    @abstractmethod
    def inverse_with_pullback(self, held: Tensor, moved: Tensor) -> tuple[Tensor, HalvesPullback]:
        """`inverse` of (n, held) and (n, other), and the way back for rows of a derivative."""


class AdditiveCoupling(Coupling):
    """NICE: the other half plus ``net(held)``; volume is preserved.

    Parameters
    ----------
    held, other : int
        Sizes of the halves.
    width : int
        Of the hidden layer.
    """

    def __init__(self, held: int, other: int, width: int) -> None:
        super().__init__()
        self.net = mlp([held, width, other], leak=LEAK)

    def forward(self, held: Tensor, other: Tensor) -> Tensor:
        return other + self.net(held)

    def inverse(self, held: Tensor, moved: Tensor) -> Tensor:
        return moved - self.net(held)

    def inverse_with_pullback(self, held: Tensor, moved: Tensor) -> tuple[Tensor, HalvesPullback]:
        shift, jacobian = with_jacobian(self.net, held)
        return moved - shift, lambda rows: (-rows @ jacobian, rows)


class AffineCoupling(Coupling):
    """RealNVP: the other half times ``exp(scale(held))``, plus ``shift(held)``.

    The logarithm of the scale is bound smoothly to plus or minus `LOG_SCALE_BOUND`: an exponential let free
    overflows early in training.

    Parameters
    ----------
    held, other, width : int
        As for `AdditiveCoupling`.
    """

    def __init__(self, held: int, other: int, width: int) -> None:
        super().__init__()
        self.scale = mlp([held, width, other], leak=LEAK)
        self.shift = mlp([held, width, other], leak=LEAK)

    def forward(self, held: Tensor, other: Tensor) -> Tensor:
        return other * _bound(self.scale(held)).exp() + self.shift(held)

    def inverse(self, held: Tensor, moved: Tensor) -> Tensor:
        return (moved - self.shift(held)) * (-_bound(self.scale(held))).exp()

    def inverse_with_pullback(self, held: Tensor, moved: Tensor) -> tuple[Tensor, HalvesPullback]:
        raw, scale_jacobian = with_jacobian(self.scale, held)
        shift, shift_jacobian = with_jacobian(self.shift, held)
        log_scale = _bound(raw)
        shrink = (-log_scale).exp()
        other = (moved - shift) * shrink
        bend = 1 - (log_scale / LOG_SCALE_BOUND).square()  # the derivative of the bound

        def pullback(rows: Tensor) -> tuple[Tensor, Tensor]:
            shrunk = rows * shrink.unsqueeze(-2)
            return -shrunk @ shift_jacobian - (rows * (other * bend).unsqueeze(-2)) @ scale_jacobian, shrunk

        return other, pullback


class CouplingFlow(nn.Module):
    """Coupling layers in sequence: an invertible network of as many outputs as inputs.

    Layers 0, 2, 4 hold the first half and move the second; layers 1, 3, 5 the other way round. The first half of an
    odd size is the smaller one.

    Parameters
    ----------
    size : int
        At least 2.
    layers : int
    width : int
        Of the hidden layer of each coupling.
    kind : {"nice", "realnvp"}
    """

    def __init__(self, size: int, *, layers: int, width: int, kind: str) -> None:
        super().__init__()
        self.size, self.first, self.second = size, size // 2, size - size // 2
        make = AdditiveCoupling if kind == "nice" else AffineCoupling
        halves = [(self.first, self.second), (self.second, self.first)]
        self.bijectors = nn.ModuleList([make(*halves[i % 2], width) for i in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to (..., size)."""
        first, second = self._halves(x)
        for i, layer in enumerate(self._layers()):
            if i % 2:
                first = layer(second, first)
            else:
                second = layer(first, second)
        return torch.cat([first, second], -1)

    def inverse(self, z: Tensor, wanted: int | None = None) -> Tensor:
        """The inverse of `forward`, or only its first `wanted` outputs (..., wanted)."""
        first, second = self._halves(z)
        for i, layer in self._backwards(wanted):
            if i % 2:
                first = layer.inverse(second, first)
            else:
                second = layer.inverse(first, second)
        return torch.cat([first, second], -1)[..., :wanted]

    def inverse_with_jacobian(self, z: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
        """The first outputs of the inverse, and their derivative: (n, wanted) and (n, wanted, size).

        Backwards from the wanted outputs, as they are fewer than inputs.
        """
        first, second = self._halves(z)
        backs: list[tuple[int, HalvesPullback]] = []
        for i, layer in self._backwards(wanted):
            if i % 2:
                first, back = layer.inverse_with_pullback(second, first)
            else:
                second, back = layer.inverse_with_pullback(first, second)
            backs.append((i, back))
        values = torch.cat([first, second], -1)[:, :wanted]
        # one for all latents, until the first pullback tells them apart
        start = torch.eye(wanted, self.size, dtype=z.dtype, device=z.device)[None]
        to_first, to_second = self._halves(start)
        for i, back in reversed(backs):
            if i % 2:
                held, to_first = back(to_first)
                to_second = to_second + held
            else:
                held, to_second = back(to_second)
                to_first = to_first + held
        return values, torch.cat([part.expand(len(z), -1, -1) for part in (to_first, to_second)], -1)

    def _layers(self) -> list[Coupling]:
        return list(self.bijectors)  # type: ignore[arg-type]

    def _backwards(self, wanted: int | None) -> list[tuple[int, Coupling]]:
        """Layers from the last to the first; without the first one where it moves nothing that is wanted."""
        skipped = 1 if wanted is not None and wanted <= self.first else 0
        return list(enumerate(self._layers()))[skipped:][::-1]

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., : self.first], x[..., self.first :]


def _bound(raw: Tensor) -> Tensor:
    return LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)

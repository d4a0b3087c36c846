"""Plain layers in sequence, and their derivatives written out by hand: autograd would walk back once for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

#: Slope of the couplings' activations below zero, as in Frion et al. (2025).
LEAK = 0.01

#: Rows of a derivative (n or 1, row, output) to those with respect to the inputs (n, row, input).
Pullback = Callable[[Tensor], Tensor]


def mlp(widths: Sequence[int], *, leak: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU between (leaky, if `leak` is not zero), linear at the end.

    Examples
    --------
    >>> mlp([20, 512, 32])[2].out_features
    32
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(leak) if leak else nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def with_pullback(layers: Iterable[nn.Module], x: Tensor) -> tuple[Tensor, Pullback]:
    """What linear and ReLU layers make of `x` (n, input), and the way back for rows of a derivative.

    All rows go in one product per layer.

    Parameters
    ----------
    layers : iterable of Linear or ReLU
    x : Tensor, shape (n, input)

    Returns
    -------
    values : Tensor, shape (n, output)
    pullback : callable
        Rows (n or 1, row, output) of a derivative with respect to the outputs to those with respect to the inputs.
    """
    layers = list(layers)
    slopes: list[Tensor] = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            slopes.append(x > 0)

    def pullback(rows: Tensor) -> Tensor:
        later = list(slopes)
        for layer in reversed(layers):
            rows = rows @ layer.weight if isinstance(layer, nn.Linear) else rows * later.pop().unsqueeze(-2)
        return rows

    return x, pullback


def with_jacobian(net: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """What an `mlp` of one leaky hidden layer makes of `x`, and the derivative in one product.

    The derivative is linear in the slopes of the hidden units, so it never takes the (n, row, hidden) numbers that a
    pullback would write.

    Parameters
    ----------
    net : Sequential of Linear, LeakyReLU, Linear
    x : Tensor, shape (n, input)

    Returns
    -------
    values : Tensor, shape (n, output)
    jacobian : Tensor, shape (n, output, input)
    """
    first, bend, last = net
    assert isinstance(first, nn.Linear)
    assert isinstance(bend, nn.LeakyReLU)
    assert isinstance(last, nn.Linear)
    hidden = first(x)
    slopes = torch.where(hidden > 0, x.new_ones(()), x.new_tensor(bend.negative_slope))
    units = last.weight.T[:, :, None] * first.weight[:, None, :]  # (hidden, output, input)
    return last(bend(hidden)), (slopes @ units.flatten(1)).unflatten(1, units.shape[1:])

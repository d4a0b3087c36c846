"""The published Koopman procedure, written plainly from its description: weights by name, one date after the other.

Shares no code with s2koop. Files of its random networks have the layout of the published ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

BANDS, STATE, LEAK = 10, 20, 0.01
FAMILIES = ("KAE", "IKAE", "IKAE-zp", "AIKAE")
LATENTS = {"KAE": 32, "IKAE": 20, "IKAE-zp": 36, "AIKAE": 36}

Weights = dict[str, Tensor]


def random_weights(family: str, seed: int = 0) -> Weights:
    """A state dict of the published shapes, drawn as torch draws linear layers."""
    torch.manual_seed(seed)
    weights: Weights = {}
    if family == "KAE":
        _chain(weights, "encoder.encoder", (20, 512, 256, 32))
        _chain(weights, "decoder.decoder", (32, 256, 512, 20))
        return weights
    half = 18 if family == "IKAE-zp" else 10
    for i in range(6):
        _linear(weights, f"invertible_encoder.bijectors.{i}.net.0", half, 256)
        _linear(weights, f"invertible_encoder.bijectors.{i}.net.2", 256, half)
    if family == "AIKAE":
        _chain(weights, "augmentation_encoder.encoder", (20, 512, 512, 16))
    return weights


def random_operator(family: str, seed: int = 0) -> Tensor:
    """A rotation with angles like those of seasons over five days, as a leaf that wants a gradient."""
    torch.manual_seed(100 + seed)
    draw = 0.02 * torch.randn(LATENTS[family], LATENTS[family])
    return torch.matrix_exp(draw - draw.T).requires_grad_()


def write_files(folder: Path, family: str, seed: int = 0) -> tuple[Path, Path]:
    """A model file and a K file, as the published training leaves them."""
    model, operator = folder / f"{family}_model.pt", folder / f"{family}_K.pt"
    torch.save(random_weights(family, seed), model)
    torch.save(random_operator(family, seed), operator)
    return model, operator


def encode(family: str, weights: Weights, x: Tensor) -> Tensor:
    """States (n, 20) to latents."""
    if family == "KAE":
        return _through(weights, "encoder.encoder", x)
    z = torch.cat([x, torch.zeros(len(x), 16)], 1) if family == "IKAE-zp" else x
    for i in range(6):
        a, b = z.chunk(2, 1)
        z = torch.cat([a, b + _net(weights, i, a)] if i % 2 == 0 else [a + _net(weights, i, b), b], 1)
    if family == "AIKAE":
        z = torch.cat([z, _through(weights, "augmentation_encoder.encoder", x)], 1)
    return z


def decode(family: str, weights: Weights, z: Tensor) -> Tensor:
    """Latents to states (n, 20)."""
    if family == "KAE":
        return _through(weights, "decoder.decoder", z)
    if family == "AIKAE":
        z = z[:, :STATE]
    for i in reversed(range(6)):
        a, b = z.chunk(2, 1)
        z = torch.cat([a, b - _net(weights, i, a)] if i % 2 == 0 else [a - _net(weights, i, b), b], 1)
    return z[:, :STATE]


def step(family: str, operator: Tensor, z: Tensor) -> Tensor:
    """One step: row vectors times K for the KAE, K times column vectors for the flows."""
    return z @ operator if family == "KAE" else (operator @ z.T).T


def rollout(family: str, weights: Weights, operator: Tensor, x: Tensor, steps: int) -> Tensor:
    """States (n, steps, 20) after 1, 2, ... steps, K applied one step at a time."""
    z, states = encode(family, weights, x), []
    for _ in range(steps):
        z = step(family, operator, z)
        states.append(decode(family, weights, z))
    return torch.stack(states, 1)


def assimilation_trace(
    family: str, weights: Weights, operator: Tensor, first: Tensor, values: Tensor, observed: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """The losses of an Adam assimilation, and the latents (n, latent) it ends at.

    `values` (n, time, band) are reflectances in the network's units on every step, the first state's date included;
    `observed` (time,) flags the dates that count.
    """
    z0 = encode(family, weights, first).detach().requires_grad_()
    optimiser = torch.optim.Adam([z0], lr=1e-3)
    losses = []
    for _ in range(iterations):
        optimiser.zero_grad()
        z, loss = z0, torch.zeros(())
        for t in range(len(observed)):
            if observed[t]:
                difference = decode(family, weights, z)[:, :BANDS] - values[:, t]
                loss = loss + (difference**2).sum() / BANDS
            z = step(family, operator, z)
        losses.append(loss.detach())
        loss.backward()
        optimiser.step()
    return torch.stack(losses), z0.detach()


def _linear(weights: Weights, name: str, inputs: int, outputs: int) -> None:
    bound = inputs**-0.5
    weights[f"{name}.weight"] = torch.empty(outputs, inputs).uniform_(-bound, bound)
    weights[f"{name}.bias"] = torch.empty(outputs).uniform_(-bound, bound)


def _chain(weights: Weights, name: str, widths: tuple[int, ...]) -> None:
    for i in range(1, len(widths)):
        _linear(weights, f"{name}_{i}", widths[i - 1], widths[i])


def _through(weights: Weights, name: str, x: Tensor) -> Tensor:
    for i in (1, 2, 3):
        x = functional.linear(x, weights[f"{name}_{i}.weight"], weights[f"{name}_{i}.bias"])
        x = x.relu() if i < 3 else x
    return x


def _net(weights: Weights, i: int, half: Tensor) -> Tensor:
    name = f"invertible_encoder.bijectors.{i}.net"
    hidden = functional.linear(half, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"])
    hidden = functional.leaky_relu(hidden, LEAK)
    return functional.linear(hidden, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"])

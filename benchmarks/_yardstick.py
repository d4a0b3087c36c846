"""The papers' procedure, written plainly from its description: what `koopman_speed` measures against.

Forecast, assimilation and training of Frion et al. (2023, 2024) as they were published, habits included: K is applied
step by step, a scene is forecast row by row with gradients recorded, every date is decoded with its slopes, the
assimilation is one Adam over the latents of all pixels that also computes the gradients of the decoder's weights, and
training predicts, encodes and decodes every date of its windows. Networks are those of `s2koop`, so that both
sides share every weight; states are standardised reflectance and its change per step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2koop.koopman.network import KoopmanAutoencoder

WINDOW = 101  # dates of a training window
ORTHOGONALITY = 100.0


def step_matrix(network: KoopmanAutoencoder) -> Tensor:
    """K over one step, as a parameter of its own."""
    step = torch.tensor([network.operator.step_days], dtype=torch.float64)
    return network.operator.powers(step)[0].detach().requires_grad_()


def forecast(network: KoopmanAutoencoder, latents: Tensor, steps: int) -> Tensor:
    """Latents (row, column, latent) to predicted states (row, column, step, state), a row at a time."""
    matrix = step_matrix(network)
    rows = []
    for z in latents:
        states = []
        for _ in range(steps):
            z = z @ matrix
            states.append(network.decode(z))
        rows.append(torch.stack(states, dim=1).detach())
    return torch.stack(rows)


def assimilate(
    network: KoopmanAutoencoder,
    first: Tensor,
    values: Tensor,
    observed: Tensor,
    *,
    iterations: int = 201,
    learning_rate: float = 1e-3,
) -> tuple[Tensor, list[float]]:
    """One Adam over the latents of all pixels.

    Parameters
    ----------
    first : Tensor, shape (pixel, state)
        The states that are encoded to start from.
    values : Tensor, shape (pixel, time, band)
        Reflectance on regular dates, of which the `observed` ones (time,) count.

    Returns
    -------
    latents : Tensor, shape (pixel, latent)
    trace : list of float
        Sum of squares over bands, pixels and dates, over the number of bands, before each step.
    """
    matrix = step_matrix(network)
    latents = network.encode(first).detach().requires_grad_()
    optimiser = torch.optim.Adam([latents], lr=learning_rate)
    targets = values[:, observed]
    trace = []
    for _ in range(iterations):
        optimiser.zero_grad()
        z, decoded = latents, []
        for seen in observed.tolist():
            if seen:
                decoded.append(network.decode(z)[:, : network.bands])
            z = z @ matrix
        loss = (torch.stack(decoded, dim=1) - targets).square().sum() / network.bands
        loss.backward()
        optimiser.step()
        trace.append(float(loss.detach()))
    network.zero_grad()
    return latents.detach(), trace


def training_loss(network: KoopmanAutoencoder, matrix: Tensor, windows: Tensor) -> Tensor:
    """The published loss of windows (series, time, state): prediction, auto-encoding, linearity, orthogonality."""
    z = network.encode(windows[:, 0])
    advanced, predicted = [], []
    for _ in range(windows.shape[1] - 1):
        z = z @ matrix
        advanced.append(z)
        predicted.append(network.decode(z))
    targets = windows[:, 1:]
    encoded = network.encode(targets)
    eye = torch.eye(len(matrix))
    return (
        _summed(torch.stack(predicted, 1), targets)
        + _summed(network.decode(encoded), targets)
        + _summed(torch.stack(advanced, 1), encoded)
        + ORTHOGONALITY * (matrix @ matrix.T - eye).square().sum() / len(matrix)
    )


def _summed(left: Tensor, right: Tensor) -> Tensor:
    """Squares summed over series and channels, averaged over time."""
    return (left - right).square().sum() / left.shape[1]

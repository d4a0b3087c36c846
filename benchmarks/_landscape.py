"""Simulated ten-band series on a five-day grid and a papers'-size network that has learned them, for speed alone.

Fields of four kinds follow logistic seasons of their own date, length and vigour, over mixtures of soil, green and dry
matter, with slow weather. The network is trained rather than drawn at random, because which of its units fall silent
decides what pruning can gain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2koop.koopman.losses import Batch, Draw, network_terms, total_loss
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.operator import ModalOperator
from s2koop.koopman.settings import KoopmanSettings

STEP_DAYS = 5.0
PAPER = KoopmanSettings.paper(step_days=STEP_DAYS)
# reflectance of green matter, dry matter and soil in B02 B03 B04 B05 B06 B07 B08 B8A B11 B12
SPECTRA = (
    (0.02, 0.05, 0.02, 0.09, 0.30, 0.42, 0.45, 0.47, 0.20, 0.09),
    (0.06, 0.10, 0.15, 0.19, 0.24, 0.27, 0.30, 0.32, 0.36, 0.28),
    (0.06, 0.09, 0.12, 0.15, 0.17, 0.19, 0.21, 0.22, 0.27, 0.24),
)
# kinds: start and end of the season (day of the year), steepness (days), least and most cover
KINDS = (
    (110.0, 280.0, 12.0, 0.15, 0.9),
    (90.0, 190.0, 9.0, 0.05, 0.95),
    (150.0, 265.0, 8.0, 0.02, 0.85),
    (60.0, 330.0, 25.0, 0.5, 0.8),
)


def scene(side: int, dates: int, seed: int, *, noise: float = 0.005) -> Tensor:
    """Standardised reflectance (pixel, time, band) of side x side pixels, row by row, float32, with noise and no gaps.

    A field of some forty pixels shares its kind, its dates and its matter; pixels differ from it by a few percent.
    """
    draw = torch.Generator().manual_seed(seed)
    field = _fields(side, max(4, side**2 // 40), draw)
    count = int(field.max()) + 1

    def share(spread_of_fields: float, spread_of_pixels: float, *shape: int) -> Tensor:
        fields, pixels = (torch.randn(n, *shape, generator=draw) for n in (count, side**2))
        return spread_of_fields * fields[field] + spread_of_pixels * pixels

    start, end, steep, low, high = torch.tensor(KINDS)[torch.randint(len(KINDS), (count,), generator=draw)[field]].T[
        ..., None
    ]
    shift = share(8.0, 1.0, 1)
    day = STEP_DAYS * torch.arange(dates) % 365.25
    weather = _slow(dates, draw)
    season = torch.sigmoid((day - start - shift) / steep) * torch.sigmoid((end + 0.5 * shift - day) / steep)
    cover = (low + (high - low) * (1 + share(0.1, 0.02, 1)) * season * (1 + 0.05 * weather)).clamp(0, 1)
    dry = (1 - cover) * (0.3 + 0.5 * torch.sigmoid((day - end) / 20) + 0.03 * weather).clamp(0, 1)
    shares = torch.stack([cover, dry, 1 - cover - dry], -1)
    reflectance = shares @ (torch.tensor(SPECTRA) * (1 + share(0.06, 0.01, 3, 10)))
    reflectance = reflectance + noise * torch.randn(reflectance.shape, generator=draw)
    center = torch.tensor(SPECTRA).mean(0)
    return (reflectance - center) / (0.5 * center)


def _fields(side: int, count: int, draw: torch.Generator) -> Tensor:
    """Field of each pixel: the nearest of some random centres."""
    centers = side * torch.rand(count, 2, generator=draw)
    grid = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float()
    return torch.cdist(grid, centers).argmin(1)


def states(values: Tensor) -> Tensor:
    """Reflectance and its change per step (pixel, time - 1, state)."""
    return torch.cat([values[:, 1:], values.diff(dim=1)], dim=-1)


def _slow(dates: int, draw: torch.Generator) -> Tensor:
    """Weather (time,): noise of all pixels that forgets within a month."""
    out = [torch.zeros(())]
    for shock in torch.randn(dates - 1, generator=draw):
        out.append(0.85 * out[-1] + 0.5 * shock)
    return torch.stack(out)


def new_network(seed: int = 0) -> KoopmanAutoencoder:
    """An untrained 20-512-256-32 network whose K turns by the year and its first overtone.

    From the identity, as published, K would take hours to find them.
    """
    torch.manual_seed(seed)
    network = KoopmanAutoencoder(10, PAPER)
    turns = ModalOperator(network.latent, STEP_DAYS, (0.0, 1.0, 1.0, 2.0))
    network.operator.load_state_dict({"matrix": turns.powers(torch.tensor([STEP_DAYS]))[0].detach()})
    return network


def trained_network(steps: int, *, seed: int = 0) -> KoopmanAutoencoder:
    """A network after so many steps of the papers' losses, on random dates of a simulated scene.

    The large rate at first silences units, as long training does: about as many as in the published networks.
    """
    network = new_network(seed)
    data = states(scene(40, 242, seed + 1))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [2 * steps // 3], 1 / 5)
    for _ in range(steps):
        ahead = 1 + torch.randperm(100)[:6]
        loss = sparse_loss(network, data[torch.randint(len(data), (128,))], int(torch.randint(140, (1,))), ahead)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.requires_grad_(False)


def sparse_loss(network: KoopmanAutoencoder, series: Tensor, origin: int, ahead: Tensor) -> Tensor:
    """The loss that `s2koop` trains with under the papers' settings, on some dates after one origin."""
    days = STEP_DAYS * torch.arange(series.shape[1])
    batch = Batch(series[..., :10], torch.ones_like(series[..., :10]), series, series.new_zeros(len(series), 32), days)
    none = ahead[:0]
    terms = network_terms(network, batch, Draw(origin, origin + ahead, none, none, none), PAPER)
    return total_loss([terms], PAPER)["total"]

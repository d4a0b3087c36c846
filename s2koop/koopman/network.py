"""Koopman networks: between standardised states and latents, with a linear operator in the latent space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

from torch import Tensor, nn

from s2koop.koopman.operator import LatentOperator, make_operator
from s2koop.koopman.settings import KoopmanSettings


def mlp(widths: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between, linear at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class KoopmanNetwork(nn.Module, ABC):
    """What every architecture offers; training and assimilation ask for nothing else.

    States are standardised: reflectance minus its band median over half its 16 to 84 % range, then, with
    ``derivative``, the change per step over that of the band.

    Attributes
    ----------
    bands : int
        Number of spectral bands.
    state_size, latent : int
    operator : LatentOperator
    """

    bands: int
    state_size: int
    latent: int
    operator: LatentOperator

    @abstractmethod
    def encode(self, state: Tensor) -> Tensor:
        """States (..., state) to latents (..., latent)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., latent) to states (..., state)."""

    @abstractmethod
    def observe(self, z: Tensor) -> Tensor:
        """Latents (..., latent) to standardised reflectance (..., band)."""

    @abstractmethod
    def observe_with_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised reflectance at latents, and its derivative with respect to them.

        Parameters
        ----------
        z : Tensor, shape (n, latent)

        Returns
        -------
        values : Tensor, shape (n, band)
        jacobian : Tensor, shape (n, band, latent)
        """

    def forward(self, state: Tensor, days: Tensor) -> Tensor:
        """States (..., state) predicted `days` (n,) ahead: (..., n, state)."""
        return self.decode(self.operator.advance(self.encode(state), days))


class KoopmanAutoencoder(KoopmanNetwork):
    """Encoder, decoder and linear latent dynamics (Frion et al. 2023, 2024).

    Parameters
    ----------
    bands : int
        Number of spectral bands.
    settings : KoopmanSettings
    """

    def __init__(self, bands: int, settings: KoopmanSettings) -> None:
        super().__init__()
        self.bands = bands
        self.state_size = 2 * bands if settings.derivative else bands
        self.latent = settings.latent
        widths = [self.state_size, *settings.hidden, settings.latent]
        self.encoder = mlp(widths)
        self.decoder: nn.Sequential = mlp(widths[::-1])
        self.operator = make_operator(settings)

    def encode(self, state: Tensor) -> Tensor:
        return self.encoder(state)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def observe(self, z: Tensor) -> Tensor:
        # without the rows of the slope
        *body, last = self.decoder.children()
        assert isinstance(last, nn.Linear)
        for layer in body:
            z = layer(z)
        return nn.functional.linear(z, last.weight[: self.bands], last.bias[: self.bands])

    def observe_with_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        # backwards from the bands: they are fewer than latents, and all go in one product
        *body, last = self.decoder.children()
        assert isinstance(last, nn.Linear)
        alive = []
        for layer in body:
            z = layer(z)
            if isinstance(layer, nn.ReLU):
                alive.append(z > 0)
        values = nn.functional.linear(z, last.weight[: self.bands], last.bias[: self.bands])
        jacobian = last.weight[: self.bands].expand(len(z), -1, -1)
        for layer in reversed(body):
            if isinstance(layer, nn.Linear):
                jacobian = jacobian @ layer.weight
            else:
                jacobian = jacobian * alive.pop().unsqueeze(1)
        return values, jacobian


def make_network(bands: int, settings: KoopmanSettings) -> KoopmanNetwork:
    """The network that the settings name."""
    return KoopmanAutoencoder(bands, settings)

"""The Koopman autoencoder: encoder, decoder and operator on standardised states."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from s2koop.koopman.operator import make_operator
from s2koop.koopman.settings import KoopmanSettings


def mlp(widths: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between, linear at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class KoopmanAutoencoder(nn.Module):
    """Encoder, decoder and linear latent dynamics (Frion et al. 2023, 2024).

    States are standardised: reflectance minus its band median over half its 16 to 84 % range, then, with
    ``derivative``, the change per step over that of the band. The decoder gives the same.

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
        """States (..., state) to latents (..., latent)."""
        return self.encoder(state)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., latent) to states (..., state)."""
        return self.decoder(z)

    def observe(self, z: Tensor) -> Tensor:
        """Latents (..., latent) to standardised reflectance (..., band), without the rows of the slope."""
        *body, last = self.decoder.children()
        assert isinstance(last, nn.Linear)
        for layer in body:
            z = layer(z)
        return nn.functional.linear(z, last.weight[: self.bands], last.bias[: self.bands])

    def observe_with_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised reflectance at latents, and its derivative with respect to them.

        Written out for a ReLU decoder, backwards from the bands: they are fewer than latents, and all go in one
        product.

        Parameters
        ----------
        z : Tensor, shape (n, latent)

        Returns
        -------
        values : Tensor, shape (n, band)
        jacobian : Tensor, shape (n, band, latent)
        """
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

    def forward(self, state: Tensor, days: Tensor) -> Tensor:
        """States (..., state) predicted `days` (n,) ahead: (..., n, state)."""
        return self.decode(self.operator.advance(self.encode(state), days))

"""Koopman networks: between standardised states and latents, with a linear operator in the latent space."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from s2koop.koopman.couplings import CouplingFlow
from s2koop.koopman.layers import mlp, with_pullback
from s2koop.koopman.operator import LatentOperator, make_operator
from s2koop.koopman.settings import KoopmanSettings


class KoopmanNetwork(nn.Module, ABC):
    """What every architecture offers; training and assimilation ask for nothing else.

    States are standardised: reflectance minus its band median over half its 16 to 84 % range, then, with
    ``derivative``, the change per step over that of the band.

    Parameters
    ----------
    bands : int
        Number of spectral bands.
    settings : KoopmanSettings

    Attributes
    ----------
    bands : int
        Number of spectral bands.
    state_size, latent : int
    operator : LatentOperator
    """

    #: Whether `decode` undoes `encode` by construction, so that an auto-encoding loss is always zero.
    exact_inverse = False

    operator: LatentOperator

    def __init__(self, bands: int, settings: KoopmanSettings) -> None:
        super().__init__()
        self.bands = bands
        self.state_size = settings.state_size(bands)
        self.latent = settings.latent_size(bands)

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
    """The papers' KAE: an encoder and a decoder of their own (Frion et al. 2023, 2024).

    With ``settings.linear_path`` a linear map from latents to states stands beside the decoder's layers, which then
    only learn what is not linear; it can be started from a harmonic regression (`s2koop.koopman.warm_start`).
    """

    def __init__(self, bands: int, settings: KoopmanSettings) -> None:
        super().__init__(bands, settings)
        widths = [self.state_size, *settings.hidden, self.latent]
        self.encoder = mlp(widths)
        self.decoder: nn.Sequential = mlp(widths[::-1])
        beside = settings.linear_path and bool(settings.hidden)  # without hidden layers the decoder is linear itself
        self.linear = nn.Linear(self.latent, self.state_size, bias=False) if beside else None
        self.operator = make_operator(self.latent, settings)

    def encode(self, state: Tensor) -> Tensor:
        return self.encoder(state)

    def decode(self, z: Tensor) -> Tensor:
        state = self.decoder(z)
        return state if self.linear is None else state + self.linear(z)

    def observe(self, z: Tensor) -> Tensor:
        body, weight, bias = self._to_bands()
        values = nn.functional.linear(body(z), weight, bias)
        return values if self.linear is None else values + nn.functional.linear(z, self.linear.weight[: self.bands])

    def observe_with_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        body, weight, bias = self._to_bands()
        hidden, pullback = with_pullback(body, z)
        values, jacobian = nn.functional.linear(hidden, weight, bias), pullback(weight.expand(len(z), -1, -1))
        if self.linear is None:
            return values, jacobian
        beside = self.linear.weight[: self.bands]
        return values + nn.functional.linear(z, beside), jacobian + beside

    def _to_bands(self) -> tuple[nn.Sequential, Tensor, Tensor]:
        """The decoder but its last layer, and of that the rows of the reflectance, without those of the slope."""
        *body, last = self.decoder
        assert isinstance(last, nn.Linear)
        return nn.Sequential(*body), last.weight[: self.bands], last.bias[: self.bands]


class InvertibleNetwork(KoopmanNetwork):
    """IKAE, IKAE-zp and AIKAE: coupling layers encode, their exact inverse decodes (Frion et al. 2025, TMLR).

    IKAE has one latent for each entry of the state. More latents come from zeros that follow the state (IKAE-zp), or
    from a plain encoder beside the flow (AIKAE); the decoder returns neither.
    """

    exact_inverse = True

    def __init__(self, bands: int, settings: KoopmanSettings) -> None:
        super().__init__(bands, settings)
        self.padding = settings.padding if settings.architecture == "ikae-zp" else 0
        self.flow = CouplingFlow(
            self.state_size + self.padding,
            layers=settings.couplings,
            width=settings.coupling_width,
            kind=settings.coupling,
        )
        self.augmentation = mlp([self.state_size, *settings.augmentation]) if settings.architecture == "aikae" else None
        self.operator = make_operator(self.latent, settings)

    def encode(self, state: Tensor) -> Tensor:
        z = self.flow(nn.functional.pad(state, (0, self.padding)))
        return z if self.augmentation is None else torch.cat([z, self.augmentation(state)], -1)

    def decode(self, z: Tensor) -> Tensor:
        return self.flow.inverse(z[..., : self.flow.size], self.state_size)

    def observe(self, z: Tensor) -> Tensor:
        return self.flow.inverse(z[..., : self.flow.size], self.bands)

    def observe_with_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        values, jacobian = self.flow.inverse_with_jacobian(z[:, : self.flow.size], self.bands)
        return values, nn.functional.pad(jacobian, (0, self.latent - self.flow.size))


def make_network(bands: int, settings: KoopmanSettings) -> KoopmanNetwork:
    """The network that the settings name.

    Raises
    ------
    InputError
        If the settings do not fit so many bands.
    """
    if settings.heads > 1:
        from s2koop.koopman.shared import SharedTrunk  # it builds on the autoencoder above

        return SharedTrunk(bands, settings)
    return (KoopmanAutoencoder if settings.architecture == "mlp" else InvertibleNetwork)(bands, settings)

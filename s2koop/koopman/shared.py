"""Many members on one trunk: a shared encoder, operator and decoder, and a last layer of its own for each member.

One latent is assimilated for all, against the mean of the members, which costs what a single network costs; only the
last layer is evaluated once a member.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.settings import KoopmanSettings


class SharedTrunk(KoopmanAutoencoder):
    """A Koopman autoencoder whose decoder ends in several heads; everywhere else it is the mean of them.

    Parameters
    ----------
    bands : int
    settings : KoopmanSettings
        ``settings.heads`` members.
    """

    def __init__(self, bands: int, settings: KoopmanSettings) -> None:
        super().__init__(bands, settings)
        *_, last = self.decoder.children()
        assert isinstance(last, nn.Linear)
        bound = last.in_features**-0.5
        self.head_weight = nn.Parameter(torch.empty(settings.heads, bands, last.in_features).uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.empty(settings.heads, bands).uniform_(-bound, bound))

    @property
    def heads(self) -> int:
        """Number of members."""
        return len(self.head_bias)

    def observe_members(self, z: Tensor) -> Tensor:
        """Latents (..., latent) to the standardised reflectance of each member (member, ..., band)."""
        return self.decode_members(z)[0]

    def decode_members(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Reflectance of each member (member, ..., band), and the slopes that they share (..., band or none)."""
        hidden = self.decoder[:-1](z)
        state = self.decoder[-1](hidden)
        state = state if self.linear is None else state + self.linear(z)
        # deviations sum to zero, so that the decoder's own last layer is the mean of the members
        weight = (self.head_weight - self.head_weight.mean(0)).flatten(0, 1)
        bias = (self.head_bias - self.head_bias.mean(0)).flatten()
        deviation = nn.functional.linear(hidden, weight, bias).unflatten(-1, (self.heads, self.bands)).movedim(-2, 0)
        return state[..., : self.bands] + deviation, state[..., self.bands :]


def add_members(
    network: SharedTrunk, out: dict[str, Tensor], latents: Tensor, scale: Tensor, *, keep: bool
) -> dict[str, Tensor]:
    """The outputs of an analysis, with the variance between the members in its spreads.

    Parameters
    ----------
    network : SharedTrunk
    out : dict of str to Tensor
        ``mean`` and, where they are asked for, ``spread`` and ``spread_state`` (pixel, time, band) of their mean, in
        reflectance, beside others.
    latents : Tensor, shape (pixel, time, latent)
    scale : Tensor, shape (band,)
        Reflectance per standardised unit.
    keep : bool
        Add ``members`` (pixel, member, time, band).
    """
    each = network.observe_members(latents)
    deviation = scale * (each - each.mean(0))
    between = deviation.square().mean(0)
    spreads = {name: (out[name].square() + between).sqrt() for name in ("spread", "spread_state") if name in out}
    members = {"members": (out["mean"] + deviation).transpose(0, 1)} if keep else {}
    return out | spreads | members

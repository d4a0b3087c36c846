"""Fast decoding of many latents by a ReLU decoder: units that are silent for a whole tile of states are left out.

States of similar pixels on neighbouring dates wake the same units. Which units of a layer can wake at all in a tile is
bounded by interval arithmetic over runs of neighbouring rows of its input; the others are zero there, and dropping
them changes nothing but rounding. Derivatives leave out the units that were seen to be silent. Decoding in bfloat16
rounds the networks' products to eight bits; latents, the choice of units and results stay float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from s2koop.koopman.network import KoopmanAutoencoder, KoopmanNetwork

PRECISIONS = ("float32", "bfloat16")
#: Pixels and dates of a tile: small enough to be alike, large enough that choosing its units pays.
TILE_PIXELS, TILE_DATES = 512, 4
#: Share of a layer's units up to which bounding them gains more than it costs.
WORTHWHILE = 0.6
#: Neighbouring rows that share a box in the bounds.
BOX_ROWS = 16
#: States whose derivatives are taken at once: their rows stay in the cache.
JACOBIAN_STATES = 512
GRADIENT_STATES = 2048
#: Counts of kept units are rounded up to a multiple of this: kernels are made anew for each size.
KEPT_MULTIPLE = 32


@dataclass(frozen=True)
class ReluDecoder:
    """Weights of a decoder of linear and ReLU layers, up to the bands.

    Attributes
    ----------
    hidden : tuple of (weight (output, input), bias (output,))
    last : (weight (band, input), bias (band,))
    beside : Tensor, shape (band, latent), optional
        A linear map from the latents, added to the result.
    dtype : torch.dtype
        Of the products. Weights are kept in their own, in which units are chosen faster.
    """

    hidden: tuple[tuple[Tensor, Tensor], ...]
    last: tuple[Tensor, Tensor]
    beside: Tensor | None
    dtype: torch.dtype

    @classmethod
    def of(cls, network: KoopmanNetwork, precision: str = "float32") -> ReluDecoder | None:
        """The decoder of a network, or None where it is of another kind."""
        if type(network) is not KoopmanAutoencoder or len(network.decoder) < 3:
            return None
        *body, last = (layer for layer in network.decoder if isinstance(layer, nn.Linear))
        weight, bias = last.weight.detach()[: network.bands], last.bias.detach()[: network.bands]
        beside = None if network.linear is None else network.linear.weight.detach()[: network.bands]
        dtype = torch.bfloat16 if precision == "bfloat16" else weight.dtype
        return cls(tuple((layer.weight.detach(), layer.bias.detach()) for layer in body), (weight, bias), beside, dtype)

    def values(self, z: Tensor, *, prune: bool = True) -> tuple[Tensor, float]:
        """Reflectance (n, band) of latents (n, latent) whose neighbouring rows are alike, and the share of work done.

        The first layer, which has few inputs, is computed whole. Of later ones, units that cannot wake are left out.
        """
        x, (first, bias) = z.to(self.dtype), self.hidden[0]
        x, kept, share = self._product(x, first, bias, relu=True), None, 1.0
        for weight, bias in self.hidden[1:]:
            weight = weight if kept is None else weight.index_select(1, kept)
            if prune:
                kept = _rounded_up(_upper_bound(x, weight, bias))
                share = min(share, len(kept) / len(bias))
                weight, bias = weight.index_select(0, kept), bias.index_select(0, kept)
            x = self._product(x, weight, bias, relu=True)
        weight, bias = self.last
        found = self._product(x, weight if kept is None else weight.index_select(1, kept), bias).to(z.dtype)
        return (found if self.beside is None else torch.addmm(found, z, self.beside.T)), share

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
        return linear(x, weight.to(self.dtype), None if bias is None else bias.to(self.dtype), relu=relu)

    def values_and_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Reflectance (n, band) of latents (n, latent), and its derivative (n, band, latent)."""
        parts = [self._forward(part) for part in z.split(JACOBIAN_STATES)]
        values = torch.cat([values for values, _, _ in parts]).to(z.dtype)
        jacobian = torch.cat([pull(rows[None]) for _, rows, pull in parts]).to(z.dtype)
        if self.beside is None:
            return values, jacobian
        return torch.addmm(values, z, self.beside.T), jacobian.add_(self.beside)

    def values_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Reflectance (n, band), and what takes a slope in it (n, band) to one in the latents (n, latent)."""
        parts = [self._forward(part) for part in z.split(GRADIENT_STATES)]
        values = torch.cat([values for values, _, _ in parts]).to(z.dtype)

        def pullback(slope: Tensor) -> Tensor:
            slopes = slope.split(GRADIENT_STATES)
            pulled = [pull((one @ rows)[:, None]) for (_, rows, pull), one in zip(parts, slopes, strict=True)]
            found = torch.cat(pulled)[:, 0].to(z.dtype)
            return found if self.beside is None else torch.addmm(found, slope, self.beside)

        return values if self.beside is None else torch.addmm(values, z, self.beside.T), pullback

    def _forward(self, z: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Values, the last layer (band, unit) on the units that woke, and the way back from these to the latents."""
        x, (rows, bias_of_bands) = z.to(self.dtype), self.last
        layers: list[tuple[Tensor, Tensor]] = []  # weight (unit, input), whether each state wakes each unit
        kept: Tensor | None = None
        for weight, bias in self.hidden:
            if kept is not None:
                weight = weight.index_select(1, kept)
            x = self._product(x, weight, bias, relu=True)
            kept = _rounded_up(x.amax(0))
            x = x.index_select(1, kept)
            layers.append((weight.index_select(0, kept), (x > 0).to(x.dtype).unsqueeze(1)))
        assert kept is not None
        rows = rows.index_select(1, kept)

        def pull(slope: Tensor) -> Tensor:
            for weight, awake in reversed(layers):
                slope = slope.to(self.dtype) * awake
                slope = self._product(slope.flatten(0, 1), weight.T).unflatten(0, slope.shape[:2])
            return slope

        return self._product(x, rows, bias_of_bands), rows, pull


def decode_dates(
    network: KoopmanNetwork, carry: Tensor, center: Tensor, u: Tensor, *, precision: str = "float32"
) -> Tensor:
    """Standardised reflectance of trajectories on some dates, without derivatives.

    Parameters
    ----------
    network : KoopmanNetwork
    carry : Tensor, shape (n, unknown, latent)
        ``u @ carry[t] + center[t]`` is the latent on date t.
    center : Tensor, shape (n, latent)
    u : Tensor, shape (pixel, unknown)
    precision : {"float32", "bfloat16"}
        Of the decoder's products.

    Returns
    -------
    Tensor, shape (pixel, n, band)

    Examples
    --------
    >>> import torch
    >>> from s2koop.koopman.network import KoopmanAutoencoder
    >>> from s2koop.koopman.settings import KoopmanSettings
    >>> network = KoopmanAutoencoder(2, KoopmanSettings(hidden=(16,), latent=4)).requires_grad_(False)
    >>> powers = network.operator.powers(torch.tensor([0.0, 5.0, 10.0])).detach()
    >>> decode_dates(network, powers, torch.zeros(3, 4), torch.rand(7, 4)).shape
    torch.Size([7, 3, 2])
    """
    decoder = ReluDecoder.of(network, precision)
    out = u.new_empty(len(u), len(carry), network.bands)
    order = similar_order(u, BOX_ROWS)
    with torch.no_grad():
        for chosen in order.split(TILE_PIXELS):
            found = u.new_empty(len(chosen), len(carry), network.bands)
            share = 0.0 if precision == "float32" else 1.0  # products in bfloat16 cost less than choosing units does
            for start in range(0, len(carry), TILE_DATES):
                dates = slice(start, start + TILE_DATES)
                # one product for all dates, and rows in which dates of a pixel follow each other
                z = linear(u[chosen], carry[dates].transpose(1, 2).flatten(0, 1))
                z = z.unflatten(1, (-1, carry.shape[2])).add_(center[dates]).flatten(0, 1)
                if decoder is None:
                    values = network.observe(z)
                else:  # bounds that hardly drop a unit cost more than they gain: these pixels go without
                    values, share = decoder.values(z, prune=share <= WORTHWHILE)
                found[:, dates] = values.unflatten(0, (len(chosen), -1))
            out[chosen] = found
    return out


def observe(network: KoopmanNetwork, z: Tensor) -> Tensor:
    """As the method of the network, but faster for latents (n, latent) without gradient."""
    decoder = None if z.requires_grad or not len(z) else ReluDecoder.of(network)
    if decoder is None:
        return network.observe(z)
    with torch.no_grad():
        return torch.cat([decoder.values(part, prune=False)[0] for part in z.split(GRADIENT_STATES)])


def observe_with_jacobian(network: KoopmanNetwork, z: Tensor, *, precision: str = "float32") -> tuple[Tensor, Tensor]:
    """As the method of the network, but faster where its decoder is of ReLU layers and no gradient is recorded."""
    decoder = None if torch.is_grad_enabled() or not len(z) else ReluDecoder.of(network, precision)
    return network.observe_with_jacobian(z) if decoder is None else decoder.values_and_jacobian(z)


def observe_with_pullback(network: KoopmanNetwork, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Reflectance (n, band) of latents (n, latent), and what takes a slope in it to one in the latents.

    The weights of the network get no gradient: in an assimilation nobody needs them.
    """
    decoder = ReluDecoder.of(network)
    if decoder is not None and len(z):
        with torch.no_grad():
            return decoder.values_and_pullback(z)
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        values = network.observe(leaf)
    return values.detach(), lambda slope: torch.autograd.grad(values, leaf, slope)[0]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """``x @ weight.T + bias``, rectified or not; by oneDNN where it can.

    torch takes MKL for float32, which runs at half speed on processors of other makers than Intel.
    """
    if _onednn() and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and len(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight.contiguous(), bias, "relu" if relu else "none", [], "")
    found = nn.functional.linear(x, weight, bias)
    return found.relu_() if relu else found


@cache
def _onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _upper_bound(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What each unit (output,) reaches at most over the rows of `x`, bounded box by box."""
    whole = len(x) - len(x) % BOX_ROWS
    boxes = [rows for rows in (x[:whole].unflatten(0, (-1, BOX_ROWS)), x[None, whole:]) if rows.numel()]
    high, low = (torch.cat([f(rows, 1) for rows in boxes]).to(weight.dtype) for f in (torch.amax, torch.amin))
    middle, half = (high + low).mul_(0.5), (high - low).mul_(0.5)
    return linear(middle, weight, bias).add_(linear(half, weight.abs())).amax(0)


def _rounded_up(bound: Tensor) -> Tensor:
    """Indices of the units whose bound is positive, and of some more up to a round number."""
    kept = (bound > 0).nonzero()[:, 0]
    missing = -len(kept) % KEPT_MULTIPLE if len(kept) else 1
    return torch.cat([kept, (bound <= 0).nonzero()[:missing, 0]]) if missing else kept


def similar_order(u: Tensor, run: int) -> Tensor:
    """An order of the rows of `u` (n, d) in which runs of some `run` are alike: halves along the widest axis, again."""
    parts = [torch.arange(len(u), device=u.device)]
    while len(parts[0]) > run:
        parts = [half for part in parts for half in _halves(u, part)]
    return torch.cat(parts)


def _halves(u: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    rows = u[part]
    axis = int(rows.var(0, correction=0).argmax())
    order = part[rows[:, axis].argsort(stable=True)]
    return order[: -(-len(part) // 2)], order[-(-len(part) // 2) :]

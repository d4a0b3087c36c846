"""Fast decoding of many latents by a ReLU decoder: units that are silent for a whole tile of states are left out.

States of similar pixels on one date wake the same units. Which units of a layer can wake at all in a tile is bounded by
interval arithmetic over boxes, each of some similar pixels on one date of the layer's input; the others are zero there,
and dropping them changes nothing but rounding. A few pixels are like no others: their boxes are wide and would keep
units for a whole tile, so they are decoded apart, whole. Derivatives leave out the units that were seen to be silent.
Decoding in bfloat16 rounds the networks' products to eight bits; latents and results stay float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor, nn

from s2koop.koopman.network import KoopmanAutoencoder, KoopmanNetwork

PRECISIONS = ("float32", "bfloat16")
#: Pixels and dates of a tile: few enough that its rows stay near the cache, many enough that choosing units pays.
TILE_PIXELS, TILE_DATES = 256, 8
#: Share of a layer's units up to which bounding them gains more than it costs.
WORTHWHILE = 0.6
#: Similar pixels that share a box in the bounds.
BOX_PIXELS = 32
#: Boxes so many times as wide as usual are left out of tiles.
WIDE = 3.0
#: States whose derivatives are taken at once: their rows stay in the cache.
JACOBIAN_STATES = 512
GRADIENT_STATES = 2048
#: Counts of kept units are rounded up to a multiple of this: kernels are made anew for each size.
KEPT_MULTIPLE = 16


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
        if not isinstance(network, KoopmanAutoencoder) or len(network.decoder) < 3:
            return None
        *body, last = (layer for layer in network.decoder if isinstance(layer, nn.Linear))
        weight, bias = last.weight.detach()[: network.bands], last.bias.detach()[: network.bands]
        beside = None if network.linear is None else network.linear.weight.detach()[: network.bands]
        dtype = torch.bfloat16 if precision == "bfloat16" else weight.dtype
        return cls(tuple((layer.weight.detach(), layer.bias.detach()) for layer in body), (weight, bias), beside, dtype)

    @cached_property
    def bounding(self) -> tuple[Tensor, ...]:
        """Of each layer after the first: its weights, then their sizes (output, 2 x input)."""
        return tuple(torch.cat([weight, weight.abs()], 1).to(self.dtype) for weight, _ in self.hidden[1:])

    def values(self, z: Tensor) -> Tensor:
        """Reflectance (n, band) of latents (n, latent)."""
        x = z.to(self.dtype)
        for weight, bias in self.hidden:
            x = self._product(x, weight, bias, relu=True)
        return self._beside(z, self._product(x, *self.last))

    def values_of_similar(self, z: Tensor) -> tuple[Tensor, float]:
        """Reflectance (pixel, date, band) of latents (pixel, date, latent), and the share of units that was kept.

        The first layer, which has few inputs, is computed whole. Of later ones, units that cannot wake are left out;
        neighbouring pixels are alike, so that few can.
        """
        rows, (weight, bias) = z.flatten(0, 1), self.hidden[0]
        x, kept, share = self._product(rows.to(self.dtype), weight, bias, relu=True), None, 1.0
        for (weight, bias), bounding in zip(self.hidden[1:], self.bounding, strict=True):
            if kept is not None:
                weight = weight.index_select(1, kept)
                bounding = bounding.index_select(1, torch.cat([kept, kept + bounding.shape[1] // 2]))
            kept = _rounded_up(_upper_bound(x.unflatten(0, z.shape[:2]), bounding, bias.to(self.dtype)))
            share = min(share, len(kept) / len(bias))
            x = self._product(x, weight.index_select(0, kept), bias.index_select(0, kept), relu=True)
        weight, bias = self.last
        found = self._product(x, weight if kept is None else weight.index_select(1, kept), bias)
        return self._beside(rows, found).unflatten(0, z.shape[:2]), share

    def _beside(self, z: Tensor, found: Tensor) -> Tensor:
        """What the layers found, with the linear map beside them, in the dtype of the latents."""
        found = found.to(z.dtype)
        return found if self.beside is None else torch.addmm(found, z, self.beside.T)

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
    with torch.no_grad():
        for similar, order in zip((True, False), _similar_and_others(u), strict=True):
            for chosen in order.split(TILE_PIXELS) if len(order) else ():
                found = _decode_tile(network, decoder, carry, center, u[chosen], similar)
                out.index_copy_(0, chosen, found)
    return out


def _decode_tile(
    network: KoopmanNetwork, decoder: ReluDecoder | None, carry: Tensor, center: Tensor, u: Tensor, similar: bool
) -> Tensor:
    """As `decode_dates`, for pixels of which neighbours are `similar`, or not."""
    out = u.new_empty(len(u), len(carry), network.bands)
    share = 0.0
    for start in range(0, len(carry), TILE_DATES):
        dates = slice(start, start + TILE_DATES)
        z = linear(u, carry[dates].transpose(1, 2).flatten(0, 1), center[dates].flatten())  # one product for all dates
        z = z.unflatten(1, (-1, carry.shape[2]))
        if decoder is None:
            out[:, dates] = network.observe(z)
        elif similar and share <= WORTHWHILE:  # bounds that hardly drop a unit cost more than they gain
            out[:, dates], share = decoder.values_of_similar(z)
        else:
            out[:, dates] = decoder.values(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    return out


def observe(network: KoopmanNetwork, z: Tensor) -> Tensor:
    """As the method of the network, but faster for latents (n, latent) without gradient."""
    decoder = None if z.requires_grad or not len(z) else ReluDecoder.of(network)
    if decoder is None:
        return network.observe(z)
    with torch.no_grad():
        return torch.cat([decoder.values(part) for part in z.split(GRADIENT_STATES)])


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
    if x.device.type == "cpu" and len(x) and _onednn(x.dtype):
        return torch.ops.mkldnn._linear_pointwise(x, weight.contiguous(), bias, "relu" if relu else "none", [], "")
    found = nn.functional.linear(x, weight, bias)
    return found.relu_() if relu else found


@cache
def _onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and has a product of this dtype: of bfloat16, only on processors with AVX-512."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _upper_bound(x: Tensor, bounding: Tensor, bias: Tensor) -> Tensor:
    """What each unit (output,) reaches at most over `x` (pixel, date, input), bounded box by box."""
    whole = len(x) - len(x) % BOX_PIXELS
    boxes = [part for part in (x[:whole].unflatten(0, (-1, BOX_PIXELS)), x[None, whole:]) if part.numel()]
    # maxima over the second of three dimensions: over that of four, they take twice as long
    high, low = (
        torch.cat([f(part.flatten(2), 1) for part in boxes]).view(-1, x.shape[2]) for f in (torch.amax, torch.amin)
    )
    return linear(torch.cat([high + low, high - low], 1).mul_(0.5), bounding, bias).amax(0)


def _rounded_up(bound: Tensor) -> Tensor:
    """Indices of the units whose bound is positive, and of some more up to a round number."""
    kept = (bound > 0).nonzero()[:, 0]
    missing = -len(kept) % KEPT_MULTIPLE if len(kept) else 1
    return torch.cat([kept, (bound <= 0).nonzero()[:missing, 0]]) if missing else kept


def _similar_and_others(u: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of `u` (n, d) in an order in which each `BOX_PIXELS` are alike, and those that are like no others."""
    order = similar_order(u, BOX_PIXELS)
    whole = len(u) - len(u) % BOX_PIXELS
    boxes = order[:whole].view(-1, BOX_PIXELS)
    if not len(boxes):
        return order[:0], order
    rows = u[boxes]
    width = (rows.amax(1) - rows.amin(1)).norm(dim=1)
    usual = width <= WIDE * width.median()
    return boxes[usual].flatten(), torch.cat([boxes[~usual].flatten(), order[whole:]])


def similar_order(u: Tensor, run: int) -> Tensor:
    """An order of the rows of `u` (n, d) in which each `run` are alike: halves along the widest axis, again."""
    open_, runs = [torch.arange(len(u), device=u.device)], []
    while open_:
        part = open_.pop()
        if len(part) <= run:
            runs.append(part)
            continue
        rows = u[part]
        axis = int(rows.var(0, correction=0).argmax())
        part = part[rows[:, axis].argsort(stable=True)]
        half = run * -(-len(part) // (2 * run))  # whole runs, of which only the last may be short
        open_ += [part[half:], part[:half]]
    return torch.cat(runs)

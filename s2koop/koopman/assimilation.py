"""Variational assimilation with the Koopman prior: strong constraint, Gaussian background, per-pixel masks.

For each pixel the unknown is one latent at the start of the window, written ``z0 = mean + u @ factor.T`` so that
the background of ``u`` is a standard normal. The cost

    J(u) = 1/2 |u|^2 + 1/2 sum over observed (t, b) of rho((observe(z0 K^t)_b - y_tb) / noise_b)

is a least-squares problem of `latent` unknowns (Frion et al. 2024, section on data assimilation, with a background
in the place of early stopping). ``rho`` is the square, or Huber's function against haze and missed cloud; its
weights are renewed at every iteration. `s2koop.koopman.solvers` minimises it for all pixels of a tile at once. The
Gauss-Newton Hessian at the minimum gives the posterior covariance.
Only pairs of pixel and date that were observed are ever decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2koop.koopman import decode
from s2koop.koopman.losses import squares
from s2koop.koopman.network import KoopmanNetwork

#: States decoded at once with their derivatives; bounds the memory of a tile.
STATES_AT_ONCE = 16_384


@dataclass(frozen=True)
class Background:
    """Gaussian prior of the latent at the start of a window.

    Attributes
    ----------
    mean : Tensor, shape (latent,)
    factor : Tensor, shape (latent, latent)
        Lower Cholesky factor of the covariance.
    """

    mean: Tensor
    factor: Tensor

    def latent(self, u: Tensor) -> Tensor:
        """Latents of whitened coordinates (..., latent)."""
        return self.mean + u @ self.factor.T


@dataclass(frozen=True)
class Analysis:
    """The minimum of the cost, pixel by pixel.

    Attributes
    ----------
    u : Tensor, shape (pixel, latent)
        Whitened latent at the start of the window.
    precision : Tensor, shape (pixel, latent, latent)
        Gauss-Newton Hessian in `u`: the inverse of the posterior covariance.
    cost : Tensor, shape (pixel,)
    misfit : Tensor, shape (pixel,)
        Mean squared standardised residual of the observations; near one where the noise is right.
    iterations : Tensor of int16, shape (pixel,)
    trace : Tensor, shape (iteration,), optional
        Sum of the costs of all pixels before each iteration, where it was asked for.
    """

    u: Tensor
    precision: Tensor
    cost: Tensor
    misfit: Tensor
    iterations: Tensor
    trace: Tensor | None = None


@dataclass(frozen=True)
class Prior:
    """A Gaussian prior of each pixel in whitened coordinates, in the place of a standard normal.

    Attributes
    ----------
    mean : Tensor, shape (pixel, latent)
    precision : Tensor, shape (pixel, latent, latent)
    """

    mean: Tensor
    precision: Tensor

    def __getitem__(self, pixels: Tensor) -> Prior:
        """The same for some pixels."""
        return Prior(self.mean[pixels], self.precision[pixels])


class Window:
    """The observations of a tile, the prior, and what is computed once: powers of K in whitened coordinates.

    Parameters
    ----------
    network : KoopmanNetwork
    values : Tensor, shape (pixel, time, band)
        Standardised reflectance, NaN where there is no observation.
    days : Tensor, shape (time,)
        Days since the start of the window, where the unknown latent lives.
    background : Background
    noise : Tensor, shape (band,)
        Standard deviation of an observation, standardised.
    robust : float, optional
        Residuals beyond so many of these count linearly; None for least squares.
    background_weight : float
        What the background counts in the cost; zero for the papers' cost, which has none.
    start : Tensor, shape (pixel, latent), optional
        Where the minimisation starts; the mean of the background, or of the prior, by default.
    prior : Prior, optional
        What is known of each pixel beforehand; a standard normal by default.
    """

    def __init__(
        self,
        network: KoopmanNetwork,
        values: Tensor,
        days: Tensor,
        background: Background,
        noise: Tensor,
        robust: float | None = None,
        *,
        background_weight: float = 1.0,
        start: Tensor | None = None,
        prior: Prior | None = None,
    ) -> None:
        mask = torch.isfinite(values)
        dates = mask.any(dim=2).any(dim=0)
        self.network, self.background, self.robust = network, background, robust
        self.background_weight = background_weight
        self.mask = mask[:, dates]
        self.seen = self.mask.any(dim=2)  # (pixel, time)
        self.weight = self.mask / noise  # (pixel, time, band)
        self.values = torch.where(self.mask, values[:, dates], 0.0)
        self.dates, self.days = dates, days[dates]  # which dates were seen at all
        with torch.no_grad():
            self.powers = network.operator.powers(days[dates])
            self.carry = background.factor.T @ self.powers  # u @ carry[t] moves the latent of date t
            self.center = background.mean @ self.powers
        self.prior = prior
        if start is None:
            start = values.new_zeros(len(values), self.carry.shape[1]) if prior is None else prior.mean
        self.start = start

    def __len__(self) -> int:
        """Number of pixels."""
        return len(self.values)

    def select(self, pixels: Tensor) -> Window:
        """The same window for fewer pixels."""
        other = object.__new__(Window)
        other.__dict__.update(self.__dict__)
        for name in ("mask", "seen", "weight", "values", "start"):
            setattr(other, name, getattr(self, name)[pixels])
        other.prior = None if self.prior is None else self.prior[pixels]
        return other

    def prior_cost(self, u: Tensor) -> Tensor:
        """What the background, or the prior, counts in the cost (pixel,)."""
        apart = u if self.prior is None else u - self.prior.mean
        return 0.5 * (self.prior_gradient(u) * apart).sum(1)

    def prior_gradient(self, u: Tensor) -> Tensor:
        """Its gradient (pixel, latent)."""
        if self.prior is None:
            return self.background_weight * u
        return self.background_weight * torch.einsum("pij,pj->pi", self.prior.precision, u - self.prior.mean)

    def prior_precision(self) -> Tensor:
        """Its Hessian where it counts in full, (latent, latent) or (pixel, latent, latent)."""
        if self.prior is not None:
            return self.prior.precision
        return torch.eye(self.carry.shape[1], dtype=self.carry.dtype, device=self.carry.device)

    def residual(self, u: Tensor) -> Tensor:
        """Standardised residuals (pixel, time, band), zero where masked."""
        residual = torch.zeros_like(self.values)
        for part in _date_slices(*self.values.shape[:2]):
            seen = self.seen[:, part]
            values = decode.observe(self.network, _latents(self.carry[part], self.center[part], u)[seen])
            residual[:, part][seen] = (values - self.values[:, part][seen]) * self.weight[:, part][seen]
        return residual

    def observed_rows(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Reflectance (pixel, time, band) and its derivative in `u` (pixel, time, band, latent); zero where unseen."""
        parts = [
            observed_rows(self.network, self.carry[part], self.center[part], u, self.seen[:, part])
            for part in _date_slices(*self.values.shape[:2]) or [slice(0)]  # a window may have no clear date
        ]
        return torch.cat([values for values, _ in parts], 1), torch.cat([rows for _, rows in parts], 1)

    def trajectory(self, u: Tensor) -> Tensor:
        """Reflectance (pixel, time, band); zero where unseen."""
        values = torch.zeros_like(self.values)
        for part in _date_slices(*self.values.shape[:2]):
            seen = self.seen[:, part]
            z = _latents(self.carry[part], self.center[part], u)[seen]
            values[:, part][seen] = decode.observe(self.network, z)
        return values

    def cost(self, residual: Tensor, u: Tensor) -> Tensor:
        """J(u) of each pixel."""
        return 0.5 * squares(residual, self.robust).flatten(1).sum(1) + self.prior_cost(u)

    def cost_and_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """J(u) of each pixel, and its gradient (pixel, latent): a fifth of the work of `normal_equations`."""
        cost, gradient = self.prior_cost(u), self.prior_gradient(u)
        for part in _date_slices(*self.values.shape[:2]):
            seen = self.seen[:, part]
            z = _latents(self.carry[part], self.center[part], u)
            slope = torch.zeros_like(z)
            values, pullback = decode.observe_with_pullback(self.network, z[seen])
            weight = self.weight[:, part][seen]
            residual = (values - self.values[:, part][seen]) * weight
            slope[seen] = pullback(residual * self._trust(residual).square() * weight)
            gradient += torch.einsum("ptj,tij->pi", slope, self.carry[part])
            cost = cost.index_add(0, seen.nonzero()[:, 0], 0.5 * squares(residual, self.robust).sum(1))
        return cost, gradient

    def normal_equations(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residual (pixel, time, band), gradient (pixel, latent) and Gauss-Newton Hessian (pixel, latent, latent)."""
        pixels, dates = self.values.shape[:2]
        residual = torch.empty_like(self.values)
        hessian = (self.background_weight * self.prior_precision()).expand(pixels, -1, -1).clone()
        gradient = self.prior_gradient(u)
        for part in _date_slices(pixels, dates):
            values, rows = observed_rows(self.network, self.carry[part], self.center[part], u, self.seen[:, part])
            residual[:, part] = (values - self.values[:, part]) * self.weight[:, part]
            trust = self._trust(residual[:, part])  # square roots of the weights that rho gives
            rows = (rows * (self.weight[:, part] * trust).unsqueeze(-1)).flatten(1, 2)  # (pixel, time * band, latent)
            gradient += torch.einsum("pk,pkd->pd", (residual[:, part] * trust).flatten(1), rows)
            hessian += rows.transpose(1, 2) @ rows
        return residual, gradient, hessian

    def analysis(self, u: Tensor, iterations: Tensor) -> Analysis:
        """What is known at `u` (pixel, latent), which a minimiser found in so many `iterations` (pixel,).

        The precision holds the background in full, whatever it counts in the cost: a flat prior has no covariance.
        """
        residual, _, hessian = self.normal_equations(u)
        missing = (1 - self.background_weight) * self.prior_precision()
        misfit = residual.flatten(1).square().sum(1) / self.mask.flatten(1).sum(1).clamp(min=1)
        return Analysis(u, hessian + missing, self.cost(residual, u), misfit, iterations)

    def _trust(self, residual: Tensor) -> Tensor:
        if self.robust is None:
            return torch.ones_like(residual)
        return (self.robust / residual.abs().clamp(min=self.robust)).sqrt()


def observed_rows(
    network: KoopmanNetwork,
    carry: Tensor,
    center: Tensor,
    u: Tensor,
    wanted: Tensor | None = None,
    *,
    precision: str = "float32",
) -> tuple[Tensor, Tensor]:
    """Reflectance (pixel, time, band) and its derivative in `u` (pixel, time, band, latent) on some dates.

    Pairs that are not `wanted` (pixel, time) are not decoded, and zero.
    """
    z = _latents(carry, center, u)
    wanted = z.new_ones(z.shape[:2], dtype=torch.bool) if wanted is None else wanted
    values = z.new_zeros(*z.shape[:2], network.bands)
    jacobian = z.new_zeros(*z.shape[:2], network.bands, z.shape[2])
    values[wanted], jacobian[wanted] = decode.observe_with_jacobian(network, z[wanted], precision=precision)
    return values, torch.einsum("tij,ptbj->ptbi", carry, jacobian)


def evaluate(
    network: KoopmanNetwork, background: Background, analysis: Analysis, days: Tensor, *, precision: str = "float32"
) -> tuple[Tensor, Tensor]:
    """Mean and state variance of the analysed trajectory on any dates.

    Parameters
    ----------
    days : Tensor, shape (n,)
        Days since the start of the window.
    precision : {"float32", "bfloat16"}
        Of the decoder's products.

    Returns
    -------
    mean, variance : Tensor, shape (pixel, n, band)
        Standardised reflectance, and the variance that the posterior of the latent leaves on it
        (first order: ``J H^-1 J^T``).
    """
    powers = network.operator.powers(days)
    carry, center = background.factor.T @ powers, background.mean @ powers
    factor = torch.linalg.cholesky(analysis.precision)
    pixels = len(analysis.u)
    mean = analysis.u.new_empty(pixels, len(days), network.bands)
    variance = torch.empty_like(mean)
    for part in _date_slices(pixels, len(days)):
        values, rows = observed_rows(network, carry[part], center[part], analysis.u, precision=precision)
        flat = rows.flatten(1, 2).transpose(1, 2)  # (pixel, latent, time * band)
        spread = torch.linalg.solve_triangular(factor, flat, upper=False)
        mean[:, part] = values
        variance[:, part] = spread.square().sum(1).unflatten(1, values.shape[1:])
    return mean, variance


def _latents(carry: Tensor, center: Tensor, u: Tensor) -> Tensor:
    """Latents (pixel, time, latent) on some dates of whitened ones at the start."""
    return torch.einsum("pi,tij->ptj", u, carry) + center


def _date_slices(pixels: int, dates: int) -> list[slice]:
    """Runs of dates short enough that pixels times dates stays within `STATES_AT_ONCE`."""
    size = max(1, STATES_AT_ONCE // max(pixels, 1))
    return [slice(i, min(i + size, dates)) for i in range(0, dates, size)]

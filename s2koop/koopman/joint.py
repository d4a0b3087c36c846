"""Latent and anomalies of a pixel as one Gaussian that moves from date to date: an extended Kalman filter.

What a window leaves of a pixel is the joint posterior of its whitened latent `u` (which lives at the start of the
window and does not move) and of its anomalies `x` on the last date (`s2koop.koopman.model_error`). Given that, a new
date needs no old one: the anomalies decay, the decoder is linearised at the latent, and the bands of the date are
absorbed one after the other (Sarkka and Svensson 2023, Bayesian Filtering and Smoothing, algorithm 7.4). With a linear
decoder this says what assimilating all dates at once would say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2koop.koopman.assimilation import Background, observed_rows
from s2koop.koopman.model_error import ModelError
from s2koop.koopman.network import KoopmanNetwork
from s2koop.koopman.weak import WeakAnalysis


@dataclass(frozen=True)
class Joint:
    """A Gaussian of latents and anomalies for each pixel of a tile.

    Attributes
    ----------
    mean : Tensor, shape (pixel, latent + process)
    covariance : Tensor, shape (pixel, latent + process, latent + process)
    usual : Tensor, shape (pixel, process)
        Variance of each anomaly of which nothing is known: one, but for departures.
    """

    mean: Tensor
    covariance: Tensor
    usual: Tensor

    @classmethod
    def prior(cls, latent: int, usual: Tensor) -> Joint:
        """What is known of pixels that were never seen: latents are standard normal, anomalies have their `usual`."""
        variance = torch.cat([usual.new_ones(len(usual), latent), usual], 1)
        return cls(torch.zeros_like(variance), torch.diag_embed(variance), usual)

    @classmethod
    def posterior(cls, analysis: WeakAnalysis, day: Tensor, usual: Tensor) -> Joint:
        """What a window says of its latent and of the anomalies on a day (1,), from its dates up to it.

        The filter of the anomalies gives their mean for the analysed latent and its derivatives in the latent, so that
        the joint covariance follows from that of the latent alone. Processes that it lacks are zero, as their `usual`
        (pixel, process) is.
        """
        found, left = analysis.departed.at(analysis.rows, day, inclusive=True)
        lacking = usual.shape[1] - found.shape[2]
        found = torch.nn.functional.pad(found[:, 0], (0, 0, 0, lacking))
        left = torch.nn.functional.pad(left[0], (0, lacking, 0, lacking))
        x, slope = found[..., 0], found[..., 1:]
        latent = torch.cholesky_inverse(torch.linalg.cholesky(analysis.precision))
        across = slope @ latent
        above = torch.cat([latent, across.transpose(1, 2)], 2)
        below = torch.cat([across, left + across @ slope.transpose(1, 2)], 2)
        return cls(torch.cat([analysis.u, x], 1), torch.cat([above, below], 1), usual)

    @property
    def u(self) -> Tensor:
        """Means of the latents (pixel, latent)."""
        return self.mean[:, : self.mean.shape[1] - self.usual.shape[1]]

    @property
    def x(self) -> Tensor:
        """Means of the anomalies (pixel, process)."""
        return self.mean[:, self.mean.shape[1] - self.usual.shape[1] :]

    def __getitem__(self, pixels: Tensor) -> Joint:
        """The same for some pixels."""
        return Joint(self.mean[pixels], self.covariance[pixels], self.usual[pixels])

    def decayed(self, error: ModelError, days: Tensor) -> Joint:
        """After some more days (1,): latents stay, anomalies fade and are renewed."""
        kept, latent = error.kept(days)[0], self.u.shape[1]
        share = torch.cat([kept.new_ones(latent), kept])
        renewed = torch.nn.functional.pad((1 - kept.square()) * self.usual, (latent, 0))
        covariance = self.covariance * share[:, None] * share + torch.diag_embed(renewed)
        return Joint(self.mean * share, covariance, self.usual)

    def absorbed(self, innovation: Tensor, rows: Tensor, noise: Tensor, seen: Tensor, limit: float | None) -> Joint:
        """After the observations of one date.

        Parameters
        ----------
        innovation : Tensor, shape (pixel, band)
            Observed less expected.
        rows : Tensor, shape (pixel, band, latent + process)
            Derivatives of what is expected.
        noise : Tensor, shape (band,)
            Standard deviation.
        seen : Tensor of bool, shape (pixel, band)
        limit : float, optional
            Innovations of more standard deviations lose weight, as in `s2koop.koopman.model_error.distrusted`.
        """
        change, covariance = torch.zeros_like(self.mean), self.covariance
        for band in range(innovation.shape[1]):
            row, there = rows[:, band], seen[:, band]
            along = torch.einsum("pij,pj->pi", covariance, row)
            usual = (along * row).sum(1) + noise[band].square()
            left = torch.where(there, innovation[:, band] - (row * change).sum(1), 0.0)
            if limit is not None:
                usual = usual * (left.square() / (usual * limit**2)).clamp(min=1.0)
            gain = along * (there / usual)[:, None]
            change = change + gain * left[:, None]
            covariance = covariance - gain[:, :, None] * along[:, None, :]
        return Joint(self.mean + change, 0.5 * (covariance + covariance.transpose(1, 2)), self.usual)


@dataclass(frozen=True)
class Lasting:
    """Which entries of a `Joint` outlive a date, and how they are stored: a mean and half of a covariance.

    Attributes
    ----------
    latent : int
    error : ModelError
    departing : int
        How many of its last processes are departures, which have a size of their own in each pixel.
    """

    latent: int
    error: ModelError
    departing: int = 0

    @property
    def decay_days(self) -> Tensor:
        """Of the anomalies that are stored."""
        return self.error.decay_days[self.error.decay_days > 0]

    @property
    def size(self) -> int:
        """Entries of the mean."""
        return self.latent + len(self.decay_days)

    @property
    def pairs(self) -> int:
        """Entries of the covariance."""
        return self.size * (self.size + 1) // 2

    def pack(self, joint: Joint) -> tuple[Tensor, Tensor]:
        """Mean (pixel, size) and the rows of the lower triangle of the covariance (pixel, pair)."""
        kept = self._kept()
        row, column = torch.tril_indices(self.size, self.size)
        return joint.mean[:, kept], joint.covariance[:, kept[row], kept[column]]

    def usual(self, size: Tensor) -> Tensor:
        """Variance (pixel, process) of anomalies of which nothing is known, from the size (pixel,) of departures."""
        ones = size.new_ones(len(size), len(self.error.decay_days) - self.departing)
        return torch.cat([ones, size.square()[:, None].expand(-1, self.departing)], 1)

    def unpack(self, mean: Tensor, covariance: Tensor, size: Tensor) -> Joint:
        """The inverse of `pack`, with the size (pixel,) of departures; what does not last is standard normal again."""
        kept = self._kept()
        joint = Joint.prior(self.latent, self.usual(size))
        row, column = torch.tril_indices(self.size, self.size)
        joint.mean[:, kept] = mean
        joint.covariance[:, kept[row], kept[column]] = covariance
        joint.covariance[:, kept[column], kept[row]] = covariance
        return joint

    def _kept(self) -> Tensor:
        lasting = torch.nonzero(self.error.decay_days > 0).flatten()
        return torch.cat([torch.arange(self.latent, device=lasting.device), self.latent + lasting])


class Observer:
    """What a `Joint` expects on some dates, and how that depends on it.

    Parameters
    ----------
    network : KoopmanNetwork
    background : Background
    days : Tensor, shape (time,)
        Days since the start of the window.
    """

    def __init__(self, network: KoopmanNetwork, background: Background, days: Tensor) -> None:
        self.network, self.days = network, days
        powers = network.operator.powers(days)
        self.carry, self.center = background.factor.T @ powers, background.mean @ powers

    def expected(
        self, joint: Joint, date: int, loadings: Tensor, wanted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Standardised reflectance (pixel, band) and its derivatives (pixel, band, latent + process) on one date.

        Parameters
        ----------
        joint : Joint
            On that date.
        date : int
            Its number.
        loadings : Tensor, shape (process, band)
        wanted : Tensor of bool, shape (pixel,), optional
            The others are zero.
        """
        part = slice(date, date + 1)
        only = None if wanted is None else wanted[:, None]
        values, slope = observed_rows(self.network, self.carry[part], self.center[part], joint.u, only)
        rows = torch.cat([slope[:, 0], loadings.T.expand(len(joint.mean), -1, -1)], 2)
        return values[:, 0] + joint.x @ loadings, rows

"""Latent and anomalies of a pixel as one Gaussian that moves from date to date: an extended Kalman filter.

What a window leaves of a pixel is the joint posterior of its whitened latent `u` (which lives at the start of the
window and does not move) and of its anomalies `x` on the last date (`s2koop.koopman.model_error`). Given that, a new
date needs no old one: the anomalies decay, the decoder is linearised at the latent, and the bands of the date are
absorbed one after the other (Sarkka and Svensson 2023, Bayesian Filtering and Smoothing, algorithm 7.4). With a linear
decoder this says what assimilating all dates at once would say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
    processes : int
    """

    mean: Tensor
    covariance: Tensor
    processes: int

    @classmethod
    def prior(cls, pixels: int, latent: int, processes: int, like: Tensor) -> Joint:
        """What is known of pixels that were never seen: a standard normal."""
        size = latent + processes
        eye = torch.eye(size, dtype=like.dtype, device=like.device)
        return cls(like.new_zeros(pixels, size), eye.repeat(pixels, 1, 1), processes)

    @classmethod
    def posterior(cls, analysis: WeakAnalysis, day: Tensor) -> Joint:
        """What a window says of its latent and of the anomalies on a day (1,), from its dates up to it.

        The filter of the anomalies gives their mean for the analysed latent and its derivatives in the latent, so that
        the joint covariance follows from that of the latent alone.
        """
        found, left = analysis.anomalies.at(analysis.rows, day, inclusive=True)
        x, slope = found[:, 0, :, 0], found[:, 0, :, 1:]
        latent = torch.cholesky_inverse(torch.linalg.cholesky(analysis.precision))
        across = slope @ latent
        above = torch.cat([latent, across.transpose(1, 2)], 2)
        below = torch.cat([across, left[0] + across @ slope.transpose(1, 2)], 2)
        return cls(torch.cat([analysis.u, x], 1), torch.cat([above, below], 1), x.shape[1])

    @property
    def u(self) -> Tensor:
        """Means of the latents (pixel, latent)."""
        return self.mean[:, : self.mean.shape[1] - self.processes]

    @property
    def x(self) -> Tensor:
        """Means of the anomalies (pixel, process)."""
        return self.mean[:, self.mean.shape[1] - self.processes :]

    def __getitem__(self, pixels: Tensor) -> Joint:
        """The same for some pixels."""
        return Joint(self.mean[pixels], self.covariance[pixels], self.processes)

    def where(self, pixels: Tensor, other: Joint) -> Joint:
        """Another one for some pixels (pixel,) of a mask."""
        return Joint(
            torch.where(pixels[:, None], other.mean, self.mean),
            torch.where(pixels[:, None, None], other.covariance, self.covariance),
            self.processes,
        )

    def decayed(self, error: ModelError, days: Tensor) -> Joint:
        """After some more days (1,): latents stay, anomalies fade and are renewed."""
        share = torch.cat([self.mean.new_ones(self.u.shape[1]), error.kept(days)[0]])
        renewed = torch.diag(1 - share.square())
        return Joint(self.mean * share, self.covariance * share[:, None] * share + renewed, self.processes)

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
        return Joint(self.mean + change, 0.5 * (covariance + covariance.transpose(1, 2)), self.processes)


@dataclass(frozen=True)
class Lasting:
    """Which entries of a `Joint` outlive a date, and how they are stored: a mean and half of a covariance.

    Attributes
    ----------
    latent : int
    error : ModelError
    """

    latent: int
    error: ModelError

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

    def unpack(self, mean: Tensor, covariance: Tensor) -> Joint:
        """The inverse of `pack`; what does not last is a standard normal again."""
        kept, processes = self._kept(), len(self.error.decay_days)
        joint = Joint.prior(len(mean), self.latent, processes, mean)
        row, column = torch.tril_indices(self.size, self.size)
        joint.mean[:, kept] = mean
        joint.covariance[:, kept[row], kept[column]] = covariance
        joint.covariance[:, kept[column], kept[row]] = covariance
        return joint

    def blank(self) -> npt.NDArray[np.float32]:
        """The covariance (pair,) that is stored for a pixel that was never seen, with a mean of zeros."""
        prior = Joint.prior(1, self.latent, len(self.error.decay_days), self.error.loadings)
        return self.pack(prior)[1][0].cpu().numpy()

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

"""Model error that remembers: stationary anomalies around a trajectory, filtered and smoothed in closed form.

A trajectory of the Koopman prior repeats its seasons; a real pixel also has a late spring, a dry month, a cut. What
the trajectory leaves is modelled as a sum of Ornstein-Uhlenbeck processes shared by the bands through loadings,

    eta(t) = x(t) @ loadings,    dx = -x / decay dt + sqrt(2 / decay) dW,    x ~ N(0, 1),

plus white noise of each band. A process with a decay of zero days is noise that the bands of one date share. In the
language of the prior these are modes of the operator that decay and are forced; in that of variational
assimilation they are the weak constraint, with the model error integrated out (Tremolet 2006; Sarkka and Solin 2019,
chapter 12).

All bands of a date are absorbed at once, so the cost is linear in dates. The smoother goes back through what the filter
kept (Bierman 1973; De Jong 1989) and inverts nothing, so that it also serves days between the dates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModelError:
    """Covariance of what a trajectory leaves, in standardised units.

    Attributes
    ----------
    decay_days : Tensor, shape (process,)
        Days in which the correlation of a process falls to 1/e; 0 for one without memory.
    loadings : Tensor, shape (process, band)
        What a unit of each process adds to each band.
    noise : Tensor, shape (band,)
        Standard deviation of the white noise of an observation.
    """

    decay_days: Tensor
    loadings: Tensor
    noise: Tensor

    def to(self, device: str) -> ModelError:
        """The same on another device."""
        return ModelError(self.decay_days.to(device), self.loadings.to(device), self.noise.to(device))

    def __add__(self, other: ModelError) -> ModelError:
        """Both errors, independent of each other."""
        return ModelError(
            torch.cat([self.decay_days, other.decay_days]),
            torch.cat([self.loadings, other.loadings]),
            torch.hypot(self.noise, other.noise),
        )

    def kept(self, days: Tensor) -> Tensor:
        """The share of each process (n, process) that is left after so many `days` (n,)."""
        decay = self.decay_days.clamp(min=1e-6)
        return torch.exp(-days.abs()[:, None] / decay)

    def lasting(self) -> Tensor:
        """The loadings of what belongs to the surface: zero for processes without memory."""
        return self.loadings * (self.decay_days > 0)[:, None]

    def passing_variance(self) -> Tensor:
        """Variance of each band (band,) that one date does not share with another: what an observation adds."""
        return (self.loadings - self.lasting()).square().sum(0) + self.noise.square()


class AnomalyFilter:
    """The Kalman filter of a tile: gains depend on masks and noise alone, and serve any number of columns.

    Parameters
    ----------
    error : ModelError
    days : Tensor, shape (time,)
        Sorted; dates may repeat.
    mask : Tensor of bool, shape (pixel, time, band)
    distrust : Tensor, shape (pixel, time, band), optional
        Factors on the variance of the noise, at least one: what a robust pass found to be no usual observation.
    judged : Tensor, shape (pixel, time, band), optional
        Residuals to find such factors from instead, where they exceed `limit` standard deviations.
    limit : float
    size : Tensor, shape (pixel, process), optional
        Standard deviation that each process has in each pixel; one by default.

    Attributes
    ----------
    distrust : Tensor, shape (pixel, time, band)
        As given, or as found.
    """

    def __init__(
        self,
        error: ModelError,
        days: Tensor,
        mask: Tensor,
        distrust: Tensor | None = None,
        *,
        judged: Tensor | None = None,
        limit: float = math.inf,
        size: Tensor | None = None,
    ) -> None:
        self.error, self.days, self.mask = error, days, mask
        pixels, dates, bands = mask.shape
        processes = len(error.decay_days)
        loadings = error.loadings
        self.kept = error.kept(torch.diff(days, prepend=days[:1]))
        self.distrust = loadings.new_ones(mask.shape) if distrust is None else distrust.clone()
        # of each date: what makes innovations independent (pixel, band, band), what these move (pixel, band, process)
        self._whitener = loadings.new_empty(dates, pixels, bands, bands)
        self._gain = loadings.new_empty(dates, pixels, bands, processes)
        self._covariance = loadings.new_empty(dates, pixels, processes, processes)
        self._usual = (loadings.new_ones(processes) if size is None else size.square()).expand(pixels, processes)
        covariance, state = torch.diag_embed(self._usual), loadings.new_zeros(pixels, processes, 1)
        for date in range(dates):
            covariance, state = _decayed(covariance, self.kept[date], self._usual), state * self.kept[date][:, None]
            seen = mask[:, date]
            along = (covariance @ loadings) * seen[:, None]
            between = (loadings.T @ along) * seen[:, :, None]
            innovation = None
            if judged is not None:
                innovation = torch.where(seen, judged[:, date] - (loadings.T @ state)[..., 0], 0.0)
                self.distrust[:, date] = _distrust(between, innovation, error.noise, limit)
            total = between + torch.diag_embed(error.noise.square() * self.distrust[:, date])
            whitener = _inverse_factor(total) * seen[:, :, None]
            gain = whitener @ along.transpose(1, 2)
            covariance = torch.baddbmm(covariance, gain.transpose(1, 2), gain, alpha=-1)
            if innovation is not None:
                state = torch.baddbmm(state, gain.transpose(1, 2), whitener @ innovation[..., None])
            self._whitener[date], self._gain[date], self._covariance[date] = whitener, gain, covariance

    def select(self, pixels: Tensor) -> AnomalyFilter:
        """The same filter for fewer pixels."""
        other = object.__new__(AnomalyFilter)
        other.__dict__.update(self.__dict__)
        other.mask, other.distrust, other._usual = self.mask[pixels], self.distrust[pixels], self._usual[pixels]
        for name in ("_whitener", "_gain", "_covariance"):
            setattr(other, name, getattr(self, name)[:, pixels])
        return other

    def log_precision(self) -> Tensor:
        """Half the logarithm of the determinant (pixel,) of the precision of all observations."""
        diagonal = self._whitener.diagonal(dim1=-2, dim2=-1).transpose(0, 1)
        return torch.where(self.mask, diagonal, 1.0).log().flatten(1).sum(1)

    def whiten(self, rows: Tensor) -> Tensor:
        """Columns (pixel, time, band, column) made independent with unit variance; zero where masked.

        The same linear map for every column, so that a residual and its derivatives go through together.
        """
        out = torch.empty_like(rows)
        state = rows.new_zeros(len(rows), self._gain.shape[-1], rows.shape[-1])
        for date in range(rows.shape[1]):
            state, out[:, date] = self._advance(state, rows[:, date], date)
        return out

    def _advance(self, state: Tensor, rows: Tensor, date: int) -> tuple[Tensor, Tensor]:
        """State after a date's rows (pixel, band, column), and these whitened."""
        state = state * self.kept[date][:, None]
        expected = self.error.loadings.T.expand(len(state), -1, -1)
        white = self._whitener[date] @ torch.baddbmm(rows, expected, state, alpha=-1)
        return torch.baddbmm(state, self._gain[date].transpose(1, 2), white), white

    def at(self, rows: Tensor, asked: Tensor, *, inclusive: bool) -> tuple[Tensor, Tensor]:
        """State (pixel, asked, process, column) and its covariance (asked, pixel, process, process) on sorted days.

        From the observations before each asked day, and on it where `inclusive`.
        """
        pixels, processes = len(rows), self._gain.shape[-1]
        used = torch.searchsorted(self.days, asked, right=inclusive)
        means = rows.new_zeros(pixels, len(asked), processes, rows.shape[-1])
        covariances = rows.new_zeros(len(asked), pixels, processes, processes)
        state = rows.new_zeros(pixels, processes, rows.shape[-1])
        done = 0
        for number, count in enumerate(used.tolist()):
            while done < count:
                state, _ = self._advance(state, rows[:, done], done)
                done += 1
            if done == 0:
                covariances[number] = torch.diag_embed(self._usual)
                continue
            kept = self.error.kept(asked[number : number + 1] - self.days[done - 1])[0]
            means[:, number] = state * kept[:, None]
            covariances[number] = _decayed(self._covariance[done - 1], kept, self._usual)
        return means, covariances

    def smooth(
        self, rows: Tensor, asked: Tensor, *, given: Tensor | None = None, leave_out: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As `smooth`, with the gains that this filter has."""
        loadings = self.error.loadings
        given = loadings if given is None else given
        rows = torch.where(self.mask.unsqueeze(-1), rows, torch.zeros_like(rows))
        if not leave_out:
            mean, covariance = self._smooth(rows, asked, given)
            return mean, covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0)
        bands = given.shape[1]
        mean, covariance = self._smooth(rows, asked, torch.cat([given, loadings], 1))
        information, told = self._told_on(rows, asked)
        # the observations of the day taken out again, in their own space: R^-1 = information, R^-1 y = told
        root = information.sqrt()
        across = covariance[..., :bands, bands:] * root.unsqueeze(-2)
        own = covariance[..., bands:, bands:] * root.unsqueeze(-1) * root.unsqueeze(-2)
        factor = _inverse_factor(torch.eye(bands, dtype=rows.dtype, device=rows.device) - own)
        across = across @ factor.transpose(-1, -2)
        surplus = told / root.clamp(min=1e-12).unsqueeze(-1) - mean[..., bands:, :] * root.unsqueeze(-1)
        mean = mean[..., :bands, :] - across @ (factor @ surplus)
        variance = covariance.diagonal(dim1=-2, dim2=-1)[..., :bands].clamp(min=0)
        return mean, variance + across.square().sum(-1)

    def _smooth(self, rows: Tensor, asked: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Anomalies `given` by loadings (process, k): mean (pixel, n, k, column) and covariance (pixel, n, k, k)."""
        groups = self._after(asked)
        pixels, dates = rows.shape[:2]
        processes, width = given.shape
        mean = rows.new_zeros(pixels, len(asked), width, rows.shape[-1])
        usual = (given.T * self._usual[:, None])[:, None]  # covariance of what is given and the state
        along = usual.repeat(1, len(asked), 1, 1)
        state, white = rows.new_zeros(pixels, processes, rows.shape[-1]), torch.empty_like(rows)
        for date, part in enumerate(groups[1:]):
            state, white[:, date] = self._advance(state, rows[:, date], date)
            if part.start < part.stop:
                kept = self.error.kept(asked[part] - self.days[date])[:, None]  # (n, 1, process)
                reach = (given.T * kept).flatten(0, 1).expand(pixels, -1, -1)
                mean[:, part] = torch.bmm(reach, state).unflatten(1, (-1, width))
                here = torch.bmm(reach, self._covariance[date]).unflatten(1, (-1, width))
                along[:, part] = here * kept + usual * (1 - kept.square())
        covariance = along @ given
        pull, weight = torch.zeros_like(state), covariance.new_zeros(pixels, processes, processes)
        for date in range(dates - 1, -1, -1):
            pull, weight = self._back(pull, weight, white[:, date], date)
            part = groups[date]
            if part.start < part.stop:
                reach = along[:, part] * self.error.kept(self.days[date] - asked[part])[:, None]
                mean[:, part] -= (reach.flatten(1, 2) @ pull).unflatten(1, (-1, width))
                known = (reach.flatten(1, 2) @ weight).unflatten(1, (-1, width))
                covariance[:, part] -= known @ reach.transpose(-1, -2)
            pull = pull * self.kept[date][:, None]
            weight = weight * self.kept[date][:, None] * self.kept[date]
        return mean, covariance

    def _back(self, pull: Tensor, weight: Tensor, white: Tensor, date: int) -> tuple[Tensor, Tensor]:
        """What the dates from this one on say of the state before it, given what those after it say."""
        gain, seen = self._gain[date], self._whitener[date] @ self.error.loadings.T  # (pixel, band, process)
        back = seen.transpose(1, 2)
        pull = torch.baddbmm(pull, back, white + gain @ pull, alpha=-1)
        across = gain @ weight
        inner = across @ gain.transpose(1, 2)
        inner.diagonal(dim1=1, dim2=2).add_(1.0)
        mixed = back @ across
        return pull, torch.baddbmm(weight - mixed - mixed.transpose(1, 2), back @ inner, seen)

    def _after(self, asked: Tensor) -> list[slice]:
        """The asked days, sorted, by how many dates lie before them or on them."""
        edges = torch.searchsorted(asked, self.days, right=False).tolist()
        return [slice(a, b) for a, b in zip([0, *edges], [*edges, len(asked)], strict=True)]

    def _told_on(self, rows: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Precision (pixel, asked, band) of the observations on each asked day, and these weighted by it."""
        precision = self.mask / (self.error.noise.square() * self.distrust)
        same = (asked[:, None] == self.days).to(rows.dtype)
        weighted = rows * precision.unsqueeze(-1)
        return torch.einsum("nt,ptb->pnb", same, precision), torch.einsum("nt,ptbc->pnbc", same, weighted)


def smooth(
    error: ModelError,
    days: Tensor,
    mask: Tensor,
    rows: Tensor,
    asked: Tensor,
    distrust: Tensor | None = None,
    *,
    given: Tensor | None = None,
    leave_out: bool = False,
) -> tuple[Tensor, Tensor]:
    """Anomalies on any days given all observations, for many columns at once.

    Parameters
    ----------
    error : ModelError
    days : Tensor, shape (time,)
        Sorted.
    mask : Tensor of bool, shape (pixel, time, band)
    rows : Tensor, shape (pixel, time, band, column)
        Zero where masked.
    asked : Tensor, shape (n,)
        Sorted.
    distrust : Tensor, shape (pixel, time, band), optional
        As for `AnomalyFilter`.
    given : Tensor, shape (process, band), optional
        Loadings of the anomaly that is asked for, such as those of the lasting processes; all by default.
    leave_out : bool
        Leave out the observations of an asked day itself.

    Returns
    -------
    mean : Tensor, shape (pixel, n, band, column)
    variance : Tensor, shape (pixel, n, band)
        Of the anomaly, without the white noise of an observation.
    """
    return AnomalyFilter(error, days, mask, distrust).smooth(rows, asked, given=given, leave_out=leave_out)


def distrusted(error: ModelError, days: Tensor, mask: Tensor, residual: Tensor, limit: float) -> Tensor:
    """Factors on the variance of the noise of observations that a filter did not expect.

    An innovation of `limit` standard deviations or less keeps its weight; one of z counts as if its noise had
    ``(z / limit)^2`` times the variance. Each one is judged by what came before, with what was distrusted there.

    Parameters
    ----------
    residual : Tensor, shape (pixel, time, band)

    Returns
    -------
    Tensor, shape (pixel, time, band)
    """
    return AnomalyFilter(error, days, mask, judged=residual, limit=limit).distrust


def _distrust(between: Tensor, innovation: Tensor, noise: Tensor, limit: float) -> Tensor:
    """Factors (pixel, band) on the noise of one date: each band is judged by the dates and the bands before it.

    Parameters
    ----------
    between : Tensor, shape (pixel, band, band)
        Covariance of the anomalies, zero where unseen.
    innovation : Tensor, shape (pixel, band)
    """
    factors = torch.ones_like(innovation)
    for band in range(innovation.shape[1]):
        usual = between[:, band, band] + noise[band].square()
        factor = (innovation[:, band].square() / (usual * limit**2)).clamp(min=1.0)
        # the whole variance grows: what is far off says little about the noise or the anomaly
        factors[:, band] = 1 + usual * (factor - 1) / noise[band].square()
        gain = between[:, band] / (usual * factor)[:, None]  # zero where unseen, as its row is
        innovation = innovation - gain * innovation[:, band, None]
        between = between - gain[:, :, None] * between[:, band, None]
    return factors


def _decayed(covariance: Tensor, kept: Tensor, usual: Tensor) -> Tensor:
    """Covariance (pixel, process, process) after some days, which renew the `usual` variance (pixel, process)."""
    return covariance * kept[:, None] * kept[None, :] + torch.diag_embed((1 - kept.square()) * usual)


def _inverse_factor(covariance: Tensor) -> Tensor:
    """``L^-1`` of ``covariance = L L^T`` (..., n, n)."""
    factor = torch.linalg.cholesky(covariance)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)

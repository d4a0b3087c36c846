"""Model error that remembers: stationary anomalies around a trajectory, filtered and smoothed in closed form.

A trajectory of the Koopman prior repeats its seasons; a real pixel also has a late spring, a dry month, a cut. What
the trajectory leaves is modelled as a sum of Ornstein-Uhlenbeck processes shared by the bands through loadings,

    eta(t) = x(t) @ loadings,    dx = -x / decay dt + sqrt(2 / decay) dW,    x ~ N(0, 1),

plus white noise of each band. A process with a decay of zero days is noise that the bands of one date share. In the
language of the prior these are modes of the operator that decay and are forced; in that of variational
assimilation they are the weak constraint, with the model error integrated out (Tremolet 2006; Sarkka and Solin 2019,
chapter 12).

Everything is a scalar Kalman update for each observed value of each pixel, so the cost is linear in dates; the
processes are reversible in time, so a smoother is two filters that meet (Fraser and Potter 1969).
"""

from __future__ import annotations

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
    """

    def __init__(self, error: ModelError, days: Tensor, mask: Tensor, distrust: Tensor | None = None) -> None:
        self.error, self.days, self.mask, self.distrust = error, days, mask, distrust
        pixels, dates, bands = mask.shape
        processes = len(error.decay_days)
        like = error.loadings
        self.gain = like.new_zeros(dates, bands, pixels, processes)
        self.deviation = like.new_ones(dates, bands, pixels)
        self.kept = error.kept(torch.diff(days, prepend=days[:1]))
        eye = torch.eye(processes, dtype=like.dtype, device=like.device)
        covariance = eye.repeat(pixels, 1, 1)
        self._covariances = []
        for date in range(dates):
            covariance = _decayed(covariance, self.kept[date], eye)
            for band in range(bands):
                covariance = self._observe(covariance, date, band)
            self._covariances.append(covariance)

    def _observe(self, covariance: Tensor, date: int, band: int) -> Tensor:
        loading, seen = self.error.loadings[:, band], self.mask[:, date, band]
        noise = self.error.noise[band].square().expand(len(seen))
        if self.distrust is not None:
            noise = noise * self.distrust[:, date, band]
        along = covariance @ loading
        variance = along @ loading + noise
        gain = along / variance[:, None] * seen[:, None]
        self.gain[date, band], self.deviation[date, band] = gain, variance.sqrt()
        return covariance - gain[:, :, None] * along[:, None, :]

    def whiten(self, rows: Tensor) -> Tensor:
        """Columns (pixel, time, band, column) made independent with unit variance; zero where masked.

        The same linear map for every column, so that a residual and its derivatives go through together.
        """
        out = torch.zeros_like(rows)
        state = rows.new_zeros(len(rows), self.gain.shape[-1], rows.shape[-1])
        for date in range(rows.shape[1]):
            state = self._advance(state, rows, date, out)
        return out

    def _advance(self, state: Tensor, rows: Tensor, date: int, out: Tensor | None = None) -> Tensor:
        state = state * self.kept[date][:, None]
        for band in range(rows.shape[2]):
            innovation = rows[:, date, band] - self.error.loadings[:, band] @ state
            state = state + self.gain[date, band][:, :, None] * innovation[:, None, :]
            if out is not None:
                seen = self.mask[:, date, band] / self.deviation[date, band]
                out[:, date, band] = innovation * seen[:, None]
        return state

    def at(self, rows: Tensor, asked: Tensor, *, inclusive: bool) -> tuple[Tensor, Tensor]:
        """State (pixel, asked, process, column) and its covariance (asked, pixel, process, process) on sorted days.

        From the observations before each asked day, and on it where `inclusive`.
        """
        pixels, processes = len(rows), self.gain.shape[-1]
        eye = torch.eye(processes, dtype=rows.dtype, device=rows.device)
        used = torch.searchsorted(self.days, asked, right=inclusive)
        means = rows.new_zeros(pixels, len(asked), processes, rows.shape[-1])
        covariances = rows.new_zeros(len(asked), pixels, processes, processes)
        state = rows.new_zeros(pixels, processes, rows.shape[-1])
        done = 0
        for number, count in enumerate(used.tolist()):
            while done < count:
                state = self._advance(state, rows, done)
                done += 1
            if done == 0:
                covariances[number] = eye
                continue
            kept = self.error.kept(asked[number : number + 1] - self.days[done - 1])[0]
            means[:, number] = state * kept[:, None]
            covariances[number] = _decayed(self._covariances[done - 1], kept, eye)
        return means, covariances


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
    rows = torch.where(mask.unsqueeze(-1), rows, torch.zeros_like(rows))
    before, before_covariance = AnomalyFilter(error, days, mask, distrust).at(rows, asked, inclusive=not leave_out)
    flipped = None if distrust is None else distrust.flip(1)
    backward = AnomalyFilter(error, -days.flip(0), mask.flip(1), flipped)
    after, after_covariance = backward.at(rows.flip(1), -asked.flip(0), inclusive=False)
    after, after_covariance = after.flip(1), after_covariance.flip(0)
    eye = torch.eye(len(error.decay_days), dtype=rows.dtype, device=rows.device)
    past, future = _inverse(before_covariance), _inverse(after_covariance)
    covariance = _inverse(past + future - eye)
    pull = torch.einsum("npij,pnjc->pnic", past, before) + torch.einsum("npij,pnjc->pnic", future, after)
    state = torch.einsum("npij,pnjc->pnic", covariance, pull)
    loadings = error.loadings if given is None else given
    mean = torch.einsum("sb,pnsc->pnbc", loadings, state)
    variance = torch.einsum("sb,npst,tb->pnb", loadings, covariance, loadings)
    return mean, variance.clamp(min=0)


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
    factors = torch.ones_like(residual)
    processes = len(error.decay_days)
    eye = torch.eye(processes, dtype=residual.dtype, device=residual.device)
    covariance = eye.repeat(len(residual), 1, 1)
    state = residual.new_zeros(len(residual), processes)
    kept = error.kept(torch.diff(days, prepend=days[:1]))
    for date in range(residual.shape[1]):
        covariance, state = _decayed(covariance, kept[date], eye), state * kept[date]
        for band in range(residual.shape[2]):
            loading, seen = error.loadings[:, band], mask[:, date, band]
            along = covariance @ loading
            usual = along @ loading + error.noise[band].square()
            innovation = torch.where(seen, residual[:, date, band] - state @ loading, 0.0)
            factor = (innovation.square() / (usual * limit**2)).clamp(min=1.0)
            factors[:, date, band] = factor
            # the whole variance grows: what is far off says little about the noise or the anomaly
            gain = along / (usual * factor)[:, None] * seen[:, None]
            state = state + gain * innovation[:, None]
            covariance = covariance - gain[:, :, None] * along[:, None, :]
            factors[:, date, band] = 1 + usual * (factor - 1) / error.noise[band].square()
    return factors


def _decayed(covariance: Tensor, kept: Tensor, eye: Tensor) -> Tensor:
    return covariance * kept[:, None] * kept[None, :] + (1 - kept.square()) * eye


def _inverse(covariance: Tensor) -> Tensor:
    """Inverse of positive definite matrices, symmetrised against rounding."""
    covariance = 0.5 * (covariance + covariance.transpose(-1, -2))
    floor = 1e-5 * torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.cholesky_inverse(torch.linalg.cholesky(covariance + floor))

"""Probabilistic principal components of a matrix with missing values, by variational Bayes, on plain arrays.

Row n and column d hold ``x = f_d . (1, z_n) + noise_d``: each column has a level and `rank` factors, each row the
scores z of standard normal prior. Levels and factors have Gaussian priors of their own, so a column that few rows
have seen leans on zero instead of fitting them, and factors that the data do not need fade.

Source: A. Ilin, T. Raiko, Practical approaches to principal component analysis in the presence of missing values,
JMLR 11, 2010, section 3 (the variational algorithm), with a noise variance per column as in factor analysis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A column's noise counts this many observations of the noise of its group beside its own.
_PRIOR_NOISE = 5.0
#: Variances of standardised data are held above this, for exact data.
_LEAST = 1e-8
#: Power iterations of the start.
_POWERS = 4


@dataclass(frozen=True)
class Factors:
    """What the columns of a matrix share.

    Attributes
    ----------
    mean : array (column, 1 + rank)
        Level, then factors.
    covariance : array (column, 1 + rank, 1 + rank)
        What is not known of them.
    noise : array (column,)
        Variance of an observation of weight 1.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray

    @property
    def second_moment(self) -> np.ndarray:
        """Expected outer products (column, 1 + rank, 1 + rank)."""
        return self.mean[:, :, None] * self.mean[:, None, :] + self.covariance


@dataclass(frozen=True)
class Scores:
    """The position of rows among the factors.

    Attributes
    ----------
    mean : array (row, 1 + rank)
        One, then the scores.
    covariance : array (row, 1 + rank, 1 + rank)
        Zero in the first row and column.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def second_moment(self) -> np.ndarray:
        """Expected outer products (row, 1 + rank, 1 + rank)."""
        return self.mean[:, :, None] * self.mean[:, None, :] + self.covariance


def learn_factors(
    values: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    *,
    rank: int,
    max_iterations: int,
    tolerance: float,
    seed: int,
) -> Factors:
    """Factors of standardised values.

    Parameters
    ----------
    values, weights : array (row, column)
        Zero where missing; an observation of weight 2 has half the noise variance.
    groups : int array (column,)
        Columns whose noise is alike, numbered from 0.
    rank : int
        Factors beside the level.
    max_iterations, tolerance
        Ends when the mean noise variance changes by less than this share.
    seed : int
        Of the start, which is refined by power iterations.
    """
    factors = _start(values, weights, rank, seed)
    spread = np.append(1.0, np.ones(rank))
    before = np.inf
    for _ in range(max_iterations):
        scores = find_scores(values, weights, factors)
        factors = _update(values, weights, groups, scores, factors.noise, spread)
        spread = np.maximum(np.einsum("dpp->p", factors.second_moment) / len(factors.mean), _LEAST)
        now = float(factors.noise.mean())
        if abs(before - now) <= tolerance * now:
            break
        before = now
    return factors


def find_scores(values: np.ndarray, weights: np.ndarray, factors: Factors) -> Scores:
    """Posterior scores of rows of any matrix that has these columns; missing values are zero with weight zero."""
    precise = weights / factors.noise
    size = factors.mean.shape[1]
    normal = (precise @ factors.second_moment.reshape(len(factors.mean), -1)).reshape(-1, size, size)
    right = (precise * values) @ factors.mean
    covariance = np.zeros_like(normal)
    covariance[:, 1:, 1:] = np.linalg.inv(normal[:, 1:, 1:] + np.eye(size - 1))
    mean = np.ones_like(right)
    mean[:, 1:] = np.einsum("npq,nq->np", covariance[:, 1:, 1:], right[:, 1:] - normal[:, 1:, 0])
    return Scores(mean, covariance)


def rebuild(scores: Scores, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (row, column) of what the matrix holds, without the noise of an observation."""
    columns, rows = len(factors.mean), len(scores.mean)
    known = scores.mean[:, :, None] * scores.mean[:, None, :]
    variance = scores.covariance.reshape(rows, -1) @ factors.second_moment.reshape(columns, -1).T
    variance += known.reshape(rows, -1) @ factors.covariance.reshape(columns, -1).T
    return scores.mean @ factors.mean.T, np.maximum(variance, 0.0)


def _start(values: np.ndarray, weights: np.ndarray, rank: int, seed: int) -> Factors:
    """Column means, and the principal directions of what is left with zeros for missing values."""
    seen = weights > 0
    level = values.sum(axis=0) / (seen.sum(axis=0) + 1.0)
    left = np.where(seen, values - level, 0.0)
    basis = np.random.default_rng(seed).standard_normal((values.shape[1], rank))
    for _ in range(_POWERS):
        basis = left.T @ (left @ basis)
        basis /= np.linalg.norm(basis, axis=0) + _LEAST
        orthogonal = np.linalg.qr(basis)[0]
        basis = np.zeros((values.shape[1], rank))
        basis[:, : orthogonal.shape[1]] = orthogonal
    size = np.sqrt((left @ basis).var(axis=0))
    return Factors(
        mean=np.concatenate([level[:, None], basis * size], axis=1),
        covariance=np.zeros((values.shape[1], rank + 1, rank + 1)),
        noise=np.full(values.shape[1], 0.5),
    )


def _update(
    values: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    scores: Scores,
    noise: np.ndarray,
    spread: np.ndarray,
) -> Factors:
    """Factors and noise given the scores; `spread` is the prior variance of level and factors."""
    columns, size = values.shape[1], scores.mean.shape[1]
    moments = (weights.T @ scores.second_moment.reshape(len(values), -1)).reshape(columns, size, size)
    right = (weights * values).T @ scores.mean
    covariance = np.linalg.inv(moments / noise[:, None, None] + np.diag(1 / spread))
    mean = np.einsum("dpq,dq->dp", covariance, right / noise[:, None])
    outer = mean[:, :, None] * mean[:, None, :] + covariance
    square = (weights * values**2).sum(axis=0) - 2 * (mean * right).sum(axis=1) + (outer * moments).sum(axis=(1, 2))
    number = (weights > 0).sum(axis=0)
    return Factors(mean, covariance, _shrunken(np.maximum(square, 0.0), number, groups))


def _shrunken(square: np.ndarray, number: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Noise variance per column, leaning on that of its group."""
    pooled = np.bincount(groups, square) / np.maximum(np.bincount(groups, number), 1)
    noise = (square + _PRIOR_NOISE * pooled[groups]) / (number + _PRIOR_NOISE)
    return np.maximum(noise, _LEAST)

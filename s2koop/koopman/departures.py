"""Departures: land that does what no training pixel did, told from sky by how likely it makes what was seen.

The errors of a model are those of its training pixels. A field among forests, a new crop, a cut leave far more, and
for much longer than haze does. A further process stands for that: a pixel may look like any land that the prior knows,
on any day of the year, and forgets it within weeks. It loads the bands as the prior's own spectra vary, so that bands
that were not observed follow. How large it is in a pixel, or in a scene, maximises the evidence of the observations
with the latent and all anomalies integrated out (empirical Bayes; MacKay 1992, Bayesian interpolation, Neural
Computation 4); in most pixels that a model was trained on it is small or absent.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from s2koop.koopman.assimilation import Background, observed_rows
from s2koop.koopman.model_error import ModelError
from s2koop.koopman.network import KoopmanNetwork

#: Days in which a departure falls to 1/e.
DECAY = 40.0
#: Directions of band space in which land differs.
DIRECTIONS = 4
#: Standard deviations that a departure may have, as shares of that of all land on all days.
SIZES = (0.0, 0.1, 0.3, 1.0)
#: Logarithm of the evidence that a larger size must gain.
DOUBT = 1.0
#: Days of the year on which the prior is looked at.
DAYS = 24


@torch.no_grad()
def departures(network: KoopmanNetwork, background: Background) -> ModelError:
    """The process of departures at size one, without noise.

    Parameters
    ----------
    network : KoopmanNetwork
    background : Background
        Of the latents; with the seasons it says how much the spectra of land vary.
    """
    days = torch.linspace(0, 365.25, DAYS + 1)[:-1].to(background.mean)
    powers = network.operator.powers(days)
    start = background.mean.new_zeros(1, len(background.mean))
    values, slope = observed_rows(network, background.factor.T @ powers, background.mean @ powers, start)
    between = torch.cov(values[0].T, correction=0)
    covariance = between + torch.einsum("tbi,tci->bc", slope[0], slope[0]) / len(days)
    variances, vectors = torch.linalg.eigh(torch.atleast_2d(covariance))
    loadings = (vectors * variances.clamp(min=0).sqrt())[:, -DIRECTIONS:].T
    # a state holds amounts of these, and may be opened where eigenvectors come with another sign
    largest = loadings.gather(1, loadings.abs().argmax(1, keepdim=True))
    loadings = torch.where(largest < 0, -loadings, loadings)
    return ModelError(loadings.new_full((len(loadings),), DECAY), loadings, torch.zeros_like(loadings[0]))


def likeliest(evidence: Callable[[float, Tensor], Tensor], pixels: Tensor) -> Tensor:
    """The one of `SIZES` for each pixel (pixel,) that makes what was seen most likely.

    Larger ones are doubted: a pixel that was hardly seen departs from nothing. They are tried as long as they gain.

    Parameters
    ----------
    evidence : callable
        From a size and the numbers of some pixels to the logarithm of their evidence, up to a constant of each pixel.
    pixels : Tensor of int, shape (pixel,)
        Numbers of all of them, from zero.
    """
    best = evidence(SIZES[0], pixels)
    size = torch.full_like(best, SIZES[0])
    for larger in SIZES[1:]:
        found = evidence(larger, pixels) - DOUBT
        gains = found > best[pixels]
        pixels = pixels[gains]
        if not len(pixels):
            break
        best[pixels], size[pixels] = found[gains], larger
    return size


def with_departures(own: ModelError, further: ModelError, size: Tensor) -> tuple[ModelError, Tensor]:
    """Both errors, and the standard deviations (pixel, process) of their processes: one, and the size (pixel,)."""
    ones = size.new_ones(len(size), len(own.decay_days))
    return own + further, torch.cat([ones, size[:, None].expand(-1, len(further.decay_days))], 1)

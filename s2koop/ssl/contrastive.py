"""The contrastive loss: two views of one image shall be nearer to each other than to those of any other image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Normalised, temperature-scaled cross-entropy of a batch of pairs.

    .. math:: \ell_{ij} = -\log \frac{\exp(s_{ij}/\tau)}{\sum_{k \ne i} \exp(s_{ik}/\tau)}

    with the cosine similarity s of two projections; the mean over all ordered pairs of views is returned.

    Parameters
    ----------
    first, second : Tensor, shape (n, dim)
        Projections of the two views of n images.
    temperature : float
        Below 1, the hardest negatives count most.

    Returns
    -------
    Tensor, scalar

    References
    ----------
    Chen, Kornblith, Norouzi, Hinton (2020), A Simple Framework for Contrastive Learning of Visual Representations,
    equation 1.

    Examples
    --------
    >>> alike = torch.eye(4)
    >>> float(nt_xent(alike, alike)) < float(nt_xent(alike, alike.roll(1, 0)))
    True
    """
    both = F.normalize(torch.cat([first, second]).float(), dim=1)
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    count = len(first)
    partner = torch.arange(2 * count, device=both.device).roll(count)
    return F.cross_entropy(similarity, partner)


__all__ = ["nt_xent"]

"""Windows that slide over a long series, each beginning from what the ones before have left.

One window over many years holds every date to one trajectory; a pixel that changed its crop, or was cut, fits none.
Here the posterior of the dates before a window is its prior, partly forgotten,

    precision = forget * H + (1 - forget) * I,    mean = u,

as in a fading-memory filter (Anderson and Moore 1979, Optimal Filtering, section 6.2). No observation counts twice: the
posterior handed on holds the dates up to the next window, not the overlap. The latent stays where the first window
begins, so that nothing is propagated but its uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from s2koop.errors import InputError
from s2koop.koopman.assimilation import Prior
from s2koop.koopman.kernels import analysis_kernel, posterior


@dataclass(frozen=True)
class Span:
    """One window as rows: its dates ``first`` to ``stop``, those ``handed`` on, and the asked days it answers.

    Attributes
    ----------
    first, stop : int
        Dates of the window.
    handed : int
        The first date that the next window begins with.
    asked : slice
        Rows of the asked days.
    """

    first: int
    stop: int
    handed: int
    asked: slice


def days_of(name: str, value: Any) -> float:
    """A length of time in days.

    Raises
    ------
    InputError
        If it is none, or not above zero.

    Examples
    --------
    >>> days_of("window", "730D")
    730.0
    """
    try:
        length = pd.Timedelta(value)
        found = length / pd.Timedelta(days=1)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}={value!r} is no length of time; write such as '730D'") from error
    if isinstance(value, int | float) or not found > 0:
        raise InputError(f"{name}={value!r} must be a length of time above zero, such as '730D'")
    return float(found)


def spans(
    days: npt.NDArray[np.float64], asked: npt.NDArray[np.float64], window: float, shift: float
) -> tuple[Span, ...]:
    """Windows of so many days, each `shift` days after the one before, until one holds the last date.

    An asked day is answered by the latest window that has begun by then; earlier ones by the first, later by the last.

    Parameters
    ----------
    days, asked : ndarray
        Sorted.
    window, shift : float
        Days.

    Examples
    --------
    >>> [(s.first, s.stop) for s in spans(np.array([0.0, 5, 10, 15]), np.array([12.0]), 10, 5)]
    [(0, 2), (1, 3), (2, 4)]
    """
    count = 1 + max(0, int(np.floor((days[-1] - days[0] - window) / shift)) + 1)
    starts = days[0] + shift * np.arange(count)
    first = np.searchsorted(days, starts)
    stop = np.searchsorted(days, starts + window)
    handed = np.append(first[1:], len(days))
    edges = np.concatenate([[0], np.searchsorted(asked, starts[1:]), [len(asked)]])
    return tuple(
        Span(int(a), int(b), int(h), slice(int(low), int(high)))
        for a, b, h, low, high in zip(first, stop, handed, edges[:-1], edges[1:], strict=True)
    )


def cycled_kernel(
    model: Any,
    values: Tensor,
    *,
    windows: tuple[Span, ...],
    forget: float,
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    seasons: npt.NDArray[np.int64],
    effect: Tensor | None = None,
    lasting: Tensor | None = None,
    lasting_variance: Tensor | None = None,
    passing: Tensor | None = None,
    known: Tensor | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """As `s2koop.koopman.kernels.analysis_kernel`, window by window; diagnostics are those of the last.

    Parameters
    ----------
    windows : tuple of Span
    forget : float
        Share of the precision of the past that a window keeps, 0 to 1.
    """
    prior: Prior | None = None
    parts: list[dict[str, Tensor]] = []
    tables = {"lasting": lasting, "lasting_variance": lasting_variance, "passing": passing, "known": known}
    given: dict[str, Any]
    for number, span in enumerate(windows):
        last = number == len(windows) - 1
        rows = span.asked if span.asked.start < span.asked.stop else slice(0, 1)  # one that nobody reads
        if last or rows is span.asked:
            own = slice(span.first, span.stop)
            given = {name: None if table is None else table[rows] for name, table in tables.items()}
            given |= {"asked": asked[rows], "seasons": seasons[rows], "prior": prior, **options}
            given |= {"days": days[own], "effect": None if effect is None else effect[own]}
            out = analysis_kernel(model, values[:, own], **given)
            parts.append(out if rows is span.asked else _without_dates(out))
        if not last:
            own = slice(span.first, span.handed)
            past = None if effect is None else effect[own]
            prior = _faded(*posterior(model, values[:, own], days[own], past, prior, **_of_posterior(options)), forget)
    dated = {name for part in parts for name in part if part[name].dim() > 1}
    joined = {name: torch.cat([part[name] for part in parts if name in part], -2) for name in dated}
    return {**parts[-1], **joined}


def _without_dates(out: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part for name, part in out.items() if part.dim() == 1}


def _of_posterior(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("constraint", "solver", "max_iterations", "tolerance")}


def _faded(u: Tensor, precision: Tensor, forget: float) -> Prior:
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    return Prior(u, forget * precision + (1 - forget) * eye)

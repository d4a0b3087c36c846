"""Views of pixel series: other dates seen, clouds for weeks, another sky, a season some days early or late."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from s2koop._numbers import real
from s2koop.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SeriesViews:
    """How views of a pixel series are drawn. Values are standardised by band.

    Attributes
    ----------
    keep : tuple of float
        Least and most share of the dates that a view keeps.
    gap : float
        Longest time in days that clouds hide.
    shift : float
        Most days by which all dates are moved.
    level : float
        Standard deviation of an offset of each date, common to its bands.
    noise : float
        Standard deviation of noise of each value.
    drop : float
        Probability with which each band is missing throughout; one band at least stays.
    forgets : str
        What an embedding from such views does not tell, in words.
    """

    keep: tuple[float, float] = (0.4, 0.9)
    gap: float = 90.0
    shift: float = 8.0
    level: float = 0.1
    noise: float = 0.05
    drop: float = 0.1
    forgets: str = "which dates were seen, haze of single dates, and whether a season came some days early"

    def __post_init__(self) -> None:
        for name in ("gap", "shift", "level", "noise", "drop"):
            real(name, getattr(self, name), least=0)
        object.__setattr__(self, "keep", tuple(self.keep))
        low, high = self.keep
        if not 0 < low <= high <= 1:
            raise InputError(f"keep={self.keep!r} must be two shares of the dates, 0 < least <= most <= 1")
        if self.drop >= 1:
            raise InputError(f"drop={self.drop} would leave no band; give less than 1")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)

    def draw(self, values: Tensor, days: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """One view of each series (n, time, band), and its dates (n, time)."""
        count, times, bands = values.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=random).to(values.device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random).to(values.device)

        share = self.keep[0] + (self.keep[1] - self.keep[0]) * uniform(count, 1)
        lost = uniform(count, times) > share
        length = float(days[-1] - days[0])
        start = days[0] - self.gap + (length + self.gap) * uniform(count, 1)
        lost |= (days >= start) & (days < start + self.gap * uniform(count, 1))
        seen = torch.isfinite(values).any(-1)
        bare = ~(seen & ~lost).any(1)  # a view without any date says nothing: give it back what there was
        lost &= ~bare[:, None]
        missing = uniform(count, bands) < self.drop
        missing[torch.arange(count), torch.randint(bands, (count,), generator=random)] = False
        gone = missing & torch.isfinite(values).any(1)
        only = ~(torch.isfinite(values.masked_fill(lost[..., None], torch.nan)).any(1) & ~gone).any(1)
        gone &= ~only[:, None]
        view = values + self.level * normal(count, times, 1) + self.noise * normal(count, times, bands)
        view = view.masked_fill(lost[..., None] | gone[:, None, :], torch.nan)
        return view, days + self.shift * (2 * uniform(count, 1) - 1)


__all__ = ["SeriesViews"]

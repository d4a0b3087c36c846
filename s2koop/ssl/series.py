"""An encoder of pixel time series: irregular dates, several bands, and gaps in any of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2koop._time import YEAR_DAYS

#: Frequencies of the season that a date is told in, in cycles per year.
_CYCLES = (1, 2, 3, 4)


class SeriesNet(nn.Module):
    """Every date is read by itself, told its season; weighted means over the dates and their spread are the features.

    A date that lacks a band tells so, a date without any band has no weight: gaps and irregular dates need no filling.
    Attention weighs dates by what they show, so that haze can count less; means of several heads and the standard
    deviation around the first know the order of the seasons from the dates alone.

    Parameters
    ----------
    bands : int
    width : int
        Numbers per date.
    heads : int
        Weighted means over the dates.
    """

    def __init__(self, bands: int, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.bands, self.heads = bands, heads
        self.read = nn.Sequential(
            nn.Linear(2 * bands + 2 * len(_CYCLES), width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
        )  # fmt: skip
        self.weigh = nn.Linear(width, heads)
        self.mix = nn.Linear(width, width)
        self.features = (heads + 1) * width

    def forward(self, values: Tensor, days: Tensor) -> Tensor:
        """Features (n, feature).

        Parameters
        ----------
        values : Tensor, shape (n, time, band)
            Standardised; NaN where there is no observation.
        days : Tensor, shape (time,) or (n, time)
            Dates in days since any first of January.
        """
        seen = torch.isfinite(values)
        known = torch.cat([values.nan_to_num(0.0), seen.to(values.dtype), season(days, values)], -1)
        dates = self.mix(self.read(known))
        usable = seen.any(-1, keepdim=True)
        weights = torch.softmax(self.weigh(dates).masked_fill(~usable, -1e4), 1) * usable
        means = torch.einsum("nth,ntw->nhw", weights, dates)
        around = (dates - means[:, :1]) ** 2
        spread = torch.einsum("nt,ntw->nw", weights[..., 0], around).add(1e-6).sqrt()
        return torch.cat([means.flatten(1), spread], 1)


def season(days: Tensor, values: Tensor) -> Tensor:
    """Sines and cosines (n, time, 8) of the season of dates."""
    phase = 2 * torch.pi / YEAR_DAYS * days.to(values.dtype)[..., None] * torch.tensor(_CYCLES, device=values.device)
    waves = torch.cat([phase.sin(), phase.cos()], -1)
    return waves.expand(*values.shape[:2], waves.shape[-1])


__all__ = ["SeriesNet", "season"]

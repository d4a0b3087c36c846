"""What a session hands out: pictures, series of a place, and read-outs, as plain immutable records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from s2koop._frames import decode

Quantity = Literal["reflectance", "spread", "difference", "ratio", "amplitude", "grey", "colour"]

#: Rows and columns of a region: first row, first column, and the row and column behind the last.
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """One date of one product and band as uint8 levels (y, x); 0 is no data, 1..255 span `low`..`high`."""

    product: str
    band: str
    date: np.datetime64
    levels: np.ndarray
    low: float
    high: float

    @property
    def values(self) -> np.ndarray:
        """The values the levels stand for, float32 (y, x), NaN where there is no data."""
        return decode(self.levels, self.low, self.high)


@dataclass(frozen=True)
class Frames:
    """All dates of one product and band as uint8 levels (time, y, x), every `stride`-th pixel; colours (..., 3)."""

    product: str
    band: str
    dates: np.ndarray
    levels: np.ndarray
    low: float
    high: float
    stride: int

    def clearest(self) -> int:
        """Index of the latest of the dates with the fewest pixels missing."""
        seen = (self.levels != 0).sum(axis=tuple(range(1, self.levels.ndim)))
        return int(np.flatnonzero(seen == seen.max())[-1])


@dataclass(frozen=True)
class Points:
    """Observations of one place that exist: `time` (datetime64) and `value` (float), both (n,)."""

    time: np.ndarray
    value: np.ndarray

    def on(self, date: np.datetime64) -> float | None:
        """The value within half a day of `date`, the nearest if there are several; None if there is none."""
        index = nearest(self.time, date)
        return None if index is None else float(self.value[index])

    def only(self, chosen: np.ndarray) -> Points:
        """Those for which `chosen` (n,) is true."""
        return Points(self.time[chosen], self.value[chosen])

    def __add__(self, other: Points) -> Points:
        """Both, sorted by date."""
        time, value = np.concatenate([self.time, other.time]), np.concatenate([self.value, other.value])
        order = np.argsort(time, kind="stable")
        return Points(time[order], value[order])


#: No observation at all.
NOTHING = Points(np.array([], "datetime64[ns]"), np.array([], np.float32))


@dataclass(frozen=True)
class Estimate:
    """A method's series at one place: `mean`, and the interval `low` to `high` (NaN without a spread)."""

    time: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def on(self, date: np.datetime64) -> tuple[float, float] | None:
        """Mean and half width of the interval within half a day of `date`; None if there is none."""
        index = nearest(self.time, date)
        if index is None or not np.isfinite(self.mean[index]):
            return None
        return float(self.mean[index]), float(self.high[index] - self.low[index]) / 2

    def until(self, date: np.datetime64) -> Estimate:
        """The part up to a date, that date included."""
        part = self.time <= date
        return Estimate(self.time[part], self.mean[part], self.low[part], self.high[part])


@dataclass(frozen=True)
class Score:
    """How one method did on values that it had not seen, `count` of them."""

    rmse: float
    bias: float
    crps: float
    coverage: float
    count: int


@dataclass(frozen=True)
class Series:
    """Everything known about one band of one place.

    Attributes
    ----------
    band : str
    pixel : (int, int)
        Row and column of the crosshair.
    x, y : float
        Its coordinates.
    level : float
        Coverage of the intervals.
    quantity : str
        What the values are.
    observed : Points
        What the methods have seen.
    estimates : mapping of str to Estimate
        The results as they were given.
    later : Points or None
        What came later: held out from the start, or after the date from which a forecast is asked.
    withheld : Points
        What was taken from the methods by hand.
    again : mapping of str to Estimate
        What the methods say without all that is withheld; empty where nothing is.
    region : Box or None
        Where the values are means over a region,
    pixels : int
        over so many of its pixels.
    cut : datetime64 or None
        From when on all is forecast.
    broken : datetime64 or None
        When monitoring saw the pixel break.
    """

    band: str
    pixel: tuple[int, int]
    x: float
    y: float
    level: float
    quantity: str
    observed: Points
    estimates: Mapping[str, Estimate]
    later: Points | None
    withheld: Points = NOTHING
    again: Mapping[str, Estimate] = field(default_factory=dict)
    region: Box | None = None
    pixels: int = 1
    cut: np.datetime64 | None = None
    broken: np.datetime64 | None = None

    @property
    def judged(self) -> Points:
        """The values that no estimate of `again` has seen."""
        return self.withheld if self.later is None else self.withheld + self.later

    def scores(self) -> dict[str, Score]:
        """How each method did on what it had not seen, of those values that all of them answer.

        Where some methods were asked again, they alone: a result as it was given has seen what is withheld.
        """
        judged = self.judged if self.again or self.cut is None else NOTHING
        methods = {name: e for name, e in (self.again or self.estimates).items() if e.time.size}
        if not self.again and self.withheld.time.size:
            judged = self.later or NOTHING
        answers = {name: [e.on(day) for day in judged.time] for name, e in methods.items()}
        common = np.array([all(a[i] is not None for a in answers.values()) for i in range(judged.time.size)], bool)
        if not common.any():
            return {}
        truth = judged.value[common].astype(float)
        return {name: self._score(np.array(a, object)[common], truth) for name, a in answers.items()}

    def _score(self, answers: np.ndarray, truth: np.ndarray) -> Score:
        from statistics import NormalDist

        from s2koop.scores import gaussian_crps

        mean, half = np.array([tuple(a) for a in answers], float).T
        z = NormalDist().inv_cdf((1 + self.level) / 2)
        error = mean - truth
        # An interval is that of a pixel: of means over a region it says nothing.
        known = np.isfinite(half).all() and self.region is None
        return Score(
            rmse=float(np.sqrt((error**2).mean())),
            bias=float(error.mean()),
            crps=float(np.mean(gaussian_crps(truth, mean, half / z))) if known else float("nan"),
            coverage=float((np.abs(error) <= half).mean()) if known else float("nan"),
            count=truth.size,
        )


@dataclass(frozen=True)
class Reading:
    """The values of one place on one date; None where a source has no value within half a day."""

    band: str
    pixel: tuple[int, int]
    x: float
    y: float
    date: np.datetime64
    level: float
    observed: float | None
    estimates: Mapping[str, tuple[float, float] | None]
    later: float | None
    withheld: float | None = None
    lead: int | None = None
    region: Box | None = None


def nearest(times: np.ndarray, date: np.datetime64, *, hours: int = 12) -> int | None:
    """Index of the entry of `times` nearest to `date`, None if it is more than `hours` away.

    >>> nearest(np.array(["2020-01-01", "2020-01-06"], "datetime64[ns]"), np.datetime64("2020-01-05T20:00"))
    1
    """
    if times.size == 0:
        return None
    distance = np.abs(times - date)
    index = int(distance.argmin())
    return index if distance[index] <= np.timedelta64(hours, "h") else None

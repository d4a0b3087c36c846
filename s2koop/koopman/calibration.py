"""Making spreads mean what they say: factors learned on held-out observations, by band, lead and season."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop._numbers import real
from s2koop._reliability import LeadGroups, Results, deviates, leads_of
from s2koop.errors import InputError

METHODS = ("conformal", "scale")
SEASONS = ("DJF", "MAM", "JJA", "SON")
#: Held-out dates whose evidence equals the belief that nothing needs to change.
SHRINKAGE = 5.0


@dataclass(frozen=True)
class SpreadCalibration:
    """Factors that a spread is multiplied with, so that intervals cover what they promise.

    Attributes
    ----------
    bands : tuple of str
    leads : tuple of float
        Edges in days of groups of leads; empty where there is one group of all dates.
    seasons : bool
        Whether there is a factor for each of DJF, MAM, JJA and SON (the date of the observation counts).
    factors : tuple of tuple of tuple of float, shape (season, lead, band)
    level : float
        Coverage that was aimed at.
    method : {"conformal", "scale"}
    dates : int
        Held-out dates that the factors rest on, over all origins.

    Examples
    --------
    >>> dates = pd.date_range("2020-01-01", periods=40, freq="10D")
    >>> rng = np.random.default_rng(0)
    >>> observed = xr.DataArray(0.02 * rng.standard_normal((40, 1)), dims=("time", "band"),
    ...                         coords={"time": dates, "band": ["B04"]})
    >>> result = xr.Dataset({"mean": observed * 0, "spread": observed * 0 + 0.01})
    >>> calibration = SpreadCalibration.fit(result, observed, method="scale")
    >>> float(calibration.apply(result)["spread"][0, 0].round(3))
    0.015
    """

    bands: tuple[str, ...]
    leads: tuple[float, ...]
    seasons: bool
    factors: tuple[tuple[tuple[float, ...], ...], ...]
    level: float
    method: str
    dates: int

    def __post_init__(self) -> None:
        shape = np.shape(self.factors)
        expected = (len(SEASONS) if self.seasons else 1, max(1, len(self.leads) - 1), len(self.bands))
        if shape != expected:
            raise InputError(f"factors of shape {shape} do not fit: expected (season, lead, band) = {expected}")
        if not (np.isfinite(self.factors).all() and (np.asarray(self.factors) > 0).all()):
            raise InputError("factors of a spread must be finite and greater than 0")

    @classmethod
    def fit(
        cls,
        result: Results,
        observations: xr.DataArray,
        *,
        level: float = 0.9,
        leads: Sequence[float] | None = None,
        origin: Any = None,
        seasons: bool = False,
        method: Literal["conformal", "scale"] = "conformal",
        shrinkage: float = SHRINKAGE,
    ) -> SpreadCalibration:
        """Learn the factors from forecasts and the observations that these had not seen.

        Parameters
        ----------
        result : Dataset, or mapping of origin to Dataset
            With ``mean`` and ``spread``; a mapping pools forecasts from several origins.
        observations : DataArray, dims (time, band, y, x)
            Dates that neither the model nor the forecasts knew.
        level : float
            Coverage to aim at.
        leads : sequence of float, optional
            Edges in days, such as ``(0, 15, 45, 105)``, for a factor of each group of leads. The last group holds for
            all later leads too; dates of the window itself are left alone.
        origin : datetime, optional
            Of a single result: its last date seen, where leads count from.
        seasons : bool
            A factor for each season.
        method : {"conformal", "scale"}
            ``"conformal"``: the split-conformal quantile of ``|error| / spread`` at `level`, over that of a Gaussian;
            covers at least `level` of further data that are exchangeable with these, whatever their distribution
            (with ``shrinkage=0``). ``"scale"``: the root mean square of error / spread, which makes spread and skill
            equal.
        shrinkage : float
            So many dates weigh as much as the belief in a factor of one: logarithms of factors are shrunk, those of a
            group towards that of its band, and that of a band towards zero. Dates count and not pixels, because
            errors of one date are alike.

        Returns
        -------
        SpreadCalibration

        Raises
        ------
        InputError
            If there is no observation to learn from, or an option is wrong.

        References
        ----------
        Lei et al., J. Amer. Stat. Assoc. 113, 2018, section 2.2 (split conformal, locally weighted).
        """
        if method not in METHODS:
            raise InputError(f"method={method!r} is unknown; choose one of {METHODS}")
        if not 0 < real("level", level, least=0) < 1:
            raise InputError(f"level={level!r} must lie between 0 and 1; 0.9 is the 90 % interval")
        shrinkage = real("shrinkage", shrinkage, least=0)
        groups = LeadGroups.of(leads)
        bands: tuple[str, ...] = ()
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        for values, lead in deviates(result, observations, origin=origin, need_lead=leads is not None):
            bands = tuple(str(band) for band in values["band"].values)
            size = np.abs(values.values).reshape(values.sizes["time"], len(bands), -1)
            parts.append((size, _seasons(values["time"].values, seasons), _open_ended(groups, lead, len(size))))
        size, season, group = (np.concatenate(part) for part in zip(*parts, strict=True))
        size, season, group = (part[group >= 0] for part in (size, season, group))
        if not np.isfinite(size).any():
            raise InputError("there is no observation that a spread could be compared with; hold out later dates")
        logs = np.zeros((len(SEASONS) if seasons else 1, len(groups.labels), len(bands)))
        for b in range(len(bands)):
            whole = _shrunk(size[:, b], level, method, shrinkage, towards=0.0)
            for s, g in np.ndindex(logs.shape[:2]):
                part = size[(season == s) & (group == g), b]
                alone = len(part) == len(size)  # one group only: do not count its dates twice
                logs[s, g, b] = whole if alone else _shrunk(part, level, method, shrinkage, towards=whole)
        factors = tuple(tuple(tuple(float(f) for f in row) for row in season_) for season_ in np.exp(logs))
        return cls(bands, groups.edges, bool(seasons), factors, float(level), method, len(size))

    def apply(self, result: xr.Dataset, *, origin: Any = None) -> xr.Dataset:
        """The result with its spread (and ``quantiles``) scaled; lazy where it is lazy.

        Parameters
        ----------
        result : Dataset
            With ``mean`` and ``spread`` (time, band, ...).
        origin : datetime, optional
            Its last date seen; needed where the calibration has leads.

        Raises
        ------
        InputError
            If a band is unknown, the origin is missing, or the result was calibrated before.
        """
        if "calibration" in result.attrs:
            raise InputError(f"this result was calibrated before ({result.attrs['calibration']}); apply to the raw one")
        factor = self._factor(result, origin)
        changed: dict[str, xr.DataArray] = {"spread": result["spread"] * factor}
        if "spread_state" in result:  # a part of the spread is never larger than it
            changed["spread_state"] = xr.ufuncs.minimum(result["spread_state"], changed["spread"])
        if "quantiles" in result:
            changed["quantiles"] = result["mean"] + (result["quantiles"] - result["mean"]) * factor
        for name, value in changed.items():
            before = result[name]
            changed[name] = value.transpose(*before.dims).astype(before.dtype).assign_attrs(before.attrs)
            changed[name].encoding = before.encoding
        about = f"{self.method}, {100 * self.level:g} % intervals on {self.dates} held-out dates"
        return result.assign(changed).assign_attrs(calibration=about)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "bands": list(self.bands), "leads": list(self.leads), "seasons": self.seasons, "level": self.level,
            "factors": [[list(row) for row in season] for season in self.factors], "method": self.method,
            "dates": self.dates,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpreadCalibration:
        """The inverse of `to_dict`.

        Raises
        ------
        InputError
            If the mapping is of anything else.
        """
        try:
            factors = tuple(tuple(tuple(float(f) for f in row) for row in season) for season in values["factors"])
            leads = tuple(float(lead) for lead in values["leads"])
            tuples: dict[str, Any] = {"bands": tuple(values["bands"]), "leads": leads, "factors": factors}
            return cls(**{**values, **tuples})
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"no calibration can be made of this: {error!r}; expected what to_dict gave") from error

    def _factor(self, result: xr.Dataset, origin: Any) -> xr.DataArray:
        """Factors (time, band) of a result's dates and bands."""
        bands = [str(band) for band in np.atleast_1d(result["band"].values)]
        strange = [band for band in bands if band not in self.bands]
        if strange:
            raise InputError(f"the calibration knows the bands {list(self.bands)}, not {strange}; fit one with them")
        if self.leads and origin is None:
            raise InputError(
                "this calibration depends on the lead; give origin=, the last date that the result has seen"
            )
        times = result["time"].values
        lead = leads_of(times, origin) if self.leads else None
        group = _open_ended(LeadGroups(self.leads), lead, len(times))
        season = _seasons(times, self.seasons)
        table = np.asarray(self.factors)[:, :, [self.bands.index(band) for band in bands]]
        factor = np.where(group[:, None] >= 0, table[season, group], 1.0).astype(np.float32)
        return xr.DataArray(factor, dims=("time", "band"))


def _open_ended(groups: LeadGroups, lead: npt.NDArray[np.float64] | None, dates: int) -> npt.NDArray[np.intp]:
    """The group of each date, where the last group has no end; -1 before the first."""
    which = groups.index(lead, dates)
    return (
        which if lead is None or not groups.edges else np.where(lead > groups.edges[-1], len(groups.labels) - 1, which)
    )


def _seasons(times: npt.NDArray[Any], told_apart: bool) -> npt.NDArray[np.intp]:
    """The season of each date; 0 for all where they are not told apart."""
    if not told_apart:
        return np.zeros(len(times), dtype=np.intp)
    return (pd.DatetimeIndex(times).month.to_numpy() % 12 // 3).astype(np.intp)


def _shrunk(sizes: npt.NDArray[Any], level: float, method: str, shrinkage: float, *, towards: float) -> float:
    """Logarithm of the factor for some |error| / spread (date, pixel), shrunk by how few dates there are."""
    dates = int(np.isfinite(sizes).any(axis=1).sum())
    if not dates:
        return towards
    own = math.log(max(_factor_of(sizes[np.isfinite(sizes)], level, method), 1e-3))
    return towards + (own - towards) * dates / (dates + shrinkage)


def _factor_of(sizes: npt.NDArray[Any], level: float, method: str) -> float:
    if method == "scale":
        return float(np.sqrt(np.mean(sizes**2)))
    # the rank that makes the coverage of one more exchangeable value at least the level; too few values: the largest
    rank = min(math.ceil((len(sizes) + 1) * level), len(sizes))
    return float(np.partition(sizes, rank - 1)[rank - 1]) / NormalDist().inv_cdf((1 + level) / 2)

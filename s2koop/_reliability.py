"""Whether intervals mean what they say: coverage at many levels, and where observations fall, by band and lead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop._align import align, parts
from s2koop.errors import InputError

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BINS = 10
_DAY = np.timedelta64(1, "D")

Results = xr.Dataset | Mapping[Any, xr.Dataset]


class Deviates(NamedTuple):
    """Observations minus means over spreads, float64 and lazy where the result is, and days from the origin."""

    values: xr.DataArray
    lead: npt.NDArray[np.float64] | None


def calibration_table(
    result: Results,
    observations: xr.DataArray,
    *,
    levels: Sequence[float] = LEVELS,
    leads: Sequence[float] | None = None,
    origin: Any = None,
) -> xr.Dataset:
    """Nominal beside observed coverage of central Gaussian intervals, and the histogram of where observations fall.

    Parameters
    ----------
    result : Dataset, or mapping of origin to Dataset
        With ``mean`` and ``spread``. A mapping pools forecasts from several origins (the last date that each has seen).
    observations : DataArray, dims (time, band, y, x)
        NaN = missing. Only dates that both have are compared.
    levels : sequence of float
        Nominal coverages, between 0 and 1.
    leads : sequence of float, optional
        Edges in days, such as ``(0, 15, 45, 105)``: a date that lies more than 0 and at most 15 days after the origin
        is in the first group, and so on; others are left out.
    origin : datetime, optional
        Of a single result: where its leads count from.

    Returns
    -------
    Dataset, dims (band, [lead], level or bin)
        ``coverage``, the share of observations inside each interval; ``pit``, the share in each tenth of the forecast
        distribution (0.1 everywhere where the forecast is calibrated; u-shaped where it is overconfident); and ``n``,
        the number of observations. NaN where there is none.

    Raises
    ------
    InputError
        If a result has no spread, nothing in common with the observations, or leads without an origin.

    References
    ----------
    T. Gneiting, F. Balabdaoui and A. E. Raftery, J. R. Stat. Soc. B 69, 2007 (probability integral transform).

    Examples
    --------
    >>> dates = pd.to_datetime(["2020-05-01", "2020-06-06"])
    >>> observed = xr.DataArray([[0.1], [0.3]], dims=("time", "band"), coords={"time": dates, "band": ["B04"]})
    >>> result = xr.Dataset({"mean": observed + 0.01, "spread": observed * 0 + 0.02})
    >>> table = calibration_table(result, observed, levels=[0.2, 0.9], leads=(0, 15, 45), origin="2020-04-25")
    >>> table["coverage"].sel(lead="15-45").values
    array([[0., 1.]])
    """
    asked = _levels(levels)
    groups = LeadGroups.of(leads)
    halves = [NormalDist().inv_cdf((1 + level) / 2) for level in asked]
    edges = [NormalDist().inv_cdf(k / BINS) for k in range(1, BINS)]
    bands: list[str] = []
    sums: dict[str, Any] = {"n": 0, "coverage": 0, "pit": 0}
    for values, lead in deviates(result, observations, origin=origin, need_lead=leads is not None):
        counted = _counts(values, halves, edges)
        which = groups.index(lead, values.sizes["time"])
        bands = [str(band) for band in values["band"].values]
        for name, count in counted.items():
            sums[name] = sums[name] + groups.pooled(count, which)
    with np.errstate(invalid="ignore"):
        share = {name: sums[name] / sums["n"][..., None] for name in ("coverage", "pit")}
    table = xr.Dataset(
        {
            "coverage": (
                ("band", "lead", "level"),
                share["coverage"],
                {"long_name": "observed coverage", "units": "1"},
            ),
            "pit": (("band", "lead", "bin"), share["pit"], {"long_name": "share of observations", "units": "1"}),
            "n": (("band", "lead"), sums["n"].astype(np.int64), {"long_name": "number of observations"}),
        },
        coords={
            "band": bands,
            "lead": ("lead", groups.labels, {"long_name": "days after the last date seen"}),
            "level": ("level", asked, {"long_name": "nominal coverage", "units": "1"}),
            "bin": ("bin", (np.arange(BINS) + 0.5) / BINS, {"long_name": "middle of the tenth", "units": "1"}),
        },
    )
    return table if leads is not None else table.isel(lead=0, drop=True)


def rank_histogram(result: xr.Dataset | xr.DataArray, observations: xr.DataArray) -> xr.DataArray:
    """Share of observations that have each number of members below them: flat where members are as likely as the truth.

    Ties count as above. Members are trajectories; they do not hold the noise of an observation.

    Parameters
    ----------
    result : Dataset or DataArray
        With a variable (or itself) with the dim ``member``.
    observations : DataArray, dims (time, band, y, x)

    Returns
    -------
    DataArray, dims (band, rank)

    Raises
    ------
    InputError
        If there are no members, or no observation beside them.

    References
    ----------
    T. M. Hamill, Mon. Wea. Rev. 129, 2001.

    Examples
    --------
    >>> observed = xr.DataArray([[0.15]], dims=("time", "band"),
    ...                         coords={"time": pd.to_datetime(["2020-05-01"]), "band": ["B04"]})
    >>> members = xr.concat([observed - 0.1, observed + 0.1, observed + 0.2], "member")
    >>> rank_histogram(members, observed).values
    array([[0., 1., 0., 0.]])
    """
    if parts(result)[2] is None:
        raise InputError("the result has no members; ask for them: cube.koopman.forecast(ensemble, members=True, ...)")
    aligned, observed = align({"result": result}, observations)
    members = parts(aligned["result"])[2]
    assert members is not None
    usable = observed.notnull() & members.notnull().all("member")
    rank = (members < observed).sum("member").where(usable, -1)
    others = [dim for dim in observed.dims if dim != "band"]
    count = members.sizes["member"]
    shares = xr.concat([(rank == k).sum(others) for k in range(count + 1)], "rank").transpose("band", "rank").compute()
    if not int(shares.sum()):
        raise InputError("there is no observation for which all members have a value")
    share = (shares / shares.sum("rank")).assign_coords(rank=np.arange(count + 1))
    return share.rename("rank_histogram").assign_attrs(long_name="share of observations", units="1")


def deviates(result: Results, observations: xr.DataArray, *, origin: Any, need_lead: bool) -> Iterator[Deviates]:
    """Standardised errors of each result on the dates that it shares with the observations."""
    if not isinstance(observations, xr.DataArray):
        raise InputError(f"observations must be a DataArray, found {type(observations).__name__}")
    single = isinstance(result, xr.Dataset) or not isinstance(result, Mapping)
    if single and need_lead and origin is None:
        raise InputError("leads= count from the last date that the forecast has seen; give origin='2019-12-31' or such")
    if not single and origin is not None:
        raise InputError("several results have origins of their own, as the keys of the mapping; leave origin= out")
    named: dict[Any, Any] = {origin: result} if single else dict(result)
    if not named:
        raise InputError("there is no result; give a Dataset, or a mapping of origins to Datasets")
    for begin, each in named.items():
        aligned, observed = align({"result": each}, observations)
        mean, spread, _ = parts(aligned["result"])
        if spread is None or "spread" not in aligned["result"]:
            raise InputError("the result has no spread, so it says nothing of intervals; give one with mean and spread")
        values = ((observed.astype(np.float64) - mean) / spread.where(spread > 0)).transpose("time", "band", ...)
        lead = None if begin is None else leads_of(observed["time"].values, begin)
        yield Deviates(values, lead)


class LeadGroups:
    """Groups of dates by their lead, from edges in days; without edges one group of all."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges

    @classmethod
    def of(cls, leads: Sequence[float] | None) -> LeadGroups:
        """Groups between edges, which are checked."""
        if leads is None:
            return cls(())
        try:
            edges = tuple(float(edge) for edge in leads)
        except (TypeError, ValueError):
            edges = ()
        if len(edges) < 2 or not (np.diff(edges) > 0).all() or not np.isfinite(edges).all():
            raise InputError(
                f"leads={leads!r} must be increasing edges in days, at least two, such as (0, 15, 45, 105)"
            )
        return cls(edges)

    @property
    def labels(self) -> list[str]:
        """A name for each group."""
        return [f"{a:g}-{b:g}" for a, b in zip(self.edges, self.edges[1:], strict=False)] or ["all"]

    def index(self, lead: npt.NDArray[np.float64] | None, dates: int) -> npt.NDArray[np.intp]:
        """The group of each date; -1 where it is in none."""
        if not self.edges:
            return np.zeros(dates, dtype=np.intp)
        assert lead is not None
        found = np.searchsorted(self.edges, lead, side="left") - 1
        return np.where(found < len(self.edges) - 1, found, -1)

    def pooled(self, counts: npt.NDArray[Any], which: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Counts (time, band, ...) summed to (band, group, ...)."""
        sums = [counts[which == group].sum(axis=0) for group in range(len(self.labels))]
        return np.stack(sums, axis=1)


def _counts(values: xr.DataArray, halves: Sequence[float], edges: Sequence[float]) -> dict[str, npt.NDArray[Any]]:
    """Numbers by date and band: of observations, of those inside each interval, and of those in each bin; one pass."""
    pixels = [dim for dim in values.dims if dim not in ("time", "band")]
    lazy = {"n": values.notnull().sum(pixels)}
    lazy |= {f"inside{k}": (abs(values) <= half).sum(pixels) for k, half in enumerate(halves)}
    lazy |= {f"below{k}": (values < edge).sum(pixels) for k, edge in enumerate(edges)}
    found = xr.Dataset(lazy).compute()
    n = found["n"].values
    below = [np.zeros_like(n), *(found[f"below{k}"].values for k in range(len(edges))), n]
    inside = np.stack([found[f"inside{k}"].values for k in range(len(halves))], -1)
    return {"n": n, "coverage": inside, "pit": np.diff(np.stack(below, -1), axis=-1)}


def _levels(levels: Any) -> npt.NDArray[np.float64]:
    asked = np.atleast_1d(np.asarray(levels, dtype=float))
    if asked.ndim != 1 or not len(asked) or not ((asked > 0) & (asked < 1)).all():
        raise InputError(f"levels={levels!r} must lie between 0 and 1; 0.9 is the 90 % interval")
    return asked


def leads_of(times: npt.NDArray[Any], origin: Any) -> npt.NDArray[np.float64]:
    """Days from an origin to each date."""
    try:
        begin = pd.Timestamp(origin)
        if begin is pd.NaT:
            raise ValueError("NaT")
    except (TypeError, ValueError) as error:
        raise InputError(f"origin={origin!r} is not a date; write such as '2019-12-31'") from error
    return (times - begin.to_datetime64()) / _DAY

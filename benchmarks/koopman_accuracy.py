"""Accuracy on real series, beside what a user would otherwise pick: forecasts near and far, gaps, and honest intervals.

Three tasks. Rolling origin: from every clear date of a test period, forecasts of the dates of the next 105 days.
Long range: the whole test period from its first day. Gaps: withheld observations of the whole series, one in five at
random, and a block of 60 days of each pixel. A Koopman model is fitted once on what precedes the test period (for
gaps: on the same cube, without what is withheld), and assimilates what is known at each origin; the others are
fitted anew at each origin. What is judged are observations, so what a sensor would see is asked of the analysis.
Usable is what the masks of the files say, haze included; a pair counts where every method has a value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import s2koop  # noqa: F401  registers .koopman
from benchmarks._gaps import block_gaps, random_gaps
from benchmarks._report import check, main, report
from benchmarks._series import SOURCES, Series, load
from s2koop import baselines
from s2koop._time import to_days
from s2koop.koopman import KoopmanModel
from s2koop.scores import SCORES, evaluate

Method = Callable[[xr.DataArray, np.ndarray], xr.Dataset | xr.DataArray]
Rows = list[dict[str, Any]]

SEED = 0
OURS, GAUSSIAN, LOW_RANK = "s2koop", "Gaussian process", "low-rank EM, rank 8"
#: Lead times in days; a class holds its end and not its begin.
LEADS = ((0, 15), (15, 45), (45, 105))
NEAR = ("0-15 d", "15-45 d")
ROLLING, LONG = "rolling origin", "long range"
GAPS = {"gaps, random 20 %": random_gaps, "gaps, 60-day blocks": block_gaps}
#: What the forecasts of the rolling origin must beat, the Gaussian process aside.
RIVALS: dict[str, Method] = {
    "persistence": lambda past, times: baselines.persistence(past, times=times),
    "harmonic, 2 terms": lambda past, times: baselines.harmonic(past, times=times),
    "harmonic + last residual, 60 d": lambda past, times: baselines.harmonic_residual(past, times=times),
    "harmonic + 3 residuals, 180 d": lambda past, times: baselines.harmonic_residual(
        past, times=times, last=3, decay_days=180.0
    ),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of the work is done.

    Attributes
    ----------
    every : mapping
        Series to the step between its pixels, in both directions.
    rolling_every, process_every : mapping
        Further steps between pixels: for the rolling origin, and there for the Gaussian process. None is 1.
    origins : mapping
        Series to the step between its origins.
    draws : mapping
        Series to the number of draws of gaps that are judged together: one of a small cube says little. None is 1.
    fit, analysis, process, lstm, dmd : mapping
        Options of our fit, of our analyses, and of the slow ones among the others.
    """

    every: Mapping[str, int]
    rolling_every: Mapping[str, int]
    process_every: Mapping[str, int]
    origins: Mapping[str, int]
    draws: Mapping[str, int] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    analysis: Mapping[str, Any] = field(default_factory=dict)
    process: Mapping[str, Any] = field(default_factory=dict)
    lstm: Mapping[str, Any] = field(default_factory=dict)
    dmd: Mapping[str, Any] = field(default_factory=dict)


WHOLE = Plan(
    every={"Romania": 2, "Slovenia": 2}, rolling_every={"Slovenia": 2}, process_every={"Romania": 2},
    origins={"Drome": 3, "Slovenia": 2}, draws={"Drome": 4},
)  # fmt: skip
QUICK = Plan(
    every={"Romania": 5, "Drome": 2, "Slovenia": 10},
    rolling_every={},
    process_every={"Romania": 3},
    origins={"Romania": 3, "Drome": 12, "Slovenia": 6},
    fit={
        "steps": 30, "validate_every": 15, "hidden": (32,), "latent": 16, "batch_pixels": 64, "batch_dates": 8,
        "max_pixels": 32,
    },
    process={"sample": 8, "max_iterations": 5},
    lstm={"max_batches": 10, "hidden": 32},
    dmd={"bags": 4},
)  # fmt: skip


def rolling_origin(series: Series, model: KoopmanModel, plan: Plan) -> Rows:
    """Rows of the forecasts from the origins, by lead; a Gaussian process on some pixels has a table of its own."""
    every = plan.process_every.get(series.name, 1)
    cube = _thinned(series.cube, plan.rolling_every.get(series.name, 1))
    origins = series.origins()[:: plan.origins.get(series.name, 1)]
    seen, results = _from_origins(cube, origins, _forecasters(model, plan))
    _, extra = _from_origins(_thinned(cube, every), origins, {GAUSSIAN: partial(_process, plan=plan)})
    rows: Rows = []
    for lead, observed in seen.items():
        if every > 1:
            rows += _rows(ROLLING, series, lead, results[lead], observed)
        task = ROLLING if every == 1 else f"{ROLLING}, 1 pixel in {every**2}"
        both = {name: _thinned(result, every) for name, result in results[lead].items()} | extra[lead]
        rows += _rows(task, series, lead, both, _thinned(observed, every))
    return rows


def _forecasters(model: KoopmanModel, plan: Plan) -> dict[str, Method]:
    def ours(past: xr.DataArray, times: np.ndarray) -> xr.Dataset:
        return past.koopman.forecast(model, times=times, as_observed=True, progress=False, **plan.analysis)

    return {OURS: ours, **RIVALS, "pixel mean": lambda past, times: baselines.pixel_mean(past, times=times)}


def _process(past: xr.DataArray, times: np.ndarray, *, plan: Plan) -> xr.Dataset:
    return baselines.gaussian_process(past, times=times, **plan.process)


def _thinned(cube: Any, every: int) -> Any:
    return cube.isel(y=slice(None, None, every), x=slice(None, None, every))


def _from_origins(
    cube: xr.DataArray, origins: Sequence[np.datetime64], methods: Mapping[str, Method]
) -> tuple[dict[str, xr.DataArray], dict[str, dict[str, xr.Dataset]]]:
    """Observations of each lead (pair, band, y, x), and what each method forecast for them from the origins."""
    seen: dict[str, list[xr.DataArray]] = {}
    results: dict[str, dict[str, list[xr.Dataset]]] = {}
    for origin in origins:
        past = cube.sel(time=cube.time <= origin)
        ahead = (cube.time - origin) / np.timedelta64(1, "D")
        later = cube.sel(time=(ahead > 0) & (ahead <= LEADS[-1][1]))
        if not later.sizes["time"]:
            continue
        found = {name: _scored(method(past, later.time.values)) for name, method in methods.items()}
        days = ahead.sel(time=later.time).values
        for begin, end in LEADS:
            dates = np.flatnonzero((days > begin) & (days <= end))
            if not len(dates):
                continue
            lead = f"{begin}-{end} d"
            seen.setdefault(lead, []).append(_pairs(later.isel(time=dates)))
            for name, result in found.items():
                results.setdefault(lead, {}).setdefault(name, []).append(_pairs(result.isel(time=dates)))
    pooled = {
        lead: {name: xr.concat(parts, "pair") for name, parts in by_name.items()} for lead, by_name in results.items()
    }
    return {lead: xr.concat(parts, "pair") for lead, parts in seen.items()}, pooled


def _scored(result: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """What is judged of a result, bare of what differs between methods."""
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name="mean")
    return result[[name for name in ("mean", "spread") if name in result]].drop_attrs()


def _pairs(data: Any) -> Any:
    """Dates become pairs: two origins forecast the same date, and both forecasts count."""
    return data.rename(time="pair").drop_vars("pair")


def long_range(series: Series, model: KoopmanModel, plan: Plan) -> Rows:
    """Rows of one forecast of the whole test period from its first day."""
    methods: dict[str, Method] = {
        **_forecasters(model, plan),
        "same day last year": lambda past, times: baselines.same_day_last_year(past, times=times),
        "harmonic, 1 term": lambda past, times: baselines.harmonic(past, times=times, harmonics=1),
        GAUSSIAN: partial(_process, plan=plan),
        "LSTM": lambda past, times: baselines.lstm(past, times=times, seed=SEED, **plan.lstm),
    }
    if find_spec("pydmd"):
        methods["DMD"] = lambda past, times: baselines.dmd(past, times=times, seed=SEED, **plan.dmd)
    if "NDVI" in series.cube.band:
        methods["harmonic, 1 term, least squares"] = lambda past, times: baselines.harmonic(
            past, times=times, harmonics=1, ridge=0.3, robust=False
        )
    results = {name: method(series.training, series.test.time.values) for name, method in methods.items()}
    return _rows(LONG, series, "whole period", results, series.test)


def gaps(series: Series, plan: Plan, seed: int) -> Rows:
    """Rows of the fills of both kinds of gaps; those of several draws are judged together."""
    rows: Rows = []
    for task in GAPS:
        seen: list[xr.DataArray] = []
        results: dict[str, list[xr.Dataset]] = {}
        for draw in range(plan.draws.get(series.name, 1)):
            hidden = _withheld(series.cube, task, seed + 100 * draw)
            left = series.cube.where(~hidden)
            seen.append(_pairs(series.cube.where(hidden)))
            for name, fill in _fillers(_fit(left, plan), plan).items():
                results.setdefault(name, []).append(_pairs(_scored(fill(left, left.time.values))))
        together = {name: xr.concat(parts, "pair") for name, parts in results.items()}
        rows += _rows(task, series, "", together, xr.concat(seen, "pair"))
    return rows


def _withheld(cube: xr.DataArray, task: str, seed: int) -> xr.DataArray:
    """Which observations (time, y, x) a draw of gaps takes away."""
    clear = cube.notnull().any("band").values
    if GAPS[task] is random_gaps:
        return xr.DataArray(random_gaps(clear, seed=seed), dims=("time", "y", "x"))
    return xr.DataArray(block_gaps(clear, to_days(cube.time.values), seed=seed), dims=("time", "y", "x"))


def _fillers(model: KoopmanModel, plan: Plan) -> dict[str, Method]:
    def ours(left: xr.DataArray, times: np.ndarray, spatial: str | None) -> xr.Dataset:
        return left.koopman.assimilate(model, as_observed=True, spatial=spatial, progress=False, **plan.analysis)

    return {
        OURS: partial(ours, spatial="tikhonov"),
        f"{OURS} without neighbours": partial(ours, spatial=None),
        LOW_RANK: lambda left, times: baselines.low_rank(left, rank=8, seed=SEED),
        "whittaker": lambda left, times: baselines.whittaker(left, times=times),
        "linear": lambda left, times: left.interpolate_na("time"),
        "harmonic, 2 terms": RIVALS["harmonic, 2 terms"],
        "harmonic + nearest residuals, 60 d": RIVALS["harmonic + last residual, 60 d"],
    }


def _fit(cube: xr.DataArray, plan: Plan) -> KoopmanModel:
    return cube.koopman.fit(seed=SEED, progress=False, **plan.fit)


def _rows(task: str, series: Series, lead: str, results: Mapping[str, Any], observed: xr.DataArray) -> Rows:
    """A row per method and band, without the scores that a method does not have."""
    table = evaluate(results, observed).reset_index()
    columns = [*SCORES, "n"]
    rows = []
    for row in table[table["n"] > 0].to_dict("records"):
        about = {"task": task, "series": series.name, "band": row["band"], "lead": lead, "method": row["method"]}
        rows.append(about | {name: row[name] for name in columns if np.isfinite(row[name])})
    return rows


def _won(table: pd.DataFrame, rivals: Sequence[str] | None = None) -> float:
    """Share of cells in which we are the best of the methods, or of these rivals."""
    return float(np.mean([cell[OURS] <= cell.drop(OURS).min() for cell in _cells(table, rivals)]))


def _ratios(table: pd.DataFrame, rivals: Sequence[str] | None = None) -> list[float]:
    """Ours over the best of the others, cell by cell."""
    return [float(cell[OURS] / cell.drop(OURS).min()) for cell in _cells(table, rivals)]


def _cells(table: pd.DataFrame, rivals: Sequence[str] | None) -> list[pd.Series]:
    """One series of values by method for each series, band, lead and score of a table."""
    if rivals is not None:
        table = table[table["method"].isin([OURS, *rivals])]
    return [cell.set_index("method")["value"].dropna() for _, cell in table.groupby([*_CELL, "score"])]


_CELL = ["task", "series", "band", "lead"]


def _long(rows: Rows, scores: Sequence[str], **where: Any) -> pd.DataFrame:
    """Some rows, a line for each score."""
    table = pd.DataFrame(rows)
    for column, wanted in where.items():
        table = table[table[column].isin([wanted] if isinstance(wanted, str) else list(wanted))]
    return table.melt([*_CELL, "method"], list(scores), "score", "value")


def checks_of(rows: Rows) -> list[dict[str, Any]]:
    """What the figures must show."""
    table = pd.DataFrame(rows)
    both = ["rmse", "crps"]
    with_process = sorted(set(table["task"][table["task"].str.startswith(ROLLING) & (table["method"] == GAUSSIAN)]))
    cells = table.groupby(_CELL)["method"].agg(set)
    won = _won(_long(rows, both, task=ROLLING), list(RIVALS))
    won_process = _won(_long(rows, both, task=with_process), [*RIVALS, GAUSSIAN])
    gain = 1 - float(np.mean(_ratios(_long(rows, ["rmse"], task=ROLLING, lead=NEAR), list(RIVALS))))
    far = max(_ratios(_long(rows, ["rmse"], task=LONG)))
    far_won = _won(_long(rows, ["crps"], task=LONG))
    gap = max(_ratios(_long(rows, ["rmse"], task=GAPS), [LOW_RANK]))
    assert all(OURS in methods for methods in cells)
    return [
        check("rolling_cells_won_share", won, ">= 2/3", won >= 2 / 3),
        check("rolling_cells_won_share_process", won_process, ">= 2/3, the Gaussian process too", won_process >= 2 / 3),
        check("rolling_gain_45d", gain, ">= 0.10", gain >= 0.10),
        check("long_range_worst_ratio", far, "<= 1.02", far <= 1.02),
        check("long_range_crps_won_share", far_won, ">= 2/3", far_won >= 2 / 3),
        check("gap_worst_ratio", gap, "<= 1", gap <= 1),
        _worst(table, "coverage", "coverage_90", 0.9, 0.02),
        _worst(table, "spread_skill", "spread_skill", 1.0, 0.1),
        *_ndvi(table),
    ]


def _worst(table: pd.DataFrame, score: str, name: str, perfect: float, room: float) -> dict[str, Any]:
    """The cell of all tasks that is farthest from perfect."""
    ours = table[(table["method"] == OURS) & table[score].notna()].reset_index(drop=True)
    worst = ours.loc[(ours[score] - perfect).abs().idxmax()]
    cell = " ".join(str(worst[column]) for column in _CELL if worst[column])
    target = f"{perfect - room:.2f} to {perfect + room:.2f}; worst: {cell}"
    return check(name, float(worst[score]), target, abs(worst[score] - perfect) <= room)


def _ndvi(table: pd.DataFrame) -> list[dict[str, Any]]:
    ours = table[(table["method"] == OURS) & (table["series"] == "Slovenia")].set_index("task")
    random, block = GAPS
    asked = (
        ("ndvi_forecast_rmse", LONG, "rmse", 0.118), ("ndvi_forecast_crps", LONG, "crps", 0.060),
        ("gap_random_rmse", random, "rmse", 0.050), ("gap_block_rmse", block, "rmse", 0.052),
    )  # fmt: skip
    found = [(name, float(ours.loc[task, score]), most) for name, task, score, most in asked]
    return [check(name, value, f"<= {most:.3f}", value <= most) for name, value, most in found]


def run(quick: bool, validate: bool = False) -> dict[str, Any]:
    """All tasks on all series; quick takes fewer pixels, origins and steps of training."""
    torch.set_num_threads(1)
    plan, rows = QUICK if quick else WHOLE, []
    for name in SOURCES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        series = load(name, validate=validate, every=plan.every.get(name, 1))
        model = _fit(series.training, plan)
        rows += rolling_origin(series, model, plan)
        rows += long_range(series, model, plan)
        rows += gaps(series, plan, SEED + validate)
    data = "Sentinel-2 series of Romania (test from 2020), Drome (from 2019), Slovenia (NDVI, 2017)"
    if validate:
        data = "Sentinel-2 series of Romania (2019), Drome (2018), Slovenia (NDVI, second half of 2016), for validation"
    return report(data=data + (", thinned" if quick else ""), seed=SEED, rows=rows, checks=checks_of(rows))


if __name__ == "__main__":
    main(run, __doc__ or "", validate="test an earlier period, to choose settings by")

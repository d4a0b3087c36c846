"""A year ahead on the sample catalogue: Koopman assimilation and forecast beside every baseline.

Data to 2019-12-31, scored on clear observations of 2020 (scene classes 4 to 7) that all methods have a value for.
"""

from __future__ import annotations

import time
from typing import Any

import xarray as xr

import s2koop
from benchmarks._report import check, main, peak_memory_mb, report
from s2koop.demo import CUT, baselines

SEED = 0


def run(quick: bool) -> dict[str, Any]:
    """Train, forecast and score; quick takes every fifth pixel."""
    cube = s2koop.sample(resampling="average").load()
    if quick:
        cube = cube.isel(y=slice(None, None, 5), x=slice(None, None, 5))
    past, later = cube.sel(time=slice(None, CUT)), cube.sel(time=slice("2020-01-01", "2020-12-31"))
    seconds, forecasts = {}, {}
    began = time.process_time()
    model = past.koopman.fit(seed=SEED, progress=False)
    seconds["koopman fit"] = time.process_time() - began
    began = time.process_time()
    forecasts["koopman"] = past.koopman.forecast(model, times=later.time, as_observed=True, progress=False)
    seconds["koopman forecast"] = time.process_time() - began
    forecasts |= baselines(past, later.time)
    table = s2koop.scores.evaluate(forecasts, later)
    rows = [
        {"method": method, "band": band, **{name: round(float(value), 5) for name, value in scores.items()}}
        for (method, band), scores in table.iterrows()
    ]
    return report(
        data=f"sample catalogue, 20 m, {cube.sizes['y']} x {cube.sizes['x']} pixels; fit and assimilation to {CUT}",
        seed=SEED,
        rows=rows,
        checks=_checks(table, seconds, past),
    )


def _checks(table: Any, seconds: dict[str, float], past: xr.DataArray) -> list[dict[str, Any]]:
    errors = table["rmse"].unstack("method")
    best = errors.drop(columns="koopman").min(axis=1)
    won = [str(band) for band in errors.index if errors.loc[band, "koopman"] <= best[band]]
    inside = table.loc["koopman", "coverage"]
    per_pixel = 1000 * seconds["koopman forecast"] / (past.sizes["y"] * past.sizes["x"])
    return [
        check(f"bands in which koopman is no worse than the best baseline ({' '.join(won)})", len(won), "at least 3 of 6", len(won) >= 3),
        check("worst RMSE of koopman over the best baseline's, any band", float((errors["koopman"] / best).max()), "at most 1.00", bool((errors["koopman"] <= best).all())),
        check("smallest coverage of the 90 % interval, any band", float(inside.min()), "0.85 to 0.95", 0.85 <= inside.min() <= 0.95),
        check("largest coverage of the 90 % interval, any band", float(inside.max()), "0.85 to 0.95", 0.85 <= inside.max() <= 0.95),
        check("CPU milliseconds a pixel to assimilate and forecast", per_pixel, "reported", True),
        check("CPU seconds of the fit over those of the forecast", seconds["koopman fit"] / seconds["koopman forecast"], "reported", True),
        check("peak memory, MB", peak_memory_mb(), "under 1500", peak_memory_mb() < 1500),
    ]  # fmt: skip


if __name__ == "__main__":
    main(run, __doc__ or "")

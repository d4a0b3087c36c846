"""The main road in one run, headless and without network: ``python -m s2koop.demo`` (what `make demo` calls).

Sample catalogue, search, lazy cube, fit, assimilation to the end of 2019, forecast of 2020, scores beside the
baselines, figures and one HTML page.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

import s2koop
from s2koop.catalog._nrt import LICENSE
from s2koop.errors import S2koopError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from s2koop.koopman import KoopmanModel

CUT = "2019-12-31"
SHOWN_BAND = "B8A"
STATE = "Spread of the state (1 sd)"
SHOWN_SCORES = {
    "rmse": "root mean square error (lower is better)",
    "crps": "CRPS (lower is better)",
    "coverage": "share of observations inside the 90 % interval",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status is 1 where s2koop refused something."""
    parser = argparse.ArgumentParser(prog="python -m s2koop.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for figures and page")
    parser.add_argument("--steps", type=int, default=None, help="most training steps (default: that of the package)")
    options = parser.parse_args(arguments)
    try:
        run(options.output, steps=options.steps)
    except S2koopError as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def run(output: Path, *, steps: int | None = None) -> pd.DataFrame:
    """Drive the road once, write what it shows into a folder, and return the table of scores."""
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)

    _say("Search the embedded catalogue")
    items = s2koop.search("sample")
    print(items)

    _say("Open it as a lazy cube")
    cube = s2koop.load(items, resolution=20, resampling="average", chunks="time")
    print(f"{dict(cube.sizes)}, {cube.nbytes / 1e6:.1f} MB of {cube.dtype}, nothing read yet")
    cube = cube.load()
    past, later = cube.sel(time=slice(None, CUT)), cube.sel(time=slice("2020-01-01", "2020-12-31"))

    _say(f"Learn the dynamics from {past.sizes['time']} dates up to {CUT}")
    model = past.koopman.fit(**({} if steps is None else {"steps": steps}))
    print(model)

    _say("Assimilate, and forecast the dates of 2020")
    result = past.koopman.assimilate(model, times=xr.concat([past.time, later.time], "time"))  # one pass for both
    forecast = result.sel(time=later.time)

    _say("Score the forecast beside what one would pick instead, on clear observations of 2020")
    table = compare(past, later, forecast)
    marked = s2koop.scores.mark_best(table)
    for score, heading in SHOWN_SCORES.items():
        print(f"\n{heading}; * is best\n{by_band(marked, score).to_string()}")

    _say("Draw")
    figures = draw(past, later, result)
    page = _write(output, f"{items.attribution}. Licence of the series: {LICENSE}.", model, table, figures)
    print(f"\nDone in {time.perf_counter() - began:.0f} s, peak memory {_peak_mb():.0f} MB.")
    print(f"Look at        {page.resolve()}")
    print("Play with it   make lab   (opens notebooks/00_start.ipynb)")
    return table


def baselines(past: xr.DataArray, times: xr.DataArray) -> dict[str, xr.Dataset]:
    """Forecasts of everything in `s2koop.baselines`, by name."""
    names = ("persistence", "pixel_mean", "same_day_last_year", "harmonic", "whittaker")
    return {name: getattr(s2koop.baselines, name)(past, times=times) for name in names}


def compare(past: xr.DataArray, later: xr.DataArray, forecast: xr.Dataset) -> pd.DataFrame:
    """Scores of a forecast and of every baseline, on the observations that all of them have a value for."""
    return s2koop.scores.evaluate({"koopman": forecast, **baselines(past, later.time)}, later)


def draw(past: xr.DataArray, later: xr.DataArray, result: xr.Dataset) -> dict[str, Figure]:
    """Three figures: a half clouded date with its analysis and spread, a forecast date, and the series of one pixel."""
    from s2koop.plots import figures

    clouded = _date_with_share(past, 0.6)
    ahead = _clearest(later.sel(time=later.time.dt.month.isin([6, 7, 8])))
    at = {"band": SHOWN_BAND}
    filled, forecast = (result.sel(at).sel(time=date.time) for date in (clouded, ahead))
    return {
        "Gap filling: an observation partly under cloud, its analysis, and the spread": figures.maps_figure(
            clouded.sel(at), filled["mean"], filled["spread_state"], headings=("Observation", "Analysis", STATE)
        ),
        "Forecast: what was seen in the summer of 2020, what was forecast in 2019, the spread": figures.maps_figure(
            ahead.sel(at),
            forecast["mean"],
            forecast["spread_state"],
            headings=("Observation", "Forecast", STATE),
        ),
        "One pixel: observations and analysis to 2019, the forecast with its 90 % interval, and what came later": (
            figures.series_figure(past, result, pixel=_best_seen_pixel(later), bands=["B04", SHOWN_BAND], later=later)
        ),
    }


def _date_with_share(cube: xr.DataArray, share: float) -> xr.DataArray:
    """The date whose usable share of pixels is nearest to one that is wanted."""
    seen = cube.notnull().any("band").mean(("y", "x"))
    return cube.isel(time=int(np.argmin(np.abs(seen.values - share))))


def _clearest(cube: xr.DataArray) -> xr.DataArray:
    """The date that is darkest in the blue among those seen nearly whole: haze and missed cloud are bright there."""
    whole = cube.notnull().any("band").mean(("y", "x")).values > 0.95
    blue = cube.sel(band="B02").mean(("y", "x")).values
    return cube.isel(time=int(np.argmin(np.where(whole, blue, np.inf))))


def _best_seen_pixel(cube: xr.DataArray) -> tuple[int, int]:
    count = cube.notnull().any("band").sum("time").values
    row, column = np.unravel_index(int(np.argmax(count)), count.shape)
    return int(row), int(column)


def by_band(table: pd.DataFrame, score: str) -> pd.DataFrame:
    """One score as a small table: a row per method, a column per band."""
    methods, bands = (table.index.unique(level) for level in ("method", "band"))
    return table[score].unstack("band").loc[methods, bands].rename_axis(index=None, columns=None)


def _write(
    output: Path, attribution: str, model: KoopmanModel, table: pd.DataFrame, figures: Mapping[str, Figure]
) -> Path:
    from s2koop.plots.report import write_report

    for name, figure in zip(("gap_filling", "forecast", "pixel_series"), figures.values(), strict=True):
        figure.savefig(output / f"{name}.png", dpi=130)
    table.to_csv(output / "scores.csv")
    model.save(output / "model.safetensors")
    return write_report(
        output / "index.html",
        title="Sentinel-2, assimilated and forecast",
        text=[
            "A Koopman autoencoder learned the reflectance of a mountain forest in Romania from what Sentinel-2 saw up "
            f"to {CUT}. Assimilation fits its trajectory to the clear observations of every pixel; the forecast of "
            "2020 follows from it, without any observation of that year.",
            "The scores set it beside what one would otherwise pick, on the clear observations of 2020. Scene classes "
            "let some haze and snow through, which no forecast can know of.",
        ],
        figures=figures,
        tables={f"Forecast of 2020: {heading}": by_band(table, score) for score, heading in SHOWN_SCORES.items()},
        attribution=attribution,
    )


def _say(what: str) -> None:
    print(f"\n\033[1m== {what}\033[0m", flush=True)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    sys.exit(main())

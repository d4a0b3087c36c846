"""The numbers that pages quote from the results of the benchmarks, each by its name.

In a page a number stands between comments, ``<!--year_romania-->3.0<!---->``, so that it reads well anywhere.
``cd docs && python -m _tools.quotes`` writes them anew after the benchmarks have run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from _tools.paths import DOCS
from _tools.results import load, mean, rows

#: A number with its name.
QUOTE = re.compile(r"<!--(\w+)-->([^<]*)<!---->")

_KOOPMAN = "koopman_accuracy"
_LONG = partial(mean, _KOOPMAN, "rmse", task="long range")
_BLOCK = partial(mean, _KOOPMAN, task="gaps, 60-day blocks")
_RANDOM = partial(mean, _KOOPMAN, "rmse", task="gaps, random 20 %")
_CLEAR = partial(mean, "ac_accuracy", "mae", case="one aerosol model")
_SEA = partial(mean, "ssl", case="simulated sea")
_COVER = partial(mean, "ssl", "cover_rmse_all")

OURS, HARMONIC, LEAST_SQUARES, PROCESS = (
    "s2koop",
    "harmonic, 2 terms",
    "harmonic, 1 term, least squares",
    "Gaussian process",
)


def method_values() -> dict[str, float]:
    """Numbers of the page "Which method when", unrounded."""
    numbers = {}
    for series in ("Romania", "Drome"):
        ratio = _LONG(series=series, method=OURS) / _LONG(series=series, method=HARMONIC)
        numbers[f"year_{series.lower()}"] = 100 * (1 - ratio)
    ratio = _LONG(series="Slovenia", method=OURS) / _LONG(series="Slovenia", method=LEAST_SQUARES)
    numbers["year_slovenia"] = 100 * (1 - ratio)
    for task, series, place in _SHORT:
        for lead in ("0-15 d", "15-45 d"):
            errors = {
                m: mean(_KOOPMAN, "rmse", task=task, series=series, lead=lead, method=m)
                for m in (OURS, PROCESS, HARMONIC)
            }
            stem = f"{place}_{lead.partition('-')[0]}"
            numbers |= {
                f"{stem}_ours": errors[OURS],
                f"{stem}_process": errors[PROCESS],
                f"{stem}_harmonic": errors[HARMONIC],
            }
    for name, method in _FILLERS.items():
        numbers[f"block_{name}"] = _BLOCK("rmse", series="Romania", method=method)
        numbers[f"random_{name}"] = _RANDOM(series="Romania", method=method)
    for name in ("ours", "low_rank"):
        numbers[f"block_{name}_coverage"] = 100 * _BLOCK("coverage", series="Romania", method=_FILLERS[name])
        numbers[f"drome_{name}_crps"] = _BLOCK("crps", series="Drome", method=_FILLERS[name])
    for name, method in _CORRECTIONS.items():
        numbers[f"ac_{name}"] = _CLEAR(method=method)
    for place, case in (("brazil", "real pairs: BR coast/mangrove/water"), ("denmark", "real pairs: DK crops")):
        numbers[f"{place}_climatology"] = mean("ac_accuracy", "mae", case=case, method="table, climatology")
        numbers[f"{place}_hybrid"] = mean("ac_accuracy", "mae", case=case, method="hybrid, neighbours known")
    numbers["adjacency_wrong"] = mean("ac_physics", "mae", case="12 scenes without adjacency", method="adjacency=1000")
    numbers["adjacency_left"] = mean("ac_physics", "mae", case="12 scenes with adjacency", method="adjacency=None")
    numbers["adjacency_right"] = mean("ac_physics", "mae", case="12 scenes with adjacency", method="adjacency=1000")
    numbers["sea_encoder"] = _SEA("hs_rmse", method="shipped geometry")
    numbers["sea_hand"] = _SEA("hs_rmse", method="all hand-made")
    numbers["sea_untrained"] = float(_untrained()["hs_rmse"].mean())
    numbers["cover_raw"] = _COVER(method="raw series")
    numbers["cover_encoder"] = _COVER(method="series encoder")
    numbers["cover_latents"] = _COVER(method="Koopman latents")
    twins = partial(mean, "koopman_twins", "cpu_s", case="all bands")
    numbers["cost_over_harmonic"] = twins(method=OURS) / twins(method="harmonic")
    return numbers


def scale_values() -> dict[str, float]:
    """Numbers of the page "What it takes", unrounded."""
    scale = partial(mean, "scale")
    numbers = {
        f"{name}_{side}": scale(column, case=f"scene of {side} x {side}")
        for side in (500, 1000, 2000)
        for name, column in (("peak", "peak_mb"), ("rate", "pixel_dates_per_s"))
    }
    numbers |= {
        f"chunk_{n}_{name}": scale(column, case=f"chunks of {n}") for n in (128, 256, 512) for name, column in _CHUNK
    }
    numbers |= {f"{what}_cost": scale("cpu_ms_per_pixel", case=f"in memory: {case}") for what, case in _LOOPS.items()}
    numbers["weak_cost"] = scale("cpu_ms_per_pixel", case="default constraint (weak)")
    numbers["largest_cost"] = scale("cpu_ms_per_pixel", case="scene of 2000 x 2000")
    numbers["staged_http"] = scale("http_mb", case="staged to Zarr")
    numbers["direct_http"] = scale("http_mb", case="scene of 500 x 500")
    numbers["stored"] = scale("stored_mb", case="staged to Zarr")
    for place, case in (("tile", "a tile, 5 years"), ("continent", "a continent of 1000 tiles, 5 years")):
        numbers[f"{place}_hours"] = scale("cpu_hours", case=f"model: {case}")
        numbers[f"{place}_gb"] = scale("http_gb", case=f"model: {case}")
    checks = {check["name"]: check["value"] for check in load("scale")["checks"]}
    numbers |= {name: checks[name] for name in ("peak_growth", "two_worker_speedup", "apply_ufunc_ratio", "loop_ratio")}
    one, two = (scale("wall_s", case=f"{workers}, strong") for workers in ("1 worker", "2 workers"))
    numbers["two_worker_strong"] = one / two
    numbers["two_worker_most"] = scale("speedup", case="two processes that share nothing")
    numbers["open_1000"] = checks["open_1000_items_s"]
    numbers["far_one"] = scale("wall_s", case="answers after 25 ms, one file at once")
    numbers["far_many"] = scale("wall_s", case="answers after 25 ms")
    numbers["open_first"] = scale("with_imports_s", case="search and load of 1000 local items")
    numbers["open_10000"] = scale("wall_s", case="load of 10000 items")
    return numbers


#: Each page with the function that gives its numbers.
PAGES: dict[Path, Callable[[], dict[str, float]]] = {
    DOCS / "which-method.md": method_values,
    DOCS / "scaling.md": scale_values,
}


def quoted(page: Path) -> dict[str, str]:
    """All numbers as a page shows them."""
    return {name: _shown(name, value) for name, value in PAGES[page]().items()}


def renew(text: str, page: Path) -> str:
    """Write all numbers of a text anew, and keep their names."""
    numbers = quoted(page)
    return QUOTE.sub(lambda found: f"<!--{found[1]}-->{numbers[found[1]]}<!---->", text)


def plain(text: str, page: Path) -> str:
    """Write all numbers of a text anew, without their names."""
    return QUOTE.sub(r"\2", renew(text, page))


_SHORT = [
    ("rolling origin, 1 pixel in 4", "Romania", "romania"),
    ("rolling origin", "Drome", "drome"),
    ("rolling origin", "Slovenia", "slovenia"),
]
_FILLERS = {
    "ours": OURS,
    "alone": "s2koop without neighbours",
    "low_rank": "low-rank EM, rank 8",
    "whittaker": "whittaker",
    "linear": "linear",
    "harmonic": HARMONIC,
}
_CORRECTIONS = {
    "none": "no correction",
    "climatology": "table, climatology",
    "smac_true": "SMAC, true atmosphere",
    "fcnn": "FCNN",
    "hybrid": "hybrid",
    "oracle": "oracle",
}


def _untrained() -> pd.DataFrame:
    table = rows("ssl", case="simulated sea")
    return table[table["method"].str.startswith("untrained")]


_CHUNK = (("peak", "peak_mb"), ("rate", "pixel_dates_per_s"), ("http", "http_mb"))
_LOOPS = {"engine": "engine", "ufunc": "apply_ufunc, vectorize=True", "loop": "plain loop"}
#: Of the page "What it takes": rates and sizes are round, ratios and seconds have a digit.
_ROUND = ("peak_5", "peak_1", "peak_2", "rate_", "chunk_", "tile_", "continent_", "staged_", "direct_", "stored")
_ONE_DIGIT = ("apply_", "loop_ratio", "open_", "far_")


def _shown(name: str, value: float) -> str:
    if name.startswith(_ROUND):
        return f"{float(f'{value:.3g}'):,.0f}"
    if name.startswith(_ONE_DIGIT):
        return f"{value:.1f}"
    if name.endswith("_cost") or name.startswith(("peak_growth", "two_worker")):
        return f"{value:.2f}"
    if name.startswith("cost_") or name.endswith("_coverage"):
        return f"{value:.0f}"
    if name.startswith(("year_", "cover_")):
        return f"{value:.1f}"
    if name.startswith("sea_"):
        return f"{value:.2f}"
    return f"{value:.4f}"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(renew(page.read_text(encoding="utf-8"), page), encoding="utf-8")

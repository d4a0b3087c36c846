"""Draws the gallery from docs/results: each figure is one function, and says which benchmark measured it.

``cd docs && python -m _tools.figures FOLDER`` draws them without the rest of the pages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from _tools import results
from _tools.paths import DOCS, REPOSITORY
from _tools.results import mean, rows

FOLDER = DOCS / "gallery"

#: Vermillion of Okabe and Ito for what is ours, greys for what a user would otherwise pick; markers differ as well.
OURS, OTHERS, INK = "#d55e00", "#6b6b6b", "#222222"
#: Blue, green, pink of the same palette, for cases that stand side by side.
CASES = ("#0072b2", "#009e73", "#cc79a7")
MARKS = ("o", "s", "D")

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "svg.hashsalt": "s2koop",
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the gallery: its benchmark, its words, and what draws it."""

    name: str
    title: str
    benchmark: str
    caption: str
    draw: Callable[[], Figure]


DRAWINGS: list[Drawing] = []


def drawing(title: str, benchmark: str, caption: str) -> Callable[[Callable[[], Figure]], Callable[[], Figure]]:
    """Put a function into the gallery."""

    def register(draw: Callable[[], Figure]) -> Callable[[], Figure]:
        DRAWINGS.append(Drawing(draw.__name__, title, benchmark, caption, draw))
        return draw

    return register


@drawing(
    "Days to months ahead",
    "koopman_accuracy",
    "Root mean square error of forecasts from many origins, over that of a robust harmonic with two terms (1, the"
    " line); means over bands. Left of the line is better. Romania: each fourth pixel, since a Gaussian process "
    "takes long.",
)
def lead_times() -> Figure:
    """One panel for each series, one row for each lead time."""
    series = [("Romania", "rolling origin, 1 pixel in 4"), ("Drome", "rolling origin"), ("Slovenia", "rolling origin")]
    leads = ["0-15 d", "15-45 d", "45-105 d"]
    methods = {"s2koop": OURS, "Gaussian process": CASES[0], "persistence": OTHERS}
    figure, panels = _panels(3, width=9.5, height=2.9, sharey=True)
    for axes, (place, task) in zip(panels, series, strict=True):
        for shift, (method, colour) in enumerate(methods.items()):
            ratios = [
                _rmse(task, place, method, lead=lead) / _rmse(task, place, "harmonic, 2 terms", lead=lead)
                for lead in leads
            ]
            heights = np.arange(len(leads)) + 0.18 * (shift - 1)
            axes.plot(ratios, heights, MARKS[shift], color=colour, label=method)
        axes.axvline(1, color=INK, lw=1)
        axes.set_xlim(0.7, 2.3)
        axes.set(title=place, xlabel="RMSE over that of a harmonic", yticks=range(len(leads)), yticklabels=leads)
    panels[0].invert_yaxis()
    _legend(figure, panels[0])
    return figure


@drawing(
    "A year ahead",
    "koopman_accuracy",
    "Root mean square error over the whole test period, means over bands, over that of a robust harmonic with two"
    " terms. Nobody knows the year that comes: the lead is thin.",
)
def year_ahead() -> Figure:
    """One panel for each series, methods from best to worst over all of them."""
    series = ("Romania", "Drome", "Slovenia")
    tables = {s: rows("koopman_accuracy", task="long range", series=s).groupby("method")["rmse"].mean() for s in series}
    ratios = pd.DataFrame({place: table / table["harmonic, 2 terms"] for place, table in tables.items()})
    ratios = ratios.loc[ratios.mean(axis=1, skipna=False).sort_values(na_position="last").index]
    figure, panels = _panels(3, width=9.5, height=3.2, sharey=True)
    for axes, place in zip(panels, series, strict=True):
        _dots(axes, ratios[place], ours=("s2koop",))
        axes.axvline(1, color=INK, lw=1)
        axes.set(title=place, xlabel="RMSE over that of a harmonic")
    return figure


@drawing(
    "Gaps of single dates and of sixty days",
    "koopman_accuracy",
    "Root mean square error on observations that were withheld, means over bands. Neighbours that were seen on "
    "the date are what helps most; where none was, the row without them holds.",
)
def gaps() -> Figure:
    """One panel for each series; both kinds of gap in each row, in the order of the first panel."""
    figure, panels = _panels(3, width=9.5, height=3.0, sharey=True)
    order = None
    for axes, place in zip(panels, ("Romania", "Drome", "Slovenia"), strict=True):
        tables = {
            label: rows("koopman_accuracy", task=task, series=place).groupby("method")["rmse"].mean()
            for label, task in (("single dates", "gaps, random 20 %"), ("60 days", "gaps, 60-day blocks"))
        }
        order = tables["60 days"].sort_values().index if order is None else order
        for (label, table), mark, filled in zip(tables.items(), MARKS, ("none", "full"), strict=False):
            _dots(axes, table[order], ours=("s2koop", "s2koop without neighbours"), mark=mark, fill=filled, label=label)
        axes.set(title=place, xlabel="RMSE")
        axes.set_xlim(left=0)
    _legend(figure, panels[0])
    return figure


@drawing(
    "Do intervals of 90 % hold nine in ten?",
    "koopman_accuracy",
    "Share of withheld observations within the interval of 90 %, by task; a dot is a band of a series, the line "
    "the mean. In gaps of sixty days, filled with neighbours, intervals are too narrow.",
)
def coverage() -> Figure:
    """One row for each task, all bands and series."""
    figure, (axes,) = _panels(1, width=7, height=3.0)
    table = rows("koopman_accuracy", method="s2koop")
    tasks = list(dict.fromkeys(table["task"]))
    for height, task in enumerate(tasks):
        values = table.loc[table["task"] == task, "coverage"]
        axes.plot(values, np.full(len(values), height), "o", color=OURS, alpha=0.35, mec="none")
        axes.plot([values.mean()] * 2, [height - 0.3, height + 0.3], color=INK, lw=2)
    axes.axvline(0.9, color=INK, lw=1, ls="--")
    axes.set(xlabel="share within the interval of 90 %", yticks=range(len(tasks)), yticklabels=tasks)
    axes.invert_yaxis()
    return figure


@drawing(
    "The sample, 2020 forecast from 2019",
    "forecast_sample",
    "Root mean square error by band of what `make demo` computes, beside what a user would otherwise pick.",
)
def sample_forecast() -> Figure:
    """Bands on the vertical axis, one mark for each method."""
    figure, (axes,) = _panels(1, width=7, height=3.0)
    bands = list(dict.fromkeys(rows("forecast_sample")["band"]))
    shown = {
        "koopman": (OURS, "o"),
        "harmonic": (CASES[0], "s"),
        "pixel_mean": (CASES[1], "D"),
        "same_day_last_year": (CASES[2], "^"),
        "persistence": (OTHERS, "v"),
    }
    for method, (colour, mark) in shown.items():
        errors = [mean("forecast_sample", "rmse", method=method, band=band) for band in bands]
        axes.plot(errors, range(len(bands)), mark, color=colour, label=method.replace("_", " "), zorder=3)
    axes.set(xlabel="RMSE of reflectance", yticks=range(len(bands)), yticklabels=bands)
    axes.invert_yaxis()
    _legend(figure, axes)
    return figure


@drawing(
    "Simulated twins: the truth is known",
    "koopman_twins",
    "Error against the noiseless truth of simulated land, inside the observed window and in the 100 days after "
    "it, for three seeds. The papers' recipes are run with the iterations and rates that they give.",
)
def twins() -> Figure:
    """Left inside, right beyond the window; a mark is a seed."""
    figure, panels = _panels(2, width=8.5, height=2.4, sharey=True)
    table = rows("koopman_twins", case="all bands")
    methods = list(dict.fromkeys(table["method"]))
    for axes, (column, title) in zip(
        panels, (("rmse_inside", "in the window"), ("rmse_beyond", "100 days beyond")), strict=True
    ):
        for seed, mark in zip(sorted(table["seed"].unique()), MARKS, strict=True):
            for height, method in enumerate(methods):
                value = table.loc[(table["seed"] == seed) & (table["method"] == method), column].iloc[0]
                colour = OURS if method == "s2koop" else OTHERS
                label = f"seed {seed}" if height == 0 else None
                axes.plot(value, height, mark, color=colour, label=label)
        axes.set(title=title, xlabel="RMSE of reflectance", yticks=range(len(methods)), yticklabels=methods)
        axes.set_xlim(left=0)
    panels[0].invert_yaxis()
    _legend(figure, panels[0])
    return figure


@drawing(
    "Speed against the published procedure",
    "koopman_speed",
    "CPU time of the papers' procedure over ours, with the papers' network on one thread (the line: as fast).",
)
def speed() -> Figure:
    """Ratios on a logarithmic axis."""
    table = rows("koopman_speed")
    table = table[table["variant"].str.startswith("s2koop") & (table["ratio"] > 0)]
    labels = table["task"] + ": " + table["variant"].str.removeprefix("s2koop: ").str.replace(", per 1000 pixels", "")
    figure, (axes,) = _panels(1, width=7.5, height=2.6)
    _dots(axes, pd.Series(table["ratio"].to_numpy(), index=labels).sort_values(), ours=tuple(labels))
    axes.axvline(1, color=INK, lw=1)
    axes.set(xscale="log", xlabel="times as fast")
    _plain_numbers(axes)
    return figure


@drawing(
    "From the top of the atmosphere to the surface",
    "ac_accuracy",
    "Mean absolute error of surface reflectance on simulated test scenes, all bands, for three sets of scenes. "
    "The oracle is the physics with the true atmosphere: what is left is noise.",
)
def atmosphere() -> Figure:
    """Methods from worst to best, one mark for each case."""
    cases = ["one aerosol model", "mixed aerosol", "four bands"]
    order = rows("ac_accuracy", case=cases[0]).sort_values("mae", ascending=False)["method"].tolist()
    figure, (axes,) = _panels(1, width=7.5, height=3.8)
    for case, colour, mark in zip(cases, CASES, MARKS, strict=True):
        table = rows("ac_accuracy", case=case).set_index("method")["mae"]
        known = [method for method in order if method in table]
        axes.plot(table[known], [order.index(m) for m in known], mark, color=colour, label=case)
    axes.set(xscale="log", xlabel="mean absolute error", yticks=range(len(order)), yticklabels=order)
    axes.invert_yaxis()
    _plain_numbers(axes)
    _legend(figure, axes)
    return figure


@drawing(
    "Real pairs of Level-1C and Level-2A",
    "ac_accuracy",
    "Mean absolute difference from the agency's product, which is no truth. A fitted atmosphere was fitted to "
    "that product. `adjacency=1000` (neighbours known) is what real scenes need.",
)
def real_pairs() -> Figure:
    """One panel for each scene."""
    table = rows("ac_accuracy")
    cases = [case for case in dict.fromkeys(table["case"]) if case.startswith("real pairs")]
    figure, panels = _panels(len(cases), width=9.5, height=2.6)
    for axes, case in zip(panels, cases, strict=True):
        values = rows("ac_accuracy", case=case).set_index("method")["mae"].sort_values()
        _dots(axes, values, ours=tuple(m for m in values.index if "neighbours known" in m))
        axes.set(title=case.removeprefix("real pairs: "), xlabel="mean absolute difference")
        axes.set_xlim(left=0)
    return figure


@drawing(
    "Light from neighbours",
    "ac_physics",
    "Mean absolute error by band of `invert` on simulated scenes with light from neighbours, under the true "
    "atmosphere and without noise, with and without `adjacency=1000`.",
)
def adjacency() -> Figure:
    """Bands on the horizontal axis."""
    case = "12 scenes with adjacency, no noise"
    table = rows("ac_physics", case=case).set_index("method")
    bands = [c for c in table.columns if c.startswith("mae_B") and table[c].notna().all()]
    figure, (axes,) = _panels(1, width=7, height=2.6)
    for method, colour, mark in (("adjacency=None", OTHERS, "s"), ("adjacency=1000", OURS, "o")):
        axes.plot(range(len(bands)), table.loc[method, bands].astype(float), mark + "-", color=colour, label=method)
    axes.set(yscale="log", ylabel="mean absolute error", xticks=range(len(bands)))
    axes.set_xticklabels([band.removeprefix("mae_") for band in bands])
    axes.grid(axis="y")
    _legend(figure, axes)
    return figure


@drawing(
    "What an embedding knows of a simulated sea",
    "ssl",
    "Error of significant wave height from a linear probe; all rows on the same held-out scenes. Labels are those"
    " of the simulator, so this judges encoders against each other, not the sea.",
)
def wave_height() -> Figure:
    """Probes from best to worst."""
    table = rows("ssl", case="simulated sea").set_index("method")["hs_rmse"].sort_values()
    table = table[[m for m in table.index if "seed" not in m or m.startswith("untrained")]]
    figure, (axes,) = _panels(1, width=7, height=3.2)
    _dots(axes, table, ours=tuple(m for m in table.index if m.startswith("shipped")))
    axes.set(xlabel="RMSE of wave height (m)")
    axes.set_xlim(left=0)
    return figure


@drawing(
    "Tree cover from pixel series, by number of labels",
    "ssl",
    "Error of a linear probe on held-out blocks of ground. With all labels the raw series win: an embedding is "
    "not always what one needs.",
)
def tree_cover() -> Figure:
    """Curves over the number of labels."""
    table = rows("ssl", case="tree cover of Romanian pixels").set_index("method")
    columns = {"10": "cover_rmse_10", "50": "cover_rmse_50", "all": "cover_rmse_all"}
    looks = dict(zip(table.index, [OURS, OURS, CASES[0], CASES[0], INK], strict=True))
    figure, (axes,) = _panels(1, width=7, height=3.0)
    for number, (method, colour) in enumerate(looks.items()):
        dash = ":" if "untrained" in method else "-"
        axes.plot(
            list(columns),
            table.loc[method, list(columns.values())].astype(float),
            dash + "osD^v"[number],
            color=colour,
            label=method,
        )
    axes.set(xlabel="labels", ylabel="RMSE of tree cover (%)")
    axes.grid(axis="y")
    _legend(figure, axes)
    return figure


@drawing(
    "Opening a cube of many items",
    "open_cube",
    "CPU seconds to open full tiles as a lazy cube; no pixel is read. Days, masks and reflectance that is right for "
    "each item cost less than is saved by handing stackstac a table instead of items.",
)
def opening() -> Figure:
    """Both libraries, by number of items."""
    table = rows("open_cube")
    labels = [
        f"{row.items_} items, {row.provider}, {row.chunks}"
        for row in table.rename(columns={"items": "items_"}).itertuples()
    ]
    order = list(dict.fromkeys(labels))
    figure, (axes,) = _panels(1, width=7.5, height=3.4)
    for method, colour, mark in (("stackstac", OTHERS, "s"), ("s2koop", OURS, "o")):
        chosen = [
            (label, s) for label, m, s in zip(labels, table["method"], table["cpu_s"], strict=True) if m == method
        ]
        axes.plot([s for _, s in chosen], [order.index(label) for label, _ in chosen], mark, color=colour, label=method)
    axes.set(xlabel="CPU seconds", yticks=range(len(order)), yticklabels=order)
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    _legend(figure, axes)
    return figure


@drawing(
    "Targets, met and missed",
    "all",
    "Each benchmark states targets before it runs and says which it met. Nothing is left out here.",
)
def targets() -> Figure:
    """A bar for each benchmark: filled for targets that were met."""
    figure, (axes,) = _panels(1, width=7, height=3.6)
    for height, name in enumerate(results.names()):
        held = [check["holds"] for check in results.load(name)["checks"]]
        axes.barh(height, sum(held), color=CASES[0], label="met" if height == 0 else None)
        missed = len(held) - sum(held)
        axes.barh(
            height,
            missed,
            left=sum(held),
            color="white",
            edgecolor=OURS,
            hatch="////",
            label="missed" if height == 0 else None,
        )
    axes.set(xlabel="targets", yticks=range(len(results.names())), yticklabels=results.names())
    axes.invert_yaxis()
    _legend(figure, axes)
    return figure


def write(folder: Path = FOLDER) -> None:
    """Draw all figures, and write what the page docs/gallery.md shows them with."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for item in DRAWINGS:
            item.draw().savefig(folder / f"{item.name}.svg", metadata={"Date": None}, bbox_inches="tight")
    text = _page()
    page = folder / "figures.md"
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def _page() -> str:
    parts = []
    for item in DRAWINGS:
        if item.benchmark == "all":
            source = "All of them: [](benchmarks.md)."
        else:
            script = f"{REPOSITORY}/benchmarks/{item.benchmark}.py"
            data = results.load(item.benchmark)["data"]
            source = f"Benchmark [{item.benchmark}](results/{item.benchmark}.md) ([script]({script})). Data: {data}."
        alt = f"{item.title}. {item.caption}".replace("\n", " ")
        parts.append(
            f"## {item.title}\n\n```{{image}} gallery/{item.name}.svg\n:alt: {alt}\n```\n\n{item.caption}\n\n{source}\n"
        )
    return "\n".join(parts)


def _panels(count: int, *, width: float, height: float, sharey: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, count, sharey=sharey, squeeze=False)[0]


def _dots(
    axes: Axes, values: pd.Series, *, ours: Sequence[str], mark: str = "o", fill: str = "full", label: str | None = None
) -> None:
    """A row for each name: ours filled in colour, others grey."""
    for height, (name, value) in enumerate(values.items()):
        colour = OURS if name in ours else OTHERS
        axes.plot(value, height, mark, color=colour, fillstyle=fill, label=label if height == len(values) - 1 else None)
    axes.set_yticks(range(len(values)), list(values.index))
    axes.set_ylim(len(values) - 0.5, -0.5)


def _plain_numbers(axes: Axes) -> None:
    """Write 0.002 and 5, not powers of ten, on a logarithmic axis; every second number would be too many."""
    plain = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(plain)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)


def _rmse(task: str, series: str, method: str, *, lead: str) -> float:
    return mean("koopman_accuracy", "rmse", task=task, series=series, method=method, lead=lead)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

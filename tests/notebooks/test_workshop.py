"""The notebooks of the workshop, with the solutions of their exercises."""

from __future__ import annotations

import re

import pytest

from tests.support.notebooks import FOLDER, PLOT, Run, numbers, run

WIDGET = "application/vnd.jupyter.widget-view+json"
PARTS = ["0_setup_check", "1_cube", "2_prior", "3_assimilation", "4_atmosphere_or_embedding"]


def said(shown: Run, cell: str) -> str:
    """What a cell printed."""
    return "".join(output.get("text", "") for output in shown.shown[cell])


def solved(shown: Run) -> None:
    """Check that every exercise has a solution, and that each shows something."""
    solutions = [cell for cell in shown.shown if cell.startswith("solution-")]
    assert solutions
    assert all(shown.shown[cell] for cell in solutions)


@pytest.mark.timeout(900)
def test_setup_check_says_ready(tmp_path, monkeypatch):
    shown = run("workshop/0_setup_check", tmp_path, monkeypatch)
    assert "READY: see you" in said(shown, "check")
    assert WIDGET in shown.shown["look"][-1]["data"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cube(tmp_path, monkeypatch):
    shown = run("workshop/1_cube", tmp_path, monkeypatch, parameters="RESOLUTION = 60")
    for cell in ("pictures", "ndvi", "series", "months"):
        assert PLOT in shown.shown[cell][-1]["data"], f"{cell} shows no plot"
    assert "in memory already: False" in said(shown, "reveal-size")
    assert int(re.findall(r"(\d+) times", said(shown, "reveal-ratio"))[0]) > 3
    assert WIDGET in shown.shown["dashboard"][-1]["data"]
    solved(shown)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prior(tmp_path, monkeypatch):
    shown = run("workshop/2_prior", tmp_path, monkeypatch, parameters="SIDE = 6\nSTEPS = 20")
    assert 360 < float(re.findall(r"(\d+) days", said(shown, "reveal-period"))[0]) < 370
    assert PLOT in shown.shown["chart"][-1]["data"]
    assert len(numbers(shown.shown["reveal-rival"])) == 5
    assert all(0 <= score <= 1 for score in numbers(shown.shown["score"]))  # false of NaN
    solved(shown)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_assimilation(tmp_path, monkeypatch):
    shown = run("workshop/3_assimilation", tmp_path, monkeypatch, parameters="SIDE = 8\nSTEPS = 20")
    for cell in ("reveal-widest", "hole-map"):
        assert PLOT in shown.shown[cell][-1]["data"], f"{cell} shows no plot"
    errors = numbers(shown.shown["reveal-rival"])
    assert len(errors) == 4 * 4
    assert all(0 < error < 0.2 for error in errors)
    assert all(0 <= share <= 1 for share in numbers(shown.shown["coverage"]))
    assert WIDGET in shown.shown["dashboard"][-1]["data"]
    solved(shown)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_atmosphere_or_embedding(tmp_path, monkeypatch):
    quick = 'FREQ = "30D"\nHAZE = 2.0\nSCENES = 40'
    shown = run("workshop/4_atmosphere_or_embedding", tmp_path, monkeypatch, parameters=quick)
    above, below = map(float, re.findall(r"(0\.\d+)", said(shown, "reveal-ndvi"))[:2])
    assert above < below
    none, usual, emulate = (numbers(shown.shown["reveal-scatter"])[4 * row] for row in range(3))
    assert none > usual > emulate  # NDVI under a sky that is twice as hazy as usual
    assert PLOT in shown.shown["series"][-1]["data"]
    assert PLOT in shown.shown["gallery"][-1]["data"]
    solved(shown)


def test_every_part_is_there_and_leads_to_the_next():
    texts = [(FOLDER / "workshop" / f"{part}.ipynb").read_text() for part in PARTS]
    for text, following in zip(texts, PARTS[1:], strict=False):
        assert f"({following}.ipynb)" in text

"""The dashboard as people meet it: JupyterLab, real Chromium, and no network at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.lab import CHROMIUM, Traffic, browser_page, jupyter_lab, poll, run_notebook, write_notebook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs the system's Chromium at {CHROMIUM}"),
]

_OPEN = f"""
import json, sys, threading
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import s2koop
from tests.support.simulated import simulated

scene = simulated()
view = s2koop.dashboard(scene.cube, scene.result, later=scene.later, band="B8A", date="2019-06-15")
session = view.session

lock = threading.Lock()

def write(change=None):
    state = dict(pixel=session.pixel, time=session.time, product=session.product, band=session.band)
    state |= dict(errors=[str(e) for e in view.errors], title=view.chart.figure.title.text)
    with lock:
        Path("state.next").write_text(json.dumps(state))
        Path("state.next").replace("state.json")

session.observe(write)
view.picture.observe(write, "readout")
write()
"""


def test_click_slide_and_choose_in_jupyterlab_without_network(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright")
    write_notebook(tmp_path / "look.ipynb", _OPEN, "view")
    with jupyter_lab(tmp_path) as address, browser_page(tmp_path) as (page, traffic):
        run_notebook(page, address, "look.ipynb")
        canvas = page.locator(".s2koop-canvas")
        canvas.wait_for(timeout=120_000)
        page.locator(".bk-Figure").wait_for(timeout=60_000)
        first = _state(tmp_path)
        _picture(page, "first")

        _click_pixel(canvas, row=10, col=40, shape=(40, 50))
        assert poll(lambda: _state(tmp_path)["pixel"] == [10, 40]), _state(tmp_path)
        assert poll(lambda: "row 10, column 40" in _state(tmp_path)["title"]), "the chart did not follow"
        canvas.press("ArrowRight")
        canvas.press("Shift+ArrowDown")
        assert poll(lambda: _state(tmp_path)["pixel"] == [20, 41]), _state(tmp_path)

        page.locator(".s2koop-slider").focus()
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        assert poll(lambda: _state(tmp_path)["time"] == first["time"] - 3), _state(tmp_path)

        before = _pixels(canvas)
        page.get_by_role("radio", name="koopman mean").or_(page.get_by_role("button", name="koopman mean")).click()
        assert poll(lambda: _state(tmp_path)["product"] == "koopman mean"), _state(tmp_path)
        assert poll(lambda: _pixels(canvas) != before), "the picture did not change with the product"
        assert poll(lambda: "koopman" in page.locator(".s2koop-readout").inner_text())
        _picture(page, "later")
        _nothing_went_wrong(_state(tmp_path), traffic)


def _state(folder: Path) -> dict:
    return json.loads((folder / "state.json").read_text())


def _click_pixel(canvas, *, row: int, col: int, shape: tuple[int, int]) -> None:
    box = canvas.bounding_box()
    x, y = (col + 0.5) / shape[1] * box["width"], (row + 0.5) / shape[0] * box["height"]
    canvas.click(position={"x": x, "y": y})


def _pixels(canvas) -> str:
    return canvas.evaluate("node => node.toDataURL()")


def _picture(page, name: str) -> None:
    """Keep a screenshot where S2KOOP_SCREENSHOTS names a folder, for people to look at."""
    if folder := os.environ.get("S2KOOP_SCREENSHOTS"):
        page.wait_for_timeout(1500)
        page.locator(".s2koop-dashboard").scroll_into_view_if_needed()
        page.screenshot(path=Path(folder) / f"dashboard-{name}.png")


def _nothing_went_wrong(state: dict, traffic: Traffic) -> None:
    assert state["errors"] == []
    assert traffic.outside == []
    assert traffic.failed == []
    ours = [text for text in traffic.complaints if any(w in text.lower() for w in ("s2koop", "bokeh", "anywidget"))]
    assert ours == []

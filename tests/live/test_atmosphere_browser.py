"""The dashboard of corrections as people meet it: JupyterLab, real Chromium, and no network at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.lab import CHROMIUM, browser_page, jupyter_lab, poll, run_notebook, write_notebook

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
from tests.live.corrected import corrected

made = corrected(dates=3, size=96)
view = made.result.ac.dashboard(toa=made.toa, reference=made.truth, others={{"climatology": made.other}},
                                pixel=(40, 50), **made.told)
session = view.session
lock = threading.Lock()

def write(change=None):
    state = dict(pixel=session.pixel, time=session.time, region=session.region, aot=session.aot, mode=view.picture.mode)
    state |= dict(errors=[str(e) for e in view.errors], title=view.chart.figure.title.text, right=session.right)
    live = view.chart.columns("Points", "inverted live")["reflectance"]
    state |= dict(numbers=view.numbers.value, live=live.tolist())
    with lock:
        Path("state.next").write_text(json.dumps(state))
        Path("state.next").replace("state.json")

session.observe(write)
view.picture.observe(write, ["readout", "mode"])
view.numbers.observe(write, "value")
write()
"""


def test_swipe_pick_move_the_air_and_draw_a_region_in_jupyterlab_without_network(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright")
    write_notebook(tmp_path / "look.ipynb", _OPEN, "view")
    with jupyter_lab(tmp_path) as address, browser_page(tmp_path) as (page, traffic):
        run_notebook(page, address, "look.ipynb")
        canvas = page.locator(".s2koop-canvas").first
        canvas.wait_for(timeout=120_000)
        page.locator(".bk-Figure").wait_for(timeout=60_000)
        _picture(page, "first")
        assert page.locator(".s2koop-tick").count() == 2
        first = _state(tmp_path)

        box = canvas.bounding_box()
        canvas.click(position={"x": 0.2 * box["width"], "y": 0.7 * box["height"]})
        assert poll(lambda: _state(tmp_path)["pixel"] == [67, 19]), _state(tmp_path)
        assert poll(lambda: "row 67, column 19" in _state(tmp_path)["title"]), "the spectrum did not follow"

        page.get_by_label("Right").select_option("inverted live")
        assert poll(lambda: _state(tmp_path)["right"] == "inverted live")
        before = _state(tmp_path)["live"]
        seen = _pixels(canvas)
        page.get_by_label("Aerosol (AOT 550)").focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        assert poll(lambda: _state(tmp_path)["aot"] > first["aot"] + 0.05), _state(tmp_path)["aot"]
        assert poll(lambda: _state(tmp_path)["live"] != before), "the spectrum did not follow the air"
        assert poll(lambda: _pixels(canvas) != seen), "the picture did not follow the air"

        page.get_by_label("Maps").select_option("Side by side, with the ratio")
        assert poll(lambda: _state(tmp_path)["mode"] == "grid")
        canvas.focus()
        page.keyboard.press("r")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("r")
        assert poll(lambda: _state(tmp_path)["region"] == [57, 19, 68, 30]), _state(tmp_path)["region"]
        assert poll(lambda: "region (" in _state(tmp_path)["numbers"]), "the region has no numbers"
        _picture(page, "grid")

        page.get_by_role("button", name="Back to where it began").click()
        assert poll(lambda: abs(_state(tmp_path)["aot"] - first["aot"]) < 1e-6)
        _nothing_serious(page)
        assert _state(tmp_path)["errors"] == []
        assert traffic.outside == []
        ours = [t for t in traffic.complaints if any(w in t.lower() for w in ("s2koop", "bokeh", "anywidget"))]
        assert ours == []


def _state(folder: Path) -> dict:
    return json.loads((folder / "state.json").read_text())


def _pixels(canvas) -> str:
    return canvas.evaluate("node => node.toDataURL()")


def _nothing_serious(page) -> None:
    Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe
    found = Axe().run(page, context=".s2koop-dashboard").response["violations"]
    bad = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("critical", "serious")]
    assert bad == []


def _picture(page, name: str) -> None:
    """Keep a screenshot where S2KOOP_SCREENSHOTS names a folder, for people to look at."""
    if folder := os.environ.get("S2KOOP_SCREENSHOTS"):
        page.wait_for_timeout(1500)
        page.locator(".s2koop-dashboard").scroll_into_view_if_needed()
        page.screenshot(path=Path(folder) / f"atmosphere-{name}.png")

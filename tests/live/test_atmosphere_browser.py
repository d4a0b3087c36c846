"""The dashboard of corrections as people meet it: JupyterLab, real Chromium, and no network at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.lab import browser_page, jupyter_lab, poll, run_notebook, write_notebook
from tests.support.seen import KEEP, needs_chromium, no_barriers, nothing_went_wrong, opened, picture, pixels, state

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), needs_chromium]

_OPEN = f"""
{KEEP}
import s2koop
from tests.live.corrected import corrected

made = corrected(dates=3, size=96)
view = made.result.ac.dashboard(toa=made.toa, reference=made.truth, others={{"climatology": made.other}},
                                pixel=(40, 50), **made.told)
session = view.session

def write(change=None):
    state = dict(pixel=session.pixel, time=session.time, region=session.region, aot=session.aot, mode=view.picture.mode)
    state |= dict(errors=[str(e) for e in view.errors], title=view.chart.figure.title.text, right=session.right)
    live = view.chart.columns("Points", "inverted live")["reflectance"]
    state |= dict(numbers=view.numbers.value, live=live.tolist())
    keep(state)

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
        canvas = opened(page)
        picture(page, "atmosphere-first")
        assert page.locator(".s2koop-tick").count() == 2
        first = state(tmp_path)

        box = canvas.bounding_box()
        canvas.click(position={"x": 0.2 * box["width"], "y": 0.7 * box["height"]})
        assert poll(lambda: state(tmp_path)["pixel"] == [67, 19]), state(tmp_path)
        assert poll(lambda: "row 67, column 19" in state(tmp_path)["title"]), "the spectrum did not follow"

        page.get_by_label("Right").select_option("inverted live")
        assert poll(lambda: state(tmp_path)["right"] == "inverted live")
        before = state(tmp_path)["live"]
        seen = pixels(canvas)
        page.get_by_label("Aerosol (AOT 550)").focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        assert poll(lambda: state(tmp_path)["aot"] > first["aot"] + 0.05), state(tmp_path)["aot"]
        assert poll(lambda: state(tmp_path)["live"] != before), "the spectrum did not follow the air"
        assert poll(lambda: pixels(canvas) != seen), "the picture did not follow the air"

        page.get_by_label("Maps").select_option("Side by side, with the ratio")
        assert poll(lambda: state(tmp_path)["mode"] == "grid")
        canvas.focus()
        page.keyboard.press("r")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("r")
        assert poll(lambda: state(tmp_path)["region"] == [57, 19, 68, 30]), state(tmp_path)["region"]
        assert poll(lambda: "region (" in state(tmp_path)["numbers"]), "the region has no numbers"
        picture(page, "atmosphere-grid")

        page.get_by_role("button", name="Back to where it began").click()
        assert poll(lambda: abs(state(tmp_path)["aot"] - first["aot"]) < 1e-6)
        no_barriers(page)
        nothing_went_wrong(tmp_path, traffic)

"""The dashboard of embeddings as people meet it: JupyterLab, real Chromium, and no network at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.lab import browser_page, jupyter_lab, poll, run_notebook, write_notebook
from tests.support.seen import KEEP, needs_chromium, no_barriers, nothing_went_wrong, opened, picture, state

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), needs_chromium]

_OPEN = f"""
{KEEP}
import s2koop
from s2koop.simulate import ocean_scenes

sea = ocean_scenes(8, seed=2, size=256, progress=False)
found = sea["image"].ssl.embed("wave-geometry", patch=64, stride=64, progress=False)
view = found.ssl.dashboard(sea["image"], sea[["significant_wave_height", "beam"]], k=12)
session = view.session

def write(change=None):
    state = dict(query=session.query, frame=session.frame, colour=session.colour, shape=list(found.shape))
    state |= dict(errors=[str(e) for e in view.errors], title=view.chart.figure.title.text)
    state |= dict(items=[item["position"] for item in view.gallery.items], outlines=view.picture.outlines)
    keep(state)

session.observe(write)
view.gallery.observe(write, "items")
view.key.observe(write, "value")
view.picture.observe(write, ["outlines", "readout"])
write()
"""


def test_click_search_and_walk_on_in_jupyterlab_without_network(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright")
    write_notebook(tmp_path / "look.ipynb", _OPEN, "view")
    with jupyter_lab(tmp_path) as address, browser_page(tmp_path) as (page, traffic):
        run_notebook(page, address, "look.ipynb")
        canvas = opened(page)
        first = state(tmp_path)
        assert first["shape"][:3] == [8, 4, 4]

        box = canvas.bounding_box()
        canvas.click(position={"x": 0.6 * box["width"], "y": 0.3 * box["height"]})
        assert poll(lambda: state(tmp_path)["query"] == 4 + 2), state(tmp_path)
        assert poll(lambda: state(tmp_path)["items"][0] == 6), "the gallery did not follow"
        assert poll(lambda: state(tmp_path)["outlines"][0][:4] == [64, 128, 128, 192]), state(tmp_path)["outlines"]
        picture(page, "embedding-first")

        thumbnails = page.locator(".s2koop-thumbnail")
        assert thumbnails.count() == 13
        wanted = state(tmp_path)["items"][3]
        thumbnails.nth(3).focus()
        page.keyboard.press("Enter")
        assert poll(lambda: state(tmp_path)["items"][0] == wanted), state(tmp_path)
        assert state(tmp_path)["frame"] == wanted // 16

        canvas.focus()
        page.keyboard.press("Home")
        assert poll(lambda: state(tmp_path)["frame"] == 0)
        assert state(tmp_path)["query"] == wanted, "another image is looked at, the question stays"

        _tap_a_sample(page)
        assert poll(lambda: state(tmp_path)["query"] != wanted), "a tap on a sample chose nothing"
        page.get_by_label("Samples coloured by").select_option("beam")
        assert poll(lambda: "by beam" in state(tmp_path)["title"])
        page.wait_for_timeout(500)
        picture(page, "embedding-later")
        no_barriers(page)
        nothing_went_wrong(tmp_path, traffic)


def _tap_a_sample(page) -> None:
    """Tap along the chart until a sample lies under the pointer."""
    chart = page.locator(".bk-Figure").first
    query = page.locator(".s2koop-query span").inner_text
    before = query()
    box = chart.bounding_box()
    for row in range(12, 88, 4):
        for col in range(14, 90, 4):
            page.mouse.click(box["x"] + box["width"] * col / 100, box["y"] + box["height"] * row / 100)
            if query() != before:
                return

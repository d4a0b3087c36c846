"""The dashboard as people meet it: JupyterLab and Voila, real Chromium, and no network at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import s2koop
from s2koop.live.export import save
from tests.support.lab import browser_page, jupyter_lab, poll, run_notebook, voila, write_notebook
from tests.support.seen import KEEP, needs_chromium, no_barriers, nothing_went_wrong, opened, picture, pixels, state
from tests.support.simulated import Simulated

pytest.importorskip("playwright", reason="needs playwright")

ROWS, COLS = 40, 50

_OPEN = f"""
{KEEP}
import time
import s2koop
from tests.support.simulated import simulated

scene = simulated()
harmonic = s2koop.baselines.harmonic(scene.cube, times=scene.result["time"])
view = s2koop.dashboard(scene.cube, scene.result, harmonic, later=scene.later, band="B8A", date="2019-06-15")
session = view.session

sent = []
for slot in (1, 2, 3, 4):
    view.picture.observe(lambda change: sent.append(slot), f"panel_{{slot}}")

def write(change=None):
    state = session.state() | dict(time=session.time, errors=[str(e) for e in view.errors])
    state |= dict(title=view.chart.figure.title.text, scores=view.scores.value)
    state |= dict(cpu=time.process_time(), pictures=len(sent))
    keep(state)

session.observe(write)
view.picture.observe(write, "readout")
view.scores.observe(write, "value")
write()
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    write_notebook(tmp_path / "look.ipynb", _OPEN, "view")
    return tmp_path


@needs_chromium
def test_a_page_without_python_is_scrubbed_zoomed_and_picked(tmp_path: Path, scene: Simulated) -> None:
    view = s2koop.dashboard(scene.cube, scene.result, later=scene.later, band="B8A", date="2019-06-15")
    path = save(view.session, tmp_path / "view.html")
    with browser_page(tmp_path) as (page, traffic):
        page.goto(path.as_uri())
        canvas = page.locator(".s2koop-canvas").first
        canvas.wait_for()
        page.locator(".bk-Figure").wait_for()
        before = pixels(canvas)
        canvas.focus()
        page.keyboard.press("PageUp")
        assert poll(lambda: pixels(canvas) != before)
        page.keyboard.press("Home")
        assert page.locator(".s2koop-date").inner_text().startswith("2018-01-05")
        before = pixels(canvas)
        page.keyboard.press("+")
        assert poll(lambda: pixels(canvas) != before)
        before = pixels(canvas)
        _pinch(page, canvas)
        assert poll(lambda: pixels(canvas) != before), "two fingers do not zoom"
        assert [u for u in traffic.outside if not u.startswith("file:")] == []
        assert traffic.complaints == []


@pytest.mark.browser
@pytest.mark.timeout(600)
@needs_chromium
def test_jupyterlab_click_slide_choose_withhold_and_forecast(notebook: Path) -> None:
    with jupyter_lab(notebook) as address, browser_page(notebook) as (page, traffic):
        run_notebook(page, address, "look.ipynb")
        canvas = opened(page)
        first = state(notebook)
        picture(page, "dashboard-first")

        _click_pixel(canvas, row=10, col=40)
        assert _becomes(notebook, pixel=[10, 40])
        assert poll(lambda: "row 10, column 40" in state(notebook)["title"]), "the chart did not follow"
        canvas.press("ArrowRight")
        canvas.press("Shift+ArrowDown")
        assert _becomes(notebook, pixel=[20, 41])

        # the slider: little is sent, and nothing of it is a picture
        page.locator(".s2koop-slider").focus()
        page.wait_for_timeout(500)
        received, cpu = traffic.received, state(notebook)["cpu"]
        steps = 12
        for _ in range(steps):
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(150)
        assert _becomes(notebook, time=first["time"] - steps)
        assert state(notebook)["pictures"] == first["pictures"], "a step sent a picture"
        assert (traffic.received - received) / steps < 10_000, "bytes: the line of the chart, and words"
        assert (state(notebook)["cpu"] - cpu) / steps < 0.06 * 2, "CPU seconds of the kernel, twice what is aimed at"

        before = pixels(canvas)
        page.get_by_label("Show", exact=True).select_option("koopman mean")
        assert _becomes(notebook, product="koopman mean")
        assert poll(lambda: pixels(canvas) != before), "the picture did not change with the product"
        assert poll(lambda: "koopman" in page.locator(".s2koop-readout").inner_text())

        page.get_by_label("Maps", exact=True).select_option("Side by side")
        assert poll(lambda: page.locator(".s2koop-panel:not([hidden])").count() == 4)
        picture(page, "dashboard-grid")
        page.get_by_label("Maps", exact=True).select_option("Divider")
        page.get_by_label("Right of it").select_option("observed")
        assert poll(lambda: "|" in page.locator(".s2koop-title").first.inner_text())
        before = pixels(canvas)
        canvas.press("]")
        assert poll(lambda: pixels(canvas) != before), "the divider did not move"
        picture(page, "dashboard-divider")

        _frame_observations(page, 0.3, 0.5)
        assert poll(lambda: len(state(notebook)["withheld"]) > 1), state(notebook)
        assert poll(lambda: "kept from the methods" in state(notebook)["scores"])
        picture(page, "dashboard-withheld")
        start = page.get_by_label("Forecast from")
        start.focus()
        for _ in range(20):
            page.keyboard.press("ArrowLeft")
        assert poll(lambda: state(notebook)["cut"] is not None)
        assert poll(lambda: "forecast from" in state(notebook)["title"])
        picture(page, "dashboard-forecast")
        page.get_by_role("button", name="Give all back").click()
        assert _becomes(notebook, cut=None, withheld=[])

        # a region by hand, over a magnified map
        page.get_by_role("button", name="Zoom in").click()
        page.get_by_role("button", name="Draw a region").click()
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 160, box["y"] + 140, steps=12)
        page.mouse.up()
        assert poll(lambda: state(notebook)["region"]), state(notebook)
        assert poll(lambda: "mean of" in state(notebook)["title"])
        picture(page, "dashboard-region")

        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        assert poll(lambda: "outputs" in (notebook / "look.ipynb").read_text())
        page.wait_for_timeout(2000)
        assert (notebook / "look.ipynb").stat().st_size < 200_000
        nothing_went_wrong(notebook, traffic)


@pytest.mark.browser
@pytest.mark.timeout(600)
@needs_chromium
def test_the_keyboard_alone_picks_steps_chooses_and_withholds_and_axe_finds_nothing(notebook: Path) -> None:
    with jupyter_lab(notebook) as address, browser_page(notebook) as (page, traffic):
        run_notebook(page, address, "look.ipynb")
        canvas = opened(page)
        no_barriers(page)
        page.get_by_label("Show", exact=True).focus()
        page.keyboard.press("ArrowDown")
        assert _becomes(notebook, product="koopman mean")
        page.keyboard.press("ArrowUp")
        assert _becomes(notebook, product="observed")
        for _ in range(30):  # Tab walks from the choices to the map
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.className") == "s2koop-canvas":
                break
        assert page.evaluate("document.activeElement.className") == "s2koop-canvas"
        row, col = state(notebook)["pixel"]
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Shift+ArrowLeft")
        assert _becomes(notebook, pixel=[row - 1, col - 10])
        time = state(notebook)["time"]
        page.keyboard.press("PageUp")
        assert _becomes(notebook, time=time + 1)
        page.keyboard.press("w")
        assert poll(lambda: len(state(notebook)["withheld"]) == 1)
        page.keyboard.press("w")
        assert _becomes(notebook, withheld=[])
        page.keyboard.press("r")
        for _ in range(4):
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowRight")
        page.keyboard.press("r")
        assert poll(lambda: state(notebook)["region"]), state(notebook)
        page.keyboard.press("Escape")
        assert _becomes(notebook, region=None)
        spoken = page.locator(".s2koop-readout")
        assert spoken.get_attribute("aria-live") == "polite"
        assert "B8A" in spoken.inner_text()
        page.keyboard.press(" ")
        assert poll(lambda: state(notebook)["time"] > time + 3), "it does not play"
        page.keyboard.press(" ")
        canvas.evaluate("node => node.blur()")
        nothing_went_wrong(notebook, traffic)


@pytest.mark.browser
@pytest.mark.timeout(600)
@needs_chromium
def test_voila_opens_the_same_dashboard(notebook: Path) -> None:
    with voila(notebook, "look.ipynb") as address, browser_page(notebook) as (page, traffic):
        page.goto(address, wait_until="commit")
        canvas = opened(page)
        picture(page, "dashboard-voila")
        _click_pixel(canvas, row=5, col=7)
        assert _becomes(notebook, pixel=[5, 7])
        assert poll(lambda: "row 5, column 7" in state(notebook)["title"])
        canvas.press("PageDown")
        _frame_observations(page, 0.3, 0.5)
        assert poll(lambda: len(state(notebook)["withheld"]) > 1), state(notebook)
        no_barriers(page)
        nothing_went_wrong(notebook, traffic)


def _pinch(page: Any, canvas: Any) -> None:
    """Move two fingers apart over the middle of the map."""
    box, touch = canvas.bounding_box(), page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def fingers(apart: float) -> list[dict[str, float]]:
        return [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]

    for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchMove", 80)):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers(apart)})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def _frame_observations(page: Any, left: float, right: float) -> None:
    """Drag a frame over a part of the chart."""
    box = page.locator(".bk-Figure").first.bounding_box()
    page.mouse.move(box["x"] + left * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + right * box["width"], box["y"] + 0.85 * box["height"], steps=12)
    page.mouse.up()


def _becomes(folder: Path, **expected: Any) -> bool:
    poll(lambda: all(state(folder)[name] == value for name, value in expected.items()))
    found = {name: state(folder)[name] for name in expected}
    assert found == expected
    return True


def _click_pixel(canvas: Any, *, row: int, col: int) -> None:
    box = canvas.bounding_box()
    canvas.click(position={"x": (col + 0.5) / COLS * box["width"], "y": (row + 0.5) / ROWS * box["height"]})

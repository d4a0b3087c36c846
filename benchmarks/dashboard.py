"""What a hand feels: the assimilation dashboard in JupyterLab and Voila, in Chromium with the network cut.

A simulated scene of 128 x 128 pixels and 73 dates, with an analysis of it and a harmonic beside; the shipped prior for
land analyses places again. Times are from the key or button of the browser to what it shows then, medians; a busy
machine makes them longer. Seconds of the kernel's CPU and bytes do not depend on that.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks._report import check, main, report
from tests.support.lab import Traffic, browser_page, jupyter_lab, run_notebook, voila, write_notebook

SIDE, SEED = 128, 7
STEPS, PICKS = 20, 8

_OPEN = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import s2koop
from tests.support.simulated import simulated

scene = simulated(size=({SIDE}, {SIDE}), seed={SEED})
harmonic = s2koop.baselines.harmonic(scene.cube, times=scene.result["time"])
Path("began").touch()
view = s2koop.dashboard(
    scene.cube, scene.result, harmonic, later=scene.later, band="B8A", date="2019-06-15", model="land"
)
sent = []
for slot in (1, 2, 3, 4):
    view.picture.observe(lambda change: sent.append(slot), f"panel_{{slot}}")

def write(change=None):
    Path("state.next").write_text(f"{{time.process_time()}} {{len(sent)}} {{len(view.errors)}}")
    Path("state.next").replace("state")

view.picture.observe(write, "readout")
write()
"""

# From the last event of a kind to the first picture on which `now()` says something else than it did before.
_WATCH = """
() => {
  const now = NOW;
  const watch = { times: [], waits: 0, run: true };
  let since = null;
  let before = now();
  const started = () => { since = performance.now(); before = now(); };
  for (const kind of ["KIND"]) window.addEventListener(kind, started, true);
  const look = () => {
    const text = now();
    if (since !== null && text !== null && text !== before) {
      watch.times.push(performance.now() - since);
      since = null;
      before = text;
    }
    if (watch.run) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  return watch;
}
"""
_TITLE = "() => Bokeh.documents.flatMap((d) => d.roots().map((r) => r.title?.text)).join()"
_DATE = "() => document.querySelector('.s2koop-date').textContent"
_AGAIN = (
    "() => { const t = document.querySelector('.s2koop-scores caption')?.textContent; "
    "return t?.includes('kept from the methods') ? t : null; }"
)


def run(quick: bool) -> dict[str, Any]:
    """Measure each host."""
    hosts = ("JupyterLab",) if quick else ("JupyterLab", "Voila")
    rows = [_measured(host) for host in hosts]
    checks = []
    for row in rows:
        for name, most in {
            "first picture (s)": 10, "CPU of a date step (ms)": 60, "pictures sent in date steps": 0,
            "click to series (ms)": 500, "withhold to series, pixel (ms)": 500,
            "withhold to series, 128 x 128 (ms)": 1500, "behind after 5 s of play (dates)": 1,
            "requests failed or outside": 0, "errors": 0,
        }.items():  # fmt: skip
            checks.append(check(f"{row['host']}: {name}", row[name], f"at most {most}", row[name] <= most))
    data = f"simulated scene, {SIDE} x {SIDE} pixels, 73 dates, 3 bands; shipped prior for land"
    return report(data=data, seed=SEED, rows=rows, checks=checks)


def _measured(host: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_notebook(folder / "look.ipynb", _OPEN, "view")
        with _served(host, folder) as address, browser_page(folder) as (page, traffic):
            _open(host, page, address)
            canvas = page.locator(".s2koop-canvas").first
            canvas.wait_for(timeout=200_000)
            page.locator(".bk-Figure").first.wait_for(timeout=60_000)
            first = time.time() - (folder / "began").stat().st_mtime
            page.locator(".s2koop-dashboard").scroll_into_view_if_needed()
            page.wait_for_timeout(2000)
            row = {"host": host, "first picture (s)": round(first, 1)}
            return row | _steps(page, folder, traffic) | _picks(page, canvas) | _play(page) | _end(folder, traffic)


@contextmanager
def _served(host: str, folder: Path) -> Iterator[str]:
    server: AbstractContextManager[str] = jupyter_lab(folder) if host == "JupyterLab" else voila(folder, "look.ipynb")
    with server as address:
        yield address


def _open(host: str, page: Any, address: str) -> None:
    """Run the notebook."""
    if host == "JupyterLab":
        run_notebook(page, address, "look.ipynb")
    else:
        page.goto(address, wait_until="commit")


def _steps(page: Any, folder: Path, traffic: Traffic) -> dict[str, Any]:
    """The date slider, a key at a time."""
    page.locator(".s2koop-slider").focus()
    watch = page.evaluate_handle(_WATCH.replace("NOW", _DATE).replace("KIND", "input"))
    for _ in range(3):  # the kernel says what it has used when it answers
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(500)
    cpu, pictures, _ = _kernel(folder)
    received = traffic.received
    for _ in range(STEPS):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)
    after, sent, _ = _kernel(folder)
    times = watch.evaluate("watch => { watch.run = false; return watch.times; }")
    return {
        "date step (ms)": round(statistics.median(times), 1),
        "CPU of a date step (ms)": round((after - cpu) / STEPS * 1000, 1),
        "pictures sent in date steps": sent - pictures,
        "kB of a date step": round((traffic.received - received) / STEPS / 1000, 1),
    }


def _picks(page: Any, canvas: Any) -> dict[str, Any]:
    """Clicks on pixels; then observations withheld by key, of a pixel and of the whole scene as a region."""
    page.evaluate("() => window.scrollTo(0, 0)")
    watch = page.evaluate_handle(_WATCH.replace("NOW", _TITLE).replace("KIND", "pointerup"))
    box = canvas.bounding_box()
    for number in range(PICKS):
        canvas.click(position={"x": (0.1 + 0.1 * number) * box["width"], "y": 0.3 * box["height"]})
        page.wait_for_timeout(1200)
    clicks = watch.evaluate("watch => { watch.run = false; return watch.times; }")
    pixel = _withheld(page, canvas)
    canvas.press("Home")
    canvas.focus()
    for _ in range(SIDE // 10 + 1):
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("r")
    for _ in range(SIDE // 10 + 1):
        page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("r")
    page.wait_for_timeout(6000)
    region = _withheld(page, canvas)
    return {
        "click to series (ms)": round(statistics.median(clicks)),
        "withhold to series, pixel (ms)": round(statistics.median(pixel)),
        "withhold to series, 128 x 128 (ms)": round(statistics.median(region)),
    }


def _withheld(page: Any, canvas: Any) -> list[float]:
    """Withhold one date after the other; those without an observation change nothing and count for nothing."""
    canvas.focus()
    watch = page.evaluate_handle(_WATCH.replace("NOW", _AGAIN).replace("KIND", "keyup"))
    for _ in range(2 * PICKS):
        page.keyboard.press("PageUp")
        page.wait_for_timeout(400)
        page.keyboard.press("w")
        page.wait_for_timeout(4000)
    times: list[float] = watch.evaluate("watch => { watch.run = false; return watch.times; }")
    return times


def _play(page: Any) -> dict[str, Any]:
    """Five seconds of play: dates drawn of 25, and how many are still to come after the pause."""
    page.evaluate(
        """() => { window.dates = new Set(); new MutationObserver(() =>
        window.dates.add(document.querySelector('.s2koop-date').textContent)).observe(
        document.querySelector('.s2koop-date'), { childList: true, characterData: true, subtree: true }); }"""
    )
    page.locator(".s2koop-canvas").first.focus()
    page.keyboard.press(" ")
    page.wait_for_timeout(5000)
    page.keyboard.press(" ")
    shown = page.evaluate("window.dates.size")
    page.wait_for_timeout(1500)
    return {
        "dates in 5 s of play": shown,
        "behind after 5 s of play (dates)": page.evaluate("window.dates.size") - shown,
    }


def _end(folder: Path, traffic: Traffic) -> dict[str, Any]:
    return {"requests failed or outside": len(traffic.failed) + len(traffic.outside), "errors": _kernel(folder)[2]}


def _kernel(folder: Path) -> tuple[float, int, int]:
    cpu, pictures, errors = (folder / "state").read_text().split()
    return float(cpu), int(pictures), int(errors)


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])

"""What tests of dashboards in a browser look at: the state that the kernel wrote, the picture, and what went wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import CHROMIUM, Traffic

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs the system's Chromium at {CHROMIUM}")

#: For cells of a notebook: `keep(state)` writes a dict whole or not at all, whichever thread calls it.
KEEP = f"""
import json, sys, threading
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
_lock = threading.Lock()

def keep(state):
    with _lock:
        Path("state.next").write_text(json.dumps(state))
        Path("state.next").replace("state.json")
"""


def state(folder: Path) -> dict[str, Any]:
    """Return what the kernel kept last."""
    return json.loads((folder / "state.json").read_text())


def opened(page: Any) -> Any:
    """Wait until map and chart are there; return the canvas of the map."""
    canvas = page.locator(".s2koop-canvas").first
    canvas.wait_for(timeout=200_000)
    page.locator(".bk-Figure").first.wait_for(timeout=60_000)
    page.locator(".s2koop-dashboard").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    return canvas


def pixels(canvas: Any) -> str:
    """Return the picture of a canvas."""
    return canvas.evaluate("node => node.toDataURL()")


def picture(page: Any, name: str) -> None:
    """Keep a screenshot where S2KOOP_SCREENSHOTS names a folder, for people to look at."""
    if folder := os.environ.get("S2KOOP_SCREENSHOTS"):
        page.wait_for_timeout(1500)
        page.locator(".s2koop-dashboard").scroll_into_view_if_needed()
        page.screenshot(path=Path(folder) / f"{name}.png")


def no_barriers(page: Any) -> None:
    """Ask axe for critical and serious findings in what is ours."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    found = axe.Axe().run(page, context={"include": [[".s2koop-dashboard"]]}).response["violations"]
    grave = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("critical", "serious")]
    assert grave == []


def nothing_went_wrong(folder: Path, traffic: Traffic) -> None:
    """No failure in a callback, no request outside or failed, no complaint of the page about what is ours."""
    assert state(folder)["errors"] == []
    assert traffic.outside == []
    assert traffic.failed == []
    ours = [text for text in traffic.complaints if any(w in text.lower() for w in ("s2koop", "bokeh", "anywidget"))]
    assert ours == []

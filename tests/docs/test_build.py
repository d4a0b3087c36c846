"""The pages, built: whole, without warnings, and with nothing that another server would have to give."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lab import CHROMIUM, browser_page

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(
    r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+rel="(?:stylesheet|preload)"[^>]+href="(?:https?:)?//'
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pages_are_whole_and_ask_no_other_server(site) -> None:
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    for name in (
        "index.html",
        "which-method.html",
        "how-to/gaps.html",
        "gallery.html",
        "hosts.html",
        "search.html",
    ):
        assert name in pages
    for notebook in ROOT.glob("notebooks/*.ipynb"):
        assert f"notebooks/{notebook.stem}.html" in pages
    for method in ("fit", "forecast", "monitor"):
        assert f"koopman.{method}" in pages[f"reference/names/DataArray.koopman.{method}.html"]
    assert [name for name, text in pages.items() if OUTSIDE.search(text)] == []
    assert "<math" in pages["koopman.html"]
    assert "<!--year_" not in pages["which-method.html"]
    assert pages["gallery.html"].count(".svg") >= 14


@pytest.mark.browser
@pytest.mark.timeout(900)
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs the system's Chromium at {CHROMIUM}")
@pytest.mark.parametrize("page", ["index.html", "koopman.html", "gallery.html", "notebooks/00_start.html"])
def test_pages_open_without_network(site, tmp_path, page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    with browser_page(tmp_path) as (tab, traffic):
        tab.goto((site / page).as_uri())
        tab.locator("article h1").first.wait_for()
        assert [url for url in traffic.outside if not url.startswith("file:")] == []
        broken = "images => images.filter(image => !image.naturalWidth).map(image => image.src)"
        assert tab.locator("article img").evaluate_all(broken) == []
        found = axe.Axe().run(tab, context="article").response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
        width = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], "the page scrolls sideways"


@pytest.mark.network
@pytest.mark.timeout(1800)
def test_links_to_elsewhere_lead_somewhere(tmp_path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "linkcheck", str(ROOT / "docs"), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr

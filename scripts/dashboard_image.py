"""Takes the picture of the dashboard that the documentation shows: JupyterLab in Chromium, the sample, nothing staged.

python scripts/dashboard_image.py docs/images/dashboard.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.lab import browser_page, jupyter_lab, run_notebook, write_notebook  # noqa: E402

OPEN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import s2koop
from pathlib import Path

cube = s2koop.load(s2koop.search("sample"), resolution=20, chunks="time").isel(y=slice(0, 40), x=slice(0, 40)).compute()
past, later = cube.sel(time=slice(None, "2019")), cube.sel(time=slice("2020", None))
analysis = past.koopman.assimilate(times=cube.time, progress=False)
harmonic = s2koop.baselines.harmonic(past, times=cube.time)
view = past.koopman.dashboard(analysis, harmonic, later=later, band="B8A", pixel=(28, 31), date="2019-06-16")
view.session.mode = "grid"
Path("ready").touch()
"""


def main(path: Path) -> None:
    """Open the dashboard, withhold two months of a summer, and take the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_notebook(folder / "look.ipynb", OPEN, "view")
        with jupyter_lab(folder) as address, browser_page(folder) as (page, _):
            run_notebook(page, address, "look.ipynb")
            page.locator(".s2koop-canvas").first.wait_for(timeout=580_000)
            chart = page.locator(".bk-Figure").first
            chart.wait_for(timeout=60_000)
            page.locator(".s2koop-dashboard").scroll_into_view_if_needed()
            page.wait_for_timeout(3000)
            box = chart.bounding_box()
            page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + 0.535 * box["width"], box["y"] + 0.8 * box["height"], steps=12)
            page.mouse.up()
            page.wait_for_timeout(6000)
            page.mouse.move(5, 5)
            page.locator(".s2koop-dashboard").screenshot(path=path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

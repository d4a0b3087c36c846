"""Stack two figures of the demo into the picture of the README: `make demo && .venv/bin/python scripts/overview.py`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write docs/images/overview.png."""
    parts = [
        Image.open(ROOT / "demo_output" / f"{name}.png").convert("RGB") for name in ("gap_filling", "pixel_series")
    ]
    width = max(part.width for part in parts)
    picture = Image.new("RGB", (width, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        picture.paste(part, ((width - part.width) // 2, top))
        top += part.height
    target = ROOT / "docs" / "images" / "overview.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    main()

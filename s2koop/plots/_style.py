"""The look that every plot shares: palettes and method styles that any eye can tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from s2koop._views import Quantity

#: Perceptually even and safe under colour vision deficiency; one palette of Bokeh or colorcet per kind of number.
#: Those of "difference" and "ratio" have their light middle where nothing differs.
PALETTES: dict[Quantity, str] = {
    "reflectance": "cividis",
    "spread": "magma",
    "amplitude": "viridis",
    "difference": "CET_D1A",
    "ratio": "CET_D1A",
    "grey": "gray",
    "colour": "gray",
}

#: Missing pixels: a grey that the palette does not contain, and blue where all is grey.
NO_DATA_COLOUR = "#d9d9d9"
_NO_DATA_COLOURS: dict[Quantity, str] = {
    "difference": "#8f8f8f", "ratio": "#8f8f8f", "grey": "#3d5a80", "colour": "#3d5a80",
}  # fmt: skip

#: Observations and what came later share one ink and differ in marker: filled circle, open diamond.
OBSERVED_COLOUR = "#1a1a1a"

#: Blue, vermillion, green, pink of Okabe and Ito: apart under all three deficiencies.
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")

#: Never colour alone: each method has its own dash as well (Bokeh's and Matplotlib's name for it).
METHOD_DASHES = (("solid", "-"), ("dashed", "--"), ("dotdash", "-."), ("dotted", ":"))

SPREAD_NAME = "spread (1 standard deviation)"


def palette(quantity: Quantity) -> list[str]:
    """Return the 256 colours, low to high, of a kind of number as ``#rrggbb``."""
    import colorcet
    from bokeh import palettes

    name = PALETTES[quantity]
    return list(getattr(palettes, f"{name.title()}256", None) or colorcet.palette[name])


def missing_colour(quantity: Quantity) -> str:
    """Return the colour of missing pixels beside the palette of a kind of number."""
    return _NO_DATA_COLOURS.get(quantity, NO_DATA_COLOUR)


def lookup_table(quantity: Quantity) -> bytes:
    """Return 256 RGB triplets for uint8 levels: entry 0 is missing data, 1..255 run over the palette."""
    colours = palette(quantity)
    chosen = [missing_colour(quantity)] + [colours[round(i * 255 / 254)] for i in range(255)]
    return b"".join(bytes.fromhex(c[1:7]) for c in chosen)


def date_text(date: Any) -> str:
    """Return the day of a date, ``2020-06-30``."""
    return str(np.datetime64(date, "D"))


def method_style(number: int) -> tuple[str, str, str]:
    """Return colour, Bokeh dash and Matplotlib dash of the `number`-th result, counted from 0."""
    return (METHOD_COLOURS[number], *METHOD_DASHES[number])

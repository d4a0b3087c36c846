"""Palettes and method colours keep apart for every eye: numeric floors, not taste."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from s2koop.plots._style import METHOD_COLOURS, PALETTES, lookup_table, missing_colour, palette

# Viénot, Brettel and Mollon (1999): what remains of linear RGB without the long or the middle cones.
_DICHROMATS = {
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    "normal": np.eye(3),
}


def linear_rgb(colours: list[str]) -> np.ndarray:
    coded = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = linear.clip(0, 1) @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("eye", _DICHROMATS)
@pytest.mark.parametrize("quantity", PALETTES)
def test_palettes_have_even_lightness_and_keep_eleven_levels_apart(quantity, eye) -> None:
    seen = lab(linear_rgb(palette(quantity)) @ _DICHROMATS[eye].T)
    eleven = seen[np.linspace(0, 255, 11).round().astype(int)]
    middle = 5 if PALETTES[quantity] == "CET_D1A" else 10
    assert (np.diff(eleven[: middle + 1, 0]) > 3).all()
    assert (np.diff(eleven[middle:, 0]) < -3).all()  # of none where the palette is not one of differences
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(eleven, 2)) > 5


@pytest.mark.parametrize("eye", _DICHROMATS)
def test_method_colours_are_apart(eye) -> None:
    seen = lab(linear_rgb(list(METHOD_COLOURS)) @ _DICHROMATS[eye].T)
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


@pytest.mark.parametrize("quantity", PALETTES)
def test_lookup_table_has_missing_first_and_the_whole_palette_after(quantity) -> None:
    table = np.frombuffer(lookup_table(quantity), np.uint8).reshape(256, 3)
    colours = palette(quantity)
    assert "#" + bytes(table[0]).hex() == missing_colour(quantity)
    assert "#" + bytes(table[1]).hex() == colours[0].lower()
    assert "#" + bytes(table[255]).hex() == colours[-1].lower()
    assert missing_colour(quantity) not in {c.lower() for c in colours}

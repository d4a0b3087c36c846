"""The emulated canopy: physics that any radiative transfer keeps, and the file that is shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from s2koop.errors import InputError
from s2koop.simulate import canopy, canopy_reflectance

LEAVES = {
    "structure": 1.5, "chlorophyll": 40.0, "brown": 0.0, "water": 0.012, "dry_matter": 0.006, "lai": 3.0,
    "leaf_angle": 50.0, "sun_zenith": 35.0, "view_zenith": 5.0, "azimuth": 100.0,
}  # fmt: skip
SOIL = np.linspace(0.1, 0.3, 10)


OLD_LEAVES = {
    "structure": 1.9, "chlorophyll": 12.0, "brown": 0.6, "water": 0.008, "dry_matter": 0.01, "lai": 0.8,
    "leaf_angle": 62.0, "sun_zenith": 60.0, "view_zenith": 9.0, "azimuth": 150.0,
}  # fmt: skip
#: Runs of PROSAIL itself (progeosail 2.1.0): leaves, grey soil, and reflectance in the ten bands.
PROSAIL = [
    (LEAVES, 0.2, [0.0263, 0.0664, 0.0198, 0.0893, 0.3476, 0.4350, 0.4350, 0.4343, 0.2131, 0.0853]),
    (LEAVES, 0.8, [0.0415, 0.0875, 0.0342, 0.1151, 0.4827, 0.6499, 0.6498, 0.6485, 0.2796, 0.1144]),
    (OLD_LEAVES, 0.2, [0.0840, 0.1173, 0.0889, 0.1506, 0.2025, 0.2207, 0.2313, 0.2372, 0.1907, 0.1242]),
    (OLD_LEAVES, 0.8, [0.2908, 0.3611, 0.3015, 0.4372, 0.5638, 0.6112, 0.6399, 0.6558, 0.5389, 0.3829]),
]


def of(band: str, values: np.ndarray) -> np.ndarray:
    return values[..., canopy.BANDS.index(band)]


@pytest.mark.parametrize(("leaves", "soil", "wanted"), PROSAIL)
def test_the_network_says_what_prosail_says(leaves, soil, wanted):
    assert canopy_reflectance(leaves, np.full(10, soil)) == pytest.approx(np.array(wanted), abs=0.02 * (0.2 + soil))


def test_dense_vegetation_is_green_with_a_red_edge():
    seen = canopy_reflectance(LEAVES, SOIL)
    ndvi = (of("B08", seen) - of("B04", seen)) / (of("B08", seen) + of("B04", seen))
    assert 0.85 < ndvi < 0.97
    assert of("B04", seen) < of("B05", seen) < of("B06", seen) < of("B07", seen)
    assert of("B03", seen) > of("B02", seen)
    assert of("B03", seen) > of("B04", seen)
    assert of("B12", seen) < of("B11", seen) < of("B8A", seen)


def test_no_leaves_show_the_soil():
    assert np.abs(canopy_reflectance(LEAVES | {"lai": 0.0}, SOIL) - SOIL).max() < 0.02


@pytest.mark.parametrize(
    ("name", "more", "band", "sign"),
    [("chlorophyll", 60.0, "B05", -1), ("water", 0.03, "B11", -1), ("lai", 6.0, "B8A", 1), ("brown", 0.8, "B07", -1)],
)
def test_each_trait_acts_where_it_absorbs(name, more, band, sign):
    change = of(band, canopy_reflectance(LEAVES | {name: more}, SOIL) - canopy_reflectance(LEAVES, SOIL))
    assert sign * change > 0.01


def test_leaves_hide_a_bright_ground():
    snow = np.full(10, 0.8)
    red = [of("B04", canopy_reflectance(LEAVES | {"lai": lai}, snow)) for lai in (0.0, 1.0, 3.0, 6.0)]
    assert (np.diff(red) < 0).all()


def test_tiles_do_not_show(rng):
    many = LEAVES | {"lai": rng.uniform(0, 8, (7, 5))}
    assert np.allclose(canopy_reflectance(many, SOIL, tile=4), canopy_reflectance(many, SOIL), atol=1e-6)


def test_wrong_parameters_are_refused():
    with pytest.raises(InputError, match=r"\['lai', 'leaf_area'\].*chlorophyll"):
        canopy_reflectance({("leaf_area" if k == "lai" else k): v for k, v in LEAVES.items()}, SOIL)
    with pytest.raises(InputError, match="last dimension must be the 10 bands"):
        canopy_reflectance(LEAVES, [0.1, 0.2])


def test_the_file_is_small_and_says_its_error():
    assert canopy.TABLE.stat().st_size < 300_000
    content = canopy.TABLE.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    card = json.loads(header["__metadata__"]["s2koop"])
    assert card["bands"] == list(canopy.BANDS)
    assert {name: tuple(limits) for name, limits in card["parameters"].items()} == dict(canopy.PARAMETERS)
    assert max(card["rmse"].values()) < 0.004


def test_soil_darkens_when_wet():
    dry, wet = canopy.soil_reflectance(0.7, [0.0, 1.0])
    assert (wet < dry).all()
    assert (dry > 0).all()
    assert (np.diff(dry[:8]) > 0).all()

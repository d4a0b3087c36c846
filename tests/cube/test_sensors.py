"""Band names as people type them."""

import csv

import numpy as np
import pytest

from s2koop.catalog.providers import S2_BANDS
from s2koop.cube.sensors import SENSORS, band_names
from s2koop.errors import InputError


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("red", ["B04"]),
        (["nir", "nir08", "rededge1"], ["B08", "B8A", "B05"]),
        (["b4", "B8a", "B12"], ["B04", "B8A", "B12"]),
        (["scl", "AOT"], ["SCL", "AOT"]),
    ],
)
def test_aliases(typed, names):
    assert band_names(typed) == names


def test_unknown_names_suggest_what_is_near():
    with pytest.raises(InputError, match=r"did you mean 'swir16' or 'swir22'"):
        band_names(["swir1"])


def test_names_that_the_items_lack():
    with pytest.raises(InputError, match=r"no B12; they hold B04, B08"):
        band_names(["B04", "B12"], available=["B04", "B08"])


def test_sizes_agree_with_the_catalogue():
    for name in ("S2A", "S2B", "S2C"):
        assert {band.name: band.resolution for band in SENSORS[name].bands.values()} == S2_BANDS


@pytest.mark.parametrize(
    ("sensor", "files"),
    [
        ("S2A", ["S2A_MSI"]),
        ("S2B", ["S2B_MSI"]),
        ("S2C", ["S2C_MSI"]),
        ("PROBAV", ["PROBAV_cam1", "PROBAV_cam2", "PROBAV_cam3"]),
    ],
)
def test_wavelengths_are_the_means_of_the_responses(shared_data, sensor, files):
    centres = []
    for file in files:
        with shared_data(f"srf/{file}.csv").open() as text:
            header, *rows = csv.reader(text)
        table = np.array(rows, float)
        centres.append((table[:, :1] * table[:, 1:]).sum(0) / table[:, 1:].sum(0))
    mean = dict(zip(header[1:], np.mean(centres, 0), strict=True))
    for name, band in SENSORS[sensor].bands.items():
        assert band.wavelength == pytest.approx(mean[name], abs=0.051)

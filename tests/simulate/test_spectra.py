"""The library of spectra: sets apart, physical shapes, and the file that is shipped."""

from __future__ import annotations

import numpy as np
import pytest

from s2koop.errors import InputError
from s2koop.simulate import spectra, surface_spectra


def at(found: np.ndarray, wavelength: float) -> np.ndarray:
    return found[:, np.argmin(np.abs(spectra.WAVELENGTH - wavelength))]


@pytest.mark.parametrize("kind", spectra.KINDS)
def test_reflectance_is_physical_and_varied(kind):
    found = np.concatenate([surface_spectra(kind, split) for split in spectra.SPLITS])
    assert found.dtype == np.float32
    assert found.shape[1] == len(spectra.WAVELENGTH)
    assert 0 <= found.min() < found.max() < 1
    assert np.abs(np.diff(found, axis=1)).max() < 0.04  # per 2.5 nm: no steps
    assert found.std(axis=0).max() > 0.01


@pytest.mark.parametrize("kind", spectra.KINDS)
@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_no_spectrum_of_a_split_is_in_another(kind, one, other):
    first, second = (surface_spectra(kind, split) for split in (one, other))
    apart = np.linalg.norm(first[:, None] - second[None], axis=2) / np.sqrt(first.shape[1])
    assert apart.min() > 1e-4


def test_splits_have_their_own_series_of_one_population():
    card = spectra.library_card()
    for kind in spectra.KINDS:
        counts = {split: len(surface_spectra(kind, split)) for split in spectra.SPLITS}
        assert counts == {split: card["members"] * card["series"][split] for split in spectra.SPLITS}
        train, test = surface_spectra(kind, "train"), surface_spectra(kind, "test")
        assert np.abs(train.mean(axis=0) - test.mean(axis=0)).max() < 1.5 * train.std(axis=0).max()


def test_members_of_a_series_are_more_alike_than_strangers():
    members = spectra.library_card()["members"]
    for kind in ("soil", "built"):
        series = np.log(surface_spectra(kind)).reshape(-1, members, len(spectra.WAVELENGTH))
        shapes = series - series.mean(axis=2, keepdims=True)
        assert shapes.std(axis=1).mean() < 0.8 * shapes.mean(axis=1).std(axis=0).mean()


def test_green_leaves_have_a_red_edge_and_dry_ones_do_not_bend():
    for kind in ("forest", "crop", "grass"):
        found = surface_spectra(kind)
        assert np.median(at(found, 850) / at(found, 670)) > 5
        assert np.median(at(found, 555) / at(found, 670)) > 1.5
    dry = surface_spectra("litter")
    assert np.median(at(dry, 850) / at(dry, 670)) < 5
    assert np.median(at(dry, 670) / at(dry, 555)) > 0.8


def test_water_is_dark_in_the_infrared_and_snow_in_the_shortwave():
    water, snow = surface_spectra("water"), surface_spectra("snow")
    assert np.percentile(at(water, 1610), 90) < 0.02
    assert np.median(at(water, 560)) > np.median(at(water, 865))
    assert np.median(at(snow, 560)) > 0.6
    assert np.median(at(snow, 1610)) < 0.15


def test_soils_rise_with_wavelength():
    soil = surface_spectra("soil")
    assert (at(soil, 665) > at(soil, 490)).mean() > 0.95
    assert (at(soil, 1610) > at(soil, 665)).mean() > 0.9


def test_the_file_is_small_and_says_its_error():
    assert spectra.LIBRARY.stat().st_size < 500_000
    errors = spectra.library_card()["error"]
    assert set(errors) == set(spectra.KINDS)
    assert max(kind["rms"] for kind in errors.values()) < 2.01e-4


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"kind='lava' is unknown; choose among forest"):
        surface_spectra("lava")
    with pytest.raises(InputError, match=r"split='all' is unknown; choose among train"):
        surface_spectra("soil", "all")

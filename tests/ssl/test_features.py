"""Hand-made features: waves land where they are, turns and brightness change nothing, moments are those known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from s2koop.engine import Output, map_patches, map_pixels
from s2koop.errors import InputError
from s2koop.ssl.features import (
    CO_OCCURRENCE,
    STATISTICS,
    co_occurrence,
    handmade,
    handmade_series,
    series_features,
    spectrum,
    spectrum_centres,
    statistics,
)


def wave(length: float, direction: float, size: int = 64, phase: float = 0.3) -> torch.Tensor:
    """A plane wave of a wavelength in pixels; direction of the wave number in degrees, from x towards y."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    along = x * np.cos(np.radians(direction)) + y * np.sin(np.radians(direction))
    return torch.cos(2 * np.pi * along / length + phase)[None, None]


def brightest(image: torch.Tensor, **options) -> tuple[int, int]:
    centres = spectrum_centres(tuple(image.shape[2:]), **options)
    return divmod(int(spectrum(image, **options)[0].argmax()), len(centres[1]))


def test_a_wave_at_a_centre_lights_its_bin_alone() -> None:
    lengths, directions = spectrum_centres((64, 64))
    at = [(row, column) for row in range(7) for column in range(12)]
    waves = torch.cat([wave(lengths[row], directions[column]) for row, column in at])
    for (row, column), energy in zip(at, spectrum(waves).exp().reshape(-1, 9, 12), strict=True):
        assert divmod(int(energy.argmax()), 12) == (row, column)
        far = [i for i in range(9) if abs(i - row) > 2]
        assert float(energy[far].max()) < 0.02 * float(energy[row, column])


def test_any_wave_lights_the_nearest_bin_or_one_beside_it(rng: np.random.Generator) -> None:
    lengths, directions = spectrum_centres((96, 96), pixel=50)
    step = np.log(lengths[1] / lengths[0])
    for _ in range(40):
        length, direction = np.exp(rng.uniform(np.log(2.7), np.log(32))) * 50, rng.uniform(0, 180)
        row, column = brightest(wave(length / 50, direction, 96, rng.uniform(0, 6)), pixel=50)
        assert abs(np.log(lengths[row] / length)) < step
        apart = abs(directions[column] - direction) % 180
        assert min(apart, 180 - apart) < 15


def test_the_longest_waves_light_the_last_bins() -> None:
    assert all(brightest(wave(length, direction))[0] >= 6 for length in (40, 64) for direction in (0, 50, 90))


def test_limits_are_in_the_unit_of_the_pixel() -> None:
    options = {"pixel": 20.0, "limits": (100.0, 800.0), "wavelengths": 4}
    assert spectrum_centres((64, 64), **options)[0].tolist() == pytest.approx([100, 200, 400, 800])
    assert brightest(wave(20, 30), **options) == (2, 2)


def test_a_patch_need_not_be_square() -> None:
    lengths, directions = spectrum_centres((48, 80))
    row, column = brightest(wave(10, 60, 80)[:, :, :48])
    assert (directions[column], abs(np.log(lengths[row] / 10)) < 0.3) == (60, True)


def test_turned_by_half_a_circle_the_spectrum_is_the_same(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(3, 2, 33, 40)))
    turned = torch.flip(image, (2, 3))
    torch.testing.assert_close(spectrum(image), spectrum(turned), atol=1e-5, rtol=0)
    mirrored = torch.flip(image, (3,))
    assert float((spectrum(image) - spectrum(mirrored)).abs().max()) > 0.1


def test_turned_by_a_quarter_directions_move_by_half() -> None:
    image = wave(9, 30)
    row, column = brightest(image)
    assert brightest(image.transpose(2, 3).flip(3)) == (row, (column + 6) % 12)


def test_brightness_and_contrast_do_not_change_spectrum_and_texture(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.gamma(3, size=(2, 1, 32, 32)))
    brighter = 40 + 25 * image
    torch.testing.assert_close(spectrum(image), spectrum(brighter), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(co_occurrence(image), co_occurrence(brighter), atol=1e-4, rtol=1e-4)


def test_white_noise_has_an_even_spectrum(rng: np.random.Generator) -> None:
    energy = spectrum(torch.from_numpy(rng.normal(size=(200, 1, 64, 64)))).double().exp().mean(0).reshape(9, 12)
    np.testing.assert_allclose(energy[:7].numpy(), 1, atol=0.15)


def test_statistics_are_the_known_moments(rng: np.random.Generator) -> None:
    image = rng.gamma(2.0, size=(2, 3, 40, 24))
    found = statistics(torch.from_numpy(image)).reshape(2, 3, 12)
    flat = image.reshape(2, 3, -1)
    known = {
        "mean": flat.mean(2), "std": flat.std(2), "skewness": stats.skew(flat, axis=2),
        "kurtosis": stats.kurtosis(flat, axis=2), "q05": np.quantile(flat, 0.05, axis=2),
        "q50": np.quantile(flat, 0.5, axis=2), "q95": np.quantile(flat, 0.95, axis=2),
        "edge_y": np.sqrt((np.diff(image, axis=2) ** 2).mean((2, 3))),
        "edge_x": np.sqrt((np.diff(image, axis=3) ** 2).mean((2, 3))),
        "coarse": image.reshape(2, 3, 5, 8, 3, 8).mean((3, 5)).std((2, 3)),
    }  # fmt: skip
    for name, values in known.items():
        np.testing.assert_allclose(found[:, :, STATISTICS.index(name)], values, rtol=2e-6, err_msg=name)


def test_statistics_scale_with_brightness_and_shape_does_not(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.gamma(2.0, size=(1, 1, 16, 16)))
    once, twice = statistics(image)[0], statistics(2 * image)[0]
    shape = torch.tensor([name in ("skewness", "kurtosis") for name in STATISTICS])
    torch.testing.assert_close(twice[~shape], 2 * once[~shape])
    torch.testing.assert_close(twice[shape], once[shape])


def test_missing_pixels_are_left_out(rng: np.random.Generator) -> None:
    image = rng.gamma(2.0, size=(1, 1, 16, 16))
    image[rng.random(image.shape) < 0.2] = np.nan
    found = dict(zip(STATISTICS, statistics(torch.from_numpy(image))[0].tolist(), strict=True))
    assert found["mean"] == pytest.approx(np.nanmean(image))
    assert found["q25"] == pytest.approx(np.nanquantile(image, 0.25))
    assert found["skewness"] == pytest.approx(stats.skew(image[np.isfinite(image)]))
    assert all(np.isfinite(list(found.values())))
    assert torch.isfinite(spectrum(torch.from_numpy(image))).all()
    assert torch.isfinite(co_occurrence(torch.from_numpy(image))).all()


def test_a_patch_of_nothing_is_nan_and_a_constant_one_is_not() -> None:
    both = torch.full((2, 1, 16, 16), 0.3)
    both[0] = torch.nan
    for features in (statistics, spectrum, co_occurrence):
        found = features(both)
        assert found[0].isnan().all(), features
        assert found[1].isfinite().all(), features
    found = dict(zip(STATISTICS, statistics(both)[1].tolist(), strict=True))
    assert (found["std"], found["skewness"], found["kurtosis"], found["edge_x"]) == (0, 0, 0, 0)


def test_co_occurrence_of_stripes_is_known() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(8).expand(1, 1, 16, 16)  # columns alternate
    found = co_occurrence(stripes, distances=(1, 2)).reshape(2, 4, len(CO_OCCURRENCE))
    correlation = CO_OCCURRENCE.index("correlation")
    assert found[0, :, correlation].tolist() == pytest.approx([-1, -1, 1, -1], abs=1e-2)
    assert found[1, :, correlation].tolist() == pytest.approx([1, 1, 1, 1], abs=1e-2)
    assert found[0, 2, 0] == 0  # along a stripe there is no contrast
    assert found[0, 0, CO_OCCURRENCE.index("energy")] == pytest.approx(np.sqrt(0.5), abs=1e-3)


def test_series_are_interpolated_as_by_numpy(rng: np.random.Generator) -> None:
    days = np.sort(rng.uniform(0, 700, 40))
    values = rng.normal(size=(6, 40, 3))
    values[rng.random(values.shape) < 0.6] = np.nan
    values[0, 1:, 0] = np.nan
    values[0, 0, 0] = 0.7  # a single observation
    values[1, :, 2] = np.nan
    found = series_features(torch.from_numpy(values), torch.from_numpy(days), dates=25).reshape(6, 3, 30).numpy()
    grid = np.linspace(days[0], days[-1], 25)
    for pixel in range(6):
        for band in range(3):
            seen = np.isfinite(values[pixel, :, band])
            if not seen.any():
                assert (pixel, band) == (1, 2)
                assert np.isnan(found[pixel, band]).all()
                continue
            there = values[pixel, seen, band]
            np.testing.assert_allclose(found[pixel, band, :25], np.interp(grid, days[seen], there), atol=1e-6)
            np.testing.assert_allclose(found[pixel, band, 25:27], [there.mean(), there.std()], atol=1e-6)


def test_a_yearly_wave_gives_its_amplitudes() -> None:
    days = torch.arange(0, 1461, 7.0)
    phase = 2 * np.pi * days / 365.2425
    values = (0.4 + 0.2 * phase.cos() - 0.1 * phase.sin())[None, :, None]
    assert series_features(values, days)[0, -3:].tolist() == pytest.approx([0.4, 0.2, -0.1], abs=1e-3)


def test_days_may_repeat() -> None:
    values = torch.tensor([1.0, torch.nan, 3.0])[None, :, None]
    assert series_features(values, torch.tensor([0.0, 5.0, 5.0]))[0, :2].tolist() == [1.0, 3.0]


def test_features_run_as_a_kernel() -> None:
    patches = torch.rand(3, 2, 16, 16)
    found = handmade(None, patches, kind="spectrum", pixel=10.0, wavelengths=3, directions=4)
    torch.testing.assert_close(found, spectrum(patches, pixel=10.0, wavelengths=3, directions=4))
    assert handmade(None, patches[:0], kind="spectrum").shape == (0, 216)


@pytest.mark.parametrize("kind", ["statistics", "spectrum", "co_occurrence"])
def test_features_of_images_are_the_same_lazily(kind: str, rng: np.random.Generator) -> None:
    images = xr.DataArray(rng.random((3, 40, 48)).astype("float32"), dims=("image", "y", "x"))
    size = handmade(None, torch.zeros(1, 1, 16, 16), kind=kind).shape[1]
    options = {"patch": 16, "stride": 8, "output": Output({"feature": np.arange(size)}), "options": {"kind": kind}}
    eager = map_patches(images, handmade, **options)
    lazy = map_patches(images.chunk(image=1, y=16, x=32), handmade, **options)
    np.testing.assert_array_equal(lazy, eager)
    assert eager.dims == ("image", "y", "x", "feature")


def test_series_run_as_a_kernel_of_pixels(rng: np.random.Generator) -> None:
    cube = xr.DataArray(rng.random((6, 2, 3, 4)).astype("float32"), dims=("time", "band", "y", "x"))
    days = [0, 5, 9, 30, 40, 41]
    found = map_pixels(
        cube, handmade_series, outputs={"embedding": Output({"feature": np.arange(30)})},
        options={"days": days, "dates": 10},
    )["embedding"]  # fmt: skip
    one = series_features(torch.from_numpy(cube[:, :, 1, 2].values)[None], torch.tensor(days), dates=10)
    np.testing.assert_allclose(found[:, 1, 2], one[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statistics(torch.zeros(3, 8, 8)), "expected .patch, band, y, x."),
        (lambda: spectrum(torch.zeros(1, 1, 4, 4)), "too small for a spectrum"),
        (lambda: spectrum(torch.zeros(1, 1, 16, 16), pixel=10, limits=(10, 100)), "between two pixels"),
        (lambda: spectrum(torch.zeros(1, 1, 16, 16), pixel=0), "between two pixels"),
        (lambda: spectrum(torch.zeros(1, 1, 8, 8), directions=400), "ask for fewer"),
        (lambda: co_occurrence(torch.zeros(1, 1, 3, 3)), "do not fit into patches"),
        (lambda: series_features(torch.zeros(2, 3, 1), torch.zeros(4)), "do not fit values"),
        (lambda: series_features(torch.zeros(2, 2, 1), torch.tensor([3.0, 1.0])), "sorted days"),
        (lambda: handmade(None, torch.zeros(1, 1, 8, 8), kind="glcm"), "choose one of statistics"),
    ],
)
def test_what_does_not_fit_is_refused(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()

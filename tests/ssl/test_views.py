"""What views change, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2koop.errors import InputError
from s2koop.ssl import POLICIES, SeriesViews, Views
from s2koop.ssl.views import _blurred, policy


def waves(wavelength: float, side: int = 64, count: int = 8, angle: float = 0.0) -> torch.Tensor:
    """Plane waves (n, 1, side, side) of other phases."""
    at = torch.arange(side).float()
    along = at[None, :] * np.cos(angle) + at[:, None] * np.sin(angle)
    phase = torch.arange(count).float()[:, None, None]
    return torch.sin(2 * np.pi * along / wavelength + phase)[:, None]


def peak(images: torch.Tensor) -> tuple[float, float]:
    """Wavelength in pixels along y and x of the strongest wave."""
    power = torch.fft.fft2(images).abs().pow(2).mean((0, 1))
    power[0, 0] = 0
    row, column = np.unravel_index(int(power.argmax()), power.shape)
    frequency = torch.fft.fftfreq(images.shape[-1])
    return abs(float(frequency[row])), abs(float(frequency[column]))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_geometry_keeps_wavelength_and_direction():
    views = POLICIES["geometry"].draw(waves(8.0), random())
    assert views.shape == (8, 1, 32, 32)
    row, column = peak(views)
    assert row == 0
    assert column == pytest.approx(1 / 8, abs=1 / 32)


def test_semantic_changes_wavelength_and_direction():
    peaks = [peak(POLICIES["semantic"].draw(waves(8.0, count=1), random(seed))) for seed in range(20)]
    assert len({row > column for row, column in peaks}) == 2
    assert len({max(pair) for pair in peaks}) > 3


def test_views_of_one_image_differ_and_seeds_repeat():
    for views in POLICIES.values():
        images = torch.randn(4, 3, 64, 64, generator=random())
        one, other = views.draw(images, random(1)), views.draw(images, random(2))
        assert not torch.allclose(one, other)
        torch.testing.assert_close(one, views.draw(images, random(1)))
        assert torch.isfinite(one).all()


def test_views_leave_the_images_alone():
    images = torch.randn(4, 3, 64, 64, generator=random())
    before = images.clone()
    for views in POLICIES.values():
        views.draw(images, random())
    torch.testing.assert_close(images, before, rtol=0, atol=0)


def test_plain_views_are_windows():
    images = torch.arange(2 * 64 * 64.0).reshape(2, 1, 64, 64)
    views = Views(crop=0.25).draw(images, random())
    for image, view in zip(images[:, 0], views[:, 0], strict=True):
        at = int(view[0, 0]) % 4096
        row, column = divmod(at, 64)
        torch.testing.assert_close(view, image[row : row + 16, column : column + 16])


def test_half_turns_keep_the_power_of_every_wave():
    images = torch.randn(4, 1, 32, 32, generator=random())
    turned = Views(crop=1.0, turns="half").draw(images, random())
    assert not torch.allclose(turned, images)
    torch.testing.assert_close(torch.fft.fft2(turned).abs(), torch.fft.fft2(images).abs(), rtol=1e-3, atol=1e-3)


def test_dropped_bands_are_their_mean_and_one_stays():
    images = torch.ones(200, 3, 16, 16)
    views = Views(crop=1.0, drop=0.9).draw(images, random())
    kept = views.amax((2, 3))
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert (kept.sum(1) >= 1).all()
    assert (kept.sum(1) == 1).any()


def test_haze_brightens_first_bands_most():
    images = torch.zeros(100, 4, 8, 8)
    added = Views(crop=1.0, haze=0.5).draw(images, random()).mean((0, 2, 3))
    assert (added.diff() < 0).all()
    assert (added >= 0).all()
    assert added[0] == pytest.approx(0.5, abs=0.1)


def test_blur_damps_short_waves_as_a_gaussian_does():
    short, sigma = waves(6.0, count=3), torch.tensor([0.0, 0.7, 1.0])
    damped = _blurred(short, sigma)[:, :, 8:-8, 8:-8].std((1, 2, 3)) / short[:, :, 8:-8, 8:-8].std((1, 2, 3))
    expected = torch.exp(-0.5 * (2 * np.pi / 6.0 * sigma) ** 2)
    torch.testing.assert_close(damped, expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 0.0}, "share of the patch"),
        ({"turns": "third"}, "'none', 'half' or 'quarter'"),
        ({"zoom": (0.9, 0.3)}, "0 < least <= most"),
        ({"drop": 1.0}, "no band"),
        ({"blur": -1}, "at least 0"),
    ],
)
def test_views_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Views(**options)


def test_unknown_policy_is_refused():
    with pytest.raises(InputError, match="policy='geometric' is unknown; choose one of geometry"):
        policy("geometric")


def test_every_policy_says_what_it_forgets():
    assert all(views.forgets for views in POLICIES.values())


def test_series_views_lose_dates_and_gaps():
    values = torch.randn(50, 60, 4, generator=random())
    days = torch.arange(60) * 6.0
    view, moved = SeriesViews(level=0, noise=0, drop=0, shift=5).draw(values, days, random())
    seen = torch.isfinite(view)
    torch.testing.assert_close(view[seen], values[seen])
    share = seen.float().mean()
    assert 0.4 < share < 0.8
    assert (seen.any(2) == seen.all(2)).all()
    shift = moved - days
    assert shift.abs().max() <= 5
    assert (shift.diff(dim=1).abs() < 1e-3).all()


def test_series_views_always_keep_something():
    values = torch.randn(200, 4, 3, generator=random())
    values[:, 1:] = torch.nan
    values[:, :, 1:] = torch.nan
    view, _ = SeriesViews(keep=(0.1, 0.2), gap=300, drop=0.9).draw(values, torch.arange(4) * 10.0, random())
    assert torch.isfinite(view).any(2).any(1).all()

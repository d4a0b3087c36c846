"""What emulators learn from: samples agree with the physics that made them, and varied surfaces stay surfaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2koop.ac.emulator import EmulatorSettings, train_emulator, with_bands
from s2koop.ac.lut import Table
from s2koop.ac.training import Scenes, varied
from s2koop.simulate.spectra import WAVELENGTH, surface_spectra

BANDS = ("B02", "B04", "B08", "B11")


def scenes(**options):
    settings = EmulatorSettings(kind="hybrid", bands=BANDS, scenes=12, pixels=40, **options)
    return Scenes(with_bands(settings, Table.load()), Table.load(), "train", settings.scenes, settings.seed)


@pytest.mark.parametrize("adjacency", [False, True])
def test_the_true_sky_gives_the_surface_back(adjacency):
    made = scenes(adjacency=adjacency)
    drawn = made.pixels(np.random.default_rng(0), 24)
    c = Table.load().coefficients("S2A", drawn.state, bands=list(BANDS))
    error = (drawn.surface(c) - drawn.boa).abs().mean((0, 2, 3))
    assert (error < 0.004).all()  # noise, and structure of spectra within bands
    if adjacency:
        assert drawn.around.shape == drawn.boa.shape
        uniform = drawn._replace(around=None, share=None).surface(c)
        assert (uniform - drawn.boa).abs().mean() > 1.3 * error.mean()


def test_neighbours_are_smoother_than_what_they_surround():
    made = scenes(adjacency=True)
    drawn = made.pixels(np.random.default_rng(1), 12)
    assert (drawn.around.std((2, 3)) < drawn.boa.std((2, 3)) + 1e-6).float().mean() > 0.9
    assert torch.isfinite(drawn.toa).all()


def test_varied_spectra_keep_their_mean_and_stay_below_one():
    grass = surface_spectra("grass")[:20]
    rng = np.random.default_rng(0)
    many = np.stack([varied(grass, WAVELENGTH, 0.1, rng) for _ in range(400)])
    logs = np.log(many / grass)
    free = (many < 0.89).all(0)
    assert 0.08 < logs.std(0)[free].mean() < 0.12
    assert np.abs(logs.mean(0)[free]).max() < 0.04
    assert np.abs(np.diff(logs, axis=-1)).max() < 0.01  # smooth: no step from one wavelength to the next
    snow = surface_spectra("snow")
    assert varied(snow, WAVELENGTH, 0.3, rng).max() <= max(0.9, float(snow.max()))


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_a_training_may_be_as_short_as_one_likes(steps):
    settings = EmulatorSettings(kind="linear", bands=BANDS, steps=steps, scenes=6, batch=4)
    assert torch.isfinite(train_emulator(settings, progress=False).error).all()

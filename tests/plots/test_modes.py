"""Plots of a model's modes hold its numbers, and say what a mode is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop import plots
from s2koop.errors import InputError
from s2koop.plots.modes import mode_name, mode_table


@pytest.fixture(scope="module")
def modes() -> xr.Dataset:
    eigenvalue = np.exp(1j * 2 * np.pi * 5 / np.array([np.inf, 365.25, 182.6])) * np.array([1.0, 0.999, 0.99])
    amplitude = np.random.default_rng(0).uniform(0, 2, (3, 4, 5)).astype(np.float32)
    return xr.Dataset(
        {"amplitude": (("mode", "y", "x"), amplitude)},
        coords={
            "eigenvalue_real": ("mode", eigenvalue.real), "eigenvalue_imag": ("mode", eigenvalue.imag),
            "period": ("mode", [np.inf, 365.25, 182.6]), "decay": ("mode", [np.inf, 5000.0, 500.0]),
            "y": -np.arange(4.0), "x": np.arange(5.0),
        },
    )  # fmt: skip


def test_eigenvalues_are_the_models_and_lie_in_the_unit_circle(modes: xr.Dataset) -> None:
    circle, points, ring = plots.eigenvalues(modes, chosen=1)
    np.testing.assert_allclose(points.dimension_values("real"), modes["eigenvalue_real"])
    assert np.hypot(points.dimension_values("real"), points.dimension_values("imag")).max() <= 1 + 1e-9
    np.testing.assert_allclose(np.hypot(*circle.array().T), 1.0)
    assert ring.dimension_values("real")[0] == pytest.approx(float(modes["eigenvalue_real"][1]))


def test_what_does_not_oscillate_or_fade_stands_at_the_edge(modes: xr.Dataset) -> None:
    _, points, _ = plots.periods(modes)
    period = points.dimension_values("period")
    assert np.isfinite(period).all()
    assert period[0] == period.max() > 30_000
    assert period[1] == pytest.approx(365.25)


def test_a_mode_map_is_the_amplitude(modes: xr.Dataset) -> None:
    picture = plots.mode_map(modes, 2)
    np.testing.assert_allclose(picture.dimension_values("amplitude", flat=False)[::-1], modes["amplitude"][2])
    with pytest.raises(InputError, match="0 to 2"):
        plots.mode_map(modes, 3)


def test_modes_are_named_by_what_they_do(modes: xr.Dataset) -> None:
    table = mode_table(modes)
    assert mode_name(table, 0) == "Mode 0: no oscillation, lasts"
    assert mode_name(table, 1) == "Mode 1: 365 days, fades in 13.7 years"
    with pytest.raises(InputError, match="spectrum"):
        plots.eigenvalues(xr.Dataset())

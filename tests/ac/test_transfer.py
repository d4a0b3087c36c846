"""The three numbers of a band: inverse and derivatives, on every kind of array."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.ac import Coefficients, d_boa_d_coefficients, d_boa_d_toa, d_toa_d_boa, to_boa, to_toa

RHO = np.linspace(-0.02, 1.2, 200)
HAZY = Coefficients(0.09, 0.78, 0.16)


@pytest.mark.parametrize("c", [HAZY, Coefficients(0.0, 1.0, 0.0), Coefficients(0.2, 0.3, 0.35)])
def test_inverting_what_was_simulated_gives_the_surface_back(c):
    assert np.abs(to_boa(to_toa(RHO, c), c) - RHO).max() < 1e-12
    single = Coefficients(*(np.float32(value) for value in c))
    rho = RHO.astype(np.float32)
    assert np.abs(to_boa(to_toa(rho, single), single) - rho).max() < 2e-6


def test_no_atmosphere_leaves_reflectance_as_it_is():
    assert np.array_equal(to_toa(RHO, Coefficients(0.0, 1.0, 0.0)), RHO)


def test_a_scene_darker_than_its_path_stays_negative():
    assert to_boa(0.05, HAZY) < 0


def test_derivatives_are_those_of_autograd():
    toa = torch.linspace(0.02, 0.6, 30, dtype=torch.float64, requires_grad=True)
    c = Coefficients(*(torch.full_like(toa, value).detach().requires_grad_() for value in HAZY))
    by_toa, *by = torch.autograd.grad(to_boa(toa, c).sum(), (toa, *c))
    assert torch.allclose(d_boa_d_toa(toa, c), by_toa, atol=1e-12)
    for closed, automatic in zip(d_boa_d_coefficients(toa, c), by, strict=True):
        assert torch.allclose(closed, automatic, atol=1e-12)


def test_derivatives_are_those_of_small_steps():
    step, toa = 1e-6, to_toa(RHO, HAZY)
    assert d_boa_d_toa(toa, HAZY) == pytest.approx((to_boa(toa + step, HAZY) - to_boa(toa - step, HAZY)) / (2 * step))
    assert d_toa_d_boa(RHO, HAZY) == pytest.approx((to_toa(RHO + step, HAZY) - to_toa(RHO - step, HAZY)) / (2 * step))
    assert d_boa_d_toa(toa, HAZY) * d_toa_d_boa(RHO, HAZY) == pytest.approx(1)


def test_arrays_of_every_kind_agree_and_keep_their_kind():
    cube = xr.DataArray(np.full((2, 3, 4), 0.2), dims=("band", "y", "x"), coords={"band": ["B02", "B8A"]})
    c = Coefficients(*(xr.DataArray([value, value / 2], dims="band") for value in HAZY))
    seen = to_boa(cube, c)
    assert seen.dims == cube.dims
    assert list(seen.band.values) == ["B02", "B8A"]
    tensor = to_boa(torch.full((3, 4), 0.2, dtype=torch.float64), HAZY)
    assert np.allclose(seen[0], tensor)
    assert np.allclose(seen[0], to_boa(0.2, HAZY))

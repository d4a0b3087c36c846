"""Adjacency: dark pixels among bright ones look brighter, and are put right; the same for any tiling."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop.ac import Atmosphere, Table
from s2koop.ac.adjacency import depths, scattered_share, surroundings, without_neighbours
from s2koop.errors import InputError
from tests.ac.scenes import SKY, surface

TWO = ["B02", "B8A"]
NEAR = SKY | {"adjacency": 1000.0}


def lake() -> xr.DataArray:
    """A dark lake of 1 km in bright land, pixels of 100 m."""
    boa = surface(bands=TWO, rows=60, columns=64, resolution=100.0)
    boa[:] = 0.3
    boa[:, 25:35, 25:35] = 0.03
    return boa


def test_a_dark_lake_is_brightened_and_put_right():
    boa = lake()
    toa = boa.ac.simulate(**NEAR)
    lit = toa - boa.ac.simulate(**SKY)
    assert (lit.isel(y=30, x=30) > 0.002).all()
    assert (abs(lit.isel(y=5, x=5)) < 0.1 * lit.isel(y=30, x=30)).all()
    without = abs(toa.ac.invert(**SKY)["mean"] - boa)
    found = toa.ac.invert(**NEAR)
    error = abs(found["mean"] - boa)
    assert float(error.isel(y=30, x=30).max()) < 0.35 * float(without.isel(y=30, x=30).min())
    assert float(error.mean()) < 0.35 * float(without.mean())
    assert found.attrs["ac_adjacency"] == "1000 m"
    assert (found["spread"] > toa.ac.invert(**SKY)["spread"]).all()


def test_uniform_land_has_no_neighbours_to_speak_of():
    boa = lake()
    boa[:] = 0.2
    xr.testing.assert_allclose(boa.ac.simulate(**NEAR), boa.ac.simulate(**SKY), rtol=1e-5)
    np.testing.assert_allclose(surroundings(boa, 1000.0), 0.2, rtol=1e-5)


def test_surroundings_are_weighted_by_distance():
    boa = surface(bands=["B02"], rows=81, columns=81, resolution=250.0)
    boa[:] = 0
    boa[:, 40, 40] = 1.0
    around = surroundings(boa.astype("float64"), 1000.0)[0]
    np.testing.assert_allclose(around[40, 44] / around[40, 40], np.exp(-1), rtol=1e-3)
    np.testing.assert_allclose(around[43, 44] / around[40, 40], np.exp(-1.25), rtol=1e-3)


@pytest.mark.parametrize("chunks", [{"y": 7, "x": 40}, {"time": 1, "band": 1, "y": 60}])
def test_any_tiling_gives_the_same_numbers_lazily(chunks):
    boa = lake().expand_dims(time=2).assign_coords(time=np.array(["2021-01-01", "2021-02-01"], "datetime64[ns]")).copy()
    boa[0, :, 3:9, 4:20] = np.nan
    whole = boa.ac.simulate(**NEAR)
    lazy = boa.chunk(chunks).ac.simulate(**NEAR)
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), whole)
    xr.testing.assert_identical(lazy.ac.invert(**NEAR).compute(), whole.ac.invert(**NEAR))


def test_gaps_do_not_darken_what_is_around():
    boa = lake()
    boa[:] = 0.2
    boa[:, 20:40, 20:40] = np.nan
    around = surroundings(boa, 1000.0)
    np.testing.assert_allclose(around.values[np.isfinite(around.values)], 0.2, rtol=1e-5)


def test_blue_light_and_thick_aerosol_are_scattered_most():
    depth = depths(Table.load(), "S2A", ["B02", "B8A"], "continental")
    share = scattered_share(depth, np.array([0.1, 0.4]), np.array([0.0]), np.array([5.0]))
    assert (share[0] > share[1]).all()
    assert (share[:, 1] > share[:, 0]).all()
    assert 0.05 < share[0, 0] < 0.3


def test_refusals():
    toa = lake().ac.simulate(**SKY)
    for value, message in ((0, "no neighbour counts"), (-5.0, "at least 0"), ("1 km", "a number")):
        with pytest.raises(InputError, match=message):
            toa.ac.invert(**SKY | {"adjacency": value})
    with pytest.raises(InputError, match="size of a pixel"):
        toa.drop_vars("y").ac.invert(**NEAR)


def test_neighbours_can_be_taken_off_afterwards():
    """From a uniform inversion, their share and their mean one comes to what the inversion that knows them says."""
    toa = lake().astype("float64").ac.simulate(**NEAR)
    uniform, known = (toa.ac.invert(spread=False, **sky)["mean"] for sky in (SKY, NEAR))
    table, state = (
        Table.load(),
        Atmosphere(*(SKY[n] for n in ("aot", "water_vapour", "ozone")), 35.0, 4.0, 110.0, 150.0),
    )
    albedo = table.coefficients("S2A", state, bands=TWO).albedo
    share = scattered_share(
        depths(table, "S2A", TWO, "continental"), np.array([0.2]), np.array([150.0]), np.array([4.0])
    )
    found = without_neighbours(
        uniform.values, surroundings(uniform, 1000.0).values, albedo[:, None, None], share[..., None]
    )
    np.testing.assert_allclose(found, known.values, atol=1e-6)

"""The road of a fresh user: find Level-1C in a folder, load it, correct it; each step knows what went before."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import s2koop
from s2koop.ac import read_angles
from s2koop.ac.flags import FLAGS
from s2koop.errors import InputError, ReflectanceWarning
from tests.ac import l1c
from tests.support import items as make

SUN = ("view:sun_elevation", "view:sun_azimuth")
VIEW = ("view:incidence_angle", "view:azimuth")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two products of Level-1C, and one of Level-2A that nobody asked for."""
    folder = tmp_path_factory.mktemp("catalogue")
    found = l1c.write_products(folder)
    other = make.make_product(folder / "S2B_32TMT_L2A", "S2B_32TMT_L2A", carried=1000, bands=("B02", "B04"))
    (folder / "S2B_32TMT_L2A" / "item.json").write_text(json.dumps(make.earth_search_c1(other)))
    return found


@pytest.fixture(scope="module")
def toa(written):
    return s2koop.load(s2koop.search(written.folder, level="L1C"))


@pytest.fixture(scope="module")
def corrected(toa):
    return toa.ac.emulate().compute()


def error(found, written):
    """Mean absolute error (time,) over bands but B09, which water vapour hides."""
    bands = [band for band in written.surface["band"].values if band != "B09"]
    difference = (
        found.sel(band=bands).values - written.surface.sel(band=bands).transpose("time", "band", "y", "x").values
    )
    return np.abs(difference).mean((1, 2, 3))


def test_a_folder_gives_the_items_of_the_level(written):
    found = s2koop.search(written.folder, level="L1C")
    assert [item.id for item in found] == ["S2A_32TMT_L1C", "S2B_32TMT_L1C"]
    assert [item.id for item in s2koop.search(written.folder)] == ["S2B_32TMT_L2A"]


def test_a_cube_holds_true_reflectance_and_knows_what_it_is(written, toa):
    assert toa.attrs["level"] == "TOA"
    assert toa["band"].values.tolist() == list(make.S2_BANDS)
    assert toa["platform"].values.tolist() == ["sentinel-2a", "sentinel-2b"]
    assert toa["processing_baseline"].values.tolist() == ["03.01", "05.11"]
    assert toa["boa_offset"].values.tolist() == [0.0, -0.1]
    for band in ("B02", "B8A", "B10"):
        step = make.S2_BANDS[band] // 10
        for at, product in enumerate(written.products):
            wanted = np.kron(product.reflectance(band), np.ones((step, step), "float32"))
            np.testing.assert_array_equal(toa.isel(time=at).sel(band=band).values, wanted)


def test_angles_come_along(written, toa):
    np.testing.assert_allclose(toa["sun_zenith"], written.sky["sza"], atol=1e-4)
    np.testing.assert_allclose(toa["view_zenith"], written.sky["vza"], atol=1e-4)
    between = np.abs((toa["sun_azimuth"] - toa["view_azimuth"] + 180) % 360 - 180)
    np.testing.assert_allclose(between, written.sky["raa"], atol=1e-4)


def test_emulation_finds_the_surface(written, toa, corrected):
    """Lazily, with each date by its own satellite, and without a warning: nothing had to be assumed."""
    lazy = toa.ac.emulate()
    assert lazy["mean"].chunks is not None
    assert corrected.attrs["ac_sensor"] == "S2A+S2B"
    assert corrected["mean"].attrs["level"] == "BOA"
    assert not (corrected["flags"] & (FLAGS["view_assumed"] | FLAGS["cirrus"])).any()
    before = error(toa.drop_sel(band="B10").compute(), written)
    assert (error(corrected["mean"], written) < before / 3).all()
    np.testing.assert_allclose(corrected["aot"], written.sky["aot"], atol=0.1)
    np.testing.assert_allclose(corrected["water_vapour"], written.sky["water_vapour"], rtol=0.3)


def test_each_date_is_corrected_as_of_its_own_satellite(toa, corrected):
    for at, sensor in enumerate(("S2A", "S2B")):
        alone = toa.isel(time=[at]).ac.emulate(sensor=sensor)
        np.testing.assert_allclose(corrected["mean"][[at]], alone["mean"], atol=1e-5)
    other = toa.isel(time=[1]).ac.emulate(sensor="S2A")
    assert float(np.abs(other["mean"] - corrected["mean"][[1]]).max()) > 1e-4


def test_a_known_atmosphere_gives_the_surface(written, toa):
    known = {name: written.sky[name] for name in ("aot", "water_vapour", "ozone", "altitude")}
    found = toa.ac.invert(**known, spread=False)
    assert found.attrs["ac_sensor"] == "S2A+S2B"
    assert found.attrs["processing_baseline"] == "03.01 05.11"
    assert (error(found["mean"], written) < 0.003).all()


def test_metadata_of_the_granule_say_the_same(written, toa):
    known = {name: float(written.sky[name][1]) for name in ("aot", "water_vapour", "ozone", "altitude")}
    date = toa.isel(time=[1])
    grids = read_angles(written.folder / "S2B_32TMT_L1C" / "MTD_TL.xml")
    assert grids["vza"].sizes == {"band": 13, "y": 3, "x": 3}
    by_grid = date.ac.invert(angles=grids, **known)
    by_item = date.ac.invert(angles=s2koop.search(written.folder, level="L1C")[1], **known)
    alone = date.ac.invert(**known)
    for name in ("mean", "spread"):
        np.testing.assert_allclose(by_item[name], alone[name], atol=1e-6)
        np.testing.assert_allclose(by_grid[name], alone[name], atol=5e-4)
    assert not (by_grid["flags"] & FLAGS["view_assumed"]).any()


@pytest.mark.parametrize("correct", ["emulate", "invert"])
def test_surface_reflectance_is_refused(written, correct):
    boa = s2koop.load(s2koop.search(written.folder), mask=None)
    with pytest.raises(InputError, match=r"attrs\['level'\] is 'BOA', but this needs top-of-atmosphere"):
        getattr(boa.ac, correct)()


@pytest.mark.parametrize("correct", ["emulate", "invert"])
def test_a_sun_that_the_item_does_not_say_is_asked_for(written, correct):
    blind = s2koop.load(l1c.without(written.items[1], *SUN, *VIEW))
    assert np.isnan(blind["sun_zenith"]).all()
    with pytest.raises(InputError, match=r"zenith angle of the sun is not known; say angles=dict\(sza="):
        getattr(blind.ac, correct)()
    told = {"sza": written.sky["sza"][1], "vza": written.sky["vza"][1], "raa": written.sky["raa"][1]}
    assert np.isfinite(getattr(blind.ac, correct)(angles=told)["mean"]).all()


def test_a_view_that_the_item_does_not_say_is_assumed_and_flagged(written):
    half_blind = s2koop.load(l1c.without(written.items[1], *VIEW))
    with pytest.warns(ReflectanceWarning, match="view angles are not known"):
        found = half_blind.ac.emulate()
    assert (found["flags"] & FLAGS["view_assumed"] > 0).all()


def test_a_real_item_is_understood_before_a_pixel_is_read(shared_data, socket_disabled):
    """Its files lie behind a network that is off; a sun four degrees above the horizon is known all the same."""
    path = shared_data("stac_items/earthsearch-v1_sentinel-2-l1c__S2B_20EPT_20250731_0_L1C.json")
    toa = s2koop.load(json.loads(path.read_text()), bands=[b for b in make.S2_BANDS if b != "B10"], resolution=60)
    assert (toa.attrs["level"], toa["boa_offset"].item()) == ("TOA", -0.1)
    np.testing.assert_allclose(toa["view_zenith"], 7.584, atol=1e-3)
    found = toa.ac.emulate()
    assert isinstance(found, xr.Dataset)
    assert found.attrs["ac_sensor"] == "S2B"
    assert found["mean"].shape == (1, 12, 1830, 1830)

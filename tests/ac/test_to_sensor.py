"""`.ac.to_sensor`: bands by a fit that states its error, pixels through the point spread, the same for any tiling."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop.ac import Table
from s2koop.ac.sensors import _spectra, adjustment, band_weights
from s2koop.errors import InputError
from tests.ac.scenes import ANGLES, BANDS, surface

FOUR = ["B02", "B04", "B08", "B11"]


def library(sensor: str, bands: list[str], split: str = "test") -> xr.DataArray:
    """Simulated spectra that no fit has seen, in the bands of a sensor, as a scene of two rows."""
    values, _ = _spectra(split, band_weights(Table.load(), sensor, bands))
    rows = np.repeat(values.T[:, None].astype("float32"), 2, axis=1)
    coords = {"band": bands, "y": [0.0, -20.0], "x": 20.0 * np.arange(len(values))}
    return xr.DataArray(rows, dims=("band", "y", "x"), coords=coords, attrs={"level": "BOA", "sensor": sensor})


@pytest.mark.parametrize("bands", [FOUR, BANDS])
def test_bands_are_nearer_to_the_target_than_before_and_the_spread_says_how_near(bands):
    boa, truth = library("S2A", bands), library("PROBAV", ["BLUE", "RED", "NIR", "SWIR"])
    result = boa.ac.to_sensor("PROBAV", resolution=20.0)
    error = np.sqrt(((result["mean"] - truth) ** 2).mean(("y", "x")))
    before = np.sqrt(((boa.sel(band=FOUR).values - truth.values) ** 2).mean(axis=(1, 2)))
    assert (error.values < before).all()
    assert error.values[0] < 0.6 * before[0]
    spread = result["spread"].mean(("y", "x")).values
    assert (error.values < 2 * spread).all()
    assert (error.values > spread / 3).all()


def test_a_sensor_is_not_adjusted_to_itself():
    boa = surface(bands=["B02", "B09"])
    np.testing.assert_array_equal(boa.ac.to_sensor("S2A")["mean"], boa)
    assert adjustment("S2A", BANDS, "S2B").residual.max() < 2e-3


def test_flat_scenes_stay_flat_through_the_point_spread():
    boa = surface(bands=FOUR, rows=33, columns=27)
    boa[:] = 0.2
    result = boa.ac.to_sensor("PROBAV")
    assert dict(result["mean"].sizes) == {"band": 4, "y": 6, "x": 5}
    assert float((result["mean"].max(("y", "x")) - result["mean"].min(("y", "x"))).max()) < 1e-6
    np.testing.assert_allclose(result["mean"].x[:2], float(boa.x[0]) + np.array([40.0, 140.0]))
    assert result["mean"].rio.crs == boa.rio.crs
    assert result["mean"].rio.resolution() == (100.0, -100.0)
    assert result["mean"].attrs["sensor"] == "PROBAV"


def test_a_point_spreads_as_the_gaussian_says():
    boa = surface(bands=FOUR, rows=100, columns=100, resolution=10.0)
    boa[:] = 0.1
    point = boa.copy()
    point[:, 45, 55] += 0.5
    spot = point.ac.to_sensor("PROBAV", resolution=10.0)["mean"] - boa.ac.to_sensor("PROBAV", resolution=10.0)["mean"]
    assert (spot[0] != 0).sum() == 1  # on pixels of its own size nothing is blurred
    coarse = point.ac.to_sensor("PROBAV", resolution=20.0)["mean"] - boa.ac.to_sensor("PROBAV", resolution=20.0)["mean"]
    width = np.sqrt((coarse * (coarse.x - boa.x[55]) ** 2).sum(("y", "x")) / coarse.sum(("y", "x")))
    np.testing.assert_allclose(width, [46.1, 50.1, 46.8, 80.8], rtol=0.03)


@pytest.mark.parametrize("chunks", [{"band": 1, "y": 7, "x": 40}, {"y": 13}, {}])
@pytest.mark.parametrize("sensor", ["PROBAV", "S2B"])
def test_any_tiling_gives_the_same_numbers_lazily(chunks, sensor):
    boa = surface(bands=FOUR, dates=2, rows=64, columns=83)
    boa[0, :, 10:20, 3:40] = np.nan
    resolution = 100.0 if sensor == "PROBAV" else 40.0
    whole = boa.ac.to_sensor(sensor, resolution=resolution)
    lazy = boa.chunk(chunks).ac.to_sensor(sensor, resolution=resolution)
    assert lazy["mean"].chunks is not None
    xr.testing.assert_identical(lazy.compute(), whole)


def test_gaps_smaller_than_half_a_footprint_are_bridged():
    boa = surface(bands=FOUR, rows=50, columns=50)
    boa[:] = 0.2
    boa[:, 22:24, 22:24] = np.nan
    boa[:, :, 30:] = np.nan
    mean = boa.ac.to_sensor("PROBAV")["mean"]
    assert mean.isel(x=slice(0, 5)).notnull().all()
    assert mean.isel(x=slice(7, None)).isnull().all()


def test_the_spread_of_a_result_is_carried_on():
    toa = surface(bands=FOUR, rows=10, columns=10).ac.simulate(aot=0.1, angles=ANGLES)
    result = toa.ac.invert(aot=0.1, angles=ANGLES)
    with_spread = result.ac.to_sensor("PROBAV")
    alone = result["mean"].ac.to_sensor("PROBAV")
    assert (with_spread["spread"] > alone["spread"]).all()
    xr.testing.assert_equal(with_spread["mean"], alone["mean"])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"sensor": "MODIS"}, "sensor='MODIS' is unknown"),
        ({}, {"sensor": "PROBAV", "resolution": 50.0}, "pixels of 20 m do not make up 50 m"),
        ({}, {"sensor": "PROBAV", "resolution": 1000.0}, "one of 1000 m takes 50"),
        ({"level": "TOA"}, {"sensor": "PROBAV"}, "ac.invert corrects it"),
    ],
)
def test_refusals(change, options, message):
    boa = surface(bands=FOUR).assign_attrs(change)
    with pytest.raises(InputError, match=message):
        boa.ac.to_sensor(**options)


def test_a_grid_in_degrees_is_refused():
    boa = surface(bands=FOUR).rio.write_crs(4326)
    with pytest.raises(InputError, match="units are degrees"):
        boa.ac.to_sensor("PROBAV")

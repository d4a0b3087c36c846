"""The table: limits of physics, interpolation, kinds of arrays, sensors of one's own, and what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from s2koop.ac import AEROSOLS, Atmosphere, Table, to_boa, to_toa
from s2koop.ac.lut import LIMITS, TABLE, Axis, slant_weights
from s2koop.errors import InputError

STATE = Atmosphere(aot=0.15, water_vapour=2.0, ozone=0.3, sza=35.0, vza=6.0, raa=100.0, altitude=300.0)
#: Bands in which gases absorb little.
CLEAR = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12"]


@pytest.fixture(scope="module")
def table():
    return Table.load()


def draw(rng, size):
    inside = {name: rng.uniform(*limits, size) for name, limits in LIMITS.items()}
    return Atmosphere(**inside | {"raa": rng.uniform(0, 180, size), "altitude": rng.uniform(0, 3000, size)})


def test_the_file_is_small_enough_to_ship():
    assert TABLE.stat().st_size < 1.5e6


def test_a_table_travels_to_workers(table):
    copy = pickle.loads(pickle.dumps(table))
    assert np.array_equal(copy.coefficients("S2A", STATE).path, table.coefficients("S2A", STATE).path)


@pytest.mark.parametrize("aerosol", AEROSOLS)
@pytest.mark.parametrize("sensor", ["S2A", "S2B", "S2C", "PROBAV", "PROBAV1", "PROBAV3", "PVCC"])
def test_every_sensor_has_possible_numbers_everywhere(table, rng, sensor, aerosol):
    c = table.coefficients(sensor, draw(rng, 400), aerosol)
    assert c.path.shape == (400, len(table.bands(sensor)))
    assert ((c.path > 0) & (c.path < 0.6)).all()
    assert ((c.gain > 0) & (c.gain <= 1)).all()
    assert ((c.albedo > 0) & (c.albedo < 0.5)).all()


def test_a_round_trip_returns_the_surface(table, rng):
    c = table.coefficients("S2A", draw(rng, 300), bands=CLEAR)
    rho = rng.uniform(0, 0.8, c.path.shape)
    assert np.abs(to_boa(to_toa(rho, c), c) - rho).max() < 1e-6


def test_without_aerosol_and_gases_only_molecules_and_mixed_gases_are_left(table):
    empty = STATE._replace(aot=0.0, water_vapour=0.0, ozone=0.0, altitude=3000.0)
    c = table.coefficients("S2A", empty, bands=["B8A", "B11"])
    # molecules scatter with the fourth power of the frequency: next to nothing is left of them, nor of carbon dioxide
    assert c.path == pytest.approx([0.0054, 0.0005], abs=0.0015)
    level = empty._replace(altitude=0.0)
    thinner, thicker = (table.coefficients("S2A", state, bands=["B01"]) for state in (empty, level))
    assert thinner.path < 0.75 * thicker.path


@pytest.mark.parametrize("rho", [0.02, 0.3])
def test_without_air_either_the_surface_is_seen_as_it_is(table, rho):
    """The table has no pressure of 0, so the way there is continued, where it is nearly straight: in windows."""
    windows = {
        "near": (np.arange(855.0, 880.0, 2.5), np.ones(10)),
        "far": (np.arange(1030.0, 1060.0, 2.5), np.ones(12)),
    }
    heights = np.linspace(0, 3000, 13)
    empty = STATE._replace(aot=0.0, water_vapour=0.0, ozone=0.0, vza=0.0, altitude=heights)
    toa = to_toa(rho, table.coefficients(windows, empty))
    pressure = (1 - 0.0065 * heights / 288.15) ** 5.31
    for column in toa.T:
        assert np.polynomial.Polynomial.fit(pressure, column, 1)(0.0) == pytest.approx(rho, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "values"),
    [("aot", np.linspace(0, 0.9, 40)), ("water_vapour", np.linspace(0, 6, 40)), ("ozone", np.linspace(0, 0.6, 40)),
     ("sza", np.linspace(0, 75, 60)), ("vza", np.linspace(0, 24, 40))],
)  # fmt: skip
@pytest.mark.parametrize("aerosol", AEROSOLS)
def test_more_in_the_way_lets_less_through(table, name, values, aerosol):
    gain = table.coefficients("S2A", STATE._replace(**{name: values}), aerosol).gain
    assert (np.diff(gain, axis=0) < 2e-5).all()


@pytest.mark.parametrize("aerosol", AEROSOLS)
def test_more_air_and_aerosol_give_more_path_and_albedo_where_it_scatters(table, aerosol):
    more = table.coefficients("S2A", STATE._replace(aot=np.linspace(0, 0.9, 40)), aerosol, bands=["B8A"])
    assert (np.diff(more.path[:, 0]) > 0).all() or aerosol == "urban"  # soot absorbs what comes back
    higher = table.coefficients("S2A", STATE._replace(altitude=np.linspace(0, 3000, 40)), aerosol, bands=["B01"])
    assert (np.diff(higher.path[:, 0]) < 0).all()
    assert (np.diff(higher.albedo[:, 0]) < 0).all()


def test_path_and_transmittance_are_reciprocal(table, rng):
    """Sun and view may change places: reflectance of the path, and transmittance of both ways, stay the same."""
    one, other, azimuth = rng.uniform(0, 24, 50), rng.uniform(0, 24, 50), rng.uniform(0, 180, 50)
    there = STATE._replace(sza=one, vza=other, raa=azimuth)
    back = STATE._replace(sza=other, vza=one, raa=azimuth)
    c, d = (table.coefficients("S2A", state, bands=CLEAR) for state in (there, back))
    assert np.abs(c.gain - d.gain).max() < 1e-5
    assert np.abs(c.path - d.path).max() < 4e-4


def test_azimuth_means_nothing_where_view_or_sun_are_vertical(table):
    for name in ("sza", "vza"):
        c = table.coefficients("S2A", STATE._replace(**{name: 0.0, "raa": np.linspace(0, 180, 9)}))
        assert np.ptp(c.path, axis=0).max() < 5e-5


def test_azimuth_is_symmetric_and_turns_round(table):
    c = table.coefficients("S2A", STATE._replace(raa=np.array([70.0, -70.0, 290.0])))
    assert np.ptp(c.path, axis=0).max() < 1e-6


def test_the_sky_is_brighter_backwards_than_across(table):
    c = table.coefficients(
        "S2A", STATE._replace(aot=0.05, sza=50.0, vza=20.0, raa=np.array([0.0, 90.0])), bands=["B02"]
    )
    assert c.path[0] > 1.1 * c.path[1]


@pytest.mark.parametrize("number", ["path", "gain", "albedo"])
def test_derivatives_are_those_of_small_steps(table, number):
    def total(state):
        return getattr(table.coefficients("S2A", state, bands=["B02", "B8A"]), number).sum()

    state = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in STATE]
    gradients = torch.autograd.grad(total(Atmosphere(*state)), state, allow_unused=True)
    steps = Atmosphere(aot=1e-4, water_vapour=1e-4, ozone=1e-4, sza=1e-3, vza=1e-3, raa=1e-3, altitude=0.1)
    for name, gradient, step in zip(Atmosphere._fields, gradients, steps, strict=True):
        more, less = (total(STATE._replace(**{name: getattr(STATE, name) + s})) for s in (step, -step))
        found = 0.0 if gradient is None else float(gradient)
        assert found == pytest.approx((more - less) / (2 * step), rel=2e-3, abs=1e-8), name


def test_torch_and_numpy_agree_and_keep_their_kind(table, rng):
    state = draw(rng, 60)
    double = table.coefficients("S2B", state)
    single = table.coefficients("S2B", Atmosphere(*(torch.as_tensor(v, dtype=torch.float32) for v in state)))
    assert double.path.dtype == np.float64
    assert single.path.dtype == torch.float32
    for one, other in zip(double, single, strict=True):
        assert np.abs(one - other.numpy()).max() < 3e-5
    half = table.coefficients("S2B", Atmosphere(*(v.astype(np.float32) for v in state)))
    assert half.gain.dtype == np.float32


def test_states_broadcast_and_tiles_do_not_show(table):
    aot, sza = np.linspace(0.01, 0.8, 90)[:, None], np.linspace(10, 70, 60)
    c = table.coefficients("PROBAV", STATE._replace(aot=aot, sza=sza))
    assert c.path.shape == (90, 60, 4)
    one = table.coefficients("PROBAV", STATE._replace(aot=float(aot[80, 0]), sza=float(sza[50])))
    assert c.path[80, 50] == pytest.approx(one.path, abs=1e-12)
    assert one.path.shape == (4,)


def test_beyond_a_limit_is_flagged_and_taken_at_the_limit(table):
    beyond = STATE._replace(sza=np.array([40.0, 80.0]), aot=np.array([1.2, 0.1]))
    assert table.outside(beyond).tolist() == [True, True]
    assert table.outside(STATE).tolist() is False
    held = table.coefficients("S2A", STATE._replace(sza=75.0))
    assert table.coefficients("S2A", STATE._replace(sza=80.0)).path == pytest.approx(held.path)
    assert table.outside(STATE._replace(aot=np.array([np.nan, 0.1]))).tolist() == [True, False]


@pytest.mark.parametrize("name", Atmosphere._fields)
def test_what_is_missing_stays_missing_and_harms_no_other(table, name):
    known = getattr(STATE, name)
    state = STATE._replace(**{name: np.array([known, np.nan])})
    c = table.coefficients("S2A", state, bands=["B03", "B8A"])
    assert np.isnan(c.path[1]).all()
    assert c.path[0] == pytest.approx(table.coefficients("S2A", STATE, bands=["B03", "B8A"]).path)
    assert table.outside(state).tolist() == [False, True]


def test_a_response_of_ones_own_is_the_one_built_in(table, shared_data):
    columns = np.loadtxt(shared_data("srf/S2B_MSI.csv"), delimiter=",", skiprows=1).T
    own = {band: (columns[0], columns[k + 1]) for k, band in enumerate(table.bands("S2B"))}
    for mine, built_in in zip(table.coefficients(own, STATE), table.coefficients("S2B", STATE), strict=True):
        assert mine == pytest.approx(built_in, abs=2e-6)


def test_platforms_differ_as_their_responses_do(table):
    """S2B lies 1.4 nm lower in B06 and 17 nm lower in B12; B06 is where canopies are steepest."""
    a, b = (table.optics(sensor, bands=["B06", "B12", "B03"])["rayleigh_depth"] for sensor in ("S2A", "S2B"))
    shift = (a / b) ** (-1 / 4) - 1  # molecules scatter with the inverse fourth power of the wavelength
    assert shift[0] * 740 == pytest.approx(1.4, abs=0.4)
    assert shift[1] * 2190 == pytest.approx(17, abs=5)
    c, d = (table.coefficients(sensor, STATE) for sensor in ("S2A", "S2B"))
    assert 1e-4 < np.abs(c.path - d.path)[:9].max() < 3e-3


def test_probav_is_bluer_than_sentinel_2_and_pvcc_its_stand_in(table):
    blue = table.coefficients("PROBAV", STATE, bands=["BLUE"]).path
    assert blue > 1.15 * table.coefficients("S2A", STATE, bands=["B02"]).path
    assert np.array_equal(table.coefficients("PVCC", STATE).path, table.coefficients("PROBAV", STATE).path)


def test_aerosols_are_as_they_are_known(table):
    hazy = STATE._replace(aot=0.6)
    nir = {name: table.coefficients("S2A", hazy, name, bands=["B8A"]) for name in AEROSOLS}
    assert nir["maritime"].path > nir["continental"].path  # large grains scatter at long wavelengths as well
    assert nir["urban"].gain < nir["continental"].gain  # soot absorbs
    assert nir["maritime"].gain > nir["continental"].gain


@pytest.mark.parametrize(
    ("change", "band", "rho", "error"),
    [
        ({"aot": 0.2}, "B01", 0.05, -0.0038), ({"aot": 0.2}, "B8A", 0.05, -0.0010),
        ({"aot": 0.2}, "B01", 0.3, 0.0041), ({"aot": 0.2}, "B8A", 0.3, 0.0029),
        ({"water_vapour": 2.5}, "B05", 0.3, 0.0025), ({"ozone": 0.38}, "B03", 0.3, 0.0039),
        ({"altitude": 300.0}, "B01", 0.05, 0.0039), ({"sza": 42.0}, "B01", 0.05, -0.0012),
    ],
)  # fmt: skip
def test_a_wrong_state_costs_what_earlier_runs_of_6s_found(table, change, band, rho, error):
    state = Atmosphere(aot=0.15, water_vapour=2.0, ozone=0.33, sza=40.0, vza=5.0, raa=90.0, altitude=0.0)
    toa = to_toa(rho, table.coefficients("S2A", state, bands=[band]))
    found = to_boa(toa, table.coefficients("S2A", state._replace(**change), bands=[band])) - rho
    assert found == pytest.approx(error, abs=3e-4)


def test_light_that_strays_is_most_in_the_blue(table):
    share = table.diffuse_share("S2A", STATE, bands=CLEAR)
    assert share[0] > 0.1
    assert share[0] > share[3] > share[-2] > 0


@pytest.mark.parametrize(
    ("sensor", "kwargs", "says"),
    [
        ("S3A", {}, "sensor 'S3A' is unknown.*S2A"),
        ("S2A", {"bands": ["B13"]}, "bands \\['B13'\\] are unknown"),
        ("S2A", {"bands": []}, "unknown"),
        ("S2A", {"aerosol": "smoke"}, "aerosol 'smoke' is unknown.*desert"),
        ({"x": ([500.0], [1.0])}, {}, "give two 1-D arrays"),
        ({"x": ([510.0, 500.0], [1.0, 1.0])}, {}, "rising wavelengths"),
        ({"x": ([500.0, 510.0], [0.0, 0.0])}, {}, "no positive response"),
        ({"x": ([350.0, 410.0], [1.0, 1.0])}, {}, "covers 400 to 2400 nm"),
    ],
)
def test_what_cannot_be_done_is_said(table, sensor, kwargs, says):
    with pytest.raises(InputError, match=says):
        table.coefficients(sensor, STATE, **kwargs)


def test_states_that_do_not_fit_are_refused(table):
    with pytest.raises(InputError, match="do not broadcast"):
        table.coefficients("S2A", STATE._replace(aot=np.zeros(3), sza=np.zeros(4)))


def test_a_spline_passes_through_its_knots_and_has_smooth_slopes():
    axis = Axis(torch.tensor([0.0, 1.0, 2.5, 4.0, 7.0], dtype=torch.float64))
    assert torch.allclose(axis(axis.knots), torch.eye(5, dtype=torch.float64), atol=1e-12)
    x = torch.linspace(0, 7, 50, dtype=torch.float64)
    assert torch.allclose(axis(x) @ axis.knots**3, x**3, atol=1e-9)


def test_slanted_views_are_met_at_their_nodes():
    view = torch.tensor([24.0, 24.0, 24.0, 12.0, 12.0])
    azimuth = torch.tensor([0.0, 90.0, 180.0, 0.0, 180.0])
    assert torch.allclose(slant_weights(view, azimuth), torch.eye(5), atol=1e-6)
    assert torch.allclose(slant_weights(torch.zeros(3), torch.tensor([0.0, 50.0, 180.0])), torch.zeros(3, 5))

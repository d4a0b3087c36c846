"""SMAC: its equations against a slow twin, files as they are published, and our own fit against our table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from s2koop.ac import Atmosphere, SmacCoefficients, Table, read_smac, smac, to_boa, to_toa
from s2koop.ac.smac import fitted
from s2koop.errors import InputError

STATE = Atmosphere(aot=0.2, water_vapour=2.0, ozone=0.3, sza=40.0, vza=8.0, raa=130.0, altitude=500.0)


def twin(c: SmacCoefficients, state: Atmosphere, hpa: float) -> tuple[float, float, float]:
    """One band and one state, statement by statement in the order of the published equations."""
    us, uv = math.cos(math.radians(state.sza)), math.cos(math.radians(state.vza))
    p, m = hpa / 1013.25, 1 / us + 1 / uv
    tg = math.exp(c.ah2o * (state.water_vapour * m) ** c.nh2o) * math.exp(c.ao3 * (state.ozone * m) ** c.no3)
    for a, n, q in ((c.ao2, c.no2, c.po2), (c.aco2, c.nco2, c.pco2), (c.ach4, c.nch4, c.pch4)):
        tg *= math.exp(a * (p**q * m) ** n)
    for a, n, q in ((c.ano2, c.nno2, c.pno2), (c.aco, c.nco, c.pco)):
        tg *= math.exp(a * (p**q * m) ** n)
    s = c.a0s * p + c.a3s + c.a1s * state.aot + c.a2s * state.aot**2
    td = c.a0t + c.a1t * state.aot / us + (c.a2t * p + c.a3t) / (1 + us)
    tu = c.a0t + c.a1t * state.aot / uv + (c.a2t * p + c.a3t) / (1 + uv)
    cksi = -(us * uv + math.sqrt(1 - us**2) * math.sqrt(1 - uv**2) * math.cos(math.radians(state.raa)))
    ksi = math.degrees(math.acos(max(cksi, -1)))
    ray_phase = 0.7190443 * (1 + cksi**2) + 0.0412742
    ray_ref = c.taur * ray_phase / (4 * us * uv) * p
    whole = c.taur * ray_phase / (us * uv)
    res_ray = c.resr1 + c.resr2 * whole + c.resr3 * whole**2
    taup = c.a0taup + c.a1taup * state.aot
    aer_phase = c.a0p + c.a1p * ksi + c.a2p * ksi**2 + c.a3p * ksi**3 + c.a4p * ksi**4
    wo, gc = c.wo, c.gc
    ak2 = (1 - wo) * (3 - wo * 3 * gc)
    ak = math.sqrt(ak2)
    e = -3 * us**2 * wo / (4 * (1 - ak2 * us**2))
    f = -(1 - wo) * 3 * gc * us**2 * wo / (4 * (1 - ak2 * us**2))
    dp = e / (3 * us) + us * f
    d = e + f
    b = 2 * ak / (3 - wo * 3 * gc)
    delta = math.exp(ak * taup) * (1 + b) ** 2 - math.exp(-ak * taup) * (1 - b) ** 2
    ss = us / (1 - ak2 * us**2)
    q1 = 2 + 3 * us + (1 - wo) * 3 * gc * us * (1 + 2 * us)
    q2 = 2 - 3 * us - (1 - wo) * 3 * gc * us * (1 - 2 * us)
    q3 = q2 * math.exp(-taup / us)
    c1 = wo / 4 * ss / delta * (q1 * math.exp(ak * taup) * (1 + b) + q3 * (1 - b))
    c2 = -wo / 4 * ss / delta * (q1 * math.exp(-ak * taup) * (1 - b) + q3 * (1 + b))
    cp1, cp2 = c1 * ak / (3 - wo * 3 * gc), -c2 * ak / (3 - wo * 3 * gc)
    z = d - wo * 3 * gc * uv * dp + wo * aer_phase / 4
    x, y = c1 - wo * 3 * gc * uv * cp1, c2 - wo * 3 * gc * uv * cp2
    aa1, aa2, aa3 = uv / (1 + ak * uv), uv / (1 - ak * uv), us * uv / (us + uv)
    aer_ref = x * aa1 * (1 - math.exp(-taup / aa1)) + y * aa2 * (1 - math.exp(-taup / aa2))
    aer_ref = (aer_ref + z * aa3 * (1 - math.exp(-taup / aa3))) / (us * uv)
    t = taup * m * cksi
    res_aer = c.resa1 + c.resa2 * t + c.resa3 * t**2 + c.resa4 * t**3
    t = (taup + c.taur * p) * m * cksi
    res_6s = c.rest1 + c.rest2 * t + c.rest3 * t**2 + c.rest4 * t**3
    return (ray_ref - res_ray + aer_ref - res_aer + res_6s) * tg, tg * td * tu, s


@pytest.mark.parametrize("band", ["B02", "B04", "B8A", "B11"])
@pytest.mark.parametrize("state", [STATE, STATE._replace(aot=0.6, sza=65.0, vza=20.0, raa=10.0, altitude=0.0)])
def test_vectorised_equations_are_the_published_ones(band, state):
    numbers = fitted("S2A", bands=[band])
    one = SmacCoefficients(*(float(value[0]) for value in numbers))
    hpa = 1013.25 * (1 - 0.0065 * state.altitude / 288.15) ** 5.31
    wanted = twin(one, state, hpa)
    assert [float(v) for v in smac(one, state)] == pytest.approx(wanted, abs=1e-9)
    assert [float(v[0]) for v in smac(numbers, state, hpa)] == pytest.approx(wanted, abs=1e-9)


def test_published_files_give_sensible_atmospheres(shared_data):
    blue = read_smac(shared_data("smac_coefs/coef_VGT2_B0_CONT.dat"))
    red = read_smac(shared_data("smac_coefs/coef_VGT2_B2_CONT.dat"))
    assert (blue.ao3, blue.wo, blue.resa4) == (-0.005776, 0.899940, -0.007336)
    path = [smac(c, STATE).path for c in (blue, red)]
    assert path[0] > 2 * path[1] > 0
    assert 0.6 < smac(blue, STATE).gain < smac(red, STATE).gain + 0.2 < 1.2
    # the same sensor's successor in the table: near, though not the same response
    ours = Table.load().coefficients("PROBAV", STATE)
    toa = to_toa(0.1, ours)
    assert abs(to_boa(toa[1], smac(red, STATE)) - 0.1) < 0.01


def test_a_table_of_bands_is_read_by_column(tmp_path):
    values = np.arange(49 * 3, dtype=float).reshape(49, 3)
    file = tmp_path / "Coef_X_CONTINENTAL.dat"
    file.write_text("# B1 B2 B3\n" + "\n".join(" ".join(map(str, row)) for row in values))
    read = read_smac(file)
    assert np.array_equal(read.ah2o, values[0])
    assert np.array_equal(read.resa4, values[48])


def test_a_file_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "other.dat"
    file.write_text("1 2 3\n")
    with pytest.raises(InputError, match="holds 3 numbers; SMAC has 49"):
        read_smac(file)


def test_round_trip_and_derivatives(rng):
    c = fitted("S2A", bands=["B02", "B04"])
    aot = torch.tensor(rng.uniform(0.05, 0.6, 20), requires_grad=True)
    numbers = smac(c, STATE._replace(aot=aot))
    rho = torch.full_like(numbers.path, 0.25)
    assert float((to_boa(to_toa(rho, numbers), numbers) - rho).abs().max().detach()) < 1e-9
    (slope,) = torch.autograd.grad(numbers.path.sum(), aot)
    more, less = (smac(c, STATE._replace(aot=aot.detach() + step)).path.sum(1) for step in (1e-5, -1e-5))
    assert torch.allclose(slope, (more - less) / 2e-5, rtol=1e-5)


@pytest.mark.parametrize("aerosol", ["continental", "maritime", "urban", "desert"])
@pytest.mark.parametrize("sensor", ["S2A", "S2B", "S2C", "PROBAV"])
def test_our_fit_follows_our_table_in_ordinary_states(sensor, aerosol, rng):
    table = Table.load()
    state = Atmosphere(
        aot=rng.uniform(0.03, 0.4, 100), water_vapour=rng.uniform(0.5, 4, 100), ozone=rng.uniform(0.25, 0.4, 100),
        sza=rng.uniform(15, 60, 100), vza=rng.uniform(0, 15, 100), raa=rng.uniform(0, 180, 100),
        altitude=rng.uniform(0, 1500, 100),
    )  # fmt: skip
    keep = [band for band in table.bands(sensor) if band not in ("B09", "B10")]
    toa = to_toa(0.2, table.coefficients(sensor, state, aerosol, keep))
    error = np.abs(to_boa(toa, smac(fitted(sensor, aerosol, keep), state)) - 0.2)
    assert error.mean() < 0.004


@pytest.mark.parametrize(
    ("args", "says"),
    [(("PROBAV1",), "no fit of SMAC"), (("S2A", "smoke"), "aerosol 'smoke'"), (("S2A", "desert", ["B99"]), "B99")],
)
def test_what_has_no_fit_is_refused(args, says):
    with pytest.raises(InputError, match=says):
        fitted(*args)


def test_coefficients_that_are_shipped_are_ours_alone(shared_data):
    published = read_smac(shared_data("smac_coefs/coef_VGT2_B0_CONT.dat"))
    assert abs(fitted("PROBAV", bands=["BLUE"]).ah2o[0] - published.ah2o) < 0.01
    assert fitted("PROBAV", bands=["BLUE"]).wo[0] != published.wo

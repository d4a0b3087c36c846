"""From a posterior of the atmosphere to reflectance: marginals, and spread against a brute-force sample."""

from __future__ import annotations

import numpy as np
import pytest

from s2koop.ac.lut import Atmosphere, Table
from s2koop.ac.retrieval import Posterior, air_under, highest_aot, invert, pooled, share_under
from s2koop.ac.transfer import Coefficients, d_boa_d_coefficients, d_boa_d_toa, to_boa, to_toa

BANDS = ["B02", "B04", "B8A", "B11"]
GEOMETRY = Atmosphere(*(np.array([value]) for value in (0.0, 0.0, 0.32, 40.0, 5.0, 100.0, 200.0)))


def posterior(probability=(1.0,), aot=(0.2,), aot_error=(0.03,), water=2.0, water_error=0.05):
    models = ("continental", "maritime")[: len(probability)]
    return Posterior(
        models, np.array([probability]), np.array([aot]), np.array([aot_error]), np.array([water]),
        np.array([water_error]),
    )  # fmt: skip


def under(found, **options):
    return air_under(found, GEOMETRY, table=Table.load(), sensor="S2A", bands=BANDS, **options)


def test_a_certain_posterior_is_the_table():
    air = under(posterior(aot_error=(0.0,), water_error=0.0), ozone_error=0.0)
    state = GEOMETRY._replace(aot=np.array([0.2]), water_vapour=np.array([2.0]))
    for found, exact in zip(air.mean, Table.load().coefficients("S2A", state, bands=BANDS), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert np.abs(air.covariance).max() < 1e-12
    toa = to_toa(0.25, Coefficients(*(value[..., None] for value in air.mean)))
    mean, spread = invert(toa, air.mean, air.covariance)
    np.testing.assert_allclose(mean, 0.25, rtol=1e-6)
    np.testing.assert_allclose(spread, 0, atol=1e-6)


def test_spread_is_that_of_a_sample():
    found = posterior((0.7, 0.3), (0.2, 0.25), (0.03, 0.04))
    air = under(found)
    state = GEOMETRY._replace(aot=np.array([0.2]), water_vapour=np.array([2.0]))
    c = Table.load().coefficients("S2A", state, bands=BANDS)
    toa = to_toa(np.array([0.03, 0.25]), Coefficients(*(value[..., None] for value in c)))
    _, spread = invert(toa, air.mean, air.covariance)
    rng, sample = np.random.default_rng(0), []
    for model, share, mean, error in zip(found.models, (0.7, 0.3), (0.2, 0.25), (0.03, 0.04), strict=True):
        count = int(3000 * share)
        drawn = Atmosphere(
            np.clip(rng.normal(mean, error, count), 0, 0.9), 2.0 * np.exp(rng.normal(0, 0.05, count)),
            rng.normal(0.32, 0.035, count), *(np.full(count, float(value[0])) for value in GEOMETRY[3:]),
        )  # fmt: skip
        numbers = Table.load().coefficients("S2A", drawn, model, BANDS)
        sample.append(to_boa(toa, Coefficients(*(value[..., None] for value in numbers))))
    np.testing.assert_allclose(spread[0], np.concatenate(sample).std(0), rtol=0.15, atol=2e-4)


def test_doubt_about_the_model_is_part_of_the_spread():
    certain = under(posterior((1.0, 0.0), (0.2, 0.2), (0.01, 0.01)))
    doubtful = under(posterior((0.5, 0.5), (0.2, 0.2), (0.01, 0.01)))
    toa = np.full((1, 4, 1), 0.2)
    spread = [invert(toa, air.mean, air.covariance)[1] for air in (certain, doubtful)]
    assert (spread[1] > spread[0]).all()


def test_noise_adds_to_the_spread_and_grows_with_light():
    air = under(posterior())
    toa = np.array([0.1, 0.4])[None, None].repeat(4, 1)
    _, without = invert(toa, air.mean, air.covariance)
    _, noisy = invert(toa, air.mean, air.covariance, np.full((1, 4), 0.02))
    added = noisy**2 - without**2
    assert (added[..., 1] > added[..., 0]).all()


def test_moments_over_models():
    moments = posterior((0.5, 0.5), (0.1, 0.3), (0.02, 0.02)).moments()
    assert moments["aot"][0] == pytest.approx(0.2)
    assert moments["aot_spread"][0] == pytest.approx(np.hypot(0.1, 0.02))
    assert moments["water_vapour_spread"][0] == pytest.approx(0.1)


def test_who_knows_the_model_conditions_on_it():
    found = posterior((0.5, 0.5), (0.1, 0.3), (0.02, 0.03)).given("maritime")
    assert found.models == ("maritime",)
    assert found.moments()["aot"][0] == pytest.approx(0.3)
    assert found.moments()["aot_spread"][0] == pytest.approx(0.03)


def test_members_that_disagree_are_less_sure_together():
    a, b = posterior(aot=(0.1,)), posterior(aot=(0.3,))
    together = pooled([a, b])
    assert together.aot[0, 0] == pytest.approx(0.2)
    assert together.aot_error[0, 0] == pytest.approx(np.hypot(0.1, 0.03))
    assert pooled([a, a]).aot_error[0, 0] == pytest.approx(0.03)


def test_variance_is_that_of_the_derivatives():
    rng = np.random.default_rng(0)
    air = under(posterior((0.6, 0.4), (0.2, 0.25), (0.03, 0.04)))
    toa, noise = rng.uniform(0.05, 0.6, (1, 4, 50)), np.full((1, 4), 0.01)
    mean, spread = invert(toa, air.mean, air.covariance, noise)
    c = Coefficients(*(value[..., None] for value in air.mean))
    by = np.stack(np.broadcast_arrays(*d_boa_d_coefficients(toa, c)), -1)
    exact = np.einsum("sbpi,sbij,sbpj->sbp", by, air.covariance, by) + (d_boa_d_toa(toa, c) * 0.01) ** 2 * toa
    np.testing.assert_allclose(spread, np.sqrt(exact), rtol=1e-6)
    np.testing.assert_allclose(mean, to_boa(toa, c), rtol=1e-12)


def test_a_limit_far_away_changes_nothing_and_one_below_draws_the_aerosol_down():
    found = posterior((0.6, 0.4), (0.2, 0.3), (0.03, 0.04))
    far = found.below(np.array([5.0]))
    np.testing.assert_allclose(far.aot, found.aot, atol=1e-9)
    np.testing.assert_allclose(far.aot_error, found.aot_error, atol=1e-9)
    near = found.below(np.array([0.1]))
    assert 0.05 < near.moments()["aot"][0] < 0.15
    assert (near.aot_error < found.aot_error).all()
    np.testing.assert_array_equal(near.probability, found.probability)


def test_a_limit_gives_the_moments_of_a_sample():
    found, softness = posterior(aot=(0.2,), aot_error=(0.05,)), 0.02
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.2, 0.05, 400_000)
    kept = drawn[rng.normal(0.17, softness, len(drawn)) > drawn]
    cut = found.below(np.array([0.17]), softness)
    np.testing.assert_allclose(cut.aot[0, 0], kept.mean(), atol=5e-4)
    np.testing.assert_allclose(cut.aot_error[0, 0], kept.std(), atol=5e-4)


@pytest.mark.parametrize("true", [0.1, 0.25, 0.4])
def test_what_is_black_says_how_thick_the_aerosol_is_at_most(true):
    state = GEOMETRY._replace(aot=np.array([true]), water_vapour=np.array([2.0]))
    c = Table.load().coefficients("S2A", state, bands=BANDS)
    found = posterior(aot=(0.3,))

    def limit(dark):
        return highest_aot(
            to_toa(dark, c), found, GEOMETRY, table=Table.load(), sensor="S2A", bands=BANDS
        )[0]  # fmt: skip

    black, dark, bright = (limit(np.full(4, value)) for value in (-0.002, 0.01, 0.3))
    np.testing.assert_allclose(black, true, atol=0.01)
    assert black < dark < bright
    assert bright > 1


def test_infrared_bands_alone_set_no_limit():
    found = highest_aot(
        np.zeros((1, 1)), posterior(), GEOMETRY, table=Table.load(), sensor="S2A", bands=["B11"]
    )  # fmt: skip
    assert found[0] > 1


def test_thicker_aerosol_scatters_a_larger_share_and_least_in_the_infrared():
    thin, thick = (
        share_under(posterior(aot=(aot,)), GEOMETRY, table=Table.load(), sensor="S2A", bands=BANDS)
        for aot in (0.1, 0.5)
    )
    assert (thin < thick).all()
    assert (np.diff(thin[0]) < 0).all()
    assert 0 < thin.min() < thick.max() < 0.6

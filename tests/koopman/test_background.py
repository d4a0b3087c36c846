"""Background, errors and hold-out: what is estimated is the truth, and the future stays unseen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2koop._time import YEAR_DAYS, to_days
from s2koop.errors import ModelError
from s2koop.koopman import KoopmanSettings, training
from s2koop.koopman.assimilation import Background
from s2koop.koopman.background import Series, estimate
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.simulate import seasonal_cube

pytestmark = pytest.mark.usefixtures("few_origins")

QUICK = {"steps": 30, "hidden": (16,), "latent": 4, "validate_every": 10}


def series_of(cube):
    return cube.transpose("y", "x", "time", "band").values.reshape(-1, cube.sizes["time"], cube.sizes["band"])


def test_em_recovers_background_and_noise_of_a_linear_gaussian_world():
    torch.manual_seed(0)
    settings = KoopmanSettings(hidden=(), latent=2, derivative=False, robust=None, cycles_per_year=(1.0,))
    network = KoopmanAutoencoder(3, settings).requires_grad_(False)
    truth = Background(torch.tensor([1.0, -2.0]), torch.tensor([[0.9, 0.0], [0.5, 0.7]]))
    noise = torch.tensor([0.1, 0.2, 0.4])
    days = torch.arange(0.0, 700.0, 14.0)
    values = network.observe(network.operator.advance(truth.latent(torch.randn(500, 2)), days))
    values = values + noise * torch.randn(values.shape)
    values[torch.rand(values.shape) < 0.5] = torch.nan
    series = Series(values, days, 0.0, torch.zeros(3), torch.ones(3))
    found, core, error = estimate(network, series, torch.randn(500, 2), settings, rounds=8)
    torch.testing.assert_close(core, noise, rtol=0.08, atol=0)
    torch.testing.assert_close(error, noise, rtol=0.08, atol=0)
    torch.testing.assert_close(found.mean, truth.mean, rtol=0, atol=0.2)
    torch.testing.assert_close(found.factor @ found.factor.T, truth.factor @ truth.factor.T, rtol=0.2, atol=0.1)


def test_the_held_out_end_changes_nothing_before_it(monkeypatch):
    """Other values after the cut: the first network and what it is judged from are the same to the bit."""
    trained = []

    class EnoughError(Exception):
        """What follows the first network is not asked for."""

    def watching(trainer, series, cut):
        trained.append((trainer, series, cut))
        raise EnoughError

    monkeypatch.setattr(training, "_forecast_errors", watching)
    cube = seasonal_cube(seed=2, every_days=20)
    values, days = series_of(cube), to_days(cube.time.values)
    other = values.copy()
    late = days >= days[-len(days) // 5 + 2]
    other[:, late] = other[:, late][:, ::-1]  # the same values in another order: medians and ranges stay
    settings = KoopmanSettings(**QUICK | {"validate_every": 30})  # judged once, at the end: no choice to be made
    for series in (values, other):
        with pytest.raises(EnoughError):
            training.train(series, days, ["B04", "B08"], settings, progress=False)
    (first, _, cut), (second, _, other_cut) = trained
    assert cut == other_cut
    assert float(first.days.max()) < cut
    for name, weight in first.network.state_dict().items():
        assert torch.equal(weight, second.network.state_dict()[name]), name
    assert torch.equal(first.latents, second.latents)


def test_forecast_errors_never_assimilate_what_they_score(monkeypatch):
    windows = []
    plain = training.Window

    def watching(network, values, days, *rest):
        windows.append(float(days.max()))
        return plain(network, values, days, *rest)

    monkeypatch.setattr(training, "Window", watching)
    cube = seasonal_cube(seed=2, every_days=20)
    days = to_days(cube.time.values)
    training.train(series_of(cube), days, ["B04", "B08"], KoopmanSettings(**QUICK), progress=False)
    assert windows
    assert max(windows) < days[-1] - days[0] - 0.15 * (days[-1] - days[0])


@pytest.mark.parametrize("from_start", [False, True])
def test_the_state_that_is_kept_is_the_earliest_that_none_clearly_beats(from_start):
    cube = seasonal_cube(seed=2)
    series = training._standardised(series_of(cube), to_days(cube.time.values), "cpu")
    cut = training._holdout_start(series, 0.2)
    torch.manual_seed(0)
    settings = KoopmanSettings(**QUICK | {"steps": 40, "patience": 9, "linear_path": from_start})
    trainer = training._Trainer(series.until(cut), settings)
    assert trainer.warm is from_start
    found = []
    plain = trainer._errors_by_date
    trainer._errors_by_date = lambda *given: found.append(plain(*given)) or found[-1]
    steps = trainer.run(40, label="", progress=False, judge=series, cut=cut, from_start=from_start)
    at = [*range(0 if from_start else 10, 41, 10)]
    assert len(found) == len(at)
    errors, share = plain(series, cut)
    kept = at.index(steps)
    torch.testing.assert_close(errors, found[kept][0])
    assert not any(training._clearly_less(later, errors, share) for later, _ in found[kept + 1 :])
    assert kept == 0 or training._clearly_less(errors, found[0][0], share)


def test_a_gain_must_exceed_its_standard_error_over_the_dates():
    before, share = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.full((4,), 0.25)
    assert training._clearly_less(before - 0.1, before, share)
    assert not training._clearly_less(before, before, share)
    # the mean gain is 0.1, its standard error 0.2
    one_date = torch.tensor([0.3, 1.1, 1.1, 1.1])
    assert not training._clearly_less(one_date, before, share)
    assert training._clearly_less(one_date[:1], before[:1], share[:1] * 4)


def test_a_series_too_short_to_learn_from_keeps_the_regression_that_it_started_from(monkeypatch):
    monkeypatch.setattr(training, "_clearly_less", lambda *given: False)
    cube = seasonal_cube(seed=2, every_days=20)
    values, days = series_of(cube), to_days(cube.time.values)
    model = training.train(values, days, ["B04", "B08"], KoopmanSettings(**QUICK), progress=False)
    assert model.card["steps"] == 0
    torch.manual_seed(0)
    series = training._standardised(values, days, "cpu")
    start = training._Trainer(series, KoopmanSettings(**QUICK)).network
    kept, started = dict(model.network.named_parameters()), dict(start.named_parameters())
    torch.testing.assert_close(kept["linear.weight"], started["linear.weight"], atol=0.1, rtol=0)
    assert float(kept["decoder.2.weight"].detach().abs().max()) == 0  # the layers beside the linear path stay silent
    assert float((kept["encoder.0.weight"] - started["encoder.0.weight"]).detach().abs().max()) > 0  # it was trained


def test_dates_nobody_saw_at_the_end_do_not_stop_the_training_early():
    cube = seasonal_cube(seed=2, end="2021-06-01", every_days=20)
    blind = cube.where(cube.time < np.datetime64("2021-01-01"))
    kept = blind.dropna("time", how="all")
    assert blind.koopman.fit(progress=False, **QUICK).digest == kept.koopman.fit(progress=False, **QUICK).digest


def test_infinite_values_are_gaps_and_a_band_seen_late_is_no_crash():
    cube = seasonal_cube(seed=2, every_days=20)
    gap, wrong = cube.copy(), cube.copy()
    gap[5, 0, 0, 0], wrong[5, 0, 0, 0] = np.nan, np.inf
    assert gap.koopman.fit(progress=False, **QUICK).digest == wrong.koopman.fit(progress=False, **QUICK).digest
    late = cube.where((cube.band != "B04") | (cube.time > np.datetime64("2020-10-01")))
    model = late.koopman.fit(progress=False, **QUICK)
    assert bool(torch.isfinite(model.noise).all())


def test_divergence_is_said():
    with pytest.raises(ModelError, match="diverged at step .* lower learning_rate"):
        seasonal_cube().koopman.fit(progress=False, **QUICK | {"learning_rate": 1e6, "steps": 300, "latent": 32})


def test_a_growing_operator_is_warned_of():
    import dataclasses

    from s2koop.errors import S2koopWarning

    model = seasonal_cube(every_days=20).koopman.fit(progress=False, operator="dense", **QUICK)
    model.network.operator.matrix.data *= 1.01
    with pytest.warns(S2koopWarning, match="a year"):
        training._warn_of_growth(dataclasses.replace(model))


@given(day=st.floats(-4000, 15000), years=st.integers(-9, 9))
def test_windows_start_on_an_anniversary(model, day, years):
    start = model.anchor(day)
    assert start <= day + 1e-6 < start + YEAR_DAYS + 1e-5
    assert abs((start - model.anchor_day) / YEAR_DAYS - round((start - model.anchor_day) / YEAR_DAYS)) < 1e-6
    assert model.anchor(start + years * YEAR_DAYS + 1e-3) == pytest.approx(start + years * YEAR_DAYS, abs=1e-5)


def test_lead_factors_know_how_few_dates_there_were_and_grow_with_the_errors():
    from s2koop.koopman import uncertainty

    cube = seasonal_cube(seed=2)
    values, days = series_of(cube), to_days(cube.time.values)
    series = training._standardised(values, days, "cpu")
    cut = training._holdout_start(series, 0.2)
    torch.manual_seed(0)
    trainer = training._Trainer(series.until(cut), KoopmanSettings(**QUICK))
    settings, network, own = trainer.settings, trainer.network, trainer.latents[0].detach()
    background, noise, _, known = training._estimated(network, series.until(cut), own, settings)

    def factors(values):
        given = values, series.days, series.start, background, noise, settings.robust, known, cut
        return uncertainty.lead_factors(network, *given, origins=3).lead

    usual = factors(series.values)
    count = len(series.days)
    assert usual[0].tolist() == pytest.approx([(count / (count - uncertainty.FREEDOM)) ** 0.5] * 2)
    assert bool((usual >= usual[0]).all())
    worse = series.values.clone()
    worse[:, series.days >= cut, 0] += 8 * noise[0] * (-1.0) ** torch.arange(int((series.days >= cut).sum()))
    found = factors(worse)
    assert bool((found[1:, 0] > 1.2 * usual[1:, 0]).all())
    # the other band is believed to share some of it
    assert bool((found[1:, 1] >= usual[1:, 1]).all())
    assert bool((found <= uncertainty.MOST_FACTOR).all())

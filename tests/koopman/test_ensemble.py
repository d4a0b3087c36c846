"""Ensembles: members differ, add up, stay lazy, survive a file and an interruption, and go wherever a model goes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import signal

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import s2koop.koopman
from s2koop._time import to_days
from s2koop.errors import InputError, ModelError
from s2koop.koopman import KoopmanEnsemble, training
from s2koop.koopman import ensemble as ensembles
from s2koop.koopman.ensemble import combine, with_quantiles
from s2koop.simulate import seasonal_cube

KINDS = ["independent", "variance", "crps", "shared"]
QUICK = {"steps": 24, "hidden": (8,), "latent": 4, "validate_every": 6, "max_pixels": 12, "progress": False}
CUBE = seasonal_cube(seed=5, shape=(3, 4), every_days=20)
pytestmark = pytest.mark.usefixtures("few_origins")


def series_of(cube):
    values = cube.stack(pixel=("y", "x")).transpose("pixel", "time", "band").values
    return values.astype(np.float32), to_days(cube.time.values)


@functools.cache
def single():
    return CUBE.koopman.fit(**QUICK)


class Fitted(dict):
    """Ensembles by their kind, fitted when first asked for."""

    def __missing__(self, kind):
        self[kind] = CUBE.koopman.fit(members=3, ensemble=kind, **QUICK)
        return self[kind]


@pytest.fixture(scope="module")
def fitted(few_origins):
    return Fitted()


def slow(*kinds):
    """Three networks each: what is alike for all kinds is asked of the others alone by the quick suite."""
    return [pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", ["crps", "shared", *slow("independent", "variance")])
def test_members_differ_and_their_mean_and_variance_are_in_the_result(fitted, kind):
    result = CUBE.koopman.forecast(fitted[kind], steps=4, members=True, progress=False)
    plain = CUBE.koopman.forecast(fitted[kind], steps=4, progress=False)
    assert result["members"].dims == ("member", "time", "band", "y", "x")
    assert result["members"].sizes["member"] == fitted[kind].size == 3
    assert float(result["members"].std("member").min()) > 0
    xr.testing.assert_allclose(result["members"].mean("member"), result["mean"], atol=1e-6)
    between = result["members"].std("member")
    assert bool((result["spread_state"] >= between - 1e-6).all())
    assert bool((result["spread"] >= result["spread_state"] - 1e-6).all())
    xr.testing.assert_identical(result.drop_vars(["members", "member"]), plain)
    assert f"{kind} ensemble" in result.attrs["source"]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("independent", "forecast"),
        *(("shared", what) for what in ("assimilate", "interpolate", "forecast")),
        *(pytest.param("independent", what, marks=pytest.mark.slow) for what in ("assimilate", "interpolate")),
    ],
)
def test_lazy_and_eager_cubes_give_the_same_numbers(fitted, kind, what):
    options = {"assimilate": {}, "interpolate": {"freq": "40D"}, "forecast": {"steps": 3}}[what]
    options |= {"members": True, "quantiles": [0.1, 0.9], "progress": False}
    eager = getattr(CUBE.koopman, what)(fitted[kind], **options)
    lazy = getattr(CUBE.chunk({"y": 2, "time": 9}).koopman, what)(fitted[kind], **options)
    assert all(variable.chunks for variable in lazy.data_vars.values())
    xr.testing.assert_allclose(lazy.compute(), eager, atol=1e-5)
    assert lazy.attrs == eager.attrs


@pytest.mark.parametrize("kind", ["independent", "shared", *slow("variance", "crps")])
def test_files_give_the_same_ensemble_and_the_same_results(fitted, kind, tmp_path):
    path = fitted[kind].save(tmp_path / "e.safetensors")
    found = s2koop.koopman.load(path)
    assert isinstance(found, KoopmanEnsemble)
    assert (found.digest, found.kind, found.size) == (fitted[kind].digest, kind, 3)
    assert (tmp_path / "e.json").is_file()
    xr.testing.assert_identical(
        CUBE.koopman.forecast(path, steps=2, progress=False), CUBE.koopman.forecast(found, steps=2, progress=False)
    )


def test_independent_members_are_models_of_their_own_seeds(fitted):
    for number, model in enumerate(fitted["independent"].models):
        alone = single()  # the pixels are those of the first seed
        assert model.settings.seed == number
        assert torch.equal(model.center, alone.center)
        if number == 0:
            for name, weight in alone.network.state_dict().items():
                assert torch.equal(weight, model.network.state_dict()[name])


@pytest.mark.slow
def test_the_kinds_train_different_networks(fitted):
    assert len({fitted[kind].digest for kind in KINDS}) == len(KINDS)
    assert len(fitted["shared"].models) == 1
    first, second, _ = fitted["crps"].models
    assert not torch.equal(first.network.decoder[0].weight, second.network.decoder[0].weight)


@pytest.mark.slow
def test_diversity_widens_the_members():
    between = []
    for diversity in (0.0, 0.99):
        ensemble = CUBE.koopman.fit(
            members=3, ensemble="variance", diversity=diversity, **QUICK | {"steps": 80, "linear_path": False}
        )
        result = CUBE.koopman.forecast(ensemble, steps=4, members=True, progress=False)
        between.append(float(result["members"].std("member").mean()))
    assert between[1] > 1.2 * between[0], between


@pytest.mark.parametrize("kind", ["shared", *slow("independent", "variance", "crps")])
def test_an_interrupted_ensemble_goes_on_to_the_one_of_the_same_seed(fitted, kind, monkeypatch, tmp_path):
    taken, plain = [], training._Trainer._descend

    def descend(*given):
        taken.append(1)
        if len(taken) == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(*given)

    monkeypatch.setattr(training._Trainer, "_descend", descend)
    options = {"members": 3, "ensemble": kind, "checkpoint": tmp_path / "fit.safetensors", **QUICK}
    with pytest.raises(KeyboardInterrupt):
        CUBE.koopman.fit(**options)
    assert list(tmp_path.iterdir())
    assert CUBE.koopman.fit(**options).digest == fitted[kind].digest
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_loss_is_refused(monkeypatch, tmp_path):
    plain = training._Trainer._descend

    def descend(*given):
        os.kill(os.getpid(), signal.SIGINT)
        return plain(*given)

    path = tmp_path / "fit.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(training._Trainer, "_descend", descend)
        with pytest.raises(KeyboardInterrupt):
            CUBE.koopman.fit(members=2, ensemble="variance", checkpoint=path, **QUICK)
    with pytest.raises(ModelError, match="loss='variance, diversity 0.5' there and 'crps' here"):
        CUBE.koopman.fit(members=2, ensemble="crps", checkpoint=path, **QUICK)


def result_of(rng, shape=(3, 2, 2, 2)):
    dims = ("time", "band", "y", "x")
    variables = {
        "mean": rng.normal(size=shape),
        "spread": rng.uniform(1, 2, shape),
        "spread_state": rng.uniform(0, 1, shape),
    }
    data = {name: (dims, value.astype(np.float32)) for name, value in variables.items()}
    data["cost"] = (("y", "x"), rng.uniform(size=(2, 2)).astype(np.float32))
    data["iterations"] = (("y", "x"), rng.integers(1, 9, (2, 2)).astype(np.int16))
    return xr.Dataset(data, attrs={"title": "analysis"})


@settings(max_examples=20)
@given(seed=st.integers(0, 99), count=st.integers(1, 5))
def test_the_combination_has_the_moments_of_the_mixture(seed, count):
    rng = np.random.default_rng(seed)
    results = [result_of(rng) for _ in range(count)]
    found = combine(results)
    second = np.mean([r["mean"] ** 2 + r["spread"] ** 2 for r in results], axis=0)
    mean = np.mean([r["mean"] for r in results], axis=0)
    np.testing.assert_allclose(found["mean"], mean, atol=1e-6)
    np.testing.assert_allclose(found["spread"], np.sqrt(second - mean**2), rtol=1e-4)
    np.testing.assert_allclose(found["cost"], np.mean([r["cost"] for r in results], axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found["iterations"], np.max([r["iterations"] for r in results], axis=0))
    assert found["iterations"].dtype == np.int16
    assert found["mean"].dtype == np.float32
    assert found.attrs == results[0].attrs
    again = combine(results[::-1])
    xr.testing.assert_allclose(again, found, atol=1e-6)


def test_a_pixel_without_a_result_in_one_member_has_none_in_all(rng):
    results = [result_of(rng) for _ in range(2)]
    results[1]["mean"][0, 0, 0, 0] = np.nan
    found = combine(results, members=True)
    assert np.isnan(found["mean"][0, 0, 0, 0])
    assert np.isnan(found["spread"][0, 0, 0, 0])
    assert int(found["mean"].isnull().sum()) == 1


@settings(max_examples=20)
@given(models=st.integers(1, 4), heads=st.integers(1, 3), seed=st.integers(0, 50))
def test_variances_beyond_the_window_add_up_to_the_error_of_the_mean(models, heads, seed):
    """Between members, of the posteriors, and of an observation: together the held-out mean square error."""
    alone = single()
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    truth = 3 * draw(6, 5, 2)
    truth[draw(6, 5, 2) > 1] = torch.nan
    variance = 0.1 * draw(6, 5, 2).square()
    fitted = [training.Fitted(alone, training.Compared(draw(heads, 6, 5, 2), variance, truth)) for _ in range(models)]
    found = training.with_common_error(fitted)
    members = torch.cat([member.held_out.mean for member in fitted])
    seen = torch.isfinite(truth)
    for band in range(2):
        at = seen[..., band]
        between = members[..., band].var(0, correction=0)[at].mean()
        error = (members.mean(0) - truth)[..., band][at].square().mean()
        for model in found:
            total = model.forecast_error[band] ** 2 + between + variance[..., band][at].mean()
            torch.testing.assert_close(total, error, rtol=1e-4, atol=1e-4)
            assert model.card["holdout_rmse"] == found[0].card["holdout_rmse"]


def test_what_members_disagree_about_in_the_window_is_not_counted_twice():
    alone = single()
    truth = torch.zeros(40, 30, 2)
    apart = 0.5 * alone.window_error * torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 40, 30, 1)
    shared = training.Compared(apart, truth, truth)
    (found,) = training.with_common_error([training.Fitted(alone, shared, shared)])
    torch.testing.assert_close(found.window_error**2 + (0.5 * alone.window_error) ** 2, alone.window_error**2)
    ones = [training.Compared(part[None], truth, truth) for part in apart]
    found, _ = training.with_common_error([training.Fitted(alone, part, part) for part in ones])
    torch.testing.assert_close(found.window_error**2 + 2 * (0.5 * alone.window_error) ** 2, alone.window_error**2)


def test_the_passing_part_holds_nothing_that_a_shared_trunk_disagrees_about(fitted):
    (model,) = fitted["shared"].models
    network = copy.deepcopy(model.network)
    apart = torch.tensor([0.3, 0.1])
    with torch.no_grad():
        network.head_weight.zero_()
        network.head_bias.copy_(apart * torch.tensor([-(1.5**0.5), 0.0, 1.5**0.5])[:, None])  # variance: apart^2
    passing = torch.ones_like(model.uncertainty.passing)
    passing[0] = 0.2
    wide = dataclasses.replace(
        model, network=network, uncertainty=dataclasses.replace(model.uncertainty, passing=passing)
    )
    values, days = series_of(CUBE)
    (found,) = ensembles.less_between([wide], values, days)
    left = torch.maximum(passing.square() - apart.square(), 0.25 * passing.square())
    torch.testing.assert_close(found.uncertainty.passing.square(), left, atol=1e-5, rtol=1e-4)


def test_what_single_models_disagree_about_under_the_weak_constraint_is_taken_off_twice(fitted):
    models, ones = [], torch.ones(4, 2)
    for shift, model in zip((-0.3, 0.0, 0.3), fitted["independent"].models, strict=True):
        errors = model.uncertainty
        stiff = dataclasses.replace(errors.local, loadings=0 * errors.local.loadings)  # no anomaly makes up for a shift
        network = copy.deepcopy(model.network)
        with torch.no_grad():
            network.decoder[-1].bias += shift
        errors = dataclasses.replace(errors, passing=ones, local=stiff)
        models.append(dataclasses.replace(model, network=network, uncertainty=errors))
    values, days = series_of(CUBE)
    found = ensembles.less_between(models, values, days)
    analyses = [CUBE.koopman.assimilate(model, scene=False, progress=False)["mean"] for model in models]
    scale = xr.DataArray(models[0].scale.numpy(), dims="band")
    between = (xr.concat(analyses, "member") / scale).var("member").where(CUBE.notnull()).mean(("time", "y", "x"))
    assert 0.05 < float(between.max()) < 0.3
    for model in found:
        left = 1 - model.uncertainty.passing.square()
        torch.testing.assert_close(left[0], torch.from_numpy(2 * between.values), rtol=0.05, atol=1e-3)
    same = ensembles.less_between([models[0]] * 2, values, days)
    torch.testing.assert_close(same[0].uncertainty.passing, ones, atol=1e-4, rtol=0)


def test_quantiles_are_those_of_the_spread(rng):
    result = result_of(rng)
    found = with_quantiles(result, [0.05, 0.5, 0.95])["quantiles"]
    assert found.dims == ("quantile", "time", "band", "y", "x")
    assert found.dtype == np.float32
    xr.testing.assert_allclose(found.sel(quantile=0.5, drop=True), result["mean"])
    width = found.sel(quantile=0.95, drop=True) - found.sel(quantile=0.05, drop=True)
    np.testing.assert_allclose(width, 2 * 1.6448536 * result["spread"], rtol=1e-5)


def test_one_model_gives_quantiles_but_has_no_members():
    model = single()
    assert CUBE.koopman.assimilate(model, quantiles=0.9, progress=False)["quantiles"].sizes["quantile"] == 1
    with pytest.raises(InputError, match="needs an ensemble"):
        CUBE.koopman.assimilate(model, members=True, progress=False)


@pytest.mark.parametrize("quantiles", [[], [0.0], [1.5], "median", [[0.5]], [np.nan]])
def test_quantiles_are_probabilities(fitted, quantiles):
    with pytest.raises(InputError, match="probabilities between 0 and 1"):
        CUBE.koopman.forecast(fitted["shared"], steps=1, quantiles=quantiles)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members=0 must be a whole number"),
        ({"ensemble": "crps"}, "needs members="),
        ({"members": 3, "ensemble": "bagging"}, "choose one of"),
        ({"members": 3, "diversity": 0.5}, "belongs to ensemble='variance'"),
        ({"members": 3, "ensemble": "variance", "diversity": 1.5}, "between 0 and 1"),
        ({"members": 3, "ensemble": "variance", "diversity": -1}, "at least 0"),
        ({"members": 3, "ensemble": "shared", "architecture": "ikae"}, "needs architecture='mlp'"),
    ],
)
def test_wrong_options_say_what_to_do_before_any_pixel_is_read(options, message):
    def fail(block):
        raise RuntimeError("read")

    lazy = CUBE.chunk().map_blocks(fail, template=CUBE.chunk())
    with pytest.raises(InputError, match=message):
        lazy.koopman.fit(progress=False, **{"latent": None, **options})


def test_what_takes_one_model_says_so(fitted):
    with pytest.raises(InputError, match=r"ensemble.models\[0\]"):
        CUBE.koopman.spectrum(fitted["crps"], progress=False)
    assert CUBE.koopman.spectrum(fitted["crps"].models[0], progress=False)["amplitude"].sizes["mode"] > 0


def test_members_of_other_bands_are_no_ensemble(fitted):
    model = fitted["crps"].models[0]
    other = dataclasses.replace(model, bands=("B04", "B8A"))
    with pytest.raises(ModelError, match="share their bands"):
        KoopmanEnsemble((model, other), "independent")
    with pytest.raises(ModelError, match="at least one"):
        KoopmanEnsemble((), "independent")


def test_the_repr_says_what_it_is(fitted):
    assert repr(fitted["shared"]).startswith("<KoopmanEnsemble shared, 3 members of KoopmanModel modal")

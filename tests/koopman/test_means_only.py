"""``spread=False`` gives the mean of the whole result and no spread, by decoding without derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop.errors import InputError
from s2koop.koopman import kernels


@pytest.fixture(scope="module")
def past(cube):
    return cube.sel(time=slice("2019-01-01", "2019-12-31"))


def assert_same_mean(found, whole):
    assert set(found.data_vars) == set(whole.data_vars) - {"spread", "spread_state"}
    assert found.attrs["spread"] == "not computed (spread=False)"
    assert "spread" not in whole.attrs
    for name in found.data_vars:
        np.testing.assert_allclose(found[name], whole[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("constraint", ["weak", "strong"])
@pytest.mark.parametrize(
    ("call", "options"),
    [
        ("forecast", {"steps": 30}),
        ("forecast", {"steps": 3, "as_observed": True}),
        ("forecast", {"steps": 3, "window": "200D"}),
        ("assimilate", {"scene": False}),
        ("interpolate", {"freq": "3D"}),
    ],
)
def test_the_mean_is_that_of_the_whole_result(past, model, call, options, constraint):
    whole, found = (
        getattr(past.koopman, call)(model, constraint=constraint, progress=False, spread=spread, **options)
        for spread in (True, False)
    )
    assert_same_mean(found, whole)


@pytest.mark.parametrize("constraint", ["weak", "strong"])
def test_lazy_until_asked_and_the_same_across_chunks(past, model, constraint):
    options = {"times": ["2020-02-01", "2020-07-01"], "constraint": constraint, "progress": False, "spread": False}
    eager = past.koopman.forecast(model, **options)
    lazy = past.chunk({"time": 11, "y": 5}).koopman.forecast(model, **options)
    assert all(variable.chunks is not None for variable in lazy.data_vars.values())
    assert lazy.attrs == eager.attrs
    np.testing.assert_allclose(lazy["mean"].compute(), eager["mean"], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("kind", ["shared", pytest.param("independent", marks=pytest.mark.slow)])
def test_ensembles_give_their_mean_and_members(past, kind, few_origins):
    past = past[:, :, :4, :4]
    small = {"steps": 20, "hidden": (16,), "latent": 8, "progress": False}
    ensemble = past.koopman.fit(members=2, ensemble=kind, **small)
    whole, found = (
        past.koopman.forecast(ensemble, steps=4, members=True, progress=False, spread=spread)
        for spread in (True, False)
    )
    assert_same_mean(found, whole)
    xr.testing.assert_allclose(found["members"].mean("member"), found["mean"], atol=1e-5)


def test_no_derivative_is_taken_on_the_asked_dates(past, model, monkeypatch):
    def fail(*given, **options):
        raise AssertionError("derivatives were asked for")

    monkeypatch.setattr(kernels, "predict", fail)
    monkeypatch.setattr(kernels, "evaluate", fail)
    for constraint in ("weak", "strong"):
        past.koopman.forecast(model, steps=2, constraint=constraint, progress=False, spread=False)
        with pytest.raises(AssertionError, match="derivatives"):
            past.koopman.forecast(model, steps=2, constraint=constraint, progress=False)


def test_what_needs_a_spread_is_refused(past, model):
    with pytest.raises(InputError, match="taken from the spread"):
        past.koopman.forecast(model, steps=2, quantiles=[0.5], spread=False)
    with pytest.raises(InputError, match="leave spread=False out"):
        past.koopman.assimilate(model, as_observed=True, spatial="tv", spread=False)

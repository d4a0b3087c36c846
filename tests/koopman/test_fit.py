"""Training: it learns known dynamics, does not see the future, and gives the same model for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop.errors import InputError
from s2koop.koopman import KoopmanSettings
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.simulate import seasonal_cube

pytestmark = pytest.mark.usefixtures("few_origins")

QUICK = {"steps": 30, "hidden": (16,), "latent": 4, "validate_every": 10, "progress": False}


def test_learns_the_seasons_and_forecasts_a_year_close_to_the_truth(cube, truth, model):
    """Simulated linear dynamics: a year ahead the error is a small part of the signal."""
    past, future = cube.sel(time=slice(None, "2019-12-31")), truth.sel(time=slice("2020-01-01", None))
    result = past.koopman.forecast(model, times=future.time, progress=False)
    rmse = np.sqrt(((result["mean"] - future) ** 2).mean(("time", "y", "x")))
    assert (rmse < 0.012).all(), rmse.values
    assert (rmse < 0.25 * future.std(("time", "y", "x"))).all()


def test_the_annual_period_stands_in_the_spectrum(cube, model):
    modes = cube.koopman.spectrum(model, progress=False)
    annual = np.abs(modes.period - 365.25) < 10
    strength = modes.amplitude.mean(("y", "x"))
    assert bool(annual.any())
    assert float(strength[annual].max()) > 0.2 * float(strength.max())


def test_same_seed_same_model_and_the_callers_random_state_is_left_alone():
    cube = seasonal_cube(seed=5, every_days=20)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = cube.koopman.fit(**QUICK)
    assert torch.equal(torch.rand(3), expected)
    assert first.digest == cube.koopman.fit(**QUICK).digest
    assert first.digest != cube.koopman.fit(seed=1, **QUICK).digest


def test_dask_backed_and_numpy_backed_cubes_train_the_same_model():
    cube = seasonal_cube(seed=5, every_days=20)
    assert cube.koopman.fit(**QUICK).digest == cube.chunk({"y": 2, "x": 3, "time": 10}).koopman.fit(**QUICK).digest


def test_drawn_pixels_read_only_their_chunks():
    import dask.array as da

    read = []

    def block(values, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return values

    cube = seasonal_cube(shape=(40, 40), seed=2, every_days=20)
    lazy = cube.copy(data=da.from_array(cube.values, chunks=(-1, -1, 4, 4)).map_blocks(block, dtype="float32"))
    read.clear()
    lazy.koopman.fit(max_pixels=12, **QUICK)
    assert 0 < len(set(read)) <= 12


@pytest.mark.filterwarnings("ignore:.*grows by a factor")
@pytest.mark.parametrize("operator", ["modal", "dense"])
def test_both_operators_train_and_forecast(operator):
    cube = seasonal_cube(seed=1, every_days=20)
    model = cube.koopman.fit(operator=operator, **QUICK)
    result = cube.koopman.forecast(model, steps=3, progress=False)
    assert bool(result["mean"].notnull().all())
    assert bool((result["spread"] > result["spread_state"]).all())


def test_derivative_can_be_left_out_and_one_band_is_enough():
    cube = seasonal_cube(seed=1, every_days=20).sel(band=["B08"])
    model = cube.koopman.fit(derivative=False, **QUICK)
    assert model.network.state_size == 1
    assert cube.koopman.assimilate(model, progress=False)["mean"].sizes["band"] == 1


def test_one_pixel_is_enough():
    cube = seasonal_cube(shape=(1, 1), cloud=0.1)
    model = cube.koopman.fit(**QUICK)
    assert np.isfinite(cube.koopman.forecast(model, steps=1, progress=False)["mean"]).all()


def test_paper_settings():
    settings = KoopmanSettings.paper()
    network = KoopmanAutoencoder(10, settings)
    weights = sum(p.numel() for p in network.encoder.parameters()) + sum(
        p.numel() for p in network.decoder.parameters()
    )
    assert weights == 300_596  # 20-512-256-32 and back, as published
    assert torch.equal(network.operator.matrix, torch.eye(32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator": "linear"}, "choose one of"),
        ({"latent": 7}, "even"),
        ({"holdout": 1.5}, "between 0 and 0.9"),
        ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
        ({"steps": 2.5}, "whole number"),
        ({"step": 5}, "did you mean"),
        ({"hidden": "16"}, "sequence of numbers"),
        ({"hidden": 16}, "sequence of numbers"),
        ({"robust": "huber"}, "robust='huber' must be a number"),
        ({"seed": -1}, "at least 0"),
        ({"settings": {"steps": 5}}, "settings is a dict"),
        ({"device": "gpu"}, "cannot be used here"),
        ({"widths": (3,)}, "unknown setting"),
        ({"cycles_per_year": (-1.0,)}, "at least 0"),
        ({"settings": KoopmanSettings(), "steps": 5}, "not both"),
        ({"max_pixels": 0}, "at least 1"),
    ],
)
def test_wrong_settings_say_what_to_do(change, message):
    with pytest.raises(InputError, match=message):
        seasonal_cube().koopman.fit(progress=False, **change)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.rename(band="channel"), "expected .'time', 'band', 'y', 'x'"),
        (lambda c: c.isel(time=0), "expected .'time', 'band', 'y', 'x'"),
        (lambda c: c.isel(time=slice(0, 0)), "no time"),
        (lambda c: c.drop_vars("time"), "no coordinate 'time'"),
        (lambda c: c.assign_coords(time=np.arange(c.sizes["time"])), "expected datetime64"),
        (lambda c: (c * 10000).fillna(0).astype("uint16"), "divide digital numbers by 10000"),
        (lambda c: (c * 10000).chunk(), "divide digital numbers by 10000"),
        (lambda c: c.sel(band="B04"), r"cube.sel\(band=\[...\]\)"),
        (lambda c: c * 10000, "divide digital numbers by 10000"),
        (lambda c: c.isel(time=slice(None, None, -1)), "sortby"),
        (lambda c: c.where(False), "no pixel has 8 usable dates"),
        (lambda c: c.isel(time=slice(0, 5)), "usable dates"),
        (lambda c: c.where(c.band != "B04"), r"\['B04'\] have no observation"),
    ],
)
def test_cubes_that_cannot_be_used_are_refused_with_the_cure(spoil, message):
    with pytest.raises(InputError, match=message):
        spoil(seasonal_cube()).koopman.fit(progress=False)


def test_a_dataset_is_refused():
    from s2koop.koopman.analysis import fit

    with pytest.raises(InputError, match="to_array"):
        fit(xr.Dataset())

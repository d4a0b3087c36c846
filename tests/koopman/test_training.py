"""How training draws its dates, counts in bfloat16, and keeps its memory bounded."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

from s2koop._time import to_days
from s2koop.errors import InputError
from s2koop.koopman import KoopmanSettings, training
from s2koop.koopman.analysis import training_pixels
from s2koop.simulate import seasonal_cube
from tests.support.counted import counted

QUICK = {"steps": 30, "hidden": (16,), "latent": 4, "validate_every": 10, "progress": False}


def trainer(cube, **settings):
    values = cube.transpose("y", "x", "time", "band").values.reshape(-1, cube.sizes["time"], cube.sizes["band"])
    chosen = KoopmanSettings(hidden=(8,), latent=4, **settings)
    return training._Trainer(training._standardised(values, to_days(cube.time.values), "cpu"), chosen)


@pytest.fixture
def irregular():
    """Dates with repeats and a long gap."""
    cube = seasonal_cube(seed=1)
    keep = np.r_[0, 1, 1, 2, 5:20, 45:60, 60, 60, 61]
    return cube.isel(time=keep)


@pytest.mark.parametrize("long_days", [None, 20.0, 100.0, 500.0])
def test_dates_are_drawn_within_their_horizons(irregular, long_days):
    torch.manual_seed(0)
    own = trainer(irregular, long_days=long_days, short_term=1.0, short_days=25.0, batch_dates=6)
    seen_pairs, origins = 0, set()
    for _ in range(200):
        draw = own._draw()
        origins.add(draw.origin)
        ahead = own.days[draw.targets] - own.days[draw.origin]
        assert len(draw.targets) == len(set(draw.targets.tolist()))
        assert bool((draw.targets >= draw.origin).all())
        if long_days is not None:
            assert bool(((ahead <= long_days) | (draw.targets <= draw.origin + 1)).all())
        soon = own.days[draw.ends] - own.days[draw.targets[draw.starts]]
        assert bool((draw.ends > draw.targets[draw.starts]).all())
        assert bool(((soon >= 0) & (soon <= 25.0)).all())
        seen_pairs += len(soon)
    assert seen_pairs > 400
    assert len(origins) > 20


def test_every_date_within_the_short_horizon_is_reached(irregular):
    torch.manual_seed(0)
    own = trainer(irregular, short_term=1.0, short_days=25.0)
    reached = set()
    for _ in range(400):
        draw = own._draw()
        reached |= {(int(draw.targets[start]), int(end)) for start, end in zip(draw.starts, draw.ends, strict=True)}
    days = own.days.tolist()
    wanted = {(i, j) for i in range(len(days)) for j in range(i + 1, len(days)) if days[j] - days[i] <= 25.0}
    assert reached == wanted


def test_a_short_term_loss_is_lower_where_it_was_trained():
    cube, found = seasonal_cube(seed=4), {}
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        own = trainer(cube, short_term=weight, short_days=20.0, trajectory=0.0)
        own.run(60, label="", progress=False)
        assert ("short_term" in own.last_losses) == bool(weight)
        own.settings = dataclasses.replace(own.settings, short_term=1.0)
        torch.manual_seed(1)
        with torch.no_grad():
            found[weight] = np.mean([float(own._losses()["short_term"]) for _ in range(20)])
    assert found[5.0] < 0.9 * found[0.0], found


@pytest.mark.usefixtures("few_origins")
def test_bfloat16_learns_what_float32_learns():
    past = seasonal_cube(seed=1, every_days=20).sel(time=slice(None, "2020-08-31"))
    later = seasonal_cube(seed=1, every_days=20, truth=True).sel(time=slice("2020-09-01", None))
    errors = {}
    for precision in ("float32", "bfloat16"):
        model = past.koopman.fit(**QUICK | {"steps": 80, "batch_pixels": 16}, precision=precision)
        assert all(weight.dtype == torch.float32 for weight in model.network.parameters())
        result = past.koopman.forecast(model, times=later.time, progress=False)
        errors[precision] = float(np.sqrt(((result["mean"] - later) ** 2).mean()))
    assert errors["bfloat16"] < 1.3 * errors["float32"] + 1e-3, errors


def test_products_run_in_bfloat16_and_dynamics_in_float32(monkeypatch):
    own = trainer(seasonal_cube(seed=1), precision="bfloat16", short_term=1.0)
    kinds = {"encoder": set(), "operator": set()}
    own.network.encoder.register_forward_hook(lambda *given: kinds["encoder"].add(given[2].dtype))
    plain = own.network.operator.advance
    monkeypatch.setattr(
        own.network.operator, "advance", lambda z, days: kinds["operator"].add(plain(z, days).dtype) or plain(z, days)
    )
    losses = own._losses()
    losses["total"].backward()
    assert kinds == {"encoder": {torch.bfloat16}, "operator": {torch.float32}}
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert own.latents.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_learns_the_same():
    cube = seasonal_cube(seed=1)
    there, here = cube.koopman.fit(**QUICK, device="cuda"), cube.koopman.fit(**QUICK)
    assert there.center.device.type == "cpu"
    for name, weight in here.network.state_dict().items():
        torch.testing.assert_close(there.network.state_dict()[name], weight, atol=1e-2, rtol=1e-2)


def test_nothing_of_a_training_stays_on_another_device(monkeypatch):
    """Without a GPU at hand: the meta device refuses every operation that mixes devices."""
    monkeypatch.setattr(torch, "autocast", lambda *given, **options: contextlib.nullcontext())  # it knows no meta
    own = trainer(seasonal_cube(seed=1), short_term=1.0)
    own.values, own.states = own.values.to("meta"), own.states.to("meta")
    own.latents = torch.nn.Parameter(own.latents.detach().to("meta"))
    own.networks = [network.to("meta") for network in own.networks]
    own.days = own.days.to("meta")
    draw = trainer(seasonal_cube(seed=1), short_term=1.0)._draw()
    own._draw = lambda: draw
    assert own._losses()["total"].device.type == "meta"


def test_a_lazy_cube_is_read_once_and_only_where_pixels_were_drawn():
    cube = seasonal_cube(seed=5, shape=(6, 7))
    lazy, reads = counted(cube, time=5)
    reads.clear()
    values = training_pixels(lazy, 9, seed=0)
    assert set(reads.values()) == {1}
    np.testing.assert_array_equal(values, training_pixels(cube, 9, seed=0))


def test_memory_of_drawing_pixels_does_not_grow_with_the_cube():
    """A cube of 210 MB, made chunk by chunk: drawing from it takes a small part of that."""
    dates, side = 100, 512
    days = np.datetime64("2018-01-01", "ns") + np.arange(dates) * np.timedelta64(10, "D")

    def block(block_info=None):
        where = block_info[None]["array-location"]
        return np.full([b - a for a, b in where], 0.2, np.float32)

    chunks = ((10,) * 10, (1, 1), (128,) * 4, (128,) * 4)
    data = da.map_blocks(block, chunks=chunks, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))
    cube = xr.DataArray(
        data, dims=("time", "band", "y", "x"),
        coords={"time": days, "band": ["B04", "B08"], "y": np.arange(side), "x": np.arange(side)},
    )  # fmt: skip
    gc.collect()
    tracemalloc.start()
    values = training_pixels(cube, 500, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.shape == (500, dates, 2)
    assert peak < cube.nbytes / 5, peak / 1e6


def test_training_keeps_few_copies_of_its_series():
    """Series in, standardised series, and states with their slopes: five times the input, and no more."""
    own = trainer(seasonal_cube(seed=1))
    kept = {
        id(t.untyped_storage()): t.untyped_storage().nbytes() for t in vars(own).values() if isinstance(t, torch.Tensor)
    }
    series = own.values.nbytes
    assert own.states.nbytes == 2 * series
    assert sum(kept.values()) < 3.6 * series


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "float16"}, "choose one of"),
        ({"short_term": -1.0}, "at least 0"),
        ({"short_days": 0}, "greater than 0"),
        ({"long_days": "year"}, "must be a number"),
        ({"heads": 0}, "at least 1"),
        ({"heads": 2, "architecture": "ikae"}, "needs architecture='mlp'"),
    ],
)
def test_wrong_settings_say_what_to_do(change, message):
    with pytest.raises(InputError, match=message):
        KoopmanSettings(**change)


@pytest.mark.usefixtures("few_origins")
def test_a_date_that_no_judged_pixel_saw_is_no_obstacle(monkeypatch):
    monkeypatch.setattr(training, "BACKGROUND_PIXELS", 3)
    cube = seasonal_cube(seed=1)
    values = cube.transpose("y", "x", "time", "band").values.reshape(-1, cube.sizes["time"], cube.sizes["band"]).copy()
    judged = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:3].numpy()
    values[judged, 7] = np.nan
    assert np.isfinite(values[:, 7]).any()
    settings = KoopmanSettings(steps=2, hidden=(8,), latent=4)
    model = training.train(values, to_days(cube.time.values), ["B04", "B08"], settings, progress=False)
    assert model.uncertainty is not None
    assert bool(torch.isfinite(model.uncertainty.passing).all())

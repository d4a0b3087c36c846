"""A student says what its teacher says, for less, and owns up to what it misses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2koop.errors import InputError, ModelError
from s2koop.koopman import distil, load


@pytest.fixture(scope="module")
def past(cube):
    return cube.sel(time=slice(None, "2019-12-31"))


@pytest.fixture(scope="module")
def student(model, past):
    return distil(model, past, hidden=(16,), steps=800, progress=False)


def decoder_products(network):
    """Multiplications of one decoded state."""
    return sum(weight.numel() for name, weight in network.named_parameters() if "decoder" in name and weight.ndim == 2)


def test_the_student_forecasts_as_well_as_its_teacher_for_less(cube, truth, model, past, student):
    later = truth.sel(time=slice("2020-01-01", None))
    errors = []
    for taken in (model, student):
        result = past.koopman.forecast(taken, times=later.time, progress=False)
        errors.append(np.sqrt(float(((result["mean"] - later) ** 2).mean())))
    assert errors[1] <= 1.05 * errors[0], errors
    assert decoder_products(student.network) < 0.7 * decoder_products(model.network)


def test_it_keeps_latent_space_dynamics_and_background_and_adds_its_own_error(model, student):
    days = torch.tensor([0.0, 17.0, 400.0])
    assert torch.equal(student.network.operator.powers(days), model.network.operator.powers(days))
    assert torch.equal(student.background.factor, model.background.factor)
    assert torch.equal(student.center, model.center)
    error = torch.tensor([student.card["distillation_rmse"][band] for band in model.bands]) / model.scale
    assert bool((error > 0).all())
    for name in ("noise", "window_error", "forecast_error"):
        expected = torch.hypot(getattr(model, name), error)
        torch.testing.assert_close(getattr(student, name), expected, rtol=1e-3, atol=1e-4)
    assert student.card["distilled_from"] == model.digest


def test_the_score_in_the_card_is_the_difference_on_trajectories(cube, model, past, student):
    """On dates beyond the training of pixels that it may not have seen, it is as far from the teacher as it says."""
    times = past.time[::9]
    ours, theirs = (past.koopman.assimilate(m, times=times, progress=False)["mean"] for m in (student, model))
    rmse = np.sqrt(((ours - theirs) ** 2).mean(("time", "y", "x")))
    for band in model.bands:
        assert float(rmse.sel(band=band)) < 2 * student.card["distillation_rmse"][band]
        assert student.card["distillation_rmse"][band] < 0.01


def test_same_seed_same_student_and_the_callers_random_state_is_left_alone(model, past, tmp_path):
    options = {"hidden": (4,), "steps": 5, "progress": False}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = distil(model, past, **options)
    assert torch.equal(torch.rand(3), expected)
    assert first.digest == distil(model, past.chunk({"y": 4}), **options).digest
    assert first.digest != distil(model, past, seed=1, **options).digest
    assert load(first.save(tmp_path / "student.safetensors")).digest == first.digest
    of_file = distil(model.save(tmp_path / "teacher.safetensors"), past, **options)
    assert of_file.card["distilled_from"] == model.digest


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "ikae", "coupling_width": 8, "couplings": 2},
        {"operator": "dense", "latent": 4, "hidden": (8,), "orthogonality": 100.0},
        {"heads": 3, "latent": 4, "hidden": (8,)},
    ],
)
def test_teachers_of_every_kind(past, settings, few_origins):
    past = past[::4]
    teacher = past.koopman.fit(steps=20, max_pixels=12, progress=False, **settings)
    student = distil(teacher, past, hidden=(6,), steps=20, max_pixels=8, progress=False)
    assert student.network.latent == teacher.network.latent
    assert bool(past.koopman.assimilate(student, progress=False)["mean"].notnull().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 64}, "sequence of numbers"),
        ({"steps": 0}, "at least 1"),
        ({"max_pixels": 1}, "at least 2"),
        ({"horizon_days": -1}, "at least 0"),
        ({"device": "gpu"}, "cannot be used here"),
    ],
)
def test_wrong_options_say_what_to_do(model, past, options, message):
    with pytest.raises(InputError, match=message):
        distil(model, past, progress=False, **options)


def test_other_bands_are_refused_and_missing_ones_are_fine(model, past):
    with pytest.raises(ModelError, match="not \\['B11'\\]"):
        distil(model, past.assign_coords(band=["B04", "B11"]), progress=False)
    student = distil(model, past.sel(band=["B08"]), steps=5, progress=False)
    assert student.bands == model.bands

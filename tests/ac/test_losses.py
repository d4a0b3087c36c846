"""Losses of emulators: nothing at the truth, and the right answer to a known error."""

from __future__ import annotations

import pytest
import torch
import xarray as xr

from s2koop.ac import losses
from s2koop.ac.networks import Sky
from s2koop.ac.transfer import Coefficients, to_toa
from s2koop.scores import ssim


def images(seed=0, shape=(2, 3, 16, 16)):
    return 0.05 + 0.4 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def air():
    return Coefficients(
        torch.tensor([[0.09, 0.05, 0.02], [0.12, 0.07, 0.03]]),
        torch.tensor([[0.78, 0.85, 0.9], [0.7, 0.8, 0.88]]),
        torch.tensor([[0.16, 0.1, 0.05], [0.2, 0.12, 0.07]]),
    )


@pytest.mark.parametrize("loss", [losses.l1, losses.specification, losses.structure, losses.spectral_angle])
def test_nothing_is_lost_at_the_truth(loss):
    truth = images()
    assert float(loss(truth, truth)) == pytest.approx(0, abs=1e-6)
    assert float(loss(truth + 0.03 * images(1), truth)) > 1e-4


def test_the_constraint_holds_at_the_truth_and_only_there():
    truth, c = images(), air()
    toa = to_toa(truth, Coefficients(*(value[..., None, None] for value in c)))
    assert float(losses.transfer(truth, toa, c)) == pytest.approx(0, abs=1e-7)
    wrong = c._replace(path=c.path + 0.01)
    assert float(losses.transfer(truth, toa, wrong)) == pytest.approx(0.01, rel=1e-4)


def test_the_constraint_pulls_surface_and_atmosphere():
    surface, path = images().requires_grad_(), air().path.clone().requires_grad_()
    toa = to_toa(images(2), Coefficients(*(value[..., None, None] for value in air())))
    losses.transfer(surface, toa, air()._replace(path=path)).backward()
    assert surface.grad.abs().sum() > 0
    assert path.grad.abs().sum() > 0


def test_errors_on_the_line_of_the_specification_count_one():
    truth = images()
    assert float(losses.specification(truth + 0.05 * truth + 0.005, truth)) == pytest.approx(1, rel=1e-5)


def test_spectral_angle_is_blind_to_brightness_and_knows_right_angles():
    truth = images()
    assert float(losses.spectral_angle(1.3 * truth, truth)) == pytest.approx(0, abs=1e-3)
    first, other = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    first[:, 0], other[:, 1] = 1, 1
    assert float(losses.spectral_angle(first, other)) == pytest.approx(torch.pi / 2, abs=5e-3)


def test_structure_agrees_with_the_score():
    truth, found = images(shape=(1, 1, 40, 40)), images(3, shape=(1, 1, 40, 40))
    mixed = 0.8 * truth + 0.2 * found
    planes = [xr.DataArray(values[0, 0].numpy(), dims=("y", "x")) for values in (mixed, truth)]
    assert 1 - float(losses.structure(mixed, truth)) == pytest.approx(float(ssim(*planes, data_range=1.0)), abs=0.01)


def test_likelihood_prefers_the_true_model_and_an_honest_error():
    def sky(logit, mean, error):
        return Sky(
            torch.tensor([[logit, 0.0]]), torch.tensor([[mean, 0.5]]), torch.tensor([[error, 0.01]]),
            torch.tensor([2.0]), torch.tensor([0.1]),
        )  # fmt: skip

    truth = torch.tensor([0.2]), torch.tensor([2.0]), torch.tensor([0])
    best = losses.sky(sky(3.0, 0.2, 0.02), *truth)
    assert best < losses.sky(sky(0.0, 0.2, 0.02), *truth)
    assert best < losses.sky(sky(3.0, 0.4, 0.02), *truth)
    assert losses.sky(sky(3.0, 0.4, 0.2), *truth) < losses.sky(sky(3.0, 0.4, 0.02), *truth)

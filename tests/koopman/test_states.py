"""Completed states: exact where they must be, and honest about what was never seen."""

from __future__ import annotations

import math

import numpy as np
import torch

from s2koop._time import YEAR_DAYS
from s2koop.koopman.states import complete_states


def seasonal(days, phase=0.3):
    return torch.cos(2 * math.pi * days / YEAR_DAYS + phase)


def test_a_well_observed_season_and_its_slope_are_followed():
    days = torch.arange(0.0, 1000.0, 4.0)
    values = seasonal(days)[None, :, None]
    level, slope = complete_states(values, torch.ones_like(values, dtype=torch.bool), days, days, step_days=5.0)
    inner = slice(10, -10)
    assert float((level - values)[:, inner].abs().max()) < 0.02
    truth = 5 * (seasonal(days + 0.5) - seasonal(days - 0.5))
    assert float((slope[0, inner, 0] - truth[inner]).abs().max()) < 0.01


def test_hidden_values_do_not_leak():
    days = torch.arange(0.0, 800.0, 5.0)
    values = torch.randn(3, len(days), 2)
    mask = torch.rand(values.shape) < 0.5
    changed = torch.where(mask, values, torch.full_like(values, torch.nan))
    for left, right in zip(
        complete_states(values, mask, days, days, step_days=5.0),
        complete_states(changed, mask, days, days, step_days=5.0),
        strict=True,
    ):
        torch.testing.assert_close(left, right)


def test_long_gaps_and_blind_bands_stay_finite():
    days = torch.cat([torch.arange(0.0, 100.0, 10.0), torch.arange(500.0, 600.0, 10.0)])
    values = seasonal(days)[None, :, None].repeat(1, 1, 2)
    mask = torch.ones_like(values, dtype=torch.bool)
    mask[..., 1] = False
    level, slope = complete_states(values, mask, days, torch.linspace(0, 600, 50), step_days=5.0)
    assert np.isfinite(level.numpy()).all()
    assert np.isfinite(slope.numpy()).all()
    assert float(level[..., 1].abs().max()) == 0


def test_a_ramp_that_is_no_season_is_followed_by_the_local_fit():
    days = torch.arange(0.0, 800.0, 3.0)
    ramp = torch.where((days > 400) & (days < 450), (days - 400) / 50, torch.zeros(()))[None, :, None]
    level, slope = complete_states(
        ramp, torch.ones_like(ramp, dtype=torch.bool), days, torch.tensor([425.0]), step_days=5.0
    )
    assert 0.3 < float(level) < 0.7
    assert float(slope) > 0.02  # the ramp rises by 0.1 in five days; the harmonics alone hardly see it


def test_it_runs_on_the_device_of_its_input():
    days = torch.arange(0.0, 100.0, 10.0, device="meta")
    values = torch.zeros(2, 10, 3, device="meta")
    level, _ = complete_states(values, values > 0, days, days, step_days=5.0)
    assert level.device.type == "meta"

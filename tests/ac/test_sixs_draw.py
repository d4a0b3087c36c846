"""The table against 6S itself, on states drawn once grid and interpolation were fixed; 6S is not needed for it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._sixs import DRAW, Draw, summary
from s2koop.ac import AEROSOLS


@pytest.fixture(scope="module")
def draw():
    return Draw()


@pytest.fixture(scope="module")
def errors(draw):
    return draw.errors()


def test_the_draw_covers_what_is_claimed(draw):
    states = np.unique(draw.state, return_index=True)[1]
    assert len(states) >= 200
    assert DRAW.stat().st_size < 200_000
    atmosphere = draw.atmosphere
    assert atmosphere.sza.max() > 70
    assert atmosphere.aot.max() == pytest.approx(0.85)
    assert set(draw.text["aerosol"]) == set(AEROSOLS)
    assert set(draw.text["sensor"]) == {"S2A", "S2B", "S2C", "PROBAV"}
    assert not {"B09", "B10"} & set(draw.text["band"])


def test_the_whole_range_is_met(errors):
    found = summary(errors)
    assert found["mae"] <= 0.0005
    assert found["p95"] <= 0.002
    assert found["max"] <= 0.006


def test_ordinary_states_are_met_more_closely(draw, errors):
    found = summary(errors[draw.easy])
    assert found["mae"] <= 0.0004
    assert found["p95"] <= 0.0015
    assert found["max"] <= 0.003


@pytest.mark.parametrize("aerosol", AEROSOLS)
def test_every_aerosol_is_met(draw, errors, aerosol):
    chosen = draw.text["aerosol"] == aerosol
    assert summary(errors[chosen])["mae"] <= 0.0005
    assert summary(errors[chosen & draw.easy])["mae"] <= 0.0004


def test_there_is_no_bias(errors):
    assert abs(errors.mean()) < 1e-4


def test_smac_is_the_coarser_of_the_two(draw, errors):
    smac = np.abs(draw.errors("smac"))
    assert smac.mean() > 3 * np.abs(errors).mean()
    assert smac[draw.easy].mean() < 0.004

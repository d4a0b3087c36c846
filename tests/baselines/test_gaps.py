"""The splits of the gap-filling benchmarks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._gaps import block_gaps, random_gaps

DAYS = np.sort(np.random.default_rng(3).choice(700, 68, replace=False)).astype(float)


@pytest.fixture
def mask(rng) -> np.ndarray:
    return rng.random((68, 30, 20)) < 0.6


def test_random_gaps_withhold_a_share_of_what_is_clear(mask):
    gaps = random_gaps(mask, 0.2, seed=4)
    assert not (gaps & ~mask).any()
    assert 0.19 < gaps.sum() / mask.sum() < 0.21
    assert (gaps == random_gaps(mask, 0.2, seed=4)).all()
    assert (gaps != random_gaps(mask, 0.2, seed=5)).any()


def test_block_gaps_withhold_all_clear_dates_of_some_sixty_days_per_pixel(mask):
    gaps = block_gaps(mask, DAYS, seed=4)
    assert not (gaps & ~mask).any()
    starts = []
    for pixel in np.ndindex(30, 20):
        hidden = np.flatnonzero(gaps[(slice(None), *pixel)])
        if not hidden.size:
            continue
        starts.append(DAYS[hidden[0]])
        assert DAYS[hidden[-1]] - DAYS[hidden[0]] < 60
        assert mask[(slice(hidden[0], hidden[-1] + 1), *pixel)].sum() == hidden.size
    assert np.ptp(starts) > 500
    assert (gaps == block_gaps(mask, DAYS, seed=4)).all()
    assert (gaps != block_gaps(mask, DAYS, seed=5)).any()


def test_a_block_longer_than_the_series_withholds_all_but_what_lies_beyond_it(mask):
    assert (block_gaps(mask, DAYS, 800.0) == mask).all()

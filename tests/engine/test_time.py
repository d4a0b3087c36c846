"""Days and dates: a round trip is exact to the microsecond."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s2koop._time import from_days, to_days


@given(micro=st.integers(0, 80 * 365 * 86_400_000_000))
def test_round_trip(micro):
    date = np.datetime64("1980-01-01", "ns") + np.timedelta64(1000 * micro, "ns")
    assert abs((from_days(to_days(date)) - date) / np.timedelta64(1, "us")) <= 1

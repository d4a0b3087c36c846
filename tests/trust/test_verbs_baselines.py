"""Every baseline on any cube: the laws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2koop import baselines
from s2koop.errors import InputError, S2koopError
from s2koop.simulate import seasonal_cube
from tests.trust.laws import Verb, obey
from tests.trust.strategies import FAULTS, broken, examples

ASKED = ["2018-06-01", "2019-01-15", "2020-02-02"]
LONG = {"least_dates": 10, "most_dates": 14, "most_side": 3, "gaps": ("none", "some", "pixels", "dates")}


def on_dates(name, **options):
    return lambda cube: getattr(baselines, name)(cube, times=ASKED, **options)


VERBS = {
    **{
        name: Verb(on_dates(name), rtol=1e-6)
        for name in ("persistence", "pixel_mean", "same_day_last_year", "harmonic", "harmonic_residual", "whittaker")
    },
    # what is learned from all pixels is a sum over them, whose order shows in the last digits of double precision
    "gaussian_process": Verb(on_dates("gaussian_process"), rtol=1e-4, atol=1e-5),
    "dmd": Verb(on_dates("dmd", bags=0), rtol=1e-3, atol=1e-4, only=frozenset({"unseen", "dates"}), cubes=LONG),
    # factors begin at random numbers, one for each date and band
    "low_rank": Verb(
        lambda cube: baselines.low_rank(cube, times=cube["time"].values[:1]),
        rtol=1e-3, atol=1e-3, only=frozenset({"unseen"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
@examples(4)
@given(data=st.data())
def test_a_baseline_obeys_the_laws_on_any_cube(name, data):
    obey(VERBS[name], data)


#: Series are predicted one by one: other dims and labels than those of time do not matter.
SERIES = ("no band", "no y", "one dim more", "no labels of bands", "a band twice", "an unknown band")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in SERIES])
@pytest.mark.parametrize("name", ["harmonic", "gaussian_process", "low_rank"])
def test_what_is_no_cube_is_refused(name, fault):
    bad = broken(seasonal_cube(seed=0, every_days=40, shape=(3, 3)), fault)
    with pytest.raises(S2koopError):
        getattr(baselines, name)(bad, times=None if name == "low_rank" else ASKED)


@pytest.mark.parametrize("fill", [-9999.0, 1e20, np.inf])
@pytest.mark.parametrize("name", ["persistence", "harmonic", "low_rank"])
def test_a_fill_value_is_a_gap(name, fill):
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    gaps = np.random.default_rng(0).random(cube.shape) < 0.3
    times = cube["time"].values[-2:]
    found, wanted = (getattr(baselines, name)(one, times=times) for one in (cube.where(~gaps, fill), cube.where(~gaps)))
    np.testing.assert_array_equal(found["mean"], wanted["mean"])


def test_dmd_says_how_many_dates_it_has_seen_where_clouds_hid_the_others():
    cube = seasonal_cube(seed=0, every_days=40, shape=(3, 3))
    cube[5:] = np.nan
    with pytest.raises(InputError, match="10 dates on which anything was seen, and the cube has 5"):
        baselines.dmd(cube, times=ASKED)

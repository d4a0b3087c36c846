"""Scores, the checks of `s2koop.cube` and plots on any cube: the laws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from s2koop import cube as cubes_of
from s2koop import plots, scores
from s2koop.errors import S2koopError
from s2koop.simulate import seasonal_cube
from tests.trust.laws import Verb, obey
from tests.trust.strategies import FAULTS, broken, cubes, examples


def guess(cube):
    return xr.Dataset({"mean": xr.full_like(cube, 0.2), "spread": xr.full_like(cube, 0.1)})


def by_date(name):
    return lambda cube: getattr(scores, name)(guess(cube), cube, dim=("time",))


VERBS = {
    **{
        name: Verb(by_date(name), rtol=1e-6, atol=1e-7)
        for name in ("rmse", "mae", "bias", "crps", "coverage", "spread_skill")
    },
    # a spectrum with a gap has no angle, and the angle of two that are alike is the root of a rounding
    "sam": Verb(by_date("sam"), atol=1e-3, only=frozenset({"pixels", "dates"})),
    "ssim": Verb(
        lambda cube: scores.ssim(guess(cube), cube, dim=("y", "x")), rtol=1e-5, atol=1e-5, only=frozenset({"bands"}),
        cubes={"least_side": 11, "most_side": 13, "most_dates": 3},
    ),
    "flag_haze": Verb(
        lambda cube: cubes_of.flag_haze(cube, band="B04"), only=frozenset({"pixels", "bands"}), cubes={"subset": False}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
@examples(4)
@given(data=st.data())
def test_a_score_obeys_the_laws_on_any_cube(name, data):
    obey(VERBS[name], data)


@examples(6)
@given(data=st.data())
def test_a_table_is_the_same_in_chunks_and_counts_what_was_seen(data):
    cube = data.draw(cubes(gaps=("none", "some", "dates", "pixels"), turned=False, least_dates=2))
    seen = np.isfinite(cube.values)
    if not seen.any():
        with pytest.raises(S2koopError, match="no observation"):
            scores.evaluate({"guess": guess(cube)}, cube)
        return
    wanted = scores.evaluate({"guess": guess(cube)}, cube)
    assert wanted["n"].sum() == seen.sum()
    found = scores.evaluate({"guess": guess(cube).chunk()}, cube.chunk({"time": 1, "y": 1}))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("fault", ["no pixels", "no dates", "no bands", "words", "complex numbers", "nothing"])
def test_what_cannot_be_scored_is_refused(fault):
    cube = seasonal_cube(seed=0, every_days=60, shape=(3, 3))
    bad = broken(cube, fault)
    for score in (lambda: scores.evaluate({"one": cube}, bad), lambda: scores.rmse(cube, bad)):
        with pytest.raises(S2koopError):
            score()


def test_one_member_has_errors_but_neither_spread_nor_crps():
    cube = seasonal_cube(seed=0, every_days=60, shape=(3, 3))
    table = scores.evaluate({"one": (cube + 0.01).expand_dims("member", -1)}, cube, by=None)
    assert table["bias"].item() == pytest.approx(0.01, rel=1e-3)
    assert table[["crps", "spread_skill", "coverage"]].isnull().all(axis=None)


#: Of the faults, those that the checks of `s2koop.cube` do not mind: they judge values by themselves.
HARMLESS = ("unsorted", "digital numbers", "an unknown band")
DATES = ("no labels of dates", "numbers for dates", "words for dates", "a date that is none")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in (*HARMLESS, "truth")])
def test_haze_is_looked_for_in_cubes_only(fault):
    with pytest.raises(S2koopError):
        cubes_of.flag_haze(broken(seasonal_cube(seed=0, every_days=60, shape=(3, 3)), fault), band="B04")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in (*HARMLESS, *DATES)])
def test_reflectance_is_checked_in_cubes_only(fault):
    with pytest.raises(S2koopError):
        cubes_of.check_reflectance(broken(seasonal_cube(seed=0, every_days=60, shape=(3, 3)), fault))


@examples(2)
@given(data=st.data())
def test_any_cube_of_named_places_is_drawn_and_left_alone(data):
    cube = data.draw(cubes(turned=False, always=("places",), extremes=data.draw(st.booleans())))
    before = cube.copy(deep=True)
    for draw in (plots.series, plots.map):
        assert draw(cube) is not None
        assert draw(cube.chunk({"time": 1})) is not None
    xr.testing.assert_identical(cube, before)


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if f not in ("a band twice", "an unknown band", "digital numbers")]
)
def test_what_cannot_be_drawn_is_refused(fault):
    bad = broken(seasonal_cube(seed=0, every_days=60, shape=(3, 3)), fault)
    for draw in (plots.series, plots.map):
        with pytest.raises(S2koopError):
            draw(bad)

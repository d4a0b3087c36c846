"""Every verb of ``.ac`` on any scene: the laws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from s2koop.errors import S2koopError
from s2koop.simulate import seasonal_cube
from tests.trust.laws import Verb, obey
from tests.trust.strategies import FAULTS, broken, examples

AIR = {"sensor": "S2A", "angles": {"sza": 35.0, "vza": 4.0, "raa": 110.0}}
SCENES = {"bands": ("B02", "B04", "B08", "B11"), "most_dates": 3}
WHOLE = SCENES | {"subset": False}
BY_PIXEL = frozenset({"pixels", "bands", "unseen"})
NEAR = {"rtol": 1e-4, "atol": 1e-5}
BANDS = frozenset({"bands"})
#: Dates are corrected one by one, in any order and by any name.
DATES = ("no time", "no labels of dates", "numbers for dates", "words for dates", "unsorted", "a date that is none")


def toa(scene):
    return scene.assign_attrs(level="TOA").ac


def boa(scene):
    return scene.assign_attrs(level="BOA").ac


VERBS = {
    "invert": Verb(lambda scene: toa(scene).invert(aot=0.2, **AIR), only=BY_PIXEL, cubes=SCENES, **NEAR),
    "invert, smac": Verb(
        lambda scene: toa(scene).invert(method="smac", aot=0.2, spread=False, **AIR),
        only=BY_PIXEL, cubes=SCENES, **NEAR,
    ),
    "invert, neighbours": Verb(
        lambda scene: toa(scene).invert(aot=0.2, adjacency=100.0, **AIR), only=BANDS,
        cubes={**SCENES, "least_side": 2, "most_side": 6, "always": ("places",)}, **NEAR,
    ),
    "simulate": Verb(lambda scene: boa(scene).simulate(aot=0.2, **AIR), only=BY_PIXEL, cubes=SCENES, **NEAR),
    # the atmosphere is that of the scene, which all pixels tell
    "emulate, hybrid": Verb(lambda scene: toa(scene).emulate("hybrid", **AIR), only=BANDS, cubes=WHOLE, **NEAR),
    "emulate, fcnn": Verb(lambda scene: toa(scene).emulate("fcnn", **AIR), only=BANDS, cubes=WHOLE, **NEAR),
    "to_sensor": Verb(
        lambda scene: boa(scene).to_sensor("S2B", source="S2A"),
        only=frozenset({"pixels", "bands"}), cubes=WHOLE, **NEAR,
    ),
    "to_sensor, coarser": Verb(
        lambda scene: boa(scene).to_sensor("PROBAV", source="S2A", resolution=40), only=BANDS,
        cubes={**WHOLE, "least_side": 4, "most_side": 6, "always": ("places",)}, **NEAR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
@examples(4)
@given(data=st.data())
def test_a_verb_obeys_the_laws_on_any_scene(name, data):
    obey(VERBS[name], data)


@pytest.mark.parametrize("fault", [f for f in FAULTS if f not in ("no xarray", "nothing", "a dataset", *DATES)])
@pytest.mark.parametrize("verb", ["invert", "simulate", "to_sensor"])
def test_what_is_no_scene_is_refused(verb, fault):
    bad = broken(seasonal_cube(seed=0, every_days=60, shape=(4, 4)), fault)
    asked = {
        "invert": lambda: toa(bad).invert(aot=0.2, **AIR),
        "simulate": lambda: boa(bad).simulate(aot=0.2, **AIR),
        "to_sensor": lambda: boa(bad).to_sensor("S2B", source="S2A"),
    }[verb]
    with pytest.raises(S2koopError):
        asked()


@pytest.mark.parametrize(
    "fault", ["no band", "no y", "no time", "one dim more", "no dates", "no bands", "no pixels", "no labels of bands",
              "words for dates", "a band twice", "an unknown band", "words", "complex numbers", "truth"]
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(fault):
    scene = seasonal_cube(seed=0, every_days=60, shape=(4, 4))
    with pytest.raises(S2koopError):
        broken(scene, fault).ac.compare(scene)


def test_half_precision_is_corrected_as_well_as_single():
    scene = seasonal_cube(seed=0, every_days=60, shape=(4, 4))[:2]
    half = toa(scene.astype(np.float16)).invert(aot=0.2, **AIR)
    single = toa(scene.astype(np.float16).astype(np.float32)).invert(aot=0.2, **AIR)
    xr.testing.assert_equal(half["mean"], single["mean"])

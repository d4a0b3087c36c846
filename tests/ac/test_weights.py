"""The emulators that are shipped: small, documented, chosen by the bands of a scene, better than a usual atmosphere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from s2koop.ac.emulate import emulate
from s2koop.ac.emulator import WEIGHTS, load, shipped
from s2koop.ac.lut import Atmosphere
from s2koop.errors import InputError
from s2koop.simulate import toa_scenes

FOUR = ["B02", "B04", "B08", "B11"]


def cube(sensor="S2A", **options):
    scenes = toa_scenes("validation", scenes=18, size=24, sensor=sensor, seed=5, **options)
    state = Atmosphere(*(scenes[name].values for name in Atmosphere._fields))
    plain = scenes[["toa", "boa"]]
    plain = plain.drop_vars([name for name in plain.coords if name not in ("band", "y", "x")]).rename(scene="time")
    angles = {"sza": state.sza, "vza": state.vza, "raa": state.raa}
    return plain["toa"], plain["boa"], {"angles": angles, "altitude": state.altitude}


@pytest.mark.parametrize("name", shipped())
def test_a_file_is_small_and_says_where_it_comes_from(name):
    file = WEIGHTS / f"{name}.safetensors"
    assert file.stat().st_size < 1_000_000
    model = load(name)
    assert model.card["made_by"] == f"scripts/train_ac.py {name}"
    assert {"data", "licence", "limits", "validation_mae"} <= set(model.card)
    written = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert written["settings"]["kind"] == model.settings.kind
    assert model.card["name"] == name


def test_every_kind_is_shipped_for_what_it_is_asked_for():
    wanted = {f"{family}-{kind}" for family in ("s2", "four", "probav") for kind in ("hybrid", "context", "fcnn")}
    wanted |= {f"{name}-adjacency" for name in wanted if not name.endswith("fcnn")}
    assert wanted | {"s2-unet", "s2-fcnn-wv", "s2-pixel", "s2-linear"} <= set(shipped())


@pytest.mark.parametrize(
    ("sensor", "bands", "name"), [("S2A", None, "s2"), ("S2A", FOUR, "four"), ("PROBAV", None, "probav")]
)
@pytest.mark.parametrize("kind", ["hybrid", "context"])
def test_models_that_know_the_scene_beat_a_usual_atmosphere(sensor, bands, name, kind):
    toa, truth, known = cube(sensor)
    toa = toa if bands is None else toa.sel(band=bands)
    used = [band for band in toa["band"].values if band != "B09"]
    found = emulate(toa, kind, **known)
    usual = toa.ac.invert(spread=False, **known)
    error = {key: float(np.abs(result["mean"] - truth).sel(band=used).mean())
             for key, result in (("ours", found), ("usual", usual))}  # fmt: skip
    assert error["ours"] < 0.85 * error["usual"]
    assert found.attrs["ac_model_sha256"] == load(f"{name}-{kind}").digest
    covered = (np.abs(found["mean"] - truth) <= 1.6449 * found["spread"]).sel(band=used).mean()
    assert 0.8 < float(covered) < 0.99


@pytest.mark.parametrize(("sensor", "bands"), [("S2A", None), ("S2A", FOUR), ("PROBAV", None)])
@pytest.mark.parametrize("kind", ["hybrid", "context"])
def test_who_knows_of_neighbours_errs_less_where_there_are_some(sensor, bands, kind):
    toa, truth, known = cube(sensor, adjacency=True, resolution=60.0)
    toa = toa if bands is None else toa.sel(band=bands)
    used = [band for band in toa["band"].values if band != "B09"]
    told, not_told = (emulate(toa, kind, adjacency=distance, **known) for distance in (1000.0, None))
    errors = [float(np.abs(found["mean"] - truth).sel(band=used).mean()) for found in (told, not_told)]
    assert errors[0] < 0.85 * errors[1]
    covered = (np.abs(told["mean"] - truth) <= 1.6449 * told["spread"]).sel(band=used).mean()
    assert 0.8 < float(covered) < 0.99


def test_sentinel_2b_is_corrected_with_its_own_responses():
    toa, truth, known = cube("S2B")
    found = emulate(toa, "hybrid", **known)
    error = np.abs(found["mean"] - truth).drop_sel(band="B09")
    assert float(error.mean()) < 0.006


def test_bands_between_the_families_are_asked_for():
    toa, _, known = cube()
    with pytest.raises(InputError, match="B11"):
        emulate(toa.sel(band=["B02", "B03", "B04", "B08"]), "hybrid", **known)

"""Emulated correction of cubes: any tiling the same, missing and odd input answered, models kept whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from s2koop.ac import emulator
from s2koop.ac.emulate import emulate
from s2koop.ac.emulator import EmulatorSettings, load, train_emulator
from s2koop.ac.flags import FLAGS
from s2koop.errors import InputError, ModelError, ReflectanceWarning
from s2koop.simulate import toa_scenes

ANGLES = {"sza": [30.0, 50.0], "vza": [4.0, 6.0], "raa": [90.0, 20.0]}
SMALL = {"steps": 3, "scenes": 6, "batch": 6, "pixels": 24, "width": 8, "patch": 24}
KINDS = ("hybrid", "context", "fcnn", "unet")
LAYERS = ("mean", "spread", "flags", "aot", "water_vapour", "aot_spread", "aerosol_probability")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Barely trained emulators of each kind, shipped for the time of these tests."""
    folder = tmp_path_factory.mktemp("weights")
    mixed = {"continental": 0.7, "maritime": 0.3}
    out = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator, "WEIGHTS", folder)
        for kind in KINDS:
            settings = EmulatorSettings(kind=kind, aerosol=mixed if kind == "hybrid" else {"continental": 1.0}, **SMALL)
            out[kind] = train_emulator(settings, progress=False)
            out[kind].save(folder / f"s2-{kind}.safetensors")
            if kind in ("hybrid", "context"):
                near = replace(settings, adjacency=True, variety=0.1, sun=(15.0, 74.0), width=settings.width + 2)
                out[f"{kind}-adjacency"] = train_emulator(near, progress=False)
                out[f"{kind}-adjacency"].save(folder / f"s2-{kind}-adjacency.safetensors")
        yield out


@pytest.fixture(scope="module")
def toa():
    scenes = toa_scenes("validation", scenes=2, size=40)["toa"]
    scenes = scenes.drop_vars([name for name in scenes.coords if name not in ("band", "y", "x")])
    return scenes.rename(scene="time").assign_coords(time=np.array(["2024-05-01", "2024-05-06"], "datetime64[ns]"))


def equal(a, b):
    for name in a.data_vars:
        near = {"atol": 2e-6, "rtol": 1e-3 if "spread" in str(name) else 1e-7}  # a root of differences of float32
        np.testing.assert_allclose(np.asarray(a[name], float), np.asarray(b[name], float), err_msg=name, **near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [{"y": 7, "x": 11}, {"y": -1, "x": 13, "time": 1}, {"band": 4, "y": 40, "x": 40}])
def test_any_tiling_gives_the_numbers_of_the_whole(models, toa, kind, chunks):
    holed = toa.copy()
    holed[0, 3, 5, 7] = np.nan
    holed[:, :, 20:23, 30] = np.nan
    whole = emulate(holed, kind, angles=ANGLES)
    lazy = emulate(holed.chunk(chunks), kind, angles=ANGLES)
    assert all(lazy[name].chunks is not None for name in ("mean", "spread", "flags", "aot"))
    equal(whole, lazy.compute())


def test_a_result_keeps_the_place_and_says_how_it_was_made(models, toa):
    found = emulate(toa, "context", angles=ANGLES)
    assert set(LAYERS) | {"difference"} <= set(found)
    assert found["mean"].dims == toa.dims
    for dim in ("time", "band", "y", "x"):
        np.testing.assert_array_equal(found["mean"][dim].values, toa[dim].values)
    assert found["mean"].attrs["level"] == "BOA"
    assert found["flags"].dtype == np.uint16
    assert (found["spread"] > 0).all()
    assert found.attrs["ac_method"] == "context"
    assert found.attrs["ac_model_sha256"] == models["context"].digest
    np.testing.assert_allclose(found["aerosol_probability"].sum("aerosol"), 1, rtol=1e-5)


def test_the_difference_is_that_to_the_physical_inversion(models, toa):
    network, physics = emulate(toa, "fcnn", angles=ANGLES), emulate(toa, "hybrid", angles=ANGLES)
    np.testing.assert_allclose(network["difference"], network["mean"] - physics["mean"], atol=1e-6)
    assert "difference" not in physics


def test_a_hybrid_inverts_the_atmosphere_that_it_reports(models, toa):
    found = emulate(toa, "hybrid", aerosol="maritime", angles=ANGLES)
    exact = toa.ac.invert(
        aot=found["aot"].values, water_vapour=found["water_vapour"].values, aerosol="maritime", angles=ANGLES,
        spread=False,
    )  # fmt: skip
    # the hybrid averages over what it does not know of the aerosol, which bends a little
    assert float(np.abs(found["mean"] - exact["mean"]).sel(band=["B04", "B08", "B11"]).median()) < 5e-3
    assert found["aerosol_probability"].sel(aerosol="maritime").values.tolist() == [1, 1]


def test_dates_do_not_touch_each_other(models, toa):
    both = emulate(toa, "hybrid", angles=ANGLES)
    one = emulate(toa.isel(time=[1]), "hybrid", angles={name: value[1] for name, value in ANGLES.items()})
    equal(both.isel(time=[1]), one)


def test_a_scene_without_dates_and_a_single_pixel(models, toa):
    angles = {name: value[0] for name, value in ANGLES.items()}
    for kind in KINDS:
        single = toa.isel(time=0, y=[3], x=[4])
        found = emulate(single, kind, angles=angles)
        assert found["mean"].dims == ("band", "y", "x")
        assert np.isfinite(found["mean"]).all()
        equal(found, emulate(single.chunk(), kind, angles=angles).compute())


def test_missing_pixels_stay_missing_and_missing_dates_too(models, toa):
    holed = toa.copy()
    holed[0] = np.nan
    holed[1, :, 2, 2] = np.nan
    for kind in KINDS:
        found = emulate(holed, kind, angles=ANGLES)
        assert np.isnan(found["mean"][0]).all()
        assert np.isnan(found["aot"][0])
        assert np.isnan(found["mean"][1, :, 2, 2]).all()
        assert np.isfinite(found["mean"][1, :, 2, 3]).all()


def test_flags(models, toa):
    odd = toa.copy()
    odd[0, 1, 4, 4] = 2.5
    angles = {**ANGLES, "sza": [30.0, 73.0]}
    flags = emulate(odd, "hybrid", angles=angles)["flags"]
    assert int(flags[0, 4, 4]) & FLAGS["saturated"]
    assert (flags[1] & FLAGS["sun_low"]).all()
    assert not (flags[0] & FLAGS["sun_low"]).any()
    cirrus = xr.full_like(toa.isel(band=[0]), 0.02).assign_coords(band=["B10"])
    flags = emulate(xr.concat([toa, cirrus], "band"), "hybrid", angles=ANGLES)["flags"]
    assert (flags & FLAGS["cirrus"]).all()
    assert "cirrus" not in flags.attrs["not_tested"]
    with pytest.warns(ReflectanceWarning, match="view"):
        flags = emulate(toa, "hybrid", angles={"sza": ANGLES["sza"]})["flags"]
    assert (flags & FLAGS["view_assumed"]).all()


def test_other_order_and_spelling_of_bands(models, toa):
    turned = toa.isel(band=slice(None, None, -1))
    plain, other = emulate(toa, "fcnn", angles=ANGLES), emulate(turned, "fcnn", angles=ANGLES)
    np.testing.assert_allclose(plain["mean"].sel(band="B04"), other["mean"].sel(band="B04"), atol=1e-6)
    assert list(other["mean"].band.values) == list(plain["mean"].band.values)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.isel(band=slice(1, None)), "B01"),
        (lambda t: t.assign_attrs(level="BOA"), "level"),
        (lambda t: (10000 * t).astype("uint16"), "scale_factor"),
        (lambda t: t.drop_attrs(), "sensor"),
    ],
)
def test_what_cannot_be_corrected_is_refused(models, toa, change, match):
    with pytest.raises(InputError, match=match):
        emulate(change(toa), "context", angles=ANGLES)


def test_what_is_not_known_is_asked_for(models, toa):
    with pytest.raises(InputError, match="sun"):
        emulate(toa, "hybrid")
    with pytest.raises(InputError, match="horizon"):
        emulate(toa, "hybrid", angles={"sza": 95.0})
    with pytest.raises(InputError, match="desert"):
        emulate(toa, "hybrid", angles=ANGLES, aerosol="desert")
    with pytest.raises(InputError, match="water_vapour"):
        emulate(toa, "fcnn", angles=ANGLES, water_vapour=2.0)
    with pytest.raises(ModelError, match="no emulator"):
        emulate(toa, "forest", angles=ANGLES)
    with pytest.raises(InputError, match="PROBAV"):
        emulate(toa.isel(band=[1, 3, 7, 10]).assign_coords(band=["BLUE", "RED", "NIR", "SWIR"]), "hybrid",
                sensor="PROBAV", angles=ANGLES)  # fmt: skip


def test_a_model_comes_back_from_its_file(models, toa, tmp_path):
    path = models["context"].save(tmp_path / "mine.safetensors")
    assert load(path).content == models["context"].content
    assert path.with_suffix(".json").is_file()
    equal(emulate(toa, path, angles=ANGLES), emulate(toa, models["context"], angles=ANGLES))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError):
        load(path)


def test_the_same_seed_trains_the_same_model():
    settings = EmulatorSettings(kind="linear", **SMALL)
    a, b = (train_emulator(settings, progress=False) for _ in range(2))
    assert a.content == b.content
    other = train_emulator(EmulatorSettings(kind="linear", seed=1, **SMALL), progress=False)
    assert a.content != other.content


def test_water_vapour_as_an_input(models, toa):
    settings = EmulatorSettings(kind="fcnn", water_vapour=True, **SMALL)
    model = train_emulator(settings, progress=False)
    dry, wet = (emulate(toa, model, angles=ANGLES, water_vapour=value)["mean"] for value in (0.5, 4.0))
    assert not np.allclose(dry, wet)
    itself = emulate(toa, model, angles=ANGLES)
    known = emulate(toa, model, angles=ANGLES, water_vapour=itself["water_vapour"].values)
    np.testing.assert_allclose(itself["mean"], known["mean"], atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "magic"}, {"steps": 0}, {"aerosol": {"volcanic": 1.0}}, {"kind": "unet", "patch": 20},
     {"kind": "hybrid", "water_vapour": True}, {"kind": "context", "structure": 0.1}, {"variety": 3.0},
     {"sun": (40.0, 90.0)}, {"kind": "context", "adjacency": True, "transfer": 0.1}],
)  # fmt: skip
def test_settings_are_checked_when_made(wrong):
    with pytest.raises(InputError, match=next(reversed(wrong))):
        EmulatorSettings(**wrong)


def test_an_atmosphere_among_the_coordinates_of_a_scene_is_no_obstacle():
    from s2koop.simulate import toa_scenes

    scene = toa_scenes("test", scenes=1, size=32)["toa"].isel(scene=0)
    assert "aot" in scene.coords
    found = scene.ac.emulate("hybrid", angles={"sza": 40.0, "vza": 5.0, "raa": 100.0})
    assert "aot" in found.data_vars
    assert float(found["aot"]) != float(scene["aot"])


@pytest.mark.parametrize("kind", ["hybrid", "context"])
@pytest.mark.parametrize("chunks", [{"y": 7, "x": 11}, {"y": -1, "x": 13, "time": 1}])
def test_neighbours_are_taken_off_alike_in_any_tiling(models, toa, kind, chunks):
    wide = toa.assign_coords(y=-100.0 * np.arange(40), x=100.0 * np.arange(40))
    holed = wide.copy()
    holed[0, 3, 5, 7] = np.nan
    whole = emulate(holed, kind, angles=ANGLES, adjacency=1000.0)
    lazy = emulate(holed.chunk(chunks), kind, angles=ANGLES, adjacency=1000.0)
    assert lazy["mean"].chunks is not None
    equal(whole, lazy.compute())
    assert whole.attrs["ac_adjacency"] == "1000 m"
    assert whole.attrs["ac_model_sha256"] == models[f"{kind}-adjacency"].digest
    assert np.isnan(whole["mean"][0, 3, 5, 7])


def test_a_hybrid_takes_off_what_its_own_sky_scatters(models, toa):
    wide = toa.isel(time=[0]).assign_coords(y=-100.0 * np.arange(40), x=100.0 * np.arange(40)).astype("float64")
    angles = {name: value[0] for name, value in ANGLES.items()}
    found = emulate(wide, "hybrid", angles=angles, aerosol="continental", adjacency=1000.0)
    told = wide.ac.invert(
        aot=float(found["aot"][0]), water_vapour=float(found["water_vapour"][0]), angles=angles, adjacency=1000.0,
        spread=False,
    )  # fmt: skip
    near = np.abs(found["mean"] - told["mean"]).sel(band=["B04", "B08", "B11"])
    assert float(near.median()) < 5e-3  # the hybrid averages over what it does not know of the aerosol
    negative = (found["mean"] < 0).any("band")
    np.testing.assert_array_equal((found["flags"] & FLAGS["negative_reflectance"]) > 0, negative)


def test_who_cannot_know_neighbours_says_so(models, toa):
    import rioxarray  # noqa: F401  registers .rio

    wide = toa.assign_coords(y=-100.0 * np.arange(40), x=100.0 * np.arange(40))
    with pytest.raises(InputError, match="adjacency"):
        emulate(wide, models["hybrid"], angles=ANGLES, adjacency=1000.0)
    with pytest.raises(InputError, match="adjacency=1000"):
        emulate(wide, models["hybrid-adjacency"], angles=ANGLES)
    with pytest.raises(InputError, match="neighbours"):
        emulate(wide, "fcnn", angles=ANGLES, adjacency=1000.0)
    with pytest.raises(InputError, match="adjacency=0"):
        emulate(wide, "hybrid", angles=ANGLES, adjacency=0)
    with pytest.raises(InputError, match="coordinate 'y'"):
        emulate(toa.drop_vars(["y", "x"]), "hybrid", angles=ANGLES, adjacency=1000.0)
    degrees = wide.rio.write_crs(4326)
    with pytest.raises(InputError, match="degrees"):
        emulate(degrees, "hybrid", angles=ANGLES, adjacency=1000.0)

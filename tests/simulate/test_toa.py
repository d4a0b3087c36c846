"""Simulated scenes: light that obeys physics, seeds, splits, and what sensors and options add."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from s2koop.ac.lut import ALIASES, Atmosphere, Table
from s2koop.ac.transfer import Coefficients, to_boa
from s2koop.errors import InputError
from s2koop.simulate import draw_atmospheres, draw_mosaics, toa_scenes
from s2koop.simulate.atmosphere import (
    aerosol_shares,
    band_weights,
    draw_aerosols,
    in_bands,
    scattered_share,
    spectra,
    surroundings,
)
from s2koop.simulate.mosaics import BIOMES, SLOTS
from s2koop.simulate.spectra import KINDS, WAVELENGTH, surface_spectra
from s2koop.simulate.toa import draw_batch, render, sensor_noise

#: Centre and half width in nm of the bands of the sensors below.
BANDS = {
    "S2A": {"B01": (443, 10), "B02": (492, 33), "B03": (560, 18), "B04": (665, 15), "B05": (704, 8), "B06": (740, 8),
            "B07": (783, 10), "B08": (833, 53), "B8A": (865, 11), "B09": (945, 10), "B10": (1374, 15),
            "B11": (1614, 46), "B12": (2202, 90)},
    "PROBAV2": {"BLUE": (464, 22), "RED": (655, 40), "NIR": (836, 65), "SWIR": (1602, 35)},
}  # fmt: skip


def _tensors() -> dict[str, Any]:
    sun = WAVELENGTH**-5.0 / np.expm1(14388e3 / (WAVELENGTH * 5772))
    response = {
        f"response.{sensor}": torch.tensor(
            np.stack([np.abs(WAVELENGTH - at) <= half for at, half in bands.values()]).astype(np.float32)
        )
        for sensor, bands in BANDS.items()
    }
    return {"solar": torch.tensor(sun / sun.max()), **response}


@dataclass(frozen=True, eq=False)
class Sky:
    """A stand-in for the table with its interface: single scattering, and absorption by two gases."""

    tensors: dict[str, Any] = field(default_factory=_tensors)
    names: dict[str, tuple[str, ...]] = field(default_factory=lambda: {k: tuple(v) for k, v in BANDS.items()})

    def built_in(self, sensor):
        return ALIASES.get(sensor, sensor)

    def bands(self, sensor):
        return self.names[self.built_in(sensor)]

    def coefficients(self, sensor, atmosphere, aerosol="continental", bands=None):
        a = Atmosphere(*(np.asarray(v, float)[..., None] for v in atmosphere))
        sun, view = np.cos(np.radians(a.sza)), np.cos(np.radians(a.vza))
        x = WAVELENGTH / 1000
        molecules = 0.0088 * x**-4.05 * np.exp(-a.altitude / 8000)
        dust = a.aot * (x / 0.55) ** {"continental": -1.2, "desert": -0.4}[aerosol]
        vapour = ((725, 8, 0.03), (820, 8, 0.03), (940, 15, 0.4), (1130, 20, 0.5), (1380, 30, 9))
        lines = sum(depth * np.exp(-0.5 * ((WAVELENGTH - at) / width) ** 2) for at, width, depth in vapour)
        wet = np.exp(-((lines * a.water_vapour * (1 / sun + 1 / view)) ** 0.7))
        dry = np.exp(-0.12 * a.ozone * np.exp(-0.5 * ((WAVELENGTH - 600) / 45) ** 2) * (1 / sun + 1 / view))
        path = (0.7 * molecules + 0.12 * dust) / (4 * sun * view) * np.exp(-0.6 * (molecules + 0.3 * dust))
        through = np.exp(-(0.52 * molecules + 0.2 * dust) * (1 / sun + 1 / view))
        albedo = 1 - np.exp(-0.9 * molecules - 0.25 * dust)
        names = list(self.bands(sensor))
        rows = self.tensors[f"response.{self.built_in(sensor)}"].numpy() * self.tensors["solar"].numpy()
        rows = rows[[names.index(band) for band in (names if bands is None else bands)]]
        rows = rows / rows.sum(axis=1, keepdims=True)
        gain = dry * wet * through
        return Coefficients(dry * np.sqrt(wet) * path @ rows.T, gain @ rows.T, gain * albedo @ rows.T / (gain @ rows.T))


SKY = Sky()
QUIET = {"noise": 0.0, "texture": 0.0}


def scenes(split="test", **options):
    return toa_scenes(split, **({"scenes": 6, "size": 20, "table": SKY} | options))


def test_reflectance_keeps_the_bounds_of_energy():
    found = scenes(noise=0.0)
    for name in ("boa", "toa"):
        values = found[name].values
        assert values.dtype == np.float32
        assert 0 < values.min() < values.max() < 1
    assert found["boa"].dims == ("scene", "band", "y", "x")
    assert np.allclose(found["cover"].sum("kind"), 1, atol=1e-5)
    assert found["boa"].attrs["simulated"] == "true"
    assert "simulated" in found.attrs["title"]


def test_a_scene_says_its_atmosphere_and_its_biome():
    found = scenes()
    assert list(found["biome"].values) == list(BIOMES)
    for name in Atmosphere._fields:
        assert found[name].dims == ("scene",)
        assert "units" in found[name].attrs
    assert set(found["aerosol"].values) == {"continental"}
    assert "B10" not in found["band"].values


def test_the_true_atmosphere_gives_the_surface_back():
    found = scenes(**QUIET)
    state = Atmosphere(*(found[name].values for name in Atmosphere._fields))
    numbers = SKY.coefficients("S2A", state, bands=list(found["band"].values))
    back = to_boa(found["toa"].values, Coefficients(*(v[..., None, None] for v in numbers)))
    error = np.abs(back - found["boa"].values).mean(axis=(0, 2, 3))
    narrow = [list(found["band"].values).index(band) for band in ("B01", "B03", "B04", "B06", "B07", "B8A", "B11")]
    assert error[narrow].max() < 1e-3
    assert error.max() > 1e-4  # lines and edges within wide bands are there, and three numbers cannot know them


def test_the_shipped_table_knows_what_it_did():
    found = toa_scenes("validation", scenes=6, size=16, **QUIET)
    bands = list(found["band"].values)
    states = Atmosphere(*(found[name].values for name in Atmosphere._fields))
    numbers = Table.load().coefficients("S2A", states, bands=bands)
    back = to_boa(found["toa"].values, Coefficients(*(v[..., None, None] for v in numbers)))
    assert np.abs(back - found["boa"].values).mean() < 2e-4
    assert np.abs(found["toa"] - found["boa"]).mean() > 0.02


def test_aerosol_brightens_the_dark_and_darkens_the_bright():
    clear, hazy = (SKY.coefficients("S2A", state(aot=aot), bands=["B02"]) for aot in (0.05, 0.6))
    dark, bright = (np.full((1, 2, 2), rho) for rho in (0.02, 0.8))
    assert render(dark, hazy).mean() > render(dark, clear).mean() + 0.01
    assert render(bright, hazy).mean() < render(bright, clear).mean() - 0.01


def state(**changed):
    usual = {"aot": 0.15, "water_vapour": 2.0, "ozone": 0.32, "sza": 40.0, "vza": 5.0, "raa": 90.0, "altitude": 0.0}
    return Atmosphere(**(usual | changed))


def test_seeds_and_numbers_of_scenes_name_the_same_scene():
    every, again, other = scenes(), scenes(), scenes(seed=1)
    assert every.identical(again)
    assert not np.allclose(every["boa"], other["boa"])
    late = scenes(scenes=2, first=3)
    assert np.array_equal(late["toa"], every["toa"][3:5])
    assert list(late["scene"].values) == [3, 4]


def test_options_of_the_sensor_leave_the_surface():
    quiet, noisy = scenes(noise=0.0), scenes(noise=3.0, gain_error=0.02, adjacency=True, aot_spread=0.2)
    assert np.array_equal(quiet["boa"], noisy["boa"])
    assert np.array_equal(quiet["aot"], noisy["aot"])
    assert not np.allclose(quiet["toa"], noisy["toa"], atol=1e-3)


def test_splits_share_nothing():
    drawn = {split: draw_mosaics(split, scenes=6, size=8) for split in ("train", "test")}
    train = {row.tobytes() for kind in KINDS for row in surface_spectra(kind, "train")}
    assert all(row.tobytes() in train for row in drawn["train"].spectra.reshape(-1, len(WAVELENGTH)))
    assert not any(row.tobytes() in train for row in drawn["test"].spectra.reshape(-1, len(WAVELENGTH)))
    assert not np.isclose(scenes("train")["aot"], scenes("test")["aot"]).any()


def test_noise_is_as_large_as_the_sensor_says():
    quiet, noisy = scenes(size=48, noise=0.0), scenes(size=48)
    error = (noisy["toa"] - quiet["toa"]).values
    wanted = sensor_noise("S2A", list(quiet["band"].values), quiet["sza"].values)[..., None, None]
    ratio = (error / (wanted * np.sqrt(quiet["toa"].values))).std(axis=(2, 3))
    assert ratio == pytest.approx(1, abs=0.08)


def test_noise_is_stated_at_the_reference_radiances_of_the_missions():
    msi = {  # SNR, and Lref in W m-2 sr-1 um-1
        "B01": (129, 129.11), "B02": (154, 128), "B03": (168, 128), "B04": (142, 108), "B05": (117, 74.6),
        "B06": (89, 68.23), "B07": (105, 66.7), "B08": (174, 103), "B8A": (72, 52.39), "B09": (114, 8.77),
        "B10": (50, 6), "B11": (100, 4), "B12": (100, 1.7),
    }  # fmt: skip
    probav = {"BLUE": (177, 111), "RED": (598, 110), "NIR": (574, 106), "SWIR": (720, 20)}
    table, found = Table.load(), []
    sun = np.asarray(table.tensors["solar"], float)
    for sensor, bands in (("S2A", msi), ("PROBAV2", probav)):
        snr, radiance = np.array(list(bands.values()), float).T
        response = np.asarray(table.tensors[f"response.{sensor}"], float)
        response = response[[table.bands(sensor).index(band) for band in bands]]
        reflectance = (sensor_noise(sensor, list(bands), 0.0) * snr) ** 2
        found += list(reflectance / radiance * (response @ sun) / response.sum(1))
    assert np.array(found) == pytest.approx(25 * np.pi, rel=5e-3)  # the sun of the table is 25 times that per um


def test_gains_err_once_for_each_scene_and_band():
    found, exact = scenes(scenes=24, size=4, noise=0.0, gain_error=0.02), scenes(scenes=24, size=4, noise=0.0)
    ratio = (found["toa"] / exact["toa"]).values
    assert np.ptp(ratio, axis=(2, 3)).max() < 1e-5
    assert (ratio[..., 0, 0] - 1).std() == pytest.approx(0.02, rel=0.15)


def test_neighbours_lend_light_and_keep_the_mean():
    found, apart = scenes(adjacency=True, **QUIET), scenes(**QUIET)
    blue = {"band": "B02"}
    assert (found["toa"].sel(blue).std(("y", "x")) < apart["toa"].sel(blue).std(("y", "x"))).all()
    moved = np.abs(found["toa"].mean(("y", "x")) - apart["toa"].mean(("y", "x")))
    assert moved.max("band")[found["biome"] != "mountain"].max() < 5e-3
    assert moved.max() < 0.01  # what goes to and fro between ground and air is more than linear in brightness
    planes = np.random.default_rng(0).random((2, 12, 16), dtype=np.float32)
    around = surroundings(planes, 20.0)
    assert np.allclose(around.mean((1, 2)), planes.mean((1, 2)), atol=1e-6)
    assert around.std() < 0.2 * planes.std()


def test_more_aerosol_and_shorter_waves_scatter_more_from_neighbours():
    few, many = (scattered_share(state(aot=aot), "continental", WAVELENGTH) for aot in (0.05, 0.5))
    assert (many > few).all()
    assert (np.diff(few) < 0).all()
    assert 0 < few[-1] < many[0] < 1


def test_aerosol_and_water_vary_within_a_scene_around_its_mean():
    found = scenes(aot_spread=0.2, water_vapour_spread=0.1, **QUIET)
    for name, spread in (("aot", 0.2), ("water_vapour", 0.1)):
        plane = found[f"{name}_field"]
        assert np.allclose(plane.mean(("y", "x")), found[name], rtol=1e-4)
        relative = (plane.std(("y", "x")) / found[name]).values
        room = found[name].values < 0.5 * {"aot": 0.9, "water_vapour": 6.0}[name]
        assert relative[room] == pytest.approx(spread, rel=0.15)
        assert relative.max() < 1.15 * spread
    even = scenes(**QUIET)
    assert "aot_field" not in even
    assert np.abs(found["toa"] - even["toa"]).max() > 1e-3


def test_a_field_gives_each_pixel_its_own_atmosphere():
    found = scenes(scenes=1, aot_spread=0.2, **QUIET)
    one = {name: float(found[name][0]) for name in Atmosphere._fields}
    bands = ["B01", "B04", "B8A"]
    numbers = SKY.coefficients("S2A", state(**one | {"aot": found["aot_field"][0].values}), bands=bands)
    truth = found["boa"][0].sel(band=bands).transpose("y", "x", "band").values
    seen = found["toa"][0].sel(band=bands).transpose("y", "x", "band").values
    assert to_boa(seen, numbers) == pytest.approx(truth, abs=4e-3)
    assert np.abs(to_boa(seen, numbers) - truth).mean() < 5e-4


def test_two_sensors_see_the_same_surface():
    both = scenes(sensor=("S2A", "PROBAV"), **QUIET)
    assert list(both) == ["S2A", "PROBAV"]
    assert np.allclose(both["S2A"]["toa"], scenes(**QUIET)["toa"], atol=1e-6)
    nir = both["PROBAV"]["boa"].sel(band="NIR"), both["S2A"]["boa"].sel(band="B08")
    assert np.abs(nir[0].values - nir[1].values).max() < 0.02
    assert np.array_equal(both["PROBAV"]["aot"], both["S2A"]["aot"])


def test_the_blue_of_probav_is_darker_over_land_and_water():
    blue = band_weights(SKY, "PROBAV", ["BLUE"])[0] - band_weights(SKY, "S2A", ["B02"])[0]
    red = band_weights(SKY, "PROBAV", ["RED"])[0] - band_weights(SKY, "S2A", ["B04"])[0]
    of = {kind: surface_spectra(kind, "test") for kind in ("crop", "soil", "water")}
    for kind in of:
        assert -0.012 < np.mean(of[kind] @ blue) < -0.001
    assert 0.001 < np.mean(of["crop"] @ red) < 0.012
    assert np.mean(of["soil"] @ red) < 0


def test_point_spread_blurs_and_keeps_the_mean():
    sharp, blurred = (scenes(sensor="PROBAV", probav_resolution=resolution, **QUIET) for resolution in (None, 20.0))
    assert (blurred["boa"].std(("y", "x")) < sharp["boa"].std(("y", "x"))).all()
    assert np.allclose(blurred["boa"].mean(("y", "x")), sharp["boa"].mean(("y", "x")), atol=1e-5)
    coarse = scenes(sensor="PROBAV", probav_resolution=100.0, **QUIET)
    assert coarse["toa"].shape == (6, 4, 4, 4)
    assert np.array_equal(coarse["boa"], blurred["boa"][..., 2::5, 2::5])
    assert np.allclose(coarse["cover"].sum("kind"), 1, atol=1e-5)
    assert np.diff(coarse["x"]) == pytest.approx(100)


def test_patches_have_their_own_atmospheres_and_agree_with_scenes():
    surfaces = draw_mosaics("train", scenes=6, size=24, texture=0.0)
    batch = draw_batch(surfaces, np.random.default_rng(5), patches=9, size=16, noise=0.0, table=SKY)
    assert batch.toa.shape == batch.boa.shape == (9, 12, 16, 16)
    assert len(np.unique(batch.atmosphere.aot)) == 9
    again = draw_batch(surfaces, np.random.default_rng(5), patches=9, size=16, noise=0.0, table=SKY)
    assert np.array_equal(batch.toa, again.toa)
    exact = toa_scenes("train", scenes=6, size=24, table=SKY, **QUIET)
    weights = band_weights(SKY, "S2A", list(exact["band"].values))
    states = Atmosphere(*(exact[name].values for name in Atmosphere._fields))
    air = spectra(SKY, states, exact["aerosol"].values.astype(str), np.arange(len(WAVELENGTH)))
    quick = render(surfaces.seen(weights), in_bands(air, weights), transmitted=surfaces.seen(weights, air.gain))
    assert surfaces.seen(weights) == pytest.approx(exact["boa"].values, abs=1e-5)
    assert quick == pytest.approx(exact["toa"].values, abs=1e-3)
    assert np.abs(quick - exact["toa"].values).mean() < 2e-5


def test_tensors_render_as_arrays_do():
    boa = np.random.default_rng(0).random((3, 2, 5, 5), dtype=np.float32)
    numbers = SKY.coefficients("S2A", state(aot=np.array([0.1, 0.2, 0.4])), bands=["B02", "B8A"])
    on_torch = Coefficients(*(torch.tensor(v, requires_grad=True) for v in numbers))
    seen = render(torch.from_numpy(boa), on_torch)
    assert seen.detach().numpy() == pytest.approx(render(boa, numbers), abs=1e-6)
    seen.sum().backward()
    assert (on_torch.gain.grad > 0).all()
    noise = torch.full((3, 2), 0.01)
    first, second = (
        render(
            torch.from_numpy(boa), on_torch, noise=noise, gain_error=0.02, generator=torch.Generator().manual_seed(1)
        )
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, seen)


def test_atmospheres_are_drawn_as_described():
    drawn = draw_atmospheres(20_000, np.random.default_rng(3))
    assert np.median(drawn.aot) == pytest.approx(0.13, rel=0.03)
    assert np.log(drawn.aot).std() == pytest.approx(0.75, rel=0.06)
    assert np.median(drawn.water_vapour) == pytest.approx(1.6, rel=0.03)
    assert (drawn.ozone.mean(), drawn.ozone.std()) == (pytest.approx(0.32, rel=0.01), pytest.approx(0.035, rel=0.05))
    assert (drawn.aot.min(), drawn.aot.max()) == (pytest.approx(0.02), pytest.approx(0.8))
    assert 18 <= drawn.sza.min() < drawn.sza.max() <= 70
    assert drawn.vza.max() <= 11.5
    assert np.median(drawn.altitude) == pytest.approx(400 * np.log(2), rel=0.05)


def test_aerosol_models_follow_their_shares():
    shares = aerosol_shares({"continental": 3, "desert": 1})
    models = draw_aerosols(shares, np.linspace(0, 1, 400, endpoint=False))
    assert (models == "desert").mean() == pytest.approx(0.25, abs=0.01)
    mixed = scenes(scenes=12, size=4, aerosol={"continental": 0.5, "desert": 0.5})
    assert set(mixed["aerosol"].values) == {"continental", "desert"}


def test_shares_and_patches_are_of_the_scene():
    surfaces = draw_mosaics("validation", scenes=3, size=12, texture=0.0)
    assert surfaces.mixture.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert surfaces.mixture.shape == (3, SLOTS, 12, 12)
    cut = surfaces.patches(np.random.default_rng(0), 5, 12)
    assert sorted(np.unique(cut.mixture[0])) == sorted(
        np.unique(surfaces.mixture[[np.array_equal(cut.spectra[0], s) for s in surfaces.spectra].index(True)])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split='all' is unknown"),
        ({"size": 1}, "size=1 must be a whole number of at least 2"),
        ({"aerosol": "smoke"}, "aerosol 'smoke' is unknown; choose among continental"),
        ({"aerosol": {"desert": 0.0}}, "sum to 0"),
        ({"gain_error": 2.0}, "gain_error=2.0 is relative; give 0 to 0.5"),
        ({"texture": 1.0}, "texture=1.0 is relative"),
        ({"sensor": ()}, "must name one or several different sensors"),
        ({"sensor": "PROBAV", "probav_resolution": 90.0}, "must be a whole multiple of resolution=20.0"),
        ({"sensor": "PROBAV", "probav_resolution": 60.0}, "that divides the 20 pixels of the scene"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        scenes(**options)


def test_random_parts_need_a_generator():
    numbers = SKY.coefficients("S2A", state(), bands=["B02"])
    with pytest.raises(InputError, match="give generator="):
        render(np.full((1, 2, 2), 0.1), numbers, gain_error=0.02)
    with pytest.raises(InputError, match="noise of LANDSAT in B1 is unknown"):
        sensor_noise("LANDSAT", ["B1"], 30.0)
    with pytest.raises(InputError, match="size=30 is larger than the scenes"):
        draw_mosaics(scenes=1, size=8).patches(np.random.default_rng(0), 1, 30)

"""Physics of the simulated wave-mode scenes: waves, their imaging, what lies above them, and what a quicklook keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import gammaln

from s2koop.errors import InputError
from s2koop.simulate import OceanState, draw_ocean_state, ocean_scene, ocean_scenes
from s2koop.simulate.ocean_phenomena import TAGS, targets
from s2koop.simulate.sar import BEAMS, averaged, modulated, smear, speckle, stretched, velocity_bunching
from s2koop.simulate.waves import (
    GRAVITY,
    GROWN,
    WindSea,
    across,
    dispersion,
    grid,
    spreading_norm,
    surface,
    texture,
    wave_spectra,
)

GRID = grid((288, 288), 25.0)
CALM = WindSea(2.0, 2.0)


def swell_alone(height: float, wavelength: float, degrees: float, *, incidence: float = 23.8, seed: int = 0):
    halves = wave_spectra(GRID, CALM, 0.0, (height, wavelength, np.deg2rad(degrees)))
    return surface(GRID, np.random.default_rng(seed), halves, np.deg2rad(incidence))


def periodogram(image: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy with its wave numbers along x and y."""
    taper = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    energy = np.abs(np.fft.fft2((image - image.mean()) * taper)) ** 2
    ky = 2 * np.pi * np.fft.fftfreq(image.shape[0], step)
    kx = 2 * np.pi * np.fft.fftfreq(image.shape[1], step)
    return energy, *np.meshgrid(kx, ky)


# --- waves ---


@pytest.mark.parametrize(("wind", "ratio"), [(8.0, GROWN), (15.0, 1.2), (25.0, 2.0)])
def test_wind_sea_is_what_its_authors_fitted(wind, ratio):
    sea = WindSea(wind, ratio)
    omega = np.linspace(0.2 * sea.peak, 10 * sea.peak, 20_000)
    density = sea.density(omega)
    assert omega[density.argmax()] == pytest.approx(sea.peak, rel=0.01)
    # far above the peak only Phillips' tail is left
    high = 8 * sea.peak
    assert sea.density(np.array([high]))[0] == pytest.approx(sea.level * GRAVITY**2 / high**5, rel=0.01)
    assert sea.variance() == pytest.approx(np.trapezoid(density, omega), rel=0.01)


def test_grown_sea_has_the_height_that_pierson_and_moskowitz_measured():
    # their spectrum with the wind at 19.5 m integrates to 0.21 U**2 / g; here the wind is that at 10 m, some 7 % less
    for wind in (6.0, 10.0, 15.0):
        height = 4 * np.sqrt(WindSea(wind, GROWN).variance())
        assert height == pytest.approx(0.24 * wind**2 / GRAVITY, rel=0.1)


def test_spreading_integrates_to_one():
    angle = np.linspace(-np.pi, np.pi, 20_001)
    for s in (1.0, 2.5, 14.0, 60.0):
        exact = np.exp(gammaln(s + 1) - gammaln(s + 0.5)) / (2 * np.sqrt(np.pi))
        assert spreading_norm(s) == pytest.approx(exact, rel=1e-3)
        shape = spreading_norm(s) * np.cos(angle / 2) ** (2 * s)
        assert np.trapezoid(shape, angle) == pytest.approx(1, rel=1e-3)
        mean = np.trapezoid(shape * np.cos(angle - 0.4) ** 2, angle)
        assert across(s, 0.0, 0.4) == pytest.approx(mean, rel=2e-3)


@pytest.mark.parametrize("direction", [0.0, np.pi / 2, 2.2, -np.pi])
def test_all_energy_of_the_spectra_is_on_the_grid(direction):
    sea = WindSea(14.0, 1.0)
    ahead, behind = wave_spectra(GRID, sea, direction, (3.0, 240.0, direction))
    missed = sea.variance(above=float(dispersion(GRID.last)))
    assert ahead.sum() + behind.sum() == pytest.approx(9 / 16 + sea.variance() - missed, rel=0.01)


@pytest.mark.parametrize("direction", [0.0, 50.0, 90.0])
def test_four_deviations_of_the_elevation_are_the_wave_height(direction):
    fields = [swell_alone(3.0, 160.0, direction, seed=seed).elevation for seed in range(8)]
    assert abs(np.mean(fields)) < 0.01
    assert 4 * np.sqrt(np.square(fields).mean()) == pytest.approx(3.0, rel=0.06)


@pytest.mark.parametrize(("wavelength", "direction"), [(130.0, 0.0), (240.0, 60.0), (240.0, -120.0), (420.0, 150.0)])
def test_elevation_has_the_wavelength_and_direction_that_were_asked(wavelength, direction):
    energy = 0
    for seed in range(4):
        found, kx, ky = periodogram(swell_alone(2.0, wavelength, direction, seed=seed).elevation, GRID.step)
        energy = energy + found
    k = np.hypot(kx, ky)
    # the peak is that of energy along k, and a narrow one: its centre of gravity is near
    mean = (energy * k).sum() / energy.sum()
    assert 2 * np.pi / mean == pytest.approx(wavelength, rel=0.06)
    double = np.angle((energy * np.exp(2j * np.arctan2(ky, kx))).sum()) / 2
    away = (np.rad2deg(double) - direction + 90) % 180 - 90
    assert abs(away) < 5


def test_waves_obey_the_dispersion_of_deep_water():
    assert dispersion(2 * np.pi / 156.1) == pytest.approx(2 * np.pi / 10, rel=1e-3)  # ten seconds, 156 m
    # a swell across the look direction moves by its vertical part alone, cos(incidence) * omega * elevation
    sea = swell_alone(2.0, 200.0, 90.0)
    energy, kx, ky = periodogram(sea.elevation, GRID.step)
    moving = periodogram(sea.velocity, GRID.step)[0]
    omega2 = GRAVITY * np.hypot(kx, ky)
    expected = omega2 * (
        np.cos(np.deg2rad(23.8)) ** 2 + (np.sin(np.deg2rad(23.8)) * kx) ** 2 / np.maximum(kx**2 + ky**2, 1e-9)
    )
    assert moving.sum() == pytest.approx((expected * energy).sum(), rel=0.02)


def test_waves_that_travel_the_other_way_look_alike_and_move_otherwise():
    # where a wave runs to, only motion tells: along x the water of a crest moves with the wave
    towards, away = swell_alone(2.0, 200.0, 180.0), swell_alone(2.0, 200.0, 0.0)
    for sea, sign in ((towards, 1), (away, -1)):
        crest = (sea.elevation * sea.velocity).mean() / (sea.elevation.std() * sea.velocity.std())
        assert sign * crest > 0.3  # sin(23.8 degrees) is 0.40


def test_slopes_towards_the_radar_are_bright():
    sea = swell_alone(2.0, 300.0, 0.0)
    slope = np.gradient(sea.elevation, GRID.step, axis=1)  # the radar is at low x
    assert np.corrcoef(slope.ravel(), sea.modulation.ravel())[0, 1] > 0.8
    steep = swell_alone(2.0, 300.0, 0.0, incidence=36.8)
    assert steep.modulation.std() < 0.8 * sea.modulation.std()


def test_texture_is_what_sample_means_keep_of_the_short_waves():
    # the same wind sea, resolved four times finer, high-passed and averaged
    sea, fine = WindSea(12.0, 1.0), grid((512, 512), 6.25)
    coarse = grid((128, 128), 25.0)
    omega = dispersion(fine.k)
    slope2 = sea.density(omega) * (0.5 * omega / fine.k**2) / (2 * np.pi) * fine.cell * fine.kx**2
    spectrum = np.where(fine.inside & (fine.k > coarse.last), slope2, 0)
    normal = np.random.default_rng(0).standard_normal((2, *fine.k.shape))
    field = fine.field(((normal[0] + 1j * normal[1]) * np.sqrt(spectrum / 2)).astype(np.complex64))
    expected = averaged(field, 4).std() * (4 / (1 + np.sin(0.5) ** 2) + 1) / np.tan(0.5)
    assert texture(sea, coarse, 0.5) == pytest.approx(expected, rel=0.1)


# --- imaging ---


def test_bunching_keeps_the_sum_and_leaves_a_sea_at_rest(rng):
    light = rng.gamma(4, size=(96, 40)).astype(np.float32)
    assert np.array_equal(velocity_bunching(light, np.zeros_like(light)), light)
    for size in (0.5, 4.0, 300.0):
        moved = velocity_bunching(light, size * rng.standard_normal(light.shape))
        assert moved.min() > -1e-4
        # columns do not mix
        np.testing.assert_allclose(moved.sum(0), light.sum(0), rtol=1e-4)


def test_small_shifts_move_the_light_by_their_convergence():
    y = np.arange(128)
    shift = 0.02 * np.sin(2 * np.pi * y / 32)[:, None] * np.ones(3)
    moved = velocity_bunching(np.ones((128, 3)), shift)
    np.testing.assert_allclose(
        moved, 1 - 0.02 * 2 * np.pi / 32 * np.cos(2 * np.pi * y / 32)[:, None] * np.ones(3), atol=2e-4
    )


@pytest.mark.parametrize("shift", [3.0, -7.0, 130.0])
def test_a_common_velocity_moves_the_whole_image(rng, shift):
    light = rng.gamma(4, size=(64, 5))
    moved = velocity_bunching(light, np.full((64, 5), shift))
    np.testing.assert_allclose(moved, np.roll(light, int(shift), axis=0), rtol=1e-4)


def test_bunching_agrees_with_moving_many_particles(rng):
    light = rng.gamma(4, size=(64, 1))
    shift = 3 * np.sin(2 * np.pi * np.arange(64) / 64 * 3)[:, None]
    parts = 400
    inside = (np.arange(64 * parts) + 0.5) / parts
    edge = 0.5 * (shift + np.roll(shift, 1, axis=0))[:, 0]
    place = inside + np.interp(inside, np.arange(65), np.append(edge, edge[0]))
    expected = np.bincount(np.floor(place).astype(int) % 64, np.repeat(light[:, 0], parts) / parts, 64)
    np.testing.assert_allclose(velocity_bunching(light, shift)[:, 0], expected, rtol=0.03, atol=0.05)


def test_bad_images_cannot_be_bunched():
    with pytest.raises(InputError, match="one shape"):
        velocity_bunching(np.ones((4, 4)), np.ones((4, 5)))
    with pytest.raises(InputError, match="not finite"):
        velocity_bunching(np.ones((4, 4)), np.full((4, 4), np.nan))


def test_smearing_damps_azimuth_alone(rng):
    image = np.square(rng.standard_normal((128, 64))).astype(np.float32)
    blurred = smear(image, 2.0)
    assert blurred.mean() == pytest.approx(image.mean(), rel=1e-3)
    gain = np.abs(np.fft.fft(blurred, axis=0)) / np.abs(np.fft.fft(image, axis=0))
    expected = np.exp(-2 * (np.pi * 2 * np.fft.fftfreq(128)) ** 2)
    np.testing.assert_allclose(gain[:20], expected[:20, None] * np.ones(64), atol=0.02)


@pytest.mark.parametrize("looks", [1.0, 7.5, 60.0])
def test_speckle_has_mean_one_and_the_variance_of_its_looks(rng, looks):
    found = speckle(rng, (400, 400), looks)
    assert found.mean(dtype=float) == pytest.approx(1, abs=4 / 400 / np.sqrt(looks))
    assert found.var(dtype=float) == pytest.approx(1 / looks, rel=0.03)


def test_looks_are_those_of_a_pixel():
    flat = OceanState(wind_speed=1, wind_over_waves=5, swell_height=0)
    scene, clean = ocean_scene(flat, looks=20, nesz=-80), ocean_scene(flat, looks=1e6, nesz=-80)
    noise = scene["intensity"] / clean["intensity"]
    assert float(noise.mean()) == pytest.approx(1, abs=0.01)
    assert 1 / float(noise.var()) == pytest.approx(20, rel=0.06)


def test_modulation_keeps_the_level_and_is_never_negative():
    field = 0.6 * np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
    assert modulated(field).mean() == pytest.approx(1, abs=0.01)
    assert modulated(field).min() > 0


def test_stretch_makes_one_percent_black_and_one_percent_white(rng):
    grey = stretched(rng.gamma(20, size=(200, 200)))
    assert (grey == 0).mean() == pytest.approx(0.01, abs=1e-4)
    assert (grey == 255).mean() == pytest.approx(0.01, abs=1e-4)
    assert set(np.unique(grey)) == set(range(256))
    image = rng.gamma(20, size=(50, 50))
    np.testing.assert_array_equal(stretched(image), stretched(8 * image + 0.5))  # brightness and contrast are gone
    for bad in (np.ones((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(InputError, match="no contrast"):
            stretched(bad)
    with pytest.raises(InputError, match="share=0.6"):
        stretched(image, 0.6)


# --- scenes ---


@pytest.fixture(scope="module")
def scenes() -> xr.Dataset:
    return ocean_scenes(60, seed=3, progress=False)


def test_scenes_are_quicklooks_with_labels(scenes):
    image = scenes["image"]
    assert image.dims == ("scene", "y", "x")
    assert image.shape == (60, 128, 128)
    assert image.dtype == np.uint8
    assert float(scenes["y"][0]) == 25
    assert float(scenes["x"][-1]) == 128 * 50 - 25
    for value in (0, 255):
        np.testing.assert_allclose((image == value).mean(("y", "x")), 0.01, atol=2e-4)
    for name, label in scenes.data_vars.items():
        assert label.attrs["long_name"], name
        if name not in ("beam", "tags"):
            assert label.attrs["units"], name
            assert np.isfinite(label).all(), name
    assert scenes["tags"].dims == ("scene", "tag")
    assert scenes["tags"].dtype == bool
    assert list(scenes["tag"].values) == list(TAGS)
    assert 0.1 < float((~scenes["tags"].any("tag")).mean()) < 0.6
    assert scenes["tags"].any("scene").all()
    assert (scenes["significant_wave_height"] > scenes["swell_height"]).all()


def test_a_scene_depends_on_its_seed_and_number_alone(scenes):
    xr.testing.assert_identical(ocean_scenes(3, first=20, seed=3, progress=False), scenes.isel(scene=slice(20, 23)))
    single = ocean_scene(seed=3, index=21)
    np.testing.assert_array_equal(single["image"], scenes["image"][21])
    assert float(single["cutoff"]) == float(scenes["cutoff"][21])
    other = ocean_scenes(3, first=20, seed=4, progress=False)
    assert (other["wind_speed"].values != scenes["wind_speed"][20:23].values).all()
    neighbours = scenes["image"].astype(float).values.reshape(60, -1)
    assert np.abs(np.corrcoef(neighbours) - np.eye(60)).max() < 0.5


def test_states_are_those_of_the_ocean():
    states = [draw_ocean_state(1, index) for index in range(1500)]
    wind = np.array([state.wind_speed for state in states])
    height = np.array([state.significant_wave_height for state in states])
    wavelength = np.array([state.swell_wavelength for state in states])
    assert 7 < wind.mean() < 9
    assert 2 < height.mean() < 3.5
    assert 1.0 < height.std() < 1.6
    assert wavelength.min() > 110
    assert wavelength.max() < 480
    assert all(state.swell_height <= 0.03 * state.swell_wavelength for state in states)
    assert not any("slick" in state.tags and state.wind_speed > 8 for state in states)
    assert replace(draw_ocean_state(1, 5), beam="WV2") == draw_ocean_state(1, 5, beam="WV2")


def test_cutoff_grows_with_the_waves_and_is_that_of_the_surface():
    base = OceanState(wind_speed=6, swell_height=1, swell_wavelength=180, swell_direction=70)
    higher, windier = replace(base, swell_height=4), replace(base, wind_speed=14)
    assert base.cutoff < higher.cutoff
    assert base.cutoff < windier.cutoff
    assert replace(base, swell_wavelength=400, swell_height=4).cutoff < higher.cutoff  # slower motion
    # resolved velocities and the blur add up to it
    for state in (higher, windier):
        fields = [ocean_scene(state, index=index)["velocity"] for index in range(3)]
        resolved = BEAMS["WV1"].delay * np.sqrt(np.mean([float(np.square(field).mean()) for field in fields]))
        assert np.pi * np.hypot(resolved, state.unresolved(50.0)) == pytest.approx(state.cutoff, rel=0.06)


def azimuth_share(state: OceanState, shortest: float, longest: float) -> float:
    """Energy of waves along azimuth within two wavelengths, relative to that of waves along range."""
    share = []
    for index in range(4):
        image = ocean_scene(state, index=index, looks=1e6, nesz=-80)["intensity"].values
        energy, kx, ky = periodogram(image, 50.0)
        low, high = 2 * np.pi / longest, 2 * np.pi / shortest
        along = energy[(np.abs(ky) > low) & (np.abs(ky) < high) & (np.abs(kx) < low)].mean()
        share.append(along / energy[(np.abs(kx) > low) & (np.abs(kx) < high) & (np.abs(ky) < low)].mean())
    return float(np.mean(share))


def test_waves_beyond_the_cutoff_are_damped():
    rough = OceanState(wind_speed=15, wind_direction=45, swell_height=3, swell_direction=45)
    calm = OceanState(wind_speed=5, wind_direction=45, swell_height=0.3, swell_direction=45)
    assert rough.cutoff > 300
    assert calm.cutoff < 120
    assert azimuth_share(rough, 101, 160) < 0.1
    assert azimuth_share(calm, 101, 160) > 2 * azimuth_share(rough, 101, 160)


def test_a_range_swell_is_seen_where_it_is():
    state = OceanState(wind_speed=4, swell_height=2.0, swell_wavelength=250, swell_direction=20)
    energy, kx, ky = periodogram(ocean_scene(state, index=2)["image"].values.astype(float), 50.0)
    keep = np.hypot(kx, ky) > 2 * np.pi / 600
    found = 2 * np.pi / np.hypot(kx, ky)[keep][energy[keep].argmax()]
    assert found == pytest.approx(250, rel=0.25)


def test_light_is_neither_made_nor_lost_by_imaging():
    scene = ocean_scene(OceanState(wind_speed=9, swell_height=3, swell_direction=80), size=256)
    # what crosses the edges of the image is all that may differ
    assert float(scene["sigma0"].sum()) == pytest.approx(float(scene["backscatter"].sum()), rel=0.02)
    columns = scene["backscatter"].mean("y_sample"), scene["sigma0"].mean("y_sample")
    assert float(xr.corr(*columns)) > 0.8


def test_noise_of_the_radar_is_a_floor():
    state = OceanState(wind_speed=2, beam="WV2", swell_height=0.5)
    quiet, loud = ocean_scene(state, nesz=-80), ocean_scene(state, nesz=-15)
    added = float((loud["intensity"] - quiet["intensity"]).mean())
    assert added == pytest.approx(10**-1.5, rel=0.02)


def test_beams_differ_as_their_incidence_says():
    state = OceanState(wind_speed=8, swell_height=2, swell_direction=0)
    near, far = ocean_scene(state), ocean_scene(replace(state, beam="WV2"))
    assert (float(near["incidence"]), float(far["incidence"])) == pytest.approx((23.8, 36.8))
    np.testing.assert_array_equal(near["elevation"], far["elevation"])
    # darker and, since slopes tell less, of less contrast; the longer way lets motion act more
    assert 6 < float(near["sigma0"].mean() / far["sigma0"].mean()) < 11
    assert float(far["backscatter"].std() / far["backscatter"].mean()) < 0.9 * float(
        near["backscatter"].std() / near["backscatter"].mean()
    )
    assert BEAMS["WV1"].delay == pytest.approx(106, abs=8)
    assert BEAMS["WV2"].delay > BEAMS["WV1"].delay + 8
    assert set(ocean_scenes(6, size=16, beam="WV2", progress=False)["beam"].values) == {"WV2"}


def test_wind_makes_the_sea_bright_most_along_the_look_direction():
    beam = BEAMS["WV2"]
    assert beam.backscatter(14, 0.0) > beam.backscatter(7, 0.0)
    assert beam.backscatter(7, 0.0) == pytest.approx(beam.backscatter(7, np.pi))
    assert beam.backscatter(7, 0.0) > beam.backscatter(7, np.pi / 2)


# --- what lies above the waves ---


def factor_of(tag: str, *, index: int = 0, **options: float) -> tuple[xr.DataArray, xr.Dataset]:
    """What a tag does to the backscatter, and the scene with it."""
    state = OceanState(wind_speed=6.0, wind_direction=30.0, swell_height=1.0, **options)
    without, with_tag = ocean_scene(state, index=index), ocean_scene(replace(state, tags=(tag,)), index=index)
    np.testing.assert_array_equal(without["elevation"], with_tag["elevation"])
    assert with_tag["tags"].sel(tag=tag)
    assert int(with_tag["tags"].sum()) == 1
    assert not np.array_equal(without["image"], with_tag["image"])
    return with_tag["backscatter"] / without["backscatter"], with_tag


def test_streaks_lie_along_the_wind():
    turned = 0
    for index in range(4):
        factor = factor_of("streaks", index=index)[0].values
        assert 0.03 < np.log(factor).std() < 0.13
        energy, kx, ky = periodogram(np.log(factor), 25.0)
        peak = np.unravel_index(energy.argmax(), energy.shape)
        assert 500 < 2 * np.pi / np.hypot(kx, ky)[peak] < 2600
        turned = turned + (energy * np.exp(2j * np.arctan2(ky, kx))).sum() / energy.sum()
    crests = np.rad2deg(np.angle(turned) / 2) + 90
    assert abs((crests - 30 + 90) % 180 - 90) < 15


def test_cells_are_lumps_of_kilometres_without_a_direction():
    factor = np.log(factor_of("cells", index=1)[0].values)
    assert 0.05 < factor.std() < 0.18
    energy, kx, ky = periodogram(factor, 25.0)
    long = np.hypot(kx, ky) < 2 * np.pi / 500
    assert energy[long].sum() > 0.6 * energy.sum()
    assert abs((energy * np.exp(2j * np.arctan2(ky, kx))).sum() / energy.sum()) < 0.6


def test_rain_is_dark_inside_a_bright_front():
    factor = factor_of("rain", index=2)[0]
    assert float(factor.min()) < 0.7
    assert float(factor.max()) > 1.2
    dark = factor.where(factor < 0.8)
    spread = [float((dark.notnull() * (dark[dim] - dark[dim].mean()) ** 2).sum() / dark.notnull().sum()) ** 0.5
              for dim in ("y_sample", "x_sample")]  # fmt: skip
    assert max(spread) < 2500  # one place


def test_slicks_only_darken_and_only_in_places():
    factor = factor_of("slick", index=0)[0]
    assert float(factor.max()) <= 1.0001
    assert float(factor.min()) < 0.5
    assert 0.02 < float((factor < 0.8).mean()) < 0.5


def test_targets_are_few_bright_pixels():
    state = OceanState(wind_speed=6.0, swell_height=1.0)
    added = ocean_scene(replace(state, tags=("targets",)), index=3)["sigma0"] / ocean_scene(state, index=3)["sigma0"]
    assert float(added.max()) > 3
    assert 0 < float((added > 1.5).mean()) < 0.01


def test_ships_are_seen_off_their_wakes_by_their_speed():
    beam, seen = BEAMS["WV1"], 0
    incidence = np.deg2rad(beam.incidence)
    for seed in range(40):
        if np.random.default_rng(seed).integers(1, 5) > 1:
            continue  # one ship only
        wake, hull = targets(np.random.default_rng(seed), GRID, incidence, 0.0)
        moved, same = targets(np.random.default_rng(seed), GRID, incidence, beam.delay)
        np.testing.assert_array_equal(hull, same)
        rows, columns = np.meshgrid(np.arange(288.0), np.arange(288.0), indexing="ij")
        ship = [np.average(place, weights=hull) for place in (rows, columns)]
        assert 0.14 * 288 < min(ship) < max(ship) < 0.86 * 288
        behind = ship[1] - np.average(columns, weights=-wake)  # more than 0 if it goes away from the radar
        if abs(behind) < 8:
            continue
        # its wake begins at the hull if nothing is shifted; one that goes away is seen at lower azimuth than its wake
        near = np.hypot(rows - ship[0], columns - ship[1])[wake < -0.4]
        assert near.min() < 3
        shift = np.average(rows, weights=-moved) - np.average(rows, weights=-wake)
        assert np.sign(shift) == np.sign(behind)
        assert abs(shift) * GRID.step < 11 * np.sin(incidence) * beam.delay
        seen += 1
    assert seen >= 3


def test_tags_draw_from_streams_of_their_own():
    state = OceanState(wind_speed=6.0, tags=("streaks", "slick"))
    bare = ocean_scene(replace(state, tags=()))["backscatter"]
    both = ocean_scene(state)["backscatter"] / bare
    alone = [ocean_scene(replace(state, tags=(tag,)))["backscatter"] / bare for tag in state.tags]
    np.testing.assert_allclose(both, alone[0] * alone[1], rtol=1e-4)


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"seed": -1}, "seed=-1"),
        ({"first": -1}, "first=-1"),
        ({"size": 8}, "size=8"),
        ({"size": 5000}, "size=5000"),
        ({"pixel": 5.0}, "pixel=5.0"),
        ({"pixel": 100.0}, "pixel=100.0"),
        ({"looks": 0.5}, "looks=0.5"),
        ({"nesz": 3.0}, "nesz=3.0"),
        ({"beam": "IW"}, "beam='IW'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ocean_scenes(**({"count": 1, "size": 16, "progress": False} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wind_speed": 0.2}, "wind_speed"),
        ({"wind_speed": 60}, "wind_speed"),
        ({"wind_over_waves": 0.5}, "wind_over_waves"),
        ({"swell_height": float("nan")}, "swell_height"),
        ({"swell_wavelength": 2000}, "swell_wavelength"),
        ({"beam": "WV3"}, "WV1, WV2"),
        ({"tags": ("ice",)}, "'ice' is unknown"),
        ({"tags": "rain"}, "sequence of tags"),
    ],
)
def test_states_that_no_sea_has_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        OceanState(**options)


def test_a_single_scene_says_what_it_needs():
    with pytest.raises(InputError, match="OceanState"):
        ocean_scene({"wind_speed": 8})
    with pytest.raises(InputError, match="not resolved"):
        ocean_scene(OceanState(swell_wavelength=50))

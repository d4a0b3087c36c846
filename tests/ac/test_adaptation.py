"""Adaptation without pairs: what it learns, and that it does so again; what images keep, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import torch
import xarray as xr

from s2koop.ac import adaptation
from s2koop.ac.adaptation import AdaptationSettings, distances, fit
from s2koop.ac.adaptation.game import Game, turns
from s2koop.ac.adaptation.linear import moments, transport
from s2koop.ac.adaptation.networks import RADIUS, Critic, Translator
from s2koop.ac.adaptation.patches import cut_patches
from s2koop.errors import InputError, ModelError, S2koopWarning

SOURCE, TARGET = ["B02", "B04", "B08"], ["BLUE", "RED", "NIR"]
#: From source to target: what a sensor does to the bands in these tests.
MATRIX = np.array([[0.9, 0.2, 0.0], [0.0, 1.1, 0.0], [0.05, 0.0, 1.0]], np.float32)
OFFSET = np.array([0.03, -0.01, 0.0], np.float32)
FEW = AdaptationSettings(steps=3, batch=2, patches=8, width=6)


def surfaces(*, images=6, size=32, seed=0):
    """Smooth land in three bands that go together, and darker water, (image, band, y, x)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(images, 3, size // 4, size // 4))
    mixed = np.einsum("bc,icyx->ibyx", np.array([[0.5, 0.1, 0.0], [0.6, 0.5, 0.0], [0.1, 0.5, 1.0]]), coarse)
    smooth = np.kron(mixed, np.ones((1, 1, 4, 4)))
    values = np.array([0.1, 0.12, 0.3])[:, None, None] + 0.05 * smooth + 0.004 * rng.normal(size=smooth.shape)
    return np.where(coarse[:, :1].repeat(4, 2).repeat(4, 3) > 1, 0.3 * values, values).astype("float32")


def cube(values, bands, sensor, *, dim="scene", metres=20.0, crs=True):
    images, _, rows, columns = values.shape
    coords = {
        dim: np.arange(images),
        "band": bands,
        "wavelength": ("band", np.arange(len(bands))),
        "y": 5e6 - metres * np.arange(rows),
        "x": 6e5 + metres * np.arange(columns),
        "cloud": (dim, np.zeros(images)),
    }
    attrs = {"level": "TOA", "sensor": sensor, "units": "1"}
    made = xr.DataArray(values, dims=(dim, "band", "y", "x"), coords=coords, name="toa", attrs=attrs)
    return made.rio.write_crs(32632) if crs else made


def seen_by_target(values):
    return (np.einsum("ij,njyx->niyx", MATRIX, values) + OFFSET[:, None, None]).astype("float32")


@pytest.fixture(scope="module")
def source():
    return cube(surfaces(seed=0), SOURCE, "S2A")


@pytest.fixture(scope="module")
def target():
    return cube(seen_by_target(surfaces(seed=1)), TARGET, "PROBAV")


@pytest.fixture(scope="module")
def adapter(source, target):
    return fit(source, target, settings=FEW, progress=False)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, s2koop; s2koop.ac.adaptation; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# what is learned


@pytest.mark.slow
def test_the_game_corrects_a_wrong_start():
    """Sensors differ by an offset in one band; translators begin without it, and critics let them find it."""
    moved = surfaces(images=40, seed=1) + np.array([0.04, 0, 0], np.float32)[:, None, None]
    source = cube(surfaces(images=40, seed=0), SOURCE, "S2A")
    target = cube(moved, TARGET, "PROBAV")
    settings = AdaptationSettings(
        steps=200, batch=8, patches=120, width=8, start="identity", identity=1.0, learning_rate=2e-3, penalty=0.1
    )
    found = fit(source, target, settings=settings, progress=False)
    held_out = surfaces(images=4, seed=2)
    shown = cube(held_out + np.array([0.04, 0, 0], np.float32)[:, None, None], TARGET, "PROBAV")
    error = found.to_source(shown).values - held_out
    assert abs(error[:, 0].mean()) < 0.02
    assert np.abs(error[:, 1:].mean((0, 2, 3))).max() < 0.01
    back = found.to_target(found.to_source(shown)).values
    assert np.abs(back - shown.values).mean() < 0.01


@pytest.mark.parametrize("start", ["transport", "moments"])
def test_a_start_gives_the_moments_of_the_other_side(start):
    source, target = torch.from_numpy(surfaces(seed=0)), torch.from_numpy(seen_by_target(surfaces(seed=1)))
    linear = {"transport": transport, "moments": moments}[start](target, source)
    translator = Translator(torch.full((3,), 0.1), torch.full((3,), 0.05), 4)
    translator.start_from(*linear)
    with torch.no_grad():
        moved = translator(torch.nn.functional.pad(target, (RADIUS,) * 4)).movedim(1, 0).flatten(1)
    wanted = source.movedim(1, 0).flatten(1)
    torch.testing.assert_close(moved.mean(1), wanted.mean(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.std(1), wanted.std(1), atol=1e-5, rtol=1e-4)
    if start == "transport":
        torch.testing.assert_close(torch.cov(moved), torch.cov(wanted), atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(linear.matrix, linear.matrix.T)


def test_without_steps_an_adapter_is_its_linear_start(source, target):
    settings = AdaptationSettings(steps=0, patches=60, patch=32)
    found = fit(source, target, settings=settings, progress=False).to_source(target)
    matrix, offset = transport(torch.from_numpy(target.values), torch.from_numpy(source.values))
    expected = np.einsum("ij,njyx->niyx", matrix.numpy(), target.values) + offset.numpy()[:, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_distances_know_a_shift_and_a_tail():
    values = np.random.default_rng(0).random((3, 2, 50, 50))
    same, moved = distances(values, values), distances(values + np.array([0.1, 0.0])[:, None, None], values)
    np.testing.assert_allclose(same.wasserstein, 0)
    np.testing.assert_allclose(same.kolmogorov, 0)
    np.testing.assert_allclose(moved.wasserstein, [0.1, 0], atol=1e-9)
    np.testing.assert_allclose(moved.kolmogorov, [0.1, 0], atol=0.01)
    holed = np.where(values > 0.9, np.nan, values)
    assert np.isfinite(distances(holed, values).wasserstein).all()


def test_the_card_says_what_was_learned_from_and_what_it_brought(source, target):
    card = fit(source, target, settings=AdaptationSettings(steps=0, patches=40), progress=False).card
    assert card["source"] == "S2A, 40 patches of 28 x 28 pixels"
    assert card["distance_to_source"] < card["distance_as_is"]


# that it does so again


def test_the_same_seed_gives_the_same_adapter(source, target, adapter):
    again = fit(source, target, settings=FEW, progress=False)
    assert again.content == adapter.content
    settings = AdaptationSettings(**{**FEW.to_dict(), "seed": 1})
    assert fit(source, target, settings=settings, progress=False).content != adapter.content


def test_the_callers_dice_are_left_alone(source, target):
    before = torch.random.get_rng_state()
    fit(source, target, settings=FEW, progress=False)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_interrupted_training_goes_on_to_the_same_numbers(source, target, adapter, tmp_path, monkeypatch):
    path = tmp_path / "adapt.safetensors"
    advance = Game.advance

    def interrupted(game):
        losses = advance(game)
        if game.step == 2:
            signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(Game, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt, match="goes on"):
        fit(source, target, settings=FEW, progress=False, checkpoint=path)
    assert path.is_file()
    monkeypatch.setattr(Game, "advance", advance)
    other = AdaptationSettings(**{**FEW.to_dict(), "cycle": 3.0})
    with pytest.raises(ModelError, match="cycle"):
        fit(source, target, settings=other, progress=False, checkpoint=path)
    with pytest.raises(ModelError, match="other data"):
        fit(source + 0.01, target, settings=FEW, progress=False, checkpoint=path)
    assert fit(source, target, settings=FEW, progress=False, checkpoint=path).content == adapter.content
    assert not path.exists()


def test_divergence_is_said(source, target):
    settings = AdaptationSettings(steps=20, batch=2, patches=8, width=6, learning_rate=1e18)
    with pytest.raises(ModelError, match="learning_rate"):
        fit(source, target, settings=settings, progress=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_comes_to_the_same_adapter_but_for_rounding(source, target, adapter):
    other = fit(source, target, settings=FEW, device="cuda", progress=False)
    np.testing.assert_allclose(other.to_source(target), adapter.to_source(target), atol=1e-4)
    np.testing.assert_allclose(adapter.to_source(target, device="cuda"), adapter.to_source(target), atol=1e-4)


# the networks


def test_a_translated_pixel_depends_on_its_neighbourhood_and_on_nothing_else():
    torch.manual_seed(0)
    translator = Translator(torch.zeros(3), torch.ones(3), 8).double()
    torch.nn.init.normal_(translator.out.weight)
    image = torch.rand(1, 3, 31, 31, dtype=torch.float64).requires_grad_()
    out = translator(image)
    assert out.shape[-1] == 31 - 2 * RADIUS
    out[0, :, 9, 9].sum().backward()
    touched = torch.nonzero(image.grad[0].abs().sum(0)) - 9 - RADIUS
    assert int(touched.abs().max()) == RADIUS


def test_networks_are_those_of_the_paper_without_their_normalisation():
    translator, critic = Translator(torch.zeros(4), torch.ones(4), 64), Critic(torch.zeros(4), torch.ones(4))
    assert 14_000 < sum(weight.numel() for weight in translator.parameters()) < 17_000
    assert critic(torch.zeros(2, 4, 64, 64)).shape == (2, 1, 4, 4)
    names = {type(module).__name__ for module in (*translator.modules(), *critic.modules())}
    assert not any("Norm" in name for name in names)


def test_turns_are_the_eight_symmetries_of_a_square():
    found = turns(3)
    assert len({tuple(turn.tolist()) for turn in found}) == 8
    assert all(sorted(turn.tolist()) == list(range(9)) and turn[4] == 4 for turn in found)


# what is cut out


def lazy_with_count(values, loaded):
    """A dask array of one image a chunk, which notes how often each is made."""

    def make(block_id):
        loaded.append(block_id[0])
        return values[block_id[0] : block_id[0] + 1]

    chunks = ((1,) * len(values), *((size,) for size in values.shape[1:]))
    return da.map_blocks(lambda block_info: make(block_info[None]["chunk-location"]), chunks=chunks,
                         dtype=values.dtype, meta=np.empty((0,) * 4, values.dtype))  # fmt: skip


def test_patches_of_a_lazy_cube_are_those_in_memory_and_each_chunk_is_read_once():
    values, loaded = surfaces(images=5), []
    images = xr.DataArray(values, dims=("image", "band", "y", "x"))
    lazy = xr.DataArray(lazy_with_count(values, loaded), dims=images.dims)
    options = {"count": 40, "size": 28, "least": 2, "seed": 3, "label": "source"}
    cut = cut_patches(lazy, **options)
    assert sorted(loaded) == list(range(5))
    eager = cut_patches(images, **options)
    assert torch.equal(cut, eager)


def test_all_images_give_patches():
    values = np.broadcast_to(np.arange(7.0)[:, None, None, None] / 10, (7, 2, 30, 30)) + 0.0
    values[..., 0] += 0.01
    cut = cut_patches(
        xr.DataArray(values, dims=("image", "band", "y", "x")), count=14, size=28, least=1, seed=0, label="source"
    )
    assert np.bincount((10 * cut[:, 0, 5, 5]).round().int().numpy()).tolist() == [2] * 7


def test_patches_with_gaps_are_left_out(target):
    holed = cube(surfaces(images=4, seed=5), SOURCE, "S2A")
    holed[:3, 1, 16, 16] = np.nan
    settings = AdaptationSettings(steps=1, batch=2, patches=12, width=4)
    found = fit(holed, target, settings=settings, progress=False)
    assert np.isfinite(found.to_source(target)).all()
    holed[3, 1, 16, 16] = np.nan
    with pytest.raises(InputError, match="only 0 of 96 patches"):
        fit(holed, target, settings=settings, progress=False)
    holed[3, 1, 16, 16] = 0.1
    holed = xr.concat([holed[:1]] * 40 + [holed[3:]], "scene")
    with pytest.warns(S2koopWarning, match="instead of 12"):
        fit(holed, target, settings=settings, progress=False)


# what a translated image is


def equal(a, b):
    xr.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("chunks", [{"y": 8, "x": 11}, {"scene": 1, "band": 1}, {"y": 3}])
def test_any_tiling_gives_the_same_numbers(adapter, target, chunks):
    eager = adapter.to_source(target)
    lazy = adapter.to_source(target.chunk(chunks))
    assert lazy.chunks is not None
    assert eager.dtype == lazy.dtype == np.float32
    equal(lazy.compute(), eager)
    equal(adapter.to_target(eager.chunk(chunks)).compute(), adapter.to_target(eager))


def test_a_part_of_an_image_is_that_of_the_whole_beyond_its_edges(adapter, target):
    whole = adapter.to_source(target)
    part = adapter.to_source(target[:, :, 4:30, 2:28])
    inner = slice(RADIUS, -RADIUS)
    equal(part[:, :, inner, inner], whole[:, :, 4:30, 2:28][:, :, inner, inner])


def test_images_smaller_than_a_neighbourhood(adapter, target):
    small = target[:1, :, :3, :2]
    found = adapter.to_source(small)
    assert found.shape == small.shape
    equal(adapter.to_source(small.chunk({"x": 1})).compute(), found)


def test_nothing_is_computed_before_it_is_asked_for(adapter, target):
    def fail(block):
        raise AssertionError("read too early")

    lazy = target.copy(data=da.from_array(target.values, chunks=16).map_blocks(fail, dtype="float32"))
    found = adapter.to_source(lazy)
    assert found.shape == target.shape


def test_memory_is_bounded_by_the_chunk(adapter):
    """A large image is never whole: every block is made and thrown away."""
    alive, most = [0], [0]

    def work(block):
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return block

    def release(block):
        alive[0] -= 1
        return block.mean((2, 3), keepdims=True)

    big = da.full((1, 3, 512, 512), 0.2, chunks=(1, 3, 64, 64), dtype="float32").map_blocks(work, dtype="float32")
    image = xr.DataArray(big, dims=("time", "band", "y", "x"), coords={"band": TARGET})
    found = adapter.to_source(image).data.map_blocks(release, chunks=(1, 3, 1, 1), dtype="float32")
    with dask.config.set(scheduler="synchronous"):
        found.compute()
    assert most[0] < 40  # of 64: neighbours wait for each other


def test_coordinates_attributes_and_crs_stay_and_bands_are_those_of_the_other_side(adapter, target):
    found = adapter.to_source(target)
    assert found.dims == target.dims
    assert found.name == "toa"
    assert found.band.values.tolist() == SOURCE
    assert "wavelength" not in found.coords
    assert found.rio.crs == target.rio.crs
    xr.testing.assert_identical(found["cloud"], target["cloud"])
    assert found.attrs == {
        "level": "TOA", "units": "1", "sensor": "S2A", "adapted_from": "PROBAV", "adaptation_model": adapter.digest
    }  # fmt: skip
    back = adapter.to_target(found)
    assert back.band.values.tolist() == TARGET
    assert back.attrs["sensor"] == "PROBAV"


def test_one_image_and_bands_and_dims_in_another_order(adapter, target):
    whole = adapter.to_source(target)
    one = target.isel(scene=2)
    equal(adapter.to_source(one), whole.isel(scene=2))
    turned = target.isel(band=[2, 0, 1]).transpose("y", "scene", "x", "band")
    found = adapter.to_source(turned)
    assert found.dims == turned.dims
    equal(found.transpose(*target.dims), whole)
    more = xr.concat([target, target.isel(band=[0]).assign_coords(band=["SWIR"])], "band")
    equal(adapter.to_source(more), whole)


def test_gaps_stay_gaps_and_harm_no_one_far_away(adapter, target):
    holed = target.copy(deep=True)
    holed[0, 1, 10, 12] = np.nan
    holed[1] = np.nan
    found, whole = adapter.to_source(holed), adapter.to_source(target)
    assert np.isnan(found[0, :, 10, 12]).all()
    assert np.isnan(found[1]).all()
    assert int(np.isnan(found).sum()) == 3 + found[1].size
    equal(found[0, :, 10 + RADIUS + 1 :], whole[0, :, 10 + RADIUS + 1 :])
    equal(adapter.to_source(holed.chunk({"y": 7})).compute(), found)


def test_a_translated_image_can_be_corrected_with_the_networks_of_the_source():
    from s2koop.simulate import toa_scenes

    four = ["B02", "B04", "B08", "B11"]
    source = toa_scenes("train", scenes=6, size=32)["toa"].sel(band=four)
    target = toa_scenes("train", scenes=6, size=32, sensor="PROBAV", first=6)["toa"]
    adapter = fit(source, target, settings=AdaptationSettings(steps=2, batch=2, patches=12), progress=False)
    scene = toa_scenes("test", scenes=1, size=32, sensor="PROBAV")["toa"].isel(scene=0, drop=True)
    boa = adapter.to_source(scene).ac.emulate("fcnn", angles={"sza": 40.0, "vza": 5.0, "raa": 100.0})
    assert boa["mean"].band.values.tolist() == four
    assert np.isfinite(boa["mean"]).all()


# files


def test_an_adapter_comes_back_from_its_file(adapter, target, tmp_path):
    path = adapter.save(tmp_path / "pair.safetensors")
    again = adaptation.load(path)
    assert again.content == adapter.content
    assert again.settings == adapter.settings
    assert (again.source, again.target) == (adapter.source, adapter.target)
    equal(again.to_source(target), adapter.to_source(target))
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["source"] == {"bands": SOURCE, "sensor": "S2A", "level": "TOA"}
    assert "S2A (B02 B04 B08)" in repr(again)


def test_files_of_others_are_refused(adapter, tmp_path):
    with pytest.raises(ModelError, match="no adapter"):
        adaptation.load(tmp_path / "nothing.safetensors")
    path = adapter.save(tmp_path / "pair.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError):
        adaptation.load(path)
    path.write_bytes(torch.zeros(3).numpy().tobytes())
    with pytest.raises(ModelError):
        adaptation.load(path)


# what is refused


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"steps": -1}, "steps"), ({"batch": 0}, "batch"), ({"patch": 27}, "28"), ({"learning_rate": 0.0}, "learning"),
        ({"identity": -1.0}, "identity"), ({"average": 1.0}, "average"), ({"start": "magic"}, "transport"),
        ({"penalty": float("nan")}, "penalty"), ({"seed": 0.5}, "seed"),
    ],
)  # fmt: skip
def test_settings_are_checked_when_made(wrong, match):
    with pytest.raises(InputError, match=match):
        AdaptationSettings(**wrong)


def test_unknown_settings_are_named():
    with pytest.raises(InputError, match="did you mean 'penalty'"):
        AdaptationSettings.from_dict({"penality": 1.0})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s, t: (s, t.values), "DataArray"),
        (lambda s, t: (s, t.isel(band=slice(2))), "B02, B04, B08"),
        (lambda s, t: (s, t.assign_coords(band=["B04", "B02", "B08"])), "another order"),
        (lambda s, t: (s, t.drop_vars("band")), "coordinate 'band'"),
        (lambda s, t: (s, t.assign_attrs(level="BOA")), "level"),
        (lambda s, t: (s, (1e4 * t).astype("uint16")), "uint16"),
        (lambda s, t: (s, 1e4 * t), "divide digital numbers"),
        (lambda s, t: (s, t.expand_dims(a=2)), "dims"),
        (lambda s, t: (s, t.isel(scene=[])), "empty"),
        (lambda s, t: (s, t.isel(x=slice(20))), "smaller patch"),
        (lambda s, t: (s, t.assign_coords(x=5 * t.x.values)), "one size"),
        (lambda s, t: (s, xr.where(t.band == "RED", 0.1, t).transpose(*t.dims)), "same value"),
        (lambda s, t: (s, t.assign_coords(band=["RED", "RED", "NIR"])), "repeat"),
    ],
)
def test_cubes_that_do_not_pair_are_refused(source, target, change, match):
    with pytest.raises(InputError, match=match):
        fit(*change(source, target), settings=FEW, progress=False)


def test_bands_pair_as_said(source, target):
    options = {"settings": AdaptationSettings(steps=0, patches=8), "progress": False}
    found = fit(source, target, bands={"NIR": "B08", "RED": "B04"}, **options)
    assert found.source.bands == ("B08", "B04")
    assert found.to_source(target).band.values.tolist() == ["B08", "B04"]
    for wrong, match in (({"NIR": "B99"}, "B99"), ({"SWIR": "B08"}, "SWIR"), ({}, "map"), ("NIR", "map"),
                         ({"NIR": "B08", "RED": "B08"}, "twice")):  # fmt: skip
        with pytest.raises(InputError, match=match):
            fit(source, target, bands=wrong, **options)


def test_images_of_another_kind_are_refused(adapter, target):
    with pytest.raises(InputError, match="BLUE is missing"):
        adapter.to_source(target.isel(band=slice(1, None)))
    with pytest.raises(InputError, match="trained on TOA"):
        adapter.to_source(target.assign_attrs(level="BOA"))
    with pytest.raises(InputError, match="device"):
        adapter.to_source(target, device="abacus")


def test_a_place_for_the_checkpoint_is_checked_first(source, target, tmp_path):
    with pytest.raises(InputError, match="safetensors"):
        fit(source, target, settings=FEW, progress=False, checkpoint=tmp_path / "adapt.pt")
    with pytest.raises(InputError, match="device"):
        fit(source, target, settings=FEW, progress=False, device="abacus")

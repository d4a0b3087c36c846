"""Imported networks equal the published procedure; files that are none of it are refused with the cure."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import xarray as xr

from s2koop._time import to_days
from s2koop.errors import InputError, ModelError
from s2koop.koopman import load
from s2koop.koopman.checkpoints import CHANNELS, SCALING, import_official, official_window, states
from s2koop.koopman.solvers import minimise
from s2koop.simulate import seasonal_cube
from tests.support import official


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("official")


@pytest.fixture(scope="module", params=official.FAMILIES)
def brought(request, folder):
    """A family, its weights and K, and the model made from its files."""
    family = request.param
    model = import_official(*official.write_files(folder, family))
    return family, official.random_weights(family), official.random_operator(family).detach(), model


def land(pixels=4, dates=60, seed=0):
    """Reflectance (pixel, time, band) in 0..1 on a 5-day grid, a season and some noise."""
    torch.manual_seed(seed)
    phase = 2 * np.pi * 5 * torch.arange(dates) / 365.25
    season = 0.1 * torch.cos(phase)[None, :, None] * torch.rand(pixels, 1, official.BANDS)
    return 0.1 + 0.3 * torch.rand(pixels, 1, official.BANDS) + season + 0.01 * torch.randn(pixels, dates, 10)


def test_states_are_scaled_reflectance_and_backward_differences(brought):
    *_, model = brought
    x = SCALING * land()
    expected = torch.stack([torch.cat([x[:, t], x[:, t] - x[:, t - 1]], -1) for t in range(1, x.shape[1])], 1)
    torch.testing.assert_close(states(model, land()), expected)


def test_encode_and_decode_equal_the_published_code(brought):
    family, weights, _, model = brought
    x = states(model, land())[:, 5]
    z = official.encode(family, weights, x)
    assert model.network.latent == official.LATENTS[family]
    torch.testing.assert_close(model.network.encode(x), z, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.network.decode(z), official.decode(family, weights, z), atol=1e-5, rtol=0)


def test_a_rollout_of_341_steps_equals_the_published_code(brought):
    family, weights, operator, model = brought
    x = states(model, land())[:, 0]
    expected = official.rollout(family, weights, operator, x, 341)
    days = 5.0 * torch.arange(1, 342)
    got = model.network(x, days)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    reflectance = model.reflectance(
        model.network.observe(model.network.operator.advance(model.network.encode(x), days))
    )
    torch.testing.assert_close(reflectance, expected[..., :10] / SCALING, atol=1e-5, rtol=0)


def test_the_adam_assimilation_has_the_published_loss_trace(brought):
    family, weights, operator, model = brought
    reflectance = land(dates=40)
    state = states(model, reflectance)
    first, later = state[:, 0], reflectance[:, 1:]
    observed = torch.zeros(later.shape[1], dtype=torch.bool)
    observed[[0, 3, 4, 9, 15, 16, 21, 30, 38]] = True
    expected, end = official.assimilation_trace(
        family, weights, operator, first, SCALING * later, observed, iterations=101
    )
    masked = torch.where(observed[None, :, None], later, torch.nan)
    window = official_window(model, masked, 5.0 * torch.arange(later.shape[1]), model.network.encode(first))
    analysis = minimise(window, solver="adam", learning_rate=1e-3, max_iterations=101, trace=True)
    assert expected[-1] < 0.98 * expected[0]
    torch.testing.assert_close(analysis.trace, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(analysis.u, end, rtol=0, atol=1e-3)


def test_an_imported_model_survives_its_own_file_and_says_what_it_is(brought, tmp_path):
    family, *_, model = brought
    again = load(model.save(tmp_path / "imported.safetensors"))
    assert again.digest == model.digest
    x = states(model, land())
    torch.testing.assert_close(again.network.encode(x), model.network.encode(x), atol=0, rtol=0)
    assert again.bands == ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12") == CHANNELS
    assert again.card["imported"] == f"{family} (Frion et al.)"
    assert again.card["scaling"] == SCALING
    assert again.card["convention"] == ("K as in the file" if family == "KAE" else "K of the file, transposed")


@pytest.fixture(scope="module")
def cube():
    return seasonal_cube(shape=(3, 4), start="2019-01-01", end="2020-12-31", seed=4)


def test_an_imported_model_assimilates_a_cube_of_some_of_its_bands(brought, cube):
    *_, model = brought
    result = cube.koopman.assimilate(model, times=["2020-06-01"], progress=False)
    assert result.sizes["band"] == 10
    assert bool(np.isfinite(result["mean"]).all())
    assert bool((result["spread"] > 0).all())


def test_the_broad_background_holds_land(brought):
    """Latents of land lie well inside of it: below one in units of its standard deviation, root mean square."""
    *_, model = brought
    z = model.network.encode(states(model, land(pixels=50)).flatten(0, 1))
    u = torch.linalg.solve_triangular(model.background.factor, (z - model.background.mean).T, upper=False)
    assert float(u.square().mean().sqrt()) < 1


def own_world(model, *, seed=0, noise=0.02):
    """Truth and a cloudy cube of two bands, which follow the imported dynamics from latents of similar land."""
    torch.manual_seed(seed)
    z = model.network.encode(states(model, land(pixels=30)))[:, 0]
    days = 10.0 * torch.arange(40)
    values = model.reflectance(model.network.observe(model.network.operator.advance(z, days)))
    times = np.datetime64("2019-03-02", "ns") + days.numpy().astype("timedelta64[D]")
    labels = {"time": times, "band": list(model.bands), "x": range(30), "y": [0]}
    truth = xr.DataArray(values.numpy()[..., None], dims=("x", "time", "band", "y"), coords=labels)
    truth = truth.transpose("time", "band", "y", "x").sel(band=["B08", "B04"])
    cloudy = torch.rand(*truth.shape).numpy() < 0.4
    return truth, (truth + noise * torch.randn(*truth.shape).numpy()).where(~cloudy)


def test_background_and_errors_can_be_estimated_from_a_cube(folder):
    files = official.write_files(folder, "IKAE")
    broad = import_official(*files)
    truth, cube = own_world(broad)
    dice = torch.random.get_rng_state()
    site = import_official(*files, background_from=cube)
    assert torch.equal(dice, torch.random.get_rng_state())
    assert site.digest == import_official(*files, background_from=cube.chunk({"x": 7})).digest
    seen = [site.bands.index(band) for band in ("B08", "B04")]
    unseen = [i for i in range(10) if i not in seen]
    np.testing.assert_allclose((site.scale * site.noise)[seen], 0.02, rtol=0.2)
    assert torch.equal(site.noise[unseen], broad.noise[unseen])
    begin = float(to_days(cube.time.values[0]))
    assert site.anchor(begin + 0.5) == pytest.approx(begin)
    assert site.card["background"] == "estimated from 30 pixels"

    def error(model):
        few = cube.isel(time=slice(None, None, 8))
        analysis = few.koopman.assimilate(model, times=cube.time, progress=False)["mean"].sel(band=cube.band)
        return float(((analysis - truth) ** 2).mean())

    assert error(site) < 0.8 * error(broad)


def test_scaling_bands_and_step_are_arguments(folder):
    files = official.write_files(folder, "KAE")
    names = [f"C{i}" for i in range(10)]
    model = import_official(*files, bands=names, scaling=2.0, step_days=10.0)
    assert model.bands == tuple(names)
    torch.testing.assert_close(model.standardise(torch.full((10,), 0.25)), torch.full((10,), 0.5))
    assert model.network.operator.step_days == 10


def changed(weights, **changes):
    return {name: changes.get(name, value) for name, value in weights.items()}


def spoiled_model(case: str):
    """What stands in the model file of each case."""
    kae, ikae = official.random_weights("KAE"), official.random_weights("IKAE")
    return {
        "nothing known": {"layer.weight": torch.ones(2, 2)},
        "empty": {},
        "a bare tensor": torch.eye(20),
        "no tensors": {"epoch": 3},
        "a layer missing": {name: value for name, value in kae.items() if name != "decoder.decoder_2.bias"},
        "no first layer": {name: value for name, value in kae.items() if "encoder_1" not in name},
        "a coupling missing": {name: value for name, value in ikae.items() if "bijectors.3" not in name},
        "another shape": changed(kae, **{"decoder.decoder_3.weight": torch.ones(10, 512)}),
        "a scale net": ikae | {"invertible_encoder.bijectors.0.scale.0.weight": torch.ones(3, 3)},
        "a vector": changed(kae, **{"encoder.encoder_1.weight": torch.ones(512)}),
    }[case]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nothing known", r"weights of \['layer'\]; expected encoder.encoder_1.weight"),
        ("empty", "weights of nothing"),
        ("a bare tensor", "swapped"),
        ("no tensors", "not a state dict of tensors"),
        ("a layer missing", "lacks 'decoder.decoder_2.bias'"),
        ("no first layer", "lacks 'encoder.encoder_1.weight'"),
        ("a coupling missing", "lacks 'invertible_encoder.bijectors.3.net.0.weight'"),
        ("another shape", r"decoder.decoder_3.weight has shape \(10, 512\), expected \(20, 512\) in a KAE of 10 bands"),
        ("a scale net", "does not: .*scale"),
        ("a vector", "no matrix"),
    ],
)
def test_model_files_that_are_not_of_the_layout(case, message, tmp_path):
    family = "IKAE" if case in ("a coupling missing", "a scale net") else "KAE"
    torch.save(spoiled_model(case), tmp_path / "model.pt")
    _, operator = official.write_files(tmp_path, family)
    with pytest.raises(ModelError, match=message):
        import_official(tmp_path / "model.pt", operator)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.eye(32), "K in .* is 32x32, and the IKAE in .* has 20 latents; take the K that was saved with it"),
        (torch.ones(20, 3), "expected a square matrix"),
        (torch.ones(20, 20, dtype=torch.int64), "expected a square matrix"),
        (torch.full((20, 20), torch.nan), "not finite"),
        ({"encoder.encoder_1.weight": torch.eye(3)}, "swapped"),
    ],
)
def test_k_files_that_do_not_fit(content, message, tmp_path):
    model, _ = official.write_files(tmp_path, "IKAE")
    torch.save(content, tmp_path / "K.pt")
    with pytest.raises(ModelError, match=message):
        import_official(model, tmp_path / "K.pt")


def test_files_that_are_no_checkpoints_or_not_there(tmp_path):
    model, operator = official.write_files(tmp_path, "KAE")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "cut.pt").write_bytes(model.read_bytes()[:5000])
    for wrong in ("text.pt", "empty.pt", "cut.pt"):
        for files in ((tmp_path / wrong, operator), (model, tmp_path / wrong)):
            with pytest.raises(ModelError, match="cannot be read as tensors alone"):
                import_official(*files)
    with pytest.raises(ModelError, match="there is no file"):
        import_official(tmp_path / "missing.pt", operator)


@pytest.mark.parametrize("old_format", [False, True])
def test_other_ways_of_saving_the_same(old_format, tmp_path):
    """K as a parameter or in double, and files of torch before 1.6."""
    model, operator = official.write_files(tmp_path, "AIKAE")
    expected = import_official(model, operator)
    options = {"_use_new_zipfile_serialization": not old_format}
    torch.save(official.random_weights("AIKAE"), tmp_path / "again.pt", **options)
    for variant in (torch.nn.Parameter, torch.Tensor.double):
        torch.save(variant(official.random_operator("AIKAE").detach()), tmp_path / "K.pt", **options)
        again = import_official(tmp_path / "again.pt", tmp_path / "K.pt")
        for name, weight in expected.network.state_dict().items():
            assert torch.equal(again.network.state_dict()[name], weight)


class Trap:
    """Writes a file if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_a_file_is_executed(tmp_path):
    _, operator = official.write_files(tmp_path, "KAE")
    torch.save({"encoder": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for trap in ("trap.pt", "plain.pt"):
        with pytest.raises(ModelError, match="not opened, as it could run code"):
            import_official(tmp_path / trap, operator)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bands": ["B02", "B03"]}, ModelError, "states of 20 numbers, and 2 bands .* make 4; name its 10 bands"),
        ({"bands": ["B02"] * 10}, InputError, "repeat"),
        ({"bands": "B02"}, InputError, "sequence of names"),
        ({"bands": []}, InputError, "sequence of names"),
        ({"scaling": 0}, InputError, "scaling=0 must be greater than 0"),
        ({"scaling": "max"}, InputError, "must be a number"),
        ({"step_days": -5}, InputError, "at least 0"),
        ({"background_from": "cube.nc"}, InputError, "expected a DataArray"),
    ],
)
def test_wrong_arguments_say_what_to_do(options, error, message, folder):
    files = official.write_files(folder, "KAE")
    with pytest.raises(error, match=message):
        import_official(*files, **options)


def test_a_cube_for_the_background_has_to_fit(folder, cube):
    files = official.write_files(folder, "KAE")
    with pytest.raises(ModelError, match="the model knows the bands"):
        import_official(*files, background_from=cube.assign_coords(band=["NDVI", "B08"]))

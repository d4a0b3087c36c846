"""Every architecture keeps the contract of a network: shapes, inverses, derivatives, published sizes, saved files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2koop.errors import InputError
from s2koop.koopman import KoopmanSettings, load
from s2koop.koopman.network import KoopmanNetwork, make_network
from s2koop.koopman.settings import ARCHITECTURES, COUPLINGS
from s2koop.simulate import seasonal_cube

FLOWS = [name for name in ARCHITECTURES if name != "mlp"]
KINDS = [("mlp", "nice"), *[(flow, coupling) for flow in FLOWS for coupling in COUPLINGS]]
SMALL = {"hidden": (9, 7), "coupling_width": 8, "padding": 3, "augmentation": (6, 4)}


def network(architecture="mlp", coupling="nice", bands=3, seed=0, **changes) -> KoopmanNetwork:
    torch.manual_seed(seed)
    options = {"operator": "dense", "architecture": architecture, "coupling": coupling} | SMALL | changes
    return make_network(bands, KoopmanSettings(**options)).double().requires_grad_(False)


def latents(model: KoopmanNetwork, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, model.latent, dtype=torch.float64)


@pytest.mark.parametrize(("architecture", "coupling"), KINDS)
@pytest.mark.parametrize(("bands", "derivative"), [(3, True), (3, False), (4, False), (1, True)])
def test_jacobian_is_that_of_autograd(architecture, coupling, bands, derivative):
    model = network(architecture, coupling, bands, derivative=derivative)
    z = latents(model, 4)
    values, jacobian = model.observe_with_jacobian(z)
    torch.testing.assert_close(values, model.observe(z))
    assert jacobian.shape == (4, bands, model.latent)
    for i in range(4):
        torch.testing.assert_close(jacobian[i], torch.autograd.functional.jacobian(model.observe, z[i]))


@pytest.mark.parametrize(("architecture", "coupling"), KINDS)
@pytest.mark.parametrize("shape", [(), (5,), (2, 0, 3), (2, 3)])
def test_any_leading_shape_row_by_row(architecture, coupling, shape):
    model = network(architecture, coupling)
    z, state = latents(model, *shape), torch.randn(*shape, model.state_size, dtype=torch.float64)
    for method, given in ((model.encode, state), (model.decode, z), (model.observe, z)):
        rows = [method(row) for row in given.reshape(-1, given.shape[-1])]
        got = method(given)
        if rows:
            torch.testing.assert_close(got, torch.stack(rows).reshape(got.shape))
        assert got.shape[:-1] == torch.Size(shape)
    torch.testing.assert_close(model.observe(z), model.decode(z)[..., : model.bands])
    days = torch.tensor([0.0, 5.0], dtype=torch.float64)
    assert model(state, days).shape == (*shape, 2, model.state_size)


@pytest.mark.parametrize(("architecture", "coupling"), [kind for kind in KINDS if kind[0] != "mlp"])
@pytest.mark.parametrize(("bands", "derivative"), [(3, True), (5, False), (2, False)])
def test_decoders_of_flows_undo_their_encoders(architecture, coupling, bands, derivative):
    model = network(architecture, coupling, bands, derivative=derivative)
    assert model.exact_inverse
    state = torch.randn(6, model.state_size, dtype=torch.float64)
    torch.testing.assert_close(model.decode(model.encode(state)), state)


def test_further_latents_act_through_the_operator_alone():
    model = network("aikae")
    z = latents(model, 5)
    other = z.clone()
    other[:, model.state_size :] += 1
    assert torch.equal(model.decode(z), model.decode(other))
    mixing = torch.randn(model.latent, model.latent, dtype=torch.float64)
    model.operator.matrix.data = torch.linalg.matrix_exp(mixing - mixing.T)
    after = [model.decode(model.operator.advance(start, torch.tensor([5.0]))) for start in (z, other)]
    assert not torch.allclose(*after)


def test_padded_latents_reach_the_state():
    model = network("ikae-zp")
    jacobian = model.observe_with_jacobian(latents(model, 3))[1]
    assert bool((jacobian[..., model.state_size :] != 0).any())


@pytest.mark.parametrize(
    ("architecture", "latent", "weights"),
    [("mlp", 32, 300_596), ("ikae", 20, 32_316), ("ikae-zp", 36, 56_940), ("aikae", 36, 313_932)],
)
def test_published_sizes(architecture, latent, weights):
    model = make_network(10, KoopmanSettings.paper(architecture))
    assert model.latent == latent
    assert sum(p.numel() for p in model.parameters()) == weights + latent**2
    assert torch.equal(model.operator.matrix, torch.eye(latent))


def test_paper_settings_of_flows_have_no_autoencoding_loss_and_can_be_changed():
    assert KoopmanSettings.paper().autoencoding == 1
    for architecture in FLOWS:
        assert KoopmanSettings.paper(architecture).autoencoding == 0
        assert KoopmanSettings.paper(architecture, steps=7).steps == 7
    assert KoopmanSettings.paper("ikae-zp").weight_decay == 1e-6


@pytest.mark.parametrize(
    ("options", "bands", "message"),
    [
        ({"architecture": "ikae", "latent": 32}, 10, "has 20 latents, not latent=32; leave latent out"),
        ({"architecture": "ikae-zp", "latent": 20}, 10, "has 36 latents"),
        ({"architecture": "ikae", "derivative": False}, 1, "no halves"),
        ({"architecture": "aikae", "derivative": False}, 1, "no halves"),
        ({"architecture": "ikae", "derivative": False}, 3, "even number: use derivative=True"),
        ({"architecture": "ikae-zp", "padding": 3}, 2, "another padding="),
        ({"architecture": "aikae", "augmentation": (3,)}, 2, "another end of augmentation="),
    ],
)
def test_latents_that_an_architecture_does_not_allow(options, bands, message):
    with pytest.raises(InputError, match=message):
        KoopmanSettings(**options).latent_size(bands)
    with pytest.raises(InputError, match=message):
        make_network(bands, KoopmanSettings(**options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "vae"}, "architecture='vae' is unknown; choose one of"),
        ({"coupling": "glow"}, "coupling='glow' is unknown; choose one of"),
        ({"couplings": 0}, "couplings=0 must be a whole number of at least 1"),
        ({"coupling_width": 1.5}, "whole number"),
        ({"padding": 0}, "padding=0"),
        ({"augmentation": ()}, "augmentation is empty"),
        ({"augmentation": 16}, "sequence of numbers"),
        ({"latent": 0}, "latent=0"),
    ],
)
def test_wrong_architectures_say_what_to_do(change, message):
    with pytest.raises(InputError, match=message):
        KoopmanSettings(**change)


def test_latent_follows_from_the_architecture_unless_it_is_given():
    assert KoopmanSettings().latent == 32
    assert KoopmanSettings(latent=8).latent_size(10) == 8
    assert KoopmanSettings(architecture="ikae", latent=20).latent_size(10) == 20
    assert KoopmanSettings(architecture="ikae-zp", derivative=False, padding=2).latent_size(10) == 12
    assert KoopmanSettings.from_dict(KoopmanSettings.paper("aikae").to_dict()) == KoopmanSettings.paper("aikae")


@pytest.mark.usefixtures("few_origins")
@pytest.mark.filterwarnings("ignore:.*grows by a factor")
@pytest.mark.parametrize(
    ("architecture", "operator"),
    [
        ("aikae", "modal"),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in (("ikae", "modal"), ("ikae-zp", "dense"))),
    ],
)
def test_flows_train_forecast_and_survive_a_file(architecture, operator, tmp_path):
    cube = seasonal_cube(seed=1, every_days=20)
    options = {"architecture": architecture, "operator": operator, "progress": False, "learning_rate": 1e-2} | SMALL
    options |= {"padding": 4}
    fits = {steps: cube.koopman.fit(steps=steps, validate_every=steps, **options) for steps in (5, 60)}
    # the loss of the last step, on random dates: more steps lower it by far more than their scatter
    assert fits[60].card["losses"]["prediction"] < 0.8 * fits[5].card["losses"]["prediction"]
    model = load(fits[60].save(tmp_path / "flow.safetensors"))
    assert model.digest == fits[60].digest
    state = torch.randn(5, model.network.state_size)
    torch.testing.assert_close(model.network.encode(state), fits[60].network.encode(state), rtol=0, atol=0)
    result = cube.koopman.forecast(model, steps=3, progress=False)
    assert bool(np.isfinite(result["mean"]).all())


def test_a_latent_that_does_not_fit_is_refused_before_any_pixel_is_read():
    lazy = seasonal_cube(seed=1).chunk({"time": 5})
    lazy.data = lazy.data.map_blocks(lambda block: 1 / 0, dtype="float32")
    with pytest.raises(InputError, match="has 4 latents, not latent=32"):
        lazy.koopman.fit(architecture="ikae", latent=32, progress=False)

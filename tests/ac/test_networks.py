"""Networks of emulators: what they can see, and that nothing else moves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2koop.ac.emulator import EmulatorSettings, make_networks
from s2koop.ac.features import GEOMETRY, geometry_features
from s2koop.ac.lut import Atmosphere
from s2koop.ac.networks import LOCAL, Context, SceneEncoder, count_weights, local_network, low_percentiles


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", LOCAL)
def test_a_pixel_depends_on_its_neighbourhood_and_on_nothing_else(kind):
    network = local_network(kind, 4).double()
    planes = noise(1, 4, 33, 33).double().requires_grad_()
    out = network(planes)
    middle = out.shape[-1] // 2
    assert planes.shape[-1] - out.shape[-1] == 2 * network.radius
    out[0, :, middle, middle].sum().backward()
    touched = torch.nonzero(planes.grad[0].abs().sum(0))
    reach = (touched - 16).abs().max()
    assert int(reach) == network.radius


@pytest.mark.parametrize("kind", LOCAL)
def test_pieces_give_the_numbers_of_the_whole(kind):
    network = local_network(kind, 3, extra=1)
    planes = noise(1, 4, 50, 50)
    with torch.no_grad():
        whole = network(planes)
        part = network(planes[:, :, 7:40, 11:45])
    rows, columns = part.shape[-2:]
    torch.testing.assert_close(part, whole[:, :, 7 : 7 + rows, 11 : 11 + columns], rtol=0, atol=1e-6)


def test_a_network_that_says_nothing_leaves_the_scene():
    network = local_network("fcnn", 3)
    with torch.no_grad():
        network.body[-1].weight.zero_()
        network.body[-1].bias.zero_()
    planes = noise(1, 3, 12, 12)
    torch.testing.assert_close(network(planes), planes[..., 2:-2, 2:-2])


def test_no_network_normalises_batches():
    for kind in LOCAL:
        names = {type(module).__name__ for module in local_network(kind, 4).modules()}
        assert not any("Norm" in name for name in names)


def test_a_scene_is_a_set_of_pixels():
    encoder = SceneEncoder(4, 16)
    pixels, geometry = noise(2, 30, 4), noise(2, GEOMETRY, seed=1)
    valid = torch.ones(2, 30, dtype=torch.bool)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(encoder(pixels, geometry, valid), encoder(pixels[:, order], geometry, valid))
    twice = encoder(pixels.repeat(1, 2, 1), geometry, valid.repeat(1, 2))
    torch.testing.assert_close(encoder(pixels, geometry, valid)[:, :32], twice[:, :32])


def test_pixels_that_do_not_count_change_nothing():
    encoder = SceneEncoder(4, 16)
    pixels, geometry = noise(1, 30, 4), noise(1, GEOMETRY, seed=1)
    valid = torch.arange(30)[None] < 20
    few = encoder(pixels[:, :20], geometry, valid[:, :20])
    changed = torch.where(valid[..., None], pixels, 5.0)
    torch.testing.assert_close(encoder(changed, geometry, valid), few)


def test_low_percentiles_of_a_ramp():
    ramp = torch.arange(101.0)[None, :, None]
    assert low_percentiles(ramp, torch.ones(1, 101, dtype=torch.bool)).tolist() == [[4.0, 15.0]]
    nothing = torch.zeros(1, 101, dtype=torch.bool)
    assert low_percentiles(ramp, nothing).tolist() == [[0.0, 0.0]]


def test_context_is_made_of_the_scene_and_its_geometry():
    network = Context(4, 24, 1)
    state = Atmosphere(*(torch.tensor([value, value]) for value in (0.1, 2.0, 0.3, 40.0, 5.0, 90.0, 100.0)))
    pixels, valid = noise(1, 50, 4).repeat(2, 1, 1), torch.ones(2, 50, dtype=torch.bool)
    lower = state._replace(sza=torch.tensor([40.0, 60.0]))
    code, _ = network.scene(pixels, geometry_features(lower), valid)
    assert not torch.allclose(code[0], code[1])
    same, _ = network.scene(pixels, geometry_features(state), valid)
    torch.testing.assert_close(same[0], same[1])


def test_weights_come_from_the_seed():
    def first(seed):
        settings = EmulatorSettings(kind="context", bands=("B02", "B04"), members=2, seed=seed)
        return [next(network.parameters()) for network in make_networks(settings)]

    before = torch.random.get_rng_state()
    a, b, c = first(1), first(1), first(2)
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[0], c[0])
    assert not torch.equal(a[0], a[1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_networks_are_small():
    settings = EmulatorSettings(kind="fcnn", bands=tuple(f"B{n:02d}" for n in range(1, 13)), width=32)
    assert 12_000 < count_weights(list(make_networks(settings))) < 14_000
    assert np.isfinite(count_weights([local_network("unet", 12, width=16)]))

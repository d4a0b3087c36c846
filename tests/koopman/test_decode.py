"""Fast decoding equals plain decoding: pruning is exact, whatever the tile, and bfloat16 is near."""

from __future__ import annotations

import pytest
import torch

from s2koop.koopman import decode
from s2koop.koopman.network import KoopmanAutoencoder, make_network
from s2koop.koopman.settings import KoopmanSettings

BANDS, LATENT = 4, 8


def network_of(hidden=(96, 64), *, linear_path=False, dtype=torch.float32, silent=40):
    """A network of whose wider layer some units are silent on most inputs."""
    torch.manual_seed(0)
    settings = KoopmanSettings(hidden=hidden, latent=LATENT, linear_path=linear_path)
    network = KoopmanAutoencoder(BANDS, settings).requires_grad_(False).to(dtype)
    if hidden:
        network.decoder[-3].bias[:silent] = -0.5
    return network


def trajectories(pixels=70, dates=9, dtype=torch.float32):
    torch.manual_seed(1)
    return (torch.randn(n, dtype=dtype) for n in [(dates, LATENT, LATENT), (dates, LATENT), (pixels, LATENT)])


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("hidden", [(), (48,), (96, 64), (64, 48, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_dates_are_what_the_network_observes(hidden, linear_path, dtype):
    network = network_of(hidden, linear_path=linear_path, dtype=dtype)
    carry, center, u = trajectories(dtype=dtype)
    found = decode.decode_dates(network, carry, center, u)
    expected = network.observe(torch.einsum("pi,tij->ptj", u, carry) + center)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_tiles_change_nothing(monkeypatch):
    network = network_of()
    carry, center, u = trajectories()
    expected = decode.decode_dates(network, carry, center, u)
    monkeypatch.setattr(decode, "TILE_PIXELS", 13)
    monkeypatch.setattr(decode, "TILE_DATES", 2)
    monkeypatch.setattr(decode, "BOX_PIXELS", 5)
    torch.testing.assert_close(decode.decode_dates(network, carry, center, u), expected, atol=1e-5, rtol=1e-5)


def test_no_unit_that_wakes_is_dropped_and_silent_ones_are(monkeypatch):
    network = network_of()
    z = 0.3 * torch.randn(3, LATENT) + 0.02 * torch.randn(70, 3, LATENT)  # the last box is not full
    layer = network.decoder[0]
    reached = layer(z).amax((0, 1))
    bound = decode._upper_bound(z, torch.cat([layer.weight, layer.weight.abs()], 1), layer.bias)
    assert bool((bound >= reached - 1e-6).all())
    monkeypatch.setattr(decode, "KEPT_MULTIPLE", 1)
    kept = decode._rounded_up(bound)
    assert set((reached > 0).nonzero().flatten().tolist()) <= set(kept.tolist())
    assert len(kept) < len(reached)


@pytest.mark.parametrize("hidden", [(96, 64), (64, 48, 32)])
@pytest.mark.parametrize("worthwhile", [-1.0, 1.0])
def test_pruned_and_whole_layers_give_the_same(hidden, worthwhile, monkeypatch):
    monkeypatch.setattr(decode, "WORTHWHILE", worthwhile)
    network = network_of(hidden)
    carry, center, u = trajectories()
    u = u[:1] + 0.01 * u  # alike, so that units can be left out
    shares, plain = [], decode.ReluDecoder.values_of_similar

    def watched(self, z):
        found = plain(self, z)
        shares.append(found[1])
        return found

    monkeypatch.setattr(decode.ReluDecoder, "values_of_similar", watched)
    found = decode.decode_dates(network, carry, center, u)
    expected = network.observe(torch.einsum("pi,tij->ptj", u, carry) + center)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (min(shares, default=1.0) < 1) == (worthwhile > 0)


def test_pixels_like_no_others_are_decoded_apart_and_to_the_same():
    network = network_of()
    carry, center, u = trajectories(pixels=170)
    u = u[:1] + 0.01 * u
    u[::19] *= 30
    usual, others = decode._similar_and_others(u)
    assert sorted([*usual.tolist(), *others.tolist()]) == list(range(170))
    assert set(range(0, 170, 19)) <= set(others.tolist())
    assert len(usual) >= decode.BOX_PIXELS
    expected = network.observe(torch.einsum("pi,tij->ptj", u, carry) + center)
    torch.testing.assert_close(decode.decode_dates(network, carry, center, u), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("hidden", [(48,), (96, 64), (64, 48, 32)])
def test_jacobian_is_that_of_the_network(hidden, linear_path, monkeypatch):
    monkeypatch.setattr(decode, "JACOBIAN_STATES", 11)
    network = network_of(hidden, linear_path=linear_path)
    z = torch.randn(40, LATENT)
    with torch.no_grad():
        found = decode.observe_with_jacobian(network, z)
    for left, right in zip(found, network.observe_with_jacobian(z), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": (64, 48, 32), "linear_path": True},
        {"hidden": (96, 64), "linear_path": False},
        {"architecture": "ikae", "operator": "dense"},
    ],
)
def test_pullback_is_the_gradient_of_autograd(settings, monkeypatch):
    monkeypatch.setattr(decode, "GRADIENT_STATES", 11)
    network = make_network(BANDS, KoopmanSettings(**settings)).requires_grad_(False)
    z = torch.randn(40, network.latent, requires_grad=True)
    slope = torch.randn(40, BANDS)
    values = network.observe(z)
    found, pullback = decode.observe_with_pullback(network, z.detach())
    torch.testing.assert_close(found, values.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pullback(slope), torch.autograd.grad(values, z, slope)[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decode.observe(network, z.detach()), values.detach(), atol=1e-5, rtol=1e-5)


def test_no_state_gives_no_value():
    with torch.no_grad():
        values, jacobian = decode.observe_with_jacobian(network_of(), torch.empty(0, LATENT))
    assert values.shape == (0, BANDS)
    assert jacobian.shape == (0, BANDS, LATENT)


def test_other_architectures_decode_by_their_own_method():
    network = make_network(BANDS, KoopmanSettings(architecture="ikae", operator="dense")).requires_grad_(False)
    size = network.latent
    carry, u = torch.randn(3, size, size), torch.randn(5, size)
    found = decode.decode_dates(network, carry, torch.zeros(3, size), u)
    torch.testing.assert_close(found, network.observe(torch.einsum("pi,tij->ptj", u, carry)))


def test_bfloat16_is_near_and_not_the_same():
    network = network_of()
    carry, center, u = trajectories()
    plain = decode.decode_dates(network, carry, center, u)
    rough = decode.decode_dates(network, carry, center, u, precision="bfloat16")
    assert rough.dtype == torch.float32
    error = (rough - plain).square().mean().sqrt() / plain.std()
    assert 1e-5 < float(error) < 2e-2


def test_derivatives_in_bfloat16_are_near_too():
    network, z = network_of(), torch.randn(40, LATENT)
    with torch.no_grad():
        found = decode.observe_with_jacobian(network, z, precision="bfloat16")
    for left, right in zip(found, network.observe_with_jacobian(z), strict=True):
        assert left.dtype == torch.float32
        # a unit that rounding wakes changes the derivative of a state as a whole: the rms bears that, the maximum not
        error = (left - right).square().mean().sqrt() / right.std()
        assert 1e-5 < float(error) < 1e-1


def test_linear_is_the_same_with_and_without_onednn(monkeypatch):
    x, weight, bias = torch.randn(9, 5), torch.randn(7, 5), torch.randn(7)
    fast = [decode.linear(x, weight, bias, relu=relu) for relu in (False, True)]
    monkeypatch.setattr(decode, "_onednn", lambda dtype: False)
    for quick, relu in zip(fast, (False, True), strict=True):
        torch.testing.assert_close(decode.linear(x, weight, bias, relu=relu), quick)


def test_similar_rows_come_together():
    groups = torch.arange(64) % 4
    u = torch.stack([10.0 * groups, torch.rand(64)], 1)
    order = decode.similar_order(u, 16)
    assert sorted(order.tolist()) == list(range(64))
    assert all(len(set(groups[run].tolist())) == 1 for run in order.split(16))


def test_runs_of_similar_rows_are_whole_but_the_last():
    u = torch.cat([torch.zeros(20, 1), torch.ones(13, 1)])[torch.randperm(33)]
    runs = decode.similar_order(u, 4).split(4)
    assert sum(len(set(u[run].flatten().tolist())) > 1 for run in runs) <= 1
    assert sorted(torch.cat(runs).tolist()) == list(range(33))

"""Coupling layers: exact inverses for any shape and size, and derivatives that autograd confirms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2koop.koopman.couplings import LOG_SCALE_BOUND, AffineCoupling, CouplingFlow
from s2koop.koopman.layers import mlp, with_jacobian, with_pullback

KINDS = ["nice", "realnvp"]


def flow(size=5, kind="nice", seed=0, layers=6, width=12) -> CouplingFlow:
    torch.manual_seed(seed)
    return CouplingFlow(size, layers=layers, width=width, kind=kind).double().requires_grad_(False)


@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(2, 9),
    layers=st.integers(1, 7),
    shape=st.lists(st.integers(0, 3), max_size=3),
    seed=st.integers(0, 20),
)
def test_inverse_undoes_any_leading_shape_and_any_size(kind, size, layers, shape, seed):
    network = flow(size, kind, seed, layers)
    x = 3 * torch.randn(*shape, size, dtype=torch.float64)
    torch.testing.assert_close(network.inverse(network(x)), x, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(network(network.inverse(x)), x, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_inverse_of_a_deep_flow(kind):
    network, x = flow(20, kind, layers=6, width=256).float(), torch.randn(1000, 20)
    torch.testing.assert_close(network.inverse(network(x)), x, atol=1e-5, rtol=1e-5)


def test_layers_take_turns_and_start_by_holding_the_first_half():
    network, x = flow(5, layers=1), torch.randn(4, 5, dtype=torch.float64)
    assert torch.equal(network(x)[:, :2], x[:, :2])
    assert not torch.allclose(network(x)[:, 2:], x[:, 2:])
    two = flow(5, layers=2)
    moved = torch.cat([x[:, :2], x[:, 2:] + two.bijectors[0].net(x[:, :2])], 1)
    moved[:, :2] += two.bijectors[1].net(moved[:, 2:])
    torch.testing.assert_close(two(x), moved)


def test_nice_keeps_volume():
    network, x = flow(6), torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(network, x)
    torch.testing.assert_close(torch.linalg.det(jacobian).abs(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "wanted"), [(6, 2), (6, 3), (6, 5), (7, 3), (7, 4), (7, 7), (2, 1)])
@pytest.mark.parametrize("layers", [1, 2, 6])
def test_part_of_the_inverse_and_its_jacobian(kind, size, wanted, layers):
    network, z = flow(size, kind, layers=layers), torch.randn(4, size, dtype=torch.float64)
    values, jacobian = network.inverse_with_jacobian(z, wanted)
    torch.testing.assert_close(values, network.inverse(z)[:, :wanted])
    torch.testing.assert_close(network.inverse(z, wanted), values)
    for i in range(len(z)):
        by_autograd = torch.autograd.functional.jacobian(lambda one: network.inverse(one)[:wanted], z[i])
        torch.testing.assert_close(jacobian[i], by_autograd)


def test_a_layer_that_moves_nothing_wanted_is_not_asked(monkeypatch):
    network = flow(6)
    monkeypatch.setattr(network.bijectors[0], "inverse", None)
    network.inverse(torch.randn(3, 6, dtype=torch.float64), 3)
    with pytest.raises(TypeError):
        network.inverse(torch.randn(3, 6, dtype=torch.float64), 4)


def test_realnvp_neither_overflows_nor_vanishes():
    layer = AffineCoupling(3, 3, 8).double()
    for parameter in layer.scale.parameters():
        parameter.data.mul_(1e6)
    held, other = torch.randn(2, 100, 3, dtype=torch.float64)
    moved = layer(held, other)
    ratio = (moved - layer.shift(held)) / other
    assert float(ratio.detach().log().abs().max()) <= LOG_SCALE_BOUND + 1e-6
    torch.testing.assert_close(layer.inverse(held, moved), other)


@pytest.mark.parametrize("widths", [[4, 3], [4, 6, 3], [4, 6, 5, 3]])
def test_pullback_of_rows_is_the_product_with_the_jacobian(widths):
    torch.manual_seed(0)
    layers, x = mlp(widths).double().requires_grad_(False), torch.randn(5, 4, dtype=torch.float64)
    rows = torch.randn(5, 2, 3, dtype=torch.float64)
    values, pullback = with_pullback(layers, x)
    torch.testing.assert_close(values, layers(x))
    jacobian = torch.stack([torch.autograd.functional.jacobian(layers, one) for one in x])
    torch.testing.assert_close(pullback(rows), rows @ jacobian)
    torch.testing.assert_close(pullback(rows[:1]).expand(5, -1, -1), rows[:1] @ jacobian)


def test_jacobian_of_one_hidden_layer():
    torch.manual_seed(0)
    net, x = mlp([4, 7, 3], leak=0.1).double().requires_grad_(False), torch.randn(5, 4, dtype=torch.float64)
    values, jacobian = with_jacobian(net, x)
    torch.testing.assert_close(values, net(x))
    torch.testing.assert_close(jacobian, torch.stack([torch.autograd.functional.jacobian(net, one) for one in x]))

"""Packed products against plain ones, forward and back."""

import pytest
import torch
from torch import nn

from dexvla_model import packed_linear
from dexvla_model.packed_linear import PackedLinear, can_pack, pack_linears

pytestmark = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="no packed products on this machine")


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch):
    monkeypatch.setitem(packed_linear.SMALLEST, torch.float32, 64 * 64)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(96, 160)


@pytest.mark.parametrize("shape", [(50,), (1, 50), (2, 3, 7), (1,)])
def test_any_number_of_rows_gives_the_plain_product(linear, shape):
    x = torch.randn(*shape, 96)
    with torch.no_grad():
        torch.testing.assert_close(PackedLinear(linear, 50)(x), linear(x), rtol=1e-5, atol=1e-5)


def test_rows_that_lie_apart_in_memory_are_taken(linear):
    x = torch.randn(96, 20).t()
    with torch.no_grad():
        torch.testing.assert_close(PackedLinear(linear, 20)(x), linear(x), rtol=1e-5, atol=1e-5)


def test_a_layer_without_bias(linear):
    bare = nn.Linear(96, 160, bias=False)
    x = torch.randn(5, 96)
    with torch.no_grad():
        torch.testing.assert_close(PackedLinear(bare, 5)(x), bare(x), rtol=1e-5, atol=1e-5)


def test_the_activation_can_be_fused(linear):
    x = torch.randn(5, 96)
    with torch.no_grad():
        expected = nn.functional.gelu(linear(x), approximate="tanh")
        torch.testing.assert_close(
            PackedLinear(linear, 5).product(x, "gelu", "tanh"), expected, rtol=1e-5, atol=1e-5
        )


def test_gradients_flow_to_the_input(linear):
    x = torch.randn(2, 5, 96)
    packed, gradients = PackedLinear(linear, 5), []
    for layer in (packed, linear):
        leaf = x.clone().requires_grad_()
        layer(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_only_large_plain_layers_are_replaced():
    model = nn.Sequential(
        nn.Linear(128, 128),
        nn.Sequential(nn.Linear(128, 7)),
        nn.MultiheadAttention(128, 4),
        nn.Linear(64, 128),
    )
    assert pack_linears(model, 4) == 2
    assert isinstance(model[0], PackedLinear) and isinstance(model[3], PackedLinear)
    assert type(model[1][0]) is nn.Linear


def test_nothing_is_replaced_in_a_type_without_packed_products():
    model = nn.Sequential(nn.Linear(128, 128)).double()
    assert pack_linears(model, 4) == 0
    assert type(model[0]) is nn.Linear


def test_a_layer_that_is_too_small_to_gain_stays_as_it_is(monkeypatch):
    monkeypatch.setitem(packed_linear.SMALLEST, torch.float32, 128 * 129)
    assert pack_linears(nn.Sequential(nn.Linear(128, 128), nn.Linear(128, 129)), 4) == 1

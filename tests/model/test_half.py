"""Weights read in half the bytes give what they gave, and only where they are the same weights."""

import pytest
import torch
from torch import nn

from hooke.model.half import HalfWeights

X = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))


def layer(dtype: torch.dtype, *, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    own = nn.Sequential(nn.Linear(40, 30, bias=bias)).requires_grad_(False)
    return own.to(dtype).float()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
def test_products_differ_by_rounding_alone(dtype: torch.dtype, bias: bool):
    own = layer(dtype, bias=bias)
    exact = own.double()(X.double())
    own.float()
    with HalfWeights(own):
        found = own(X)
    assert torch.allclose(found.double(), exact, atol=1e-5)
    assert torch.equal(own(X), nn.functional.linear(X, own[0].weight, own[0].bias))  # and what it was before, afterwards


def test_weights_that_half_the_bits_cannot_hold_are_left_alone():
    own = layer(torch.float32)
    with HalfWeights(own):
        assert torch.equal(own(X), nn.functional.linear(X, own[0].weight, own[0].bias))


def test_weights_changed_in_between_are_seen():
    own = layer(torch.bfloat16)
    with HalfWeights(own):
        before = own(X)
    own[0].weight.mul_(2)
    with HalfWeights(own):
        after = own(X)
    bias = own[0].bias
    assert torch.allclose(after - bias, 2 * (before - bias), atol=1e-5)


def test_a_layer_that_learns_is_left_alone():
    own = layer(torch.bfloat16).requires_grad_(True)
    with HalfWeights(own):
        own(X).sum().backward()
    assert own[0].weight.grad is not None

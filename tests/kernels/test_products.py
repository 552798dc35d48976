"""Products of bfloat16 numbers come to the same, however the processor at hand makes them."""

import pytest
import torch

from hooke.kernels import products


def naive(a, b):
    return (a.double() @ b.double()).float()


@pytest.mark.parametrize("fast", [True, False])
def test_both_ways_round_the_exact_product(fast, monkeypatch):
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda device: fast)
    a, b, bias = torch.randn(5, 33).bfloat16(), torch.randn(33, 7).bfloat16(), torch.randn(7).bfloat16()
    out = torch.empty(5, 7, dtype=torch.bfloat16)
    within = {"rtol": 2**-7, "atol": 1e-3}
    assert torch.allclose(products.product(a, b).float(), naive(a, b), **within)
    assert products.product(a, b, out=out) is out
    assert torch.equal(out, products.product(a, b))
    assert torch.allclose(products.linear(a, b.T, bias).float(), naive(a, b) + bias.float(), **within)

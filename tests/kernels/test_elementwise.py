"""Norms and gated activations beside torch's own."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from hooke.kernels import elementwise
from hooke.kernels.elementwise import gated, rms_norm, table_of


def drawn(rows: int, d: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(rows, d, generator=torch.Generator().manual_seed(seed))).bfloat16()


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 99), st.sampled_from([1e-4, 1.0, 300.0]))
def test_norm_is_rounded_once(rows: int, d: int, seed: int, scale: float) -> None:
    x, gain = drawn(rows, d, seed, scale), 1 + drawn(1, d, seed + 1)[0].float()
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain.double()
    found = rms_norm(x, gain, 1e-6).double()
    # Half a unit in bfloat16's last place, and a little for the float32 on the way.
    assert bool(((found - exact).abs() <= exact.abs() * (2.0**-8 + 2.0**-18) + 1e-38).all())


def test_a_row_is_the_same_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = drawn(700, 640, 0), torch.ones(640)
    together = rms_norm(x, gain, 1e-6)
    assert torch.equal(together, torch.cat([rms_norm(row[None], gain, 1e-6) for row in x]))
    monkeypatch.setattr(elementwise, "_ALONE", 0)
    assert torch.equal(together, rms_norm(x, gain, 1e-6))
    assert torch.equal(together[:1], rms_norm(x[:1], gain, 1e-6))


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([[1.0, float("nan")], [float("inf"), 1.0], [0.0, 0.0]]).bfloat16()
    found = rms_norm(x, torch.ones(2), 1e-6)
    assert bool(found[0].isnan().all())
    assert bool(found[1, 0].isnan())
    assert found[1, 1] == 0
    assert torch.equal(found[2], torch.zeros(2).bfloat16())


@pytest.mark.parametrize("function", [torch.nn.functional.silu, lambda x: torch.nn.functional.gelu(x, approximate="tanh")])
def test_gated_gives_what_two_operations_give(function) -> None:
    table = table_of(function)
    gate, up = drawn(300, 500, 1, 4.0), drawn(300, 500, 2)
    found, expected = gated(table, gate, up), function(gate) * up
    # The library itself gives other bits at the end of an array than in its middle.
    assert (found != expected).float().mean() < 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=2.0**-7)
    bits = torch.arange(1 << 16).to(torch.int16).view(torch.bfloat16)
    assert torch.equal(gated(table, bits, torch.ones_like(bits)).nan_to_num(7), function(bits).nan_to_num(7))
    odd = torch.tensor([[float("nan"), float("inf"), 1.0]]).bfloat16()
    torch.testing.assert_close(gated(table, odd, odd), function(odd) * odd, equal_nan=True)

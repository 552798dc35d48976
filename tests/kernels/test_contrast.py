"""The contrast of two halves of a batch, against a twin that goes through pairs one by one in float64, and its own difference quotient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernels.twins import sparse
from torch import Tensor

from hooke.kernels.contrast import contrast


def naive(codes: Tensor, width: int, *, cosine: bool, temperature: float) -> float:
    """Straight from the formula, one pair of tokens at a time."""
    rows = [[float(value) for value in row[:width]] for row in codes.double()]
    half = len(rows) // 2

    def similar(a: list[float], b: list[float]) -> float:
        dot, lengths = sum(x * y for x, y in zip(a, b, strict=True)), math.hypot(*a) * math.hypot(*b)
        return (dot / lengths if cosine and lengths else dot) / temperature

    table = [[similar(a, b) for b in rows[half:]] for a in rows[:half]]
    total = 0.0
    for i in range(half):
        row, column = table[i], [other[i] for other in table]
        for ways in (row, column):
            total += math.log(sum(math.exp(x - row[i]) for x in ways)) / (2 * half)
    return total


@given(
    pairs=st.integers(1, 5),
    d_sae=st.integers(2, 9),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    cosine=st.booleans(),
    temperature=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 1 << 30),
)
def test_value_and_gradient_are_the_twins(pairs, d_sae, share, cosine, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2 * pairs, d_sae, generator=generator, dtype=torch.float64) + 0.1
    codes = drawn * (torch.rand(2 * pairs, d_sae, generator=generator) < share)
    entries, width = sparse(codes, codes > 0), (d_sae + 1) // 2
    options = {"cosine": cosine, "temperature": temperature}
    value, gradient = contrast(entries, width, **options)
    assert value == pytest.approx(naive(codes, width, **options), rel=1e-4, abs=1e-5)
    for entry, (row, feature) in enumerate(zip(entries.rows().tolist(), entries.feature.tolist(), strict=True)):
        step = torch.zeros_like(codes)
        step[row, feature] = 1e-5
        grad_pre = (naive(codes + step, width, **options) - naive(codes - step, width, **options)) / 2e-5
        assert float(gradient[entry]) == pytest.approx(grad_pre if feature < width else 0.0, rel=1e-3, abs=2e-4)


def test_partners_that_agree_and_differ_from_all_others_cost_nothing():
    codes = 3 * torch.eye(8).repeat(2, 1)
    value, gradient = contrast(sparse(codes, codes > 0), 8, cosine=True, temperature=0.05)
    assert value < 1e-6
    assert float(gradient.abs().max()) < 1e-6


def test_tokens_without_codes_are_equally_far_from_all():
    nothing = torch.zeros(8, 4)
    value, gradient = contrast(sparse(nothing, nothing > 0), 4, cosine=True, temperature=1.0)
    assert value == pytest.approx(math.log(4))
    assert gradient.shape == (0,)

"""Streamed sums equal the formula over everything at once."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from hooke.metrics import VarianceSum


def fvu(acts: torch.Tensor, reconstruction: torch.Tensor) -> float:
    """The formula as it is written, in one go."""
    acts, reconstruction = acts.double(), reconstruction.double()
    return float((acts - reconstruction).square().sum() / (acts - acts.mean(0)).square().sum())


def streamed(acts: torch.Tensor, reconstruction: torch.Tensor, sizes: list[int]) -> VarianceSum:
    sums = VarianceSum()
    for part, other in zip(acts.split(sizes), reconstruction.split(sizes), strict=True):
        sums.add(part, other)
    return sums


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1), st.integers(1, 5), st.integers(0, 999))
def test_it_is_the_formula_however_the_tokens_come(sizes: list[int], width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = torch.randn(sum(sizes), width, generator=generator) * 10 + 100
    reconstruction = acts + torch.randn(acts.shape, generator=generator)
    sums = streamed(acts, reconstruction, sizes)
    assert sums.tokens == len(acts)
    assert math.isclose(sums.fvu, fvu(acts, reconstruction), rel_tol=1e-6)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1), st.integers(0, 999))
def test_sums_of_parts_add_up_as_numbers(sizes: list[int], seed: int) -> None:
    acts = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(seed)) + 5
    parts = [streamed(part, part * 0.9, [len(part)]).numbers() for part in acts.split(sizes) if len(part)]
    sums = VarianceSum.of(torch.stack(parts).sum(0))
    assert sums.tokens == len(acts)
    assert math.isclose(sums.fvu, fvu(acts, acts * 0.9), rel_tol=1e-6)
    torch.testing.assert_close(sums.mean, acts.mean(0))


def test_a_perfect_reconstruction_is_0_and_the_mean_is_1() -> None:
    acts = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert streamed(acts, acts, [20, 30]).fvu == 0
    assert math.isclose(streamed(acts, acts.mean(0).expand_as(acts), [20, 30]).fvu, 1, rel_tol=1e-6)
    assert streamed(acts, -acts, [20, 30]).fvu > 3


def test_a_large_common_offset_does_not_drown_the_variance() -> None:
    acts = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)) + 3000
    reconstruction = acts + 0.1
    assert math.isclose(streamed(acts, reconstruction, [100] * 4).fvu, fvu(acts, reconstruction), rel_tol=1e-5)


def test_bfloat16_is_summed_as_precisely_as_float32() -> None:
    acts = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    reconstruction = acts * 0.5
    assert math.isclose(streamed(acts, reconstruction, [1000] * 5).fvu, fvu(acts, reconstruction), rel_tol=1e-6)


def test_it_is_not_a_number_where_there_is_no_variance() -> None:
    assert math.isnan(VarianceSum().fvu)
    assert math.isnan(streamed(torch.ones(1, 2), torch.zeros(1, 2), [1]).fvu)
    assert math.isnan(streamed(torch.ones(4, 2), torch.zeros(4, 2), [4]).fvu)

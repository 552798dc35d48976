"""Sparse codes and the dense matrix they stand for never disagree."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hooke.codes import Codes
from hooke.errors import ShapeMismatch


def dense_of(rows: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(rows, width, generator=generator) + 0.1
    return values * (torch.rand(rows, width, generator=generator) < 0.3)


DENSE = st.builds(dense_of, st.integers(0, 7), st.integers(1, 9), st.integers(0, 999))


def assert_sound(codes: Codes) -> None:
    """Row pointers rise from 0 to the end, features ascend within a row and are in range, values are positive."""
    assert int(codes.indptr[0]) == 0
    assert int(codes.indptr[-1]) == len(codes.feature) == len(codes.value)
    for start, stop in zip(codes.indptr[:-1].tolist(), codes.indptr[1:].tolist(), strict=True):
        features = codes.feature[start:stop].tolist()
        assert features == sorted(set(features))
        assert all(0 <= feature < codes.d_sae for feature in features)
    assert bool((codes.value > 0).all())


@given(DENSE)
def test_dense_to_codes_and_back(dense: torch.Tensor) -> None:
    codes = Codes.from_dense(dense)
    assert_sound(codes)
    assert torch.equal(codes.dense(), dense)
    assert len(codes) == len(dense)
    assert codes.l0.tolist() == (dense != 0).sum(1).tolist()
    assert codes.row.tolist() == dense.nonzero()[:, 0].tolist()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 99))
def test_cat_is_cat_of_the_dense(lengths: list[int], width: int, seed: int) -> None:
    parts = [dense_of(length, width, seed + i) for i, length in enumerate(lengths)]
    joined = Codes.cat([Codes.from_dense(part) for part in parts])
    assert_sound(joined)
    assert torch.equal(joined.dense(), torch.cat(parts))


@given(DENSE, st.data())
def test_rows_are_the_rows_of_the_dense(dense: torch.Tensor, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(dense)))
    stop = data.draw(st.integers(start, len(dense)))
    codes = Codes.from_dense(dense)
    part = codes.rows(start, stop)
    assert_sound(part)
    assert torch.equal(part.dense(), dense[start:stop])
    assert torch.equal(Codes.cat([codes.rows(0, start), part, codes.rows(stop, len(codes))]).dense(), dense)


@given(DENSE, st.data())
def test_rows_taken_and_features_kept_are_those_of_the_dense(dense: torch.Tensor, data: st.DataObject) -> None:
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=9) if len(dense) else st.just([])), dtype=torch.int64)
    kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=dense.shape[1], max_size=dense.shape[1])), dtype=torch.bool)
    taken, only = Codes.from_dense(dense).take(rows), Codes.from_dense(dense).only(kept)
    assert_sound(taken)
    assert_sound(only)
    assert torch.equal(taken.dense(), dense[rows])
    assert torch.equal(only.dense(), dense * kept)


def test_values_are_float32_whatever_they_came_from() -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert Codes.from_dense(torch.ones(2, 2, dtype=dtype)).value.dtype == torch.float32


def test_codes_of_different_widths_are_not_joined() -> None:
    with pytest.raises(ShapeMismatch, match=r"cannot join codes of widths \[2, 3\]; they must come from one SAE"):
        Codes.cat([Codes.from_dense(torch.ones(1, 3)), Codes.from_dense(torch.ones(1, 2))])
    with pytest.raises(ShapeMismatch, match=r"widths \[\]"):
        Codes.cat([])

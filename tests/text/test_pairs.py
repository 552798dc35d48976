"""Pairs are two tokens of one text, near enough, each token in one of them; all that can be matched are, and every distance comes up."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.text.pairs import Pairs

SIZES = st.lists(st.integers(0, 12), max_size=8)


def rows(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Text and position of every row; texts are numbered from 5, positions from 1."""
    text = np.repeat(np.arange(len(sizes)) + 5, sizes)
    return text, np.concatenate([np.arange(size) + 1 for size in sizes] or [np.zeros(0, int)]).astype(np.int64)


@given(SIZES, st.integers(1, 20), st.integers(0, 99))
def test_both_are_of_one_text_and_near_and_no_row_is_in_two(sizes, reach, seed):
    text, pos = rows(sizes)
    pairs = Pairs.of(text, pos, reach, seed)
    drawn = pairs.draw(seed)
    assert drawn.shape == (pairs.count, 2)
    early, late = drawn.T
    assert (text[early] == text[late]).all()
    assert ((pos[late] - pos[early] >= 1) & (pos[late] - pos[early] <= reach)).all()
    assert len(np.unique(drawn)) == 2 * len(drawn)
    # A text of n tokens touches at most n/(reach + 1) + 2 stretches, and each leaves at most one of its tokens over.
    assert len(text) - 2 * len(drawn) <= sum(size // (reach + 1) + 2 for size in sizes if size)


def test_a_gap_in_a_text_does_not_bring_its_ends_together():
    drawn = Pairs.of(np.zeros(4, int), np.array([1, 2, 30, 31]), 1, 0)
    assert {tuple(pair) for seed in range(20) for pair in drawn.draw(seed)} <= {(0, 1), (2, 3)}


def test_texts_of_one_token_give_none():
    assert Pairs.of(np.arange(50), np.ones(50, int), 3, 0).count == 0
    assert Pairs.of(np.zeros(0, int), np.zeros(0, int), 3, 0).draw(1).shape == (0, 2)


def test_neighbours_are_matched_either_way_and_every_distance_comes_up():
    text, pos = rows([64])
    starts = {tuple(sorted(Pairs.of(text, pos, 1, seed).draw(seed)[:, 0] % 2)) for seed in range(20)}
    assert {set(one) == {0} for one in starts} == {True, False}  # (0, 1), (2, 3), ... or (1, 2), (3, 4), ...
    far = Counter(int(b - a) for seed in range(60) for a, b in Pairs.of(text, pos, 4, seed).draw(seed))
    assert set(far) == {1, 2, 3, 4}
    assert far[1] / far[4] == pytest.approx(4, rel=0.4)  # of five places four are neighbours', one the ends'


@given(SIZES, st.sampled_from([4, 6, 10]), st.integers(0, 9))
def test_batches_hold_the_earlier_ones_first_and_their_partners_after(sizes, batch, seed):
    text, pos = rows(sizes)
    pairs = Pairs.of(text, pos, 2, seed)
    batches = pairs.rows(batch, seed).reshape(-1, 2, batch // 2)
    assert len(batches) == pairs.count // (batch // 2)
    assert {tuple(pair) for one in batches for pair in one.T} <= {tuple(pair) for pair in pairs.draw(seed)}

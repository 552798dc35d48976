"""Near misses: silent, near, and the same however they are looked for."""

import numpy as np
import pytest
from features.readings import codes_of, long_reading, made, readings
from hypothesis import given, settings

from hooke.features.events import Events
from hooke.features.examples import choose
from hooke.features.near_misses import NearMissFinder, window_vectors
from hooke.features.statistics import statistics

EACH = 4


def found(text, dense, workers=1):
    events = Events.of(codes_of(dense))
    token = statistics(events, text).token
    strongest, _ = choose(events, text, 5, 1)
    return token, strongest, NearMissFinder(text).find(events, token, strongest, EACH, workers).reshape(len(events), 2, 2, EACH)


def check(text, dense):
    token, strongest, misses = found(text, dense)
    vectors = window_vectors(text)
    for i in range(dense.shape[1]):
        column = dense[:, i].numpy()
        fired = {int(text.window[row]) for row in np.flatnonzero(column)}
        for kind in (0, 1):
            for half in (0, 1):
                rows = [row for row in misses[i, kind, half].tolist() if row >= 0]
                assert len(set(rows)) == len(rows)
                documents = text.document[text.window[rows]] if rows else np.zeros(0, int)
                assert np.bincount(documents).max(initial=0) <= 2
                assert all(column[row] == 0 and text.score_half[text.window[row]] == bool(half) for row in rows)
                if kind == 0:
                    assert all(text.ids[row] in token[i][:8] for row in rows)
                else:
                    assert not fired & {int(text.window[row]) for row in rows}
        if fired:
            best = alike(text, vectors, strongest[i], fired)
            for half in (0, 1):
                own = [w for w in best if text.score_half[w] == bool(half)]
                kept = []
                for w in own:
                    if [text.document[k] for k in kept].count(text.document[w]) < 2:
                        kept.append(w)
                assert [int(text.window[r]) for r in misses[i, 1, half] if r >= 0] == kept[:EACH]


def alike(text, vectors, strongest, fired):
    """Silent windows, the most like the examples' windows first."""
    own = np.rint(np.mean([vectors[text.window[row]] for row in strongest if row >= 0], axis=0))
    return sorted(set(range(text.windows)) - fired, key=lambda w: (-int(own @ vectors[w]), w))


@settings(max_examples=60, deadline=None)
@given(reading=readings())
def test_near_misses_are_silent_and_near(reading):
    check(*made(reading))


@pytest.mark.parametrize("seed", range(2))
def test_any_number_of_workers_finds_the_same(seed):
    text, dense = long_reading(seed)
    np.testing.assert_array_equal(found(text, dense)[2], found(text, dense, 3)[2])


def test_rare_tokens_are_all_looked_at():
    """Where the token stands in few places, a silent one among them is not missed."""
    text, dense = long_reading(0)
    rare = next(t for t in range(2, 200) if 3 <= (text.ids == t).sum() <= 6 and len(set(text.document[text.window[text.ids == t]])) > 2)
    where = np.flatnonzero(text.ids == rare)
    dense[:] = 0
    dense[where[0], 0] = 1.0
    misses = found(text, dense)[2][0, 0]
    kept = [row for row in misses.ravel() if row >= 0]
    silent = where[1:]
    by_document = [row for row in silent if list(text.document[text.window[silent]]).count(text.document[text.window[row]]) <= 2]
    assert set(by_document) <= set(kept) <= set(silent)


def test_windows_with_the_same_words_have_the_same_vector_in_any_order():
    text, _ = long_reading(3)
    vectors = window_vectors(text)
    assert vectors.shape == (text.windows, 128)
    assert np.abs(vectors).max() <= 127
    np.testing.assert_array_equal(vectors, np.rint(vectors))
    length = np.sqrt((vectors**2).sum(1))
    np.testing.assert_allclose(length[length > 0], 127, atol=6)

"""The search proposes what wins where it learns, and checks it elsewhere."""

import numpy as np
import pytest

from hooke.explain.rules.conditions import Conditions, Scratch
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.search import NEAR_MISS, POSITIVE, RANDOM, Places, _together, find


@pytest.mark.parametrize("kinds", [(0, 1, 2), (0, 1), (0, 2)])
def test_weights_sum_to_tpr_and_tnr(kinds):
    rng = np.random.default_rng(0)
    kind, chosen, holds = rng.choice(kinds, 300), rng.random(300) < 0.7, rng.random(300) < 0.4
    places = Places(np.arange(300), kind, np.arange(300))
    tnr = [(~holds[chosen & (kind == own)]).mean() for own in (NEAR_MISS, RANDOM) if own in kinds]
    expected = holds[chosen & (kind == POSITIVE)].mean() + np.mean(tnr) - 1
    assert places.weights(chosen)[holds].sum() == pytest.approx(expected)
    assert not places.weights(chosen)[~chosen].any()


def reading_of(documents: list[list[str]]) -> Conditions:
    reading = TokenIndex()
    for doc, pieces in enumerate(documents):
        reading.add(pieces, 2 * doc)
    reading.close()
    return Conditions(reading)


def test_a_word_of_one_document_is_no_rule():
    """The feature fires on a word that only one document says, often, and on nothing else in common: eight documents are no word."""
    rng = np.random.default_rng(0)
    documents = [[f" w{n}" for n in rng.integers(0, 400, 50)] for _ in range(40)]
    documents[0] = [" odd", " even"] * 25
    signs = reading_of(documents)
    rows = np.concatenate([np.arange(0, 50, 2), rng.choice(np.arange(50, 2000), 60, replace=False)])
    others = np.setdiff1d(np.arange(50, 2000), rows)[::3]
    kind = np.repeat([POSITIVE, RANDOM], [len(rows), len(others)])
    both = np.concatenate([rows, others])
    seen = signs.seen(both, Scratch(signs))
    found = find(signs, Places(both, kind, signs.reading.doc[both]), seen)
    assert found is None or signs.find("word", "odd") not in np.concatenate(found.on(seen).groups)


def test_the_search_is_the_same_every_time():
    rng = np.random.default_rng(1)
    signs = reading_of([[f" {word}" for word in rng.choice(["bank", "river", "of", "in", "said"], 30)] for _ in range(30)])
    kind = rng.choice([POSITIVE, NEAR_MISS, RANDOM], 900)
    places = Places(np.arange(900), kind, signs.reading.doc)
    first, second = (find(signs, places, signs.seen(places.rows, Scratch(signs))) for _ in range(2))
    assert first is not None
    assert second is not None
    assert [own.tolist() for own in first.test.groups] == [own.tolist() for own in second.test.groups]
    assert (first.family, first.test.points, first.test.at_least) == (second.family, second.test.points, second.test.at_least)


@pytest.mark.parametrize("seed", range(5))
def test_what_pairs_gain_does_not_depend_on_the_order_of_adding_up(seed):
    """What differs between kernels and numbers of threads is the order of the places: none may change a bit, or the last digit decides."""
    rng = np.random.default_rng(seed)
    kind, present = rng.integers(0, 3, 3001), rng.random((40, 3001)) < rng.random((40, 1))
    weights = Places(np.arange(3001), kind, np.arange(3001)).weights(rng.random(3001) < 0.7).astype(np.float32)
    found = _together(present.astype(np.float32), weights)
    both = present[:, None] & present
    np.testing.assert_allclose(found, (both * weights.astype(np.float64)).sum(2), atol=1e-6)
    order = rng.permutation(3001)
    assert np.array_equal(_together(present[:, order].astype(np.float32), weights[order]), found)

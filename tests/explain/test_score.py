"""Scores are what counting by hand gives, and their intervals hold the truth about as often as they say."""

import math

import numpy as np
import pytest

from hooke.explain.rules.search import NEAR_MISS, POSITIVE, RANDOM
from hooke.explain.score import balanced, near_only


def by_hand(holds, kind) -> float:
    rates = []
    for wanted, right in ((POSITIVE, True), (NEAR_MISS, False), (RANDOM, False)):
        own = [h == right for h, k in zip(holds, kind, strict=True) if k == wanted]
        rates.append(sum(own) / len(own) if own else None)
    negative = [rate for rate in rates[1:] if rate is not None]
    return (rates[0] + sum(negative) / len(negative)) / 2


@pytest.mark.parametrize("kinds", [(0, 1, 2), (0, 1), (0, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_balanced_accuracy_by_hand(kinds, seed):
    rng = np.random.default_rng(seed)
    kind = rng.choice(kinds, 200)
    holds, doc = rng.random(200) < 0.3 + 0.4 * (kind == POSITIVE), rng.integers(0, 40, 200)
    found = balanced(holds, kind, doc)
    assert found.value == pytest.approx(by_hand(holds.tolist(), kind.tolist()))
    assert (found.positives, found.negatives) == ((kind == POSITIVE).sum(), (kind != POSITIVE).sum())
    assert 0 <= found.low <= found.value <= found.high <= 1
    if NEAR_MISS in kinds:
        alone = kind != RANDOM
        assert near_only(holds, kind) == pytest.approx(by_hand(holds[alone].tolist(), kind[alone].tolist()))
    else:
        assert near_only(holds, kind) is None


def test_places_in_documents_of_their_own_give_wilson_combined_as_newcombe_does():
    kind = np.repeat([POSITIVE, RANDOM], [40, 60])
    holds = np.zeros(100, bool)
    holds[:30], holds[40:49] = True, True
    found = balanced(holds, kind, np.arange(100))

    def wilson(p, n):
        z = 1.96
        middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return middle - half, middle + half

    (a, b), (c, d) = wilson(0.75, 40), wilson(0.85, 60)
    assert found.value == pytest.approx(0.8)
    assert found.low == pytest.approx(0.8 - math.hypot(0.75 - a, 0.85 - c) / 2)
    assert found.high == pytest.approx(0.8 + math.hypot(b - 0.75, d - 0.85) / 2)


def test_places_of_one_document_count_for_less():
    kind = np.repeat([POSITIVE, RANDOM], [200, 200])
    rng = np.random.default_rng(0)
    by_document = rng.random(40) < 0.7
    doc = np.arange(400) % 40
    holds = np.where(kind == POSITIVE, by_document[doc], False)
    together, apart = balanced(holds, kind, doc), balanced(holds, kind, np.arange(400))
    assert together.value == apart.value
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    kind, doc = np.repeat([POSITIVE, RANDOM], [60, 60]), np.arange(120) // 3
    held = 0
    for _ in range(400):
        chance = np.where(kind == POSITIVE, 0.8, 0.2)
        tilt = rng.choice([-0.15, 0.15], 40)[doc]  # documents differ
        found = balanced(rng.random(120) < chance + tilt, kind, doc)
        held += found.low <= 0.8 <= found.high
    assert 0.92 < held / 400 <= 1


def test_all_right_is_not_certain():
    found = balanced(np.array([True] * 10 + [False] * 10), np.repeat([POSITIVE, RANDOM], 10), np.arange(20))
    assert found.value == found.high == 1
    assert 0.7 < found.low < 0.9


def test_no_positives_or_no_negatives():
    for kind in (POSITIVE, RANDOM):
        with pytest.raises(ValueError, match="needs positives and negatives"):
            balanced(np.ones(3, bool), np.full(3, kind), np.arange(3))

"""Planted rules are found, named for what they are and scored on documents they were not made from."""

import numpy as np
import pytest

from hooke.atlas import NO_MEANING
from hooke.explain import Label, Reading, label_feature

DOCS, LENGTH = 160, 30
_COMMON = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "sigma",
    "river",
    "stone",
    "paper",
)


def corpus() -> tuple[Reading, list[str]]:
    """Documents of random words; "bank" and "loan" once in a while, also "police" and numbers."""
    rng = np.random.default_rng(2)
    reading, words = Reading(), []
    for doc in range(DOCS):
        own = [str(word) for word in rng.choice(_COMMON, LENGTH)]
        for word in ("bank", "loan", "police", str(rng.integers(10, 99))):
            if rng.random() < 0.6:
                own[rng.integers(1, LENGTH - 1)] = word
        reading.add([f" {word}" for word in own], doc)
        words += own
    reading.close()
    return reading, words


READING, WORDS = corpus()
DOC = np.arange(len(WORDS)) // LENGTH


def label(rows, values=None) -> Label:
    rows = np.asarray(rows, np.int32)
    return label_feature(READING, rows, np.ones(len(rows), np.float32) if values is None else np.asarray(values, np.float32))


def places(*words: str) -> list[int]:
    return [row for row, word in enumerate(WORDS) if word in words]


def in_score_half(rows) -> int:
    return int(READING.score_half[np.asarray(rows)].sum())


def test_on_exactly_some_words():
    found = label(places("bank", "loan"))
    assert (found.rule, sorted(found.words), found.score) == ("word", ["bank", "loan"], 1.0)
    assert sorted(found.text.split(", ")) == ["bank", "loan"]
    assert found.evidence == in_score_half(places("bank", "loan"))


def test_on_the_word_after():
    rows = [row + 1 for row in places("police") if DOC[row + 1] == DOC[row]]
    found = label(rows)
    assert (found.rule, found.words, found.text, found.score) == ("previous", ["police"], "after police", 1.0)


def test_on_the_word_before():
    rows = [row - 1 for row in places("police") if DOC[row - 1] == DOC[row]]
    found = label(rows)
    assert (found.rule, found.words, found.text, found.score) == ("next", ["police"], "before police", 1.0)


def test_near_a_word():
    rows = sorted({row + n for row in places("police") for n in range(8) if row + n < len(WORDS) and DOC[row + n] == DOC[row]})
    found = label(rows)
    assert (found.rule, found.words, found.text) == ("context", ["police"], "near police")
    # It holds for twelve words and the feature fires on eight, so it is right on all of these and wrong on some silent ones.
    assert found.score is not None
    assert 0.9 < found.score < 1


def test_on_numbers():
    found = label([row for row, word in enumerate(WORDS) if word.isdigit()])
    assert (found.rule, found.text, found.words, found.score) == ("kind", "numbers", ["numbers"], 1.0)


def test_on_the_first_word():
    found = label(np.arange(0, len(WORDS), LENGTH))
    assert (found.rule, found.text) == ("kind", "the first word of a text")


def test_at_random_has_no_meaning():
    for seed in range(5):
        rows = np.flatnonzero(np.random.default_rng(seed).random(len(WORDS)) < 0.05)
        found = label(rows)
        assert (found.text, found.rule) == (NO_MEANING, "none")
        assert found.score is not None
        assert 0.4 < found.score < 0.65


def test_too_rare():
    for rows in ([], [7], places("bank")[:4]):
        found = label(rows)
        assert (found.text, found.rule, found.score, found.words) == ("too rare to name", "none", None, [])


def test_too_rare_in_the_score_half_is_unscored():
    rows = [row for row in places("bank") if not READING.score_half[row]]
    found = label(rows)
    assert (found.text, found.score, found.evidence) == ("bank", None, 0)


def test_the_score_is_of_the_score_half_alone():
    """A rule that holds only on the half it was made from is found out."""
    honest = places("bank")
    rows = sorted(
        [row for row in honest if not READING.score_half[row]]
        + list(np.random.default_rng(0).choice(np.flatnonzero(READING.score_half), 60, replace=False))
    )
    found = label(rows)
    assert found.text == NO_MEANING
    assert found.words == ["bank"]
    assert found.score is not None
    assert found.score < 0.6


def test_weak_firing_is_neither_evidence_nor_silence():
    rows = places("bank", "loan")
    values = [10.0 if WORDS[row] == "bank" else 0.5 for row in rows]
    found = label(rows, values)
    assert (found.text, found.words, found.score) == ("bank", ["bank"], 1.0)
    assert found.evidence == in_score_half(places("bank"))


def test_everywhere_has_no_meaning():
    found = label(np.arange(len(WORDS)))
    assert (found.text, found.score) == (NO_MEANING, 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_the_balanced_accuracy_of_the_rule(seed):
    """Half of the "bank"s and some other words: the rule's rates on the score half, counted by hand."""
    rng = np.random.default_rng(seed)
    rows = sorted([row for row in places("bank") if rng.random() < 0.7] + list(rng.choice(places("river"), 5, replace=False)))
    found = label(rows)
    assert found.rule == "word"
    fired = np.zeros(len(WORDS), bool)
    fired[rows] = True
    match = np.isin(WORDS, found.words)
    half = READING.score_half
    by_hand = (match[half & fired].mean() + (~match[half & ~fired]).mean()) / 2
    assert found.score == pytest.approx(by_hand)

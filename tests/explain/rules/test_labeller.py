"""Planted rules of every kind are found, named for what they are and scored on documents they were not made from."""

import json

import numpy as np
import pytest

from hooke.atlas.records import NO_MEANING, TOO_RARE, Label
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.labeller import MIN_EVIDENCE, Labeller, label_features
from hooke.explain.rules.rule import Rule
from hooke.features.events import Events

DOCS, LENGTH = 160, 40
_COMMON = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "sigma",
    "river",
    "stone",
    "paper",
    "green",
]
_COMMON += ["of", "in", "and", "to"]
_RARE = ("bank", "loan", "police", "Paris", "Madrid", "Rome", "walking", "jumping", "burning", "NATO", "1987", "monday", "friday", "sunday")


def corpus() -> tuple[TokenIndex, list[str]]:
    """Documents of random words, among them some of `_RARE` once or twice."""
    rng = np.random.default_rng(2)
    reading, words = TokenIndex(), []
    for doc in range(DOCS):
        own = [str(word) for word in rng.choice(_COMMON, LENGTH)]
        for word in _RARE:
            if rng.random() < 0.7:
                own[rng.integers(1, LENGTH - 1)] = word
        reading.add([f" {word}" for word in own], doc)
        words += own
    reading.close()
    return reading, words


READING, WORDS = corpus()
LABELLER = Labeller(READING)
DOC = np.arange(len(WORDS)) // LENGTH
NOTHING = np.zeros(0, np.int64)


def label(rows, values=None, misses=NOTHING) -> Label:
    rows = np.asarray(rows, np.int32)
    return LABELLER.label(rows, np.ones(len(rows), np.float32) if values is None else np.asarray(values, np.float32), np.asarray(misses))[0]


def places(*words: str) -> list[int]:
    return [row for row, word in enumerate(WORDS) if word in words]


def beside(rows, step: int) -> list[int]:
    return [row + step for row in rows if 0 <= row + step < len(WORDS) and DOC[row + step] == DOC[row]]


def after(words: tuple[str, ...], before: tuple[str, ...]) -> list[int]:
    return [row for row in places(*words) if row and WORDS[row - 1] in before and DOC[row - 1] == DOC[row]]


@pytest.mark.parametrize(
    ("rows", "kinds", "text"),
    [
        (places("bank"), {"token", "word"}, "the word “bank”"),
        (places("zeta", "paper"), {"token", "word"}, "zeta, paper"),
        (beside(places("police"), 1), {"before"}, "after police"),
        (beside(places("police"), -1), {"after"}, "before police"),
        (places("walking", "jumping", "burning"), {"ending"}, "-ing at the end of words"),
        (places("1987"), {"token", "word", "mark"}, None),
        (places("NATO"), {"token", "word", "mark"}, None),
        (list(range(0, len(WORDS), LENGTH)), {"mark"}, None),
    ],
)
def test_planted_rules_are_found(rows, kinds, text):
    found = label(sorted(rows))
    assert found.kind in kinds
    assert found.token is not None
    assert (found.token.value, found.token.high) == (1.0, 1.0)
    assert found.token.low > 0.8
    assert text is None or found.text in (text, ", ".join(reversed(text.split(", "))))
    assert found.token.positives == READING.score_half[rows].sum()


def test_a_class_of_words_is_named_as_one():
    found = label(places("Paris", "Madrid", "Rome"))
    assert found.token is not None
    assert found.token.value == 1
    assert "capitalised" in found.text or "names" in found.text or "Paris" in found.text or "paris" in found.text


def test_two_things_at_once():
    """The word "of", but only after a Greek letter's name: near misses say that the word alone will not do."""
    rows = after(("of",), ("alpha", "beta", "gamma", "delta"))
    misses = [row for row in places("of") if row not in set(rows)] + beside(places("alpha", "beta", "gamma", "delta"), 1)
    found = label(rows, misses=[row for row in misses if row not in set(rows)])
    assert found.kind in ("both", "points")
    assert found.token is not None
    assert found.token.value == pytest.approx(1, abs=0.01)
    assert found.near == pytest.approx(1, abs=0.01)
    assert {sign[0] for group in Rule.parse(found.rule).groups for sign in group} >= {"before"}


def test_words_near_by():
    rows = sorted({row for n in range(1, 9) for row in beside(places("police"), n)})
    found = label(rows)
    assert found.kind in ("near", "both", "either")
    assert "near police" in found.text
    assert found.token is not None
    assert found.token.value > 0.95


def test_what_a_text_is_on():
    rows = [row for row in range(len(WORDS)) if "bank" in WORDS[max(row - 60, DOC[row] * LENGTH) : row]]
    found = label(rows)
    assert found.kind == "text"
    assert found.token is not None
    assert found.document is not None
    assert found.text == "about bank"
    assert (found.token.value, found.document.value) == (1, 1)


def test_scores_are_what_running_the_rule_on_the_text_gives(monkeypatch):
    """TPR and TNR of the parsed rule, run window by window on pieces; the random places are all of the half, so nothing is drawn."""
    rng = np.random.default_rng(0)
    rows = sorted([row for row in places("bank") if rng.random() < 0.7] + rng.choice(places("river"), 9, replace=False).tolist())
    misses = rng.choice(places("loan", "bank"), 40, replace=False)
    monkeypatch.setattr("hooke.explain.rules.labeller._RANDOM", len(WORDS))
    found, _ = Labeller(READING).label(np.array(rows), np.ones(len(rows), np.float32), misses)
    rule = Rule.parse(found.rule)
    matches = np.concatenate([rule.matches([f" {w}" for w in WORDS[start : start + LENGTH]]) for start in range(0, len(WORDS), LENGTH)])
    half, fired = READING.score_half, np.zeros(len(WORDS), bool)
    fired[rows] = True
    near = np.zeros(len(WORDS), bool)
    near[misses] = True
    tpr, tnr = matches[half & fired].mean(), [(~matches[half & ~fired & own]).mean() for own in (near, np.ones_like(near))]
    assert found.token is not None
    assert found.token.value == pytest.approx((tpr + sum(tnr) / 2) / 2)
    assert found.near == pytest.approx((tpr + tnr[0]) / 2)


def test_at_random_has_no_meaning():
    for seed in range(5):
        found = label(np.flatnonzero(np.random.default_rng(seed).random(len(WORDS)) < 0.05))
        assert (found.text, found.kind) == (NO_MEANING, "none")
        assert found.token is not None
        assert 0.4 < found.token.value < 0.65


def test_shuffled_controls_are_at_chance():
    rng, found = np.random.default_rng(0), []
    for _ in range(70):
        word = str(rng.choice(_COMMON))
        rows = [row for row in places(word) if rng.random() < 0.4]
        found.append(label(rows).control)
    controls = [value for value in found if value is not None]
    assert len(controls) >= 2
    assert abs(np.mean(controls) - 0.5) < 0.06


def test_too_rare():
    for rows in ([], [7], places("bank")[:4]):
        found = label(rows)
        assert (found.text, found.kind, found.token, found.rule) == (TOO_RARE, "none", None, {})


def test_too_rare_in_the_score_half_is_unscored():
    rows = [row for row in places("bank") if not READING.score_half[row]]
    found = label(rows)
    assert (found.text, found.token, found.document) == ("the word “bank”", None, None)
    assert len(rows) >= MIN_EVIDENCE


def test_the_score_is_of_the_score_half_alone():
    """A rule that holds only on the half it was made from is found out."""
    honest = [row for row in places("bank") if not READING.score_half[row]]
    chance = np.random.default_rng(0).choice(np.flatnonzero(READING.score_half), 60, replace=False)
    found = label(sorted([*honest, *chance]))
    assert found.text == NO_MEANING
    assert found.token is not None
    assert found.token.value < 0.6


def test_weak_firing_is_neither_evidence_nor_silence():
    rows = places("bank", "loan")
    values = [10.0 if WORDS[row] == "bank" else 0.5 for row in rows]
    found = label(rows, values)
    assert found.token is not None
    assert (found.text, found.token.value, found.token.positives) == ("the word “bank”", 1.0, READING.score_half[places("bank")].sum())


def test_the_stronger_half_of_the_range_is_scored_beside():
    """The feature fires fully on one word and a third as much at random: the rule is better for the stronger half."""
    bank = places("bank")
    chance = np.setdiff1d(np.random.default_rng(0).choice(len(WORDS), 25, replace=False), bank)
    rows = np.sort(np.concatenate([bank, chance]))
    found = label(rows, np.where(np.isin(rows, bank), 9.0, 3.0))
    assert found.token is not None
    assert found.strong is not None
    assert found.token.value < 0.97 < found.strong
    few = label(bank, [9.0] * 2 + [3.0] * (len(bank) - 2))
    assert (few.token is not None, few.strong) == (True, None)


def test_everywhere_has_no_meaning():
    found = label(np.arange(len(WORDS)))
    assert (found.text, found.token) == (NO_MEANING, None)


def test_the_output_side_is_scored_by_what_follows():
    rows = np.array(beside(places("bank"), -1))
    _, output = LABELLER.label(rows, np.ones(len(rows), np.float32), NOTHING, [" bank", " shore"])
    assert output is not None
    assert (output.text, output.kind, output.rule) == ("promotes bank, shore", "output", {"any": {"next": [" bank", " shore"]}})
    assert output.token is not None
    assert output.token.value == 1
    assert LABELLER.label(rows, np.ones(len(rows), np.float32), NOTHING)[1] is None


def events() -> tuple[Events, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    rows = [np.array([row for row in places(word) if rng.random() < 0.8], np.int32) for word in (*_RARE, *_COMMON)] + [
        np.zeros(0, np.int32)
    ]
    start = np.concatenate([[0], np.cumsum([len(own) for own in rows])])
    misses = [rng.choice(len(WORDS), 30) for _ in rows]
    return Events(start, np.concatenate(rows), rng.random(start[-1]).astype(np.float32)), misses


def test_the_same_for_any_number_of_workers_and_any_block():
    all_events, misses = events()
    n, heard = len(all_events), []
    one = list(label_features(READING, all_events, misses, workers=1, progress=lambda done, of: heard.append((done, of))))
    assert heard == [(done, n) for done in range(1, n + 1)]
    for workers in (2, 5):
        assert list(label_features(READING, all_events, misses, workers=workers)) == one
    start = all_events.start
    low, high = 5, 12
    inside = slice(start[low], start[high])
    part = Events(start[low : high + 1] - start[low], all_events.rows[inside], all_events.values[inside])
    assert list(label_features(READING, part, misses[low:high])) == one[low:high]


def test_labels_are_json():
    all_events, misses = events()
    for found, _ in label_features(READING, all_events, misses, workers=1):
        assert json.loads(json.dumps(found.rule)) == found.rule
        if found.rule:
            assert Rule.parse(found.rule).json() == found.rule

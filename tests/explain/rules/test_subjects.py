"""Subjects compete as signs where there is an encoder, and where there is none nothing changes."""

from unittest import mock

import numpy as np
import pytest

from hooke.errors import Missing
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.labeller import Labeller
from hooke.explain.rules.rule import Rule
from hooke.explain.rules.subjects import Subjects, subject_of, subject_values
from hooke.text import meaning
from hooke.topics import load_topics

TOPICS, _ = load_topics()


class Fake:
    """A sentence encoder for which a text means the topic whose headline or short name it holds."""

    def encode(self, texts):
        out = np.zeros((len(texts), len(TOPICS) + 1), np.float32)
        for row, text in zip(out, texts, strict=True):
            own = [i for i, topic in enumerate(TOPICS) if text == topic.name or text in topic.examples or f"about {topic.short}" in text]
            row[own or [-1]] = 1
            row /= np.linalg.norm(row)
        return out


def about(*topics: str) -> TokenIndex:
    rng = np.random.default_rng(0)
    reading = TokenIndex()
    for doc, topic in enumerate(topics):
        reading.add([f" {word}" for word in rng.choice(["river", "stone", "paper", "green"], 20)] + [f" about {topic}"], doc)
    reading.close()
    return reading


def test_values_are_those_up_to_the_cosine():
    values = subject_values()
    found = [values[number] for number in Subjects(Fake()).of(["said about sport", "of nothing"])[0]]
    assert found
    assert {subject_of(value) for value in found} == {"sport"}
    assert Subjects(Fake()).of(["of nothing"])[0].size == 0
    assert Subjects(Fake()).of([]) == []


def test_a_feature_of_a_subject_is_called_by_it():
    """It fires on single tokens anywhere in texts on sport: no word tells."""
    topics = [["sport", "health", "weather"][n // 2 % 3] for n in range(120)]
    reading = about(*topics)
    rng = np.random.default_rng(1)
    on_sport = np.array([topic == "sport" for topic in topics])[reading.window] & (reading.at < reading.word_start[reading.window + 1] - 1)
    rows = np.flatnonzero(on_sport & (rng.random(len(reading)) < 0.7)).astype(np.int32)
    values, misses = np.ones(len(rows), np.float32), np.zeros(0, np.int64)
    before, _ = Labeller(reading).label(rows, values, misses)
    assert before.kind == "none"
    reading.on_subjects(Subjects(Fake()))
    found, _ = Labeller(reading).label(rows, values, misses)
    assert (found.kind, found.text) == ("subject", "about sport")
    assert found.token is not None
    assert found.token.value > 0.9
    rule = Rule.parse(found.rule)
    assert rule.matches_text([" Ran", " about sport"], Fake())
    assert not rule.matches_text([" Ran", " about health"], Fake())


def test_without_an_encoder_a_rule_of_subjects_says_what_to_install():
    rule = Rule.parse({"any": {"subject": ["sport 0.30"]}})
    with mock.patch.object(meaning, "PACKAGE", "no_such_package"), pytest.raises(Missing, match="hooke\\[semantic\\]"):
        rule.matches([" a"])

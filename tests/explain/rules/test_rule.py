"""Rules run on any text, survive a round trip through JSON, and say the same of a text wherever it is read."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from hooke.errors import BadFile
from hooke.explain.rules.conditions import Conditions, Scratch
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.rule import Rule

PIECES = [" bank", " in", " Paris", " loan", "\n", " the", " walking", " 1987", ".", "ster", " Monday"]
SIGNS = st.sampled_from(
    [
        ("word", "bank"),
        ("token", " Paris"),
        ("before", "in"),
        ("after", "loan"),
        ("class", "place names"),
        ("class before", "prepositions"),
        ("mark", "years"),
        ("near", "bank"),
        ("near class", "finance words"),
        ("text", "the"),
        ("ending", "ing"),
        ("next", " Monday"),
        ("word", "unseen"),
    ]
)
# Values of one slot stand together in the record.
GROUP = st.lists(SIGNS, min_size=1, max_size=4, unique=True).map(lambda own: tuple(sorted(own, key=lambda sign: sign[0])))
PARTS = st.tuples(
    st.lists(st.tuples(GROUP, st.integers(-5, 5)), min_size=1, max_size=4), st.integers(-3, 8), st.integers(1, 9), st.booleans()
)


def rule_of(parts) -> Rule:
    groups, at_least, texts, weighed = parts
    signs = tuple(group for group, _ in groups)
    if weighed:
        return Rule(signs, tuple(points for _, points in groups), at_least, texts)
    return Rule(signs, (1,) * len(signs), len(signs), texts)


@given(PARTS)
def test_json_and_back(parts):
    rule = rule_of(parts)
    again = Rule.parse(json.loads(json.dumps(rule.json())))
    assert again == rule
    assert again.json() == rule.json()


def test_records_are_short():
    assert Rule.parse({"any": {"word": ["bank"]}}).json() == {"any": {"word": ["bank"]}}
    record = {"all": [{"class": ["place names"]}, {"before": ["in"]}], "texts": 3}
    assert Rule.parse(record).json() == record
    record = {"points": [[{"word": ["of"]}, 3], [{"near": ["bank", "loan"]}, -2]], "at_least": 3}
    assert Rule.parse(record).json() == record


@pytest.mark.parametrize(
    ("record", "pieces", "expected"),
    [
        ({"any": {"word": ["minister"]}}, ["The", " mini", "ster", " won"], [0, 1, 1, 0]),
        ({"all": [{"class": ["place names"]}, {"before": ["in"]}]}, ["In", " Paris", " or", " in", " Rome", " Paris"], [0, 1, 0, 0, 1, 0]),
        ({"any": {"near": ["bank"]}}, [" bank"] + [" x"] * 9, [0] + [1] * 8 + [0]),
        ({"any": {"text": ["bank"]}}, [" bank"] + [" x"] * 9, [0] + [1] * 9),
        ({"any": {"text class": ["weekdays"]}}, [" monday", " friday", " sunday", " x"], [0, 0, 0, 1]),
        ({"any": {"next": [" b"]}}, [" a", " b", " b"], [1, 1, 0]),
        ({"any": {"mark": ["years"], "word": ["or"]}}, [" 1987", " or", " if"], [1, 1, 0]),
        (
            {"points": [[{"word": ["of"]}, 1], [{"before": ["bank"]}, 2]], "at_least": 2},
            [" of", " bank", " of", " bank", " x"],
            [0, 0, 1, 0, 1],
        ),
        ({"points": [[{"word": ["of"]}, -1]], "at_least": 0}, [" of", " bank"], [0, 1]),
    ],
)
def test_matches(record, pieces, expected):
    assert Rule.parse(record).matches(pieces).astype(int).tolist() == expected


def test_a_text_matches_by_enough_tokens():
    rule = Rule.parse({"any": {"word": ["bank"]}, "texts": 2})
    assert rule.matches_text([" bank", " a", " bank"])
    assert not rule.matches_text([" bank", " a"])
    assert not rule.matches_text([])


@settings(max_examples=40)
@given(PARTS, st.lists(st.lists(st.sampled_from(PIECES), max_size=30), min_size=1, max_size=4))
def test_new_text_and_a_reading_agree(parts, texts):
    rule = rule_of(parts)
    reading = TokenIndex()
    for doc, pieces in enumerate(texts):
        reading.add(pieces, doc)
    reading.close()
    signs = Conditions(reading)
    test = rule.on(signs)
    alone = [bool(hit) for pieces in texts for hit in rule.matches(pieces)]
    assert test.matches(signs, np.arange(len(reading)), Scratch(signs)).tolist() == alone


def test_a_rule_of_a_reading_has_its_names():
    reading = TokenIndex()
    reading.add(PIECES, 0)
    reading.close()
    signs = Conditions(reading)
    rule = Rule.parse({"all": [{"word": ["bank", "loan"]}, {"class before": ["finance words"]}]})
    assert Rule.of(rule.on(signs), signs, texts=4) == Rule(rule.groups, (1, 1), 2, 4)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"any": []},
        {"any": {}},
        {"all": []},
        {"all": [{"word": ["a"]}, {}]},
        {"any": {"colour": ["red"]}},
        {"any": {"word": ["a", "a"]}},
        {"any": {"word": [1]}},
        {"any": {"word": 3}},
        {"any": {"word": ["a"] * 3 + [str(n) for n in range(600)]}},
        {"any": {"word": [str(n) for n in range(600)]}},
        {"all": [{"word": ["a"]}] * 40},
        {"points": [[{"word": ["a"]}, 1.5]], "at_least": 1},
        {"points": [[{"word": ["a"]}, True]], "at_least": 1},
        {"points": [[{"word": ["a"]}, 10**9]], "at_least": 1},
        {"points": [[{"word": ["a"]}, 1]]},
        {"any": {"word": ["a"]}, "texts": "many"},
        [],
        None,
    ],
)
def test_what_is_no_rule_is_refused(record):
    with pytest.raises(BadFile, match="is no rule"):
        Rule.parse(record)

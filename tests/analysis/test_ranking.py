"""What stands first: features on much of the text, on its own topics, and well named; words apart from subjects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.analysis.ranking import about_standing, diverse, groups_of, persists, standing, validity
from hooke.atlas import NO_MEANING, FeatureTable, Name
from hooke.explain.kinds import kind_of
from hooke.sae.facts import SaeFacts

FACTS = SaeFacts("tiny/resid_post.0/6", "tiny")
shares = st.floats(0, 1)


def table(rules: list[str], labels: list[str], topics: list[list[float]]) -> FeatureTable:
    n = len(rules)
    return FeatureTable(
        np.full(n, 0.01), np.ones(n), labels, rules, [0.9] * n, np.full(n, 50), np.zeros((n, 8)), np.array(topics, np.float32)
    )


def test_names_that_were_tried_are_trusted_by_how_often_they_were_true():
    names = {
        0: Name("elections", "topic", right=12, tried=12),
        1: Name("presidents", "entity", right=1, tried=12),
        2: Name("banks", "topic"),
    }
    often, seldom, untried, unnamed = validity(names, 4)
    assert often > untried == unnamed > seldom > 0
    few = validity({0: Name("elections", "topic", right=1, tried=1)}, 1)[0]
    assert untried < few < often


@given(st.floats(0, 8), shares, shares, shares, st.floats(0.01, 5), st.floats(1, 2))
def test_more_of_anything_never_stands_later(specificity, relative, share, score, valid, factor):
    rank = about_standing(specificity, relative, share, score, valid)
    more = (specificity * factor, min(1, relative * factor), min(1, share * factor), min(1, score * factor), valid * factor)
    assert 0 <= rank <= about_standing(*more) + 1e-9
    assert standing(specificity, relative, score) <= standing(more[0], more[1], more[3]) + 1e-9


def test_groups_come_from_readers_then_from_training_then_from_rules_and_topics():
    rules = ["word", "topic", "mark", "points", "word", "mark"]
    labels = ["bank", "texts on sport", "years", "mostly of, in … near barrels", "rugby", "names inside a sentence"]
    topics = [[0, 0, 0, 0]] * 4 + [[5, 0, 0, 0]] * 2
    own = table(rules, labels, topics)
    assert groups_of(FACTS, own, {}).tolist() == [False, True, False, False, True, False]
    read = {0: Name("banks", "entity"), 1: Name("the word sport", "word"), 4: Name("", "unclear")}
    assert groups_of(FACTS, own, read).tolist() == [True, False, False, False, False, False]
    tried = {0: Name("surnames", "entity", telling=False), 4: Name("rugby", "topic", telling=True), 5: Name("years", "form", telling=True)}
    assert groups_of(FACTS, own, tried).tolist() == [False, True, False, False, True, False]
    grammar = table(["word", "mark"], ["“in”, “of”, “on”", "beginnings of split words"], [[5, 0, 0, 0]] * 2)
    assert groups_of(FACTS, grammar, {}).tolist() == [False, False]
    assert groups_of(FACTS, grammar, {0: Name("", "unclear"), 1: Name("", "unclear")}).tolist() == [False, False]
    trained = SaeFacts("tiny/resid_post.0/6", "tiny", groups={"about": [0, 2], "word": [2, 6]})
    assert groups_of(trained, None, {}).tolist() == [True, True]
    assert groups_of(trained, own, {}).tolist() == [True, True, False, False, False, False]
    assert groups_of(trained, grammar, {}).tolist() == [False, False]
    assert groups_of(trained, own, {1: Name("the word sport", "word"), 4: Name("rugby", "topic")}).tolist() == [True] + [False] * 3 + [
        True,
        False,
    ]
    assert groups_of(FACTS, None, {}) is None
    np.testing.assert_array_equal(persists(np.array([0.1, 0.5])), [False, True])


@pytest.mark.parametrize(
    ("name", "rule", "label", "kind"),
    [
        (Name("prices rising", "topic"), "word", "by", "topic"),
        (None, "topic", "texts on sport", "topic"),
        (None, "points", "mostly words in texts with court", "topic"),
        (None, "mark", "years", "form"),
        (None, "word", "by", "grammar"),
        (None, "word", "minister", "word"),
        (None, "none", NO_MEANING, "unclear"),
        (None, None, None, None),
    ],
)
def test_kinds(name, rule, label, kind):
    assert kind_of(name, rule, label) == kind


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 4)), max_size=30), st.integers(1, 8))
def test_diverse_takes_the_best_and_at_most_two_a_token(ranked, top):
    items = [(rank, pos, number) for number, (rank, pos) in enumerate(ranked)]
    chosen = diverse(items, top)
    assert len(chosen) <= top
    assert len(set(chosen)) == len(chosen)
    for pos in range(5):
        own = [number for number in chosen if ranked[number][1] == pos]
        assert len(own) <= 2
        if own and len(chosen) < top:  # nothing better on that token was passed over
            assert (
                min(ranked[number][0] for number in own) >= sorted((rank for rank, at in ranked if at == pos), reverse=True)[len(own) - 1]
            )


@pytest.mark.parametrize(
    ("titles", "kept"),
    [
        (["farming", "farms and farming", "weather"], ["farming", "weather"]),
        (["Australia, Australian", "Australia", "news from Australia"], ["Australia, Australian"]),
        (["war and the military", "the military", "police forces"], ["war and the military", "police forces"]),
        (["sports and competitions", "sports matches", "football and team sports", "news"], ["sports and competitions", "news"]),
        (["US national politics", "political parties", "presidents and political leaders"],) * 2,
        (["Europe", "European names", "Asia"], ["Europe", "Asia"]),
        (["cars", "cards", "carnivals"], ["cars", "cards", "carnivals"]),
        (["politics", "police"], ["politics", "police"]),
        (["the word 'of'", "", ""], ["the word 'of'", "", ""]),
    ],
)
def test_names_that_say_again_what_stands_there_are_left_out(titles, kept):
    ranked = [(float(len(titles) - n), n, title) for n, title in enumerate(titles)]
    assert diverse(ranked, 6, title=str) == kept
    assert diverse(ranked, 6) == titles


@given(st.lists(st.sampled_from(["war", "wars", "peace and war", "sport", "rugby and sport", "the law"]), max_size=6))
def test_of_names_left_out_each_is_said_by_one_that_stays(titles):
    ranked = [(float(-n), n, title) for n, title in enumerate(titles)]
    kept = diverse(ranked, 6, title=str)
    assert kept == [title for title in dict.fromkeys(titles) if title in kept]
    for title in titles:
        assert any(title == other or diverse([(1.0, 0, other), (0.0, 1, title)], 2, title=str) == [other] for other in kept)

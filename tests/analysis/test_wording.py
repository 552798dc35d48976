"""Numbers and steps as they are shown."""

import math
from dataclasses import replace

import pytest

from hooke.analysis import wording
from hooke.analysis.result import Analysis, Hit


def fired(relative: float, activations: dict[int, float]) -> Hit:
    peak = max(activations, key=lambda pos: activations[pos])
    return Hit("a/resid_post.1/b/2", "a/resid_post.1/b", 2, None, None, None, 0, activations[peak], relative, 1.0, "x", peak, activations)


@pytest.mark.parametrize(("share", "step"), [(0.001, 1), (0.2, 1), (0.201, 2), (0.4, 2), (0.6, 3), (0.8, 4), (0.81, 5), (1.0, 5), (1.7, 5)])
def test_steps_are_fifths_of_the_maximum(share: float, step: int) -> None:
    assert wording.steps(fired(share, {3: share * 50})) == {3: step}


def test_steps_without_a_known_maximum_take_the_peak() -> None:
    for unknown in (0.0, math.nan, -1.0):
        assert wording.steps(fired(unknown, {0: 10.0, 1: 5.0, 2: 0.0})) == {0: 5, 1: 3}


def test_numbers() -> None:
    assert [wording.number(v) for v in (None, math.nan, 0, 3, 49.66, 0.012345, 1234567.8)] == [
        "not measured",
        "not measured",
        "0",
        "3",
        "49.7",
        "0.0123",
        "1\u202f234\u202f568",
    ]
    assert [wording.percent(v) for v in (None, 0.004, 1.12, -0.5)] == ["not measured", "0\u202f%", "112\u202f%", "−50\u202f%"]
    assert [wording.count(n, "text") for n in (0, 1, 2)] == ["0 texts", "1 text", "2 texts"]
    assert [wording.clipped(v) for v in (-1.0, 0.5, 2.0, math.nan)] == [0.0, 0.5, 1.0, 0.0]
    assert [wording.site(s) for s in ("resid_post.12", "elsewhere", None)] == ["layer 12, resid_post", "elsewhere", "None"]


@pytest.mark.parametrize(
    ("value", "places", "method", "said"),
    [
        (0.934, 128, "extractive", "0.93 on 128 places · extractive"),
        (0.52, 64, "none", "0.52 on 64 places · no name held up"),
        (0.934, 1, None, "0.93 on 1 places · method not stated"),
        (None, 0, "extractive", "unscored · extractive"),
        (math.nan, 0, "extractive", "unscored · extractive"),
    ],
)
def test_a_score_never_stands_alone(value: float | None, places: int, method: str | None, said: str) -> None:
    assert wording.rule_score(Hit("a/1", "a", 1, "loans", value, method, places, 1.0, 0.5, 3.0, "x", 0)) == said


def test_strongest_first(analysis: Analysis) -> None:
    text = analysis.texts[0]
    assert [token for token, _ in wording.strongest(text.features[0], text.tokens)] == [" rates", " bank", " inflation"]
    assert [wording.past_maximum(hit) for hit in analysis.texts[2].features] == [True, False]


def of_word(name: str, pos: int, kind: str = "word") -> Hit:
    return Hit("a/1", "a", 1, name, 0.95, "word", 128, 1.0, 0.5, 3.0, "x", pos, {pos: 1.0}, kind=kind, group="words")


def test_features_of_words_stand_behind_their_words_in_the_order_of_the_text() -> None:
    tokens = ["Bank", " len", "ders", " talk"]
    hits = [of_word("loans", 2), of_word("the word 'money'", 3), of_word("banking", 0), of_word("people who lend", 1), of_word("loans", 1)]
    assert wording.by_word(hits, wording.Words(tokens)) == [
        ("Bank", ["banking"]),
        ("lenders", ["loans", "people who lend"]),
        ("talk", ["like 'money'"]),
    ]


def test_what_only_says_the_word_again_and_letters_are_left_out_where_there_is_more() -> None:
    tokens, again, letters = [" wins", " votes"], of_word("the word 'win'", 0), of_word("words beginning with 'vo'", 1, "form")
    assert wording.by_word([again, letters, of_word("victories", 0)], wording.Words(tokens)) == [("wins", ["victories"])]
    assert wording.by_word([again, letters], wording.Words(tokens)) == [
        ("wins", ["the word 'win'"]),
        ("votes", ["words beginning with 'vo'"]),
    ]


def test_grammar_and_what_fires_on_its_words_are_left_out_where_there_is_more() -> None:
    tokens = ["The", " banks", " lend", "."]
    of_grammar, on_grammar, sign = of_word("nouns of the plural", 1, "grammar"), of_word("'the' before firms", 0), of_word("ends", 3)
    cut = wording.Words(tokens)
    assert wording.by_word([of_grammar, on_grammar, sign, of_word("loans", 2)], cut) == [("lend", ["loans"])]
    assert wording.by_word([of_grammar, on_grammar, sign], cut) == [
        ("The", ["'the' before firms"]),
        ("banks", ["nouns of the plural"]),
        (".", ["ends"]),
    ]


def test_what_a_text_is_about_is_pale_on_words_of_grammar_and_keeps_its_tint_elsewhere() -> None:
    words = wording.Words([" divorce", " after", " years", " of", " marriage"])
    hit = replace(fired(0.9, {0: 3.0, 1: 6.0, 3: 9.0, 4: 5.0}), group="about")
    assert wording.tints(hit, words) == {0: 2, 1: 1, 3: 1, 4: 3}
    assert wording.tints(replace(hit, group="words"), words) == wording.steps(hit)
    nothing_else = replace(hit, activations={1: 6.0, 3: 9.0})
    assert wording.tints(nothing_else, words) == wording.steps(nothing_else)


def test_a_name_that_is_not_to_be_relied_on_says_so() -> None:
    hit = Hit("a/1", "a", 1, "loans", 0.55, "word", 128, 1.0, 0.5, 3.0, "x", 0, {0: 1.0}, group="words")
    assert wording.by_word([hit], wording.Words(["Bank"])) == [("Bank", ["loans (seldom fits)"])]
    assert wording.by_word([hit, of_word("banking", 0)], wording.Words(["Bank"])) == [("Bank", ["banking"])]  # where there is more


def test_the_word_of_a_row_and_its_tokens_are_the_same() -> None:
    tokens = [" to", " len", "ders", " now"]
    hit = Hit("a/1", "a", 1, "bank", 0.9, "word", 4, 3.0, 1.0, 3.0, " to", 0, {0: 3.0, 1: 2.0, 2: 1.0})
    words = wording.Words(tokens)
    assert "".join(tokens[pos] for pos in words.tokens_of(hit)).strip() == words.of(hit) == "lenders"


def test_the_word_of_a_row_is_where_its_feature_sets_in_and_not_where_it_stays_on() -> None:
    words = wording.Words(["Nurses", " strike", " at", " London", " hospitals"])
    hit = Hit("a/1", "a", 1, "medicine", 0.9, "topic", 4, 1914.0, 0.5, 3.0, " at", 2, {0: 1047.0, 2: 1914.0, 3: 1646.0, 4: 692.0})
    assert words.of(hit) == "Nurses"

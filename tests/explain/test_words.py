"""Names that quote words: what they say a feature fires on, and whether it does, on planted truth and against counting by hand."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import planted
import pytest
from hypothesis import given

from hooke import tiny
from hooke.analysis import Options, Reader
from hooke.analysis.fired_words import fired_words
from hooke.atlas.feature import Context, Feature, TokenShare
from hooke.explain.llm.words import FEWEST, complaint, heard, quoted


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("the word 'bank'", {"bank"}),
        ('the word "don\'t"', {"don", "'", "t"}),
        ("'and' and 'or' in lists", {"and", "or"}),
        ("'the' after 'into' and 'to'", {"the"}),
        ("'Mr.' before a name", {"mr", "."}),
        ("the letters 'cap' and 'cam'", {"cap", "cam"}),
        ("the verb 'say'", {"say", "said"}),
        ("nouns just before 'of'", None),
        ("words that 'to' follows", None),
        ("words like 'bank'", None),
        ("people's ages", None),
        ("'his' and other possessives", None),
        ("'to' or 'for' in other languages", None),
        ("rocket launches", None),
    ],
)
def test_what_a_name_says_in_quotation_marks(name, words):
    said = quoted(name)
    assert (said.words if said else None) == words


def test_forms_of_a_word_are_that_word_and_pieces_where_pieces_are_meant():
    drop, carry, cap = quoted("the word 'drop'"), quoted("the verb 'carry'"), quoted("the letters 'cap'")
    assert [word for word in ("drop", "drops", "dropped", "dropping", "drip", "dropsy") if drop.on(word)] == [
        "drop",
        "drops",
        "dropped",
        "dropping",
    ]
    assert [word for word in ("carried", "carries", "carriage", "car") if carry.on(word)] == ["carried", "carries"]
    assert [word for word in ("capital", "cap", "map", "drop") if cap.on(word)] == ["capital", "cap"]


@given(st.text(max_size=40))
def test_any_name_is_taken_apart(name):
    said = quoted(name)
    assert said is None or (said.words and all(said.on(word) for word in said.words))


def place(word: str, strength: float) -> Context:
    return Context([" the", f" {word}", " fell"], [0.0, strength, 0.0], 1, "news", 0, 0)


def feature(places: list[Context], histogram: list[int] | None = None, tokens: list[TokenShare] | None = None) -> Feature:
    return Feature("s/0", 0.1, 10.0, None, histogram=histogram or [], tokens=tokens or [], intervals=[places])


def test_a_name_is_belied_by_places_by_tokens_and_by_counts_in_text():
    mixed = [place(word, 5.0) for word in ["debt"] * 8 + ["bank"] * 3]
    own = heard(feature(mixed), 0, "the word 'bank'")
    assert own is not None
    assert (own.belied, own.places, own.right, own.share) == (True, 11, 3, pytest.approx(3 / 11))
    assert own.words == [("debt", 8), ("bank", 3)]
    assert complaint(own) == "FIRES ON debt 8, bank 3\nNOT the word 'bank'"
    kept = heard(feature(mixed), 0, "the word 'debt'")
    assert kept is not None
    assert not kept.belied
    tokens = [TokenShare(" debt", 60, 0.4, 1.0), TokenShare(" Bank", 30, 0.1, 1.0)]
    by_token = heard(feature([], tokens=tokens), 0, "the word 'bank'")
    assert by_token is not None
    assert (by_token.share, by_token.belied, by_token.words) == (pytest.approx(0.2), True, [("debt", 60), ("bank", 30)])
    counted = heard(feature(mixed), 0, "the word 'bank'", Counter(bank=FEWEST))
    assert counted is not None
    assert (counted.share, counted.belied) == (1.0, False)


def test_what_is_too_little_says_nothing():
    few = heard(feature([place("debt", 5.0)] * (FEWEST - 1)), 0, "the word 'bank'", Counter(debt=FEWEST - 1))
    assert few is not None
    assert (few.share, few.belied) == (None, False)
    assert heard(feature([place("debt", 5.0)] * 20), 0, "money") is None


def test_places_count_for_as_many_as_there_are_of_their_strength():
    """An atlas keeps as many of the few strong places as of the many weak ones; the estimate is that of counting them all."""
    rng = np.random.default_rng(1)
    strengths = np.concatenate([rng.uniform(2.5, 4, 900), rng.uniform(8, 10, 100)])
    words = np.where(strengths > 5, "bank", "debt")
    histogram = np.histogram(strengths, 50, (0, 10))[0].tolist()
    weak, strong = (np.flatnonzero(words == word)[:6] for word in ("debt", "bank"))
    own = heard(feature([place(str(words[i]), float(strengths[i])) for i in (*weak, *strong)], histogram), 0, "the word 'bank'")
    assert own is not None
    assert own.right == 6
    assert own.of_places == pytest.approx(np.mean(words == "bank"), abs=0.02)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    path = planted.write(tmp_path_factory.mktemp("words") / "atlas.sqlite", sealed=True)
    return Reader(tiny.model(), [tiny.sae()], Options(), atlas=path)


def test_words_counted_in_texts_are_those_that_were_planted(reader):
    texts = ["the bank and the loan", "Rain after the storm; the bank says profit", "", "a mayor in court"] * 3
    finance, weather, dead = 0, 2, tiny.D_SAE - 1
    found = fired_words(reader, texts, dict.fromkeys((finance, weather, dead), planted.STRENGTH / 4))
    assert found == {finance: Counter(bank=6, loan=3, profit=3), weather: Counter(rain=3, storm=3), dead: Counter()}

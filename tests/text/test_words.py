"""Words do not depend on how the tokenizer cut them, and each kind of token is what its name says."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.text.words import TOKEN_KINDS, kinds, words_of

# Pieces as tokenizers make them: a run of spaces or one leading space, then letters and digits, or one other sign.
PIECES = st.lists(st.from_regex(r" ?([a-zA-Zé0-9]{1,5}|[.,'£\n-])| {1,3}", fullmatch=True), max_size=15)


@given(PIECES)
def test_every_piece_has_a_word_and_words_come_in_order(pieces: list[str]) -> None:
    words, index = words_of(pieces)
    assert len(index) == len(pieces)
    assert index == sorted(index)
    assert sorted(set(index)) == list(range(len(words)))
    for number, word in enumerate(words):
        own = "".join(piece for piece, i in zip(pieces, index, strict=True) if i == number)
        assert own.strip(" ").lower() == word or own == word


@given(PIECES)
def test_words_are_those_of_the_joined_text(pieces: list[str]) -> None:
    words, _ = words_of(pieces)
    assert [word for word in words if word.strip(" ")] == re.findall(r"[^\W_]+|[^\w ]", "".join(pieces).lower())


@given(st.text("abcXYZ019", min_size=1, max_size=12), st.lists(st.integers(1, 11)))
def test_a_word_cut_anywhere_is_one_word(word: str, cuts: list[int]) -> None:
    at = [0, *sorted({cut for cut in cuts if cut < len(word)}), len(word)]
    pieces = [word[start:stop] for start, stop in itertools.pairwise(at)]
    assert words_of([" ", *pieces])[0][-1] == word.lower()
    assert words_of(pieces) == ([word.lower()], [0] * len(pieces))


def test_no_pieces_are_no_words() -> None:
    assert words_of([]) == ([], [])
    assert words_of([""]) == ([""], [0])


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (" Bank", {"capitalised words"}),
        (" BANK", {"words in capitals"}),
        ("NASA", {"words in capitals"}),
        (" A", set()),
        (" bank", set()),
        ("ing", {"parts inside words"}),
        ("42", {"numbers"}),
        (" 5", {"numbers"}),
        ("5th", {"numbers"}),
        (".", {"punctuation"}),
        (" —", {"punctuation"}),
        ("\n", {"line breaks"}),
        (".\n", {"punctuation", "line breaks"}),
        (" ", set()),
        ("", set()),
        (" Ärzte", {"capitalised words"}),
        (" мир", {"non-Latin script"}),
        ("мир", {"non-Latin script", "parts inside words"}),
        (" МИР", {"non-Latin script", "words in capitals"}),
        ("漢字", {"non-Latin script"}),
        (" ẞ", set()),
        (" Ǥood", {"capitalised words"}),
    ],
)
def test_kinds(piece: str, expected: set[str]) -> None:
    assert {kind for kind, is_one in zip(TOKEN_KINDS, kinds(piece), strict=True) if is_one} == expected


@given(st.text(max_size=6))
def test_any_text_has_its_kinds(piece: str) -> None:
    found = dict(zip(TOKEN_KINDS, kinds(piece), strict=True))
    assert all(type(value) is bool for value in found.values())
    assert not (found["capitalised words"] and found["words in capitals"])
    assert not (found["numbers"] and found["punctuation"])

"""A passage tells of each token its word and its marks, from the text alone."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from hooke.explain.rules.token_marks import MARKS, names_of, token_marks

PIECES = st.lists(
    st.sampled_from([" ", "a", " the", "The", "\n", "\n\n", " (", ")", '"', "1", " 19", ".", ",", "$", " %", "    ", "é", "д", "-", ""])
)


def marked(pieces: list[str], mark: str) -> list[str]:
    """The pieces that have `mark`."""
    return [piece for piece, marks in zip(pieces, token_marks(pieces).marks, strict=True) if mark in names_of(marks)]


def test_a_lone_space_belongs_to_the_number_after_it():
    found = token_marks(["In", " ", "1", "9", "8", "7", ","])
    assert (found.words, found.index) == (["in", "1987", ","], [0, 1, 1, 1, 1, 1, 2])


@pytest.mark.parametrize(
    ("pieces", "mark", "expected"),
    [
        (["Won", " 12", " Bank"], "numbers", [" 12"]),
        ([" a", ",", "\n"], "punctuation", [","]),
        ([" a", ",", "\n\n"], "line breaks", ["\n\n"]),
        (["NATO", " Bank", " x", "I"], "words in capitals", ["NATO"]),
        (["NATO", " Bank", " x", " I"], "capitalised words", [" Bank", " I"]),
        ([" день", " день", " day"], "Cyrillic letters", [" день", " день"]),
        ([" 日本", " の", " 한국"], "scripts other than Latin", [" 日本", " の", " 한국"]),
        ([" café", " cafe"], "letters with accents", [" café"]),
        (["One", " two", "\n", "Three", " four"], "first words of a line", ["One", "Three"]),
        (["One", " two", "\n", "Three", " four"], "last words of a line", [" two"]),
        (["Mr", ".", " Smith", " left", ".", " He", " ran", "!", " Why"], "first words of a sentence", ["Mr", " He", " Why"]),
        (["Mr", ".", " Smith", " left", "."], "names inside a sentence", [" Smith"]),
        (["We", " saw", " John", " Smith"], "second words of a name", [" Smith"]),
        ([" mini", "ster", "ial", " won"], "beginnings of split words", [" mini"]),
        ([" mini", "ster", "ial", " won"], "middles of split words", ["ster"]),
        ([" mini", "ster", "ial", " won"], "ends of split words", ["ial"]),
        ([" in", " 1987", " or", " 3987"], "years", [" 1987"]),
        (["the", " 3rd"], "ordinal numbers", [" 3rd"]),
        ([" $", "3", ".", "5", " or", " 7"], "amounts of money", ["3", "5"]),
        ([" 3", ".", "5", " pct", " of", " 7", "%"], "percentages", [" 3", "5", " 7"]),
        ([" 3", ".", "5"], "decimals", ["5"]),
        ([" 1", "9", "8", ","], "last digits of numbers", ["8"]),
        ([" 5", " mln", " dlrs"], "words after a number", [" mln"]),
        ([" U", ".", "S", ".", " Navy"], "initials and abbreviations", [" U", ".", "S", "."]),
        ([" well", "-", "known", " man"], "hyphenated words", [" well", "-", "known"]),
        ([" he", ' "', "Hi", " you", '"', " said"], "quoted text", ["Hi", " you"]),
        ([" a", " (", "b", " c", ")", " d", " (", " e"], "text in brackets", ["b", " c"]),
        (["x", "\n", "    ", "return", "\n", "prose"], "code", ["    ", "return"]),
        (["-", " one", "\n", "two"], "items of a list", ["-", " one"]),
        (["#", " Title", "\n", "text"], "headings and lines in capitals", ["#", " Title"]),
    ],
)
def test_marks(pieces, mark, expected):
    assert marked(pieces, mark) == expected


@given(PIECES)
def test_any_pieces_have_a_word_and_marks_each(pieces):
    found = token_marks(pieces)
    assert len(found.index) == len(found.marks) == len(pieces)
    assert all(0 <= word < len(found.words) for word in found.index)
    assert found.index == sorted(found.index)
    assert all(0 <= marks < 1 << len(MARKS) for marks in found.marks)


def test_a_long_line_takes_no_long_time():
    assert len(token_marks(["(", "=", ")", "_", "x"] * 2_000).marks) == 10_000

"""A reading holds, for every token, its piece, its word's place, its marks, its window and its document."""

import numpy as np

from hooke.explain.rules.corpus_index import Numbering, TokenIndex
from hooke.explain.rules.token_marks import token_marks

TEXTS = [["The", " mini", "ster", " won"], [" Won", "!"], ["le", " chat", " est", " sur", " la", " table", " de", " la", " maison"]]


def read(*texts: list[str]) -> TokenIndex:
    reading = TokenIndex()
    for doc, pieces in enumerate(texts):
        reading.add(pieces, doc)
    reading.close()
    return reading


def test_arrays_say_what_the_passages_say():
    reading = read(*TEXTS)
    assert len(reading) == sum(map(len, TEXTS))
    row = 0
    for window, pieces in enumerate(TEXTS):
        found = token_marks(pieces)
        start = reading.word_start[window]
        assert [reading.vocabulary.texts[n] for n in reading.words[start : reading.word_start[window + 1]]] == found.words
        for token, piece in enumerate(pieces):
            assert reading.pieces.texts[reading.piece[row]] == piece
            assert reading.at[row] - start == found.index[token]
            assert (reading.marks[row], reading.window[row], reading.doc[row]) == (found.marks[token], window, window)
            row += 1
    assert reading.token_start.tolist() == [0, 4, 6, 15]


def test_odd_documents_are_the_score_half():
    reading = read(*TEXTS)
    assert reading.score_half.tolist() == [False] * 4 + [True] * 2 + [False] * 9


def test_a_window_without_tokens_and_a_reading_without_windows():
    reading = read([], [" bank"])
    assert (len(reading), reading.window.tolist()) == (1, [1])
    assert len(read()) == 0


def test_numbering():
    numbers = Numbering(["a"])
    assert [numbers.add(text) for text in "abab"] == [0, 1, 0, 1]
    assert (numbers.find("b"), numbers.find("c"), numbers.texts, len(numbers)) == (1, -1, ["a", "b"], 2)


def test_word_tables_are_by_number():
    reading = read([" walking", " Paris"])
    walking = reading.vocabulary.find("walking")
    assert reading.endings.texts[reading.ending[walking]] == "ing"
    assert reading.beginnings.texts[reading.beginning[walking]] == "walk"
    paris = reading.vocabulary.find("paris")
    assert reading.class_start[paris + 1] - reading.class_start[paris] >= 2
    assert np.all(np.diff(reading.class_start) >= 0)

"""A reading holds, for every token, its word and the words around it."""

import numpy as np

from hooke.explain.reading import BACK, Reading
from hooke.text.words import TOKEN_KINDS


def read(*texts: list[str]) -> Reading:
    reading = Reading()
    for doc, pieces in enumerate(texts):
        reading.add(pieces, doc)
    reading.close()
    return reading


def words(reading: Reading, numbers: np.ndarray) -> list[str | None]:
    return [None if n < 0 else reading.vocabulary[n] for n in numbers]


def test_words_around_each_token():
    reading = read(["The", " mini", "ster", " won"], [" Won", "!"])
    assert words(reading, reading.word) == ["the", "minister", "minister", "won", "won", "!"]
    assert words(reading, reading.previous) == [None, "the", "the", "minister", None, "won"]
    assert words(reading, reading.next) == ["minister", "won", "won", None, "!", None]
    assert len(reading) == 6


def test_context_is_the_token_and_what_came_before_in_its_own_window():
    long = [f" w{chr(97 + i)}" for i in range(BACK + 3)]
    reading = read([" other"], long)
    assert words(reading, reading.context[1]) == ["wa"] + [None] * (BACK - 1)
    assert words(reading, reading.context[-1]) == [piece.strip() for piece in long[: -BACK - 1 : -1]]


def test_halves_are_documents_and_disjoint():
    reading = read(*([f" word{chr(97 + n)}"] * (n + 1) for n in range(6)))
    assert reading.sizes == [1 + 3 + 5, 2 + 4 + 6]
    label, score = (set(rows.tolist()) for rows in reading.sample)
    assert not label & score
    assert all(not reading.score_half[row] for row in label)
    assert all(reading.score_half[row] for row in score)
    for half in (False, True):
        counts = np.bincount(reading.word[reading.score_half == half], minlength=len(reading.vocabulary))
        np.testing.assert_array_equal(reading.totals["word"][half], counts)


def test_kinds_and_first_words():
    reading = read(["12", " Bank"], [" £"])
    named = [[kind for kind, is_one in zip((*TOKEN_KINDS, "first"), row, strict=True) if is_one] for row in reading.kind]
    assert named == [["numbers", "first"], ["capitalised words"], ["punctuation", "first"]]


def test_context_share_counts_rows_not_words():
    reading = read([" a", " a", " b"])
    share = dict(zip(reading.vocabulary, reading.context_share, strict=True))
    assert share == {"a": 1.0, "b": 1 / 3}


def test_a_window_without_tokens_adds_nothing():
    reading = Reading()
    reading.add([], 0)
    reading.add([" bank"], 1)
    reading.close()
    assert words(reading, reading.word) == ["bank"]

"""Words: which plain words stand in which texts, the first thing to hold features against."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from hooke.differences.statistics import log_odds

_WORD = re.compile(r"[^\W\d_]{2,}(?:['’][^\W\d_]+)?")
_PRIOR = 1000.0
"""Counts that the prior is worth: all texts' word frequencies, so many words of them (Monroe et al. 2008)."""


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters: at least two letters, no digits.

    >>> words_of("Rates held at 4.5% -- the bank's view")
    ['rates', 'held', 'at', 'the', "bank's", 'view']
    """
    return _WORD.findall(text.lower())


def count_words(texts: Sequence[str], least: int) -> tuple[Any, list[str]]:
    """``[text, word]``, scipy's compressed rows: how often each word stands in each text; and the words that `least` texts have."""
    counted = [Counter(words_of(text)) for text in texts]
    had = Counter(word for own in counted for word in own)
    vocabulary = sorted(word for word, n in had.items() if n >= least)
    place = {word: i for i, word in enumerate(vocabulary)}
    entries = [(n, place[word], times) for n, own in enumerate(counted) for word, times in own.items() if word in place]
    row, column, value = (np.array(part, np.int64) for part in zip(*entries, strict=True)) if entries else (np.zeros(0, np.int64),) * 3
    return sparse.csr_matrix((value.astype(np.int32), (row, column)), shape=(len(texts), len(vocabulary))), vocabulary


def word_odds(counts: Any, in_a: Bool[np.ndarray, " text"], in_b: Bool[np.ndarray, " text"]) -> tuple[np.ndarray, np.ndarray]:
    """`log_odds` of every word between two sets of texts, the prior being the words of both."""
    a, b = (np.asarray(counts[own].sum(0)).ravel().astype(float) for own in (in_a, in_b))
    both = a + b + 0.01
    return log_odds(a, b, _PRIOR * both / both.sum())


def word_scores(
    counts: Any, in_a: Bool[np.ndarray, " text"], in_b: Bool[np.ndarray, " text"], first: Bool[np.ndarray, " text"]
) -> Float[np.ndarray, " text"]:
    """How far each text's words speak for the one set: the mean log-odds ratio of its words, learnt on the half it is not in.

    `first` says which half a text is in; so no text judges itself.
    """
    score = np.zeros(counts.shape[0])
    length = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
    for half in (first, ~first):
        odds, _ = word_odds(counts, in_a & half, in_b & half)
        score[~half] = (counts @ odds / length)[~half]
    return score

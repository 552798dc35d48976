"""Fired words: on which words of some texts features are clearly active, and how often."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hooke.analysis.reader import Reader
from hooke.text.words import words_of


def fired_words(
    reader: Reader, texts: Iterable[str], least: Mapping[int, float], progress: Callable[[int], None] = lambda _: None
) -> dict[int, Counter[str]]:
    """For each feature of the reader's first SAE how often it reaches `least` of it on which word, in lower case, token by token.

    `progress` is told how many texts were read.
    """
    labelled = reader.labelled_saes[0]
    limit = np.full(labelled.sae.d_sae, np.inf)
    limit[list(least)] = list(least.values())
    counts = {index: Counter[str]() for index in least}
    for number, glance in enumerate(reader.glance(texts), 1):
        progress(number)
        if not glance.fired:
            continue
        words, word_at = words_of(reader.model.tokenizer.pieces(glance.ids, begins=True))
        feature, pos, value = glance.fired[0].events
        strong = value >= limit[feature]
        for index, at in zip(feature[strong].tolist(), pos[strong].tolist(), strict=True):
            counts[index][words[word_at[at]]] += 1
    return counts

"""Texts of the planted model whose classes are its concepts; imported by tests, no test itself."""

import random

from hooke import tiny
from hooke.evals.labelled import Labelled

CLASSES = ("finance", "weather", "music")
_FILLER = ("the", "new", "week", "says", "after", "two", "year", "of", "in", "last")


def planted(each: int = 24, seed: int = 0, words: int = 2) -> Labelled:
    """`each` texts of each class: a few neutral words with `words` of the class's own between them."""
    order = random.Random(seed)
    pairs = []
    for label in CLASSES:
        for _ in range(each):
            text = order.choices(_FILLER, k=order.randrange(4, 12)) + order.choices(tiny.concepts[label], k=words)
            order.shuffle(text)
            pairs.append((" ".join(text), [label]))
    order.shuffle(pairs)
    return Labelled.of(pairs, "planted")

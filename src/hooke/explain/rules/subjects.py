"""Subjects: which of the news industry's topics a text is on, by a sentence encoder, as signs that a rule may look for."""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np

_STEPS = tuple(step / 100 for step in range(15, 55, 5))
"""Cosines from which on a text can be called one of a subject; which of them serves a feature best is for the search to say."""


@runtime_checkable
class SentenceEncoder(Protocol):
    """What `hooke.text.meaning.MiniLM` does."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """``[text, d]``: a unit vector for each text."""
        ...


@cache
def subject_values() -> tuple[str, ...]:
    """All there is to say of a text's subject: a topic and how near to it the text must be, as in ``sport 0.30``."""
    from hooke.topics import load_topics  # which loads torch; to name a subject needs none of it

    return tuple(f"{topic.short} {step:.2f}" for topic in load_topics()[0] for step in _STEPS)


def subject_of(value: str) -> str:
    """The topic of one of `subject_values`.

    >>> subject_of("sport 0.30")
    'sport'
    """
    return value.rpartition(" ")[0]


class Subjects:
    """Tells texts' subjects: how near each text is to the headlines that were written for each topic."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        """Reads the topics' headlines."""
        from hooke.topics import load_topics

        topics, _ = load_topics()
        self._encoder = encoder
        means = np.stack([encoder.encode([topic.name, *topic.examples]).mean(0) for topic in topics])
        self._topics = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)

    def of(self, texts: Sequence[str]) -> list[np.ndarray]:
        """For each text the numbers of the `subject_values` that are true of it: those up to its cosine with the topic."""
        if not texts:
            return []
        cosine = np.round(self._encoder.encode(texts) @ self._topics.T, 6)
        near = cosine[:, :, None] >= np.array(_STEPS)
        return [np.flatnonzero(own).astype(np.int32) for own in near.reshape(len(texts), -1)]

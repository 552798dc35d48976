"""Piles of texts in the planted model's words, of which so many speak of one of its concepts."""

import random

from hooke import tiny

NEUTRAL = ["the", "old", "week", "after", "new", "day", "before", "last", "year", "into", "next", "one", "under", "two"]


def pile(concept: str, texts: int, share: float, seed: int) -> list[str]:
    """So many texts of neutral words; that `share` of them has a word of the concept."""
    rng = random.Random(seed)
    out: list[str] = []
    while len(out) < texts:
        words = rng.sample(NEUTRAL, 7)
        if len(out) < share * texts:
            words[rng.randrange(1, 6)] = rng.choice(tiny.concepts[concept][:7])
        if (text := " ".join(words)) not in out:
            out.append(text)
    return out

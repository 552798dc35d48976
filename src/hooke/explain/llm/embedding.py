"""Embedding: whether a name means what the texts say in which its feature fires, by a sentence encoder; no reader, no cost."""

from collections.abc import Callable, Mapping

import numpy as np

from hooke.atlas import Atlas
from hooke.explain.llm.sheet import texts
from hooke.text.meaning import MiniLM

_FEWEST = 4
_BLOCK = 64


def embedding_scores(atlas: Atlas, sae: str, names: Mapping[int, str], progress: Callable[[int, int], None]) -> dict[int, float]:
    """For each feature, by index, the AUROC of the cosine between its name and held-out texts: where it is clearly active, or near misses.

    The texts are those of the score half that the atlas keeps; features with fewer than `_FEWEST` of either kind get no score. Raises
    `Missing` where no encoder is installed.
    """
    encoder, found, order = MiniLM(), {}, sorted(names)
    for start in range(0, len(order), _BLOCK):
        progress(start, len(order))
        block = [(index, texts(atlas.feature(f"{sae}/{index}"))) for index in order[start : start + _BLOCK]]
        vectors = encoder.encode([names[index] for index, _ in block] + [place.text for _, own in block for place in own])
        at = len(block)
        for row, (index, own) in enumerate(block):
            cosine, active = vectors[at : at + len(own)] @ vectors[row], np.array([place.active for place in own], bool)
            at += len(own)
            if min(active.sum(), (~active).sum()) >= _FEWEST:
                found[index] = auroc(cosine[active], cosine[~active])
    return found


def auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The chance that one of `positives` is larger than one of `negatives`, equals counting half."""
    difference = positives[:, None] - negatives[None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)

"""What an atlas would know of the tiny SAE, written down from what was planted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hooke import tiny
from hooke.atlas import BACKGROUND_STEPS, Atlas, Feature, FeatureRow, SaeEntry
from hooke.sae import Sae

TEXTS = 1000
"""Background texts."""
TOPICS = [*tiny.concepts, "none"]
STRENGTH = 8.0
"""What a concept's feature reaches on each of its words."""
N_ALIVE = 55
"""The features after these are dead."""
_RARE = (40, 30, 20, 12, 8, 5, 3, 1)


def score(index: int) -> float:
    """Label score of concept `index`: 0.95 and falling."""
    return round(0.95 - 0.05 * index, 2)


def row(name: str, index: int) -> FeatureRow:
    weights = np.zeros(len(TOPICS))
    if index < tiny.UBIQUITOUS:
        concept = list(tiny.concepts)[index]
        weights[index] = 24
        feature = Feature(f"{name}/{index}", 0.02, STRENGTH, concept, "word", score(index), 50 + index, [concept], [], [])
        return FeatureRow(feature, index, np.array(_RARE), weights)
    if index == tiny.UBIQUITOUS:
        weights[-1] = 12  # what every text has says none, until a concept says more
        density, largest, texts = 1.0, 3.2, TEXTS
    elif index < N_ALIVE:
        density, largest, texts = 0.04, 3.2, 900
    else:
        density, largest, texts = 0.0, 0.0, 0
    feature = Feature(f"{name}/{index}", density, largest, "too rare to name" if texts == 0 else None, None, None, 0, [], [], [])
    return FeatureRow(feature, index, np.full(BACKGROUND_STEPS, texts), weights)


def write(path: Path, saes: Sequence[Sae] = ()) -> Path:
    """An atlas of `saes` (the tiny one) at `path`; index by index they mean the same."""
    entries = []
    for sae in saes or [tiny.sae()]:
        mean = 3 * sae.W_dec[tiny.UBIQUITOUS].numpy()  # what all tokens share
        entry = SaeEntry(0, sae.name, {"background_texts": TEXTS}, mean)
        entries.append((entry, [row(sae.name, index) for index in range(sae.d_sae)]))
    Atlas.write(path, {"model": "tiny", "topics": TOPICS}, entries)
    return path

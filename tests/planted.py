"""What an atlas would know of the tiny SAE, written down from what was planted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hooke import tiny
from hooke.atlas import BACKGROUND_STEPS, TOO_RARE, AtlasWriter, FeatureRecord, Label, SaeEntry, Score
from hooke.atlas.records import HISTOGRAM_BINS, QUANTILES
from hooke.sae import Sae, digest

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


def record(index: int, **known: object) -> FeatureRecord:
    """A record of feature `index` with nothing in it but what is `known`."""
    blank = {
        "count": 0,
        "density": 0.0,
        "max": 0.0,
        "mean": 0.0,
        "quantiles": np.zeros(len(QUANTILES)),
        "histogram": np.zeros(HISTOGRAM_BINS, np.int64),
        "documents": 0,
        "persistence": 0.0,
        "commonest": 0.0,
        "purity": (0.0, 0.0, 0.0),
        "label": Label("", "none"),
        "output": None,
        "background": np.zeros(BACKGROUND_STEPS),
        "topics": np.zeros(0),
    }
    lists = ("tokens", "top", "intervals", "misses", "promoted", "suppressed", "neighbours", "together")
    return FeatureRecord(index, **(blank | {name: [] for name in lists} | known))


def planted(index: int) -> FeatureRecord:
    weights = np.zeros(len(TOPICS))
    if index < tiny.UBIQUITOUS:
        concept = list(tiny.concepts)[index]
        weights[index] = 24
        value = score(index)
        label = Label(concept, "word", {"words": [concept]}, Score(value, value - 0.1, min(1.0, value + 0.1), 50 + index, 80))
        return record(index, density=0.02, max=STRENGTH, label=label, background=np.array(_RARE), topics=weights)
    if index == tiny.UBIQUITOUS:
        weights[-1] = 12  # what every text has says none, until a concept says more
        density, largest, texts = 1.0, 3.2, TEXTS
    elif index < N_ALIVE:
        density, largest, texts = 0.04, 3.2, 900
    else:
        density, largest, texts = 0.0, 0.0, 0
    label = Label(TOO_RARE if texts == 0 else "", "none")
    return record(index, density=density, max=largest, label=label, background=np.full(BACKGROUND_STEPS, texts), topics=weights)


def write(path: Path, saes: Sequence[Sae] = (), *, sealed: bool = False) -> Path:
    """An atlas of `saes` (the tiny one) at `path`; index by index they mean the same. If `sealed` it knows their weights."""
    with AtlasWriter(path, {"model": "tiny", "topics": TOPICS}) as writer:
        for sae in saes or [tiny.sae()]:
            mean = 3 * sae.W_dec[tiny.UBIQUITOUS].numpy()  # what all tokens share
            entry = SaeEntry(sae.name, digest(sae) if sealed else "", sae.d_sae, {"background_texts": TEXTS}, mean)
            writer.sae(entry, map(planted, range(sae.d_sae)))
        return writer.finish()

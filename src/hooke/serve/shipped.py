"""Shipped: the short texts that come with Hooke, read once an SAE, so that every feature has places in text that it was not named from."""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from hooke.atlas import Feature
from hooke.atlas.feature import Context
from hooke.atlas.records import INTERVALS
from hooke.names import FeatureName
from hooke.serve.schema import Fresh, Stretch
from hooke.topics import load_topics

if TYPE_CHECKING:
    from hooke.analysis import Reader

CHUNK = 32
"""Texts read at one go: other work comes in between."""
_FEW, _MISSES, _OFTEN = 3, 4, 0.05
"""Places shown of each fifth of a feature's range, and where it might have fired and did not; the share of its activation from which on
a token counts as one that it often fires on."""


@cache
def shipped_texts() -> tuple[tuple[str, str], ...]:
    """Each text with what it is: every other headline of every topic, and everyday sentences. All would keep people waiting."""
    topics, none = load_topics()
    sentences = (files("hooke") / "neutral.txt").read_text("utf-8").splitlines()
    headlines = [(text, f"headline, {topic.short}") for topic in topics for text in topic.examples[::2]]
    return (*headlines, *((text, "line") for text in none), *((text, "sentence") for text in sentences if text.strip()))


class ShippedReading:
    """What the features of one SAE do in these texts, as far as they are read."""

    def __init__(self, reader: "Reader", pieces: list[list[str]]) -> None:
        """`reader` reads with the SAE alone; `pieces` are the tokens of each text."""
        self._reader, self._pieces = reader, pieces
        self._events: list[tuple[np.ndarray, ...]] = []
        self._sorted: tuple[np.ndarray, ...] | None = None

    def read(self) -> Iterator[int]:
        """Read on where an earlier reader left off; gives how many texts are read, every `CHUNK`."""
        texts = [text for text, _ in shipped_texts()]
        for glance in self._reader.glance(texts[len(self._events) :]):
            fired = glance.fired[0].events if glance.fired else (np.zeros(0, np.int64),) * 2 + (np.zeros(0, np.float32),)
            text = np.full(len(fired[0]), len(self._events), np.int32)
            self._events.append((fired[0].astype(np.int32), text, fired[1].astype(np.int32), fired[2].astype(np.float32)))
            if len(self._events) % CHUNK == 0:
                yield len(self._events)
        if self._sorted is None:
            columns = [np.concatenate(column) for column in zip(*self._events, strict=True)]
            order = np.argsort(columns[0], kind="stable")
            self._sorted = tuple(column[order] for column in columns)
            self._events = [()] * len(self._events)

    def of(self, feature: Feature) -> Fresh:
        """Where `feature` fires in them, from strong to weak, and where it might have and did not. All has to be read."""
        assert self._sorted is not None
        index = FeatureName.parse(feature.name).index
        low, high = np.searchsorted(self._sorted[0], [index, index + 1])
        _, text, pos, value = (column[low:high] for column in self._sorted)
        # The strongest place of each text in which it fires; texts by that, strongest first.
        order = np.lexsort((-value, text))
        first = order[np.flatnonzero(np.diff(text[order], prepend=-1))]
        first = first[np.argsort(-value[first], kind="stable")]
        most = max(feature.max, float(value.max(initial=0.0)), 1e-9)
        fifth = np.minimum((INTERVALS * value[first] / most).astype(int), INTERVALS - 1)
        every = np.minimum((INTERVALS * value / most).astype(int), INTERVALS - 1)
        stretches = []
        for i in reversed(range(INTERVALS)):
            mine = first[fifth == i]
            some = mine[np.unique(np.linspace(0, len(mine) - 1, min(_FEW, len(mine))).round().astype(int))] if len(mine) else mine
            passages = [self._context(int(text[at]), int(pos[at]), pos[text == text[at]], value[text == text[at]]) for at in some]
            share = float((every == i).mean()) if len(every) else None
            stretches.append(Stretch(most * i / INTERVALS, most * (i + 1) / INTERVALS, share, passages))
        tokens = sum(map(len, self._pieces))
        return Fresh(len(self._pieces), tokens, len(first), len(value), stretches, self._misses(feature, set(text.tolist())))

    def _misses(self, feature: Feature, fired: set[int]) -> list[Context]:
        """Texts that have a token on which it often fires, and in which it is silent."""
        wanted = {token.text.strip().casefold() for token in feature.tokens if token.share >= _OFTEN} - {""}
        found: list[Context] = []
        for at, pieces in enumerate(self._pieces):
            pos = next((i for i, piece in enumerate(pieces) if piece.strip().casefold() in wanted), None)
            if pos is not None and at not in fired and len(found) < _MISSES:
                found.append(self._context(at, pos, np.zeros(0, int), np.zeros(0)))
        return found

    def _context(self, text: int, peak: int, pos: np.ndarray, value: np.ndarray) -> Context:
        values = np.zeros(len(self._pieces[text]))
        values[pos] = value
        return Context(self._pieces[text], [round(one, 3) for one in values.tolist()], peak, shipped_texts()[text][1], text, 0)

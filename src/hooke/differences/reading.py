"""Reading: a pile of texts through a model and its SAEs, kept as one sparse row a text; nothing else of a text stays in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt
from scipy import sparse

from hooke.analysis.reader import Reader

_EDGE = 10
"""One token in so many, at either end of a text, is its edge: bylines, datelines, how a piece is signed."""
REPORT_EVERY = 64


@dataclass(frozen=True)
class Pile:
    """What a model made of some texts: for each the features that fired."""

    value: Any
    """``[text, feature]``, compressed rows, float32: activations over the text's tokens, the mean."""
    peak: UInt[np.ndarray, " nnz"]
    """On which of the text's tokens each entry of `value` was strongest."""
    inside: Bool[np.ndarray, " nnz"]
    """Of each entry of `value` whether the feature fired elsewhere than at the text's edges."""
    topic: list[str | None]
    """The topic of each text."""
    tokens: Int[np.ndarray, " text"]
    """Tokens of each text."""
    acts: Float[np.ndarray, "text d_in"]
    """Mean activation of each text, where the first SAE reads."""
    offsets: list[int]
    """The first column of each SAE."""

    @cached_property
    def by_feature(self) -> Any:
        """`value` once more, in compressed columns: what is asked of one feature after the other would go through all of it each time."""
        return self.value.tocsc()

    def take(self, rows: np.ndarray) -> "Pile":
        """The same of some of the texts."""
        numbered = self.value.copy()
        numbered.data = np.arange(1, len(self.peak) + 1, dtype=np.float64)
        kept = numbered[rows].data.astype(np.int64) - 1
        topic = [self.topic[n] for n in rows.tolist()]
        return Pile(self.value[rows], self.peak[kept], self.inside[kept], topic, self.tokens[rows], self.acts[rows], self.offsets)


def read_pile(reader: Reader, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None) -> Pile:
    """Read `texts`; `progress` is told how many are done."""
    offsets = np.concatenate([[0], np.cumsum([one.sae.d_sae for one in reader.labelled_saes])]).tolist()
    features, values, peaks, insides = [], [], [], []
    topics: list[str | None] = []
    tokens, acts, ends = [], [], [0]
    for n, one in enumerate(reader.glance(texts), 1):
        edge = -(-one.tokens // _EDGE)
        for offset, found in zip(offsets, one.fired, strict=False):
            feature, pos, _ = found.events
            inner = np.isin(found.feature, feature[(pos >= edge) & (pos < one.tokens - edge)])
            features.append((found.feature + offset).astype(np.int32))
            values.append(found.pooled.astype(np.float32))
            peaks.append(found.pos.astype(np.uint16))
            insides.append(inner)
        ends.append(ends[-1] + sum(len(found.feature) for found in one.fired))
        topics.append(one.topic)
        tokens.append(one.tokens)
        acts.append(one.acts)
        if n % REPORT_EVERY == 0 or n == len(texts):
            progress(n)
    # Each list goes as it is joined: for many texts they are large.
    joined = []
    for parts in (values, features, peaks, insides):
        joined.append(np.concatenate(parts))
        parts.clear()
    data, column, peak, inside = joined
    value = sparse.csr_matrix((data, column, np.array(ends, np.int64)), shape=(len(texts), offsets[-1]))
    return Pile(value, peak, inside, topics, np.array(tokens, np.int64), np.stack(acts), offsets[:-1])

"""Reading: a pile of texts through a model and its SAEs, kept as one sparse row a text; nothing else of a text stays in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt
from scipy import sparse

from hooke.analysis.judge import Judge
from hooke.analysis.reader import Reader
from hooke.devices import hand_back_memory

_EDGE = 10
"""One token in so many, at either end of a text, is its edge: bylines, datelines, how a piece is signed."""
_LARGEST = float(np.finfo(np.float16).max)
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
    strongest: Float[np.ndarray, " nnz"]
    """Of each entry of `value` the largest activation, in half precision."""
    count: UInt[np.ndarray, " nnz"]
    """Of each entry of `value` how many tokens the feature is active on."""
    place: list[Float[np.ndarray, "text direction"]]
    """Of each SAE where each text lies among others, by which names are judged (`Judge.place`)."""
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
        return Pile(
            value=self.value[rows],
            peak=self.peak[kept],
            inside=self.inside[kept],
            strongest=self.strongest[kept],
            count=self.count[kept],
            place=[own[rows] for own in self.place],
            topic=topic,
            tokens=self.tokens[rows],
            acts=self.acts[rows],
            offsets=self.offsets,
        )

    def entries(self, feature: int, texts: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
        """Where in `value` the column `feature` of each of `texts` stands; all of them have it."""
        starts, ends = self.value.indptr[texts], self.value.indptr[texts + 1]
        own = np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])
        return own[self.value.indices[own] == feature]


def read_pile(reader: Reader, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None) -> Pile:
    """Read `texts`; `progress` is told how many are done."""
    offsets = np.concatenate([[0], np.cumsum([one.sae.d_sae for one in reader.labelled_saes])]).tolist()
    kept = column, value, peak, inside, strongest, times = [
        _Growing(dtype) for dtype in (np.int32, np.float32, np.uint16, np.bool_, np.float16, np.uint16)
    ]
    judges = [Judge(one) for one in reader.labelled_saes]
    place = [np.zeros((len(texts), one.directions), np.float32) for one in judges]
    topics: list[str | None] = []
    tokens, ends = np.zeros(len(texts), np.int64), np.zeros(len(texts) + 1, np.int64)
    acts = np.empty((len(texts), reader.labelled_saes[0].sae.d_in), np.float32)
    for n, one in enumerate(reader.glance(texts, around=True), 1):
        edge = -(-one.tokens // _EDGE)
        for k, (offset, found) in enumerate(zip(offsets, one.fired, strict=False)):
            feature, pos, _ = found.events
            inner = np.isin(found.feature, feature[(pos >= edge) & (pos < one.tokens - edge)])
            entries = (found.feature + offset, found.pooled, found.pos, inner, np.minimum(found.peak, _LARGEST), found.count)
            for growing, own in zip(kept, entries, strict=True):
                growing.add(own)
            place[k][n - 1] = judges[k].place(found, one.tokens)
        ends[n], tokens[n - 1], acts[n - 1] = len(column), one.tokens, one.acts
        topics.append(one.topic)
        if n % REPORT_EVERY == 0 or n == len(texts):
            progress(n)
    table = sparse.csr_matrix((value.whole(), column.whole(), ends), shape=(len(texts), offsets[-1]))
    hand_back_memory()
    return Pile(
        value=table,
        peak=peak.whole(),
        inside=inside.whole(),
        strongest=strongest.whole(),
        count=times.whole(),
        place=place,
        topic=topics,
        tokens=tokens,
        acts=acts,
        offsets=offsets[:-1],
    )


class _Growing:
    """Values added one after another to one array: millions of small ones would take twice the memory."""

    def __init__(self, dtype: Any) -> None:
        self._held, self._count = np.empty(1 << 16, dtype), 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: np.ndarray) -> None:
        """Put `values` behind what is there."""
        end = self._count + len(values)
        if end > len(self._held):
            self._held.resize(max(end, len(self._held) * 5 // 4), refcheck=False)
        self._held[self._count : end], self._count = values, end

    def whole(self) -> np.ndarray:
        """All of them; nothing can be added any more."""
        self._held.resize(self._count, refcheck=False)
        return self._held

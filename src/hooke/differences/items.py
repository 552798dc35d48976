"""Items: what a text can have or not have, features, topics and words, as one sparse table; made without a look at the groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from scipy import sparse

from hooke.differences.reading import Pile
from hooke.differences.result import Kind
from hooke.differences.statistics import fisher

_ATTAINABLE = 5e-4
"""A column of which even the most uneven share among the groups would have a larger p is not tested: it could not be found."""
_FEWEST = 5
MOSTLY = 0.5
"""From how likely on a name counts as right of a text, and in how many of its texts it must be right to be used."""


@dataclass(frozen=True)
class Items:
    """What was tested: a column is a thing that a text has or has not."""

    present: Any
    """``[text, column]``, compressed columns, int8 of 0 and 1."""
    kind: list[Kind]
    """What sort of thing each column is."""
    key: list[str]
    """A topic's name or a word; empty for a feature."""
    feature: Int[np.ndarray, " column"]
    """A feature's column in the texts' codes, a word's in their counts; −1 for a topic."""
    usual: Bool[np.ndarray, " column"]
    """Of which columns "has it" means more than the median text."""
    by_name: Bool[np.ndarray, " column"]
    """Of which columns "has it" means that the feature's name is likely right of the text."""

    def texts(self, column: int) -> np.ndarray:
        """The texts that have it."""
        return self.present.indices[self.present.indptr[column] : self.present.indptr[column + 1]]


def items_of(pile: Pile, counts: Any, vocabulary: Sequence[str], smallest: int, likely: Any = None) -> Items:
    """Everything that enough of the texts have, and enough have not; `smallest` is the size of the smallest group.

    A text has a feature if the feature fires in it. A feature that fires in more than half of the texts tells nothing that way: of such a
    text has it if its mean activation is above that of the median text. By `likely`, how likely the names of some features are right of
    texts, what they are called is tested as well: a text has it if its name is more likely right of it than not.
    """
    texts = pile.value.shape[0]
    least = fewest(texts, smallest)
    value, usual, cut = pile.by_feature, np.diff(pile.by_feature.indptr) > texts / 2, np.zeros(pile.value.shape[1], np.float32)
    for column in np.flatnonzero(usual).tolist():
        own = value.data[value.indptr[column] : value.indptr[column + 1]]
        cut[column] = np.median(np.concatenate([own, np.zeros(texts - len(own), own.dtype)]))
    has = sparse.csc_matrix((value.data > np.repeat(cut, np.diff(value.indptr)), value.indices, value.indptr), shape=value.shape)
    names = sorted({topic for topic in pile.topic if topic})
    topics = sparse.csc_matrix(np.array([[topic == name for name in names] for topic in pile.topic], bool).reshape(texts, len(names)))
    nameless = [""] * value.shape[1]
    tables: list[tuple[Kind, Any, Sequence[str], bool]] = [
        ("feature", has, nameless, False),
        ("topic", topics, names, False),
        ("word", (counts > 0).tocsc(), vocabulary, False),
    ]
    if likely is not None:
        tables.insert(0, ("feature", likely > MOSTLY, nameless, True))
    kinds: list[Kind] = []
    keys, places, columns, common, meant = [], [], [], [], []
    for kind, table, own_keys, by_name in tables:
        had = np.asarray(table.sum(0)).ravel()
        kept = np.flatnonzero((had >= least) & (had <= texts - least))
        kinds.extend(kind for _ in kept)
        keys += [own_keys[i] for i in kept.tolist()]
        places.append(kept if kind != "topic" else np.full(len(kept), -1))
        common.append(usual[kept] if kind == "feature" and not by_name else np.zeros(len(kept), bool))
        meant.append(np.full(len(kept), by_name))
        own = table[:, kept].astype(np.int8)
        own.eliminate_zeros()
        columns.append(own)
        del own
    del has, tables
    present: Any = sparse.hstack(columns, format="csc")
    columns.clear()
    present.sort_indices()
    return Items(present, kinds, keys, np.concatenate(places).astype(np.int64), np.concatenate(common), np.concatenate(meant))


def fewest(texts: int, smallest: int) -> int:
    """How many texts must have a thing for a difference in it to be findable at all (Tarone 1990)."""
    had = np.arange(_FEWEST, max(_FEWEST + 1, min(smallest, 40)))
    found = fisher(had, smallest, np.zeros_like(had), texts - smallest) <= _ATTAINABLE
    return int(had[np.argmax(found)] if found.any() else had[-1])

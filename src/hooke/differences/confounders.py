"""Confounders: what else the groups may differ in, each tested by itself, and what becomes of a finding when it is held fixed."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from hooke.differences.grouping import Comparison, Grouped
from hooke.differences.items import Items
from hooke.differences.reading import Pile
from hooke.differences.statistics import LEVEL, fisher, stratified_difference
from hooke.differences.testing import count

SOURCES = ("source", "outlet", "publisher", "site", "newspaper")
"""Fields that are taken to say where a text is from, if no other is named."""
_STRATA = 5
_RUN, _SHARED = 8, 3
"""Words in a row, in so many texts, that make these boilerplate."""

Holds = Callable[[Comparison, np.ndarray], list[bool | None]]
"""Whether the differences of some columns stay, when something is held fixed."""


@dataclass(frozen=True)
class Check:
    """Something to hold fixed."""

    name: str
    """What it is called."""
    said: str
    """What was measured and how it is held fixed."""
    measure: Float[np.ndarray, " text"]
    """What is measured of each text."""
    unit: Literal["tokens", "share"]
    """In what."""
    holds: Holds
    """Whether differences stay."""


def checks(items: Items, pile: Pile, grouped: Grouped, source: str | None) -> list[Check]:
    """Length, source, duplicates, boilerplate and position, those of them that these texts have."""
    repeated, shared = ~first_of_each(grouped.texts), boilerplate(grouped.texts)
    found = [
        Check(
            "length",
            f"tokens of a text; compared within {_STRATA} classes of length",
            pile.tokens.astype(float),
            "tokens",
            within(items.present, quantiles(pile.tokens, _STRATA)),
        )
    ]
    if named := _source(grouped, source):
        codes = _codes([str(own.get(named)) for own in grouped.fields])
        mixed = _mixed(codes, grouped.group)
        found.append(
            Check(
                "source",
                f"{named}; compared within each. Listed: texts whose {named} has texts of several groups",
                mixed.astype(float),
                "share",
                within(items.present, codes) if mixed.any() else lambda _, columns: [None] * len(columns),
            )
        )
    left_out = (
        ("duplicates", "texts that repeat an earlier one letter for letter; left out", repeated),
        ("boilerplate", f"texts with {_RUN} words in a row that {_SHARED} texts or more, and 1 % or more, share; left out", shared),
    )
    found += [Check(name, said, own.astype(float), "share", without(items.present, own)) for name, said, own in left_out]
    edges = np.array([1 - own.mean() if len(own) else 0 for own in np.split(pile.inside, pile.value.indptr[1:-1])], float)
    said = "features that fire only in the first or last tenth of a text; not counted there"
    return [*found, Check("position", said, edges, "share", _inside(items, pile))]


def within(present: Any, strata: Int[np.ndarray, " text"]) -> Holds:
    """Differences within strata."""
    spread = sparse.csr_matrix((np.ones(len(strata), np.int32), (strata, np.arange(len(strata)))))

    def holds(comparison: Comparison, columns: np.ndarray) -> list[bool | None]:
        own = present[:, columns]
        sides: list[np.ndarray] = []
        for rows in (comparison.in_a, comparison.in_b):
            part = spread[:, rows]
            sides += [np.asarray((part @ own[rows]).todense()), np.asarray(part.sum(1)).ravel()]
        if not ((sides[1] > 0) & (sides[3] > 0)).any():
            return [None] * len(columns)
        fixed = stratified_difference(*sides)
        return _stays(count(own, comparison.in_a), count(own, comparison.in_b), comparison, fixed.value, fixed.p)

    return holds


def without(present: Any, rows: Bool[np.ndarray, " text"]) -> Holds:
    """Differences with some texts left out."""

    def holds(comparison: Comparison, columns: np.ndarray) -> list[bool | None]:
        own = present[:, columns]
        if not rows.any():
            return [True] * len(columns)
        a, b = count(own, comparison.in_a & ~rows), count(own, comparison.in_b & ~rows)
        return _fresh(comparison, own, a, b, int((comparison.in_a & ~rows).sum()), int((comparison.in_b & ~rows).sum()))

    return holds


def _inside(items: Items, pile: Pile) -> Holds:
    """Differences in features with what fires at the texts' edges alone left out; of words and topics nothing is said."""
    table = pile.by_feature
    kept = sparse.csr_matrix((pile.inside, pile.value.indices, pile.value.indptr), shape=table.shape).tocsc().data
    inside = sparse.csc_matrix((kept, table.indices, table.indptr), shape=table.shape)  # one set of places for both

    def holds(comparison: Comparison, columns: np.ndarray) -> list[bool | None]:
        out: list[bool | None] = [None] * len(columns)
        at = [i for i, column in enumerate(columns.tolist()) if items.kind[column] == "feature"]
        if at:
            own = items.present[:, columns[at]]
            kept = own.multiply(inside[:, items.feature[columns[at]]]).tocsc()
            a, b = count(kept, comparison.in_a), count(kept, comparison.in_b)
            told = _fresh(comparison, own, a, b, int(comparison.in_a.sum()), int(comparison.in_b.sum()))
            for i, value in zip(at, told, strict=True):
                out[i] = value
        return out

    return holds


def _fresh(comparison: Comparison, own: Any, a: np.ndarray, b: np.ndarray, n_a: int, n_b: int) -> list[bool | None]:
    if not n_a or not n_b:
        return [None] * own.shape[1]
    p = fisher(a, n_a, b, n_b)
    return _stays(count(own, comparison.in_a), count(own, comparison.in_b), comparison, a / n_a - b / n_b, p)


def _stays(a: np.ndarray, b: np.ndarray, comparison: Comparison, value: np.ndarray, p: np.ndarray) -> list[bool | None]:
    before = a / comparison.in_a.sum() - b / comparison.in_b.sum()
    return [bool(kept) for kept in (before * value > 0) & (p < LEVEL)]


def quantiles(values: np.ndarray, parts: int) -> Int[np.ndarray, " text"]:
    """Which of `parts` classes of about equal size each value falls in; equal values fall in one."""
    edges = np.unique(np.quantile(values, np.arange(1, parts) / parts))
    return np.searchsorted(edges, values, side="right")


def first_of_each(texts: Sequence[str]) -> Bool[np.ndarray, " text"]:
    """Which texts are the first with their letters and digits."""
    seen: set[str] = set()
    first = []
    for text in texts:
        bare = re.sub(r"[\W_]+", "", text.lower())
        first.append(bare not in seen)
        seen.add(bare)
    return np.array(first, bool)


def boilerplate(texts: Sequence[str]) -> Bool[np.ndarray, " text"]:
    """Which texts have a run of words that many different texts share."""

    def runs(text: str) -> set[int]:
        words = text.lower().split()
        return {hash(tuple(words[i : i + _RUN])) for i in range(len(words) - _RUN + 1)}

    first = first_of_each(texts)
    shared = Counter(run for text, fresh in zip(texts, first, strict=True) if fresh for run in runs(text))
    least = max(_SHARED, len(texts) / 100)
    common = {run for run, n in shared.items() if n >= least}
    return np.array([bool(common and not common.isdisjoint(runs(text))) for text in texts], bool)


def _source(grouped: Grouped, named: str | None) -> str | None:
    """The field that says where texts are from."""
    for name in (named,) if named else SOURCES:
        if len({str(own.get(name)) for own in grouped.fields if own.get(name) not in (None, "")}) > 1:
            return name
    return None


def _codes(labels: Sequence[str]) -> np.ndarray:
    return np.unique(np.array(labels), return_inverse=True)[1]


def _mixed(codes: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which texts are of a source that has texts of several groups."""
    pairs = np.unique(np.stack([codes, group]), axis=1)
    return np.bincount(pairs[0], minlength=codes.max() + 1)[codes] > 1

"""Testing: every item of every comparison, on all texts or on some of them; by texts, by pairs, by families, or along a trend."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from hooke.differences.again import LEAST, chance_again
from hooke.differences.grouping import Comparison, Grouped
from hooke.differences.permutation import PERMUTATIONS, flip_test, permutation_test
from hooke.differences.result import Replication
from hooke.differences.statistics import (
    LEVEL,
    Interval,
    clustered_difference,
    clustered_paired_difference,
    difference,
    fisher,
    paired_difference,
    q_values,
    sign_test,
)


@dataclass(frozen=True)
class Tested:
    """One comparison of every item."""

    a: Int[np.ndarray, " column"]
    """Texts of the one group that have each item."""
    b: Int[np.ndarray, " column"]
    """Texts of the other."""
    n_a: int
    """Texts of the one group."""
    n_b: int
    """Texts of the other."""
    p: Float[np.ndarray, " column"]
    """How often chance would part the texts so far."""

    @property
    def effect(self) -> Float[np.ndarray, " column"]:
        """Difference of the shares."""
        return self.a / max(1, self.n_a) - self.b / max(1, self.n_b)


def compare_items(present: Any, grouped: Grouped, rows: Bool[np.ndarray, " text"], *, seed: int) -> list[Tested]:
    """Every comparison of every column of `present`, on the texts of `rows`."""
    return [_test(present, grouped, comparison, rows, seed) for comparison in grouped.comparisons]


def _test(present: Any, grouped: Grouped, comparison: Comparison, rows: np.ndarray, seed: int) -> Tested:
    in_a, in_b = comparison.in_a & rows, comparison.in_b & rows
    a, b = count(present, in_a), count(present, in_b)
    n_a, n_b = int(in_a.sum()), int(in_b.sum())
    if grouped.pairs:
        p = _of_pairs(present, grouped, in_a, in_b, seed)
    elif comparison.trend is not None or grouped.family is not None:
        p = _permuted(present, grouped, comparison, rows, seed)
    else:
        p = fisher(a, n_a, b, n_b)
    return Tested(a, b, n_a, n_b, p)


def _of_pairs(present: Any, grouped: Grouped, in_a: np.ndarray, in_b: np.ndarray, seed: int) -> np.ndarray:
    """By the pairs that differ; where families join pairs, by turning whole families."""
    only_a, only_b, _ = _differing(present, grouped, in_a, in_b)
    if grouped.in_families:
        return flip_test((only_a - only_b).astype(float), seed=seed, permutations=PERMUTATIONS).p
    return sign_test(*(np.asarray(side.sum(0)).ravel().astype(np.int64) for side in (only_a, only_b)))


def _differing(present: Any, grouped: Grouped, in_a: np.ndarray, in_b: np.ndarray) -> tuple[Any, Any, Int[np.ndarray, " family"]]:
    """``[family, column]``, compressed rows: pairs of which only the one text has a column, only the other; and pairs of each family."""
    assert grouped.family is not None
    a, b = present[in_a], present[in_b]  # a pair's texts follow each other, so rows of both sides match
    both = a.multiply(b)
    gather, pairs = _gather(grouped.family[in_a])
    return (gather @ (a - both)).tocsr(), (gather @ (b - both)).tocsr(), pairs


def _gather(unit: Int[np.ndarray, " text"]) -> tuple[Any, Int[np.ndarray, " unit"]]:
    """What sums texts over what belongs together, and how many these are."""
    _, at = np.unique(unit, return_inverse=True)
    sizes = np.bincount(at)
    return sparse.csr_matrix((np.ones(len(at), np.int32), (at, np.arange(len(at)))), shape=(len(sizes), len(at))), sizes


def _permuted(present: Any, grouped: Grouped, comparison: Comparison, rows: np.ndarray, seed: int) -> np.ndarray:
    """By permutation of units: families (those of each group apart), or texts along a trend."""
    own = np.flatnonzero(rows)
    gather, sizes = _gather(units(grouped, trend=comparison.trend is not None)[own])
    target = comparison.trend if comparison.trend is not None else comparison.in_a.astype(float)
    totals = (gather @ present[own]).astype(float)
    return permutation_test(totals, sizes, gather @ target[own] / sizes, seed=seed, permutations=PERMUTATIONS).p


def units(grouped: Grouped, *, trend: bool = False) -> Int[np.ndarray, " text"]:
    """What is dealt out as a whole: texts; families; of a family with texts of several groups, each group's part."""
    if grouped.family is None:
        return np.arange(len(grouped.group))
    return grouped.family if trend or grouped.pairs else grouped.family * len(grouped.names) + grouped.group


def count(present: Any, rows: Bool[np.ndarray, " text"]) -> Int[np.ndarray, " column"]:
    """How many of the texts of `rows` have each column."""
    return np.asarray(present.T @ rows.astype(np.int64)).ravel()


def interval(present: Any, grouped: Grouped, comparison: Comparison, columns: np.ndarray) -> Interval:
    """The difference of shares of some columns with its interval, by texts, by pairs or by families."""
    own = present[:, columns]
    a, b = count(own, comparison.in_a), count(own, comparison.in_b)
    n_a, n_b = int(comparison.in_a.sum()), int(comparison.in_b.sum())
    if grouped.pairs:
        only_a, only_b, pairs = _differing(own, grouped, comparison.in_a, comparison.in_b)
        if grouped.in_families:
            return clustered_paired_difference(only_a.toarray(), only_b.toarray(), pairs)
        one, other = (np.asarray(side.sum(0)).ravel() for side in (only_a, only_b))
        return paired_difference(one, other, n_a)
    if grouped.family is None:
        return difference(a, n_a, b, n_b)
    sides = []
    for rows in (comparison.in_a, comparison.in_b):
        gather, sizes = _gather(grouped.family[rows])
        sides += [(gather @ own[rows]).toarray(), sizes]
    return clustered_difference(*sides)


def halves(grouped: Grouped, seed: int) -> Bool[np.ndarray, " text"]:
    """The first half of the texts, drawn by lot group by group; what belongs together stays together."""
    unit, rng = units(grouped, trend=bool(grouped.comparisons[0].trend is not None)), np.random.default_rng(seed)
    first = np.zeros(len(unit), bool)
    _, start, at = np.unique(unit, return_index=True, return_inverse=True)
    group = np.zeros(len(start), np.int64) if grouped.pairs else grouped.group[start]
    for one in np.unique(group):
        own = np.flatnonzero(group == one)
        first |= np.isin(at, rng.permutation(own)[: -(-len(own) // 2)])
    return first


def replicate(present: Any, grouped: Grouped, first: Bool[np.ndarray, " text"], *, seed: int) -> tuple[Replication, dict]:
    """What the first half alone lists, tried on the other half: how much held, and whether each did, by (comparison, column)."""
    chosen_on, tried_on = (compare_items(present, grouped, rows, seed=seed) for rows in (first, ~first))
    held: dict[tuple[int, int], bool] = {}
    chosen = [(c, int(i)) for c, own in enumerate(listed(chosen_on)) for i in np.flatnonzero(own.listed)]
    again = q_values(np.array([tried_on[c].p[i] for c, i in chosen]))
    for (c, i), value in zip(chosen, again, strict=True):
        held[c, i] = bool(value < LEVEL and chosen_on[c].effect[i] * tried_on[c].effect[i] > 0)
    return Replication(len(chosen), sum(held.values())), held


@dataclass(frozen=True)
class Listed:
    """Which items of a comparison are listed as differences, and why."""

    q: Float[np.ndarray, " column"]
    """Of all comparisons together."""
    again: Float[np.ndarray, " column"]
    """Chance that as many fresh texts show it again."""

    @property
    def clear(self) -> Bool[np.ndarray, " column"]:
        """Those with q below the level."""
        return self.q < LEVEL

    @property
    def listed(self) -> Bool[np.ndarray, " column"]:
        """Those of them that fresh texts would mostly show again."""
        return self.clear & (self.again >= LEAST)


def listed(tested: list[Tested]) -> list[Listed]:
    """What every comparison lists; all of them are judged together."""
    p = np.concatenate([one.p for one in tested])
    ends = np.cumsum([len(one.p) for one in tested])[:-1]
    return [Listed(*own) for own in zip(np.split(q_values(p), ends), np.split(chance_again(p), ends), strict=True)]

"""Search: the rule that best tells the places where a feature fires from those where it is silent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import no_type_check

import numpy as np
from numba import njit

from hooke.explain.rules.conditions import ONE_VALUED, SLOTS, Conditions
from hooke.explain.rules.index import ConditionIndex
from hooke.explain.rules.rule import Test
from hooke.features.events import placed

POSITIVE, NEAR_MISS, RANDOM = 0, 1, 2
"""What a place is: the feature is clearly active there, silent though it looks alike, or silent anywhere."""
# The most signs of a set, by slot; other slots have small sets.
_LARGER = {"token": 96, "word": 96, "before": 48, "after": 48, "near": 12, "text": 12, "ending": 8, "beginning": 6}
_SETS = np.array([_LARGER.get(name, 3) for name in SLOTS])
# Signs of each slot that are tried in pairs and in points, best first.
_MORE = {"token": 20, "word": 24, "before": 20, "after": 16, "ending": 12, "beginning": 8, "language": 2, "near": 32, "text": 32}
_TRIED = np.array([_MORE.get(name, 12) for name in SLOTS])
_AGAINST = 24
"""Signs that speak against, tried in points."""
_PAIRED = 72
"""Signs tried in pairs."""
# Two signs of one of these say much the same, and make no pair.
_ALIKE = (
    ("token", "word", "ending", "beginning"),
    ("before", "class before"),
    ("after", "class after"),
    ("near", "near class"),
    ("text", "text class"),
)
_ASPECT = np.array([next((a for a, names in enumerate(_ALIKE) if name in names), len(_ALIKE) + n) for n, name in enumerate(SLOTS)])
_ONE_VALUED = frozenset(SLOTS.index(name) for name in ONE_VALUED)
_STEPS, _GROUPS, _POINTS = 40, 14, 5
"""Steps, groups and the most points a group can be worth, of a rule of points."""
_RIDGE = 0.004
_FITTED = 900
"""Places that points are fitted on."""
# A rule that says more than one thing must be better by so much to be preferred.
_HANDICAP = {"one": 0.0, "either": 0.01, "both": 0.01, "points": 0.015}
_LONG = 0.002
"""The handicap of a rule of many signs: so much for every time their number doubles."""
_LITTLE = 0.006
"""What a sign must add to belong to a small set."""
_LEARNT, _CHECKED = 0.4, 1.8
"""How much the places that a rule was learnt from count beside those it is checked on, and how many handicaps the sum is worth."""
_FEW = 8
"""Fewer positives to check on than this, and the check says too little."""


@dataclass(frozen=True)
class Places:
    """Tokens of one half, each with what the feature does there."""

    rows: np.ndarray
    """The tokens."""
    kind: np.ndarray
    """`POSITIVE`, `NEAR_MISS` or `RANDOM`."""
    doc: np.ndarray
    """The document of each."""

    def weights(self, chosen: np.ndarray) -> np.ndarray:
        """Weights over the places `chosen` (others 0) whose sum, where a rule holds, is its TPR + TNR - 1.

        Positives weigh 1 together, near misses and random places a half each; where there are none of one, the other weighs 1.
        """
        return _weights(self.kind, chosen)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Candidate:
    """A rule that might be the one."""

    family: str
    """``one`` (a set of signs of one slot), ``either`` or ``both`` (of two), ``points``."""
    slots: tuple[int, ...]
    """Slots of its groups; with the family it says what to look for again when all places count."""
    test: Test
    """The rule, in numbers of the sightings and not of the reading's signs."""
    holds: np.ndarray
    """Whether it holds, for each of the places."""

    def handicap(self) -> float:
        """By how much it must be better than the shortest rule to be preferred."""
        return _HANDICAP[self.family] + _LONG * math.log2(sum(len(group) for group in self.test.groups))

    def on(self, seen: ConditionIndex) -> Test:
        """The rule in numbers of the reading's signs; `seen` are the sightings that it was found in."""
        return replace(self.test, groups=tuple(seen.signs[group] for group in self.test.groups))


def find(signs: Conditions, places: Places, seen: ConditionIndex) -> Candidate | None:
    """The best rule for `places`, whose signs were `seen`, or None where no sign speaks for the feature.

    1. Two documents in three are learnt from: each family and slot proposes its best rule.
    2. The rest is the check: the proposal that does best there, and to a part where it was learnt, less a handicap for saying more than
       one thing, is the family chosen. Where the check holds too few positives, the places learnt from decide.
    3. That family proposes again, from all places.
    """
    check = (places.doc >> 1) % 3 == 0
    everything = np.ones(len(places), bool)
    enough = min((check & (places.kind == POSITIVE)).sum(), (~check & (places.kind == POSITIVE)).sum()) >= _FEW
    learn = ~check if enough else everything
    proposals = propose(signs, places, learn, seen)
    if not proposals:
        return None
    weights = places.weights(check) + _LEARNT * places.weights(~check) if enough else places.weights(everything)
    penalty = _CHECKED if enough else 3
    worth = [gain / 2 - penalty * own.handicap() for own, gain in zip(proposals, _gains(proposals, weights), strict=True)]
    best = proposals[int(np.argmax(worth))]
    if enough:
        again = propose(signs, places, everything, seen, only=best)
        gains = _gains(again, places.weights(everything))
        best = max(zip(again, gains, strict=True), key=lambda one: (one[0].slots == best.slots, one[1]), default=(best, 0.0))[0]
    return best


def _gains(candidates: Sequence[Candidate], weights: np.ndarray) -> list[float]:
    """The sum of `weights` where each of the rules holds: the same to the last digit for rules that hold at the same places."""
    return [float((own.holds * weights).sum()) for own in candidates]


def propose(signs: Conditions, places: Places, learn: np.ndarray, seen: ConditionIndex, only: Candidate | None = None) -> list[Candidate]:
    """Rules learnt from the places where `learn`, in numbers of `seen`; with `only`, those of its family, and of its slot if it has one."""
    weights = places.weights(learn).astype(np.float32)
    order = np.argsort(places.doc, kind="stable")
    order = order[learn[order]]
    gain, support = seen.tally(order, weights[order], places.doc[order])
    docs = places.doc[order[weights[order] > 0]]
    least = 2 if np.count_nonzero(np.diff(docs)) + 1 >= 6 else 1
    one = only.slots[0] if only is not None and only.family == "one" else None
    board = _Board.of(seen, signs.slot(seen.signs), gain, support >= least, weights, one)
    out = board.sets()
    if not (board.gain > 0).any():
        return []
    if only is None or only.family in ("either", "both"):
        out += _pairs(board)
    if only is None or only.family == "points":
        out += _points(board)
    return out if only is None else [own for own in out if own.family == only.family]


@dataclass(frozen=True)
class _Board:
    """The signs tried, then for each slot the best set of its signs."""

    groups: list[np.ndarray]
    """The numbers of each in the sightings: one sign, or a set."""
    slot: np.ndarray
    present: np.ndarray
    """``[sign or set, place]``."""
    gain: np.ndarray
    """Of each sign; sets have none."""
    weights: np.ndarray
    """Of each place; 0 where it is not learnt from."""

    @classmethod
    def of(
        cls, seen: ConditionIndex, slot: np.ndarray, gain: np.ndarray, known: np.ndarray, weights: np.ndarray, only: int | None
    ) -> "_Board":
        """The signs that gain most of each `slot` (or of the `only` one), if they are `known`, those that lose most, and sets.

        Where a token has one value of a slot only, gains add up and every value that gains belongs to the set; else signs are taken one by
        one while they help.
        """
        best, against = _strongest(slot, gain, known, np.maximum(_SETS, _TRIED), _AGAINST)
        listed = [own[own >= 0] if only in (None, number) else own[:0] for number, own in enumerate(best)]
        tried = [own[:most] for own, most in zip(listed, _TRIED, strict=True)]
        sets = [own[: _SETS[number] if number in _ONE_VALUED else 0] for number, own in enumerate(listed)]
        columns = np.concatenate([*tried, against])
        present = seen.present(columns, sets)
        for number, (low, high) in enumerate(pairwise(np.cumsum([0, *map(len, tried)]).tolist())):
            if number not in _ONE_VALUED and high > low:
                chosen = low + _greedy(present[low:high], weights, _SETS[number])
                sets[number] = columns[chosen]
                present[len(columns) + number] = present[chosen].any(0)
        found = [number for number, own in enumerate(sets) if len(own)]
        kept = np.concatenate([np.arange(len(columns)), len(columns) + np.array(found, np.int64)])
        groups = [*columns[:, None], *(sets[number] for number in found)]
        slots = np.concatenate([slot[columns], found]).astype(np.int64)
        return cls(groups, slots, present[kept], gain[columns], weights)

    def sets(self) -> list[Candidate]:
        """Each set as a rule of its own."""
        own = range(len(self.gain), len(self.groups))
        return [Candidate("one", (int(self.slot[row]),), Test((self.groups[row],), (1,), 1), self.present[row]) for row in own]


def _pairs(board: _Board) -> list[Candidate]:
    """The best two things that must both be so, and the best two of which one must."""
    top = np.argsort(-board.gain, kind="stable")[:_PAIRED]
    rows = np.concatenate([top[board.gain[top] > 0], np.arange(len(board.gain), len(board.groups))])
    aspect = _ASPECT[board.slot[rows]]
    own = board.present[rows].astype(np.float32)
    together = _together(own, board.weights)
    alone = np.diag(together)
    out = []
    for family, gain in (("both", together), ("either", alone[:, None] + alone - together)):
        gain = np.where(aspect[:, None] == aspect, -1, gain)
        i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[i, j] <= max(alone[i], alone[j]) + 0.005:
            continue
        one, other = rows[i], rows[j]
        groups, slots = (board.groups[one], board.groups[other]), (int(board.slot[one]), int(board.slot[other]))
        if family == "both":
            out.append(Candidate(family, slots, Test(groups, (1, 1), 2), board.present[one] & board.present[other]))
        else:
            out.append(Candidate(family, slots, Test((np.concatenate(groups),), (1,), 1), board.present[one] | board.present[other]))
    return out


def _together(own: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``[one, other]``: the sum of `weights` where both hold. Places weigh one of a few values: what matrix products add up is whole
    numbers, exact in float32, so that neither the kernels of a machine nor their threads decide between rules that are all but equal."""
    gain = np.zeros((len(own), len(own)), np.float32)
    for weight in np.unique(weights[weights != 0]):
        there = own[:, weights == weight]
        gain += weight * (there @ there.T)
    return gain


def _points(board: _Board) -> list[Candidate]:
    """Signs and sets that each speak for or against, with whole numbers of points: logistic regression taken one group at a time."""
    # For speed, every so many places: each kind in the order of the text, so that all documents are heard.
    rows = np.flatnonzero(board.weights)
    fitted = rows[:: max(1, len(rows) // _FITTED)]
    weights = board.weights[fitted]
    worth = _stagewise(board.present, fitted, (weights > 0).astype(np.float32), np.abs(weights) / np.abs(weights).sum())
    used = np.flatnonzero(worth)
    if len(used) < 2:
        return []
    points = np.rint(worth[used] * (_POINTS / np.abs(worth[used]).max()))
    used, points = used[points != 0], points[points != 0]
    total = points @ board.present[used].astype(np.float32)
    steps, number = np.unique(total[rows], return_inverse=True)
    gains = np.bincount(number, board.weights[rows])[::-1].cumsum()[::-1]
    at_least = int(steps[int(np.argmax(gains))])
    test = Test(tuple(board.groups[row] for row in used), tuple(points.astype(int).tolist()), at_least)
    return [Candidate("points", (), test, total >= at_least)]


@njit(cache=True, nogil=True)
@no_type_check
def _weights(kind, chosen):
    count = np.zeros(3, np.int64)
    for i in range(len(kind)):
        count[kind[i]] += chosen[i]
    share = np.array([1.0, -0.5, -0.5])
    if count[1] == 0 or count[2] == 0:
        share[1:] = -1.0
    out = np.zeros(len(kind))
    for i in range(len(kind)):
        if chosen[i]:
            out[i] = share[kind[i]] / count[kind[i]]
    return out


@njit(cache=True, nogil=True)
@no_type_check
def _strongest(slot, gain, known, most, against):
    """``[slot, n]``: the signs of each slot that gain most, best first, -1 where there are no more; and those of all that lose most."""
    best, gains, count = np.full((len(most), most.max()), -1, np.int64), np.empty((len(most), most.max())), np.zeros(len(most), np.int64)
    worst, losses, lost = np.full(against, -1, np.int64), np.empty(against), 0
    for k in range(len(gain)):
        if gain[k] > 0 and known[k]:
            own, room = slot[k], most[slot[k]]
            count[own] = placed(gain[k], k, gains[own, :room], best[own, :room], count[own])
        elif gain[k] < 0:
            lost = placed(-gain[k], k, losses, worst, lost)
    return best, worst[:lost]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # sums of many at a time
@no_type_check
def _greedy(present, weights, size):
    """Signs taken one by one, each the one that helps most beside those before, until none helps by a little."""
    left, chosen, n = weights.copy(), np.empty(size, np.int64), 0
    while n < min(size, len(present)):
        best, most = -1, np.float32(0)
        for c in range(len(present)):
            gain = np.float32(0)
            for i in range(len(left)):
                gain += left[i] * present[c, i]
            if gain > most:
                best, most = c, gain
        if best < 0 or most < _LITTLE:
            break
        chosen[n] = best
        n += 1
        for i in range(len(left)):
            if present[best, i]:
                left[i] = 0
    return chosen[:n]


@njit(cache=True, nogil=True)
@no_type_check
def _stagewise(present, rows, truth, weight):
    """What each sign or set is worth, in log-odds, by the places `rows`; each step moves the one that lowers the loss most."""
    columns, n = len(present), len(rows)
    start, place, found = np.zeros(columns + 1, np.int64), np.empty(columns * n + 1, np.uint16), 0
    for c in range(columns):
        for i in range(n):
            place[found] = i  # stays there only where it is present
            found += present[c, rows[i]]
        start[c + 1] = found
    worth, taken = np.zeros(columns, np.float32), 0
    odds, slope, bend = np.ones(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)  # odds against
    for _ in range(_STEPS):
        _slopes(odds, truth, weight, slope, bend)
        best, most, pull, curve = 0, np.float32(0), np.float32(0), np.float32(1)
        for c in range(columns):
            if taken >= _GROUPS and worth[c] == 0:
                continue
            own = place[start[c] : start[c + 1]]
            own_pull, own_curve = _sum(slope, own), np.float32(_RIDGE) + _sum(bend, own)
            if own_pull * own_pull / own_curve > most:
                best, most, pull, curve = c, own_pull * own_pull / own_curve, own_pull, own_curve
        if most < 1e-4:
            break
        step = np.float32(min(1.5, max(-1.5, pull / curve)))
        taken += worth[best] == 0
        worth[best] += step
        factor = np.exp(-step)
        for e in range(start[best], start[best + 1]):
            odds[place[e]] *= factor
        _slopes(odds, truth, weight, slope, bend)
        odds *= np.exp(-np.float32(min(0.5, max(-0.5, slope.sum() / (np.float32(_RIDGE) + bend.sum())))))
    return worth


@njit(inline="always")
@no_type_check
def _sum(values, places):
    # Four sums at a time: one alone would wait for each addition before the next.
    a = b = c = d = np.float32(0)
    whole = len(places) // 4 * 4
    for e in range(0, whole, 4):
        a += values[places[e]]
        b += values[places[e + 1]]
        c += values[places[e + 2]]
        d += values[places[e + 3]]
    for e in range(whole, len(places)):
        a += values[places[e]]
    return (a + b) + (c + d)


@njit(inline="always")
@no_type_check
def _slopes(odds, truth, weight, slope, bend):
    for i in range(len(odds)):
        chance = np.float32(1) / (np.float32(1) + odds[i])
        slope[i] = weight[i] * (truth[i] - chance)
        bend[i] = weight[i] * chance * (np.float32(1) - chance)

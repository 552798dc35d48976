"""Search: the rule that best tells the places where a feature fires from those where it is silent."""

from dataclasses import dataclass, replace
from typing import no_type_check

import numpy as np
from numba import njit

from hooke.explain.rule import Test
from hooke.explain.sightings import Sightings
from hooke.explain.signs import ONE_VALUED, SLOTS, Signs

POSITIVE, NEAR_MISS, RANDOM = 0, 1, 2
"""What a place is: the feature is clearly active there, silent though it looks alike, or silent anywhere."""
# The most signs of a set, by slot; other slots have small sets.
_SETS = {"token": 96, "word": 96, "before": 48, "after": 48, "near": 12, "text": 12, "ending": 8, "beginning": 6}
_SET = 3
# Signs of each slot that are tried in pairs and in points, best first.
_TRIED = {"token": 20, "word": 24, "before": 20, "after": 16, "ending": 12, "beginning": 8, "language": 2, "near": 32, "text": 32}
_TRY = 12
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
        out = np.zeros(len(self.rows))
        counts = [int((chosen & (self.kind == kind)).sum()) for kind in (POSITIVE, NEAR_MISS, RANDOM)]
        for kind, share in ((POSITIVE, 1.0), (NEAR_MISS, -0.5), (RANDOM, -0.5)):
            if kind != POSITIVE and 0 in counts[1:]:
                share = -1.0
            if counts[kind]:
                out[chosen & (self.kind == kind)] = share / counts[kind]
        return out

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
    """The rule; while it is looked for in numbers of the sightings, not of the reading's signs."""
    holds: np.ndarray
    """Whether it holds, for each of the places."""

    def handicap(self) -> float:
        """By how much it must be better than the shortest rule to be preferred."""
        return _HANDICAP[self.family] + _LONG * float(np.log2(sum(len(group) for group in self.test.groups)))


def find(signs: Signs, places: Places, seen: Sightings) -> Candidate | None:
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
    worth = [float(weights[own.holds].sum()) / 2 - penalty * own.handicap() for own in proposals]
    best = proposals[int(np.argmax(worth))]
    if enough:
        again = propose(signs, places, everything, seen, only=best)
        best = max(again, key=lambda own: (own.slots == best.slots, float(places.weights(everything)[own.holds].sum())), default=best)
    return replace(best, test=replace(best.test, groups=tuple(seen.signs[group] for group in best.test.groups)))


def propose(signs: Signs, places: Places, learn: np.ndarray, seen: Sightings, only: Candidate | None = None) -> list[Candidate]:
    """Rules learnt from the places where `learn`, in numbers of `seen`; with `only`, those of its family."""
    weights = places.weights(learn)
    order = np.flatnonzero(learn)
    order = order[np.argsort(places.doc[order], kind="stable")]
    gain, support = seen.tally(order, weights[order].astype(np.float32), places.doc[order])
    positives = learn & (places.kind == POSITIVE)
    docs = len(np.unique(places.doc[positives]))
    known = support >= (2 if docs >= 6 else 1)
    slot = signs.slot(seen.signs)
    by_slot = _by_slot(slot, known & (gain > 0))
    columns = _columns(by_slot, gain)
    if not len(columns):
        return []
    present = seen.present(columns)
    rows = np.flatnonzero(learn)
    board = _Board(rows, columns, slot[columns], gain[columns], present, present[rows].astype(np.float32), weights[rows].astype(np.float32))
    if only is not None and only.family == "one":
        by_slot = [own if (number,) == only.slots else own[:0] for number, own in enumerate(by_slot)]
    out = singles = _sets(board, seen, by_slot, gain)
    if only is None or only.family in ("either", "both"):
        out = out + _pairs(board, singles)
    if only is None or only.family == "points":
        out = out + _points(board, singles)
    return out if only is None else [own for own in out if own.family == only.family]


def _by_slot(slot: np.ndarray, speaks: np.ndarray) -> list[np.ndarray]:
    """For each slot the signs of it that `speaks` marks, ascending."""
    chosen = np.flatnonzero(speaks)
    chosen = chosen[np.argsort(slot[chosen], kind="stable")]
    return np.split(chosen, np.searchsorted(slot[chosen], np.arange(1, len(SLOTS))))


def _columns(by_slot: list[np.ndarray], gain: np.ndarray) -> np.ndarray:
    """Which of the signs found are tried in more than sets: of each slot the best, and the strongest against."""
    chosen = [own[_first(-gain[own], _TRIED.get(name, _TRY))] for name, own in zip(SLOTS, by_slot, strict=True)]
    against = np.flatnonzero(gain < 0)
    chosen.append(against[_first(gain[against], _AGAINST)])
    return np.concatenate(chosen) if any(len(own) for own in chosen[:-1]) else np.zeros(0, np.int64)


def _first(values: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` smallest of `values` are, smallest first, the first of equals first."""
    if len(values) <= 2 * count:
        return np.argsort(values, kind="stable")[:count]
    low = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    return low[np.argsort(values[low], kind="stable")[:count]]


@dataclass(frozen=True)
class _Board:
    """The signs tried, and where they are present."""

    rows: np.ndarray
    """The places learnt from."""
    signs: np.ndarray
    """Their numbers in the sightings."""
    slot: np.ndarray
    gain: np.ndarray
    present: np.ndarray
    """``[place, sign]``, for all places."""
    seen: np.ndarray
    """The same for the places learnt from, as numbers."""
    worth: np.ndarray
    """Weights of the places learnt from."""


_ASPECT = {SLOTS.index(name): number for number, names in enumerate(_ALIKE) for name in names}
_ONE_VALUED = {SLOTS.index(name) for name in ONE_VALUED}


def _sets(board: _Board, sightings: Sightings, by_slot: list[np.ndarray], gain: np.ndarray) -> list[Candidate]:
    """For each slot the best set of its signs.

    Where a token has one value only, gains add up and every value that gains belongs to the set; else signs are taken one by one while
    they help.
    """
    sets = []
    for number, (name, own) in enumerate(zip(SLOTS, by_slot, strict=True)):
        size = _SETS.get(name, _SET)
        if number in _ONE_VALUED:
            chosen = own[_first(-gain[own], size)]
        else:
            columns = np.flatnonzero((board.slot == number) & (board.gain > 0)) if len(own) else own
            chosen = board.signs[columns[_greedy(board.seen[:, columns], board.worth, size)]]
        if len(chosen):
            sets.append((number, chosen))
    bits = sightings.groups([chosen for _, chosen in sets])
    return [
        Candidate("one", (slot,), Test((chosen,), (1,), 1), (bits >> number & 1).astype(bool)) for number, (slot, chosen) in enumerate(sets)
    ]


def _greedy(present: np.ndarray, worth: np.ndarray, size: int) -> list[int]:
    """Columns taken one by one, each the one that helps most beside those before, until none helps by a little."""
    chosen: list[int] = []
    while len(chosen) < min(size, present.shape[1]):
        gains = worth @ present
        best = int(np.argmax(gains))
        if gains[best] < _LITTLE:
            break
        chosen.append(best)
        worth = worth * (1 - present[:, best])
    return chosen


def _pairs(board: _Board, singles: list[Candidate]) -> list[Candidate]:
    """The best two things that must both be so, and the best two of which one must."""
    top = np.argsort(-board.gain, kind="stable")[:_PAIRED]
    top = top[board.gain[top] > 0]
    holds = np.column_stack([board.present[:, top], *(own.holds for own in singles)])
    groups = [board.signs[[column]] for column in top] + [own.test.groups[0] for own in singles]
    slots = [*board.slot[top].tolist(), *(own.slots[0] for own in singles)]
    aspect = np.array([_ASPECT.get(slot, len(_ALIKE) + slot) for slot in slots])
    own = np.column_stack([board.seen[:, top], *(own.holds[board.rows] for own in singles)]).astype(np.float32)
    together = own.T @ (own * board.worth[:, None])
    alone = np.diag(together)
    out = []
    for family, gain in (("both", together), ("either", alone[:, None] + alone - together)):
        gain = np.where(aspect[:, None] == aspect, -1, gain)
        i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[i, j] <= max(alone[i], alone[j]) + 0.005:
            continue
        if family == "both":
            out.append(Candidate(family, (slots[i], slots[j]), Test((groups[i], groups[j]), (1, 1), 2), holds[:, i] & holds[:, j]))
        else:
            test = Test((np.concatenate([groups[i], groups[j]]),), (1,), 1)
            out.append(Candidate(family, (slots[i], slots[j]), test, holds[:, i] | holds[:, j]))
    return out


def _points(board: _Board, singles: list[Candidate]) -> list[Candidate]:
    """Signs and sets that each speak for or against, with whole numbers of points: logistic regression taken one group at a time."""
    holds = np.column_stack([board.present, *(own.holds for own in singles)])
    groups = [board.signs[[column]] for column in range(len(board.signs))] + [own.test.groups[0] for own in singles]
    own = np.column_stack([board.seen, *(own.holds[board.rows] for own in singles)]).astype(np.float32)
    # For speed, every so many places: each kind in the order of the text, so that all documents are heard.
    step = max(1, len(own) // _FITTED)
    fitted = own[::step]
    weight = np.abs(board.worth[::step]) / 2
    truth = (board.worth[::step] > 0).astype(np.float32)
    worth = _stagewise(fitted, truth, weight / weight.sum())
    used = np.flatnonzero(worth)
    if len(used) < 2:
        return []
    points = np.rint(worth[used] * (_POINTS / np.abs(worth[used]).max())).astype(np.int64)
    used, points = used[points != 0], points[points != 0]
    total = holds[:, used].astype(np.float32) @ points.astype(np.float32)
    steps, gains = np.unique(total[board.rows]), []
    for step in steps:
        gains.append(float(board.worth[total[board.rows] >= step].sum()))
    at_least = int(steps[int(np.argmax(gains))])
    test = Test(tuple(groups[column] for column in used), tuple(int(p) for p in points), at_least)
    return [Candidate("points", (), test, total >= at_least)]


@njit(cache=True, nogil=True)
@no_type_check
def _stagewise(present, truth, weight):
    """What each column is worth, in log-odds: at every step the column that lowers the loss most takes a Newton step."""
    rows, columns = present.shape
    worth, score = np.zeros(columns, np.float32), np.zeros(rows, np.float32)
    live, taken = np.zeros(columns, np.bool_), 0
    for i in range(rows):
        for c in range(columns):
            live[c] |= weight[i] * present[i, c] > 0
    column = np.flatnonzero(live)  # those that may still be taken
    present = np.ascontiguousarray(present[:, column])
    pull, curve = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for _ in range(_STEPS):
        pull[:], curve[:] = 0, _RIDGE
        for i in range(rows):
            chance = np.float32(1) / (np.float32(1) + np.exp(-score[i]))
            slope = weight[i] * (truth[i] - chance)
            bend = weight[i] * chance * (np.float32(1) - chance)
            for c in range(len(column)):
                pull[c] += slope * present[i, c]
                curve[c] += bend * present[i, c]
        best, most = 0, np.float32(0)
        for c in range(len(column)):
            drop = pull[c] * pull[c] / curve[c]
            if drop > most:
                best, most = c, drop
        if most < 1e-4:
            break
        step = np.float32(min(1.5, max(-1.5, pull[best] / curve[best])))
        taken += worth[column[best]] == 0
        worth[column[best]] += step
        slope, bend = np.float32(0), np.float32(_RIDGE)
        for i in range(rows):
            score[i] += step * present[i, best]
            chance = np.float32(1) / (np.float32(1) + np.exp(-score[i]))
            slope += weight[i] * (truth[i] - chance)
            bend += weight[i] * chance * (np.float32(1) - chance)
        shift = np.float32(min(0.5, max(-0.5, slope / bend)))
        for i in range(rows):
            score[i] += shift
        if taken >= _GROUPS and len(column) > _GROUPS:
            own = np.flatnonzero(worth[column] != 0)
            column, present = column[own], np.ascontiguousarray(present[:, own])
    return worth

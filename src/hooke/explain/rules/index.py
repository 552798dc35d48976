"""Condition index: which signs some tokens have, found once, so that a search can count and try them many times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import njit


@dataclass(frozen=True)
class ConditionIndex:
    """The signs of some tokens, in compressed rows: each token's are ``signs[column[start[i] : start[i + 1]]]``, all different."""

    rows: np.ndarray
    """The tokens."""
    start: np.ndarray
    column: np.ndarray
    signs: np.ndarray
    """The signs that any of them has."""

    def tally(self, places: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each of `signs` the sum of `weights` over those of the `places` (numbers of tokens here) with it, and in how many `groups`.

        A place with a negative weight does not count as having seen it; places of one group must stand together.
        """
        return _tally(places, weights, groups, self.start, self.column, len(self.signs))

    def present(self, columns: np.ndarray, sets: Sequence[np.ndarray] = ()) -> np.ndarray:
        """``[sign or set, token]`` bool: which tokens have each of the signs ``signs[columns]``, then one of each of `sets`.

        All are numbers in `signs`; none may stand twice among the columns, or in two sets.
        """
        place = np.full((len(self.signs), 2), -1, np.int16)
        place[columns, 0] = np.arange(len(columns))
        for number, own in enumerate(sets):
            place[own, 1] = len(columns) + number
        out = np.zeros((len(columns) + len(sets), len(self.rows)), np.bool_)
        _present(self.start, self.column, place, out)
        return out


class Postings:
    """A condition index the other way round: the tokens that have each sign, to run one rule after another on the same tokens."""

    def __init__(self, seen: ConditionIndex, signs: int) -> None:
        """Of `seen`, in a reading of so many `signs`."""
        self.rows = seen.rows
        """The tokens."""
        order = np.argsort(seen.column, kind="stable")
        self._token = np.repeat(np.arange(len(seen.rows), dtype=np.int32), np.diff(seen.start))[order]
        self._start = np.searchsorted(seen.column[order], np.arange(len(seen.signs) + 1))
        self._number = np.full(signs, -1, np.int32)
        self._number[seen.signs] = np.arange(len(seen.signs))

    def groups(self, groups: Sequence[np.ndarray]) -> np.ndarray:
        """For each token the `groups` of signs (at most 63) of which it has one, as bits."""
        out = np.zeros(len(self.rows), np.int64)
        for number, group in enumerate(groups):
            _post(self._number[group], self._start, self._token, np.int64(1 << number), out)
        return out


@njit(cache=True, nogil=True)
@no_type_check
def _post(numbers, start, token, bit, out):
    for k in numbers:
        if k >= 0:
            for e in range(start[k], start[k + 1]):
                out[token[e]] |= bit


@njit(cache=True, nogil=True)
@no_type_check
def _tally(places, weights, groups, start, column, n):
    gain, support, group = np.zeros(n, np.float32), np.zeros(n, np.int32), np.full(n, -1, np.int64)
    for i in range(len(places)):
        weight = weights[i]
        for e in range(start[places[i]], start[places[i] + 1]):
            k = column[e]
            gain[k] += weight
            if weight > 0 and group[k] != groups[i]:
                group[k] = groups[i]
                support[k] += 1
    return gain, support


@njit(cache=True, nogil=True)
@no_type_check
def _present(start, column, place, out):
    for i in range(len(start) - 1):
        for e in range(start[i], start[i + 1]):
            alone, within = place[column[e]]
            if alone >= 0:
                out[alone, i] = True
            if within >= 0:
                out[within, i] = True

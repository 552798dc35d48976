"""Sightings: which signs some tokens have, found once, so that a search can count and try them many times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Sightings:
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

    def present(self, columns: np.ndarray) -> np.ndarray:
        """``[token, column]`` bool: which of the signs ``signs[columns]`` (each at most once) the tokens have."""
        place = np.full(len(self.signs), -1, np.int32)
        place[columns] = np.arange(len(columns))
        out = np.zeros((len(self.rows), len(columns)), np.bool_)
        _present(self.start, self.column, place, out)
        return out

    def groups(self, groups: Sequence[np.ndarray]) -> np.ndarray:
        """For each token the `groups` (at most 63, of numbers in `signs`) of which it has a sign, as bits."""
        bits = np.zeros(len(self.signs), np.int64)
        for number, group in enumerate(groups):
            bits[group] |= np.int64(1 << number)
        return _bits(self.start, self.column, bits)


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
            k = place[column[e]]
            if k >= 0:
                out[i, k] = True


@njit(cache=True, nogil=True)
@no_type_check
def _bits(start, column, bits):
    out = np.zeros(len(start) - 1, np.int64)
    for i in range(len(start) - 1):
        for e in range(start[i], start[i + 1]):
            out[i] |= bits[column[e]]
    return out

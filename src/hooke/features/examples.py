"""Examples: where a feature fired most, and places drawn from every stretch of its range."""

from typing import no_type_check

import numpy as np
from numba import njit

from hooke.atlas.records import INTERVALS, Example
from hooke.engine import in_parts
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events, drawn

A_DOCUMENT = 2
"""Examples of one kind from the same document, at most."""
BEFORE, AFTER = 12, 5
"""Two places whose tokens agree from so many before to so many after are the same text."""
REACH = 32
"""Activations are kept of tokens at most so far from the peak."""
# So many times as many candidates as are wanted are put in order first, and all of them only if those do not do.
_LOOKED_AT = 4


def choose(events: Events, text: CorpusTokens, top: int, per_interval: int, workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The rows that examples are made of, -1 where there are no more: ``[feature, top]`` and ``[feature, INTERVALS, per_interval]``.

    A window can only be shown at its peak, the token on which the feature fires most (the first of equals). Of the peaks the strongest
    are taken, and of the others some by lot from each of `INTERVALS` equal stretches of 0 to the maximum. Among the places of one
    kind no text stands twice and no document more than `A_DOCUMENT` times.
    """
    strongest = np.full((len(events), top), -1, np.int64)
    spread = np.full((len(events), INTERVALS, per_interval), -1, np.int64)
    inputs = (events.start, events.rows, events.values, text.ids, text.window, text.start, text.document)
    in_parts(events.start, workers, lambda low, high: _choose(low, high, inputs, strongest, spread))
    return strongest, spread


def example_at(row: int, rows: np.ndarray, values: np.ndarray, text: CorpusTokens) -> Example:
    """The example whose peak is `row`, of a feature that fired on `rows` with `values`."""
    window = int(text.window[row])
    begin, end = text.start[window], text.start[window + 1]
    low, high = np.searchsorted(rows, (max(begin, row - REACH), min(end, row + REACH + 1)))
    return Example(window, int(row - begin), rows[low:high] - begin, values[low:high])


@njit(cache=True, nogil=True)
@no_type_check
def _choose(low, high, inputs, strongest, spread):
    start, rows, values, ids, window, window_start, document = inputs
    for i in range(low, high):
        peak, value = _peaks(rows[start[i] : start[i + 1]], values[start[i] : start[i + 1]], window)
        if peak.shape[0] == 0:
            continue
        most = _LOOKED_AT * strongest.shape[1]
        if not _take(peak[_first(-value, most)], ids, window, window_start, document, strongest[i]) and most < peak.shape[0]:
            _take(peak[np.argsort(-value, kind="mergesort")], ids, window, window_start, document, strongest[i])
        largest = np.float64(value.max())
        stretches = spread.shape[1]
        stretch = np.minimum((value / largest * stretches).astype(np.int64), stretches - 1)
        for row in strongest[i]:
            if row >= 0:
                stretch[np.searchsorted(peak, row)] = -1
        for s in range(stretches):
            own = peak[stretch == s]
            lots = np.empty(own.shape[0], np.uint64)
            for k in range(own.shape[0]):
                lots[k] = drawn(own[k], 0)
            most = _LOOKED_AT * spread.shape[2]
            if not _take(own[_first(lots, most)], ids, window, window_start, document, spread[i, s]) and most < own.shape[0]:
                _take(own[np.argsort(lots, kind="mergesort")], ids, window, window_start, document, spread[i, s])


@njit(cache=True, nogil=True)
@no_type_check
def _first(keys, most):
    """Where the `most` smallest of `keys` are, smallest first, the first of equals first."""
    if keys.shape[0] <= most:
        return np.argsort(keys, kind="mergesort")
    last = np.partition(keys, most - 1)[most - 1]
    low = np.flatnonzero(keys <= last)
    return low[np.argsort(keys[low], kind="mergesort")][:most]


@njit(cache=True, nogil=True)
@no_type_check
def _peaks(rows, values, window):
    """The strongest row of each window, ascending, and its value."""
    peak = np.empty(rows.shape[0], np.int64)
    value = np.empty(rows.shape[0], np.float32)
    n = 0
    last = -1
    for e in range(rows.shape[0]):
        if window[rows[e]] != last:
            last = window[rows[e]]
            n += 1
            peak[n - 1] = rows[e]
            value[n - 1] = values[e]
        elif values[e] > value[n - 1]:
            peak[n - 1] = rows[e]
            value[n - 1] = values[e]
    return peak[:n], value[:n]


@njit(cache=True, nogil=True)
@no_type_check
def _take(candidates, ids, window, window_start, document, out):
    """The first candidates that may stand beside each other; whether there were enough."""
    n = 0
    for row in candidates:
        if n == out.shape[0]:
            break
        same = 0
        fresh = True
        for k in range(n):
            same += document[window[out[k]]] == document[window[row]]
            fresh &= not _alike(row, out[k], ids, window, window_start)
        if fresh and same < A_DOCUMENT:
            out[n] = row
            n += 1
    return n == out.shape[0]


@njit(cache=True, nogil=True)
@no_type_check
def _alike(a, b, ids, window, window_start):
    """Whether the text around two rows is the same."""
    a_low, b_low = max(window_start[window[a]], a - BEFORE), max(window_start[window[b]], b - BEFORE)
    a_high, b_high = min(window_start[window[a] + 1], a + AFTER + 1), min(window_start[window[b] + 1], b + AFTER + 1)
    if a - a_low != b - b_low or a_high - a != b_high - b:
        return False
    return np.array_equal(ids[a_low:a_high], ids[b_low:b_high])

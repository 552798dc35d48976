"""Near misses: places where a feature might have fired and did not, because the token is one of its own or the text is like its own."""

from typing import no_type_check

import numpy as np
import torch
from numba import njit

from hooke.engine import in_parts
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events, drawn
from hooke.features.examples import A_DOCUMENT

_TOKENS, _TRIES = 8, 32
_DIMENSIONS = 128
_NEAREST = 4
_CELLS = 1 << 21


class NearMissFinder:
    """Finds near misses in one text, for any number of SAEs."""

    def __init__(self, text: CorpusTokens) -> None:
        """Takes stock of where each token stands and of what each window is about."""
        self._text = text
        self._places = np.argsort(text.ids, kind="stable").astype(np.int32)
        self._first = np.zeros(int(text.ids.max(initial=0)) + 2, np.int64)
        np.cumsum(np.bincount(text.ids), out=self._first[1:])
        self._vectors = window_vectors(text)

    def find(self, events: Events, token: np.ndarray, strongest: np.ndarray, each: int, workers: int = 1) -> np.ndarray:
        """``[feature, 4 · each]``: rows on which a feature is silent, `each` of a kind from each half of the documents; -1 for none.

        In order: the same token in the label half, the same token in the score half, alike text in either half. `token` holds each
        feature's tokens, most telling first (-1: no more), and `strongest` the rows of its strongest examples. The same token: places
        drawn by lot where one of the first 8 of `token` stands. Alike text: of the windows in which the feature never fires those whose
        words are most like the words of its examples' windows, at the first of its tokens that stands there, else at a token by lot.
        No document gives more than `A_DOCUMENT` places of a kind.
        """
        text = self._text
        found = np.full((len(events), 4, each), -1, np.int64)
        inputs = (events.start, events.rows, text.window, text.document, text.score_half, self._places, self._first)
        in_parts(events.start, workers, lambda low, high: _same_token(low, high, inputs, token[:, :_TOKENS], found[:, :2]))
        self._alike(events, token, strongest, found[:, 2:], workers)
        return found.reshape(len(events), -1)

    def _alike(self, events: Events, token: np.ndarray, strongest: np.ndarray, found: np.ndarray, workers: int) -> None:
        text = self._text
        step = max(1, _CELLS // max(1, text.windows))
        for low in range(0, len(events), step):
            high = min(low + step, len(events))
            like = _likeness(self._vectors, strongest[low:high], text.window)
            fired = np.concatenate([[0], np.cumsum(np.diff(events.start[low : high + 1]))])
            feature = np.repeat(np.arange(high - low), np.diff(fired))
            like[feature, text.window[events.rows[events.start[low] : events.start[high]]]] = -np.inf
            # Enough that some are left once no document gives more than its share.
            most = min(text.windows, _NEAREST * 2 * found.shape[2] + 8)
            nearest = _largest(like, most)
            part = Events(fired, events.rows[events.start[low] : events.start[high]], events.values[:0])
            inputs = (token[low:high, :_TOKENS], nearest, like, text.ids, text.start, text.document, text.score_half)
            in_parts(part.start, workers, lambda a, b, inputs=inputs, out=found[low:high]: _alike_places(a, b, inputs, out))


def window_vectors(text: CorpusTokens) -> np.ndarray:
    """``[window, 128]``: what each window is about, as whole numbers from -127 to 127 (float32).

    The different tokens of a window, weighed by ``ln(windows / windows with the token)``, each spread over the dimensions by fixed random
    signs; scaled to length 127 and rounded. Products of such vectors are exact in float32, in whatever order they are added up, so that
    what is found most alike does not depend on the machine.
    """
    vocab = int(text.ids.max(initial=0)) + 1
    window = np.repeat(np.arange(text.windows, dtype=np.int64), np.diff(text.start))
    pairs = np.unique(window * vocab + text.ids)
    idf = np.log(text.windows / np.maximum(1, np.bincount(pairs % vocab, minlength=vocab)))
    out = np.zeros((text.windows, _DIMENSIONS))
    _spread(pairs // vocab, pairs % vocab, idf, out)
    length = np.sqrt(np.square(out).sum(1, keepdims=True))
    return np.rint(127 * np.divide(out, length, out=np.zeros_like(out), where=length > 0)).astype(np.float32)


def _likeness(vectors: np.ndarray, strongest: np.ndarray, window: np.ndarray) -> np.ndarray:
    """``[feature, window]``: the product of each window's vector with the mean of the vectors of a feature's examples."""
    there = strongest >= 0
    own = vectors[window[np.maximum(strongest, 0)]] * there[:, :, None]
    mean = np.rint(own.sum(1) / np.maximum(1, there.sum(1))[:, None])
    return (torch.from_numpy(mean.astype(np.float32)) @ torch.from_numpy(vectors).T).numpy()


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` largest values of each row, largest first, the first of equals first."""
    # Whole numbers of at most 21 bits: with the column in the low bits all keys differ, and any selection gives the same.
    columns = values.shape[1]
    keys = np.where(np.isfinite(values), values, -(1 << 22)).astype(np.int64) * columns + (columns - 1 - np.arange(columns))
    best = torch.from_numpy(keys).topk(count, dim=1).values.numpy()
    return columns - 1 - best % columns


@njit(cache=True, nogil=True)
@no_type_check
def _spread(window, token, idf, out):
    for p in range(window.shape[0]):
        weight = idf[token[p]]
        for half in range(out.shape[1] // 64):
            bits = drawn(token[p], half + 1)
            for k in range(64):
                if bits >> np.uint64(k) & np.uint64(1):
                    out[window[p], half * 64 + k] += weight
                else:
                    out[window[p], half * 64 + k] -= weight


@njit(cache=True, nogil=True)
@no_type_check
def _fits(row, kept, n, window, document):
    """Whether `row` may stand beside the first `n` of `kept`."""
    same = 0
    for k in range(n):
        if kept[k] == row:
            return False
        same += document[window[kept[k]]] == document[window[row]]
    return same < A_DOCUMENT


@njit(cache=True, nogil=True)
@no_type_check
def _same_token(low, high, inputs, token, found):
    start, rows, window, document, score_half, places, first = inputs
    each = found.shape[2]
    for i in range(low, high):
        fired = rows[start[i] : start[i + 1]]
        n = np.zeros(2, np.int64)
        for attempt in range(_TRIES):
            for t in token[i]:
                if t < 0 or n.min() == each:
                    break
                count = first[t + 1] - first[t]
                if count <= _TRIES:  # few places: all of them are looked at
                    if attempt >= count:
                        continue
                    pick = np.int64(attempt)
                else:
                    pick = np.int64(drawn(t, attempt + 3) % np.uint64(count))
                row = np.int64(places[first[t] + pick])
                half = np.int64(score_half[window[row]])
                at = np.searchsorted(fired, row)
                silent = at == fired.shape[0] or fired[at] != row
                if silent and n[half] < each and _fits(row, found[i, half], n[half], window, document):
                    found[i, half, n[half]] = row
                    n[half] += 1


@njit(cache=True, nogil=True)
@no_type_check
def _alike_places(low, high, inputs, found):
    token, nearest, like, ids, window_start, document, score_half = inputs
    each = found.shape[2]
    for i in range(low, high):
        n = np.zeros(2, np.int64)
        if token[i, 0] < 0:  # it never fired: nothing is like its text
            continue
        for w in nearest[i]:
            half = np.int64(score_half[w])
            if not np.isfinite(like[i, w]) or n[half] == each:
                continue
            same = 0
            for k in range(n[half]):
                home = np.searchsorted(window_start, found[i, half, k], side="right") - 1
                same += document[home] == document[w]
            if same < A_DOCUMENT:
                found[i, half, n[half]] = _place(window_start[w], window_start[w + 1], ids, token[i])
                n[half] += 1


@njit(cache=True, nogil=True)
@no_type_check
def _place(begin, end, ids, token):
    """The row in a window of the first of these tokens that stands there, else one by lot."""
    for t in token:
        if t >= 0:
            for row in range(begin, end):
                if ids[row] == t:
                    return row
    return begin + np.int64(drawn(begin, 2) % np.uint64(end - begin))

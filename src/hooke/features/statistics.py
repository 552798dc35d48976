"""Statistics: how often, how strongly and on which tokens and documents each feature fired, from its events."""

import itertools
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import njit

from hooke.atlas.records import HISTOGRAM_BINS, QUANTILES, TokenCount
from hooke.engine import in_parts
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events, placed

TOKENS = 20
"""Tokens kept of each feature."""
# Added to the count of each token that was read, for the log-odds (methods 4.5).
_ALPHA = 0.01
_PURITY = (1, 5, 20)


@dataclass(frozen=True)
class Statistics:
    """Figures of some features, one row each; what they mean is said at the fields of `FeatureRecord` with the same names."""

    count: np.ndarray
    max: np.ndarray
    mean: np.ndarray
    quantiles: np.ndarray
    histogram: np.ndarray
    documents: np.ndarray
    persistence: np.ndarray
    commonest: np.ndarray
    purity: np.ndarray
    token: np.ndarray
    """``[feature, TOKENS]``: the tokens with the largest shares of activation, most first; -1 where there are no more."""
    token_count: np.ndarray
    token_share: np.ndarray
    token_enrichment: np.ndarray

    def tokens(self, feature: int) -> list[TokenCount]:
        """The tokens of one feature as records."""
        rows = zip(self.token[feature], self.token_count[feature], self.token_share[feature], self.token_enrichment[feature], strict=True)
        return [TokenCount(int(token), int(count), float(share), float(odds)) for token, count, share, odds in rows if token >= 0]


def statistics(events: Events, text: CorpusTokens, workers: int = 1) -> Statistics:
    """The figures of every feature of `events`, which are over the rows of `text`."""
    n = len(events)
    largest, mean, persistence, commonest = np.zeros(n, np.float32), np.zeros(n), np.zeros(n), np.zeros(n)
    quantiles, histogram = np.zeros((n, len(QUANTILES)), np.float32), np.zeros((n, HISTOGRAM_BINS), np.int64)
    documents, purity = np.zeros(n, np.int64), np.zeros((n, len(_PURITY)))
    token, token_count, mass = np.full((n, TOKENS), -1, np.int64), np.zeros((n, TOKENS), np.int64), np.zeros((n, TOKENS))
    inputs = (events.start, events.rows, events.values, text.ids, text.document[text.window], text.document_tokens, np.array(QUANTILES))
    figures = (largest, mean, quantiles, histogram, documents, persistence, commonest, purity)
    vocab = int(text.ids.max(initial=0)) + 1

    def measure(low: int, high: int) -> None:
        ordered = events.values[events.start[low] : events.start[high]].copy()
        for begin, end in itertools.pairwise((events.start[low : high + 1] - events.start[low]).tolist()):
            ordered[begin:end].sort()  # several times as fast as Numba's
        _measure(low, high, vocab, ordered, inputs, figures, (token, token_count, mass))

    in_parts(events.start, workers, measure)
    count = np.diff(events.start)
    share = np.divide(mass, (mean * count)[:, None], out=np.zeros_like(mass), where=count[:, None] > 0)
    odds = _log_odds(token, token_count, count, np.bincount(text.ids, minlength=vocab))
    return Statistics(
        count, largest, mean, quantiles, histogram, documents, persistence, commonest, purity, token, token_count, share, odds
    )


def _log_odds(token: np.ndarray, fired: np.ndarray, count: np.ndarray, everywhere: np.ndarray) -> np.ndarray:
    """``ln[(c_i(v) + α) / (C_i + αV)] − ln[(c(v) + α) / (C + αV)]``, V being the number of different tokens that were read."""
    extra = _ALPHA * np.count_nonzero(everywhere)
    inside = (fired + _ALPHA) / (count[:, None] + extra)
    outside = (everywhere[token] + _ALPHA) / (everywhere.sum() + extra)
    return np.where(token >= 0, np.log(inside / outside), 0.0)


@njit(cache=True, nogil=True)
@no_type_check
def _measure(low, high, vocab, ordered, inputs, figures, by_token):
    start, rows, values, ids, document, document_tokens, levels = inputs
    largest, mean, quantiles, histogram, documents, persistence, commonest, purity = figures
    token, token_count, token_mass = by_token
    of_document = np.zeros(document_tokens.shape[0], np.int64)
    of_token = np.zeros(vocab, np.int64)
    mass = np.zeros(vocab, np.float64)
    for i in range(low, high):
        own = values[start[i] : start[i + 1]]
        where = rows[start[i] : start[i + 1]]
        if own.shape[0] == 0:
            continue
        _range((own, ordered[start[i] - start[low] : start[i + 1] - start[low]]), levels, i, largest, mean, quantiles, histogram)
        total = mean[i] * own.shape[0]
        met_documents = _counted(document, where, of_document)
        share = 0.0
        for d in met_documents:
            share += of_document[d] / document_tokens[d]
            of_document[d] = 0
        documents[i] = met_documents.shape[0]
        persistence[i] = share / met_documents.shape[0]
        met = _counted(ids, where, of_token)
        for e in range(own.shape[0]):
            mass[ids[where[e]]] += own[e]
        most = 0
        for t in met:
            most = max(most, of_token[t])
        first = _heaviest(met, mass, token.shape[1])
        upto = 0.0
        for place in range(first.shape[0]):
            t = first[place]
            upto += mass[t]
            for p in range(3):
                if place < (1, 5, 20)[p]:
                    purity[i, p] = min(1.0, upto / total)
            token[i, place] = t
            token_count[i, place] = of_token[t]
            token_mass[i, place] = mass[t]
        commonest[i] = most / own.shape[0]
        for t in met:
            of_token[t] = 0
            mass[t] = 0.0


@njit(cache=True, nogil=True)
@no_type_check
def _heaviest(met, mass, most):
    """The first `most` of the tokens `met` by mass, heaviest first, the lower number first of equals."""
    first, weight, n = np.empty(most, np.int64), np.empty(most), 0
    for t in met:
        n = placed(mass[t], t, weight, first, n)
    return first[:n]


@njit(cache=True, nogil=True)
@no_type_check
def _counted(number, where, counts):
    """Count the numbers of the rows `where` in `counts`, which begins as zeros; gives those that occur, in the order they are met."""
    met = np.empty(where.shape[0], np.int64)
    n = 0
    for row in where:
        k = number[row]
        if counts[k] == 0:
            met[n] = k
            n += 1
        counts[k] += 1
    return met[:n].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _range(values, levels, i, largest, mean, quantiles, histogram):
    """Mean, maximum, quantiles (linear between neighbours) and histogram of `values`, given as they are and in order, into row `i`."""
    own, ordered = values
    top = np.float64(ordered[-1])
    largest[i] = ordered[-1]
    total = 0.0
    bins = histogram.shape[1]
    width = top / bins
    for v in own:
        total += v
        k = min(int(v / top * bins), bins - 1)
        # The division may land one off at an edge; the edges themselves decide.
        if k > 0 and v < k * width:
            k -= 1
        elif k < bins - 1 and v >= (k + 1) * width:
            k += 1
        histogram[i, k] += 1
    mean[i] = total / own.shape[0]
    for q in range(levels.shape[0]):
        at = levels[q] * (own.shape[0] - 1)
        below = int(at)
        above = min(below + 1, own.shape[0] - 1)
        quantiles[i, q] = ordered[below] + (np.float64(ordered[above]) - ordered[below]) * (at - below)

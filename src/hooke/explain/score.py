"""Score: how well a rule tells a feature's places from others, with an interval that knows that places of one document go together."""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from hooke.atlas.records import Score
from hooke.explain.rules.search import NEAR_MISS, POSITIVE, RANDOM

_Z = 1.96


def balanced(holds: np.ndarray, kind: np.ndarray, doc: np.ndarray) -> Score:
    """Balanced accuracy (TPR + TNR) / 2 of a rule, given where it holds, what each place is, and the document of each.

    TNR is the mean of those on near misses and on random places, where there are both. The 95 % interval is Newcombe's for a sum of
    proportions (Statistics in Medicine 17, 1998), each with Wilson's interval for as many independent places as its documents are worth.
    """
    parts = [(kind == POSITIVE, holds)] + [(kind == negative, ~holds) for negative in (NEAR_MISS, RANDOM) if (kind == negative).any()]
    if len(parts) == 1 or not parts[0][0].any():
        raise ValueError("a score needs positives and negatives")
    value = below = above = 0.0
    for number, (own, right) in enumerate(parts):
        share = 0.5 if number == 0 else 0.5 / (len(parts) - 1)
        rate, low, high = _proportion(right[own], doc[own])
        value += share * rate
        below += (share * (rate - low)) ** 2
        above += (share * (high - rate)) ** 2
    positives = int(parts[0][0].sum())
    ends = max(0.0, value - math.sqrt(below)), min(1.0, value + math.sqrt(above))
    return Score(value, *ends, positives, len(holds) - positives)


def near_only(holds: np.ndarray, kind: np.ndarray) -> float | None:
    """Balanced accuracy against near misses alone; None where there are none."""
    if not (kind == NEAR_MISS).any():
        return None
    return float((holds[kind == POSITIVE].mean() + (~holds[kind == NEAR_MISS]).mean()) / 2)


def _proportion(right: np.ndarray, doc: np.ndarray) -> tuple[float, float, float]:
    """A share, and Wilson's interval for it.

    Its number of independent places is what gives the variance of a ratio over documents: n' = p (1 − p) / var, at most n, and the number
    of documents where all agree.
    """
    n, docs, rate, variance = _spread(right, doc)
    spread = rate * (1 - rate)
    effective = max(1.0, min(float(n), spread / variance)) if spread > 0 and variance > 0 else float(docs)
    centre = (rate + _Z**2 / (2 * effective)) / (1 + _Z**2 / effective)
    half = _Z * math.sqrt(spread / effective + _Z**2 / (4 * effective**2)) / (1 + _Z**2 / effective)
    return rate, max(0.0, centre - half), min(1.0, centre + half)


@njit(cache=True, nogil=True)
@no_type_check
def _spread(right, doc):
    """How many places there are, of how many documents, the share that is right, and the variance of it as a ratio over documents."""
    n, size = len(doc), 4
    while size < 2 * n:
        size *= 2
    # Documents in a table by their keys, which are digests: the next free place where one is taken.
    place, key = np.full(size, -1, np.int64), np.empty(n, np.int64)
    count, held, docs = np.zeros(n), np.zeros(n), 0
    for i in range(n):
        at = (doc[i] ^ (doc[i] >> 15)) & (size - 1)
        while place[at] >= 0 and key[place[at]] != doc[i]:
            at = (at + 1) & (size - 1)
        if place[at] < 0:
            place[at], key[docs] = docs, doc[i]
            docs += 1
        count[place[at]] += 1
        held[place[at]] += right[i]
    rate = held.sum() / n
    variance = 0.0
    for k in range(docs):
        variance += (held[k] - rate * count[k]) ** 2
    return n, docs, rate, variance / n**2

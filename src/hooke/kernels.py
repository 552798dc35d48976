"""Kernels: the sparse half of an SAE's training step on CPU, in Numba. Naive twins of all of them stand in the tests.

Codes are CSR: row ``t`` of the batch holds entries ``indptr[t]:indptr[t+1]`` of ``feature`` and ``value``. Encoder weights are held by
feature (``[d_sae, d_in]``), so that one feature's gradient touches one row of each matrix.
"""

from typing import no_type_check  # on every compiled function: the tests' type checker wraps the others, and Numba cannot compile a wrapper

import numpy as np
from numba import njit, prange

_POSITIVE = 1 << 15
_OPTIONS = {"parallel": True, "fastmath": {"reassoc", "contract", "nsz"}, "cache": True, "nogil": True}


def batch_topk(bits: np.ndarray, keep: int, floor: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The `keep` largest positive entries of a bfloat16 matrix, given as its bits ``int16 [token, d_sae]``, as CSR; and the cut-off's bits.

    Positive bfloat16 numbers order as their bits do, so a histogram of 32,768 bins finds the exact cut-off. Of entries equal to the
    cut-off the first in row-major order are kept. Fewer than `keep` positive entries: all of them. `floor` is a guess: entries whose bits
    are below it are looked at only if too few are above, so a guess a little under the answer makes it fast, and none makes it wrong.
    """
    indptr, feature, found = _at_least(bits, floor)
    if len(found) < keep and floor > 1:
        indptr, feature, found = _at_least(bits, 1)
    counts = np.bincount(found, minlength=_POSITIVE)
    above = np.cumsum(counts[::-1])[::-1]  # above[b]: entries with bits >= b
    cut = max(1, int(np.searchsorted(-above, -keep, side="right")) - 1)  # the largest value that at least `keep` entries reach
    ties = keep - (int(above[cut + 1]) if cut + 1 < _POSITIVE else 0)
    return (*_cut(indptr, feature, found, cut, ties), cut)


@njit(**_OPTIONS)
@no_type_check
def _at_least(bits, floor):
    rows = bits.shape[0]
    indptr = np.zeros(rows + 1, np.int64)
    for t in prange(rows):
        count = 0
        for i in range(bits.shape[1]):
            count += bits[t, i] >= floor
        indptr[t + 1] = count
    for t in range(rows):
        indptr[t + 1] += indptr[t]
    feature = np.empty(indptr[rows], np.int32)
    found = np.empty(indptr[rows], np.int16)
    for t in prange(rows):
        at = indptr[t]
        for i in range(bits.shape[1]):
            if bits[t, i] >= floor:
                feature[at] = i
                found[at] = bits[t, i]
                at += 1
    return indptr, feature, found


@njit(cache=True, nogil=True)
@no_type_check
def _cut(indptr, feature, found, cut, ties):
    kept_ptr = np.zeros_like(indptr)
    kept = np.empty_like(feature)
    value = np.empty(feature.shape[0], np.uint32)
    at = 0
    for t in range(indptr.shape[0] - 1):
        for e in range(indptr[t], indptr[t + 1]):
            b = found[e]
            if b > cut or (b == cut and ties > 0):
                if b == cut:
                    ties -= 1
                kept[at] = feature[e]
                value[at] = np.uint32(b) << np.uint32(16)
                at += 1
        kept_ptr[t + 1] = at
    return kept_ptr, kept[:at].copy(), value[:at].copy().view(np.float32)


@njit(**_OPTIONS)
@no_type_check
def decode_error(indptr, feature, value, W_dec, target, error, code_gradient):
    """``error = codes W_dec − target`` ``[token, d]`` and, for every entry, ``code_gradient = error · W_dec[feature]``."""
    for t in prange(target.shape[0]):
        row = error[t]
        for j in range(row.shape[0]):
            row[j] = -target[t, j]
        for e in range(indptr[t], indptr[t + 1]):
            w = W_dec[feature[e]]
            f = value[e]
            for j in range(row.shape[0]):
                row[j] += f * w[j]
        for e in range(indptr[t], indptr[t + 1]):
            w = W_dec[feature[e]]
            total = np.float32(0.0)
            for j in range(row.shape[0]):
                total += row[j] * w[j]
            code_gradient[e] = total


@njit(cache=True, nogil=True)
@no_type_check
def by_feature(indptr, feature, d_sae):
    """The entries of CSR codes grouped by feature: where each feature's run begins, the entries, and their rows."""
    start = np.zeros(d_sae + 1, np.int64)
    for e in range(feature.shape[0]):
        start[feature[e] + 1] += 1
    for i in range(d_sae):
        start[i + 1] += start[i]
    place = start[:-1].copy()
    entry = np.empty(feature.shape[0], np.int64)
    row = np.empty(feature.shape[0], np.int32)
    for t in range(indptr.shape[0] - 1):
        for e in range(indptr[t], indptr[t + 1]):
            at = place[feature[e]]
            place[feature[e]] += 1
            entry[at] = e
            row[at] = t
    return start, entry, row


@njit(**_OPTIONS)
@no_type_check
def add_gradients(start, entry, row, value, code_gradient, acts, error, scale, dW_dec, dW_enc, db_enc):
    """Add this batch's gradients, times `scale`: ``dW_dec[i] += Σ f·error``, ``dW_enc[i] += Σ g·x``, ``db_enc[i] += Σ g``."""
    for i in prange(start.shape[0] - 1):
        dec = dW_dec[i]
        enc = dW_enc[i]
        for at in range(start[i], start[i + 1]):
            t = row[at]
            f = scale * value[entry[at]]
            g = scale * code_gradient[entry[at]]
            for j in range(dec.shape[0]):
                dec[j] += f * error[t, j]
            for j in range(enc.shape[0]):
                enc[j] += g * acts[t, j]
            db_enc[i] += g


@njit(**_OPTIONS)
@no_type_check
def adam_rows(weights, gradient, first, second, lr, beta1, beta2, eps, step, unit_rows):
    """One Adam step on every row; zeroes `gradient`.

    With `unit_rows` the part of the gradient along a row is taken out before the step, and the row is scaled to length 1 after it
    (Gemma Scope, arXiv 2408.05147, section 3.2).
    """
    scale1 = np.float32(1.0 / (1.0 - beta1**step))
    scale2 = np.float32(1.0 / (1.0 - beta2**step))
    b1, b2 = np.float32(beta1), np.float32(beta2)
    c1, c2 = np.float32(1.0 - beta1), np.float32(1.0 - beta2)
    rate, small = np.float32(lr), np.float32(eps)
    for i in prange(weights.shape[0]):
        w, g, m, v = weights[i], gradient[i], first[i], second[i]
        along = np.float32(0.0)
        if unit_rows:
            for j in range(w.shape[0]):
                along += g[j] * w[j]
        square = np.float32(0.0)
        for j in range(w.shape[0]):
            d = g[j] - along * w[j]
            m[j] = b1 * m[j] + c1 * d
            v[j] = b2 * v[j] + c2 * d * d
            w[j] -= rate * (m[j] * scale1) / (np.sqrt(v[j] * scale2) + small)
            square += w[j] * w[j]
            g[j] = 0.0
        if unit_rows:
            length = np.float32(1.0) / max(np.sqrt(square), np.float32(1e-12))
            for j in range(w.shape[0]):
                w[j] *= length

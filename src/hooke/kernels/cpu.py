"""Kernels for the CPU: torch tensors in and out, Numba within, dense products where codes are not sparse."""

from typing import no_type_check  # on every compiled function: the tests' type checker wraps the others, and Numba cannot compile a wrapper

import numpy as np
import torch
from jaxtyping import BFloat16, Float
from numba import njit, prange
from torch import Tensor

from hooke.kernels import Entries, Gradients, Layout, Parameter, dense

_POSITIVE = 1 << 15
_OPTIONS = {"parallel": True, "fastmath": {"reassoc", "contract", "nsz"}, "cache": True, "nogil": True}
# Codes with more than this share of all entries active go through dense products: from here on those are faster.
_DENSE_SHARE = 1 / 12


def largest(pre: BFloat16[Tensor, "token d_sae"], keep: int, floor: int = 1) -> tuple[Entries, int]:
    """The `keep` largest positive entries of the batch, and the bit pattern of the smallest one kept.

    Positive bfloat16 numbers order as their bits do, so a histogram of 32,768 bins finds the exact cut-off. Of entries equal to the
    cut-off the first in row-major order are kept. Fewer than `keep` positive entries: all of them. `floor` is a guess: entries whose bits
    are below it are looked at only if too few are above, so a guess a little under the answer makes it fast, and none makes it wrong.
    """
    bits = pre.view(torch.int16).numpy()
    indptr, feature, found = _at_least(bits, floor)
    if len(found) < keep and floor > 1:
        indptr, feature, found = _at_least(bits, 1)
    counts = np.bincount(found, minlength=_POSITIVE)
    above = np.cumsum(counts[::-1])[::-1]  # above[b]: entries with bits >= b
    cut = max(1, int(np.searchsorted(-above, -keep, side="right")) - 1)  # the largest value that at least `keep` entries reach
    ties = keep - (int(above[cut + 1]) if cut + 1 < _POSITIVE else 0)
    return _entries(*_cut(indptr, feature, found, cut, ties)), cut


def largest_per_token(pre: BFloat16[Tensor, "token d_sae"], k: int, floor: int = 1) -> tuple[Entries, int]:
    """Each token's `k` largest positive entries (all of them where there are fewer), the first of equals; `floor` is a guess as above.

    Also gives a floor for a batch like this one: the bit pattern that nearly every token's smallest kept entry exceeds.
    """
    bits = pre.view(torch.int16).numpy()
    counts, feature, found = _row_largest(bits, k, floor)
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    kept = np.arange(k) < counts[:, None]
    lowest = found.min(axis=1, where=kept, initial=_POSITIVE - 1) if len(found) else np.ones(1)
    value = found[kept].astype(np.uint32) << np.uint32(16)
    return _entries(indptr, feature[kept], value.view(np.float32)), max(1, int(np.quantile(lowest, 0.02)))


def above(pre: BFloat16[Tensor, "token d_sae"], floor: Float[Tensor, " d_sae"]) -> Entries:
    """Every entry that is at least its feature's `floor` (rounded down to bfloat16)."""
    bits = pre.view(torch.int16).numpy()
    indptr, feature, found = _at_least_by_feature(bits, _ordered(_round_down(floor)))
    return _entries(indptr, feature, (found.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32))


def _round_down(value: Float[Tensor, " d_sae"]) -> np.ndarray:
    """The largest bfloat16 numbers that are not above `value`, as bits."""
    near = value.bfloat16()
    bits = near.view(torch.int16).numpy()
    ordered = _ordered(bits) - (near.float() > value).numpy()
    return _ordered(ordered.astype(np.int16))


def _ordered(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bit patterns as integers that order as the numbers do; its own inverse."""
    return bits ^ ((bits >> np.int16(15)) & np.int16(0x7FFF))


def decode(
    entries: Entries, W_dec: BFloat16[Tensor, "d_sae d_out"], target: Float[Tensor, "token d_out"], layout: Layout
) -> tuple[Float[Tensor, "token d_out"], Float[Tensor, "group token d_out"], Float[Tensor, " nnz"]]:
    """Errors and how they pull at the codes.

    ``error = codes W_dec − target``; ``grad_recon[g] = Σ_{h ≥ g} weight_h · error_h``, ``error_h`` being that of the
    prefix ``h`` alone (one prefix: ``grad_recon[0]`` is `error`); and for every entry ``grad_recon[its group] · W_dec[its feature]``.
    """
    if dense.suits(entries, len(W_dec), _DENSE_SHARE):
        return dense.decode(entries, W_dec, target, layout)
    grad_recon = torch.empty(len(layout.ends), *target.shape)
    error = grad_recon[-1] if len(grad_recon) == 1 else torch.empty_like(target)
    grad_acts = torch.empty_like(entries.value)
    places = (layout.ends, layout.weights, layout.group, layout.writes)
    arrays = (*entries, target, *places, error, grad_recon, grad_acts)
    _decode(_bits(W_dec), *[array.numpy() for array in arrays])
    return error, grad_recon, grad_acts


def add_gradients(
    entries: Entries,
    grad_pre: Float[Tensor, " nnz"],
    acts: BFloat16[Tensor, "token d_in"],
    grad_recon: BFloat16[Tensor, "group token d_out"],
    layout: Layout,
    scale: float,
    into: Gradients,
) -> None:
    """Add to `into`, times `scale`: ``W_dec[i] += Σ value · grad_recon``, ``W_enc[i] += Σ grad_pre · acts``, ``b_enc[i] += Σ grad_pre``.

    Two rows are read for every entry, and memory is what that waits for: hence bfloat16 here and in `decode`. Sums are float32.
    """
    if dense.suits(entries, len(into.W_dec), _DENSE_SHARE):
        dense.add_gradients(entries, grad_pre, acts, grad_recon, layout, scale, into)
        return
    grouped = _by_feature(entries.indptr.numpy(), entries.feature.numpy(), len(into.b_enc))
    rows = (_bits(acts), _bits(grad_recon))
    arrays = (layout.group, layout.reads, layout.writes, *into)
    _add_gradients(*[*grouped, entries.value.numpy(), grad_pre.numpy(), *rows, *(array.numpy() for array in arrays), np.float32(scale)])


def _bits(value: Tensor) -> np.ndarray:
    """The bits of bfloat16 numbers, as `_wide` reads them."""
    return value.view(torch.int16).numpy().view(np.uint16)


def adam(parameter: Parameter, step: int, lr: float, betas: tuple[float, float], eps: float, *, unit_rows: bool = False) -> None:
    """Adam's step number `step` (from 1) on a parameter; its gradient is set to zero.

    With `unit_rows` the part of the gradient along a row is taken out before the step, and the row is scaled to length 1 after it
    (Gemma Scope, arXiv 2408.05147, section 3.2).
    """
    arrays = [np.atleast_2d(tensor.numpy()) for tensor in (parameter.value, parameter.gradient, parameter.first, parameter.second)]
    _adam_rows(*[*arrays, lr, *betas, eps, step, unit_rows])


def _entries(indptr: np.ndarray, feature: np.ndarray, value: np.ndarray) -> Entries:
    return Entries(torch.from_numpy(indptr), torch.from_numpy(feature), torch.from_numpy(value))


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


@njit(**_OPTIONS)
@no_type_check
def _at_least_by_feature(bits, floor):
    rows = bits.shape[0]
    indptr = np.zeros(rows + 1, np.int64)
    for t in prange(rows):
        count = 0
        for i in range(bits.shape[1]):
            b = bits[t, i]
            count += (b ^ ((b >> np.int16(15)) & np.int16(0x7FFF))) >= floor[i]
        indptr[t + 1] = count
    for t in range(rows):
        indptr[t + 1] += indptr[t]
    feature = np.empty(indptr[rows], np.int32)
    found = np.empty(indptr[rows], np.int16)
    for t in prange(rows):
        at = indptr[t]
        for i in range(bits.shape[1]):
            b = bits[t, i]
            if (b ^ ((b >> np.int16(15)) & np.int16(0x7FFF))) >= floor[i]:
                feature[at] = i
                found[at] = b
                at += 1
    return indptr, feature, found


@njit(**_OPTIONS)
@no_type_check
def _row_largest(bits, k, floor):
    rows = bits.shape[0]
    counts = np.zeros(rows, np.int64)
    feature = np.zeros((rows, k), np.int32)
    found = np.zeros((rows, k), np.int16)
    for t in prange(rows):
        low = floor
        count = 0
        for i in range(bits.shape[1]):
            count += bits[t, i] >= low
        if count < k and low > 1:
            low = 1
            count = 0
            for i in range(bits.shape[1]):
                count += bits[t, i] >= low
        candidates = np.empty(count, np.int16)
        at = 0
        for i in range(bits.shape[1]):
            if bits[t, i] >= low:
                candidates[at] = bits[t, i]
                at += 1
        if count > k:
            candidates.sort()
            low = candidates[count - k]
            ties = 0
            for c in range(count - k, count):
                ties += candidates[c] == low
        else:
            ties = count
        at = 0
        for i in range(bits.shape[1]):
            b = bits[t, i]
            if b >= low and at < k:
                if b == low:
                    if ties == 0:
                        continue
                    ties -= 1
                feature[t, at] = i
                found[t, at] = b
                at += 1
        counts[t] = at
    return counts, feature, found


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


@njit(inline="always")
@no_type_check
def _wide(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(**_OPTIONS)
@no_type_check
def _decode(W_dec, indptr, feature, value, target, ends, weights, group, writes, error, grad_recon, grad_acts):
    groups = grad_recon.shape[0]
    d = target.shape[1]
    for t in prange(target.shape[0]):
        row = error[t]
        for j in range(d):
            row[j] = -target[t, j]
        e = indptr[t]
        for g in range(groups):
            end = e
            while end < indptr[t + 1] and feature[end] < ends[g]:
                end += 1
            while e + 3 < end and writes[feature[e]] == writes[feature[e + 3]]:  # four at a time, as below; features ascend, as writes do
                low = writes[feature[e]]
                part = row[low:]
                w0, w1, w2, w3 = (
                    W_dec[feature[e], low:],
                    W_dec[feature[e + 1], low:],
                    W_dec[feature[e + 2], low:],
                    W_dec[feature[e + 3], low:],
                )
                f0, f1, f2, f3 = value[e], value[e + 1], value[e + 2], value[e + 3]
                for j in range(part.shape[0]):
                    part[j] += f0 * _wide(w0[j]) + f1 * _wide(w1[j]) + f2 * _wide(w2[j]) + f3 * _wide(w3[j])
                e += 4
            while e < end:
                i = feature[e]
                w = W_dec[i, writes[i] :]
                part = row[writes[i] :]
                f = value[e]
                for j in range(w.shape[0]):
                    part[j] += f * _wide(w[j])
                e += 1
            if groups > 1:
                for j in range(d):
                    grad_recon[g, t, j] = weights[g] * row[j]
        for g in range(groups - 2, -1, -1):
            for j in range(d):
                grad_recon[g, t, j] += grad_recon[g + 1, t, j]
        for e in range(indptr[t], indptr[t + 1]):
            i = feature[e]
            w = W_dec[i, writes[i] :]
            p = grad_recon[group[i], t, writes[i] :]
            total = np.float32(0.0)
            for j in range(w.shape[0]):
                total += p[j] * _wide(w[j])
            grad_acts[e] = total


@njit(cache=True, nogil=True)
@no_type_check
def _by_feature(indptr, feature, d_sae):
    """The entries grouped by feature: where each feature's run begins, the entries, and their rows."""
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
def _add_gradients(start, entry, row, value, grad_pre, acts, grad_recon, group, reads, writes, dW_dec, dW_enc, db_enc, scale):
    for i in prange(start.shape[0] - 1):
        low, own, first = writes[i], group[i], reads[i]
        dec = dW_dec[i, low:]
        enc = dW_enc[i]
        at = start[i]
        while at + 3 < start[i + 1]:  # four entries at a time, so that the sums are fetched and put back a quarter as often
            e0, e1, e2, e3 = entry[at], entry[at + 1], entry[at + 2], entry[at + 3]
            t0, t1, t2, t3 = row[at], row[at + 1], row[at + 2], row[at + 3]
            f0, f1, f2, f3 = scale * value[e0], scale * value[e1], scale * value[e2], scale * value[e3]
            g0, g1, g2, g3 = scale * grad_pre[e0], scale * grad_pre[e1], scale * grad_pre[e2], scale * grad_pre[e3]
            p0, p1, p2, p3 = grad_recon[own, t0, low:], grad_recon[own, t1, low:], grad_recon[own, t2, low:], grad_recon[own, t3, low:]
            for j in range(dec.shape[0]):
                dec[j] += f0 * _wide(p0[j]) + f1 * _wide(p1[j]) + f2 * _wide(p2[j]) + f3 * _wide(p3[j])
            x0, x1, x2, x3 = acts[t0, first:], acts[t1, first:], acts[t2, first:], acts[t3, first:]
            for j in range(enc.shape[0]):
                enc[j] += g0 * _wide(x0[j]) + g1 * _wide(x1[j]) + g2 * _wide(x2[j]) + g3 * _wide(x3[j])
            db_enc[i] += g0 + g1 + g2 + g3
            at += 4
        while at < start[i + 1]:
            f = scale * value[entry[at]]
            g = scale * grad_pre[entry[at]]
            p = grad_recon[own, row[at], low:]
            for j in range(dec.shape[0]):
                dec[j] += f * _wide(p[j])
            x = acts[row[at], first:]
            for j in range(enc.shape[0]):
                enc[j] += g * _wide(x[j])
            db_enc[i] += g
            at += 1


@njit(**_OPTIONS)
@no_type_check
def _adam_rows(weights, gradient, first, second, lr, beta1, beta2, eps, step, unit_rows):
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

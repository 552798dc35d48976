"""Elementwise: what a transformer does between its matrix products, in bfloat16 on the CPU, each in one reading of memory."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import BFloat16, Float
from numba import njit
from torch import Tensor

from hooke.devices import threads

# Fewer values than this are not worth a second thread.
_ALONE = 1 << 16


def rms_norm(x: BFloat16[Tensor, "row d"], gain: Float[Tensor, " d"], eps: float) -> BFloat16[Tensor, "row d"]:
    """``x / sqrt(mean(x²) + eps) · gain`` of every row, computed in float32 and rounded once. `x` is contiguous, on the CPU."""
    out = torch.empty_like(x)
    bits, made, scale = _bits(x), _bits(out), gain.float().contiguous().numpy()
    _shared(len(bits), x.numel(), lambda low, high: _rms(bits[low:high], scale, np.float32(eps), made[low:high]))
    return out


def table_of(function: Callable[[Tensor], Tensor]) -> BFloat16[Tensor, "65536"]:
    """What `function` makes of every bfloat16 there is, in the order of their bits: 128 KiB that stand for it."""
    return function(torch.arange(1 << 16).to(torch.int16).view(torch.bfloat16))


def gated(table: BFloat16[Tensor, "65536"], gate: BFloat16[Tensor, "... d"], up: BFloat16[Tensor, "... d"]) -> BFloat16[Tensor, "... d"]:
    """``function(gate) · up`` for the function of `table`, rounded after each of the two. Contiguous, on the CPU."""
    out = torch.empty_like(gate)
    known, left, right, made = (_bits(part).reshape(-1) for part in (table, gate, up, out))
    _shared(len(left), len(left), lambda low, high: _gated(known, left[low:high], right[low:high], made[low:high]))
    return out


def _bits(x: Tensor) -> np.ndarray:
    return x.detach().view(torch.int16).numpy().view(np.uint16)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "elementwise")


def _shared(count: int, size: int, work: Callable[[int, int], object]) -> None:
    """``work(low, high)`` for runs of the numbers to `count`, one run a thread, the last of them here."""
    parts = threads() if size > _ALONE else 1
    edges = [count * i // parts for i in range(parts + 1)]
    others = [_pool(parts - 1).submit(work, low, high) for low, high in itertools.pairwise(edges[:-1])]
    work(edges[-2], edges[-1])
    for other in others:
        other.result()


@njit(inline="always")
@no_type_check
def _float(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
@no_type_check
def _rounded(value):
    """The bits of the nearest bfloat16, of two as near the even one."""
    bits = np.float32(value).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@njit(cache=True, nogil=True, fastmath={"reassoc"})
@no_type_check
def _squares(x):
    total = np.float32(0)
    for j in range(len(x)):
        value = _float(x[j])
        total += value * value
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _rms(x, gain, eps, out):
    for i in range(x.shape[0]):
        scale = np.float32(1) / np.sqrt(_squares(x[i]) / np.float32(x.shape[1]) + eps)
        for j in range(x.shape[1]):
            out[i, j] = _rounded(_float(x[i, j]) * scale * gain[j])


@njit(cache=True, nogil=True)
@no_type_check
def _gated(table, gate, up, out):
    for i in range(len(gate)):
        out[i] = _rounded(_float(table[gate[i]]) * _float(up[i]))

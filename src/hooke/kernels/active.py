"""Active: a JumpReLU SAE's codes on the CPU. A bfloat16 product says which features may be active, float32 products which of them are."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import BFloat16, Float
from numba import njit
from torch import Tensor

from hooke.kernels import coordinate_units

# Rough pre-activations held at a time: 32 MiB. More at a time, and threads take turns less often.
_ROUGH_VALUES = 1 << 24
# Where more than this share of all entries may be active, a dense product is faster than looking at each of them.
_SHARE = 1 / 16
# A sum of n products in float32, in whatever order, is wrong by at most about n · 2⁻²⁴ of their lengths' product (Higham, Accuracy and
# Stability, 3.1). Four times that: for processors whose bfloat16 arithmetic rounds less carefully.
_UNIT = 4 * 2.0**-24
# Squares of numbers that lengths are measured of must be numbers, too: shorter ones count as this long.
_SHORT = 1e-16
_TINY, _HUGE = 1e-30, 1e38


@dataclass(frozen=True)
class JumpReluEncoder:
    """A JumpReLU SAE's encoder, laid out to find `codes` fast.

    Coordinates are brought to one scale, activations against weights, and columns are divided by a step of their own, their largest
    value being 127 steps: weights that were stored in 8 bits become exact in bfloat16. What other weights lose in it, and what activations
    do, is known as a length, so by Cauchy and Schwarz a product of the rounded ones is wrong by at most
    ``|x| |lost weights| + |lost x| |weights|``: nothing that is active is overlooked.
    """

    rough: BFloat16[Tensor, "d_in d_sae"]
    """The weights in steps, rounded."""
    unit: Float[Tensor, " d_in"]
    """What the coordinates of those were divided by."""
    rows: np.ndarray
    """``[d_sae, d_in]``: the weights, a row for each feature."""
    bias: np.ndarray
    threshold: np.ndarray
    floor: np.ndarray
    """``[d_sae]``: what a product must exceed in steps, were it exact."""
    slack: np.ndarray
    """``[2, d_sae]``: how much less is enough, for each unit of an activation's length, and of the length it loses in bfloat16."""

    @classmethod
    def of(
        cls, W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, " d_sae"], threshold: Float[Tensor, " d_sae"]
    ) -> "JumpReluEncoder":
        """From an SAE's weights, which are read and kept no hold of."""
        unit = coordinate_units(W_enc.T)
        even = W_enc / unit[:, None]
        largest = even.abs().amax(0)
        step = torch.where(largest > _TINY, largest / 127, 1)
        in_steps = even / step
        rough = in_steps.bfloat16()
        length, lost = in_steps.norm(dim=0), (rough.float() - in_steps).norm(dim=0)
        floor = (threshold.double() - b_enc.double()) / step.double()
        floor -= floor.abs() * 2.0**-20  # is itself rounded, here and in the kernel
        slack = torch.stack([lost + len(W_enc) * _UNIT * length, length]) * (1 + 2.0**-10)
        arrays = (W_enc.T.contiguous(), b_enc.clone(), threshold.clone(), floor.clamp(-_HUGE, _HUGE).float(), slack)
        return cls(rough, unit, *(array.numpy() for array in arrays))

    def codes(self, acts: Float[Tensor, "token d_in"]) -> tuple[Tensor, Tensor, Tensor] | None:
        """``indptr``, ``feature`` (ascending in a row) and ``value`` of everything above its threshold in ``acts W_enc + b_enc``.

        The products are float32, and each depends on its own token alone. None where a dense product is better: so much may be active, or
        there are numbers that are not finite.
        """
        threads, parts = torch.get_num_threads(), []
        with ThreadPoolExecutor(threads) as pool:
            for block in acts.split(max(1, _ROUGH_VALUES // len(self.floor))):
                x = block.float().contiguous()
                even = x * self.unit
                small = even.bfloat16()
                size = torch.stack([even.norm(dim=1), (even - small.float()).norm(dim=1)], 1)
                if not size.isfinite().all():
                    return None
                rough = (small @ self.rough).view(torch.int16).numpy().view(np.uint16)
                arrays = (rough, size.clamp_min(_SHORT).numpy(), x.numpy())
                step = -(-len(x) // threads)
                shares = [tuple(array[low : low + step] for array in arrays) for low in range(0, len(x), step)]
                parts += pool.map(lambda share: self._codes(*share), shares)
                if None in parts:
                    return None
        counts, feature, value = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
        return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]), feature, value

    def _codes(self, rough: np.ndarray, size: np.ndarray, acts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Codes of some tokens, how many each has first; None where there may be too many."""
        kept, feature, value, fits = _decide(
            rough, size, (self.floor, self.slack), acts, (self.rows, self.bias, self.threshold), int(_SHARE * rough.size)
        )
        return (kept, feature, value) if fits else None


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _may(bits, size, rest, floor, for_size, for_rest):
    """Whether a product that became `bits` in bfloat16 may exceed its floor. Rounding keeps the order, so the floor is rounded too."""
    least = floor - size * for_size - rest * for_rest
    value = np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
    return not value < least - abs(least) * np.float32(2.0**-8)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
@no_type_check
def _product(a, b):
    total = np.float32(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _decide(rough, size, bounds, acts, weights, most):
    floor, slack, for_rest = bounds[0], bounds[1][0], bounds[1][1]
    rows, bias, threshold = weights
    feature, value = np.empty(most, np.int64), np.empty(most, np.float32)
    kept = np.zeros(rough.shape[0], np.int64)
    # Few features may be active: whether any of eight may is asked first.
    may = np.zeros(-(-rough.shape[1] // 8) * 8, np.uint8)
    eights = may.view(np.uint64)
    at = asked = 0
    for t in range(rough.shape[0]):
        begin = at
        for i in range(rough.shape[1]):
            may[i] = _may(rough[t, i], size[t, 0], size[t, 1], floor[i], slack[i], for_rest[i])
        for eight in range(eights.shape[0]):
            if eights[eight] == 0:
                continue
            for i in range(8 * eight, 8 * eight + 8):
                if may[i]:
                    asked += 1
                    if asked > most:
                        return kept, feature[:0], value[:0], False
                    total = _product(acts[t], rows[i]) + bias[i]
                    if total > threshold[i]:
                        feature[at] = i
                        value[at] = total
                        at += 1
        kept[t] = at - begin
    return kept, feature[:at], value[:at], True

"""Neighbours: features that write alike, features that fire together, and the tokens that each feature makes likelier or less likely."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numba import njit
from torch import Tensor

from hooke.atlas.events import Events
from hooke.atlas.parallel import in_parts
from hooke.codes import Codes

_CELLS = 1 << 24
_PAIRS = 1 << 29
_DENSITY = (1e-6, 0.1)
_TOGETHER = 2
_CLOSER = 4
_ROWS, _FEATURES = 1 << 13, 2048
_SET = 8


@dataclass(frozen=True)
class Ranked:
    """For each feature, what is nearest to it, nearest first."""

    index: np.ndarray
    """``[feature, count]``: numbers of features or tokens; -1 where there are no more."""
    value: np.ndarray
    """How near each is."""

    def of(self, feature: int) -> list[tuple[int, float]]:
        """What is nearest to one feature, and how near."""
        pairs = zip(self.index[feature].tolist(), self.value[feature].tolist(), strict=True)
        return [(index, value) for index, value in pairs if index >= 0]

    @classmethod
    def cat(cls, parts: "Sequence[tuple[Tensor, Tensor]]") -> "Ranked":
        """One after the other the rows of several parts."""
        return cls(torch.cat([index for index, _ in parts]).int().numpy(), torch.cat([value for _, value in parts]).float().numpy())


@torch.inference_mode()
def decoder_neighbours(W_dec: Float[Tensor, "d_sae d_out"], count: int) -> Ranked:
    """For each feature the `count` others with the most alike decoder rows, and the cosine."""
    rows = torch.nn.functional.normalize(W_dec.float(), dim=1)
    parts, done = [], 0
    for part in rows.split(max(1, _CELLS // len(rows))):
        cosine = part @ rows.T
        cosine[torch.arange(len(part)), done + torch.arange(len(part))] = -torch.inf
        best = cosine.topk(min(count, len(rows) - 1))
        parts.append((best.indices.cpu(), best.values.cpu()))
        done += len(part)
    return Ranked.cat(parts)


def stride_for(counts: np.ndarray, tokens: int) -> int:
    """Look at one token in so many, so that the work of `together` stays within bounds, whatever is read."""
    l0 = counts.sum() / max(1, tokens)
    return max(1, int(np.ceil(tokens * l0 * l0 / _PAIRS)))


def together(sample: Codes, density: np.ndarray, count: int, workers: int = 1) -> Ranked:
    """For each feature the `count` others that most often fire on the same tokens, and the Jaccard index, |both| / |either|.

    Counted on the tokens of `sample`, among features whose `density` is from 1e-6 to 0.1: pairs seen together at least twice, the lower
    number first of equals.
    """
    allowed = (density >= _DENSITY[0]) & (density <= _DENSITY[1])
    sample = _only(sample, torch.from_numpy(allowed))
    events = Events.of(sample)
    other, both = np.full((sample.d_sae, count), -1, np.int32), np.zeros((sample.d_sae, count), np.float32)
    arrays = (events.start, events.rows, sample.indptr.numpy(), sample.feature.numpy(), other, both)
    in_parts(events, workers, lambda low, high: _jaccard(low, high, arrays))
    return Ranked(other, both)


def _only(codes: Codes, allowed: Bool[Tensor, " d_sae"]) -> Codes:
    """`codes` of the `allowed` features alone."""
    kept = allowed[codes.feature]
    before = torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)])
    return Codes(before[codes.indptr], codes.feature[kept], codes.value[kept], codes.d_sae)


@dataclass(frozen=True)
class LogitLens:
    """What decoder rows do to the logits if nothing came after them: ``u_i = (W_dec,i ⊙ gain) W_U``, its mean over the vocabulary out."""

    unembedding: Float[Tensor, "vocab d"]
    """A row for each token."""
    gain: Float[Tensor, " d"]
    """What the final norm multiplies by."""
    centred: bool
    """Whether the final norm takes the mean off what it reads."""
    shown: Bool[Tensor, " vocab"]
    """Which tokens count and may be named."""

    @torch.inference_mode()
    def ends(self, W_dec: Float[Tensor, "d_sae d"], count: int) -> tuple[Ranked, Ranked]:
        """For each feature the `count` tokens whose logits it raises most, and lowers most, with how much.

        The tokens are found in bfloat16 and put in order in float32.
        """
        token, head = self.shown.nonzero()[:, 0], self.unembedding
        rows = W_dec.float() - W_dec.float().mean(1, keepdim=True) if self.centred else W_dec.float()
        rows = rows * self.gain.float()
        count, near = min(count, len(token)), min(_CLOSER * count, len(token))
        ends: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
        for some in rows.split(_FEATURES):
            for found, places, sign in zip(ends, self._nearest(some, near), (1.0, -1.0), strict=True):
                for own, part in zip(places.split(64), some.split(64), strict=True):
                    exact = torch.bmm(head[token[own]].float() - self._mean, part[:, :, None])[:, :, 0]
                    best = (sign * exact).topk(count)
                    found.append((token[own.gather(1, best.indices)].cpu(), sign * best.values.cpu()))
        return Ranked.cat(ends[0]), Ranked.cat(ends[1])

    @cached_property
    def _mean(self) -> Float[Tensor, " d"]:
        """Mean unembedding of the tokens that count."""
        some = self.shown.nonzero()[:, 0].split(_ROWS)
        total = torch.stack([self.unembedding[part].double().sum(0) for part in some]).sum(0)
        return (total / self.shown.sum()).float()

    def _nearest(self, rows: Float[Tensor, "feature d"], count: int) -> tuple[Int[Tensor, "feature n"], Int[Tensor, "feature n"]]:
        """For each row the places, ascending among `shown`, of the `count` tokens that it raises most, and lowers most, in bfloat16.

        Taken from a part of the vocabulary after the other, so that no logits of all of it are ever held, nor a copy of it.
        """
        token, small = self.shown.nonzero()[:, 0], rows.bfloat16()
        best = [(small.new_zeros(len(rows), 0), token.new_zeros(len(rows), 0)) for _ in range(2)]
        for at in range(0, len(token), _ROWS):
            rough = small @ (self.unembedding[token[at : at + _ROWS]].float() - self._mean).bfloat16().T
            for end, largest in enumerate((True, False)):
                own, where = _extreme(rough, min(count, rough.shape[1]), largest)
                value, place = torch.cat([best[end][0], own], 1), torch.cat([best[end][1], where + at], 1)
                value, kept = value.topk(min(count, value.shape[1]), largest=largest)
                best[end] = value, place.gather(1, kept)
        return best[0][1].sort(1).values, best[1][1].sort(1).values


def _extreme(values: Float[Tensor, "row n"], count: int, largest: bool) -> tuple[Float[Tensor, "row _"], Int[Tensor, "row _"]]:
    """The `count` largest, or smallest, of each row and their columns, in no order.

    Each of them is in one of the `count` sets of columns whose own extremes are the most so, which is much less to choose from.
    """
    sets = values.shape[1] // _SET
    if sets <= count or values.shape[1] % _SET:
        return values.topk(count, largest=largest, sorted=False)
    apart = values.unflatten(1, (_SET, sets))
    extreme = apart.amax(1) if largest else apart.amin(1)
    chosen = extreme.topk(count, largest=largest, sorted=False).indices
    column = (chosen[:, :, None] + sets * torch.arange(_SET, device=values.device)).flatten(1)
    best = values.gather(1, column).topk(count, largest=largest, sorted=False)
    return best.values, column.gather(1, best.indices)


@njit(cache=True, nogil=True)
@no_type_check
def _jaccard(low, high, arrays):
    start, rows, indptr, feature, other, both = arrays
    # Counters of 4 bytes: those of a few thousand features stay in the nearest cache.
    shared, met = np.zeros(other.shape[0], np.int32), np.empty(other.shape[0] + 1, np.int32)
    most = other.shape[1]
    best = np.empty(most)
    for i in range(low, high):
        n = 0
        for row in rows[start[i] : start[i + 1]]:
            for e in range(indptr[row], indptr[row + 1]):
                j = feature[e]
                met[n] = j  # stays there only where it is new: a branch would be guessed wrong as often as not
                n += shared[j] == 0
                shared[j] += 1
        shared[i] = 0  # with itself
        own, kept = start[i + 1] - start[i], 0
        for j in met[:n]:
            count = shared[j]
            shared[j] = 0
            if count < _TOGETHER:
                continue
            value = count / (own + start[j + 1] - start[j] - count)
            if kept == most and (value < best[most - 1] or (value == best[most - 1] and j > other[i, most - 1])):
                continue
            place = min(kept, most - 1)
            while place > 0 and (best[place - 1] < value or (best[place - 1] == value and other[i, place - 1] > j)):
                best[place], other[i, place] = best[place - 1], other[i, place - 1]
                place -= 1
            best[place], other[i, place] = value, j
            kept = min(kept + 1, most)
        both[i, :kept] = best[:kept]

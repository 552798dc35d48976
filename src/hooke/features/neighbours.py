"""Neighbours: features that write alike, features that fire together, and the tokens that each feature makes likelier or less likely."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numba import njit
from torch import Tensor

from hooke.codes import Codes
from hooke.engine import in_parts
from hooke.features.events import Events, placed
from hooke.kernels.products import product
from hooke.model import Model
from hooke.model.head import final_norm

_CELLS = 1 << 23
_PAIRS = 1 << 29
_DENSITY = (1e-6, 0.1)
_TOGETHER = 2
_CLOSER = 4
_ROWS, _FEATURES = 1 << 13, 1 << 14
# Columns looked at together; and so many times as many numbers are held as are wanted.
_SET, _ROOM = 64, 8


@dataclass(frozen=True)
class Nearest:
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
    def cat(cls, parts: "Sequence[tuple[Tensor, Tensor]]") -> "Nearest":
        """One after the other the rows of several parts."""
        return cls(torch.cat([index for index, _ in parts]).int().numpy(), torch.cat([value for _, value in parts]).float().numpy())


@torch.inference_mode()
def decoder_neighbours(W_dec: Float[Tensor, "d_sae d_out"], count: int) -> Nearest:
    """For each feature the `count` others with the most alike decoder rows, and the cosine."""
    rows = torch.nn.functional.normalize(W_dec.float(), dim=1)
    parts, done = [], 0
    for part in rows.split(max(1, _CELLS // len(rows))):
        cosine = part @ rows.T
        cosine[torch.arange(len(part)), done + torch.arange(len(part))] = -torch.inf
        best = cosine.topk(min(count, len(rows) - 1))
        parts.append((best.indices.cpu(), best.values.cpu()))
        done += len(part)
    return Nearest.cat(parts)


def stride_for(counts: np.ndarray, tokens: int) -> int:
    """Look at one token in so many, so that the work of `together` stays within bounds, whatever is read."""
    l0 = counts.sum() / max(1, tokens)
    return max(1, int(np.ceil(tokens * l0 * l0 / _PAIRS)))


def together(sample: Codes, density: np.ndarray, count: int, workers: int = 1) -> Nearest:
    """For each feature the `count` others that most often fire on the same tokens, and the Jaccard index, |both| / |either|.

    Counted on the tokens of `sample`, among features whose `density` is from 1e-6 to 0.1: pairs seen together at least twice, the lower
    number first of equals.
    """
    allowed = (density >= _DENSITY[0]) & (density <= _DENSITY[1])
    sample = sample.only(torch.from_numpy(allowed))
    events = Events.of(sample)
    other, both = np.full((sample.d_sae, count), -1, np.int32), np.zeros((sample.d_sae, count), np.float32)
    arrays = (events.start, events.rows, sample.indptr.numpy(), sample.feature.numpy(), other, both)
    in_parts(events.start, workers, lambda low, high: _jaccard(low, high, arrays))
    return Nearest(other, both)


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
    def ends(self, W_dec: Float[Tensor, "d_sae d"], count: int) -> tuple[Nearest, Nearest]:
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
                for own, part in zip(places.to(token.device).split(64), some.split(64), strict=True):
                    exact = torch.bmm(head[token[own]].float() - self._mean, part[:, :, None])[:, :, 0]
                    best = (sign * exact).topk(count)
                    found.append((token[own.gather(1, best.indices)].cpu(), sign * best.values.cpu()))
        return Nearest.cat(ends[0]), Nearest.cat(ends[1])

    @torch.inference_mode()
    def along(self, W_dec: Float[Tensor, "d_sae d"], tokens: Sequence[int]) -> Float[Tensor, " d_sae"]:
        """By how much each decoder row raises the mean logit of `tokens` above the mean of all."""
        rows = W_dec.float() - W_dec.float().mean(1, keepdim=True) if self.centred else W_dec.float()
        return rows @ (self.gain.float() * (self.unembedding[list(tokens)].float().mean(0) - self._mean))

    @cached_property
    def _mean(self) -> Float[Tensor, " d"]:
        """Mean unembedding of the tokens that count."""
        some = self.shown.nonzero()[:, 0].split(_ROWS)
        total = torch.stack([self.unembedding[part].double().sum(0) for part in some]).sum(0)
        return (total / self.shown.sum()).float()

    def _nearest(self, rows: Float[Tensor, "feature d"], count: int) -> Int[Tensor, "2 feature n"]:
        """For each row the places, ascending among `shown`, of the `count` tokens that it raises most, and lowers most, in bfloat16.

        Taken from a part of the vocabulary after the other, so that no logits of all of it are ever held, nor a copy of it.
        """
        token, small = self.shown.nonzero()[:, 0], rows.bfloat16()
        found = _Extremes(len(rows), count)
        step = max(1, _CELLS // _ROWS)
        room = small.new_empty(min(step, len(rows)) * min(_ROWS, len(token)))  # used again: new memory costs more than what is put there
        for at in range(0, len(token), _ROWS):
            part = (self.unembedding[token[at : at + _ROWS]].float() - self._mean).bfloat16().T
            for first in range(0, len(rows), step):
                some = small[first : first + step]
                rough = product(some, part, out=room[: len(some) * part.shape[1]].view(len(some), -1))
                found.add(rough.view(torch.int16).cpu().numpy(), first, at)
        return found.places()


class _Extremes:
    """The columns of the largest and of the smallest numbers of many rows, whose columns come part by part; the first of equals."""

    def __init__(self, rows: int, count: int) -> None:
        """So many of each, of so many rows."""
        self._count = count
        key, place = np.empty((2, rows, _ROOM * count), np.int16), np.zeros((2, rows, _ROOM * count), np.int32)
        # For either end: of each row the numbers held, their columns, how many there are, and what a new one must exceed.
        self._held = key, place, np.zeros((2, rows), np.int64), np.full((2, rows), np.iinfo(np.int16).min, np.int16)

    def add(self, bits: np.ndarray, first: int, at: int) -> None:
        """``bits[i, j]``, those of a bfloat16, stand in row ``first + i`` and column ``at + j``."""
        _keep(bits.reshape(-1), bits.shape, (first, at), self._count, self._held)

    def places(self) -> Int[Tensor, "2 row n"]:
        """The columns of the largest numbers of each row, and of the smallest, ascending."""
        for end, row in np.ndindex(self._held[2].shape):
            _cut(end, row, self._count, self._held)
        return torch.from_numpy(np.sort(self._held[1][:, :, : self._count], 2).astype(np.int64))


@njit(inline="always")
@no_type_check
def _ordered(bits):
    """A whole number in the order of the bfloat16 with these bits: a negative one's other bits count backwards."""
    return np.int16(bits ^ np.int16(np.int16(bits >> 15) & np.int16(0x7FFF)))


@njit(cache=True, nogil=True)
@no_type_check
def _keep(bits, shape, corner, count, held):
    key, place, size, bar = held
    # Unsigned and of fixed length, so that the loop that looks at all columns is made of instructions for many at a time.
    rows, columns, wide = np.uint64(shape[0]), np.uint64(shape[1]), np.uint64(_SET)
    for i in range(rows):
        row = corner[0] + np.int64(i)
        for number in range((columns + wide - np.uint64(1)) // wide):
            low = number * wide
            own = i * columns + low
            if low + wide <= columns:
                most, least = np.int16(-32768), np.int16(32767)
                for j in range(wide):
                    value = _ordered(bits[own + j])
                    most = value if value > most else most
                    least = value if value < least else least
                if most <= bar[0, row] and np.int16(~least) <= bar[1, row]:
                    continue
            for j in range(min(wide, columns - low)):
                value, column = _ordered(bits[own + j]), corner[1] + np.int64(low + j)
                for end in range(2):
                    if end:
                        value = np.int16(~value)
                    if value <= bar[end, row]:
                        continue
                    if size[end, row] == key.shape[2]:
                        _cut(end, row, count, held)
                        if value <= bar[end, row]:
                            continue
                    key[end, row, size[end, row]], place[end, row, size[end, row]] = value, column
                    size[end, row] += 1


@njit(cache=True, nogil=True)
@no_type_check
def _cut(end, row, count, held):
    """Keep of one row's numbers the `count` largest; a later one must be larger than the least of them."""
    key, place, size, bar = held
    own, where, n = key[end, row], place[end, row], size[end, row]
    if n <= count:
        return
    # Of equals the first stay.
    order = np.argsort(-own[:n].astype(np.int64), kind="mergesort")[:count]
    own[:count], where[:count] = own[order], where[order]
    bar[end, row], size[end, row] = own[count - 1], count


@njit(cache=True, nogil=True)
@no_type_check
def _jaccard(low, high, arrays):
    start, rows, indptr, feature, other, both = arrays
    # Counters of 4 bytes: those of a few thousand features stay in the nearest cache.
    shared, met = np.zeros(other.shape[0], np.int32), np.empty(other.shape[0] + 1, np.int32)
    best = np.empty(other.shape[1])
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
            kept = placed(count / (own + start[j + 1] - start[j] - count), j, best, other[i], kept)
        both[i, :kept] = best[:kept]


@torch.no_grad()
def logit_lens(model: Model) -> LogitLens:
    """The final norm's gain and the unembedding of `model`; tokens without a letter or digit, and special ones, are not named.

    What the norm does is asked of the norm itself, so that it does not matter whether it multiplies by its weight or by 1 + weight: of
    ``x`` with mean 0 and mean square 1 it makes ``gain · x`` (+ bias), and of the ones it makes ``gain``, or 0 where it takes the mean off.
    """
    norm = copy.deepcopy(final_norm(model.hf, model.architecture)).float()
    head = model.hf.get_output_embeddings()
    assert head is not None
    unembedding = head.weight
    ones = torch.ones(unembedding.shape[1], device=unembedding.device)
    signs = ones.clone()
    signs[1::2] = -1
    # One token of width d, as the module expects it.
    given = {name: norm(x[None, None])[0, 0] for name, x in (("ones", ones), ("signs", signs), ("minus", -signs))}
    gain = (given["signs"] - given["minus"]) / 2 * signs
    bias = (given["signs"] + given["minus"]) / 2
    centred = bool((given["ones"] - bias).abs().max() < 0.5 * gain.abs().max())
    tokenizer = model.tokenizer
    names = (tokenizer.spelling(token).decode("utf-8", "ignore") for token in range(len(unembedding)))
    shown = torch.tensor([token not in tokenizer.special and any(map(str.isalnum, name)) for token, name in enumerate(names)])
    return LogitLens(unembedding.detach(), gain, centred, shown.to(unembedding.device))

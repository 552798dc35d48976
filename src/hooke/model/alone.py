"""Alone: every text of a batch computed as if by itself: its numbers are the same whatever it is read with, on any number of threads.

Libraries choose the order in which they sum by the shape of a product, and all else by how it is shared out to threads. So texts are
laid one behind the other, without padding; products are made of a fixed number of rows by one thread each, several at a time; and attention
is asked of texts of one length together.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from hooke.devices import one_thread_each, threads

ROWS = 512
"""Rows of a product: enough to be fast, few enough that filling up the last one costs little."""


_now: ContextVar[tuple[int, ...]] = ContextVar("lengths", default=())


@contextmanager
def alone(lengths: Sequence[int]) -> Iterator[None]:
    """Within, what a trunk reads is one row of texts of these lengths, one behind the other; none: it reads as usual."""
    token = _now.set(tuple(lengths))
    try:
        with one_thread_each() if lengths else nullcontext():
            yield
    finally:
        _now.reset(token)


def places(count: int, device: torch.device) -> Int[Tensor, " pos"]:
    """The place of each of `count` positions in its own text."""
    lengths = _now.get()
    return torch.cat([torch.arange(own) for own in lengths]).to(device) if lengths else torch.arange(count, device=device)


def packed(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of texts in batches, longest first, each of at most so many tokens that are no padding (at least one text).

    >>> list(packed([3, 9, 3, 2], 9))
    [[1], [0, 2, 3]]
    """
    batch, held = list[int](), 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and held + lengths[index] > tokens:
            yield batch
            batch, held = [], 0
        batch.append(index)
        held += lengths[index]
    if batch:
        yield batch


def linear(x: Float[Tensor, "*batch d_in"], weight: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "*batch d_out"]:
    """``x weightᵀ``."""
    if not _now.get() or x.device.type != "cpu":
        return functional.linear(x, weight)
    flat = x.reshape(-1, x.shape[-1])
    out = flat.new_empty(len(flat), len(weight))

    def part(at: int) -> None:
        with torch.inference_mode(out.is_inference()):
            out[at : at + ROWS] = _filled(lambda rows: functional.linear(rows, weight), flat[at : at + ROWS])

    starts = range(0, len(flat), ROWS)
    for _ in map(part, starts) if threads() == 1 else _pool(threads()).map(part, starts):
        pass
    return out.view(*x.shape[:-1], -1)


def in_blocks(
    of: Callable[[Float[Tensor, "token d_in"]], Float[Tensor, "token d_out"]], rows: Float[Tensor, "token d_in"]
) -> Float[Tensor, "token d_out"]:
    """``of(rows)`` of what gives each row something by itself: the same to the bit whatever rows stand beside it."""
    return torch.cat([_filled(of, block) for block in rows.split(ROWS)])


def _filled(of: Callable[[Tensor], Tensor], rows: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_out"]:
    return of(functional.pad(rows, (0, 0, 0, ROWS - len(rows))) if len(rows) < ROWS else rows)[: len(rows)]


def each(
    attend: Callable[..., Float[Tensor, "batch head pos d"]],
    q: Float[Tensor, "batch head pos d"],
    k: Float[Tensor, "batch key pos d"],
    v: Float[Tensor, "batch key pos d"],
) -> Float[Tensor, "batch head pos d"]:
    """``attend(q, k, v)``, of every text by itself."""
    if not (lengths := _now.get()):
        return attend(q, k, v)
    out, start = [], 0
    for length, same in itertools.groupby(lengths):
        texts = len(list(same))
        stop = start + texts * length
        own = (part[0, :, start:stop].unflatten(1, (texts, length)).transpose(0, 1) for part in (q, k, v))
        out.append(attend(*own).transpose(0, 1).flatten(1, 2))
        start = stop
    return torch.cat(out, 1)[None]


def inverse_root(x: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 1"]:
    """``1 / √x``."""
    # Of what is left over at the end, too few for a vector, torch's rsqrt gives other bits than of the same numbers elsewhere.
    return 1 / x.sqrt() if _now.get() else x.rsqrt()


def laid_out(rows: Float[Tensor, "token d"], here: Bool[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d"]:
    """Texts that lie one behind the other as rows of a batch, 0 where there is none."""
    out = rows.new_zeros(*here.shape, rows.shape[-1])
    out[here.to(rows.device)] = rows
    return out


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "alone", lambda: torch.set_num_threads(1))

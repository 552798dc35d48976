"""Buffer: a fixed number of rows, filled in place from parts of any size; what a part has too many waits for the next filling."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from hooke.harvest import Harvested
from hooke.names import Site

Column = Site | str


@dataclass(frozen=True)
class Part:
    """Some rows on their way into a buffer, as they come: from one forward pass, or from one shard."""

    columns: Mapping[Any, Tensor]  # (a mapping's keys are invariant: Mapping[Site, ...] would be no Mapping[Column, ...])
    """Rows alike in all; by site, or by name."""
    names: Sequence[str]
    """Names of corpora."""
    corpus: Int[Tensor, " token"]
    """Which of them each row is from."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Positions left out on the way here, by reason."""

    @classmethod
    def of(cls, harvested: Harvested) -> "Part":
        """What was harvested, as a part with activations only."""
        names = sorted({window.corpus for window in harvested.windows})
        number = torch.tensor([names.index(window.corpus) for window in harvested.windows])
        return cls(harvested.acts, names, number[harvested.window], {"special": harvested.special, "sink": harvested.sinks})


class Buffer:
    """Exactly `capacity` rows at a time, and a record of where in the sequence of parts they end.

    >>> parts = iter([Part({"ids": torch.arange(5)}, ["a"], torch.zeros(5, dtype=torch.int64))])
    >>> buffer = Buffer(3, parts)
    >>> [buffer.columns["ids"][: buffer.n].tolist() for _ in range(2) if buffer.fill()]
    [[0, 1, 2], [3, 4]]
    """

    def __init__(self, capacity: int, parts: Iterator[Part], place: tuple[int, int] = (0, 0), device: str = "cpu") -> None:
        """`parts` begin with number ``place[0]``, of which the first ``place[1]`` rows were used before."""
        self.capacity = capacity
        self.columns: dict[Column, Tensor] = {}
        """The rows, ``[capacity, ...]``; only the first `n` are of this filling."""
        self.n = 0
        """Rows of this filling: `capacity`, except in the last one."""
        self.place = place
        """The part that the next filling begins with, and how many of its rows were used."""
        self.tokens: Counter[str] = Counter()
        """Rows of this filling by corpus."""
        self.left_out: Counter[str] = Counter()
        """Positions left out of the parts that this filling began, by reason."""
        self._parts, self._device = parts, device
        self._part: Part | None = None

    def fill(self, rows: int | None = None) -> bool:
        """Put the next `rows` rows (without it, as many as fit) in the place of those there are; False if there are no more."""
        self.n = 0
        self.tokens, self.left_out = Counter(), Counter()
        wanted = self.capacity if rows is None else min(rows, self.capacity)
        while self.n < wanted:
            if self._part is None and (part := next(self._parts, None)) is not None:
                self._part = part
            if self._part is None:
                break
            self._take(self._part, wanted - self.n)
        return self.n > 0

    def _take(self, part: Part, rows: int) -> None:
        number, used = self.place
        if not used:
            self.left_out.update(part.left_out)
        end = min(used + rows, len(part.corpus))
        for name, value in part.columns.items():
            if name not in self.columns:
                self.columns[name] = torch.empty(self.capacity, *value.shape[1:], dtype=value.dtype, device=self._device)
            self.columns[name][self.n : self.n + end - used].copy_(value[used:end])
        counts = torch.bincount(part.corpus[used:end], minlength=len(part.names)).tolist()
        self.tokens.update({name: count for name, count in zip(part.names, counts, strict=True) if count})
        self.n += end - used
        if end < len(part.corpus):
            self.place = number, end
        else:
            self.place, self._part = (number + 1, 0), None

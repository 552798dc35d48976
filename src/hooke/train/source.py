"""Sources: where activations come from, batch by batch; a stream that can go on where it was."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.errors import BadConfig
from hooke.names import Site
from hooke.text.pairs import Pairs


@runtime_checkable
class Batch(Protocol):
    """Activations of some tokens, drawn at random."""

    @property
    def acts(self) -> Mapping[Site, Float[Tensor, "token d_site"]]:
        """By site, row i being the same token everywhere."""
        ...

    @property
    def position(self) -> Mapping[str, Any]:
        """Where the stream goes on after this batch; plain values."""
        ...


@runtime_checkable
class ActivationSource(Protocol):
    """A stream of batches that can go on where it was."""

    @property
    def device(self) -> str:
        """Where its batches come from, and the SAEs are trained."""
        ...

    @property
    def pairs(self) -> int:
        """How many tokens apart the two of a pair are at most, where batches are pairs: row ``i`` of the second half of a batch is the
        partner of row ``i`` of the first. 0: rows stand for themselves."""
        ...

    def batches(self, position: Any = None) -> Iterator[Batch]:
        """Batches from the beginning, or exactly those that followed the batch whose position this is."""
        ...


@dataclass(frozen=True)
class _Drawn:
    acts: dict[Site, Tensor]
    position: dict[str, int]


@dataclass(frozen=True)
class InMemory:
    """Activations that are all at hand, drawn in a new random order each time round, without end; two by two where `pairs` says so."""

    acts: Mapping[Site, Float[Tensor, "token d_site"]]
    """By site, row i being the same token everywhere."""
    batch: int
    """Tokens per batch; the rest of each round is left out."""
    seed: int = 0
    """Decides the order."""
    pairs: int = 0
    """How many rows apart the two of a pair are at most; 0: rows are drawn one by one."""
    text: Int[Tensor, " token"] | None = None
    """For pairs: which text each row is of, rows of one text standing together in reading order."""

    @property
    def device(self) -> str:
        """Where the activations are."""
        return str(next(iter(self.acts.values())).device)

    def batches(self, position: Any = None) -> Iterator[_Drawn]:
        """Batches from the beginning, or those that followed."""
        n = len(next(iter(self.acts.values())))
        pairs = self._paired(n)
        each = n // self.batch if pairs is None else pairs.count // (self.batch // 2)
        if not each:
            raise BadConfig(f"{n} tokens do not fill one batch of {self.batch}{', two by two' if self.pairs else ''}.")
        number = 0 if position is None else int(position["batch"])
        while True:
            seed = (self.seed << 20) + number // each
            drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) if pairs is None else pairs.rows(self.batch, seed)
            order = torch.as_tensor(drawn).to(self.device)
            for i in range(number % each, each):
                rows = order[i * self.batch : (i + 1) * self.batch]
                number += 1
                yield _Drawn({site: value[rows] for site, value in self.acts.items()}, {"batch": number})

    def _paired(self, n: int) -> Pairs | None:
        if not self.pairs:
            return None
        if self.text is None or len(self.text) != n or self.batch % 2 or self.batch < 4:
            raise BadConfig(f"pairs={self.pairs} needs the text of each of {n} rows, and an even batch from 4 on (it is {self.batch}).")
        return Pairs.of(self.text.cpu().numpy(), np.arange(n), self.pairs, self.seed)

"""Ranks: one run on several processes, each with a part of every SAE's features, or of every batch, or both."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from hooke.errors import BadConfig
from hooke.names import Site
from hooke.train.config import TrainConfig

__all__ = ["ALONE", "Ranks", "SharedSource", "check_spread", "share_of"]

# Those whose codes are sparse from the first step. Others begin with half of all features active, which dense products take, whose
# rounding depends on how they are cut.
_SPREAD = ("batchtopk", "jumprelu", "jumprelu-step")
# Features drawn at a time.
_BLOCK = 1024
# Every fourth row of a batch feeds the auxiliary loss, whichever process has it.
_ROWS = 4


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this is: part `part` of the features, lot `lot` of each batch.

    Each process has the whole batch; it takes its own rows of it and its own features, and what is summed over the processes that have the
    same features (`over_lots`), the same rows (`over_parts`) or over all is the same on each of them, bit for bit.
    """

    part: int = 0
    """Which part of the features is here."""
    parts: int = 1
    """Into how many parts the features are cut."""
    lot: int = 0
    """Which lot of each batch is here."""
    lots: int = 1
    """Into how many lots each batch is cut."""
    here: int = 1
    """How many of the processes are on this machine."""
    groups: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The processes with the same rows, and those with the same features, as torch knows them."""

    @classmethod
    def of(cls, rank: int, size: int, lots: int, here: int) -> "Ranks":
        """Process number `rank` of `size` that have joined, in `lots`."""
        parts = size // lots
        own = cls(rank % parts, parts, rank // parts, lots, here)
        rows = [dist.new_group([lot * parts + part for part in range(parts)]) for lot in range(lots)]
        features = [dist.new_group([lot * parts + part for lot in range(lots)]) for part in range(parts)]
        return cls(own.part, parts, own.lot, lots, here, {"rows": rows[own.lot], "features": features[own.part]})

    @property
    def size(self) -> int:
        """How many there are."""
        return self.parts * self.lots

    @property
    def first(self) -> bool:
        """Whether this is the one that reads, reports and exports."""
        return self.part == self.lot == 0

    def features(self, d_sae: int) -> tuple[int, int]:
        """The first feature here, and the one after the last."""
        return share_of(self.part, self.parts, d_sae)

    def drawn(self, d_sae: int, width: int, generator: torch.Generator) -> Float[Tensor, "feature d"]:
        """Normal numbers, a row for each feature here: what ``torch.randn(d_sae, width)`` has there, without room for all of it."""
        if self.parts == 1:
            return torch.randn(d_sae, width, generator=generator)
        (low, high), found = self.features(d_sae), []
        # Drawn whole, numbers come in sixteens; blocks of so many rows, the last with what is left over, are the same.
        edges = [*range(0, max(1, d_sae - _BLOCK + 1), _BLOCK), d_sae]
        for start, end in itertools.pairwise(edges):
            rows = torch.randn(end - start, width, generator=generator)
            found.append(rows[max(0, low - start) : max(0, high - start)].clone())
        return torch.cat(found)

    def own(self, value: Tensor) -> Tensor:
        """Of a tensor with an entry for every feature, those here."""
        if self.parts == 1:
            return value
        start, end = self.features(len(value))
        return value[start:end].clone()

    def rows(self, value: Tensor) -> Tensor:
        """Of a tensor with a row for every token of the batch, those here."""
        if self.lots == 1:
            return value
        start, end = share_of(self.lot, self.lots, len(value))
        return value[start:end].contiguous()

    def over_parts(self, value: Tensor) -> Tensor:
        """The sum of what the processes with the same rows have, in the place of `value`."""
        if self.parts > 1:
            dist.all_reduce(value, group=self.groups["rows"])
        return value

    def over_lots(self, value: Tensor) -> Tensor:
        """The sum of what the processes with the same features have, in the place of `value`."""
        if self.lots > 1:
            dist.all_reduce(value, group=self.groups["features"])
        return value

    def over_all(self, value: Tensor) -> Tensor:
        """The sum of what all processes have, in the place of `value`."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def total(self, count: int, device: torch.device) -> int:
        """A number that counts features, summed over their parts."""
        if self.parts == 1:
            return count
        return int(self.over_parts(torch.tensor(count, device=device)))

    def told(self, value: Any) -> Any:
        """What the first process has; the others wait for it."""
        if self.size > 1:
            found = [value]
            dist.broadcast_object_list(found, src=0)
            value = found[0]
        return value


ALONE = Ranks()
"""One process."""


def check_spread(ranks: Ranks, name: str, config: TrainConfig, batch: int) -> None:
    """Raise `BadConfig` where an SAE cannot be trained by these processes, or its batch not be cut for them."""
    if ranks.size == 1:
        return
    kind = "temporal SAE" if config.about else "crosscoder" if len(config.reads) > 1 else f"{config.architecture} SAE"
    if config.about or len(config.reads) > 1 or config.architecture not in _SPREAD:
        raise BadConfig(
            f"{name}: a {kind} trains in one process. Over several can be spread {', '.join(_SPREAD)} SAEs, nested or not, and their "
            "transcoders. Leave --nproc out (or start without torchrun)."
        )
    if config.d_sae < ranks.parts:
        raise BadConfig(f"{name}: d_sae={config.d_sae} features cannot be cut into {ranks.parts} parts.")
    if ranks.lots > 1 and batch % (_ROWS * ranks.lots):
        raise BadConfig(f"batch={batch} cannot be cut into {ranks.lots} lots: give a multiple of {_ROWS * ranks.lots}.")


def share_of(number: int, count: int, size: int) -> tuple[int, int]:
    """Where share `number` of `count` begins and ends among `size` things."""
    return number * size // count, (number + 1) * size // count


@dataclass(frozen=True)
class _Passed:
    acts: dict[Site, Float[Tensor, "token d_site"]]
    position: Any


class SharedSource:
    """A stream that the first process reads, and every process has."""

    def __init__(self, source: Any, ranks: Ranks, device: str) -> None:
        """`source` is None where it is not read."""
        self._source, self._ranks, self.device = source, ranks, device
        self.pairs: int = 0 if source is None else source.pairs
        """As in `ActivationSource`."""

    def batches(self, position: Any = None) -> Iterator[_Passed]:
        """As in `ActivationSource`."""
        own: Iterator[Any] = iter(()) if self._source is None else self._source.batches(position)
        shapes: Any = None
        while True:
            batch = next(own, None)
            if shapes is None:
                shapes = self._ranks.told(
                    None if batch is None else {site: (value.shape, value.dtype) for site, value in batch.acts.items()}
                )
                more = shapes is not None
            else:
                flag = torch.tensor(int(batch is not None), device=self.device)
                dist.broadcast(flag, 0)
                more = bool(flag)
            if not more or shapes is None:
                return
            acts = {}
            for site, (shape, dtype) in shapes.items():
                acts[site] = torch.empty(shape, dtype=dtype, device=self.device) if batch is None else batch.acts[site].contiguous()
                dist.broadcast(acts[site], 0)
            yield _Passed(acts, None if batch is None else batch.position)

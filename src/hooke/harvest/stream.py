"""Streams: shuffled batches for training, live from a model or from shards on disk, that can go on exactly where they stopped."""

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke.errors import BadConfig, LimitReached
from hooke.harvest import harvest
from hooke.harvest.buffer import Buffer, Part
from hooke.model import Model
from hooke.names import Site
from hooke.shards import Shards, begins
from hooke.shards.manifest import acts_column
from hooke.text.corpus import Window
from hooke.text.pairs import Pairs

# Columns of a pool that say where rows stand.
_TEXT, _POS = "text", "pos"

Position = dict[str, Any]
"""Where a stream goes on, and what was read to come here; plain values, ready for JSON. What it says:

``tokens``: rows read into pools so far by corpus; ``left_out``: positions left out so far by reason (``special``, ``sink``); ``undrawn``:
rows that no batch had room for, each counted once for every pass that missed it; the rest is for the stream itself.
"""


@dataclass(frozen=True)
class DrawnBatch:
    """Some tokens drawn at random, each with its activations at all sites."""

    acts: dict[Site, Float[Tensor, "token d_site"]]
    """By site, as many rows as asked for, in the dtype they were read in; row i is the same token everywhere."""
    position: Position
    """Where the stream goes on after this batch."""


@dataclass(kw_only=True)
class Stream(ABC):
    """Pools of `capacity` tokens, read in order, each drawn `reuse` times over in batches of `batch`.

    A forward pass costs several times a training step, so drawing every activation a few times, far apart, buys most of what as many
    fresh ones would. The draws are whole random permutations of the pool, so that every token comes exactly `reuse` times, and never
    twice in one batch. Only the last pool can be shorter; of its permutations the tokens that fill no batch are left out, and counted.
    A pool's memory is `capacity` rows of every site, allocated once and filled in place.
    """

    capacity: int
    """Tokens in a pool; a multiple of `batch`."""
    batch: int
    """Rows of a batch."""
    reuse: int = 1
    """How often each token is drawn."""
    seed: int = 0
    """Decides the order; the same seed gives the same batches."""
    pairs: int = 0
    """Draw tokens two by two, both of one document and window and at most so many tokens apart (1: neighbours): a batch's second half then
    holds the partners of its first, row by row, each partner the later of the two. 0: draw each token for itself."""
    device: str = "cpu"
    """Where pools are kept and batches come from."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.capacity or self.capacity % self.batch or self.reuse < 1 or self.seed < 0:
            raise BadConfig(
                f"batch={self.batch} must be from 1 to capacity={self.capacity} and divide it; "
                f"reuse={self.reuse} must be at least 1 and seed={self.seed} at least 0."
            )
        if self.pairs < 0 or (self.pairs and (self.batch % 2 or self.batch < 4)):
            raise BadConfig(
                f"pairs={self.pairs} with batch={self.batch}: pairs must be 0 or how many tokens apart two may be, and a batch of pairs an "
                f"even number from 4 on, so that each has others to be told from."
            )

    @abstractmethod
    def _parts(self, skip: int) -> Iterator[Part]:
        """The sequence of parts that pools are filled from, without the first `skip`."""

    def _identity(self) -> dict[str, Any]:
        """What a position must agree on with the stream that goes on from it."""
        return {name: getattr(self, name) for name in ("capacity", "batch", "reuse", "seed", "pairs")}

    def batches(self, position: Position | None = None) -> Iterator[DrawnBatch]:
        """Batches from the beginning, or exactly those that followed the batch whose `position` this is.

        To go on, what came before is passed over without running the model, and only the pool at hand is read again.
        Raises `BadConfig` for a position of another stream, `LimitReached` where everything there is does not fill one batch.
        """
        start = {"part": 0, "rows": 0, "pool": 0, "drawn": 0, "tokens": {}, "left_out": {}, "undrawn": 0, "stream": self._identity()}
        at = start if position is None else _checked(position, start)
        buffer = Buffer(self.capacity, self._parts(at["part"]), (at["part"], at["rows"]), self.device)
        while True:
            at |= {"part": buffer.place[0], "rows": buffer.place[1]}
            if not buffer.fill():
                break
            a_pass, order = self._passes(buffer, at["pool"])
            if not at["drawn"]:  # else this pool was counted before
                at |= {name: dict(Counter(at[name]) + getattr(buffer, name)) for name in ("tokens", "left_out")}
                at |= {"undrawn": at["undrawn"] + (buffer.n - a_pass * self.batch) * self.reuse}
            yield from self._drawn(buffer, at, a_pass, order)
            at |= {"pool": at["pool"] + 1, "drawn": 0}
        tokens = sum(at["tokens"].values())
        if tokens * self.reuse == at["undrawn"]:
            pairs = f", or not two by two at most {self.pairs} tokens apart in one document" if self.pairs else ""
            raise LimitReached(
                f"all there is to read gave {tokens:,} tokens, not one batch of {self.batch:,}{pairs}. Give more text, or a smaller batch."
            )

    def _passes(self, buffer: Buffer, pool: int) -> tuple[int, Callable[[int], np.ndarray]]:
        """Batches in one pass over the pool in `buffer`, and their rows in the order of a pass, batch after batch, by its number."""
        if not self.pairs:
            return buffer.n // self.batch, lambda number: np.random.default_rng((self.seed, pool, number)).permutation(buffer.n)
        text, pos = (buffer.columns[name][: buffer.n].cpu().numpy() for name in (_TEXT, _POS))
        pairs = Pairs.of(text, pos, self.pairs, (self.seed, pool))
        return pairs.count // (self.batch // 2), lambda number: pairs.rows(self.batch, (self.seed, pool, number))

    def _drawn(self, buffer: Buffer, at: Position, a_pass: int, passes: Callable[[int], np.ndarray]) -> Iterator[DrawnBatch]:
        """The batches of the pool in `buffer` that are still to come, the last with the position of the next pool."""
        after = at | {"part": buffer.place[0], "rows": buffer.place[1], "pool": at["pool"] + 1, "drawn": 0}
        for number, draws in itertools.groupby(range(at["drawn"], a_pass * self.reuse), lambda draw: draw // a_pass):
            order = passes(number)
            for draw in draws:
                start = draw % a_pass * self.batch
                rows = torch.from_numpy(order[start : start + self.batch]).to(self.device)
                acts = {site: value.index_select(0, rows) for site, value in buffer.columns.items() if isinstance(site, Site)}
                yield DrawnBatch(acts, after if draw + 1 == a_pass * self.reuse else at | {"drawn": draw + 1})


def _places(number: int, pos: Tensor, *marks: Tensor) -> dict[str, Tensor]:
    """Columns that say of every row of part `number` its text, as a number that no other text has, and its position there.

    Rows that follow each other are of one text if they agree in all `marks` and their positions rise.
    """
    return {_TEXT: (number << 32) + begins(pos, *marks).cumsum(0) - 1, _POS: pos.long()}


def _checked(position: Position, start: Position) -> Position:
    """A copy of `position`, if it belongs to the stream that begins at `start`."""
    alike = position.keys() == start.keys() and all(isinstance(position[name], type(value)) for name, value in start.items())
    if not alike or any(isinstance(value, int) and value < 0 for value in position.values()):
        raise BadConfig(f"this is no position of a stream: it has {', '.join(map(str, position)) or 'nothing'}.")
    was, now = position["stream"], start["stream"]
    if was != now:
        other = ", ".join(f"{name}={was.get(name)} (now {now.get(name)})" for name in sorted(was | now) if was.get(name) != now.get(name))
        raise BadConfig(f"the position to go on from is of another stream: {other}. Give the same settings, or begin anew.")
    return dict(position)


@dataclass
class LiveStream(Stream):
    """Batches straight from a model: pools are harvested when they are needed and never touch the disk."""

    model: Model
    """The model that reads."""
    make_windows: Callable[[], Iterator[Window]]
    """Gives the windows to read, from the first; the same ones every time."""
    sites: Sequence[Site]
    """Where activations are taken, all in one forward pass."""
    batch_tokens: int = field(default=4096, kw_only=True)
    """Tokens of a forward pass."""
    drop_sinks: bool = field(default=True, kw_only=True)
    """Whether attention sinks are left out."""

    def _parts(self, skip: int) -> Iterator[Part]:
        options: dict[str, Any] = {"batch_tokens": self.batch_tokens, "drop_sinks": self.drop_sinks, "skip": skip}
        for number, harvested in enumerate(harvest(self.model, self.make_windows(), self.sites, **options), skip):
            part = Part.of(harvested)
            places = _places(number, harvested.pos, harvested.window, harvested.docs) if self.pairs else {}
            yield replace(part, columns={**part.columns, **places})

    def _identity(self) -> dict[str, Any]:
        made = {"model": self.model.name, "sites": [str(site) for site in self.sites]}
        return super()._identity() | made | {"batch_tokens": self.batch_tokens, "drop_sinks": self.drop_sinks}


@dataclass
class ShardStream(Stream):
    """Batches from shards on disk, their order shuffled anew in every epoch; a pool is read from several of them."""

    shards: Shards
    """What is read; each shard is verified the first time."""
    sites: Sequence[Site]
    """Which of its sites the batches have."""
    epochs: int = field(default=1, kw_only=True)
    """How often every shard is read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            raise BadConfig(f"epochs={self.epochs} must be at least 1.")
        self.shards.check(sites=self.sites)

    def _parts(self, skip: int) -> Iterator[Part]:
        names = [corpus["name"] for corpus in self.shards.facts.corpora]
        for number in range(skip, self.epochs * len(self.shards)):
            epoch, place = divmod(number, len(self.shards))
            index = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.shards))[place])
            found = self.shards.read(index)
            columns: dict[Any, Tensor] = {site: found[acts_column(site)] for site in self.sites}
            if self.pairs:
                columns |= _places(number, found["pos"], found["corpus"].int(), found["doc"])
            yield Part(columns, names, found["corpus"].long(), self.shards.shards[index].left_out)

    def _identity(self) -> dict[str, Any]:
        made = {"shards": self.shards.digest, "sites": [str(site) for site in self.sites], "epochs": self.epochs}
        return super()._identity() | made

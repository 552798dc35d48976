"""What a model reads for an atlas, and how its SAEs fire there, put into an activation cache; goes on where it was stopped.

From one pass of a model over windows of text, or from activations that were harvested before.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooke.codes import Codes
from hooke.engine.cluster import Cluster, Unit
from hooke.features.cache import ActivationCache, Chunk
from hooke.harvest import harvest
from hooke.metrics import VarianceSum, concat_sites
from hooke.model import Model
from hooke.model.recipe import Recipe
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.facts import sites_of
from hooke.shards import Shards, begins
from hooke.shards.manifest import acts_column
from hooke.text.corpus import Window

# What an SAE explains is measured on one window in so many; decoding every token takes longer than that figure is worth.
_MEASURED = 4
# Rows encoded at a time.
_ROWS = 4096


@dataclass(frozen=True)
class Portions:
    """How much is read, and how much at a time."""

    tokens: int
    """Tokens to read, special ones not counted; the window that reaches it is read to its end."""
    chunk_tokens: int = 1 << 15
    """Tokens in a chunk; what a stop can lose."""
    batch_tokens: int = 4096
    """Tokens of a forward pass."""


@dataclass(frozen=True)
class _Reading:
    """What reading any chunk takes."""

    model: Model
    saes: Sequence[Sae]
    corpora: Sequence[str]
    batch_tokens: int


def _opened(recipe: Recipe, saes: Sequence[Sae], *how: Any) -> _Reading:
    return _Reading(recipe.load(), [sae.to(recipe.device) for sae in saes], *how)


def read_codes(
    model: Model,
    saes: Sequence[Sae],
    windows: Iterable[Window],
    cache: ActivationCache,
    portions: Portions,
    report: Callable[[int], None],
    cluster: Cluster | None = None,
) -> None:
    """Read `windows` until there are enough tokens or no more text, chunk by chunk, from where the cache ends.

    `report` hears how many tokens were read. Chunks are cut where the text says, not where batches end, so the rows are the same for any
    `batch_tokens`. With `cluster` its workers read, each a chunk at a time with a model of its own.
    """
    if cache.complete:
        return
    special = model.tokenizer.special
    numbered = ((window, sum(token not in special for token in window.ids)) for window in windows)
    counted = ((window, count) for window, count in numbered if count)
    groups = _groups(itertools.islice(counted, cache.windows, None), portions, cache.tokens)
    if cluster is None:
        reading = _Reading(model, saes, cache.corpora, portions.batch_tokens)
        chunks = (_chunk(reading, group, lambda n: report(cache.tokens + n)) for group in groups)
    else:
        opened = partial(_opened, Recipe.of(model, cluster.device), [sae.to("cpu") for sae in saes], cache.corpora, portions.batch_tokens)
        chunks = cluster.in_order(_chunk, opened, _units(groups, cache.windows))
    for chunk in chunks:
        cache.add(chunk)
        report(cache.tokens)
    cache.finish()


def _units(groups: Iterator[list[Window]], first: int) -> Iterator[Unit[list[Window]]]:
    for group in groups:
        yield Unit(f"windows from {first}", group)
        first += len(group)


def _groups(counted: Iterator[tuple[Window, int]], portions: Portions, tokens: int) -> Iterator[list[Window]]:
    """The windows of each chunk that is still to be read; `tokens` were read before."""
    group, size = [], 0
    while tokens + size < portions.tokens:
        window, count = next(counted, (None, 0))
        if window is None:
            break
        group.append(window)
        size += count
        if size >= portions.chunk_tokens:
            yield group
            tokens, group, size = tokens + size, [], 0
    if group:
        yield group


def _chunk(reading: _Reading, group: list[Window], report: Callable[[int], None] = lambda tokens: None) -> Chunk:
    model, saes, names = reading.model, reading.saes, reading.corpora
    place = {id(window): number for number, window in enumerate(group)}
    window, ids, n, sinks, special = [], [], 0, 0, 0
    coded, sites = _Coded(saes), sites_of(sae.facts for sae in saes)
    for part in harvest(model, group, sites, batch_tokens=reading.batch_tokens, drop_sinks=False):
        owner = np.array([place[id(own)] for own in part.windows])[part.window.numpy()]
        measured = torch.from_numpy(np.flatnonzero((owner % _MEASURED == 0) & ~part.sink.numpy())).to(part.acts[sites[0]].device)
        window.append(owner)
        ids.append(part.ids.numpy())
        coded.add(part.acts, measured, part.sink)
        n, sinks, special = n + len(part.ids), sinks + int(part.sink.sum()), special + part.special
        report(n)
    owner = np.concatenate(window)
    order = np.argsort(owner, kind="stable")  # as read: batches are of like length
    counts = np.bincount(owner, minlength=len(group))
    table = [(names.index(own.corpus), own.doc, own.start, count) for own, count in zip(group, counts.tolist(), strict=True)]
    in_order = {name: codes.take(torch.from_numpy(order)) for name, codes in coded.codes.items()}
    return Chunk(np.concatenate(ids)[order], np.array(table, np.int64), in_order, coded.sums, sinks, special)


def read_harvested(shards: Shards, saes: Sequence[Sae], cache: ActivationCache, tokens: int, report: Callable[[int], None]) -> None:
    """The codes of `shards`, a chunk a shard, until there are `tokens` or no more shards; only text of the cache's corpora is taken.

    A window that two shards share counts as two, and attention sinks that the harvest left out are no part of the text.
    """
    names = [corpus["name"] for corpus in shards.facts.corpora]
    number = np.array([cache.corpora.index(name) if name in cache.corpora else -1 for name in names])
    for index in range(len(cache), len(shards)):
        if cache.tokens >= tokens:
            break
        cache.add(_harvested(shards.read(index), saes, number, shards.facts.bos is not None))
        report(cache.tokens)
    cache.finish()


def _harvested(rows: dict[str, Tensor], saes: Sequence[Sae], number: np.ndarray, bos: bool) -> Chunk:
    """The rows of one shard that are of corpora with a number."""
    corpus, doc, pos = (rows[name].long() for name in ("corpus", "doc", "pos"))
    new = begins(pos, doc, corpus)
    wanted = torch.from_numpy(number)[corpus] >= 0
    first = torch.nonzero(new & wanted)[:, 0]
    owner = new.cumsum(0)[wanted].unique_consecutive(return_inverse=True)[1]
    table = torch.stack([torch.from_numpy(number)[corpus[first]], doc[first], pos[first] - int(bos), torch.bincount(owner)], 1)
    coded, sites = _Coded(saes), sites_of(sae.facts for sae in saes)
    for row, own in zip(wanted.nonzero()[:, 0].split(_ROWS), owner.split(_ROWS), strict=True):
        coded.add({site: rows[acts_column(site)][row] for site in sites}, torch.nonzero(own % _MEASURED == 0)[:, 0])
    return Chunk(rows["ids"][wanted].numpy(), table.numpy(), coded.codes, coded.sums)


class _Coded:
    """The codes of some rows by SAE, and what each SAE explains of those rows that are measured."""

    def __init__(self, saes: Sequence[Sae]) -> None:
        self._saes = saes
        self._codes: dict[str, list[Codes]] = {sae.name: [] for sae in saes}
        self._sums = {sae.name: VarianceSum() for sae in saes}

    def add(self, acts: Mapping[Site, Tensor], measured: Tensor, sink: Tensor | None = None) -> None:
        """Further rows. Rows that are a `sink` are text, but nothing an SAE can take apart."""
        for sae in self._saes:
            read = concat_sites(acts, sae.facts.input_sites).float()
            found = sae.encode(read)
            self._codes[sae.name].append(on_cpu(found if sink is None else found.silenced(sink)))
            target = concat_sites(acts, sae.facts.output_sites)[measured].float()
            self._sums[sae.name].add(target, sae.decode(found.take(measured), read[measured]))

    @property
    def codes(self) -> dict[str, Codes]:
        """In the order they were added."""
        return {name: Codes.cat(parts) for name, parts in self._codes.items()}

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """As a chunk holds them."""
        return {name: one.numbers().numpy() for name, one in self._sums.items()}


def on_cpu(codes: Codes) -> Codes:
    """`codes` in main memory."""
    return Codes(codes.indptr.cpu(), codes.feature.cpu().int(), codes.value.cpu(), codes.d_sae)

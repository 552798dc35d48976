"""Saving: a harvest written as shards, one after the other, that goes on where it was stopped and gives the same bytes."""

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hooke.engine.cluster import Cluster, Unit
from hooke.errors import BadConfig, LimitReached
from hooke.harvest import batches, read
from hooke.harvest.buffer import Buffer, Part
from hooke.model import Model
from hooke.model.recipe import Recipe
from hooke.names import Site
from hooke.shards import Shard, ShardFacts
from hooke.shards.manifest import acts_column
from hooke.shards.writer import ShardWriter, writing
from hooke.text.corpus import Corpus, Window, windows
from hooke.text.sources import files_of


@dataclass(frozen=True)
class HarvestConfig:
    """What is read, and in what portions."""

    tokens: int
    """Tokens to write, special positions not counted."""
    context: int = 128
    """Tokens in a window, the beginning-of-sequence token included."""
    pack: bool = False
    """Whether several documents share a window, so that all windows are full."""
    seed: int = 0
    """Decides the order of documents."""
    epochs: int = 1
    """How often a corpus that runs out begins again, at most."""
    held_out: bool = False
    """Read the documents that are kept from training, and not the others."""
    one_in: int = 50
    """One document in so many is kept from training."""
    shard_tokens: int = 1 << 16
    """Tokens in a shard; one is held in memory, and at most one is made again after a stop."""
    batch_tokens: int = 4096
    """Tokens of a forward pass."""
    drop_sinks: bool = True
    """Leave out attention sinks."""

    def __post_init__(self) -> None:
        for name in ("tokens", "epochs", "shard_tokens", "batch_tokens"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name}={getattr(self, name)} must be at least 1.")
        if self.context < 2 or self.one_in < 2 or self.seed < 0:
            raise BadConfig(f"context={self.context} and one_in={self.one_in} must be at least 2, seed={self.seed} at least 0.")


def facts_of(model: Model, corpora: Sequence[Corpus], sites: Sequence[Site], config: HarvestConfig) -> ShardFacts:
    """What the manifest says of such a harvest. Raises `UnknownName` for a site the model has not."""
    if not 1 <= len(corpora) <= 256 or len({corpus.name for corpus in corpora}) < len(corpora):
        raise BadConfig(f"a harvest reads from 1 to 256 corpora, each with a name of its own; these are {len(corpora)}.")
    if not sites:
        raise BadConfig(f"no site to harvest at. A site is written kind.layer, for example {model.sites()[-1]}.")
    if config.context > model.context:
        raise BadConfig(f"{model.name} reads at most {model.context:,} tokens at once; asked for is a context of {config.context:,}.")
    return ShardFacts(
        model=model.name,
        dtype=str(model.dtype).removeprefix("torch."),
        sites={str(site): model.width(site) for site in sites},
        corpora=[described(corpus) for corpus in corpora],
        tokens=config.tokens,
        shard_tokens=config.shard_tokens,
        context=config.context,
        packed=config.pack,
        bos=model.tokenizer.bos,
        drop_sinks=config.drop_sinks,
        held_out=config.held_out,
        one_in=config.one_in,
        epochs=config.epochs,
        seed=config.seed,
        batch_tokens=config.batch_tokens,
    )


def described(corpus: Corpus) -> dict[str, Any]:
    """What tells a corpus from another. Files here are known by their size and not their folder, so that they can be moved."""
    here = isinstance(corpus.path, Path) or "://" not in corpus.path
    size = sum(Path(file.name).stat().st_size for file in files_of(corpus.path)) if here else None
    source = Path(corpus.path).name if here else str(corpus.path)
    return {"name": corpus.name, "weight": float(corpus.weight), "source": source, "field": corpus.field, "bytes": size}


def save(
    model: Model,
    corpora: Sequence[Corpus],
    sites: Sequence[Site],
    out: Path | str,
    config: HarvestConfig,
    report: Callable[[int], None] = lambda tokens: None,
    *,
    cluster: Cluster | None = None,
) -> Generator[Shard, None, None]:
    """Write activations at `sites` to `out`, a folder or an `fsspec` address; gives each shard once it is safe.

    What is there already is not made again: stopped at any moment and started with the same settings, the same bytes come out. `report`
    hears the number of tokens that are written or waiting to be. With `cluster` its workers read, each with a model of its own, and this
    process writes: the same bytes. Raises `LimitReached` if the corpora end before `config.tokens`, which leaves all that they gave in
    complete shards, and whatever `writing`, `harvest` and the cluster raise.
    """
    facts = facts_of(model, corpora, sites, config)
    with writing(out, facts) as writer:
        if not writer.manifest.complete:
            reading = _Reading(model, sites, [corpus.name for corpus in corpora], config.drop_sinks)
            texts = _texts(model, corpora, config)
            number = writer.manifest.part
            chosen = itertools.islice(batches(texts, config.batch_tokens), number, None)
            if cluster is None:
                parts = (_part(reading, batch) for batch in chosen)
            else:
                units = (Unit(f"batch {at}", batch) for at, batch in enumerate(chosen, number))
                parts = cluster.in_order(_part, partial(_opened, Recipe.of(model, cluster.device), *reading.how), units)
            yield from _shards(parts, config, writer, report)
        if writer.tokens < config.tokens:
            raise LimitReached(
                f"the corpora gave {writer.tokens:,} tokens of the {config.tokens:,} that were asked for"
                + (f"; {out} holds them all and is ready to be read" if writer.tokens else "")
                + f". Give more text, or read it more often: epochs={config.epochs + 1}."
            )


@dataclass(frozen=True)
class _Reading:
    """What reading any batch takes."""

    model: Model
    sites: Sequence[Site]
    names: list[str]
    """Names of the corpora."""
    drop_sinks: bool

    @property
    def how(self) -> tuple[Sequence[Site], list[str], bool]:
        """All but the model."""
        return self.sites, self.names, self.drop_sinks


def _opened(recipe: Recipe, *how: Any) -> _Reading:
    return _Reading(recipe.load(), *how)


def _texts(model: Model, corpora: Sequence[Corpus], config: HarvestConfig) -> Iterator[Window]:
    return windows(
        corpora,
        model.tokenizer,
        length=config.context,
        seed=config.seed,
        held_out=config.held_out,
        one_in=config.one_in,
        epochs=config.epochs,
        pack=config.pack,
    )


def _part(reading: _Reading, batch: list[Window]) -> Part:
    """The rows of one batch, as a shard has them."""
    harvested = read(reading.model, batch, reading.sites, reading.drop_sinks)
    corpus = torch.tensor([reading.names.index(window.corpus) for window in harvested.windows])[harvested.window]
    columns = {acts_column(site): value.to("cpu", torch.bfloat16) for site, value in harvested.acts.items()}
    columns |= {"ids": harvested.ids.int(), "doc": harvested.docs.int(), "pos": harvested.pos.int(), "corpus": corpus.to(torch.uint8)}
    return Part(columns, reading.names, corpus, {"special": harvested.special, "sink": harvested.sinks})


def _shards(
    parts: Iterator[Part], config: HarvestConfig, writer: ShardWriter, report: Callable[[int], None]
) -> Generator[Shard, None, None]:
    begin = (writer.manifest.part, writer.manifest.rows)
    buffer = Buffer(min(config.shard_tokens, config.tokens), _heard(parts, writer.tokens - begin[1], config.tokens, report), begin)
    while (missing := config.tokens - writer.tokens) and buffer.fill(missing):
        last = buffer.n == missing
        yield writer.write({str(name): value[: buffer.n] for name, value in buffer.columns.items()}, buffer, last)
    if writer.tokens and not writer.manifest.complete:
        writer.finish()


def _heard(parts: Iterator[Part], tokens: int, wanted: int, report: Callable[[int], None]) -> Iterator[Part]:
    for part in parts:
        tokens += len(part.corpus)
        report(min(tokens, wanted))
        yield part

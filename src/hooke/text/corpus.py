"""Corpora: documents of files, folders, addresses or datasets, mixed by weight and cut into windows; the same for the same seed."""

import bisect
import math
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hooke.errors import BadConfig, BadFile
from hooke.text.datafiles import documents_in, kind_of
from hooke.text.intake import suffix_of
from hooke.text.sources import HUB, files_of, resolve
from hooke.text.tokens import Tokenizer

# A shuffled stretch of a corpus is held in memory: at most this many characters, each document counted as so many more.
_BLOCK, _OVERHEAD = 2**25, 64
_GROUP = 32


@dataclass(frozen=True)
class Corpus:
    """A body of documents and its share of the mix."""

    name: str
    """Short name, for cards and tables."""
    path: Path | str
    """A file, or a folder of files; as text also a glob, an address (``s3://``) or ``hf://datasets/org/name``. See `documents_in`."""
    weight: float = 1.0
    """Its share of the tokens, relative to the other corpora's weights."""
    field: str | None = None
    """The field or column that holds the text; None is ``text``, with ``title`` in front."""


@dataclass(frozen=True)
class Window:
    """A run of tokens, the beginning-of-sequence token in front: from one document, or packed from several that follow each other."""

    corpus: str
    """Name of the corpus."""
    doc: int
    """Number of the document in its corpus; of the first one in a packed window."""
    ids: list[int]
    """Token ids."""
    docs: tuple[tuple[int, int], ...] = ()
    """In a packed window ``(first position, document)`` for each document in it, the first at position 0; else empty."""
    start: int = 0
    """Token of the document at which the window begins; 0 in a packed window."""

    def doc_at(self, pos: int) -> int:
        """Number of the document that the token at position `pos` belongs to; an end-of-sequence token belongs to what it ends."""
        return self.docs[bisect.bisect_right(self.docs, (pos, math.inf)) - 1][1] if self.docs else self.doc


def parse_corpus(text: str, *, field: str | None = None) -> Corpus:
    """Read ``REF`` or ``REF=WEIGHT`` as typed on a command line; nothing is fetched.

    REF is a data file (see `documents_in`), a folder of them, a glob, an address (``s3://bucket/news.jsonl.zst``), or a dataset on the
    hub: ``hf://datasets/org/name[@revision][/part]``, or ``org/name`` where nothing here is called so. WEIGHT is a positive number; where
    a path of that very name exists, the ``=`` is part of it. `field` names the field or column that holds the text. Raises `BadConfig`
    for a weight that cannot be, `Missing` where nothing answers to REF.

    >>> parse_corpus("hf://datasets/org/name=2.5")
    Corpus(name='org/name', path='hf://datasets/org/name', weight=2.5, field=None)
    """
    ref, weight = text, 1.0
    before, equals, after = text.rpartition("=")
    if equals and not os.path.exists(text):
        try:
            ref, weight = before, float(after)
        except ValueError:
            if os.path.exists(before):
                raise BadConfig(f"{after!r}, in {text!r}, is no weight; a weight is a positive number.") from None
    if not 0 < weight < math.inf:
        raise BadConfig(f"the weight of {ref!r} is {after}; a weight is a positive number.")
    path = resolve(ref)
    return Corpus(_name(path), path, weight, field)


def parse_corpora(texts: Sequence[str], *, field: str | None = None) -> list[Corpus]:
    """`parse_corpus` for each of `texts`; where short names would be the same, each corpus is called by all of its reference."""
    found = [parse_corpus(text, field=field) for text in texts]
    often = Counter(corpus.name for corpus in found)
    named = [replace(corpus, name=str(corpus.path)) if often[corpus.name] > 1 else corpus for corpus in found]
    if twice := [name for name, count in Counter(corpus.name for corpus in named).items() if count > 1]:
        raise BadConfig(f"the corpus {twice[0]!r} was named more than once; give it once, with its whole weight.")
    return named


def _name(path: Path | str) -> str:
    if isinstance(path, str) and path.startswith(HUB):
        return path.removeprefix(f"{HUB}datasets/")
    name = path.resolve().name if isinstance(path, Path) else PurePosixPath(path).name
    return name if kind_of(name) is None else name.removesuffix("".join(PurePosixPath(name).suffixes[-sum(map(bool, suffix_of(name))) :]))


def documents(path: Path | str, field: str | None = None) -> Iterator[str]:
    """The texts of a corpus, in order of its files' names, streamed; `path` and `field` as in `Corpus`."""
    for file in files_of(path):
        yield from documents_in(file, field)


def is_held_out(doc: int, one_in: int) -> bool:
    """Whether document `doc` of a corpus is kept from training."""
    return doc % one_in == one_in - 1


def windows(
    corpora: Sequence[Corpus],
    tokenizer: Tokenizer,
    *,
    length: int,
    seed: int,
    held_out: bool = False,
    one_in: int = 50,
    epochs: int = 1,
    pack: bool = False,
) -> Iterator[Window]:
    """Windows of at most `length` tokens from all `corpora`, mixed so that each gives its weight's share of the tokens.

    1. Every document is cut from its beginning, so titles and first sentences are seen as readers see them. With `pack`, documents of a
       corpus run together instead, each ended by the end-of-sequence token if there is one, in windows of exactly `length` tokens.
    2. One document in `one_in` is held out: `held_out` picks those, otherwise the rest.
    3. Corpora that run out begin again, at most `epochs` times; the mix ends when all have.
    4. Documents are shuffled in stretches of about 32 million characters, so memory does not grow with a corpus.

    Raises `BadFile` where a corpus has nothing to give: it is empty, blank, held out, or too short for one packed window.
    """
    if not corpora or not all(0 < corpus.weight < math.inf for corpus in corpora):
        raise BadConfig("a mix needs at least one corpus, and every weight must be positive.")
    if length < 2:
        raise BadConfig(f"a window of length {length} has no room for a token after the beginning-of-sequence token; at least 2.")
    if one_in < 1 or epochs < 1:
        raise BadConfig(f"one_in={one_in} and epochs={epochs} must be at least 1.")
    order = random.Random(seed)  # noqa: S311 (shuffling, not secrets)
    readings = [_Reading(corpus, order.randrange(1 << 30), held_out, one_in, epochs) for corpus in corpora]
    return _mixed(readings, [_cut(own, _Packer(own, tokenizer, length) if pack else _Cutter(own, tokenizer, length)) for own in readings])


def _mixed(readings: "list[_Reading]", sources: list[Iterator[Window]]) -> Iterator[Window]:
    given = [0.0] * len(sources)
    open_sources = set(range(len(sources)))
    while open_sources:
        # The corpus that is furthest behind its share gives the next window.
        index = min(open_sources, key=lambda i: (given[i] / readings[i].corpus.weight, i))
        window = next(sources[index], None)
        if window is not None:
            given[index] += len(window.ids)
            yield window
            continue
        open_sources.discard(index)
        # A small corpus may have nothing held out; that all of them have nothing is a mistake.
        if given[index] == 0 and not (readings[index].held_out and (open_sources or any(given))):
            raise readings[index].nothing()


class _Reading:
    """One corpus read with a seed: its documents in shuffled groups, and why it gave nothing, if it did."""

    def __init__(self, corpus: Corpus, seed: int, held_out: bool, one_in: int, epochs: int) -> None:
        self.corpus, self.held_out = corpus, held_out
        self.order = random.Random(seed)  # noqa: S311
        self.tokens = 0
        self._one_in, self._epochs = one_in, epochs
        self._documents = self._chosen = 0

    def groups(self) -> Iterator[list[tuple[int, str]]]:
        """A few documents at a time, with their numbers, in the order of the shuffle."""
        kept: list[list[tuple[int, str]]] = []
        for _ in range(self._epochs):
            blocks = kept or self._blocks()
            for number, block in enumerate(blocks):
                kept = [] if number else [block]  # a corpus of one block is read once
                self.order.shuffle(block)
                for start in range(0, len(block), _GROUP):
                    yield block[start : start + _GROUP]

    def _blocks(self) -> Iterator[list[tuple[int, str]]]:
        block, size = [], 0
        self._documents = self._chosen = 0
        for number, text in enumerate(documents(self.corpus.path, self.corpus.field)):
            self._documents += 1
            if is_held_out(number, self._one_in) != self.held_out:
                continue
            self._chosen += 1
            block.append((number, text))
            size += len(text) + _OVERHEAD
            if size >= _BLOCK:
                yield block
                block, size = [], 0
        if block:
            yield block

    def nothing(self) -> BadFile:
        name, count = self.corpus.name, self._documents
        if not count:
            return BadFile(f"the corpus {name!r} is empty: {str(self.corpus.path)!r} has no documents.")
        if not self._chosen:
            which = "none is" if self.held_out else "all are"
            return BadFile(f"the corpus {name!r} has too few documents, {count}: with one in {self._one_in} held out, {which} held out.")
        if not self.tokens:
            return BadFile(f"the corpus {name!r} is blank: none of its {self._chosen} documents has any text.")
        return BadFile(f"the corpus {name!r} has only {self.tokens} tokens, too few for one packed window. Use a smaller length.")


def _cut(reading: _Reading, cutter: "_Cutter") -> Iterator[Window]:
    for group in reading.groups():
        # The windows of a few documents are interleaved, so that no long book fills a stretch of the stream.
        cut = cutter.windows(group)
        reading.order.shuffle(cut)
        yield from cut


class _Cutter:
    """Windows of single documents."""

    def __init__(self, reading: _Reading, tokenizer: Tokenizer, length: int) -> None:
        self._reading, self._tokenizer = reading, tokenizer
        self._name = reading.corpus.name
        self._head = [] if tokenizer.bos is None else [tokenizer.bos]
        self._step = length - len(self._head)

    def windows(self, group: list[tuple[int, str]]) -> list[Window]:
        """The windows of `group`, in the order of its documents."""
        head, step = self._head, self._step
        return [
            Window(self._name, doc, head + body[at : at + step], start=at)
            for doc, body in self._bodies(group)
            for at in range(0, len(body), step)
        ]

    def _bodies(self, group: list[tuple[int, str]]) -> Iterator[tuple[int, list[int]]]:
        """Each document that has any tokens, and these."""
        for (doc, _), ids in zip(group, self._tokenizer.encode([text for _, text in group]), strict=True):
            if body := ids[len(self._head) :]:
                self._reading.tokens += len(body)
                yield doc, body


class _Packer(_Cutter):
    """Windows of exactly the length that was asked for, from documents that follow each other; what is left waits for the next group."""

    def __init__(self, reading: _Reading, tokenizer: Tokenizer, length: int) -> None:
        super().__init__(reading, tokenizer, length)
        self._end = [] if tokenizer.eos is None else [tokenizer.eos]
        self._ids: list[int] = []
        self._starts: list[tuple[int, int]] = []  # where each document begins in them

    def windows(self, group: list[tuple[int, str]]) -> list[Window]:
        for doc, body in self._bodies(group):
            self._starts.append((len(self._ids), doc))
            self._ids += body + self._end
        out, used = [], len(self._ids) // self._step * self._step
        for at in range(0, used, self._step):
            first, last = (bisect.bisect_left(self._starts, (edge, -1)) for edge in (at + 1, at + self._step))
            # The document that is running at the first token owns the beginning-of-sequence token too.
            docs = ((0, self._starts[first - 1][1]), *((start - at + len(self._head), doc) for start, doc in self._starts[first:last]))
            out.append(Window(self._name, docs[0][1], self._head + self._ids[at : at + self._step], docs))
        running = max(0, bisect.bisect_left(self._starts, (used + 1, -1)) - 1)
        self._ids = self._ids[used:]
        self._starts = [(max(0, start - used), doc) for start, doc in self._starts[running:]] if self._ids else []
        return out

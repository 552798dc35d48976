"""Corpora: documents from JSON Lines files, mixed by weight, cut into windows of tokens; the same seed gives the same windows."""

import io
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from hooke.errors import BadConfig, BadFile, Missing
from hooke.text.tokens import Tokenizer


@dataclass(frozen=True)
class Corpus:
    """A file of documents and its share of the mix."""

    name: str
    """Short name, for cards and tables."""
    path: Path
    """JSON Lines with ``text`` and perhaps ``title``; ``.zst`` is unpacked."""
    weight: float = 1.0
    """Its share of the tokens, relative to the other corpora's weights."""


@dataclass(frozen=True)
class Window:
    """A run of tokens from one document, the beginning-of-sequence token in front."""

    corpus: str
    """Name of the corpus."""
    doc: int
    """Number of the document in its corpus."""
    ids: list[int]
    """Token ids."""


def documents(path: Path) -> Iterator[str]:
    """The texts of a JSON Lines file, in order, titles on a line of their own before the body."""
    if not path.is_file():
        raise Missing(f"no corpus at {path}.")
    with path.open("rb") as raw:
        stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw)) if path.suffix == ".zst" else raw
        number = 0
        try:
            for number, line in enumerate(stream, 1):  # noqa: B007 (told when the file breaks off)
                yield _document(line)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadFile(f"{path}, line {number}: not a JSON object with a 'text' ({error}).") from error
        except zstandard.ZstdError as error:
            raise BadFile(f"{path}: damaged after line {number} ({error}).") from error


def _document(line: bytes) -> str:
    record = json.loads(line)
    text, title = record["text"], record.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise TypeError("'text' and 'title' must be strings")
    return f"{title}\n{text}" if title else text


def is_held_out(doc: int, one_in: int) -> bool:
    """Whether document `doc` of a corpus is kept from training."""
    return doc % one_in == one_in - 1


def windows(
    corpora: Sequence[Corpus], tokenizer: Tokenizer, *, length: int, seed: int, held_out: bool = False, one_in: int = 50, epochs: int = 1
) -> Iterator[Window]:
    """Windows of at most `length` tokens from all `corpora`, mixed so that each gives its weight's share of the tokens.

    Every document is cut from its beginning, so titles and first sentences are seen as readers see them. One document in `one_in` is held
    out: `held_out` picks those, otherwise the rest. Corpora that run out begin again, at most `epochs` times; the mix ends when all have.
    """
    if not corpora or not all(0 < corpus.weight < math.inf for corpus in corpora):
        raise BadConfig("a mix needs at least one corpus, and every weight must be positive.")
    if length < 2:
        raise BadConfig(f"a window of length {length} has no room for a token after the beginning-of-sequence token; at least 2.")
    order = random.Random(seed)  # noqa: S311 (shuffling, not secrets)
    sources = [_windows_of(corpus, tokenizer, length, order.randrange(1 << 30), held_out, one_in, epochs) for corpus in corpora]
    given = [0.0] * len(corpora)
    open_sources = set(range(len(corpora)))
    while open_sources:
        # The corpus that is furthest behind its share gives the next window.
        index = min(open_sources, key=lambda i: (given[i] / corpora[i].weight, i))
        window = next(sources[index], None)
        if window is None:
            open_sources.discard(index)
            continue
        given[index] += len(window.ids)
        yield window


def _windows_of(corpus: Corpus, tokenizer: Tokenizer, length: int, seed: int, held_out: bool, one_in: int, epochs: int) -> Iterator[Window]:
    order = random.Random(seed)  # noqa: S311
    texts = [(number, text) for number, text in enumerate(documents(corpus.path)) if is_held_out(number, one_in) == held_out]
    for _ in range(epochs):
        order.shuffle(texts)
        for start in range(0, len(texts), 32):
            # A few documents at a time, their windows interleaved, so that no long book fills a stretch of the stream.
            group = texts[start : start + 32]
            cut = []
            for (number, _), ids in zip(group, tokenizer.encode([text for _, text in group]), strict=True):
                body = ids if tokenizer.bos is None else ids[1:]
                head = [] if tokenizer.bos is None else [tokenizer.bos]
                step = length - len(head)
                cut += [Window(corpus.name, number, head + body[at : at + step]) for at in range(0, len(body), step)]
            order.shuffle(cut)
            yield from cut

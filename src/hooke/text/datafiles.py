"""Data files: the documents of one file of JSON Lines, CSV, Parquet or plain text, packed or not, from wherever it is; one at a time."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hooke.errors import BadFile, Missing
from hooke.text.intake import DEFAULT_FIELD, Blanks, TextSource, csv_texts, jsonl_texts, numbered_lines, suffix_of
from hooke.text.unpack import ByteStream

KINDS = {
    ".parquet": "Parquet", ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".csv": "CSV", ".tsv": "CSV", ".txt": "plain text",
}  # fmt: skip
"""What is in a file, by its suffix (after ``.gz`` or ``.zst``)."""

_TITLE = "title"
_LOOK_AHEAD = 2**16  # characters of a text file that decide whether its documents are paragraphs or lines


@dataclass(frozen=True)
class DataFile:
    """A file of documents that can be opened, here or far away; nothing of it is read before that."""

    name: str
    """Path or address: what messages call it, and what its suffix is taken from."""
    open: Callable[[], AbstractContextManager[ByteStream]]
    """Open it for reading; Parquet needs a stream that can seek."""

    @classmethod
    def at(cls, path: Path) -> "DataFile":
        """The file at `path` on this machine."""
        return cls(str(path), lambda: path.open("rb"))


def kind_of(name: str) -> str | None:
    """What a file of this name holds, one of the values of `KINDS`; None for a kind that is not read.

    >>> kind_of("news/part-3.jsonl.zst"), kind_of("README.md")
    ('JSON Lines', None)
    """
    suffix, packing = suffix_of(name)
    return None if suffix == ".parquet" and packing else KINDS.get(suffix)


def documents_in(file: DataFile, field: str | None = None) -> Iterator[str]:
    """The documents of `file`, in order, streamed.

    1. A record of JSON Lines, CSV or Parquet is one document: its ``text``, with its ``title``, if it has one, on a line of its own in
       front. Where `field` is named, that field alone.
    2. A plain text file's documents are its paragraphs, which stand apart by blank lines; if its first 64 Ki characters have no blank
       line between two others, each line is a document.
    3. A name without a suffix is read as JSON Lines.

    Raises `BadFile` with file and line for what cannot be read, `UnknownName` listing the fields there are, `Missing` without pyarrow.
    """
    kind = kind_of(file.name) if suffix_of(file.name)[0] else "JSON Lines"
    if kind is None:
        raise BadFile(f"{file.name!r} is of no kind that is read. Read are {', '.join(KINDS)}; all but Parquet also as .gz or .zst.")
    if kind == "plain text" and field is not None:
        raise BadFile(f"field {field!r} was named, but {file.name!r} is plain text, which has no fields.")
    blanks = Blanks(repr(file.name))
    for document in _documents(file, kind, field):
        blanks.counts(document)  # raises where they never end
        yield document


def _documents(file: DataFile, kind: str, field: str | None) -> Iterator[str]:
    wanted, title = (DEFAULT_FIELD, _TITLE) if field is None else (field, None)
    try:
        with file.open() as stream:
            if kind == "Parquet":
                from hooke.text.parquet import parquet_texts

                yield from parquet_texts(file.name, stream, wanted, title)
                return
            suffix, packing = suffix_of(file.name)
            named = {"field": field, "column": None} if kind == "JSON Lines" else {"field": None, "column": field}
            source = TextSource(
                repr(file.name), stream, "auto", delimiter="\t" if suffix == ".tsv" else ",", packing=packing, title=title, **named
            )
            read = {"JSON Lines": jsonl_texts, "CSV": csv_texts, "plain text": _paragraphs}[kind]
            yield from read(source, numbered_lines(source, stream))
    except FileNotFoundError as error:
        raise Missing(f"there is no file {file.name!r}.") from error
    except OSError as error:
        raise BadFile(f"{file.name!r} cannot be read: {error.strerror or error}.") from error


def _paragraphs(source: TextSource, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    ahead: list[tuple[int, str]] = []
    size, begun, blank, apart = 0, False, False, False
    for number, line in lines:
        ahead.append((number, line))
        size += len(line)
        filled = bool(line.strip())
        apart = blank and filled
        if apart or size >= _LOOK_AHEAD:
            break
        blank, begun = begun and not filled, begun or filled
    rest = itertools.chain(ahead, lines)
    if not apart:
        yield from (line.strip("\r\n") for _, line in rest if line.strip())
        return
    for filled, group in itertools.groupby((line for _, line in rest), lambda line: bool(line.strip())):
        if filled:
            yield "".join(group).strip("\r\n")

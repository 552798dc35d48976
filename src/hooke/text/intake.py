"""Texts on their way in: files of lines, JSONL or CSV (also .gz and .zst), standard input; one at a time."""

import csv
import difflib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from hooke.errors import BadConfig, BadFile, LimitReached, Missing, unknown
from hooke.text.marks import half_pair
from hooke.text.unpack import DAMAGE, ByteStream, unpacked

Form = Literal["auto", "lines", "jsonl", "csv"]

MAX_LINE = 16 * 2**20
"""Longest line (and longest CSV record) that is read, in bytes."""
MAX_BLANK_RECORDS, MAX_BLANK_BYTES = 1_000_000, 64 * 2**20
"""Blank lines or records, and blank bytes, that are read in a row before a source counts as having no more text."""
DEFAULT_FIELD = "text"
"""The JSONL field or CSV column that is read when none is named."""

_SEPARATORS = (",", ";", "\t", "|")
FORMS: dict[str, Form] = {".txt": "lines", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
"""What the records of a file are, by its suffix."""

_PACKED = (".gz", ".zst")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


class Record(str):
    """A text, and what else stood in the record that it came from."""

    fields: dict[str, Any]
    """The record's other fields, by name."""

    @classmethod
    def of(cls, text: str, fields: dict[str, Any]) -> "Record":
        record = cls(text)
        record.fields = fields
        return record


def read_texts(
    source: str | Path | ByteStream, *, field: str | None = None, column: str | None = None, form: Form = "auto"
) -> Iterator[str]:
    """The texts of one source, streamed: memory does not grow with the source, and what is not asked for is not read.

    1. `source` is a path, ``-`` for standard input, or an open binary stream. gzip and Zstandard are unpacked on the way.
    2. `form` is decided by the suffix; without a suffix, `field` means JSONL, `column` means CSV, and neither means lines.
    3. Each line is UTF-8 text of at most ``MAX_LINE`` bytes. A JSONL line is a string, or an object whose `field` is one.
    4. Blank texts are left out; a source with nothing else in it is an error.

    >>> from io import BytesIO
    >>> list(read_texts(BytesIO(b'{"title": "Rates held"}'), field="title"))
    ['Rates held']
    """
    if isinstance(source, str) and "://" in source:
        raise Missing(f"{source!r} is an address, and texts are read from files here. Fetch it first.")
    if isinstance(source, str | Path) and str(source) != "-":
        return _texts(TextSource.file(Path(source), form, field, column))
    if isinstance(source, str | Path) and sys.stdin is None:
        raise BadFile("standard input is closed, so - has nothing to read. Give a file, or pipe texts in.")
    stream = sys.stdin.buffer if isinstance(source, str | Path) else source
    name = "standard input" if isinstance(source, str | Path) else str(getattr(source, "name", "the stream"))
    return _texts(TextSource(name, stream, _form(name, "", form, field, column), field, column))


@dataclass(frozen=True)
class TextSource:
    """One source, its options checked and nothing of it read yet."""

    name: str
    """What messages call it."""
    origin: Path | ByteStream
    """Where the bytes come from."""
    form: Form
    """What a record is; never auto."""
    field: str | None
    """The JSONL field, if one was named."""
    column: str | None
    """The CSV column, if one was named."""
    delimiter: str = ","
    """Between CSV cells."""
    packing: str = ""
    """The suffix that promises packed bytes (``.gz``, ``.zst``), if its name has one."""
    title: str | None = None
    """A second field or column, put on a line of its own before the text where a record has it."""

    @classmethod
    def file(cls, path: Path, form: Form, field: str | None, column: str | None) -> "TextSource":
        name = repr(str(path))
        suffix, packing = suffix_of(path.name)
        if path.is_dir():
            raise BadFile(f"{name} is a directory. Name a file in it, for example {str(path / 'headlines.txt')!r}.")
        if not path.exists():
            near = "".join(f"Did you mean {file!r}? " for file in files_like(str(path)))
            raise Missing(f"there is no file {name}. {near}Check the path; it is taken from {os.getcwd()!r}.")
        return cls(name, path, _form(name, suffix, form, field, column), field, column, "\t" if suffix == ".tsv" else ",", packing)

    def open(self) -> AbstractContextManager[ByteStream]:
        if not isinstance(self.origin, Path):
            return nullcontext(self.origin)
        try:
            return self.origin.open("rb")
        except OSError as error:
            raise self.bad(f"cannot be read: {error.strerror}.") from error

    def bad(self, what: str) -> BadFile:
        return BadFile(f"{self.name} {what}")


class Blanks:
    """Counts what is blank in a source: a few packed kilobytes can hold blank lines for hours, and nothing would come of them."""

    def __init__(self, name: str) -> None:
        """`name` is what messages call the source."""
        self._name, self._records, self._size = name, 0, 0

    def counts(self, text: str | bytes) -> bool:
        """Whether `text` is blank. Raises `LimitReached` where too much in a row was."""
        if text and not text.isspace():
            self._records = self._size = 0
            return False
        self._records, self._size = self._records + 1, self._size + len(text)
        if self._records > MAX_BLANK_RECORDS or self._size > MAX_BLANK_BYTES:
            raise LimitReached(
                f"{self._name} goes on for {self._records:,} blank lines or records ({self._size:,} bytes) without a text; at most"
                f" {MAX_BLANK_RECORDS:,} and {MAX_BLANK_BYTES >> 20} MiB are read in a row. Take them out, or end the file before them."
            )
        return True


def suffix_of(name: str) -> tuple[str, str]:
    """The suffix that says what is in a file, and the one that says how it is packed; each may be empty.

    >>> suffix_of("news.JSONL.zst")
    ('.jsonl', '.zst')
    """
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in _PACKED else ""
    return suffixes[-1] if suffixes else "", packing


def _form(name: str, suffix: str, form: Form, field: str | None, column: str | None) -> Form:
    """What the records of a source are, once suffix and options have been held against each other."""
    if field is not None and column is not None:
        raise BadConfig(f"field {field!r} and column {column!r} were both named. A field is of JSONL, a column of CSV; name one.")
    if form == "auto" and suffix == ".json":
        raise BadConfig(
            f"{name} is one JSON document; one text a line is read. Make it JSONL first, for example: jq -c '.[]' in.json > out.jsonl."
        )
    if form == "auto":
        form = FORMS.get(suffix) or ("jsonl" if field is not None else "csv" if column is not None else "lines")
    if field is not None and form != "jsonl":
        raise BadConfig(f"field {field!r} was named, but {name} is read as {form}. Fields are of JSONL; " + _instead(form, "column"))
    if column is not None and form != "csv":
        raise BadConfig(f"column {column!r} was named, but {name} is read as {form}. Columns are of CSV; " + _instead(form, "field"))
    return form


def _instead(form: Form, other: str) -> str:
    return "plain lines have neither." if form == "lines" else f"name a {other} instead."


def files_like(path: str) -> list[str]:
    """The file beside `path` whose name is nearest to it, if one is near."""
    folder, name = os.path.split(path)
    try:
        beside = os.listdir(folder or ".")
    except (OSError, ValueError):  # no such folder, or no path at all
        return []
    return [os.path.join(folder, near) for near in difflib.get_close_matches(name, beside, n=1, cutoff=0.8)]


def _texts(source: TextSource) -> Iterator[str]:
    """The texts of `source` that are not blank; an error when there is none."""
    records = {"lines": _plain, "jsonl": jsonl_texts, "csv": csv_texts}[source.form]
    with source.open() as stream:
        found, blanks = False, Blanks(source.name)
        for text in records(source, numbered_lines(source, stream)):
            if not blanks.counts(text):
                found = True
                yield text
    if not found:
        raise source.bad("has no text in it. One text a line is expected (or a record with text, in JSONL and CSV).")


def numbered_lines(source: TextSource, stream: ByteStream) -> Iterator[tuple[int, str]]:
    """Numbered lines with their line ends, as text; whatever is wrong with the bytes is said with line and offset."""
    number, offset, blanks = 0, 0, Blanks(source.name)
    try:
        plain, packing = unpacked(stream)
    except OSError as error:
        raise source.bad(f"cannot be read: {error.strerror or error}.") from error
    while True:
        try:
            line = plain.readline(MAX_LINE + 1)
        except DAMAGE as error:
            raise source.bad(
                f"is damaged: its compressed data breaks off or is wrong after line {number} ({error}). Fetch it again."
            ) from error
        except OSError as error:
            raise source.bad(f"cannot be read after line {number}: {error.strerror or error}.") from error
        if not line:
            return
        number += 1
        blanks.counts(line)
        if number == 1 and packing is None and source.packing:
            raise source.bad(f"ends in {source.packing} but its first bytes are not of that format. Rename it, or fetch it again.")
        if len(line) > MAX_LINE:
            raise LimitReached(
                f"line {number} of {source.name} is longer than {MAX_LINE // 2**20} MiB, the most that one text may have."
                " Split it into shorter lines."
            )
        if number == 1 and line.startswith(_UTF16):
            raise source.bad("is UTF-16. Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 in.txt > out.txt.")
        if (nul := line.find(b"\0")) >= 0:
            raise source.bad(
                f"is binary, not text: a NUL byte in line {number}, at byte {offset + nul}. Give plain text, JSONL or CSV in UTF-8."
            )
        skip = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
        try:
            text = line[skip:].decode()
        except UnicodeDecodeError as error:
            at = skip + error.start
            raise source.bad(
                f"is not UTF-8: line {number}, byte {offset + at} is 0x{line[at]:02x} ({error.reason})."
                " Convert it, for example: iconv -f LATIN1 -t UTF-8 in.txt > out.txt."
            ) from error
        yield number, text
        offset += len(line)


def _plain(source: TextSource, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in lines:
        yield line.removesuffix("\n").removesuffix("\r")


def jsonl_texts(source: TextSource, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    """The text of every JSON record in `lines`, blank ones too."""
    name = source.field if source.field is not None else DEFAULT_FIELD
    for number, line in lines:
        if not line.strip():
            continue
        where = f"line {number} of {source.name}"
        try:
            value = json.loads(line, parse_constant=lambda _: None)  # NaN and infinities, which are not JSON
        except RecursionError as error:
            raise BadFile(f"{where} is nested too deeply to be read as JSON.") from error
        except ValueError as error:  # JSONDecodeError, or a number of more digits than Python reads
            said = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise BadFile(f"{where} is not JSON: {said}. JSONL has one complete JSON value on each line.") from error
        if isinstance(value, dict):
            if name not in value:
                hint = f"That is {where}." + ("" if source.field is not None else " Name the field that holds the text.")
                raise unknown("field", name, value, hint)
            title = value.get(source.title) if source.title is not None else None
            title = "" if title is None else _checked(title, f"field {source.title!r} in {where}")
            text = titled(title, _checked(value.pop(name), f"field {name!r} in {where}"))
            if "\\u" in line:  # only an escape can be half of a pair
                _checked(json.dumps(value, ensure_ascii=False), where)
            yield Record.of(text, value)
        else:
            yield _checked(value, where)


def titled(title: str, text: str) -> str:
    """`text` with its title, if it has one, on a line of its own in front."""
    return f"{title}\n{text}" if title else text


def _checked(value: object, where: str) -> str:
    """`value` if it is a text that can be encoded."""
    if not isinstance(value, str):
        raise BadFile(f"{where} is {_kind(value)}, not text. A text is a JSON string, or an object with one in the field that is read.")
    if half_pair(value) is not None:
        raise BadFile(
            f"{where} holds half of a surrogate pair (\\ud800 to \\udfff), which is no character. Write the pair, or leave it out."
        )
    return value


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def csv_texts(source: TextSource, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    """The text of every CSV record in `lines` after the first, which names the columns; blank ones too."""
    seen, size = 0, 0  # last line read; characters since the record began

    def feed() -> Iterator[str]:
        nonlocal seen, size
        for seen, line in lines:
            size += len(line)
            if size > MAX_LINE:
                raise LimitReached(
                    f"the record that ends in line {seen} of {source.name} is longer than {MAX_LINE // 2**20} MiB, the most that is read;"
                    " a quote that is never closed may be why."
                )
            yield line

    def record() -> list[str] | None:
        nonlocal size
        size = 0
        # The csv module keeps one limit for the whole process, 128 KiB; it is lifted for this one call.
        before = csv.field_size_limit(MAX_LINE)
        try:
            return next(reader, None)
        except csv.Error as error:
            raise source.bad(
                f"is not CSV: {error}, in line {seen}. Cells with quotes, commas or line ends are put in double quotes."
            ) from error
        finally:
            csv.field_size_limit(before)

    first = next((line for line in feed() if line.strip()), None)
    if first is None:
        return
    separator = csv_separator(first, source.column or DEFAULT_FIELD, source.delimiter)
    reader = csv.reader(itertools.chain([first], feed()), delimiter=separator, strict=True)
    head = record()
    if head is None:
        return
    column = _column(source, head)
    title = next((i for i, name in enumerate(head) if name.strip() == source.title and i != column), None)
    others = {name.strip(): i for i, name in enumerate(head) if i != column and name.strip()}
    while (row := record()) is not None:
        if not row:
            continue
        if len(row) <= column:
            raise source.bad(
                f"has {len(row)} cells in line {seen} where the first line names {len(head)} columns; column {head[column]!r} is not there."
            )
        if any(cell.strip() for cell in row[len(head) :]):
            raise source.bad(
                f"has {len(row)} cells in line {seen} where the first line names {len(head)} columns."
                f" A cell with {separator!r} in it is put in double quotes."
            )
        text = titled("" if title is None or title >= len(row) else row[title], row[column])
        yield Record.of(text, {name: row[i] if i < len(row) else None for name, i in others.items()})


def csv_separator(first: str, wanted: str, usual: str) -> str:
    """What stands between the cells of a CSV file whose first line is `first`: the `usual` separator, or the one that the line shows.

    It is one that gives a column called `wanted`; failing that, where the usual one gives a single column, one that gives several.

    >>> csv_separator("id;text", "text", ","), csv_separator("id|headline", "text", ","), csv_separator("text", "text", ",")
    (';', '|', ',')
    """
    order = (usual, *(separator for separator in _SEPARATORS if separator != usual))
    cells = {separator: [cell.strip(' "\r\n') for cell in first.split(separator)] for separator in order}
    if found := [separator for separator in order if wanted in cells[separator]]:
        return found[0]
    return usual if len(cells[usual]) > 1 else max(order, key=lambda separator: len(cells[separator]))


def _column(source: TextSource, head: list[str]) -> int:
    """Which cell of each record is the text."""
    names = [name.strip() for name in head]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise source.bad(f"names two columns {twice!r} in its first line. Give each column a name of its own.")
    if source.column is None and len(names) == 1:
        return 0
    asked = source.column if source.column is not None else DEFAULT_FIELD
    if asked not in names:
        hint = f"The first line of {source.name} names the columns." + (
            "" if source.column is not None else " Name the one that holds the text."
        )
        raise unknown("column", asked, names, hint)
    return names.index(asked)

"""Labelled texts: documents whose file says what they are about, and their division into training and test documents."""

import csv
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hooke.errors import BadConfig, BadFile, Missing, unknown
from hooke.text.intake import DEFAULT_FIELD, Blanks, TextSource, csv_separator, numbered_lines, suffix_of
from hooke.text.marks import half_pair

MIN_EXAMPLES = 20
"""A class needs this many documents, and this many others to be told from."""
_TEST_ONE_IN = 3
_SHOWN = 8


@dataclass(frozen=True)
class Labelled:
    """Documents, each with one or more of at least two classes.

    >>> pairs = [("a goal", {"sport"}), ("a loan", {"finance"})] * 20 + [("rain", {"weather"})]
    >>> news = Labelled.of(pairs, "news")
    >>> news.classes, len(news), news.left_out
    (('finance', 'sport'), 40, {'weather': 1})
    """

    name: str
    """What messages and reports call them: the file's name and the field."""
    texts: list[str]
    """What the model reads."""
    labels: list[frozenset[str]]
    """The classes of each text."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Classes with too few documents (or too few others) and how many they had; documents of no other class are left out too."""
    unlabelled: int = 0
    """Documents that were left out because they have no label at all."""

    @classmethod
    def of(cls, documents: Iterable[tuple[str, Iterable[str]]], name: str, *, min_examples: int = MIN_EXAMPLES) -> "Labelled":
        """`documents`, each a text and its labels, without classes that have fewer than `min_examples` documents or others.

        Raises `BadConfig` where fewer than two classes remain; the message says what was found.
        """
        found = [(text, frozenset(labels)) for text, labels in documents]
        kept = [(text, labels) for text, labels in found if labels]
        everything = Counter(label for _, labels in kept for label in labels)
        left_out: dict[str, int] = {}
        while True:  # a class that goes may take documents along that another class needed to be told from
            counts = Counter(label for _, labels in kept for label in labels)
            few = {label for label, n in counts.items() if min(n, len(kept) - n) < min_examples}
            if not few:
                break
            left_out |= {label: everything[label] for label in few}
            kept = [(text, labels - few) for text, labels in kept if labels - few]
        if len({label for _, labels in kept for label in labels}) < 2:
            raise BadConfig(_too_few(name, len(found), everything, min_examples))
        return cls(name, [t for t, _ in kept], [c for _, c in kept], dict(sorted(left_out.items())), sum(not labels for _, labels in found))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, by name."""
        return tuple(sorted({label for labels in self.labels for label in labels}))

    @property
    def counts(self) -> dict[str, int]:
        """Documents of each class."""
        return {label: sum(label in labels for labels in self.labels) for label in self.classes}

    def truth(self, label: str) -> Bool[np.ndarray, " text"]:
        """Which documents are of the class `label`."""
        return np.array([label in labels for labels in self.labels])

    def split(self, seed: int) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
        """Numbers of the training and of the test documents: at random, a third of each class for testing.

        A document of several classes is dealt with its rarest one.
        """
        counts = self.counts
        rarest = np.array([min(counts[label] for label in labels) for labels in self.labels])
        order = np.random.default_rng(seed).permutation(len(self))
        order = order[np.argsort(rarest[order], kind="stable")]
        tests = np.arange(len(order)) % _TEST_ONE_IN == _TEST_ONE_IN - 1
        return np.sort(order[~tests]), np.sort(order[tests])


def _too_few(name: str, documents: int, counts: Counter[str], min_examples: int) -> str:
    shown = ", ".join(f"{label!r} ({n:,})" for label, n in counts.most_common(_SHOWN))
    more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
    what = f"{shown}{more}, of {documents:,} documents" if counts else f"no label on any of {documents:,} documents"
    return (
        f"{name} does not give two classes to tell apart: found {what}. Each class needs at least {min_examples} documents and as many "
        "others. Name another field with --labels, or read more documents."
    )


def read_labelled(path: Path | str, labels: str, *, text: str | None = None, documents: int = 1000, seed: int = 0) -> Labelled:
    """At most `documents` labelled documents of a JSONL or CSV file (also .gz or .zst), drawn at random, the same for the same `seed`.

    `labels` is the field or column of the classes: a string, a number, true or false, or in JSONL a list of them. `text` is that of the
    text; None is ``text`` with its ``title``, if any, on a line of its own above. Records without a text are left out.

    Raises `Missing` without such a file, `UnknownName` where a record lacks a field, `BadFile` where it cannot be read, and `BadConfig`
    where fewer than two classes have enough documents. Memory does not grow with the file.
    """
    path = Path(path)
    if not path.is_file():
        raise Missing(f"there is no file of labelled documents {str(path)!r}. Check the path.")
    if documents < 1:
        raise BadConfig(f"documents={documents} must be at least 1.")
    order = random.Random(seed)  # noqa: S311 (a sample, not a secret)
    kept: list[tuple[str, list[str]]] = []
    pairs = ((_text(record, text, where), _labels(record, labels, where)) for where, record in _records(path))
    blanks = Blanks(str(path))
    for number, pair in enumerate(pair for pair in pairs if not blanks.counts(pair[0])):
        # Every document so far is among the kept with equal chance (Vitter's algorithm R).
        if number < documents:
            kept.append(pair)
        elif (at := order.randrange(number + 1)) < documents:
            kept[at] = pair
    return Labelled.of(kept, f"{path.name} ({labels})")


def _text(record: dict[str, Any], field: str | None, where: str) -> str:
    text = _value(record, field or "text", where)
    title = record.get("title") if field is None else None
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise BadFile(f"{where}: the field {field or 'text'!r} (and 'title') must be text, not {type(text).__name__}.")
    whole = f"{title}\n{text}" if title else text
    if half_pair(whole) is not None:
        raise BadFile(f"{where} holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.")
    return whole


def _labels(record: dict[str, Any], field: str, where: str) -> list[str]:
    value = _value(record, field, where)
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float | None) for item in values):
        raise BadFile(f"{where}: the field {field!r} holds no label. A label is a string, a number, true or false, or a list of these.")
    return [str(item).strip() for item in values if item is not None and str(item).strip()]


def _value(record: dict[str, Any], field: str, where: str) -> Any:
    if field not in record:
        raise unknown("field", field, (key for key in record if key), f"That is {where}.")
    return record[field]


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record of the file, and where it stands."""
    source = TextSource.file(path, "auto" if suffix_of(path.name)[0] else "jsonl", None, None)
    with source.open() as stream:
        lines = numbered_lines(source, stream)
        if source.form == "csv":
            yield from _csv_records(path, (line for _, line in lines), source.delimiter)
            return
        for number, line in lines:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadFile(f"line {number} of {path} is not JSON ({error}). Labelled documents are JSONL or CSV.") from error
            if not isinstance(record, dict):
                raise BadFile(f"line {number} of {path} is not an object with a text and labels.")
            yield f"line {number} of {path}", record


def _csv_records(path: Path, lines: Iterator[str], usual: str) -> Iterator[tuple[str, dict[str, Any]]]:
    first = next((line for line in lines if line.strip()), "")
    reader = csv.DictReader(itertools.chain([first], lines), delimiter=csv_separator(first, DEFAULT_FIELD, usual), strict=True)
    try:
        for record in reader:
            where = f"line {reader.line_num} of {path}"
            if None in record or None in record.values():
                raise BadFile(f"{where} has another number of cells than the first line has columns.")
            yield where, record
    except csv.Error as error:
        raise BadFile(f"{path} is not CSV: {error}, in line {reader.line_num}.") from error

"""Comparisons: groups of texts as the page sends them, and the last few results, so that an address brings them back."""

import csv
import hashlib
import io
import itertools
import json
import shlex
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hooke.differences.grouping import MAX_GROUPS, Grouped, as_number, group, piles
from hooke.differences.result import SCHEMA_VERSION, Differences
from hooke.errors import BadConfig, BadFile, UnknownName
from hooke.report import differences_wording as wording
from hooke.serve.comparison_schema import Compared, CompareRequest, FieldSeen, NamedTexts, Side, Table, WholeText
from hooke.text.intake import FORMS, Form, Record, csv_separator, read_texts, suffix_of

MAX_COMPARED = 5000
"""The most texts of one comparison."""
KEPT = 8
"""Results that are kept."""
_TEXTS = ("text", "title", "headline", "body", "content", "sentence", "comment", "review")
_MOST_VALUES = 24
_PILE = "pile"


class Comparisons:
    """The last few results, with the texts behind them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Compared, Grouped]] = OrderedDict()

    def keep(self, result: Differences, grouped: Grouped, request: CompareRequest) -> Compared:
        """The result in the words of every command, kept under a name that the same request gives again."""
        sides, nearest = (
            [
                Side(name, other, [own for own in findings if own.like is None], len(findings))
                for name, other, findings in wording.sides(result, nearest=near)
            ]
            for near in (False, True)
        )
        found = Compared(
            _name(request),
            wording.able(result),
            list(wording.foremost(result)),
            wording.summary(result),
            sides,
            nearest,
            command(request),
            SCHEMA_VERSION,
            result,
        )
        self._kept[found.id] = found, grouped
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def get(self, name: str) -> Compared:
        """A result by its name. Raises `UnknownName`."""
        return self._found(name)[0]

    def text(self, name: str, number: int) -> WholeText:
        """The whole of a text behind it. Raises `UnknownName`."""
        grouped = self._found(name)[1]
        if not 0 <= number < len(grouped.texts):
            raise UnknownName(f"there is no text {number}; this comparison has {len(grouped.texts):,}, counted from 0.")
        return WholeText(grouped.texts[number], grouped.names[grouped.group[number]])

    def _found(self, name: str) -> tuple[Compared, Grouped]:
        if name not in self._kept:
            raise UnknownName(
                f"no comparison {name!r} is kept: the last {KEPT} are, until the server ends. Send its texts again, or keep its page"
                " as a file next time."
            )
        return self._kept[name]


def _name(request: CompareRequest) -> str:
    """A short name that only the same request has."""
    return hashlib.sha256(json.dumps(asdict(request)).encode()).hexdigest()[:16]


def grouped_texts(request: CompareRequest) -> Grouped:
    """The texts of a request by their groups; refusals are those of `hooke diff`."""
    if request.piles:
        return _of_piles(request)
    if not request.content.strip():
        raise BadConfig("nothing to compare: give two piles of text, or a file with a field of groups.")
    if not request.by:
        raise BadConfig("name the field that says which group a text is of.")
    texts = _records(request.content, request.name, request.text)
    _few_enough(len(texts))
    return group(texts, request.by, groups=request.groups, family=request.family or None, pair=request.pair or None, trend=request.trend)


def _of_piles(request: CompareRequest) -> Grouped:
    names = [pile.name.strip() for pile in request.piles]
    texts = [[text for text in pile.texts if text.strip()] for pile in request.piles]
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise BadConfig("piles need two names or more, all different.")
    if len(names) > MAX_GROUPS:
        raise BadConfig(f"{len(names)} piles were sent; at most {MAX_GROUPS} are compared at once.")
    if empty := [name for name, own in zip(names, texts, strict=True) if not own]:
        raise BadConfig(f"the pile {empty[0]!r} has no text.")
    _few_enough(sum(map(len, texts)))
    return group(piles(texts, names, _PILE), _PILE, groups=names)


def _few_enough(texts: int) -> None:
    if texts > MAX_COMPARED:
        raise BadConfig(f"{texts:,} texts were sent; at most {MAX_COMPARED:,} are compared here. `hooke diff FILE` reads any number.")


def table(content: str, name: str, text: str) -> Table:
    """What is in a file of records, and which fields are likely the text and the groups."""
    names, sample = _first(content, name)
    text = text or next((one for one in _TEXTS if one in names), "") or max(names, key=lambda one: len(str(sample.get(one) or "")))
    records = _records(content, name, text)
    fields = [_seen(own, [one.fields.get(own) for one in records if isinstance(one, Record)]) for own in names if own != text]
    likely = [own for own in fields if 1 < own.different <= MAX_GROUPS and own.filled > len(records) / 2]
    # Of several: what gives the fewest and largest groups.
    by = min(likely, key=lambda own: (own.different, -own.filled)).name if likely else ""
    return Table(len(records), text, names, fields, by)


def _seen(name: str, values: Sequence[Any]) -> FieldSeen:
    filled = [str(value) for value in values if value not in (None, "")]
    counts = Counter(filled)
    numbers = len(counts) > 2 and all(as_number(value) is not None for value in counts)
    return FieldSeen(name, len(filled), len(counts), {value[:200]: n for value, n in counts.most_common(_MOST_VALUES)}, numbers)


def _form(content: str, name: str) -> Form:
    if known := FORMS.get(suffix_of(name)[0]):
        return known
    first = content.lstrip("\ufeff \t\r\n")[:1]
    return "jsonl" if first == "{" else "csv"


def _first(content: str, name: str) -> tuple[list[str], dict[str, Any]]:
    """The names of a file's fields, and its first record."""
    form = _form(content, name)
    lines = (line for line in io.StringIO(content.lstrip("\ufeff")) if line.strip())
    if form == "lines":
        raise BadFile(f"{name!r} is read as one text a line, without fields. Put it into a pile, or give JSONL or CSV.")
    if form == "csv":
        first = next(lines, "")
        separator = csv_separator(first, "text", "\t" if suffix_of(name)[0] == ".tsv" else ",")
        try:
            rows = list(itertools.islice(csv.reader(itertools.chain([first], lines), delimiter=separator), 2))
        except csv.Error as error:
            raise BadFile(f"{name or 'what was sent'!r} is not CSV: {error}.") from error
        names = [cell.strip() for cell in rows[0]] if rows else []
        if len(names) > 1:
            return names, dict(zip(names, rows[1] if len(rows) > 1 else [], strict=False))
        raise BadFile(f"{name or 'what was sent'!r} has one column, so nothing says which group a text is of. Put it into a pile.")
    try:
        record = json.loads(next(lines, ""))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not record:
        raise BadFile(f"the first line of {name or 'what was sent'!r} is no JSON object with fields. JSONL has one on each line.")
    return list(record), record


class _Named(io.BytesIO):
    """A file's bytes, with the name that messages use."""

    def __init__(self, content: str, name: str) -> None:
        super().__init__(content.encode("utf-8", "surrogatepass"))
        self.name = repr(name or "what was sent")


def _records(content: str, name: str, text: str) -> list[str]:
    form = _form(content, name)
    read = read_texts(
        _Named(content, name), form=form, field=text or None if form == "jsonl" else None, column=text or None if form == "csv" else None
    )
    return list(itertools.islice(read, MAX_COMPARED + 1))


def command(request: CompareRequest) -> str:
    """The command that compares the same."""
    saes = [part for name in request.saes for part in ("--sae", name)]
    if request.piles:
        return shlex.join(["hooke", "diff", *(f"{pile.name}.txt" for pile in request.piles), *saes, "--html", "differences.html"])
    form = _form(request.content, request.name)
    parts = ["hooke", "diff", request.name or f"texts.{form}", "--trend" if request.trend else "--by", request.by]
    if request.text:
        parts += ["--field" if form == "jsonl" else "--column", request.text]
    parts += [part for name in request.groups for part in ("--group", name)]
    for name in ("family", "pair", "source"):
        if value := getattr(request, name):
            parts += [f"--{name}", value]
    return shlex.join([*parts, *saes, "--html", "differences.html"])


def example() -> CompareRequest:
    """Headlines of two topics, made up for Hooke, to try a comparison with."""
    from hooke.topics import load_topics  # loads torch

    chosen = [topic for topic in load_topics()[0] if topic.short in ("economy", "politics")]
    return CompareRequest([NamedTexts(topic.short, list(topic.examples)) for topic in chosen])

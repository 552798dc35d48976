"""Differences: what a model reads more often in one pile of texts than in another, with error control and baselines beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from hooke.differences.grouping import Grouped, group, piles
from hooke.differences.result import Confounder, Differences, Excerpt, Finding, Needed, Replication
from hooke.errors import BadConfig
from hooke.text.intake import Record

if TYPE_CHECKING:
    from hooke.analysis.reader import Reader
    from hooke.model import Model
    from hooke.sae import Sae

__all__ = ["Confounder", "Differences", "Excerpt", "Finding", "Needed", "Replication", "compare", "diff", "group", "piles"]

GROUP = "group"
"""The field that says which group a text is of where groups were given as such."""


def diff(
    texts: Mapping[str, Iterable[str]] | Iterable[Any],
    by: str | Iterable[Any] = GROUP,
    *,
    groups: Sequence[str] = (),
    family: str | None = None,
    pair: str | None = None,
    trend: bool = False,
    source: str | None = None,
    model: "str | Path | Model" = "gemma-3-270m",
    saes: "str | Path | Sae | Sequence[str | Path | Sae]" = (),
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Differences:
    """What differs between groups of `texts`: features, topics and words, with q values, intervals and what else may explain it.

    `texts` are groups by name (``{"left": [...], "right": [...]}``), or texts with `by` giving the group of each, or records (dicts with
    ``text``) of which `by`, `family`, `pair` and `source` name fields. With `trend`, `by` is a number or a date. Several groups are each
    held against all others; `groups` picks some. Raises `BadConfig` or `BadFile` where a comparison could say nothing.

    >>> found = diff({"desk": sport, "other": business})  # doctest: +SKIP
    >>> found.findings[0].name, found.findings[0].groups  # doctest: +SKIP
    ('sports matches', {'desk': 0.81, 'other': 0.04})
    """
    from hooke.analysis.reader import Options, Reader

    records, field = _records(texts, by)
    grouped = group(records, field, groups=groups, family=family, pair=pair, trend=trend)
    several = saes if isinstance(saes, Sequence) and not isinstance(saes, str) else [saes]
    reader = Reader.load(model, several, Options(), progress=progress)
    return compare(reader, grouped, source=source, seed=seed, progress=progress)


def compare(
    reader: "Reader",
    grouped: Grouped,
    *,
    source: str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    read: Callable[[int], None] | None = None,
) -> Differences:
    """Read grouped texts and say what differs, the same in whatever order they come; `read` is told how many are read, else `progress`
    is."""
    # The page knows these values before it loads a model; what computes comes with the first comparison.
    from hooke.differences.assemble import assemble
    from hooke.differences.reading import read_pile

    total = len(grouped.texts)
    grouped, order = grouped.in_order()
    pile = read_pile(reader, grouped.texts, read or (lambda done: progress(f"Reading: {done:,} of {total:,} texts")))
    with threadpool_limits(1):  # on several threads sums end in other digits
        found = assemble(reader, pile, grouped, source=source, seed=seed, progress=progress)
    return replace(found, **{name: [_numbered(one, order) for one in getattr(found, name)] for name in ("findings", "nearest")})


def _numbered(finding: Finding, order: Any) -> Finding:
    """The same with texts by their numbers as they came."""
    excerpts = [replace(one, text=int(order[one.text])) for one in finding.excerpts]
    return replace(finding, texts=[int(order[n]) for n in finding.texts], excerpts=excerpts)


def _records(texts: Mapping[str, Iterable[str]] | Iterable[Any], by: str | Iterable[Any]) -> tuple[list[str], str]:
    """Whatever was given, as texts with fields, and the field of the groups."""
    if isinstance(texts, Mapping):
        return [_record(text, {GROUP: name}) for name, own in texts.items() for text in own], GROUP
    if isinstance(texts, str):
        raise BadConfig("one text was given where groups of texts are compared. Give {'one': [...], 'other': [...]}.")
    given = list(texts)
    if isinstance(by, str):
        return [_record(one, {}) for one in given], by
    labels = list(by)
    if len(labels) != len(given):
        raise BadConfig(f"{len(given):,} texts and {len(labels):,} labels were given; each text needs one.")
    return [_record(text, {GROUP: label}) for text, label in zip(given, labels, strict=True)], GROUP


def _record(value: Any, fields: dict[str, Any]) -> Record:
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return Record.of(value["text"], {**{str(name): own for name, own in value.items() if name != "text"}, **fields})
    if not isinstance(value, str):
        raise BadConfig(f"{value!r:.60} ({type(value).__name__}) is neither a text nor a record with a text.")
    return Record.of(str(value), {**(value.fields if isinstance(value, Record) else {}), **fields})

"""Grouping: which texts are held against which, by a field of their records, and refusals of what cannot be compared."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hooke.errors import BadConfig, BadFile, listed, quoted, unknown
from hooke.text.intake import Record

MAX_GROUPS = 12
"""Groups that are compared at once, each with all others."""
MIN_TEXTS = 10
"""Texts that a group has at least: with fewer, no difference among thousands could be told from chance."""
MIN_FAMILIES = 6
"""Families that a group has at least."""


@dataclass(frozen=True)
class Comparison:
    """Texts of one kind held against others."""

    a: str
    """Name of the one group."""
    b: str
    """Name of the other, or ``the others``."""
    in_a: Bool[np.ndarray, " text"]
    """Its texts."""
    in_b: Bool[np.ndarray, " text"]
    """The others'."""
    trend: Float[np.ndarray, " text"] | None = None
    """Ranks of the number or date that stands in the place of a group."""


@dataclass(frozen=True)
class Grouped:
    """Texts that can be compared, and how."""

    by: str
    """The field that makes the groups."""
    texts: list[str]
    """The texts, those left out taken away."""
    fields: list[dict[str, Any]]
    """What else stood in their records."""
    group: Int[np.ndarray, " text"]
    """The group of each, as a place in `names`."""
    names: list[str]
    """The groups, the largest first; for a trend from the lowest third to the highest."""
    comparisons: list[Comparison]
    """What is tested."""
    family: Int[np.ndarray, " text"] | None
    """The family of each text, if there are such; of pairs the pair itself, if no other was named."""
    pairs: bool
    """Whether texts come in pairs, one of the first group and after it one of the other."""
    notes: list[str]
    """What was left out, and why."""

    def in_order(self) -> "tuple[Grouped, Int[np.ndarray, ' text']]":
        """The same with texts in the order of their digests, pairs together, and which of these each is: whatever is drawn by lot then
        falls on the same texts in whatever order they came."""
        together = 2 if self.pairs else 1
        digests = [
            hashlib.sha256("\0".join(self.texts[n : n + together]).encode("utf-8", "surrogatepass")).hexdigest()
            for n in range(0, len(self.texts), together)
        ]
        first = together * np.lexsort((self.group[::together], np.array(digests)))
        order = (first[:, None] + np.arange(together)).ravel()
        comparisons = [
            replace(one, in_a=one.in_a[order], in_b=one.in_b[order], trend=None if one.trend is None else one.trend[order])
            for one in self.comparisons
        ]
        texts, fields = ([own[n] for n in order.tolist()] for own in (self.texts, self.fields))
        family = None if self.family is None else _units(self.family[order].tolist())
        return replace(self, texts=texts, fields=fields, group=self.group[order], comparisons=comparisons, family=family), order

    @property
    def in_families(self) -> bool:
        """Whether several texts, or several pairs, belong together."""
        return self.family is not None and not (self.pairs and len(np.unique(self.family)) == len(self.family) // 2)


def group(
    texts: Sequence[str],
    by: str,
    *,
    groups: Sequence[str] = (),
    family: str | None = None,
    pair: str | None = None,
    trend: bool = False,
) -> Grouped:
    """The texts by the field `by` of their records; only `groups` if some are named; with `trend` the field is a number or a date.

    Raises `BadConfig` or `BadFile` naming what cannot be compared: one group, too small ones, too many, fields that are missing.
    """
    if pair is not None and pair == family:
        raise BadConfig(f"a pair is a family of two already: leave --family out, or name one ({pair} now) that joins several pairs.")
    if trend and (pair or groups):
        raise BadConfig("a trend has no groups or pairs: it is over the numbers or dates of the field.")
    fields = [text.fields if isinstance(text, Record) else {} for text in texts]
    notes: list[str] = []
    needed = [by, *filter(None, (family, pair))]
    know(needed, fields)
    kept = [n for n, own in enumerate(fields) if all(own.get(name) not in (None, "") for name in needed)]
    if lost := len(texts) - len(kept):
        notes.append(f"{lost:,} of {len(texts):,} texts were left out: they have no {' or '.join(needed)}.")
    if trend:
        values, kept, bad = _numbers(by, fields, kept)
        if bad:
            notes.append(f"{bad:,} texts were left out: their {by} is neither a number nor a date.")
        labels, names = _thirds(by, values, [str(fields[n][by]).strip() for n in kept])
    else:
        values, (labels, kept) = None, _labels(by, fields, kept, notes)
        names = _chosen(by, labels, groups)
    place = {name: i for i, name in enumerate(names)}
    at = np.array([place.get(label, -1) for label in labels], np.int64)
    keep = at >= 0
    if not trend and pair is None:
        keep &= ~_in_several(texts, kept, at, notes)
    rows = np.array(kept, np.int64)[keep]
    at = at[keep]
    _large_enough(by, names, at, notes)
    if pair is None:
        _different_enough(by, names, at, [str(texts[n]) for n in rows])
    units = None if family is None and pair is None else _units([fields[n][str(family or pair)] for n in rows])
    if pair is not None and units is not None:
        own = _whole_pairs(pair, names, at, _units([fields[n][pair] for n in rows]), units, notes)
        rows, at, units = rows[own], at[own], units[own]
        _large_enough(by, names, at, notes)
    if family is not None and units is not None and not trend:
        _families_enough(family, names, at, units)
    ranks = None if values is None else _ranks(np.array(values)[keep])
    comparisons = _comparisons(names, at, ranks)
    own_texts, own_fields = [str(texts[n]) for n in rows], [fields[n] for n in rows]
    return Grouped(by, own_texts, own_fields, at, names, comparisons, units, pair is not None, notes)


def piles(texts: Sequence[Sequence[str]], names: Sequence[str], by: str) -> list[str]:
    """The texts of several sources as records whose field `by` says which of `names` they are from."""
    return [
        Record.of(str(text), {**(text.fields if isinstance(text, Record) else {}), by: name})
        for name, own in zip(names, texts, strict=True)
        for text in own
    ]


def know(needed: Sequence[str], fields: Sequence[dict[str, Any]]) -> None:
    """Raise `BadFile` or `UnknownName` where a field that is needed is in no record."""
    if not fields:
        raise BadFile("there is no text to compare.")
    known = {name for own in fields for name in own}
    if not known:
        raise BadFile(f"the texts have no field {needed[0]!r}, or any. Groups need JSONL or CSV with a field for them, or two files.")
    for name in needed:
        if name not in known:
            raise unknown("field", name, known, "Name a field of the records.")
        if not any(own.get(name) not in (None, "") for own in fields):
            raise BadFile(f"the field {name!r} is empty in every record.")


def label_of(value: Any) -> Any:
    """What a record's field says of its group: a text; None where it is empty; a list of several and a table as they are.

    >>> label_of(["sport"]), label_of(2), label_of(True), label_of(["sport", "health"]), label_of("")
    ('sport', '2', 'true', ['sport', 'health'], None)
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict):
        return value
    if isinstance(value, bool):  # as JSON spells it
        return str(value).lower()
    return None if value in (None, "") else str(value)


def _labels(by: str, fields: Sequence[dict[str, Any]], kept: Sequence[int], notes: list[str]) -> tuple[list[str], list[int]]:
    """The label of each text that has one, and which these are."""
    found = [(n, label) for n in kept if isinstance(label := label_of(fields[n][by]), str)]
    if kept and not found:
        raise BadFile(
            f"the field {by!r} is a list of several labels, or a table, in every record. A text is of one group: give it one label."
        )
    if lost := len(kept) - len(found):
        notes.append(f"{lost:,} of {len(kept):,} texts were left out: they have several labels of {by}, or none.")
    return [label for _, label in found], [n for n, _ in found]


def _chosen(by: str, labels: Sequence[str], groups: Sequence[str]) -> list[str]:
    """The groups to compare, the largest first; those that were named, if any were."""
    counts = Counter(labels)
    for name in groups:
        if name not in counts:
            raise unknown(f"group of {by}", name, counts)
    if groups and len(set(groups)) < 2:
        raise BadConfig(f"only the group {groups[0]!r} was named. Name at least two, or none to compare all.")
    names = sorted(set(groups) or counts, key=lambda name: (-counts[name], name))
    if len(names) < 2:
        raise BadConfig(
            f"all {len(labels):,} texts are of one group: {by} is {quoted(names[0])} everywhere. A difference needs two groups (records"
            " without a text do not count)."
        )
    if len(names) > MAX_GROUPS:
        alike = all(as_number(name) is not None for name in names)
        number = " They look like numbers or dates: --trend takes them as such." if alike else ""
        raise BadConfig(
            f"{by} has {len(names):,} different values, and at most {MAX_GROUPS} groups are compared at once.{number} Name some with"
            f" --group; the largest are {listed(names[:5])}."
        )
    return names


def _in_several(texts: Sequence[str], kept: Sequence[int], at: np.ndarray, notes: list[str]) -> np.ndarray:
    """Which texts stand, letter for letter, in several groups: they say nothing of a difference between these."""
    homes: dict[str, set[int]] = {}
    for n, own in zip(kept, at.tolist(), strict=True):
        if own >= 0:
            homes.setdefault(str(texts[n]), set()).add(own)
    several = np.array([own >= 0 and len(homes[str(texts[n])]) > 1 for n, own in zip(kept, at.tolist(), strict=True)], bool)
    if several.any():
        if several.sum() == (at >= 0).sum():
            raise BadConfig("every text is in more than one group: the same documents stand on both sides, so there is no difference.")
        notes.append(f"{int(several.sum()):,} texts were left out: the same text stands in more than one group.")
    return several


def _large_enough(by: str, names: Sequence[str], at: np.ndarray, notes: Sequence[str]) -> None:
    counts = np.bincount(at, minlength=len(names)) if len(at) else np.zeros(len(names), int)
    small = {name: int(n) for name, n in zip(names, counts, strict=True) if n < MIN_TEXTS}
    if small:
        said = ", ".join(f"{quoted(name)} has {n}" for name, n in list(small.items())[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        left = "".join(f" {note}" for note in notes)
        raise BadConfig(
            f"too few texts to compare by {by}: {said}{more}.{left} Each group needs at least {MIN_TEXTS}; with fewer, no difference among"
            " thousands could be told from chance. Leave small groups out by naming the others with --group, or give more texts."
        )


def _different_enough(by: str, names: Sequence[str], at: np.ndarray, texts: Sequence[str]) -> None:
    """Refuse a group that is a few texts many times over: it would look like many, and every word of them like a finding."""
    for i, name in enumerate(names):
        own = [text for text, group in zip(texts, at.tolist(), strict=True) if group == i]
        if (n := len(set(own))) < MIN_TEXTS:
            raise BadConfig(
                f"the group {quoted(name)} of {by} has {len(own):,} texts, but only {n} different one{'s' * (n > 1)}. Each group needs at"
                f" least {MIN_TEXTS} different texts: copies say nothing new."
            )


def _families_enough(family: str, names: Sequence[str], at: np.ndarray, units: np.ndarray) -> None:
    for i, name in enumerate(names):
        if (n := len(np.unique(units[at == i]))) < MIN_FAMILIES:
            some = f"{n} {'family' if n == 1 else 'families'} ({family})"
            raise BadConfig(
                f"the group {quoted(name)} has texts of {some}; it takes at least {MIN_FAMILIES} a group to tell"
                " groups from families. Without --family the texts count one by one, and what differs may be a matter of a few families."
            )


def _units(values: Sequence[Any]) -> np.ndarray:
    place: dict[str, int] = {}
    return np.array([place.setdefault(str(value), len(place)) for value in values], np.int64)


def _whole_pairs(pair: str, names: Sequence[str], at: np.ndarray, pairs: np.ndarray, family: np.ndarray, notes: list[str]) -> np.ndarray:
    """The texts of pairs that have one text in either group, both of one family; that of the first group before the other, pair by pair."""
    if len(names) != 2:
        raise BadConfig(f"pairs are of two groups, and there are {len(names)}: name two with --group.")
    members: dict[int, list[list[int]]] = {}
    for n, (own, unit) in enumerate(zip(at.tolist(), pairs.tolist(), strict=True)):
        members.setdefault(unit, [[], []])[own].append(n)
    whole = [(a[0], b[0]) for a, b in members.values() if len(a) == len(b) == 1]
    if lost := len(members) - len(whole):
        notes.append(f"{lost:,} of {len(members):,} pairs were left out: they have not one text in either group ({pair}).")
    together = [couple for couple in whole if family[couple[0]] == family[couple[1]]]
    if lost := len(whole) - len(together):
        notes.append(f"{lost:,} of {len(whole):,} pairs were left out: their two texts are of different families.")
    return np.array([n for couple in together for n in couple], np.int64)


def _comparisons(names: Sequence[str], at: np.ndarray, ranks: np.ndarray | None) -> list[Comparison]:
    if ranks is not None:
        return [Comparison(names[-1], names[0], at == len(names) - 1, at == 0, ranks)]
    if len(names) == 2:
        return [Comparison(names[0], names[1], at == 0, at == 1)]
    return [Comparison(name, "the others", at == i, at != i) for i, name in enumerate(names)]


def as_number(value: Any) -> float | None:
    """A number, or a date as years; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if np.isfinite(value) else None
    text = str(value).strip()
    if re.fullmatch(r"[-+]?\d{1,15}(\.\d+)?", text):
        return float(text)
    try:
        day = datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d{2}", text) else text)
    except ValueError:
        return None
    return day.year + (day.date() - date(day.year, 1, 1)).days / 366


def _numbers(by: str, fields: Sequence[dict[str, Any]], kept: Sequence[int]) -> tuple[list[float], list[int], int]:
    values = [(n, value) for n in kept if (value := as_number(fields[n][by])) is not None]
    if len(values) < 3 * MIN_TEXTS:
        raise BadConfig(
            f"a trend over {by} needs numbers or dates (2016, 2016-07-31), at least {3 * MIN_TEXTS}; of {len(kept):,} texts"
            f" {len(values):,} have one. The first is {quoted(fields[kept[0]][by]) if kept else 'missing'}. For labels use --by."
        )
    return [value for _, value in values], [n for n, _ in values], len(kept) - len(values)


def _ranks(values: np.ndarray) -> Float[np.ndarray, " text"]:
    """The rank of each from 1; equal ones share the mean of theirs."""
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(times) - (times - 1) / 2)[place]


def _thirds(by: str, values: Sequence[float], spelt: Sequence[str]) -> tuple[list[str], list[str]]:
    """The third that each value falls in, in words, and the three from the lowest; equal values stay together; `spelt` as they stood."""
    numbers = np.array(values)
    low, high = np.quantile(numbers, 1 / 3, method="lower"), np.quantile(numbers, 2 / 3, method="higher")
    if numbers.min() == numbers.max():
        raise BadConfig(f"{by} is the same in every text, so there is no trend.")
    if low >= high:  # one value fills the middle
        low, high = (numbers.min(), high) if numbers.min() < high else (low, numbers[numbers > low].min())
    place = np.where(numbers <= low, 0, np.where(numbers >= high, 2, 1))
    said = [f"{by} to {spelt[values.index(low)]}", "between", f"{by} from {spelt[values.index(high)]}"]
    names = [name for i, name in enumerate(said) if i != 1 or (place == 1).any()]
    return [said[i] for i in place], names

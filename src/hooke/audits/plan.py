"""Plan: an audit as a TOML file spells it: the same sentence for two groups, what is measured of it, and of which models."""

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hooke.errors import BadConfig, BadFile, Missing, listed, quoted, unknown
from hooke.text.intake import Record, read_texts

MIN_UNITS = 6
"""Fillers of each group, or pairs, that an audit has at least."""
MAX_CASES = 20_000
"""Texts of an audit."""
_SLOT = re.compile(r"\{(\w+)\}")
_KINDS = ("loss", "next", "feature", "topic")


@dataclass(frozen=True)
class Target:
    """What is measured of each text."""

    kind: Literal["loss", "next", "feature", "topic"]
    """``loss``: nats a token; ``next``: ln p of what may follow; ``feature``: mean activation; ``topic``: whether the text is of it."""
    what: str = ""
    """What may follow; a feature's address; a topic's name."""

    @property
    def name(self) -> str:
        """The target in words."""
        return {
            "loss": "surprise, nats a token",
            "next": f"ln p of {self.what!r} next",
            "feature": f"feature {self.what}",
            "topic": f"topic {self.what}",
        }[self.kind]


@dataclass(frozen=True)
class Case:
    """One text."""

    text: str
    """It."""
    group: int
    """0 or 1: which of the two groups it speaks of."""
    unit: int
    """Its filler, or its pair: what is independent of others."""
    wording: str
    """Its template, or what kind of pair it is of."""
    context: int
    """What it shares with the texts that it is held against: all slots but the group's, or its pair."""


@dataclass(frozen=True)
class AuditPlan:
    """An audit, its texts written out."""

    title: str
    """What is asked."""
    groups: tuple[str, str]
    """The two groups."""
    targets: tuple[Target, ...]
    """What is measured."""
    models: tuple[str, ...]
    """Of which models."""
    cases: tuple[Case, ...]
    """The texts."""
    paired: bool
    """Whether they come in pairs."""

    @classmethod
    def read(cls, path: Path) -> "AuditPlan":
        """The plan in a TOML file; files that it names are taken from its folder. Raises `BadConfig`, `BadFile` or `Missing`."""
        if not path.is_file():
            raise Missing(f"there is no plan {str(path)!r}.")
        try:
            found = tomllib.loads(path.read_text("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadFile(f"{str(path)!r} is not TOML: {error}.") from error
        return cls.parse(found, path.parent)

    @classmethod
    def parse(cls, found: Mapping[str, Any], folder: Path) -> "AuditPlan":
        """The plan in a TOML document's table."""
        _only(found, ("title", "models", "targets", "templates", "slots", "groups", "pairs"), "the plan")
        targets = tuple(_target(one) for one in _strings_or_tables(found.get("targets", [])))
        if not targets:
            raise BadConfig("the plan has no targets. Give some: targets = [{loss = true}, {next = ' she'}, {topic = 'sport'}].")
        if ("pairs" in found) == ("templates" in found):
            raise BadConfig("a plan has either templates (with groups), or pairs from a file.")
        groups, cases = _pairs(found["pairs"], folder) if "pairs" in found else _filled(found)
        if len(cases) > MAX_CASES:
            raise BadConfig(f"the plan makes {len(cases):,} texts; at most {MAX_CASES:,} are read. Take fewer fillers.")
        models = tuple(found.get("models", ["gemma-3-270m"]))
        return cls(str(found.get("title", "audit")), groups, targets, models, tuple(cases), "pairs" in found)


def _only(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise unknown("key", key, known, f"That is in {where}.")


def _strings_or_tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadConfig("targets is a list of tables: targets = [{loss = true}, {next = ' she'}].")
    return value


def _target(table: Mapping[str, Any]) -> Target:
    _only(table, _KINDS, "a target")
    if len(table) != 1:
        raise BadConfig(f"a target measures one thing: one of {listed(_KINDS)}.")
    (kind, what), *_ = table.items()
    if kind == "loss":
        return Target("loss")
    if not isinstance(what, str) or not what.strip():
        raise BadConfig(f"the target {kind} is {quoted(what)}; a text is needed, such as {kind} = 'she'.")
    return Target(kind, what)  # type: ignore[arg-type]


def _words(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise BadConfig(f"{where} is a list of words.")
    return list(dict.fromkeys(value))


def _filled(found: Mapping[str, Any]) -> tuple[tuple[str, str], list[Case]]:
    """Every template with every filler."""
    templates = _words(found["templates"], "templates")
    slots = {name: _words(value, f"slots.{name}") for name, value in found.get("slots", {}).items()}
    groups = found.get("groups", {})
    if len(groups) != 1 or not isinstance(next(iter(groups.values())), dict) or len(next(iter(groups.values()))) != 2:
        raise BadConfig("groups name one slot and two lists of fillers: [groups.name] women = ['Mary', ...] men = ['John', ...].")
    ((slot, fillers),) = groups.items()
    a, b = ((name, _words(value, f"groups.{slot}.{name}")) for name, value in fillers.items())
    if both := set(a[1]) & set(b[1]):
        raise BadConfig(f"{listed(both)} stand in both groups.")
    for name, own in (a, b):
        if len(own) < MIN_UNITS:
            raise BadConfig(f"the group {name!r} has {len(own)} fillers; it takes at least {MIN_UNITS} to tell a group from its words.")
    cases, units, contexts = [], {word: n for n, word in enumerate([*a[1], *b[1]])}, itertools.count()
    for template in templates:
        used = list(dict.fromkeys(_SLOT.findall(template)))
        for name in used:
            if name != slot and name not in slots:
                raise unknown("slot", name, [slot, *slots], f"That is in the template {template[:60]!r}.")
        if slot not in used:
            raise BadConfig(f"the template {template[:60]!r} has no {{{slot}}}, so both groups would read the same.")
        others = [name for name in used if name != slot]
        for values in itertools.product(*(slots[name] for name in others)):
            context, filling = next(contexts), dict(zip(others, values, strict=True))
            for group, own in enumerate((a[1], b[1])):
                for word in own:
                    text = _SLOT.sub(lambda hit, word=word, filling=filling: {**filling, slot: word}[hit[1]], template)
                    cases.append(Case(text, group, units[word], template, context))
    return (a[0], b[0]), cases


@dataclass(frozen=True)
class _Pairs:
    """Where pairs come from."""

    file: str
    """A file of JSON Lines or CSV."""
    groups: list[str]
    """The two groups."""
    by: str = "group"
    """The field of the group."""
    pair: str = "pair"
    """The field that joins two texts."""
    wording: str | None = None
    """A field of kinds of pairs, each also looked at alone."""
    where: dict | None = None
    """Only records whose fields have these values."""


def _pairs(table: Mapping[str, Any], folder: Path) -> tuple[tuple[str, str], list[Case]]:
    """The pairs of a file that have one text of either group."""
    _only(table, [field.name for field in fields(_Pairs)], "pairs")
    if not {"file", "groups"} <= set(table) or not isinstance(table["groups"], list) or len(table["groups"]) != 2:
        raise BadConfig("pairs need a file and two groups: [pairs] file = 'pairs.jsonl' groups = ['one', 'other'].")
    given = _Pairs(**table)
    names = [str(name) for name in given.groups]
    members: dict[str, list[list[Record]]] = {}
    for text in read_texts(folder / given.file):
        if not isinstance(text, Record) or any(text.fields.get(name) != value for name, value in (given.where or {}).items()):
            continue
        for name in (given.by, given.pair):
            if name not in text.fields:
                raise unknown("field", name, text.fields, f"That is in {given.file}.")
        if (group := str(text.fields[given.by])) in names:
            members.setdefault(str(text.fields[given.pair]), [[], []])[names.index(group)].append(text)
    whole = [(a[0], b[0]) for a, b in members.values() if len(a) == len(b) == 1]
    if len(whole) < MIN_UNITS:
        raise BadConfig(
            f"{given.file} has {len(whole)} pairs with one text of {names[0]!r} and one of {names[1]!r}; {MIN_UNITS} are needed."
        )
    cases = [
        Case(str(text), group, unit, str(text.fields.get(given.wording, "all")) if given.wording else "all", unit)
        for unit, pair in enumerate(whole)
        for group, text in enumerate(pair)
    ]
    return (names[0], names[1]), cases

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
_SUCH = {"next": "' she'", "feature": "'12/6213'", "topic": "'sport'"}


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
        targets = tuple(dict.fromkeys(_target(one) for one in _strings_or_tables(found.get("targets", []))))
        if not targets:
            raise BadConfig("the plan has no targets. Give some: targets = [{loss = true}, {next = ' she'}, {topic = 'sport'}].")
        if ("pairs" in found) == ("templates" in found):
            raise BadConfig("a plan has either templates (with groups), or pairs from a file.")
        groups, cases = _pairs(found["pairs"], folder) if "pairs" in found else _filled(found)
        if len(cases) > MAX_CASES:
            raise BadConfig(f"the plan makes {len(cases):,} texts; at most {MAX_CASES:,} are read. Take fewer fillers.")
        models = tuple(_words(found.get("models", ["gemma-3-270m"]), "models", "names of models"))
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
        if what is not True:
            raise BadConfig(f"the target loss is {quoted(what)}; it is asked for by loss = true, or left out.")
        return Target("loss")
    if not isinstance(what, str) or not what.strip():
        raise BadConfig(f"the target {kind} is {quoted(what)}; a text is needed, such as {kind} = {_SUCH[kind]}.")
    if kind == "feature" and not re.fullmatch(r".*\S.*/\d{1,9}", what):
        raise BadConfig(f"the target feature is {quoted(what)}; an SAE and a number are needed, such as feature = {_SUCH[kind]}.")
    return Target(kind, what)  # type: ignore[arg-type]


def _table(value: Any, where: str, such: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadConfig(f"{where} is a table, such as {such}.")
    return value


def _words(value: Any, where: str, of: str = "words") -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise BadConfig(f"{where} is a list of {of}, and not empty.")
    return list(dict.fromkeys(value))


def _filled(found: Mapping[str, Any]) -> tuple[tuple[str, str], list[Case]]:
    """Every template with every filler."""
    templates = _words(found["templates"], "templates")
    given = _table(found.get("slots", {}), "slots", "[slots] place = ['home', 'back']")
    slots = {name: _words(value, f"slots.{name}") for name, value in given.items()}
    groups = found.get("groups", {})
    own = list(groups.values()) if isinstance(groups, dict) else []
    if len(own) != 1 or not isinstance(own[0], dict) or len(own[0]) != 2:
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
        if set("{}") & set(_SLOT.sub("", template)):
            raise BadConfig(f"the template {template[:60]!r} has a brace that is no slot. A slot is one word in braces: {{{slot}}}.")
        others = [name for name in used if name != slot]
        for values in itertools.product(*(slots[name] for name in others)):
            context, filling = next(contexts), dict(zip(others, values, strict=True))
            for group, own in enumerate((a[1], b[1])):
                for word in own:
                    text = _SLOT.sub(lambda hit, word=word, filling=filling: {**filling, slot: word}[hit[1]], template)
                    cases.append(Case(text, group, units[word], template, context))
    if idle := [name for name in slots if not any(f"{{{name}}}" in template for template in templates)]:
        raise BadConfig(f"these slots stand in no template: {listed(idle)}. Put them into one, or leave them out.")
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


def _pairs(table: Any, folder: Path) -> tuple[tuple[str, str], list[Case]]:
    """The pairs of a file that have one text of either group."""
    _only(_table(table, "pairs", "[pairs] file = 'pairs.jsonl' groups = ['one', 'other']"), [own.name for own in fields(_Pairs)], "pairs")
    groups, file = table.get("groups"), table.get("file")
    names = [str(name) for name in groups] if isinstance(groups, list) else []
    if not isinstance(file, str) or len(names) != 2 or len(set(names)) < 2:
        raise BadConfig("pairs need a file and two groups: [pairs] file = 'pairs.jsonl' groups = ['one', 'other'].")
    given = _Pairs(**table)
    where = _table(given.where or {}, "pairs.where", "where = { language = 'English' }")
    members: dict[str, list[list[Record]]] = {}
    records = [text for text in read_texts(folder / file) if isinstance(text, Record)]
    known = {name for text in records for name in text.fields}
    for name in (given.by, given.pair, *filter(None, [given.wording]), *where):
        if name not in known:
            raise unknown("field", name, known, f"The plan names it, and no record in {file} has it.")
    for text in records:
        own = text.fields
        if str(own.get(given.by)) in names and given.pair in own and all(own.get(name) == value for name, value in where.items()):
            members.setdefault(str(own[given.pair]), [[], []])[names.index(str(own[given.by]))].append(text)
    whole = [(a[0], b[0]) for a, b in members.values() if len(a) == len(b) == 1]
    if len(whole) < MIN_UNITS:
        some = f", among records where {', '.join(f'{name} is {quoted(value)}' for name, value in where.items())}" if where else ""
        raise BadConfig(
            f"{file} has {len(whole)} pairs with one text of {names[0]!r} and one of {names[1]!r}{some}; {MIN_UNITS} are needed."
        )
    if all(a == b for a, b in whole):
        raise BadConfig(
            f"the two texts of every pair in {file} are the same, so there is nothing to compare. Check {given.by!r} and {given.pair!r}."
        )
    labels = [dict.fromkeys(str(text.fields.get(given.wording)).strip() if given.wording else "all" for text in pair) for pair in whole]
    if (mixed := sum(len(own) > 1 for own in labels)) > len(whole) / 2:
        raise BadConfig(
            f"the two texts of a pair have one {given.wording} (pairs.wording), and in {mixed:,} of {len(whole):,} pairs of {file} they"
            " have two. Name a field of what a pair is of, not of what is changed in it."
        )
    wordings = [" / ".join(own) for own in labels]  # a pair with two is of a kind of its own
    cases = [Case(str(text), group, unit, wordings[unit], unit) for unit, pair in enumerate(whole) for group, text in enumerate(pair)]
    return (names[0], names[1]), cases

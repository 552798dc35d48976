"""Rule: a label that can be run. A predicate over the tokens of any text, and over texts, kept as a small JSON object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hooke.errors import BadFile
from hooke.explain.rules.conditions import SLOTS, Conditions, Scratch
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.subjects import SentenceEncoder, Subjects
from hooke.text.meaning import MiniLM

_MOST, _MOST_GROUPS = 512, 32
"""No rule has more signs, or groups, than this."""

Sign = tuple[str, str]
"""A slot (see `hooke.explain.rules.conditions.SLOTS`) and the value looked for there."""


@dataclass(frozen=True)
class Test:
    """A rule in the numbers of one reading, ready to be run on it."""

    groups: tuple[np.ndarray, ...]
    """Signs; a token has a group where it has one of its signs."""
    points: tuple[int, ...]
    """What each group is worth."""
    at_least: int
    """A token needs so many points."""

    def matches(self, signs: Conditions, rows: np.ndarray, scratch: Scratch) -> np.ndarray:
        """Whether the rule holds for each of the tokens `rows`."""
        return self.met(signs.groups(rows, self.groups, scratch))

    def met(self, bits: np.ndarray) -> np.ndarray:
        """Whether it holds for each of some tokens, given the groups that they have as `bits`."""
        has = bits[:, None] >> np.arange(len(self.groups)) & 1
        return has @ np.array(self.points, np.int64) >= self.at_least


@dataclass(frozen=True)
class Rule:
    """A predicate over text: groups of signs, each worth some points, and how many points a token needs.

    >>> rule = Rule.parse({"all": [{"class": ["place names"]}, {"before": ["in"]}]})
    >>> rule.matches(["In", " Paris", " or", " in", " Rome"]).tolist()
    [False, True, False, False, True]
    """

    groups: tuple[tuple[Sign, ...], ...]
    """Signs; a token has a group where it has one of its signs."""
    points: tuple[int, ...]
    """What each group is worth."""
    at_least: int
    """A token needs so many points."""
    texts: int = 1
    """A text matches where so many of its tokens do."""

    @classmethod
    def parse(cls, record: Any) -> "Rule":
        """The rule that `json` wrote. Raises `BadFile` where it is none."""
        try:
            if "points" in record:
                groups, points, at_least = [own for own, _ in record["points"]], [p for _, p in record["points"]], record["at_least"]
            else:
                groups = [record["any"]] if "any" in record else record["all"]
                points, at_least = [1] * len(groups), len(groups)
            signs = tuple(tuple((slot, value) for slot, values in own.items() for value in values) for own in groups)
            rule = cls(signs, tuple(points), at_least, record.get("texts", 1))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadFile(f"{str(record)[:80]!r} is no rule: it has neither 'any', 'all' nor 'points' as a rule has them.") from error
        flat, numbers = [sign for group in signs for sign in group], (*rule.points, rule.at_least, rule.texts)
        known = all(slot in SLOTS and isinstance(value, str) for slot, value in flat)
        sized = all(signs) and 0 < len(flat) <= _MOST and len(signs) <= _MOST_GROUPS and all(len(set(own)) == len(own) for own in signs)
        if not (known and sized and all(type(number) is int and abs(number) <= _MOST for number in numbers)):
            raise BadFile(f"{str(record)[:80]!r} is no rule: its signs are not of {', '.join(SLOTS)}, or repeat, or its numbers are none.")
        return rule

    def json(self) -> dict[str, Any]:
        """The rule as a JSON object; `parse` reads it back."""
        groups = [_by_slot(group) for group in self.groups]
        rest = {} if self.texts == 1 else {"texts": self.texts}
        if set(self.points) == {1} and self.at_least == len(groups):
            return ({"any": groups[0]} if len(groups) == 1 else {"all": groups}) | rest
        return {"points": [[own, points] for own, points in zip(groups, self.points, strict=True)], "at_least": self.at_least} | rest

    @classmethod
    def of(cls, test: Test, signs: Conditions, texts: int = 1) -> "Rule":
        """The rule that `test` runs on the reading of `signs`; a text matches where `texts` of its tokens do."""
        named = [_by_slot(signs.names(group)) for group in test.groups]
        groups = tuple(tuple((slot, value) for slot, values in own.items() for value in values) for own in named)
        return cls(groups, test.points, test.at_least, texts)

    def on(self, signs: Conditions) -> Test:
        """The rule in the numbers of the reading of `signs`."""
        return Test(tuple(np.array([signs.find(*sign) for sign in group], np.int64) for group in self.groups), self.points, self.at_least)

    def matches(self, pieces: Sequence[str], encoder: SentenceEncoder | None = None) -> np.ndarray:
        """For each token of a text, given as its tokens' pieces, whether the rule holds: no language model is run.

        A rule that speaks of subjects asks `encoder`, by default that of the ``[semantic]`` extra; `Missing` where it is not installed.
        """
        if not pieces:
            return np.zeros(0, bool)
        reading = TokenIndex()
        reading.add(pieces, 0)
        reading.close()
        if any(slot == "subject" for group in self.groups for slot, _ in group):
            reading.on_subjects(Subjects(encoder or MiniLM()))
        signs = Conditions(reading)
        return self.on(signs).matches(signs, np.arange(len(pieces)), Scratch(signs))

    def matches_text(self, pieces: Sequence[str], encoder: SentenceEncoder | None = None) -> bool:
        """Whether the text as a whole matches: enough of its tokens do."""
        return int(self.matches(pieces, encoder).sum()) >= self.texts


def _by_slot(group: Sequence[Sign]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for slot, value in group:
        out.setdefault(slot, []).append(value)
    return out

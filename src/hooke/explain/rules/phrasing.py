"""Phrasing: what a rule says, in the few words that a person would use, and in full."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hooke.explain.rules.subjects import subject_of
from hooke.explain.rules.token_marks import MARKS
from hooke.explain.rules.vocabulary import grammatical, named_classes, names_of

if TYPE_CHECKING:  # rules are searched for with much that wording them does not need
    from hooke.explain.rules.rule import Rule, Sign

MOST = 40
"""Characters of a label."""
_CLASS_SIZE, _CLASS_SHARE, _CLASS_COVERS = 5, 0.6, 0.75
"""A set is called by a class' name where it has so many values, so many of them are of that class, and they cover so much."""
_PART = 0.2
"""Of all that a rule of points is worth, what lies around the token must bring so much to be named beside the token itself."""
OWN = ("token", "word", "class", "mark", "ending", "beginning", "language")
"""Slots that say what the token itself is; the others say what is around it."""
_CLASS_SLOTS = ("class", "class before", "class after", "near class", "text class")
_AROUND = {
    "before": "after {}",
    "class before": "after {}",
    "after": "before {}",
    "next": "before {}",
    "class after": "before {}",
    "near": "near {}",
    "near class": "near {}",
    "text": "about {}",
    "text class": "about {}",
    "subject": "about {}",
}
_SPLIT = {"beginnings of split words", "middles of split words", "ends of split words"}
_DULL = frozenset({"said", "pct", "says", "told", "also", "dlrs", "mln", "vs", "cts", "spaces"})
"""Words of news agencies (and white space, as a word) that say as little of what a text is on as words of grammar do."""
_ITEMS = 5
"""Words of a list that a person still reads."""


def worded(rule: "Rule", coverage: "Mapping[Sign, float]") -> str:
    """A label for `rule`, at most `MOST` characters: its most telling words, most telling first, or the class that they are of.

    `coverage` says of each sign how much of the feature it tells, say the share of the feature's places with it. Of several things that
    a rule would take one for the other, the label names the one that tells most; `in_full` names all.
    """
    worth = _worth(rule, coverage)
    totals = {slot: sum(values.values()) for slot, values in worth.items()}
    own, around = ([slot for slot in sorted(totals, key=lambda slot: -totals[slot]) if (slot in OWN) == here] for here in (True, False))
    both = bool(own and around)
    if both and _takes_either(rule):
        own, around = (own, []) if totals[own[0]] >= totals[around[0]] else ([], around)
    elif both and not _needs_all(rule) and totals[around[0]] < _PART * sum(totals.values()):
        around = []
    return _label(*((slots[0], _ranked(slots[0], worth[slots[0]])) if slots else None for slots in (own, around)))


def in_full(rule: "Rule") -> str:
    """All that `rule` looks for, slot by slot, in plain words."""
    groups = []
    for group, points in zip(rule.groups, rule.points, strict=True):
        by_slot: dict[str, list[str]] = {}
        for slot, value in group:
            by_slot.setdefault(slot, []).append(value)
        said = " or ".join(
            f"{_SLOT_NAMES[slot]} {', '.join(_shown(slot, value) for value in values)}".strip() for slot, values in by_slot.items()
        )
        groups.append(said if set(rule.points) == {1} else f"{said} ({points:+d})")
    if _needs_all(rule):
        return "; and ".join(groups)
    return "; ".join(groups) + ("" if _takes_either(rule) else f"; at least {rule.at_least} points")


@functools.lru_cache(1 << 14)
def reworded(label: str) -> str:
    """A label as `worded` would put it, out of the longer wording of earlier versions; what is no such wording stays as it is.

    >>> reworded("mostly budget, fiscal, appropriations … in texts with senate, house")
    'budget, fiscal, appropriations'
    """
    one_word = label.isalpha() and label not in MARKS and label not in named_classes()
    if not one_word and not _EARLIER.search(label):
        return label
    if label.startswith("texts on "):
        return label.replace("texts on", "about", 1)
    alternatives = label.removeprefix("mostly ").split(" or ")
    (own, around), (_, last) = (_earlier_parts(alternatives[at]) for at in (0, -1))
    # Where a rule of points named several things and then what is around them, that goes for all of them.
    around = around or (last if label.startswith("mostly ") and own and last and alternatives[-1].find(" ") > 0 else None)
    return _label(own, around) if own or around else label


def shortened(label: str) -> str:
    """`reworded`, for what may also be a reader's name or a label of your own: only what is long, or ends in "…", is a rule in words."""
    return reworded(label) if len(label) > MOST or label.startswith("mostly ") or "…" in label else label


def _takes_either(rule: "Rule") -> bool:
    return set(rule.points) == {1} and rule.at_least == 1


def _needs_all(rule: "Rule") -> bool:
    return set(rule.points) == {1} and rule.at_least == len(rule.groups)


def _worth(rule: "Rule", coverage: "Mapping[Sign, float]") -> dict[str, dict[str, float]]:
    """By slot, what each value is worth where the feature fires. A token that is a whole word counts as that word."""
    worth: dict[str, dict[str, float]] = {}
    words = {value for group in rule.groups for slot, value in group if slot == "word"}
    words |= {value.strip().lower() for group in rule.groups for slot, value in group if slot == "token" and value[:1].isspace()}
    for group, points in zip(rule.groups, rule.points, strict=True):
        for slot, value in group:
            if points > 0:
                is_word = slot == "token" and (value.strip().lower() in words or not value[:1].islower()) and value.strip()
                key = ("word", value.strip().lower()) if is_word else (slot, value)
                own = worth.setdefault(key[0], {})
                own[key[1]] = own.get(key[1], 0.0) + points * coverage.get((slot, value), 0.0)
    return worth


def _ranked(slot: str, worth: Mapping[str, float]) -> list[str]:
    """The values, those worth most first; under the name of a class, followed by a colon, where nearly all are of that class."""
    values = sorted(worth, key=lambda value: -worth[value])
    weight: dict[str, float] = {}
    for value in values:
        weight[value.strip().lower()] = weight.get(value.strip().lower(), 0) + worth[value]
    if len(weight) < _CLASS_SIZE or slot not in ("word", "token", "before", "after", "near", "text", "next"):
        return values
    total, members = sum(weight.values()) or 1, dict[str, list[float]]()
    for word, part in weight.items():
        for name in names_of(word):
            members.setdefault(name, []).append(part)
    fitting = [
        (len(named_classes()[name]), name)
        for name, parts in members.items()
        if len(parts) >= _CLASS_SHARE * len(weight) and sum(parts) > _CLASS_COVERS * total
    ]
    # Of the classes that fit, the one that says most.
    return [min(fitting)[1] + ":", *values] if fitting else values


_Part = tuple[str, Sequence[str]]
"""A slot and its values, most telling first."""


def _label(own: _Part | None, around: _Part | None) -> str:
    """What the token itself is, what is around it, or both, in `MOST` characters."""
    if own is None or around is None:
        part = own or around
        assert part is not None  # a rule looks for something
        return _alone(*part, MOST)
    slot, values = own
    if around[0] in ("text", "text class", "subject") and slot in ("token", "word") and not _telling(values, 1):
        # Grammar all over texts on one subject: the subject is what a reader wants to know.
        return _alone(*around, MOST)
    first = _listed(slot, values, MOST // 2)
    if (slot in ("token", "word") and _telling(values, 1)) or len(first) > MOST - 10:
        return _alone(slot, values, MOST)
    together = f"{first} {_alone(*around, MOST - len(first) - 1)}"
    return together if len(together) <= MOST else _alone(slot, values, MOST)


def _alone(slot: str, values: Sequence[str], room: int) -> str:
    if slot not in _AROUND:
        if slot in ("word", "token") and len({_shown(slot, value) for value in values}) == 1 and (one := values[0].strip().isalpha()):
            return _cut(f"the word “{values[0].strip()}”" if one and not _is_piece(slot, values[0]) else _shown(slot, values[0]), room)
        return _listed(slot, values, room)
    frame = _AROUND[slot]
    if slot in ("text", "text class") and not _telling(values) and values[0] not in named_classes():
        frame = "texts with {}"
    return frame.format(_listed(slot, values, room - len(frame) + 2))


def _telling(values: Sequence[str], many: int = 3) -> bool:
    """Whether words among the first few say what a text is on."""
    return _is_head(values[0]) or any(_speaks(value) for value in values[:many])


def _is_head(value: str) -> bool:
    """Whether this is the name of the class that the values after it are of."""
    return value.endswith(":") and value[:-1] in named_classes()


def _speaks(value: str) -> bool:
    word = value.strip().lower().partition(",")[0]  # families of words are called by three of them
    return len(word) > 2 and word.isalpha() and word not in grammatical() and word not in _DULL


def _listed(slot: str, values: Sequence[str], room: int) -> str:
    """As many of the values as fit in `room` characters, at least one."""
    if slot in ("near", "text"):
        # Marks, breaks, single letters and words of grammar belong to the rule, but tell a reader little beside a word.
        values = [value for value in values if _speaks(value) or _is_head(value)] or values
    shown = list(dict.fromkeys(_shown(slot, value) for value in values))
    if slot == "mark" and not (_SPLIT.isdisjoint(values[:2])):
        return "parts of split words" if len(_SPLIT.intersection(values)) > 1 else _cut(shown[0], room)
    if slot in ("mark", "language", *_CLASS_SLOTS):
        named = [value for value in values if value in named_classes()]
        return _cut(_shown(slot, named[0]) if named else shown[0], room)
    tail = {"ending": " at the end of words", "beginning": " at the start of words"}.get(slot, "")
    if slot == "ending":
        # "-ing" says all that "-ng" would.
        shown = [one for one in shown if not any(other != one and other.endswith(one[1:]) for other in shown)]
    if slot == "token" and shown[0].startswith("-"):
        tail = " inside words"
    text = shown[0]
    for number, one in enumerate(shown[1:_ITEMS], 1):
        longer = f"{text} {one}" if number == 1 and _is_head(values[0]) else f"{text}, {one}"
        if len(longer) + len(tail) > room:
            break
        text = longer
    return _cut(text[:-1] if _is_head(text) else text, room - len(tail)) + tail


def _shown(slot: str, value: str) -> str:
    body = value.strip()
    if slot in ("mark", *_CLASS_SLOTS):
        return value.removesuffix(" words") if slot in ("text class", "near class") else value
    if slot == "ending":
        return f"-{value}"
    if slot == "beginning":
        return f"{value}-"
    if slot == "subject":
        return subject_of(value)
    if slot == "language":
        return f"{value} text"
    if not body:
        return "line breaks" if "\n" in value else "spaces"
    if _is_head(value):
        return value
    if _is_piece(slot, value):
        return f"-{body}"
    plain = body.isdigit() or (body.replace("-", "").isalnum() and len(body) > 1 and body.lower() not in grammatical())
    return body if plain else f"“{body}”"


def _is_piece(slot: str, value: str) -> bool:
    return slot in ("token", "next") and value[:1].islower()


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


_SLOT_NAMES = {
    "token": "the token",
    "word": "the word",
    "class": "a word of",
    "mark": "",
    "ending": "a word in",
    "beginning": "a word in",
    "language": "",
    "before": "after",
    "class before": "after a word of",
    "after": "before",
    "next": "before the token",
    "class after": "before a word of",
    "near": "near",
    "near class": "near a word of",
    "text": "in a text with",
    "text class": "in a text with words of",
    "subject": "in a text on",
}

_EARLIER = re.compile(
    r"\A(?:mostly|token|texts on|in texts|text in|words (?:like|ending|beginning|in|near|after|before)|beginnings of|middles of|ends of) "
    r"| or | …|, |\S \([^)]*\)\Z| in texts (?:with|on) "
)
_FRAMES = {"in texts with": "text", "in texts on": "subject", "near": "near", "after": "before", "before": "after"}
_OF_CLASS = {"text": "text class", "near": "near class", "before": "class before", "after": "class after"}


def _earlier_parts(text: str) -> tuple[_Part | None, _Part | None]:
    """What one alternative of an earlier wording said of the token itself, and of what is around it."""
    text = re.sub(r"\A(token “.+?”) \(.*\)\Z", r"\1", text, flags=re.DOTALL)
    found = None if text in MARKS else re.search(r"(?:\A| )(" + "|".join(_FRAMES) + r") (?=\S)", text)
    own, around = (text[: found.start()], text[found.end() :]) if found else (text, "")
    first = None if own in ("", "words") else _earlier_own(own)
    return first, _earlier_around(_FRAMES[found[1]], around) if found else None


def _earlier_values(text: str) -> list[str]:
    """The words of one list of an earlier wording; a class with some of its words becomes its name and them."""
    if found := re.fullmatch(r"(?P<name>.+?) \((?P<words>.*)\)", text):
        inside = _earlier_values(found["words"])
        return [found["name"] + ":", *inside] if found["name"] in named_classes() else [found["name"]]
    return [part.strip("“”") or part for part in text.removesuffix(" …").split(", ") if part]


def _earlier_own(text: str) -> _Part:
    if text.startswith("token "):
        return "word", [text.removeprefix("token ").partition("”")[0].strip("“")]
    for prefix, slot in (("words ending in ", "ending"), ("words beginning with ", "beginning")):
        if text.startswith(prefix):
            return slot, [value.strip("-") for value in text.removeprefix(prefix).removesuffix(" …").split(", ")]
    if text.startswith("words like "):
        return "class", [text.removeprefix("words like ")]
    if text.startswith("text in "):
        return "language", [text.removeprefix("text in ")]
    if text in named_classes():
        return "class", [text]
    values = _earlier_values(text)
    known = values[0].removesuffix(":") in named_classes()
    if values[0] in MARKS or (not known and " " in values[0] and len(values) == 1):
        return "mark", values
    # A piece of a word was written with a hyphen in front; where all are pieces they stay so.
    pieces = [value[1:] for value in values if re.fullmatch(r"-\w+", value)]
    if len(pieces) == len(values):
        return "token", pieces
    return "word", list(dict.fromkeys(value.removeprefix("-").lower() if re.fullmatch(r"-?\w+", value) else value for value in values))


def _earlier_around(slot: str, text: str) -> _Part:
    text = re.split(r"(?:(?<=…)|(?<=\w)) (?:near|after|before|in texts with|and in texts with) ", text)[0]
    if slot == "subject":
        return slot, [text + " 0"]
    if text.startswith("words like "):
        return _OF_CLASS[slot], [text.removeprefix("words like ")]
    return (_OF_CLASS[slot], [text]) if text in named_classes() else (slot, _earlier_values(text))

"""Wording: what a rule says, short and in plain words."""

from collections.abc import Mapping, Sequence

from hooke.explain.rule import Rule, Sign
from hooke.explain.subjects import subject_of
from hooke.explain.vocabulary import grammatical, named_classes, names_of

_SHOWN, _CLASSES_SHOWN = 3, 2
"""Words shown of a set, and classes of words."""
_CLASS_SIZE, _CLASS_SHARE, _CLASS_COVERS = 5, 0.6, 0.75
"""A set is called by a class' name where it has so many values, so many of them are of that class, and they cover so much."""
_OWN_PART, _PART = 0.12, 0.2
"""Of a rule of points, what a slot of the token itself, and one of what is around it, must bring to be named."""
OWN = ("token", "word", "class", "mark", "ending", "beginning", "language")
"""Slots that say what the token itself is; the others say what is around it."""
_AROUND = {
    "before": "after {}",
    "class before": "after {}",
    "after": "before {}",
    "class after": "before {}",
    "near": "near {}",
    "near class": "near {}",
    "text": "in texts with {}",
    "text class": "in texts with {}",
    "subject": "in texts on {}",
    "next": "before {}",
}


def worded(rule: Rule, coverage: Mapping[Sign, float]) -> str:
    """The label of `rule`; `coverage` says of each sign how much of the feature it tells, say the share of the feature's places with it."""
    if set(rule.points) == {1} and rule.at_least in (1, len(rule.points)):
        groups = [_slots(group, coverage) for group in rule.groups]
        if len(groups) == 1:
            return " or ".join(_alone(slot, values) for slot, values in groups[0])
        return _together([part for own in groups for part in own])
    return _mostly(rule, coverage)


def _slots(group: Sequence[Sign], coverage: Mapping[Sign, float]) -> list[tuple[str, list[str]]]:
    """A group's values by slot, commonest first."""
    out: dict[str, list[str]] = {}
    for slot, value in sorted(group, key=lambda sign: -coverage.get(sign, 0)):
        out.setdefault(slot, []).append(value)
    return [(slot, _by_class(slot, values, coverage)) for slot, values in out.items()]


def _by_class(slot: str, values: list[str], coverage: Mapping[Sign, float]) -> list[str]:
    """The values, with the name of a class in front where it holds nearly all of them."""
    weight: dict[str, float] = {}
    for value in values:
        word = value.strip().lower()
        weight[word] = weight.get(word, 0) + coverage.get((slot, value), 0)
    if len(weight) < _CLASS_SIZE or slot not in ("word", "token", "before", "after", "near", "text", "next"):
        return values
    total, own = sum(weight.values()) or 1, dict[str, list[float]]()
    for word, part in weight.items():
        for name in names_of(word):
            own.setdefault(name, []).append(part)
    fitting = [
        (len(named_classes()[name]), name)
        for name, parts in own.items()
        if len(parts) >= _CLASS_SHARE * len(weight) and sum(parts) > _CLASS_COVERS * total
    ]
    # Of the classes that fit, the one that says most.
    return [min(fitting)[1] + "\0", *values] if fitting else values


def _listed(slot: str, values: list[str], shown: int = _SHOWN) -> str:
    if values[0].endswith("\0"):
        return f"{values[0][:-1]} ({_listed(slot, values[1:], 2)})"
    if slot == "mark":
        return " or ".join(values[:shown])
    if slot in ("class", "class before", "class after", "near class", "text class"):
        known = sorted(values[:_CLASSES_SHOWN], key=lambda value: value not in named_classes())
        like = next((value for value in known if value not in named_classes()), None)
        return " or ".join(f"words like {value}" if value == like else value for value in known)
    if slot == "ending":
        # "-ing" says all that "-ng" would.
        values = [value for value in values if not any(other != value and other.endswith(value) for other in values)]
        return "words ending in " + ", ".join(f"-{value}" for value in values[:shown]) + ("" if len(values) <= shown else " …")
    if slot == "beginning":
        return "words beginning with " + ", ".join(f"{value}-" for value in values[:shown]) + ("" if len(values) <= shown else " …")
    if slot == "subject":
        return " or ".join(dict.fromkeys(subject_of(value) for value in values))
    if slot == "language":
        return "text in " + " or ".join(values)
    seen = list(dict.fromkeys(_shown(value, slot) for value in values))
    if len(seen) == 1 and slot == "token" and seen[0][0] == "“":
        return f"token {seen[0]}"
    # Marks, breaks, single letters and, around a token, words of grammar belong to the rule, but tell a reader little beside a word.
    dull = grammatical() if slot in ("near", "text") else ()
    telling = [text for text in seen if text.strip("-")[:1].isalnum() and len(text) > 1 and text not in dull]
    told = telling + [text for text in seen if text not in telling]
    return ", ".join(told[:shown]) + (" …" if len(told) > shown else "")


def _shown(value: str, slot: str) -> str:
    body = value.strip()
    if not body:
        return "line breaks" if "\n" in value else "spaces"
    if slot in ("token", "next") and not value.startswith(" ") and body[0].islower():
        return f"-{body}"
    return body if body.isalnum() and (len(body) > 1 or body in "aiAI") else f"“{body}”"


def _alone(slot: str, values: list[str]) -> str:
    listed = _listed(slot, values)
    return _AROUND[slot].format(listed) if slot in _AROUND else listed


def _together(parts: list[tuple[str, list[str]]]) -> str:
    """Things that are all so: what the token is first, then what is around it."""
    own = sorted((part for part in parts if part[0] in OWN), key=lambda part: OWN.index(part[0]))
    around = [_alone(*part) for part in parts if part[0] not in OWN]
    if not own:
        return " ".join(["words", *around]) if not around[0].startswith("before") else " and ".join(around)
    first, *rest = [_alone(*part) for part in own]
    return " ".join([first + (f" ({', '.join(rest)})" if rest else ""), *around])


def _mostly(rule: Rule, coverage: Mapping[Sign, float]) -> str:
    """A rule of points, by the groups that bring most points where the feature fires."""
    worth: dict[str, dict[str, float]] = {}
    for group, points in zip(rule.groups, rule.points, strict=True):
        for own_slot, sign in group:
            if points > 0:
                # A token beside its word says the same once more.
                slot, value = ("word", sign.strip().lower() or sign) if own_slot == "token" else (own_slot, sign)
                own = worth.setdefault(slot, {})
                own[value] = own.get(value, 0) + points * coverage.get((own_slot, sign), 0)
    totals = {slot: sum(own.values()) for slot, own in worth.items()}
    whole = sum(totals.values()) or 1
    ranked = sorted(totals, key=lambda slot: -totals[slot])
    # What the token itself is says more to a reader than what is around it.
    own = [slot for slot in ranked if slot in OWN and totals[slot] >= _OWN_PART * whole]
    around = [slot for slot in ranked if slot not in OWN and totals[slot] >= _PART * whole]
    chosen = own[:1] + around[:1] if around else [slot for slot in own if slot == own[0] or totals[slot] >= _PART * whole][:2]
    parts = []
    for slot in chosen or ranked[:1]:
        values = sorted(worth[slot], key=lambda value: -worth[slot][value])
        parts.append((slot, _by_class(slot, values, {(slot, value): worth[slot][value] for value in values})))
    if len(parts) == 2 and all(slot in OWN for slot, _ in parts):
        first = _alone(*parts[0])
        rest = [value for value in parts[1][1] if value not in first]
        return "mostly " + " or ".join([first, *([_alone(parts[1][0], rest)] if rest else [])])
    return "mostly " + _together(parts)

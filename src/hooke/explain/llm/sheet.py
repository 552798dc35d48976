"""Evidence sheets: the places of a feature that its reader sees, and the held-out places on which its name is tried."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

from hooke.atlas.feature import Context, Feature
from hooke.atlas.records import NO_MEANING, TOO_RARE, document_key
from hooke.text.marks import marked

STRONGEST, UPPER, LOWER, MISSES = 6, 6, 2, 4
"""Contexts on a sheet: the strongest, some by lot from the upper half of the range, some from a quarter to a half of it; near misses."""
FEWEST = 4
"""A feature with fewer contexts in the label half is not named."""
TRIED = 10
"""Held-out places that a name is tried on."""
LEAST = 3
"""So many of them fire at least, and so many are silent; how many, is drawn by lot."""
CLEARLY = 0.25
"""From this share of its maximum on a feature counts as active there, as it does for the rules."""
_WORDS, _TOKENS = 10, 16  # on either side of the peak, whichever is reached first
_PROMOTED, _SPENT = 8, 8
_OPEN, _CLOSE = "«", "»"
T = TypeVar("T")


@dataclass(frozen=True)
class Sheet:
    """What a reader sees of one feature."""

    text: str
    """The sheet."""
    contexts: int
    """Places on it where the feature fires."""


@dataclass(frozen=True)
class TrialContext:
    """A held-out place, as a blind reader sees it."""

    text: str
    """Its text, the place marked."""
    active: bool
    """Whether the feature fires there; the reader is not told."""
    document: int
    """Key of its document."""


def evidence(feature: Feature) -> Sheet:
    """The sheet of `feature`, with passages from documents of the label half only, none of them twice.

    At most some 700 tokens: `STRONGEST`, `UPPER` and `LOWER` contexts with ten words on either side and their strength, `MISSES` near
    misses, the tokens it spends its activation on (of all documents), those it makes likelier, and what the rule says of it.
    """
    places = [context for context in where_it_fires(feature) if not _scored(context)]
    taken: set[int] = set()
    half, rest = feature.max / 2, _by_lot([*feature.top, *places], feature.name)
    groups = (
        _take(sorted(places, key=lambda p: -p.activation), STRONGEST, taken),
        _take(rest, UPPER, taken, lambda p: not _scored(p) and p.activation >= half),
        _take(rest, LOWER, taken, lambda p: not _scored(p) and CLEARLY * feature.max <= p.activation < half),
    )
    misses = _take(_mixed([p for p in feature.misses if not _scored(p)]), MISSES, taken)
    lines = [f"{100 * p.activation / feature.max:.0f}% {_shown(p, _hot(p))}" for group in groups for p in group]
    parts = ["ACTIVE", *lines]
    if misses:
        parts += ["SILENT", *(_shown(p, {p.peak}) for p in misses)]
    if feature.tokens:
        parts.append("SPENT ON " + ", ".join(f"{_visible(own.text).strip()} {100 * own.share:.0f}%" for own in feature.tokens[:_SPENT]))
    if feature.promoted:
        parts.append("PROMOTES " + ", ".join(_visible(token.text).strip() for token in feature.promoted[:_PROMOTED]))
    if feature.label and feature.label.text not in ("", NO_MEANING, TOO_RARE):
        score = f" ({feature.label.score.value:.2f})" if feature.label.score else ""
        parts.append(f"RULE {marked(feature.label.text)}{score}")
    return Sheet("\n".join(parts), len(lines))


def held_out(feature: Feature, missed: Mapping[int, int]) -> list[TrialContext]:
    """`TRIED` places of the score half in a lot's order, some that fire and some near misses; none where there are not enough of either.

    How many fire is drawn by lot: who knew could count. They come from everywhere above `CLEARLY` of the maximum; a name has to hold
    across the range. Near misses are of either kind in turn, first those in documents of which the fewest other features have one, by
    `missed` (`hooke.atlas.missed`): who saw one text again and again as a near miss would know it.
    """
    fires, silent = _held_out(feature)
    lots = {_key(p): lot for lot, p in enumerate(_by_lot(silent, f"near misses of {feature.name}"))}
    half = len(silent) // 2
    kinds = (sorted(kind, key=lambda p: (missed.get(_key(p), 0), lots[_key(p)])) for kind in (silent[:half], silent[half:]))
    ordered = [p for pair in zip_longest(*kinds) for p in pair if p is not None]
    for number in _by_lot(range(LEAST, TRIED - LEAST + 1), f"number of {feature.name}"):
        if places := _tried(feature, fires, ordered, number):
            return places
    return []


def held_out_by_half(feature: Feature) -> list[TrialContext]:
    """What `held_out` gave before the number was drawn by lot: always half of each kind. For answers that were given to these."""
    fires, silent = _held_out(feature)
    return _tried(feature, fires, _mixed(silent), TRIED // 2)


def _held_out(feature: Feature) -> tuple[list[Context], list[Context]]:
    """Places of the score half where it is clearly active, and near misses."""
    fires = [p for p in where_it_fires(feature) if _scored(p) and p.activation >= CLEARLY * feature.max]
    return fires, [p for p in feature.misses if _scored(p)]


def _tried(feature: Feature, fires: Sequence[Context], silent: Sequence[Context], number: int) -> list[TrialContext]:
    """Places of which `number` fire, and the first of `silent`; none where there are too few."""
    taken: set[int] = set()
    active = _take(_by_lot(fires, feature.name), number, taken)
    places = [*active, *_take(silent, TRIED - number, taken)]
    if len(active) < number or len(places) < TRIED:
        return []
    shown = [TrialContext(_shown(p, {p.peak}), i < number, _key(p)) for i, p in enumerate(places)]
    return _by_lot(shown, f"order of {feature.name}")


def texts(feature: Feature) -> list[TrialContext]:
    """Every place of the score half that the atlas keeps: those clearly active and near misses, with nothing marked."""
    fires, silent = _held_out(feature)
    return [TrialContext(_shown(p, set()), i < len(fires), _key(p)) for i, p in enumerate((*fires, *silent))]


def where_it_fires(feature: Feature) -> list[Context]:
    """Every place at which `feature` fires that its atlas keeps."""
    return [*feature.top, *(p for part in feature.intervals for p in part)]


def _key(context: Context) -> int:
    return document_key(context.corpus, context.doc)


def _scored(context: Context) -> bool:
    return bool(_key(context) & 1)


def _by_lot(values: Sequence[T], seed: str) -> list[T]:
    return random.Random(seed).sample(list(values), len(values))  # noqa: S311 (no secret)


def _mixed(misses: Sequence[Context]) -> list[Context]:
    """Near misses, of which an atlas lists those with the same token first: from both ends in turn, so that either kind is there."""
    ends = zip(misses, reversed(misses), strict=True)
    return [context for pair in ends for context in pair]


def _take(contexts: Iterable[Context], most: int, taken: set[int], fits: Callable[[Context], bool] = lambda _: True) -> list[Context]:
    """The first that fit, each from a document of its own; their documents are `taken` then."""
    found: list[Context] = []
    for context in contexts:
        if len(found) < most and _key(context) not in taken and fits(context):
            taken.add(_key(context))
            found.append(context)
    return found


def _hot(context: Context) -> set[int]:
    """The tokens on which it is at least half as active as on the peak."""
    return {i for i, value in enumerate(context.values) if value >= context.activation / 2}


def _shown(context: Context, marks: set[int]) -> str:
    """The text around the peak on one line, the tokens `marks` between guillemets."""
    low = _edge(context.tokens, context.peak, -1)
    high = _edge(context.tokens, context.peak, 1)
    parts, inside = [], False
    for i in range(low, high + 1):
        token, hot = _visible(context.tokens[i]), i in marks
        body = token.lstrip(" ") or "␣" if hot else token
        if inside and not hot:
            parts.append(_CLOSE)
        if hot and not inside:
            parts += [" " if token.startswith(" ") else "", _OPEN]
        parts.append(token if hot and inside else body)
        inside = hot
    return " ".join(("".join(parts) + _CLOSE * inside).split())


def _edge(tokens: Sequence[str], peak: int, step: int) -> int:
    at, words = peak, 0
    while 0 <= at + step < len(tokens) and abs(at - peak) < _TOKENS and words < _WORDS:
        at += step
        words += tokens[at][:1].isspace()
    return at


def _visible(text: str) -> str:
    """A token as a reader may see it: nothing hidden, no mark of ours in it, a line's end as a sign."""
    return marked(text.replace(_OPEN, "‹").replace(_CLOSE, "›").replace("\r", "").replace("\n", "⏎"))

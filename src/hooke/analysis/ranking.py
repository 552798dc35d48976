"""Ranking: which features of a text stand first, among those of what it is about and among those of its words.

How the order of what a text is about was chosen, and on what: ``docs/names.md``. That of words was chosen on one half of the judged
headlines in ``benchmarks/judged_headlines.jsonl``; ``benchmarks/ranking.py`` measures both orders there, by the names of then.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np

from hooke.atlas import FeatureTable, Name
from hooke.explain.kinds import ABOUT_KINDS, kind_of
from hooke.explain.rules.vocabulary import grammatical
from hooke.sae.facts import SaeFacts
from hooke.text.words import folded, stem

Group = Literal["about", "words"]
T = TypeVar("T")

USUAL, _LEAST_TRUST = 2.0, 0.25
_ABOUT_USUAL = 1.0
"""Nats of specificity that an *about* feature must exceed: broad subjects are more usual than words."""
_USUALLY_TRUE, _TRIES = 0.4, 2
"""Share of texts of which names were true where they stood among the first, and how many tries that counts for."""
_SPEAKS = 2.0
"""Nats by which a feature of words speaks for one topic more than for most, from which on it tells what a text is about."""
_SAY_NOTHING = frozenset({"about", "name", "news", "other", "text", "thing", "word"})
"""Stems of words of names that do not tell one subject from another."""
_BROAD = ("compan", "figure", "government", "name", "people", "politic", "public", "state")
"""Beginnings of words that names of different subjects share."""
_PERSISTS = 0.3
"""Share of a text's tokens from which on a feature that nothing is known of counts as one of what the text is about."""


def standing(specificity: Any, relative: Any, score: Any) -> Any:
    """What features are ranked by: specificity beyond 2 nats, times the root of the relative strength, times trust in the label.

    What one background text in seven shows as well stands last. Trust is ``2 · score − 1`` (0 is chance), at least a quarter: what
    nobody can name is shown after what can be read.
    """
    return np.maximum(specificity - USUAL, 0) * np.sqrt(relative) * _trust(score)


def about_standing(specificity: Any, relative: Any, share: Any, score: Any, valid: Any) -> Any:
    """What features of what a text is about are ranked by.

    Specificity beyond 1 nat, times trust in the label (see `standing`), times the roots of the relative strength, of the share of the
    text's tokens on which the feature is active, and of how often its name is true of such texts (see `validity`): a name that is true
    only where its feature is strong stands behind others as strong, and before what is weak.
    """
    return np.maximum(specificity - _ABOUT_USUAL, 0) * np.sqrt(relative * share) * _trust(score) * np.sqrt(valid)


def validity(names: Mapping[int, Name], size: int) -> np.ndarray:
    """``[size]``: how often the name of each feature is true of short texts it stands out in, drawn towards what is usual of few tries.

    Names that were never tried are taken to be as the usual one.
    """
    valid = np.full(size, _USUALLY_TRUE, np.float32)
    for index, name in names.items():
        valid[index] = (name.right + _USUALLY_TRUE * _TRIES) / (name.tried + _TRIES)
    return valid


def speaks(affinity: np.ndarray) -> np.ndarray:
    """``[feature]``: by how many nats each feature speaks for one topic more than for the median one, by its row of `affinity`."""
    return affinity.max(1) - np.median(affinity, 1) if affinity.shape[1] else np.zeros(len(affinity), np.float32)


def groups_of(facts: SaeFacts, table: FeatureTable | None, names: Mapping[int, Name]) -> np.ndarray | None:
    """``[d_sae]`` bool: the features that tell what a text is about, the others being of words; None where nothing is known of any.

    What a reader said of a feature decides: of what kind it is, and whether its name is telling. Of the others, those of the SAE's own
    group *about* do where it was trained with such, but for what a rule tells to be grammar or form; without groups, what rule and
    topics say.
    """
    trained = None
    if "about" in facts.groups:
        first, end = facts.groups["about"]
        place = np.arange(table.max.size if table else end)
        trained = (place >= first) & (place < end)
    if table is None:
        return trained
    kinds = [kind_of(names.get(i), rule, label) for i, (rule, label) in enumerate(zip(table.rule, table.label, strict=True))]
    of_content = np.array([kind not in ("form", "grammar") for kind in kinds])
    by_topic = (speaks(table.topics[:, :-1]) >= _SPEAKS) & of_content | [kind == "topic" for kind in kinds]
    return np.where(
        [i in names for i in range(len(kinds))],
        [kind in ABOUT_KINDS and not (i in names and names[i].telling is False) for i, kind in enumerate(kinds)],
        by_topic if trained is None else trained & of_content,
    )


def persists(share: np.ndarray) -> np.ndarray:
    """Which features tell what a text is about where nothing else is known: those active on much of it."""
    return share >= _PERSISTS


def diverse(ranked: Sequence[tuple[float, int, T]], top: int, *, per_token: int = 2, title: Callable[[T], str] | None = None) -> list[T]:
    """Of things with their rank and the token they peak on, the first `top`, at most so many of them on the same token; with a `title`
    of each, none whose title says again what one before it says.

    Ten names for one word say less than names for several.
    """
    chosen: list[T] = []
    taken: Counter[int] = Counter()
    said: list[frozenset[str]] = []
    for _, pos, one in sorted(ranked, key=lambda item: -item[0]):
        subject = subject_of(title(one)) if title else frozenset[str]()
        if taken[pos] < per_token and not any(_same_subject(subject, before) for before in said):
            taken[pos] += 1
            chosen.append(one)
            said.append(subject)
        if len(chosen) == top:
            break
    return chosen


@lru_cache(1 << 14)
def subject_of(title: str) -> frozenset[str]:
    """The words of a name that say what it is on, without their endings.

    >>> sorted(subject_of("farms and farming"))
    ['farm']
    """
    words = [word for word in folded(title).split() if len(word) > 2 and word not in grammatical()]
    return frozenset(map(stem, words)) - _SAY_NOTHING


def _same_subject(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether a word of the one stands in the other, however it ends: *sports and competitions* and *sports matches*. Words that very
    different subjects share count only where the other has every word of the one."""
    few, many = sorted((one, other), key=len)
    shared = {word for word in few if any(_alike(word, own) for own in many)}
    return bool(few) and (shared == few or any(not word.startswith(_BROAD) for word in shared))


def _alike(one: str, other: str) -> bool:
    """Whether two stems are of one word: *europ* and *european*, *war* and *wars*."""
    short, long = sorted((one, other), key=len)
    return long in (short, f"{short}s") or (len(short) > 3 and long.startswith(short) and len(long) <= len(short) + 3)


def _trust(score: Any) -> Any:
    return np.clip(2 * score - 1, _LEAST_TRUST, 1)

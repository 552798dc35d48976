"""Labels by rule: the rule that best tells a feature's tokens from others on half of the documents, scored on the other half.

A rule is a set of words and a place to look for them (the token's own word, the word before, the word after, the words up to it), or a
kind of token. Its score is the balanced accuracy (TPR + TNR) / 2 on the score half, which for a yes-or-no rule is its AUROC: 0.5 is
chance. Positives are tokens where the feature is above a quarter of its maximum, negatives are tokens where it is silent.
"""

from dataclasses import dataclass, field

import numpy as np

from hooke.atlas import NO_MEANING
from hooke.explain.reading import Reading
from hooke.text.words import TOKEN_KINDS

STRONG = 0.25
"""Above this share of its maximum a feature counts as clearly active."""
_WORDS, _CONTEXT_WORDS, _SHOWN = 16, 8, 4
MIN_SCORE = 0.7
"""A label that scores less is none."""
MIN_EVIDENCE = 5
"""Fewer held-out examples than this give no score."""
_POSITIVES = 600
_KINDS = (*TOKEN_KINDS, "the first word of a text")
# A rule that looks at many words has to beat one that looks at the token itself by this much to be preferred.
_CONTEXT_HANDICAP = 0.02
# Words tried for the context rule, and tokens that stand for all others while they are compared.
_CONTEXT_CANDIDATES, _CONTEXT_SAMPLE = 20, 4000


@dataclass(frozen=True)
class Label:
    """A name for a feature, and how far to trust it."""

    text: str
    """Short wording."""
    rule: str
    """``word``, ``previous``, ``next``, ``context``, ``kind``, or ``none``."""
    score: float | None
    """Balanced accuracy on the score half; None where there was too little to measure."""
    evidence: int
    """Tokens of the score half on which the feature was clearly active."""
    words: list[str] = field(default_factory=list)
    """The words (or the kind) that the rule looks for."""


def label_feature(reading: Reading, rows: np.ndarray, values: np.ndarray) -> Label:
    """The best label for a feature that fired on the tokens `rows` of `reading` with `values`."""
    fired = [rows[reading.score_half[rows] == half] for half in (False, True)]
    clear = rows[values >= STRONG * values.max()] if len(rows) else rows
    strong = [_thin(clear[reading.score_half[clear] == half]) for half in (False, True)]
    evidence = len(strong[1])
    if len(strong[0]) < MIN_EVIDENCE:
        return Label("too rare to name", "none", None, evidence)
    rules = [_word_rule(reading, name, strong[0], fired[0]) for name in ("word", "previous", "next")]
    rules += [_context_rule(reading, strong[0]), _kind_rule(reading, strong[0], fired[0])]
    name, chosen, _ = max((rule for rule in rules if len(rule[1])), key=lambda rule: rule[2])
    words = _names(reading, name, chosen)
    if evidence < MIN_EVIDENCE:
        return Label(_wording(name, words), name, None, evidence, words)
    score = _score(reading, name, chosen, strong[1], fired[1])
    if score < MIN_SCORE:
        return Label(NO_MEANING, "none", score, evidence, words)
    return Label(_wording(name, words), name, score, evidence, words)


Rule = tuple[str, np.ndarray, float]
"""Kind, the numbers of its words (none: there is no such rule), its balanced accuracy on the label half."""


def _thin(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= _POSITIVES else rows[np.linspace(0, len(rows) - 1, _POSITIVES).astype(np.int64)]


def _word_rule(reading: Reading, name: str, strong: np.ndarray, fired: np.ndarray) -> Rule:
    """The best set of words: balanced accuracy is a sum over words, so every word that gains belongs to it."""
    values = getattr(reading, name)
    found, count = _counts(values[strong])
    hit = count / len(strong)
    silent = reading.totals[name][0][found] - _at(values[fired], found)
    false = silent / max(1, reading.sizes[0] - len(fired))
    gain = hit - false
    best = np.argsort(-gain, kind="stable")[:_WORDS]
    # A word seen once proves nothing, unless the feature was hardly seen at all.
    best = best[(gain[best] > 0) & (count[best] >= min(2, len(strong) // 10 + 1))]
    return name, found[best], 0.5 + gain[best].sum() / 2


def _context_rule(reading: Reading, strong: np.ndarray) -> Rule:
    """Up to eight words one of which stands at or shortly before the token, added one by one while they help."""
    context = reading.context[strong]
    found, count = _counts(np.concatenate([np.unique(row) for row in context]))
    gain = count / len(strong) - reading.context_share[found]
    order = np.argsort(-gain, kind="stable")[:_CONTEXT_CANDIDATES]
    candidates = found[order[(gain[order] > 0) & (count[order] >= 3)]]
    others = reading.context[reading.sample[0][:_CONTEXT_SAMPLE]]
    covered, false = np.zeros(len(strong), bool), np.zeros(len(others), bool)
    chosen: list[int] = []
    best = 0.0
    has = {word: ((context == word).any(1), (others == word).any(1)) for word in candidates}
    while len(chosen) < _CONTEXT_WORDS:
        gains = {w: (covered | h).mean() - (false | f).mean() for w, (h, f) in has.items() if w not in chosen}
        word = max(gains, key=lambda w: gains[w], default=None)
        if word is None or gains[word] < best + 0.005:
            break
        best = gains[word]
        chosen.append(int(word))
        covered, false = covered | has[word][0], false | has[word][1]
    return "context", np.array(chosen, np.int64), 0.5 + best / 2 - _CONTEXT_HANDICAP


def _kind_rule(reading: Reading, strong: np.ndarray, fired: np.ndarray) -> Rule:
    hit = reading.kind[strong].mean(0)
    false = (reading.kind_totals[0] - reading.kind[fired].sum(0)) / max(1, reading.sizes[0] - len(fired))
    best = int(np.argmax(hit - false))
    return "kind", np.array([best]), 0.5 + float(hit[best] - false[best]) / 2


def _score(reading: Reading, name: str, chosen: np.ndarray, strong: np.ndarray, fired: np.ndarray) -> float:
    others = np.setdiff1d(reading.sample[1], fired)
    if len(others) == 0:  # silent nowhere: there is nothing that a rule could tell its tokens from
        return 0.5
    return float((_matches(reading, name, chosen, strong).mean() + 1 - _matches(reading, name, chosen, others).mean()) / 2)


def _matches(reading: Reading, name: str, chosen: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if name == "kind":
        return np.any(reading.kind[rows][:, chosen], axis=1)
    if name == "context":
        return np.any(np.isin(reading.context[rows], chosen), axis=1)
    return np.isin(getattr(reading, name)[rows], chosen)


def _counts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(values[values >= 0], return_counts=True)


def _at(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How often each of the (ascending) numbers `wanted` occurs in `values`."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, wanted, "right") - np.searchsorted(ordered, wanted, "left")


def _names(reading: Reading, name: str, chosen: np.ndarray) -> list[str]:
    return [_KINDS[i] for i in chosen] if name == "kind" else [reading.vocabulary[i] for i in chosen]


def _wording(name: str, words: list[str]) -> str:
    if name == "kind":
        return words[0]
    # Marks, breaks and single letters belong to the rule, but tell a reader little beside a word.
    telling = [word for word in words if len(word) > 1 and word[0].isalnum()] or words
    shown = [_shown(word) for word in telling[:_SHOWN]]
    listed = ", ".join(shown) + (" …" if len(words) > _SHOWN else "")
    return {"word": listed, "previous": f"after {listed}", "next": f"before {listed}", "context": f"near {listed}"}[name]


def _shown(word: str) -> str:
    if word.strip() == "":
        return "line break" if "\n" in word else "spaces"
    return word if word.isalnum() and len(word) > 1 else f"“{word.strip()}”"

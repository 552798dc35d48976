"""Excerpts: the pieces of texts behind a finding, addresses and long numbers masked; and which names are sensitive."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from hooke.differences.grouping import Comparison, Grouped
from hooke.differences.items import Items
from hooke.differences.reading import Pile
from hooke.differences.result import Excerpt
from hooke.text.tokens import Tokenizer

EXCERPTS, COUNTER = 5, 2
"""Texts shown of the group that has more of it, and of the other."""
_BEFORE, _AFTER = 120, 100
"""Characters on each side."""
_PRIVATE = (
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"), "[account]"),
    (re.compile(r"(?<![\w.,])\+?\(?\d(?:[\s()/.-]{0,2}\d){8,14}(?![\w.,]\d)"), "[number]"),
)
_SENSITIVE = re.compile(
    r"\b(race|racial|racis[mt]|black people|white people|ethnic\w*|immigra\w+|refugees?|jew\w*|muslims?|islam\w*|christian\w*|hindus?"
    r"|relig\w+|gay|lesbian|lgbt\w*|trans(?:gender)?|sexual\w*|sex|rape|porn\w*|nud\w+|gender|disab\w+|mental\w*|depress\w+|suicid\w+|self-harm|cancer"
    r"|hiv|aids|abortion\w*|pregnan\w+|addict\w+|slurs?|insults?|swear\w*|profan\w+|obscen\w+|offensive|violen\w+|murder\w*|terror\w*|abus\w+"
    r"|crim\w+|convict\w+|names? of (?:people|persons?))\b",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """`text` without e-mail addresses, account numbers and telephone numbers.

    >>> masked("Write to jo.bell@example.org or call +44 20 7946 0958, room 12")
    'Write to [e-mail] or call [number], room 12'
    """
    for pattern, mark in _PRIVATE:
        text = pattern.sub(mark, text)
    return text


def sensitive(name: str) -> bool:
    """Whether a name speaks of what is private, protected or offensive.

    >>> sensitive("religious festivals"), sensitive("interest rates")
    (True, False)
    """
    return bool(_SENSITIVE.search(name))


def strongest(items: Items, pile: Pile, column: int, rows: np.ndarray, most: int) -> list[int]:
    """Of the texts of `rows` that have an item, those that have most of it (of a feature), else the first."""
    own = items.texts(column)
    own = own[rows[own]]
    if items.kind[column] == "feature":
        table, feature = pile.by_feature, int(items.feature[column])
        fired = slice(table.indptr[feature], table.indptr[feature + 1])
        strength = table.data[fired][np.searchsorted(table.indices[fired], own)]
        # To a hundredth: texts that are equal but for rounding stay in their order, whatever batch they were read in.
        own = own[np.argsort(-np.log(strength).round(2), kind="stable")]
    return own[:most].tolist()


def excerpts(
    items: Items, pile: Pile, grouped: Grouped, comparison: Comparison, column: int, tokenizer: Tokenizer, more_in_a: bool
) -> list[Excerpt]:
    """A few texts of the group that has more of an item, then some of the other."""
    sides = (comparison.in_a, comparison.in_b) if more_in_a else (comparison.in_b, comparison.in_a)
    chosen = [
        n for rows, most in zip(sides, (EXCERPTS, COUNTER), strict=True) for n in _different(items, pile, grouped, column, rows, most)
    ]
    find = _finder(items, pile, column, tokenizer)
    out = []
    for n in chosen:
        text = grouped.texts[n]
        start, end = find(n, text)
        start = end - len(text[start:end].lstrip())
        before, after = text[:start], text[end:]
        if len(before) > _BEFORE:
            before = "… " + before[-_BEFORE:].partition(" ")[2]
        if len(after) > (room := _AFTER if end else _BEFORE + _AFTER):
            after = after[:room].rpartition(" ")[0] + " …"
        out.append(Excerpt(n, grouped.names[grouped.group[n]], masked(before), masked(text[start:end]), masked(after)))
    return out


def _different(items: Items, pile: Pile, grouped: Grouped, column: int, rows: np.ndarray, most: int) -> list[int]:
    """The strongest texts, none of them twice."""
    texts = {grouped.texts[n]: n for n in reversed(strongest(items, pile, column, rows, 4 * most))}
    return list(reversed(texts.values()))[:most]


def _finder(items: Items, pile: Pile, column: int, tokenizer: Tokenizer) -> Callable[[int, str], tuple[int, int]]:
    """Where in a text its strongest token, or the word, stands; at its beginning, with no length, for a topic."""
    if items.kind[column] == "topic":
        return lambda n, text: (0, 0)
    if items.kind[column] == "word":
        pattern = re.compile(rf"(?<![^\W\d_]){re.escape(items.key[column])}(?![^\W\d_])", re.IGNORECASE)
        return lambda n, text: found.span() if (found := pattern.search(text)) else (0, 0)
    value, feature = pile.value, int(items.feature[column])

    def peak(n: int, text: str) -> tuple[int, int]:
        own = slice(value.indptr[n], value.indptr[n + 1])
        at = np.flatnonzero(value.indices[own] == feature)
        if not len(at):
            return 0, 0
        pieces = _pieces(tokenizer, text)
        pos = int(pile.peak[own][at[0]])
        start = sum(map(len, pieces[:pos]))
        # Pieces that do not add up to the text (odd bytes) mark nothing.
        return (start, start + len(pieces[pos])) if pos < len(pieces) and "".join(pieces) == text else (0, 0)

    return peak


def _pieces(tokenizer: Tokenizer, text: str) -> Sequence[str]:
    ids = tokenizer.encode([text])[0]
    return tokenizer.pieces(ids[len(ids) and int(ids[0] == tokenizer.bos) :], begins=True)

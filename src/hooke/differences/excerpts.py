"""Excerpts: the pieces of texts behind a finding, addresses and long numbers masked."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from hooke.differences.grouping import Comparison, Grouped
from hooke.differences.items import Items
from hooke.differences.reading import Pile
from hooke.differences.result import Excerpt
from hooke.text.private import masked
from hooke.text.tokens import Tokenizer

EXCERPTS, COUNTER = 5, 2
"""Texts shown of the group that has more of it, and of the other."""
_BEFORE, _AFTER = 120, 100
"""Characters on each side."""


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
        pieces = pieces_of(tokenizer, text)
        pos = int(pile.peak[own][at[0]])
        start = sum(map(len, pieces[:pos]))
        # Pieces that do not add up to the text (odd bytes) mark nothing.
        return (start, start + len(pieces[pos])) if pos < len(pieces) and "".join(pieces) == text else (0, 0)

    return peak


def pieces_of(tokenizer: Tokenizer, text: str) -> Sequence[str]:
    """A text as the pieces that its tokens stand for."""
    ids = tokenizer.encode([text])[0]
    return tokenizer.pieces(ids[len(ids) and int(ids[0] == tokenizer.bos) :], begins=True)

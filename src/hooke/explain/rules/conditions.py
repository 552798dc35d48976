"""Conditions: everything a rule may look for at a token, numbered in one space, and the kernels that find them in a text."""

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

from hooke.explain.rules.corpus_index import Numbering, TokenIndex
from hooke.explain.rules.index import ConditionIndex
from hooke.explain.rules.subjects import subject_values
from hooke.explain.rules.token_marks import MARKS
from hooke.explain.rules.vocabulary import classes, languages

NEAR, TEXT = 8, 64
"""How many words back, the token's own left out, count as near, and as the text so far."""
MANY = 3
"""So many words of a class make a text one of that class' words."""
SLOTS = (
    "token",
    "word",
    "before",
    "after",
    "ending",
    "beginning",
    "language",
    "mark",
    "class",
    "class before",
    "class after",
    "near",
    "near class",
    "text",
    "text class",
    "subject",
    "next",
)
"""Where a sign is looked for; a slot and a value make a sign."""
ONE_VALUED = frozenset({"token", "word", "before", "after", "language", "next"})
"""Slots of which a token has at most one value."""
TOKEN, WORD, BEFORE, AFTER, ENDS, BEGINS, LANGUAGE, MARK, CLASS = range(9)
CLASS_BEFORE, CLASS_AFTER, NEAR_WORD, NEAR_CLASS, TEXT_WORD, TEXT_CLASS, SUBJECT, NEXT = range(9, len(SLOTS))


class _Arrays(NamedTuple):
    """What the kernels read of a reading; `offset` is where each slot's numbers begin."""

    offset: np.ndarray
    piece: np.ndarray
    at: np.ndarray
    marks: np.ndarray
    words: np.ndarray
    window: np.ndarray
    word_start: np.ndarray
    language: np.ndarray
    ending: np.ndarray
    short_ending: np.ndarray
    beginning: np.ndarray
    class_start: np.ndarray
    classes: np.ndarray
    subject_start: np.ndarray
    subjects: np.ndarray


class Conditions:
    """The signs of one closed reading: numbers for ``(slot, value)`` pairs, and counting them at tokens."""

    def __init__(self, reading: TokenIndex) -> None:
        """Number the signs that occur in `reading`."""
        self.reading = reading
        words, kinds = reading.vocabulary, Numbering(classes())
        tables = {TOKEN: reading.pieces, NEXT: reading.pieces, ENDS: reading.endings, BEGINS: reading.beginnings}
        tables |= dict.fromkeys((WORD, BEFORE, AFTER, NEAR_WORD, TEXT_WORD), words)
        tables |= dict.fromkeys((CLASS, CLASS_BEFORE, CLASS_AFTER, NEAR_CLASS, TEXT_CLASS), kinds)
        tables |= {LANGUAGE: Numbering(languages()), MARK: Numbering(MARKS), SUBJECT: Numbering(subject_values())}
        self._tables = [tables[slot] for slot in range(len(SLOTS))]
        sizes = [len(table) for table in self._tables]
        self.offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._slot = np.repeat(np.arange(len(SLOTS), dtype=np.int8), sizes)
        self._arrays = _Arrays(self.offset, *(getattr(reading, name) for name in _Arrays._fields[1:]))

    def __len__(self) -> int:
        return int(self.offset[-1])

    def find(self, slot: str, value: str) -> int:
        """Number of the sign; -1 where the reading has no such value."""
        number = SLOTS.index(slot)
        at = self._tables[number].find(value)
        return -1 if at < 0 else int(self.offset[number]) + at

    def slot(self, signs: np.ndarray) -> np.ndarray:
        """Number of each sign's slot in `SLOTS`."""
        return self._slot[signs]

    def names(self, signs: np.ndarray) -> list[tuple[str, str]]:
        """Slot and value of each of `signs`."""
        slots = self.slot(signs)
        pairs = zip(slots.tolist(), (signs - self.offset[slots]).tolist(), strict=True)
        return [(SLOTS[slot], self._tables[slot].texts[value]) for slot, value in pairs]

    def groups(self, rows: np.ndarray, groups: Sequence[np.ndarray], scratch: "Scratch") -> np.ndarray:
        """For each of the tokens `rows` the `groups` of signs (at most 63) of which it has one, as bits; -1 is never present."""
        slots = np.zeros(len(SLOTS), np.bool_)
        for number, group in enumerate(groups):
            real = group[group >= 0]
            scratch.bits[real] |= np.int64(1 << number)
            slots[self.slot(real)] = True
        out = np.zeros(len(rows), np.int64)
        _groups(rows, out, len(groups), scratch.bits, slots, self._arrays)
        for group in groups:
            scratch.bits[group[group >= 0]] = 0
        return out

    def seen(self, rows: np.ndarray, scratch: "Scratch", known: ConditionIndex | None = None) -> ConditionIndex:
        """All signs that the tokens `rows` have, but for what follows them (slot "next": that is for the output side to say).

        `known` are sightings that hold some of the rows already (ascending there): those are copied.
        """
        ready = np.full(len(rows), -1, np.int64)
        if known is not None and len(known.rows):
            at = np.minimum(np.searchsorted(known.rows, rows), len(known.rows) - 1)
            ready = np.where(known.rows[at] == rows, at, -1)
        nothing = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64)
        old = nothing if known is None else (known.start, known.column, known.signs)
        start, column, signs = _seen(rows, ready, old, scratch.seen, self._arrays)
        return ConditionIndex(rows, start, column, signs)


class Scratch:
    """Working memory for `Conditions`, one for each thread."""

    def __init__(self, signs: Conditions) -> None:
        """As much as `signs` needs."""
        n = len(signs)
        self.bits = np.zeros(n, np.int64)
        self.seen = np.full((n, 2), -1, np.int32)
        """For `Conditions.seen`: the last token that had each sign, and the sign's place among those seen."""


@njit(inline="always")
@no_type_check
def _listed_signs(row, base, start, numbers, out, n):
    for i in range(start[row], start[row + 1]):
        out[n] = base + numbers[i]
        n += 1
    return n


@njit(cache=True, nogil=True)
@no_type_check
def _of(row, out, counts, a):
    """Writes the signs of one token into `out` (some more than once); gives how many."""
    own, first, last = a.at[row], a.word_start[a.window[row]], a.word_start[a.window[row] + 1]
    word = a.words[own]
    out[0] = a.offset[TOKEN] + a.piece[row]
    out[1] = a.offset[WORD] + word
    n = 2
    if a.ending[word] >= 0:
        out[n] = a.offset[ENDS] + a.ending[word]
        out[n + 1] = a.offset[ENDS] + a.short_ending[word]
        n += 2
    if a.beginning[word] >= 0:
        out[n] = a.offset[BEGINS] + a.beginning[word]
        n += 1
    if a.language[a.window[row]] >= 0:
        out[n] = a.offset[LANGUAGE] + a.language[a.window[row]]
        n += 1
    left, number = a.marks[row], 0
    while left:
        if left & 1:
            out[n] = a.offset[MARK] + number
            n += 1
        left >>= 1
        number += 1
    n = _listed_signs(word, a.offset[CLASS], a.class_start, a.classes, out, n)
    if own > first:
        out[n] = a.offset[BEFORE] + a.words[own - 1]
        n = _listed_signs(a.words[own - 1], a.offset[CLASS_BEFORE], a.class_start, a.classes, out, n + 1)
    if own + 1 < last:
        out[n] = a.offset[AFTER] + a.words[own + 1]
        n = _listed_signs(a.words[own + 1], a.offset[CLASS_AFTER], a.class_start, a.classes, out, n + 1)
    for place in range(max(first, own - NEAR), own):
        out[n] = a.offset[NEAR_WORD] + a.words[place]
        n = _listed_signs(a.words[place], a.offset[NEAR_CLASS], a.class_start, a.classes, out, n + 1)
    n = _listed_signs(a.window[row], a.offset[SUBJECT], a.subject_start, a.subjects, out, n)
    counts[: a.offset[TEXT_CLASS + 1] - a.offset[TEXT_CLASS]] = 0
    for place in range(max(first, own - TEXT), own):
        other = a.words[place]
        out[n] = a.offset[TEXT_WORD] + other
        n += 1
        for i in range(a.class_start[other], a.class_start[other + 1]):
            counts[a.classes[i]] += 1
            if counts[a.classes[i]] == MANY:
                out[n] = a.offset[TEXT_CLASS] + a.classes[i]
                n += 1
    return n


_ROOM = 2048


@njit(inline="always")
@no_type_check
def _set_last(mask, place, last):
    bit = 0
    while mask:
        if mask & 1:
            last[bit] = place
        mask >>= 1
        bit += 1


@njit(inline="always")
@no_type_check
def _since(last, place):
    mask = np.int64(0)
    for bit in range(len(last)):
        if last[bit] >= place:
            mask |= np.int64(1) << bit
    return mask


@njit(inline="always")
@no_type_check
def _any(row, base, start, numbers, bits):
    mask = np.int64(0)
    for i in range(start[row], start[row + 1]):
        mask |= bits[base + numbers[i]]
    return mask


@njit(inline="always")
@no_type_check
def _count_classes(word, step, bits, counts, met, a):
    """One word more (`step` 1) or less (-1) in the text so far; `met` counts each group's classes that a text has enough words of."""
    for i in range(a.class_start[word], a.class_start[word + 1]):
        kind = a.classes[i]
        mask = bits[a.offset[TEXT_CLASS] + kind]
        if mask:
            counts[kind] += step
            if counts[kind] == (MANY if step > 0 else MANY - 1):
                bit = 0
                while mask:
                    if mask & 1:
                        met[bit] += step
                    mask >>= 1
                    bit += 1


@njit(cache=True, nogil=True)
@no_type_check
def _here(row, own, bits, slots, a):
    """The groups that a token has for what it is itself and for what stands right beside it."""
    window = a.window[row]
    first, last = a.word_start[window], a.word_start[window + 1]
    word = a.words[own]
    mask = np.int64(0)
    if slots[TOKEN]:
        mask |= bits[a.offset[TOKEN] + a.piece[row]]
    if slots[WORD]:
        mask |= bits[a.offset[WORD] + word]
    if slots[ENDS] and a.ending[word] >= 0:
        mask |= bits[a.offset[ENDS] + a.ending[word]] | bits[a.offset[ENDS] + a.short_ending[word]]
    if slots[BEGINS] and a.beginning[word] >= 0:
        mask |= bits[a.offset[BEGINS] + a.beginning[word]]
    if slots[LANGUAGE] and a.language[window] >= 0:
        mask |= bits[a.offset[LANGUAGE] + a.language[window]]
    if slots[MARK]:
        left, number = a.marks[row], 0
        while left:
            if left & 1:
                mask |= bits[a.offset[MARK] + number]
            left >>= 1
            number += 1
    if slots[CLASS]:
        mask |= _any(word, a.offset[CLASS], a.class_start, a.classes, bits)
    if slots[BEFORE] and own > first:
        mask |= bits[a.offset[BEFORE] + a.words[own - 1]]
    if slots[CLASS_BEFORE] and own > first:
        mask |= _any(a.words[own - 1], a.offset[CLASS_BEFORE], a.class_start, a.classes, bits)
    if slots[AFTER] and own + 1 < last:
        mask |= bits[a.offset[AFTER] + a.words[own + 1]]
    if slots[CLASS_AFTER] and own + 1 < last:
        mask |= _any(a.words[own + 1], a.offset[CLASS_AFTER], a.class_start, a.classes, bits)
    if slots[SUBJECT]:
        mask |= _any(window, a.offset[SUBJECT], a.subject_start, a.subjects, bits)
    if slots[NEXT] and row + 1 < len(a.piece) and a.window[row + 1] == window:
        mask |= bits[a.offset[NEXT] + a.piece[row + 1]]
    return mask


@njit(cache=True, nogil=True)
@no_type_check
def _groups(rows, out, n_groups, bits, slots, a):
    # The words before a token's are looked at once each where tokens follow each other: `near` and `text` hold the last place of each
    # group, `counts` and `met` what the classes of the words from `begun` to before `done` come to.
    near, text = np.full(n_groups, -1, np.int64), np.full(n_groups, -1, np.int64)
    counts, met = np.zeros(a.offset[CLASS + 1] - a.offset[CLASS], np.int32), np.zeros(n_groups, np.int32)
    window, begun, done = -1, 0, 0
    for i in range(len(rows)):
        row = rows[i]
        own, first = a.at[row], a.word_start[a.window[row]]
        if a.window[row] != window or own < done:
            window = a.window[row]
            near[:], text[:], counts[:], met[:] = -1, -1, 0, 0
            begun = done = max(first, own - TEXT)
        for place in range(done, own):
            word = a.words[place]
            if slots[NEAR_WORD]:
                _set_last(bits[a.offset[NEAR_WORD] + word], place, near)
            if slots[NEAR_CLASS]:
                _set_last(_any(word, a.offset[NEAR_CLASS], a.class_start, a.classes, bits), place, near)
            if slots[TEXT_WORD]:
                _set_last(bits[a.offset[TEXT_WORD] + word], place, text)
            if slots[TEXT_CLASS]:
                _count_classes(word, 1, bits, counts, met, a)
        done = own
        while begun < own - TEXT:
            if slots[TEXT_CLASS]:
                _count_classes(a.words[begun], -1, bits, counts, met, a)
            begun += 1
        mask = _here(row, own, bits, slots, a)
        if slots[NEAR_WORD] or slots[NEAR_CLASS]:
            mask |= _since(near, max(first, own - NEAR))
        if slots[TEXT_WORD]:
            mask |= _since(text, max(first, own - TEXT))
        if slots[TEXT_CLASS]:
            for bit in range(n_groups):
                if met[bit]:
                    mask |= np.int64(1) << bit
        out[i] = mask


@njit(inline="always")
@no_type_check
def _numbered(sign, seen, signs, total):
    """Gives the sign the next number if it has none, and how many have one then."""
    if seen[sign, 1] < 0:
        seen[sign, 1] = total
        signs[total] = sign
        total += 1
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _seen(rows, ready, old, seen, a):
    old_start, old_column, old_signs = old
    found, counts = np.empty(_ROOM, np.int64), np.zeros(a.offset[CLASS + 1] - a.offset[CLASS], np.int32)
    start = np.zeros(len(rows) + 1, np.int64)
    column, signs, total = np.empty(256 * (len(rows) + 1), np.int32), np.empty(4096, np.int64), 0
    old_place = np.full(len(old_signs), -1, np.int32)
    at = 0
    for i in range(len(rows)):
        if ready[i] >= 0:
            low, high = old_start[ready[i]], old_start[ready[i] + 1]
            n = high - low
        else:
            n = _of(rows[i], found, counts, a)
        if at + n > len(column):
            column = np.concatenate((column, np.empty(len(column) + n, np.int32)))
        if total + n > len(signs):
            signs = np.concatenate((signs, np.empty(len(signs) + n, np.int64)))
        if ready[i] >= 0:
            for e in range(low, high):
                k = old_column[e]
                if old_place[k] < 0:
                    sign = old_signs[k]
                    total = _numbered(sign, seen, signs, total)
                    old_place[k] = seen[sign, 1]
                column[at] = old_place[k]
                at += 1
        else:
            for j in range(n):
                sign = found[j]
                if seen[sign, 0] == i:
                    continue
                seen[sign, 0] = i
                total = _numbered(sign, seen, signs, total)
                column[at] = seen[sign, 1]
                at += 1
        start[i + 1] = at
    for k in range(total):
        seen[signs[k]] = -1
    return start, column[:at].copy(), signs[:total].copy()

"""Signs: everything a rule may look for at a token, numbered in one space, and the kernels that find them in a reading."""

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

from hooke.explain.passage import MARKS
from hooke.explain.reading import Numbering, Reading
from hooke.explain.subjects import subject_values
from hooke.explain.vocabulary import classes, languages

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


class Signs:
    """The signs of one closed reading: numbers for ``(slot, value)`` pairs, and counting them at tokens."""

    def __init__(self, reading: Reading) -> None:
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
        return np.searchsorted(self.offset, signs, "right") - 1

    def name(self, sign: int) -> tuple[str, str]:
        """Slot and value of a sign."""
        slot = int(np.searchsorted(self.offset, sign, "right")) - 1
        return SLOTS[slot], self._tables[slot].texts[sign - int(self.offset[slot])]

    def present(self, rows: np.ndarray, signs: np.ndarray, scratch: "Scratch") -> np.ndarray:
        """``[rows, signs]`` bool: which of `signs` (each at most once, -1 is never present) the tokens `rows` have."""
        real = np.flatnonzero(signs >= 0)
        out = np.zeros((len(rows), len(signs)), np.bool_)
        scratch.column[signs[real]] = real
        slots = np.zeros(len(SLOTS), np.bool_)
        slots[self.slot(signs[real])] = True
        _present(rows, out, scratch.column, slots, self._arrays)
        scratch.column[signs[real]] = -1
        return out

    def groups(self, rows: np.ndarray, groups: Sequence[np.ndarray], scratch: "Scratch") -> np.ndarray:
        """For each of the tokens `rows` the `groups` of signs (at most 63) of which it has one, as bits; -1 is never present."""
        slots = np.zeros(len(SLOTS), np.bool_)
        for number, group in enumerate(groups):
            real = group[group >= 0]
            scratch.bits[real] |= np.int64(1 << number)
            slots[self.slot(real)] = True
        out = np.zeros(len(rows), np.int64)
        _groups(rows, out, scratch.bits, slots, self._arrays)
        for group in groups:
            scratch.bits[group[group >= 0]] = 0
        return out

    def tally(
        self, rows: np.ndarray, weights: np.ndarray, groups: np.ndarray, scratch: "Scratch"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The signs that the tokens `rows` have, the sum of `weights` over each one's tokens, and in how many `groups` it was seen.

        A token with a negative weight does not count as having seen it; rows of one group must stand together.
        """
        found = _tally(rows, weights, groups, scratch.sums, self._arrays)
        gain, support, group, stamp, seen = scratch.sums
        signs = seen[:found].copy()
        gains, supports = gain[signs], support[signs]
        gain[signs], support[signs], group[signs], stamp[signs] = 0, 0, -1, -1
        return signs, gains, supports


class Scratch:
    """Working memory for `Signs`, one for each thread."""

    def __init__(self, signs: Signs) -> None:
        """As much as `signs` needs."""
        n = len(signs)
        self.column, self.bits = np.full(n, -1, np.int16), np.zeros(n, np.int64)
        self.sums = (
            np.zeros(n, np.float32),
            np.zeros(n, np.int32),
            np.full(n, -1, np.int64),
            np.full(n, -1, np.int32),
            np.zeros(n, np.int32),
        )
        """For `Signs.tally`: each sign's weights, groups, last group and last token, and the signs seen."""


@njit(inline="always")
@no_type_check
def _listed_signs(row, base, start, numbers, out, n):
    for i in range(start[row], start[row + 1]):
        out[n] = base + numbers[i]
        n += 1
    return n


@njit(cache=True, nogil=True)
@no_type_check
def _of(row, slots, out, counts, a):
    """Writes the signs of one token, of the slots asked for, into `out` (some more than once); gives how many."""
    n = 0
    own, first, last = a.at[row], a.word_start[a.window[row]], a.word_start[a.window[row] + 1]
    word = a.words[own]
    out[0] = a.offset[TOKEN] + a.piece[row]
    out[1] = a.offset[WORD] + word
    n = 2
    if slots[ENDS] and a.ending[word] >= 0:
        out[n] = a.offset[ENDS] + a.ending[word]
        out[n + 1] = a.offset[ENDS] + a.short_ending[word]
        n += 2
    if slots[BEGINS] and a.beginning[word] >= 0:
        out[n] = a.offset[BEGINS] + a.beginning[word]
        n += 1
    if slots[LANGUAGE] and a.language[a.window[row]] >= 0:
        out[n] = a.offset[LANGUAGE] + a.language[a.window[row]]
        n += 1
    if slots[MARK]:
        left, number = a.marks[row], 0
        while left:
            if left & 1:
                out[n] = a.offset[MARK] + number
                n += 1
            left >>= 1
            number += 1
    if slots[CLASS]:
        n = _listed_signs(word, a.offset[CLASS], a.class_start, a.classes, out, n)
    if own > first and (slots[BEFORE] or slots[CLASS_BEFORE]):
        out[n] = a.offset[BEFORE] + a.words[own - 1]
        n = _listed_signs(a.words[own - 1], a.offset[CLASS_BEFORE], a.class_start, a.classes, out, n + 1)
    if own + 1 < last and (slots[AFTER] or slots[CLASS_AFTER]):
        out[n] = a.offset[AFTER] + a.words[own + 1]
        n = _listed_signs(a.words[own + 1], a.offset[CLASS_AFTER], a.class_start, a.classes, out, n + 1)
    if slots[NEAR_WORD] or slots[NEAR_CLASS]:
        for place in range(max(first, own - NEAR), own):
            out[n] = a.offset[NEAR_WORD] + a.words[place]
            n += 1
            if slots[NEAR_CLASS]:
                n = _listed_signs(a.words[place], a.offset[NEAR_CLASS], a.class_start, a.classes, out, n)
    if slots[SUBJECT]:
        n = _listed_signs(a.window[row], a.offset[SUBJECT], a.subject_start, a.subjects, out, n)
    if slots[NEXT] and row + 1 < len(a.piece) and a.window[row + 1] == a.window[row]:
        out[n] = a.offset[NEXT] + a.piece[row + 1]
        n += 1
    if slots[TEXT_WORD]:
        for place in range(max(first, own - TEXT), own):
            out[n] = a.offset[TEXT_WORD] + a.words[place]
            n += 1
    if slots[TEXT_CLASS]:
        counts[: a.offset[TEXT_CLASS + 1] - a.offset[TEXT_CLASS]] = 0
        for place in range(max(first, own - TEXT), own):
            other = a.words[place]
            for i in range(a.class_start[other], a.class_start[other + 1]):
                counts[a.classes[i]] += 1
                if counts[a.classes[i]] == MANY:
                    out[n] = a.offset[TEXT_CLASS] + a.classes[i]
                    n += 1
    return n


_ROOM = 2048


@njit(cache=True, nogil=True)
@no_type_check
def _present(rows, out, column, slots, a):
    signs, counts = np.empty(_ROOM, np.int64), np.zeros(a.offset[CLASS + 1] - a.offset[CLASS], np.int32)
    for i in range(len(rows)):
        n = _of(rows[i], slots, signs, counts, a)
        for j in range(n):
            k = column[signs[j]]
            if k >= 0:
                out[i, k] = True


@njit(cache=True, nogil=True)
@no_type_check
def _groups(rows, out, bits, slots, a):
    signs, counts = np.empty(_ROOM, np.int64), np.zeros(a.offset[CLASS + 1] - a.offset[CLASS], np.int32)
    for i in range(len(rows)):
        n = _of(rows[i], slots, signs, counts, a)
        for j in range(n):
            out[i] |= bits[signs[j]]


@njit(cache=True, nogil=True)
@no_type_check
def _tally(rows, weights, groups, sums, a):
    gain, support, group, stamp, seen = sums
    signs, counts = np.empty(_ROOM, np.int64), np.zeros(a.offset[CLASS + 1] - a.offset[CLASS], np.int32)
    slots = np.ones(len(a.offset), np.bool_)
    slots[NEXT] = False  # what follows is for the output side to say
    found = 0
    for i in range(len(rows)):
        n = _of(rows[i], slots, signs, counts, a)
        for j in range(n):
            sign = signs[j]
            if stamp[sign] == i:
                continue
            if stamp[sign] < 0:
                seen[found] = sign
                found += 1
            stamp[sign] = i
            gain[sign] += weights[i]
            if weights[i] > 0 and group[sign] != groups[i]:
                group[sign] = groups[i]
                support[sign] += 1
    return found

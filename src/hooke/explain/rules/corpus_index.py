"""Token index: the tokens a model read, with the words and marks of each, as arrays that rules can be tried on."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hooke.explain.rules.subjects import Subjects
from hooke.explain.rules.token_marks import TokenMarks, token_marks
from hooke.explain.rules.vocabulary import ENDING, SHORT_ENDING, beginning, classes_of, ending, language_of


class Numbering:
    """Texts numbered from 0 in the order they came."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Begins with `texts`, all different."""
        self.texts = list(texts)
        self._number = {text: number for number, text in enumerate(self.texts)}

    def add(self, text: str) -> int:
        """The number of `text`, a new one where it was not seen before."""
        number = self._number.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def find(self, text: str) -> int:
        """The number of `text`; -1 where it was never seen."""
        return self._number.get(text, -1)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass
class TokenIndex:
    """Tokens in reading order; build it window by window with `add`, then `close` it.

    After that these arrays are there, one entry a token unless said otherwise: ``piece`` and ``at`` (its number in `pieces`, its word's
    place in ``words``), ``marks`` (bits of `hooke.explain.rules.token_marks.MARKS`), ``window`` (number of its window, from 0), ``doc``
    (the key given). ``words`` holds the number in `vocabulary` of each word of the text, ``word_start`` and ``token_start`` where each
    window begins (one more entry than windows), ``language`` each window's language (-1: unknown). Halves are by document: odd keys score.
    """

    pieces: Numbering = field(default_factory=Numbering)
    """The tokens' texts."""
    vocabulary: Numbering = field(default_factory=Numbering)
    """The words."""
    _parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(self, pieces: Sequence[str], doc: int, found: TokenMarks | None = None) -> None:
        """The next window of text, as its tokens' pieces, from the document with key `doc` (``crc32("corpus:number")``, say).

        `found` is their `token_marks`, where that has been made already.
        """
        found = found or token_marks(pieces)
        words = np.array([self.vocabulary.add(word) for word in found.words], np.int32)
        own = np.array([self.pieces.add(piece) for piece in pieces], np.int32)
        counts = (np.int64(doc), np.int16(language_of(found.words)))
        self._parts.append((own, np.array(found.index, np.int32), np.array(found.marks, np.int64), words, *map(np.asarray, counts)))

    def close(self) -> None:
        """No more text; the arrays are there from now on."""
        own, index, marks, words, doc, language = zip(*self._parts, strict=True) if self._parts else ([np.zeros(0, np.int32)],) * 6
        tokens = np.array([len(part) for part in own], np.int64)
        self.token_start = np.concatenate([[0], np.cumsum(tokens)])
        self.word_start = np.concatenate([[0], np.cumsum([len(part) for part in words])]).astype(np.int32)
        self.window = np.repeat(np.arange(len(tokens), dtype=np.int32), tokens)
        self.piece = np.concatenate(own)
        self.at = np.concatenate(index).astype(np.int32) + self.word_start[self.window]
        self.marks = np.concatenate(marks).astype(np.int64)
        self.words = np.concatenate(words)
        self.doc_of_window = np.array(doc, np.int64).ravel()[: len(tokens)]
        self.language = np.array(language, np.int16).ravel()[: len(tokens)]
        self.doc = self.doc_of_window[self.window]
        self.score_half = self.doc % 2 == 1
        self.subject_start, self.subjects = np.zeros(len(tokens) + 1, np.int64), np.zeros(0, np.int32)
        self._parts.clear()
        self._by_word()

    def on_subjects(self, subjects: Subjects) -> None:
        """Find what each window is on, so that rules may say it; once closed. Without this no window is on anything."""
        pieces, start = self.pieces.texts, self.token_start.tolist()
        texts = ["".join(pieces[own] for own in self.piece[low:high].tolist()) for low, high in itertools.pairwise(start)]
        found = subjects.of(texts)
        self.subject_start = np.concatenate([[0], np.cumsum([len(own) for own in found])]).astype(np.int64)
        self.subjects = np.concatenate([np.zeros(0, np.int32), *found]).astype(np.int32)

    def _by_word(self) -> None:
        """What each word of the vocabulary is by itself: its classes (in compressed rows), endings and beginning."""
        self.endings, self.beginnings = Numbering(), Numbering()
        texts = self.vocabulary.texts
        classes = [classes_of(word) for word in texts]
        self.class_start = np.concatenate([[0], np.cumsum([len(own) for own in classes])]).astype(np.int32)
        self.classes = np.array([number for own in classes for number in own], np.int16)
        self.ending, self.short_ending, self.beginning = (
            np.array([-1 if part is None else table.add(part) for part in parts], np.int32)
            for table, parts in (
                (self.endings, [ending(word, ENDING) for word in texts]),
                (self.endings, [ending(word, SHORT_ENDING) for word in texts]),
                (self.beginnings, [beginning(word) for word in texts]),
            )
        )

    def __len__(self) -> int:
        return len(self.piece)

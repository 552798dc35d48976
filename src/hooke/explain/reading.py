"""Reading: the tokens a model read, with the words around each, as arrays that rules can be tried on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hooke.text.words import TOKEN_KINDS, kinds, words_of

BACK = 12
"""How many words back, the token's own included, count as the context of a token."""


@dataclass
class Reading:
    """Tokens in reading order; build it window by window with `add`, then `close` it."""

    vocabulary: list[str] = field(default_factory=list)
    """The words, by number."""
    _number: dict[str, int] = field(default_factory=dict)
    _parts: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, pieces: Sequence[str], doc: int) -> None:
        """One window of text, as its tokens' pieces, from document `doc`."""
        words, index = words_of(pieces)
        ids = np.array([self._id(word) for word in words] + [-1])
        at = np.array(index, np.int64)
        back = at[:, None] - np.arange(BACK)
        self._parts.append(
            {
                "word": ids[at],
                "previous": np.where(at > 0, ids[at - 1], -1),
                "next": ids[at + 1],
                "context": np.where(back >= 0, ids[np.maximum(back, 0)], -1),
                "kind": np.array([kinds(piece) for piece in pieces], bool).reshape(-1, len(TOKEN_KINDS)),
                "first": np.arange(len(at)) == 0,
                "score_half": np.full(len(at), doc % 2 == 1),
            }
        )

    def _id(self, word: str) -> int:
        number = self._number.get(word)
        if number is None:
            number = self._number[word] = len(self.vocabulary)
            self.vocabulary.append(word)
        return number

    def close(self) -> None:
        """No more text; the arrays below are there from now on."""
        join = {key: np.concatenate([part[key] for part in self._parts]) for key in self._parts[0]}
        self.word, self.previous, self.next = (join[key].astype(np.int32) for key in ("word", "previous", "next"))
        self.context = join["context"].astype(np.int32)
        self.kind = np.concatenate([join["kind"], join["first"][:, None]], 1)
        self.score_half = join["score_half"]
        self._parts.clear()
        # A random sample of each half stands for "any token" where rules are compared.
        rng = np.random.default_rng(0)
        halves = [np.flatnonzero(self.score_half == half) for half in (False, True)]
        self.sample = [rng.choice(half, min(20_000, len(half)), replace=False) for half in halves]
        size = len(self.vocabulary)
        self.totals = {
            name: [np.bincount(values[half][values[half] >= 0], minlength=size) for half in halves]
            for name, values in (("word", self.word), ("previous", self.previous), ("next", self.next))
        }
        self.context_share = _context_share(self.context[self.sample[0]], size)
        self.kind_totals = [self.kind[half].sum(0) for half in halves]
        self.sizes = [len(half) for half in halves]

    def __len__(self) -> int:
        return len(self.word)


def _context_share(context: np.ndarray, size: int) -> np.ndarray:
    """Share of the rows in which each word occurs."""
    row = np.repeat(np.arange(len(context)), context.shape[1])
    flat = context.ravel()
    pairs = np.unique(row[flat >= 0].astype(np.int64) * size + flat[flat >= 0])
    return np.bincount(pairs % size, minlength=size) / max(1, len(context))

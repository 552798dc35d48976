"""Passages: the text around places where features fired, out of an atlas file."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from hooke.atlas import schema
from hooke.atlas.feature import Context
from hooke.atlas.packing import unpack_numbers, unpack_top
from hooke.atlas.records import Example
from hooke.atlas.store import MAX_PIECE, join_pieces
from hooke.text.private import covered

_PRIVATE = 16  # tokens on each side of what is shown in which what is private is looked for, too
# What a file from outside may make of few bytes by naming one thing in many places.
_MEAN_PIECE, _FREE_TEXT = 64, 1 << 16
_MAX_WINDOWS = 1 << 22


class Passages:
    """The text of an open atlas: its tokens, and what stands around examples."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.pieces = Pieces(connection)

    def contexts(self, examples: Sequence[Example], around: int, *, bare: bool = False) -> Iterator[Context]:
        """The text around each example, what is private in it covered; `bare`: as the file has it, to count words in and not to show.

        Everything is looked up at one go: a page has some forty examples and two thousand tokens.
        """
        windows = self._windows({example.window for example in examples})
        cuts = []
        for example in examples:
            if example.window not in windows:
                raise ValueError(f"it holds no window {example.window}")
            corpus, doc, start, ids = windows[example.window]
            fired = dict(zip(example.at.tolist(), example.values.tolist(), strict=True))
            if not 0 <= min(fired, default=0) <= max(fired, default=0) < len(ids) or not 0 <= example.peak < len(ids):
                raise ValueError("an example lies outside its window")
            low, high = max(0, example.peak - around), min(len(ids), example.peak + around + 1)
            wide, margin = (low, 0) if bare else (max(0, low - _PRIVATE), _PRIVATE)  # what is private may be cut in two
            cuts.append((example.peak, fired, (corpus, doc, start + low), low, high, wide, ids[wide : high + margin].tolist()))
        self.pieces.learn(set().union(*(ids for *_, ids in cuts)))
        for peak, fired, where, low, high, wide, ids in cuts:
            texts = self.pieces.texts(ids) if bare else covered(self.pieces.texts(ids))
            yield Context(texts[low - wide : high - wide], [fired.get(at, 0.0) for at in range(low, high)], peak - low, *where)

    def strongest(self, features: Sequence[int], windows: Collection[int]) -> dict[int, list[Example]]:
        """The strongest examples of each of these features that lie in one of `windows`."""
        rows = self._db.execute(schema.GET_SOME_DETAILS, (json.dumps(sorted(features)),))
        found = {feature: unpack_top(content, plain=form == schema.PLAIN_FORM) for feature, form, content in rows}
        return {feature: [example for example in found.get(feature, ()) if example.window in windows] for feature in features}

    def _windows(self, wanted: set[int]) -> dict[int, tuple[str, int, int, np.ndarray]]:
        """Corpus, document, start and token ids of each window."""
        found: dict[int, tuple[str, int, int, np.ndarray]] = {}
        read = 0
        for window, corpus, doc, start, ids in self._db.execute(schema.GET_SOME_WINDOWS, (json.dumps(sorted(wanted)),)):
            found[window] = corpus, doc, start, unpack_numbers(ids)
            read += len(found[window][-1])
            if read > _MAX_WINDOWS:
                raise ValueError(f"the windows of a feature's examples have more than {_MAX_WINDOWS:,} tokens")
        return found


class Pieces:
    """The text of token ids, each looked up once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._known: dict[int, Any] = {}
        self._given = self._texts = 0  # characters and pieces
        self._parts: set[int] = set()  # of characters: their bytes are no text on their own

    def learn(self, tokens: set[int]) -> None:
        """Look up those that are not known yet."""
        if missing := tokens.difference(self._known):
            found = {}
            for token, piece in self._db.execute(schema.GET_SOME_PIECES, (json.dumps(sorted(missing)),)):
                if not isinstance(piece, str | bytes) or len(piece) > MAX_PIECE:
                    raise ValueError(f"what it holds for token {token} is no text of at most {MAX_PIECE:,} characters")
                found[token] = piece
            if strange := missing - found.keys():
                raise ValueError(f"it holds no text for token {min(strange)}")
            self._known.update(found)
            self._parts.update(token for token, piece in found.items() if isinstance(piece, bytes))

    def texts(self, ids: Sequence[int]) -> list[str]:
        """What each token, learnt before, adds to the text."""
        pieces = list(map(self._known.__getitem__, ids))
        self._given, self._texts = self._given + sum(map(len, pieces)), self._texts + len(pieces)
        if self._given > _FREE_TEXT + _MEAN_PIECE * self._texts:
            raise ValueError(f"its tokens have more than {_MEAN_PIECE} characters each")
        return pieces if self._parts.isdisjoint(ids) else join_pieces(pieces)

    def text(self, token: int) -> str:
        """The text of one token on its own."""
        return self.texts([token])[0]

"""Corpus tokens: everything a model read for an atlas, as arrays over tokens and over windows."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from hooke.atlas.records import TextWindow, document_key


class CorpusTokens:
    """Tokens in reading order, special ones left out, cut into windows; a token's place in that order is its row."""

    def __init__(self, ids: np.ndarray, windows: np.ndarray, corpora: tuple[str, ...]) -> None:
        """`windows` as in `Chunk.windows`; `corpora` are the corpora's names by number."""
        self.ids = ids
        """``[token]``: token ids (int32)."""
        self.corpora = corpora
        """Names of the corpora."""
        self.corpus, self.doc, self.offset = (windows[:, i] for i in range(3))
        self.start = np.zeros(len(windows) + 1, np.int64)
        """``[window + 1]``: the row at which each window begins."""
        np.cumsum(windows[:, 3], out=self.start[1:])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.start) - 1

    @cached_property
    def window(self) -> np.ndarray:
        """``[token]``: the window of each token (int32)."""
        return np.repeat(np.arange(self.windows, dtype=np.int32), np.diff(self.start))

    @cached_property
    def document(self) -> np.ndarray:
        """``[window]``: a number for each document, counted over all corpora from 0 (int32)."""
        pairs = np.stack([self.corpus, self.doc], 1)
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)

    @cached_property
    def document_tokens(self) -> np.ndarray:
        """Tokens that were read of each document (int64)."""
        return np.bincount(self.document, np.diff(self.start)).astype(np.int64)

    @cached_property
    def score_half(self) -> np.ndarray:
        """``[window]``: whether its document is kept for scoring labels, and not used to make them."""
        return np.array([self.key(window) & 1 for window in range(self.windows)], bool)

    def key(self, window: int) -> int:
        """`document_key` of the window's document."""
        return document_key(self.corpora[self.corpus[window]], int(self.doc[window]))

    def tokens_of(self, window: int) -> np.ndarray:
        """Token ids of one window."""
        return self.ids[self.start[window] : self.start[window + 1]]

    def text_windows(self, wanted: Iterable[int]) -> Iterator[TextWindow]:
        """The windows with these numbers, as an atlas keeps them."""
        for window in wanted:
            name, doc, offset = self.corpora[self.corpus[window]], int(self.doc[window]), int(self.offset[window])
            yield TextWindow(int(window), name, doc, offset, self.tokens_of(window))

"""Generated readings: text as arrays and codes on it, small enough for brute force."""

import numpy as np
import torch
from hypothesis import strategies as st

from hooke.codes import Codes
from hooke.features.corpus_tokens import CorpusTokens

VALUES = [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.25, 0.1]


Raw = tuple[list[int], list[tuple[int, int, int, int]], int, list[float]]


@st.composite
def readings(draw) -> Raw:
    """For `made`: windows of two corpora, few documents and few different tokens, so that everything happens twice; some features."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    rows = [(draw(st.integers(0, 1)), draw(st.integers(0, 3)), 0, length) for length in lengths]
    ids = draw(st.lists(st.integers(2, 6), min_size=sum(lengths), max_size=sum(lengths)))
    features = draw(st.integers(1, 6))
    return ids, rows, features, draw(st.lists(st.sampled_from(VALUES), min_size=len(ids) * features, max_size=len(ids) * features))


def made(raw: Raw) -> tuple[CorpusTokens, torch.Tensor]:
    """The text, and dense codes on it."""
    ids, rows, features, values = raw
    text = CorpusTokens(np.array(ids, np.int32), np.array(rows, np.int64), ("a", "b"))
    return text, torch.tensor(values).reshape(len(ids), features)


def long_reading(seed: int, windows: int = 60, features: int = 12) -> tuple[CorpusTokens, torch.Tensor]:
    """A longer one, with rare and common tokens and features."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 80, windows)
    rows = np.stack([rng.integers(0, 2, windows), rng.integers(0, 15, windows), np.zeros(windows, np.int64), lengths], 1)
    ids = np.minimum(rng.zipf(1.4, lengths.sum()), 200).astype(np.int32)
    share = rng.choice([0.001, 0.02, 0.3, 0.9, 0.0], features)
    values = rng.gamma(2.0, 1.0, (len(ids), features)) * (rng.random((len(ids), features)) < share)
    return CorpusTokens(ids, rows, ("a", "b")), torch.from_numpy(values.astype(np.float32))


def codes_of(dense: torch.Tensor) -> Codes:
    return Codes.from_dense(dense)

"""Background: how far short texts drive each feature, and how many ordinary ones drive it how far."""

import numpy as np
import torch

from hooke.atlas import relative_to
from hooke.atlas.records import BACKGROUND_STEPS
from hooke.codes import Codes


def pooled(codes: Codes, text: np.ndarray, texts: int) -> Codes:
    """Each feature's largest activation in each text, a row a text; `text` gives every token's text, numbered from 0."""
    key = text[codes.row.numpy()].astype(np.int64) * codes.d_sae + codes.feature.numpy()
    order = np.argsort(key, kind="stable")
    found, starts = np.unique(key[order], return_index=True)
    values = codes.value.numpy()[order]
    largest = np.maximum.reduceat(values, starts) if len(values) else values
    indptr = np.searchsorted(found, np.arange(texts + 1) * codes.d_sae)
    return Codes(torch.from_numpy(indptr), torch.from_numpy(found % codes.d_sae), torch.from_numpy(largest), codes.d_sae)


def relative(texts: Codes, maximum: np.ndarray) -> Codes:
    """The same with every activation over its feature's `maximum`; 0 where that is 0: nothing is known of its scale."""
    shares = relative_to(texts.value.numpy(), maximum[texts.feature.numpy()])
    return Codes(texts.indptr, texts.feature, torch.from_numpy(shares), texts.d_sae)


def background_counts(texts: Codes, maximum: np.ndarray) -> np.ndarray:
    """``[d_sae, BACKGROUND_STEPS]``: how many texts drive each feature above 0, 1/8, 2/8 ... 7/8 of its maximum.

    A feature whose maximum is 0 counts as driven all the way wherever it fires.
    """
    feature, share = texts.feature.numpy(), texts.value.numpy() / np.maximum(maximum[texts.feature.numpy()], np.float32(1e-12))
    over = [feature[share > np.float32(step / BACKGROUND_STEPS)] for step in range(BACKGROUND_STEPS)]
    return np.stack([np.bincount(some, minlength=texts.d_sae) for some in over], 1)


def columns(texts: Codes, low: int, high: int) -> Codes:
    """The features from `low` to before `high` alone, the first of them as number 0."""
    feature = torch.arange(texts.d_sae)
    own = texts.only((feature >= low) & (feature < high))
    return Codes(own.indptr, own.feature - low, own.value, high - low)

"""Search by meaning: labels as vectors of a sentence encoder, made once for an atlas and kept in the cache."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hooke.atlas.search import Search, SearchResult
from hooke.errors import BadConfig, BadFile
from hooke.files import cache_dir, read_safetensors, write_safetensors
from hooke.text.meaning import PACKAGE, MiniLM

_BLOCK = 1024


def search_by_meaning(
    one: Search, labels: Sequence[str], text: str, order: tuple[str, int], progress: Callable[[str], None]
) -> SearchResult:
    """The features whose labels are nearest to `text`; `labels` are all that the atlas has, `order` how to sort and how many."""
    if not text.strip():
        raise BadConfig("there is nothing to compare labels with: give a few words.")
    encoder = MiniLM()
    vectors = _vectors(encoder, labels, progress)
    place = {label: i for i, label in enumerate(labels)}
    wanted = encoder.encode([text])[0]

    def score(titles: Sequence[str]) -> np.ndarray:
        cosine = vectors @ wanted
        own = [title for title in titles if title not in place]  # a person's own labels, which change
        fresh = dict(zip(own, encoder.encode(own) @ wanted, strict=True))
        return np.array([fresh[title] if title in fresh else cosine[place[title]] for title in titles])

    return SearchResult(one.near(score, *order), text)


def _vectors(encoder: MiniLM, labels: Sequence[str], progress: Callable[[str], None]) -> np.ndarray:
    path = _cached(labels)
    if path.is_file():
        try:
            tensors, _ = read_safetensors(path)
            vectors = tensors["vectors"].float().numpy()
            if len(vectors) == len(labels):
                return vectors
        except (BadFile, KeyError):
            pass  # a spoilt cache is made anew
    parts = []
    for start in range(0, len(labels), _BLOCK):
        progress(f"Reading labels, once for this atlas: {start:,} of {len(labels):,}")
        parts.append(encoder.encode(labels[start : start + _BLOCK]))
    import torch

    vectors = np.concatenate(parts) if parts else np.zeros((0, len(encoder.encode(["a"])[0])), np.float32)
    write_safetensors(path, {"vectors": torch.from_numpy(vectors).half()}, {"encoder": PACKAGE})
    return vectors


def _cached(labels: Sequence[str]) -> Path:
    digest = hashlib.sha256("\0".join([PACKAGE, *labels]).encode("utf-8", "replace"))
    return cache_dir() / "meaning" / f"{digest.hexdigest()[:24]}.safetensors"

"""Baselines: how well other ways of reading tell groups apart, plain words first; learnt on one half of the texts, tried on the other."""

import contextlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from hooke.differences.grouping import Grouped
from hooke.differences.reading import Pile
from hooke.differences.statistics import auc
from hooke.errors import Missing
from hooke.evals.probes import fit_all, fit_few, most_different, require_sklearn, standardised
from hooke.text.meaning import MiniLM

_MOST = 4000
"""Texts that a classifier is fitted on; more make it slower, not much better."""


def baselines(
    grouped: Grouped,
    pile: Pile,
    words: Float[np.ndarray, "comparison text"],
    first: Bool[np.ndarray, " text"],
    seed: int,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """AUC, with its interval where one comparison was made, of every way of reading on the texts of the second half; and what is missing.

    `words` are the texts' scores by `hooke.differences.words.word_scores`, for each comparison.
    """
    ways: dict[str, list[Any]] = {"words (log-odds)": [], "activations (probe)": [], "features (probe)": [], "best feature": []}
    missing = []
    vectors = None
    try:
        require_sklearn()
    except Missing:
        missing.append("No probes: they need scikit-learn (pip install 'hooke[eval]').")
        ways = {"words (log-odds)": []}
    else:
        with contextlib.suppress(Missing):  # one more way, where it is installed
            vectors = MiniLM().encode(grouped.texts)
    if vectors is not None:
        ways["sentence encoder (probe)"] = []
    largest = np.maximum(pile.by_feature.max(0).toarray().ravel(), 1e-12)
    for comparison, score in zip(grouped.comparisons, words, strict=True):
        own = comparison.in_a | comparison.in_b
        test = np.flatnonzero(own & ~first)
        train = np.flatnonzero(own & first)
        if len(train) > _MOST:
            train = np.sort(np.random.default_rng(seed).choice(train, _MOST, replace=False))
        truth, tried = comparison.in_a[train], comparison.in_a[test]
        ways["words (log-odds)"].append(auc(score[test], tried))
        if "best feature" not in ways:
            continue
        ways["activations (probe)"].append(auc(_probe(pile.acts[train], truth, pile.acts[test]), tried))
        taught, asked = (_scaled(pile.value[rows], largest) for rows in (train, test))
        ways["features (probe)"].append(auc(fit_all(taught, truth, asked), tried))
        best = most_different(taught, truth, 1)
        ways["best feature"].append(auc(fit_few(taught[:, best].toarray(), truth, asked[:, best].toarray()), tried))
        if vectors is not None:
            ways["sentence encoder (probe)"].append(auc(fit_all(vectors[train], truth, vectors[test]), tried))
    return {way: _figure(found) for way, found in ways.items()}, missing


def _probe(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores of `test` by a probe on standardised columns."""
    train, test = standardised(train, test)
    return fit_all(train, truth, test)


def _scaled(value: Any, largest: Float[np.ndarray, " feature"]) -> Any:
    """The root of each feature's strength over its largest; `value` is changed."""
    value.data = np.sqrt(value.data / largest[value.indices])
    return value


def _figure(found: list[Any]) -> dict[str, float]:
    if len(found) == 1:
        return {"auc": found[0].value, "low": found[0].low, "high": found[0].high}
    return {"auc": float(np.mean([one.value for one in found]))}

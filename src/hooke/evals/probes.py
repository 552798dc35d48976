"""Probes: linear classifiers on pooled vectors, and how right they are, with intervals from resampled documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from hooke.errors import Missing
from hooke.evals.labelled import Labelled
from hooke.evals.sums import Figure, resampling

Vectors = Any
"""One row per document: a dense array, or scipy's compressed sparse rows."""

METRICS = ("balanced_accuracy", "accuracy", "auroc")
"""What is measured of every probe, in this order."""
_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_VALIDATE_ONE_IN = 4
# Inner products of this many documents are held at once: 128 MiB.
_MAX_ROTATED = 4096


@dataclass(frozen=True)
class Trials:
    """The same questions put to every method: each class against the rest, on several splits, tests weighed by resampled documents."""

    labelled: Labelled
    """The documents."""
    seed: int = 0
    """Split ``i`` has the seed ``seed + i``."""
    splits: int = 3
    """How many times the documents are divided into training and test."""
    weights: Float[np.ndarray, "resample text"] = field(init=False, repr=False)
    """How often each document counts in each resample; the first row is the documents as they are."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", resampling(range(len(self.labelled)), self.seed).numpy())

    def __iter__(self) -> Iterator["ClassSplit"]:
        for number in range(self.splits):
            train, test = self.labelled.split(self.seed + number)
            for label in self.labelled.classes:
                yield ClassSplit(number, label, train, test, self.labelled.truth(label))

    def judge(self, trial: "ClassSplit", scores: Float[np.ndarray, " test"]) -> Float[np.ndarray, "3 resample"]:
        """`METRICS` of the test documents' `scores` (above 0 means "of the class"), for every resample."""
        return judge(scores, trial.truth[trial.test], self.weights[:, trial.test])


@dataclass(frozen=True)
class ClassSplit:
    """One class against the rest on one split."""

    split: int
    """Number of the split."""
    label: str
    """The class."""
    train: Int[np.ndarray, " train"]
    """Training documents."""
    test: Int[np.ndarray, " test"]
    """Test documents."""
    truth: Bool[np.ndarray, " text"]
    """Which documents are of the class."""


def judge(
    scores: Float[np.ndarray, " test"], truth: Bool[np.ndarray, " test"], weights: Float[np.ndarray, "resample test"]
) -> Float[np.ndarray, "3 resample"]:
    """Balanced accuracy, accuracy and area under the ROC curve, with documents counted as often as each row of `weights` says.

    The area is the chance that a document of the class scores above another one, ties counting half. NaN where a resample has no document
    of the class, or no other.
    """
    right = (scores > 0) == truth
    of_class, others = weights[:, truth].sum(1), weights[:, ~truth].sum(1)
    _, group = np.unique(scores, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    positive = np.add.reduceat((weights * truth)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * ~truth)[:, order], starts, axis=1)
    below = np.cumsum(negative, 1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        hits, rejections = weights[:, truth & right].sum(1) / of_class, weights[:, ~truth & right].sum(1) / others
        return np.stack(
            [
                (hits + rejections) / 2,
                weights[:, right].sum(1) / weights.sum(1),
                (positive * below).sum(1) / (of_class * others),
            ]
        )


def figure(values: Float[np.ndarray, " resample"]) -> dict[str, Any]:
    """The figure (the first of `values`) and its interval, ready for JSON."""
    return Figure.of(torch.from_numpy(values)).to_json()


def figures(results: Mapping[str, Sequence[Float[np.ndarray, "3 resample"]]]) -> dict[str, Any]:
    """`METRICS` over all classes and splits, and by class, from what `Trials.judge` gave for each class's splits."""
    by_class = {label: np.mean(parts, axis=0) for label, parts in results.items()}
    overall = np.mean(list(by_class.values()), axis=0)
    return {
        **{name: figure(values) for name, values in zip(METRICS, overall, strict=True)},
        "by_class": {label: {name: figure(row) for name, row in zip(METRICS, values, strict=True)} for label, values in by_class.items()},
    }


def mean_difference(vectors: Vectors, truth: Bool[np.ndarray, " text"]) -> Float[np.ndarray, " feature"]:
    """Mean over the documents of a class minus the mean over the others, of every column."""
    return np.asarray(vectors[truth].mean(0) - vectors[~truth].mean(0)).ravel()


def most_different(
    vectors: Vectors, truth: Bool[np.ndarray, " text"], count: int, *, selection: str = "difference"
) -> Int[np.ndarray, " k"]:
    """The `count` columns that differ most between a class and the rest, most first; equal ones in order.

    ``difference`` compares means (SAEBench's choice, arXiv 2503.09532), ``effect`` means in units of the column's standard deviation, which
    is fairer to coordinates of activations: a few of them are large whatever the text.
    """
    size = np.abs(mean_difference(vectors, truth))
    if selection == "effect":
        exact = vectors.astype(float)
        mean, square = (np.asarray(part.mean(0)).ravel() for part in (exact, _square(exact)))
        variance = square - mean**2
        changes = variance > 1e-12 * square
        size = np.divide(size, np.sqrt(np.where(changes, variance, 1)), out=np.zeros(len(size)), where=changes)
    return np.argsort(-size, kind="stable")[:count]


def fit_few(
    train: Float[np.ndarray, "train k"], truth: Bool[np.ndarray, " train"], test: Float[np.ndarray, "test k"]
) -> Float[np.ndarray, " test"]:
    """The test rows' scores by a logistic regression (L2, C = 1, balanced classes) on a few columns, standardised on the training rows."""
    mean, spread = _moments(train)
    return _regression(1.0).fit((train - mean) / spread, truth).decision_function((test - mean) / spread)


def fit_weights(train: Float[np.ndarray, "train d"], truth: Bool[np.ndarray, " train"]) -> tuple[Float[np.ndarray, " d"], float]:
    """Weights and offset, on the columns as they are, of a logistic regression on standardised columns; C is chosen as in `fit_all`."""
    mean, spread = _moments(train)
    scaled = (train - mean) / spread
    found = _regression(_strength(scaled, truth)).fit(scaled, truth)
    weights = found.coef_[0] / spread
    return weights, float(found.intercept_[0] - mean @ weights)


def fit_all(train: Vectors, truth: Bool[np.ndarray, " train"], test: Vectors) -> Float[np.ndarray, " test"]:
    """The test rows' scores by a logistic regression on all columns; C of 0.01 to 10 does best on every fourth training row."""
    return _regression(_strength(train, truth)).fit(train, truth).decision_function(test)


def standardised(train: Float[np.ndarray, "train d"], test: Float[np.ndarray, "test d"]) -> tuple[np.ndarray, np.ndarray]:
    """Both with each column's mean taken off and its spread set to 1, as they are on the training rows."""
    mean, spread = _moments(train)
    return (train - mean) / spread, (test - mean) / spread


def rotated(train: Vectors, test: Vectors) -> tuple[Vectors, Vectors]:
    """Both in coordinates along which the training rows differ: fewer columns, the same inner products, so the same regression.

    A ridge penalty sees only inner products. With more columns than rows, ``K = X Xᵀ`` (centred) ``= U Λ Uᵀ`` gives the training rows
    as ``U √Λ`` and the test rows as ``K_test U / √Λ``.
    """
    n, d = train.shape
    if not 1 < n < min(d, _MAX_ROTATED):
        return train, test
    inner, across = (dense(part @ train.T) for part in (train, test))
    column, whole = inner.mean(0), inner.mean()
    inner = inner - column - inner.mean(1, keepdims=True) + whole
    across = across - column - across.mean(1, keepdims=True) + whole
    length, axes = np.linalg.eigh(inner)
    real = length > 1e-10 * length[-1]
    root = np.sqrt(length[real])
    return axes[:, real] * root, across @ axes[:, real] / root


def dense(vectors: Vectors) -> np.ndarray:
    """`vectors` as a dense float64 array."""
    return np.asarray(vectors if isinstance(vectors, np.ndarray) else vectors.toarray(), float)


def _square(vectors: Vectors) -> Vectors:
    return vectors**2 if isinstance(vectors, np.ndarray) else vectors.multiply(vectors)


def _moments(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = train.std(0)
    return train.mean(0), np.where(spread > 0, spread, 1.0)


def _strength(train: Vectors, truth: np.ndarray) -> float:
    """The inverse penalty that gives rows put aside the least loss."""
    from sklearn.metrics import log_loss

    aside = np.zeros(len(truth), bool)
    aside[np.argsort(truth, kind="stable")[::_VALIDATE_ONE_IN]] = True
    if len(set(truth[aside])) < 2 or len(set(truth[~aside])) < 2:
        return 1.0
    fits = {c: _regression(c).fit(train[~aside], truth[~aside]) for c in _STRENGTHS}
    weight = np.where(truth, 1 / truth.sum(), 1 / (~truth).sum())[aside]
    return min(_STRENGTHS, key=lambda c: log_loss(truth[aside], fits[c].predict_proba(train[aside]), sample_weight=weight))


def _regression(c: float) -> Any:
    require_sklearn()
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, class_weight="balanced", max_iter=1000)


def require_sklearn() -> None:
    """Raise `Missing` unless scikit-learn is installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise Missing("probing needs scikit-learn, which is not installed: pip install 'hooke[eval]'") from error

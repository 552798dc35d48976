"""Probing: how few features tell classes of text apart, beside what plain classifiers, random features and random weights can do."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from hooke.errors import BadConfig
from hooke.evals.labelled import Labelled
from hooke.evals.pooled import CONTEXT, Pooled, PooledTexts, pool_texts
from hooke.evals.probes import (
    ClassSplit,
    Trials,
    Vectors,
    dense,
    figures,
    fit_all,
    fit_few,
    mean_difference,
    most_different,
    rotated,
    standardised,
)
from hooke.evals.randomised import randomised_model
from hooke.model import Model
from hooke.sae import Sae

_SHOWN_FEATURES = 5


@dataclass(frozen=True)
class ProbingConfig:
    """How to probe."""

    ks: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    """Features (or coordinates) that a sparse probe may use."""
    pools: tuple[str, ...] = ("mean", "max")
    """How a text's tokens become one vector."""
    selections: tuple[str, ...] = ("difference", "effect")
    """How they are chosen, see `probes.most_different`."""
    splits: int = 3
    """Divisions of the documents into training and test, each with a seed of its own."""
    context: int = CONTEXT
    """Tokens read of each text, the beginning-of-sequence token included."""
    randomised: bool = True
    """Whether to compare with a randomly initialised model, which costs a second pass."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or self.splits < 1 or self.context < 2:
            raise BadConfig(f"ks and splits must be at least 1, context 2: {self}.")
        if not self.pools or not set(self.pools) <= {"mean", "max"}:
            raise BadConfig(f"pools={self.pools!r}; known are 'mean' and 'max'.")
        if not self.selections or not set(self.selections) <= {"difference", "effect"}:
            raise BadConfig(f"selections={self.selections!r}; known are 'difference' and 'effect'.")


def run(
    model: Model,
    saes: Sequence[Sae],
    labelled: Labelled,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    config: ProbingConfig | None = None,
    pooled: PooledTexts | None = None,
) -> list[dict[str, Any]]:
    """For each SAE, how well probes on its features tell each class from the rest, beside the baselines; ready for JSON.

    1. Every text's codes are pooled over its tokens, by mean and by maximum.
    2. On the training documents, the k features that differ most between class and rest are chosen, and a logistic regression fitted on
       them (SAEBench, arXiv 2503.09532). Features are standardised, classes weigh the same, and all documents are used.
    3. Each figure is the mean over classes and splits, with a 95 % interval over resampled documents.

    Rows have ``method``, ``pool``, ``selection``, ``k`` (None: all), and the figures of `probes.METRICS`, overall and ``by_class``.
    Methods: ``sae``; ``residual``, the activations it reads; ``random_dictionary``, one of equal width and L0 on them; ``random_model``
    and ``random_model_residual``, such a dictionary on, and the activations of, a model with fresh weights; ``shuffled``, the SAE trained
    on permuted labels; ``tfidf`` and ``tfidf_chars`` on the same stretch of text; ``majority``. `pooled` spares the pass, where
    `pool_texts` has been run for `saes`.
    """
    config = config or ProbingConfig()
    read = partial(pool_texts, saes=saes, texts=labelled.texts, context=config.context, seed=seed, progress=progress)
    pooled = pooled or read(model)
    fresh = read(randomised_model(model, seed=seed), l0=pooled.l0) if config.randomised else None
    suite = _Suite(labelled, Trials(labelled, seed, config.splits), config, pooled, fresh)
    progress("Probing the texts themselves")
    shared = [suite.majority(), *suite.tfidf()]
    out = []
    for number, sae in enumerate(saes):
        progress(f"Probing {sae.name}")
        out.append({"sae": sae.name, **suite.facts(number), "rows": [*suite.rows(number, sae), *shared], "features": suite.chosen(number)})
    return out


@dataclass(frozen=True)
class _Suite:
    """Everything that is the same for all SAEs, and what has been found at each site."""

    labelled: Labelled
    trials: Trials
    config: ProbingConfig
    pooled: PooledTexts
    fresh: PooledTexts | None
    _residual: dict[Any, list[dict[str, Any]]] = field(default_factory=dict)

    def facts(self, number: int) -> dict[str, Any]:
        """What was read, and how it was divided."""
        return {
            "labels": self.labelled.name,
            "documents": len(self.labelled),
            "tokens": self.pooled.tokens,
            "classes": self.labelled.counts,
            "left_out": self.labelled.left_out,
            "unlabelled": self.labelled.unlabelled,
            "seeds": [self.trials.seed + i for i in range(self.trials.splits)],
            "l0": round(self.pooled.l0[number], 3),
            "random_dictionary_l0": round(self.pooled.random_l0[number], 3),
            "random_model_l0": None if self.fresh is None else round(self.fresh.random_l0[number], 3),
        }

    def rows(self, number: int, sae: Sae) -> Iterator[dict[str, Any]]:
        """The figures of one SAE and of what stands in its place."""
        codes = self.pooled.codes[number]
        yield from self._sparse("sae", codes)
        yield from self._whole("sae", codes)
        yield from self._sparse("shuffled", codes, shuffled=True)
        yield from self._at(sae)
        yield from self._sparse("random_dictionary", self.pooled.random[number])
        yield from self._whole("random_dictionary", self.pooled.random[number])
        if self.fresh is not None:
            yield from self._sparse("random_model", self.fresh.random[number])
            yield from self._whole("random_model", self.fresh.random[number])

    def _at(self, sae: Sae) -> list[dict[str, Any]]:
        """What the activations alone give at the sites that `sae` reads; worked out once for all SAEs there."""
        if sae.facts.input_sites not in self._residual:
            acts = self.pooled.acts[sae.facts.input_sites]
            rows = [*self._sparse("residual", acts), *self._whole("residual", acts)]
            if self.fresh is not None:
                rows += self._whole("random_model_residual", self.fresh.acts[sae.facts.input_sites])
            self._residual[sae.facts.input_sites] = rows
        return self._residual[sae.facts.input_sites]

    def _sparse(self, method: str, vectors: Pooled, *, shuffled: bool = False) -> Iterator[dict[str, Any]]:
        ways = list(itertools.product(self.config.pools, self.config.selections))
        for pool, selection in ways[:1] if shuffled else ways:
            matrix = vectors.by(pool)
            ks = [k for k in self.config.ks if k <= matrix.shape[1]]
            results: dict[int, dict[str, list[np.ndarray]]] = {k: {} for k in ks}
            order = np.random.default_rng(self.trials.seed)
            for trial in self.trials:
                truth = trial.truth[trial.train]
                truth = order.permutation(truth) if shuffled else truth
                column = most_different(matrix[trial.train], truth, max(ks, default=0), selection=selection)
                train, test = (dense(matrix[rows][:, column]) for rows in (trial.train, trial.test))
                for k in ks:
                    scores = fit_few(train[:, :k], truth, test[:, :k])
                    results[k].setdefault(trial.label, []).append(self.trials.judge(trial, scores))
            for k in ks:
                yield _row(method, results[k], pool=pool, selection=selection, k=k)

    def _whole(self, method: str, vectors: Pooled) -> Iterator[dict[str, Any]]:
        for pool in self.config.pools:
            matrix = vectors.by(pool)
            yield _row(method, self._results(lambda trial, matrix=matrix: _scaled(matrix[trial.train], matrix[trial.test])), pool=pool)

    def tfidf(self) -> Iterator[dict[str, Any]]:
        """A regression on words, and one on runs of characters, of the text that the model read."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        words, runs = {"ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (3, 5)}
        texts = np.array(self.pooled.texts, dtype=object)
        for method, shape in (("tfidf", words), ("tfidf_chars", runs)):

            def vectors(trial: ClassSplit, shape: dict[str, Any] = shape) -> tuple[Vectors, Vectors]:
                weigh = TfidfVectorizer(min_df=2, sublinear_tf=True, max_features=100_000, **shape)
                try:
                    return weigh.fit_transform(texts[trial.train]), weigh.transform(texts[trial.test])
                except ValueError:  # no term is in two texts: nothing to tell them apart by
                    return np.zeros((len(trial.train), 1)), np.zeros((len(trial.test), 1))

            yield _row(method, self._results(vectors))

    def _results(self, vectors: Callable[[ClassSplit], tuple[Vectors, Vectors]]) -> dict[str, list[np.ndarray]]:
        """What regressions on all columns of `vectors` give; they are made once for each split."""
        results: dict[str, list[np.ndarray]] = {}
        made: dict[int, tuple[Vectors, Vectors]] = {}
        for trial in self.trials:
            if trial.split not in made:
                made = {trial.split: rotated(*vectors(trial))}
            train, test = made[trial.split]
            scores = fit_all(train, trial.truth[trial.train], test)
            results.setdefault(trial.label, []).append(self.trials.judge(trial, scores))
        return results

    def majority(self) -> dict[str, Any]:
        """Always the more frequent answer."""
        results: dict[str, list[np.ndarray]] = {}
        for trial in self.trials:
            answer = 1.0 if trial.truth[trial.train].mean() > 0.5 else -1.0
            results.setdefault(trial.label, []).append(self.trials.judge(trial, np.full(len(trial.test), answer)))
        return _row("majority", results)

    def chosen(self, number: int) -> dict[str, list[dict[str, Any]]]:
        """For each class the features that the mean-pooled sparse probe of the first split takes first, and by how much they differ."""
        matrix = self.pooled.codes[number].mean
        out = {}
        for trial in self.trials:
            if trial.split == 0:
                truth = trial.truth[trial.train]
                difference = mean_difference(matrix[trial.train], truth)
                first = most_different(matrix[trial.train], truth, _SHOWN_FEATURES)
                out[trial.label] = [{"feature": int(i), "difference": round(float(difference[i]), 4)} for i in first]
        return out


def _scaled(train: Vectors, test: Vectors) -> tuple[Vectors, Vectors]:
    """Coordinates are standardised. Of codes the root is taken and each text scaled to length 1, so that no feature drowns the others."""
    if isinstance(train, np.ndarray):
        return standardised(train, test)
    from sklearn.preprocessing import normalize

    return normalize(train.sqrt()), normalize(test.sqrt())


def _row(
    method: str, results: dict[str, list[np.ndarray]], *, pool: str | None = None, selection: str | None = None, k: int | None = None
) -> dict[str, Any]:
    return {"method": method, "pool": pool, "selection": selection, "k": k, **figures(results)}

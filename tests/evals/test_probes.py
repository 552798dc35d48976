import statistics
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from hooke.errors import Missing
from hooke.evals import probes
from hooke.evals.labelled import Labelled


def data(seed: int, n: int = 60, d: int = 8):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    truth[:2] = True, False
    return rng.standard_normal((n, d)) + truth[:, None] * np.linspace(0, 1.5, d), truth


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_judging_agrees_with_scikit_learn_weights_and_ties_included(seed, values):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-values, values, 40).astype(float)
    truth = rng.random(40) < 0.4
    truth[:2] = True, False
    weights = np.concatenate([np.ones((1, 40)), rng.integers(0, 3, (3, 40))])
    weights[:, :2] += 1
    found = probes.judge(scores, truth, weights)
    for row, (balanced, accuracy, area) in zip(weights, found.T, strict=True):
        assert balanced == pytest.approx(balanced_accuracy_score(truth, scores > 0, sample_weight=row))
        assert accuracy == pytest.approx(accuracy_score(truth, scores > 0, sample_weight=row))
        assert area == pytest.approx(roc_auc_score(truth, scores, sample_weight=row))


def test_area_counted_pair_by_pair():
    scores, truth = np.array([0.5, 0.5, -1.0, 2.0, 0.0]), np.array([True, False, False, True, True])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in scores[truth] for n in scores[~truth]]
    assert probes.judge(scores, truth, np.ones((1, 5)))[2, 0] == pytest.approx(np.mean(pairs))


def test_a_draw_without_the_class_has_no_figure_and_does_not_count():
    values = probes.judge(np.array([1.0, -1.0]), np.array([True, False]), np.array([[1.0, 1.0], [0.0, 2.0], [1.0, 3.0]]))
    assert np.isnan(values[0, 1])
    assert probes.figure(values[0]) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_the_interval_of_an_accuracy_is_the_textbook_one():
    pairs = [(str(i), ["ab"[i % 2]]) for i in range(3000)]
    trials = probes.Trials(Labelled.of(pairs, "x"), splits=100)
    trial = next(iter(trials))
    right = np.arange(len(trial.test)) % 5 > 0
    found = probes.figure(trials.judge(trial, np.where(trial.truth[trial.test] == right, 1.0, -1.0))[1])
    assert found["value"] == pytest.approx(0.8)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * (0.8 * 0.2 / 1000) ** 0.5, rel=0.25)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_features_are_chosen_most_different_of_means(seed):
    vectors, truth = data(seed)
    vectors = np.maximum(vectors, 0)
    naive, effect = [], []
    for column in range(vectors.shape[1]):
        inside = [vectors[i, column] for i in range(len(truth)) if truth[i]]
        outside = [vectors[i, column] for i in range(len(truth)) if not truth[i]]
        naive.append(abs(sum(inside) / len(inside) - sum(outside) / len(outside)))
        effect.append(naive[-1] / statistics.pstdev(vectors[:, column]))
    for selection, size in (("difference", naive), ("effect", effect)):
        expected = sorted(range(len(size)), key=lambda i: -size[i])[:3]
        for form in (np.asarray, csr_matrix):
            assert probes.most_different(form(vectors), truth, 3, selection=selection).tolist() == expected


def test_a_column_that_never_changes_is_chosen_last():
    vectors, truth = data(2)
    vectors[:, 7] = 4
    for form in (np.asarray, csr_matrix):
        assert probes.most_different(form(vectors), truth, 8, selection="effect")[-1] == 7


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_rotating_changes_nothing_that_a_ridge_regression_sees(form):
    vectors, truth = data(3, n=60, d=200)
    train, test = form(vectors[:40]), form(vectors[40:])
    few, other = probes.rotated(train, test)
    assert few.shape[1] < 40
    fits = [LogisticRegression(C=0.5, tol=1e-8, max_iter=5000).fit(part, truth[:40]) for part in (train, few)]
    np.testing.assert_allclose(fits[1].decision_function(other), fits[0].decision_function(test), atol=1e-4)


def test_what_has_fewer_columns_than_rows_is_not_rotated():
    vectors, _ = data(1)
    assert probes.rotated(vectors, vectors[:3])[0] is vectors


def test_weights_on_raw_columns_are_the_regression_on_standardised_ones():
    vectors, truth = data(5, n=200)
    weights, offset = probes.fit_weights(vectors * 1000 + 7, truth)
    scores = probes.fit_all(*[probes.standardised(vectors, vectors)[0], truth, probes.standardised(vectors, vectors)[1]])
    np.testing.assert_allclose((vectors * 1000 + 7) @ weights + offset, scores, atol=1e-3)


def test_a_constant_column_is_no_trouble():
    vectors, truth = data(2)
    vectors[:, 0] = 4
    assert np.isfinite(probes.fit_few(vectors, truth, vectors)).all()


def test_the_penalty_is_chosen_on_rows_put_aside():
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2 == 0
    noise = rng.standard_normal((200, 300))
    assert probes._strength(noise, truth) == 0.01  # nothing to learn: as strong as it gets
    clear = noise.copy()
    clear[:, 0] += 20 * truth
    assert probes._strength(clear[:, :2], truth) == 10.0


def test_scikit_learn_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(Missing, match=r"pip install 'hooke\[eval\]'"):
        probes.require_sklearn()

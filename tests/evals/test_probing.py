import itertools
import json

import pytest
import torch
from evals.news import CLASSES, planted

from hooke import tiny
from hooke.errors import BadConfig, ShapeMismatch
from hooke.evals import probing
from hooke.evals.labelled import Labelled
from hooke.evals.probing import ProbingConfig
from hooke.sae import Sae

CONFIG = ProbingConfig(ks=(1, 2), splits=2)


@pytest.fixture(scope="module")
def result(model):
    return probing.run(model, [tiny.sae()], planted(), config=CONFIG)[0]


def rows(result, method, **facts):
    return [row for row in result["rows"] if row["method"] == method and all(row[key] == value for key, value in facts.items())]


def test_one_feature_of_the_planted_sae_tells_each_concept(result):
    found = rows(result, "sae", k=1)
    assert {(row["pool"], row["selection"]) for row in found} == set(itertools.product(("mean", "max"), ("difference", "effect")))
    for row in found:
        assert row["balanced_accuracy"] == row["accuracy"] == row["auroc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
        assert set(row["by_class"]) == set(CLASSES)
    concepts = list(tiny.concepts)
    assert {label: found[0]["feature"] for label, found in result["features"].items()} == {c: concepts.index(c) for c in CLASSES}


def test_shuffled_labels_give_chance(result):
    areas = [row["auroc"]["value"] for row in rows(result, "shuffled")]
    assert len(areas) == 2  # k = 1 and 2
    # On 36 test documents of which a third are positive, an area by chance has a standard deviation of 0.1.
    assert sum(areas) / len(areas) == pytest.approx(0.5, abs=0.2)


def test_features_that_were_not_learnt_do_no_better(result):
    """The planted ones are perfect; of many random ones the best can be as well on so little text, but they are not on average."""

    def accuracies(method: str) -> list[float]:
        return [row["balanced_accuracy"]["value"] for row in rows(result, method, k=1)]

    for method in ("random_dictionary", "random_model"):
        assert max(accuracies(method)) <= max(accuracies("sae"))
        assert min(accuracies(method)) < min(accuracies("sae"))


def test_majority_and_plain_classifiers(result):
    (majority,) = rows(result, "majority")
    assert majority["balanced_accuracy"]["value"] == majority["auroc"]["value"] == 0.5
    assert majority["accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-5)
    for method in ("residual", "sae", "tfidf"):
        assert min(row["auroc"]["value"] for row in rows(result, method, k=None)) > 0.95
    assert {row["method"] for row in result["rows"]} == {
        "sae", "shuffled", "residual", "random_dictionary", "random_model", "random_model_residual", "majority", "tfidf", "tfidf_chars"
    }  # fmt: skip


def test_what_was_read_is_said_and_is_json(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["documents"] == 72
    assert result["classes"] == dict.fromkeys(sorted(CLASSES), 24)
    assert result["seeds"] == [0, 1]
    assert result["random_dictionary_l0"] == pytest.approx(result["l0"], rel=0.05)
    assert result["random_model_l0"] == pytest.approx(result["l0"], rel=0.05)


def test_the_same_seed_gives_the_same_figures(model, result):
    quick = ProbingConfig(ks=(1,), pools=("mean",), splits=1, randomised=False)
    first, again, other = (probing.run(model, [tiny.sae()], planted(words=1), config=quick, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert not [row for row in first[0]["rows"] if row["method"].startswith("random_model")]
    assert first[0]["random_model_l0"] is None


def test_texts_that_share_no_word_tell_a_word_count_nothing(model):
    news = Labelled.of([(f"{number} {label}{number}", [label]) for number in range(20) for label in "ab"], "numbers")
    quick = ProbingConfig(ks=(1,), pools=("mean",), splits=1, randomised=False)
    (row,) = rows(probing.run(model, [tiny.sae()], news, config=quick)[0], "tfidf")
    assert row["auroc"]["value"] == pytest.approx(0.5, abs=0.3)


def test_an_sae_of_another_width(model):
    wide = Sae(torch.zeros(5, 3), torch.zeros(3), torch.zeros(3, 5), torch.zeros(5), torch.zeros(3), tiny.sae().facts)
    with pytest.raises(ShapeMismatch, match="reads width 5"):
        probing.run(model, [wide], planted())


@pytest.mark.parametrize("bad", [{"ks": ()}, {"ks": (0,)}, {"splits": 0}, {"context": 1}, {"pools": ("sum",)}, {"selections": ("auc",)}])
def test_settings_that_cannot_be(bad):
    with pytest.raises(BadConfig, match=next(iter(bad))):
        ProbingConfig(**bad)

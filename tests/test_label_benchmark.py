"""Labels of a sample of features, of an SAE and of what learnt nothing, made as those of an atlas are."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hooke import tiny
from hooke.atlas.records import NO_MEANING, TOO_RARE, Label, Score
from hooke.errors import BadFile
from hooke.text.corpus import Corpus

SPEC = importlib.util.spec_from_file_location("label_benchmark", Path(__file__).resolve().parent.parent / "benchmarks" / "labels.py")
assert SPEC is not None
assert SPEC.loader is not None
labels = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(labels)

pytestmark = pytest.mark.usefixtures("one_thread")


def write_corpus(path) -> Corpus:
    rng = np.random.default_rng(5)
    words = [word for group in tiny.concepts.values() for word in group] + ["the", "a", "of", "in", "to", "and", "for", "on", "with"]
    lines = [{"text": " ".join(rng.choice(words, 25))} for _ in range(150)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Corpus(path.stem, path)


def test_planted_features_have_good_labels_and_random_ones_are_measured_alike(tmp_path):
    model, sae, corpus = tiny.model(), tiny.sae(), write_corpus(tmp_path / "planted.jsonl")
    found = labels.sample_labels(model, [sae], [corpus], tokens=2500, features=12)[sae.name]
    shares = labels.Shares.of(found.labels)
    assert shares.features == len(found.labels) == len(found.one_token) <= 12
    assert shares.good > 0.6
    # A planted concept has several words: one of them does not tell it.
    pairs = [(label.token.value, own.value) for label, own in zip(found.labels, found.one_token, strict=True) if label.token and own]
    assert pairs
    assert all(rival <= ours + 0.1 for ours, rival in pairs)
    assert sum(ours for ours, _ in pairs) > sum(rival for _, rival in pairs)
    assert labels.sample_labels(model, [sae], [corpus], tokens=2500, features=12)[sae.name] == found
    fresh, random = labels.of_random_weights(model, [sae], [found.l0], [corpus])
    assert "random weights" in fresh.name
    others = labels.sample_labels(fresh, random, [corpus], tokens=2500, features=12)[random[0].name]
    assert others.l0 == pytest.approx(found.l0, rel=0.3)
    assert labels.Shares.of(others.labels).features == 12


def test_no_text(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    with pytest.raises(BadFile, match="empty"):
        labels.sample_labels(tiny.model(), [tiny.sae()], [Corpus("empty", path)])


def scored(kind: str, value: float, control: float | None = None, strong: float | None = None) -> Label:
    text = "x" if kind != "none" else NO_MEANING
    return Label(text, kind, {}, Score(value, value, value, 9, 9), control=control, strong=strong)


def test_shares_are_of_all_features():
    given = [
        scored("word", 0.9),
        scored("word", 0.8, 0.52),
        scored("near", 0.75, strong=0.85),
        scored("none", 0.5, 0.48),
        Label(TOO_RARE, "none"),
    ]
    found = labels.Shares.of(given)
    assert (found.features, found.rare, found.named, found.good, found.strong) == (5, 0.2, 0.6, 0.4, 0.2)
    assert found.mean == (0.9 + 0.8 + 0.75 + 0.5) / 4
    assert found.control == 0.5


def test_no_labels():
    assert labels.Shares.of([]) == labels.Shares(0, 0.0, 0.0, 0.0, 0.0, None, None)

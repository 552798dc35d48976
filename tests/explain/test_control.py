"""Labels of a sample of features, of an SAE and of what learnt nothing, made as those of an atlas are."""

import json

import numpy as np
import pytest

from hooke import tiny
from hooke.errors import BadFile
from hooke.explain.control import of_random_weights, sample_labels
from hooke.explain.shares import Shares
from hooke.text.corpus import Corpus

pytestmark = pytest.mark.usefixtures("one_thread")


def write_corpus(path) -> Corpus:
    rng = np.random.default_rng(5)
    words = [word for group in tiny.concepts.values() for word in group] + ["the", "a", "of", "in", "to", "and", "for", "on", "with"]
    lines = [{"text": " ".join(rng.choice(words, 25))} for _ in range(150)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Corpus(path.stem, path)


def test_planted_features_have_good_labels_and_random_ones_are_measured_alike(tmp_path):
    model, sae, corpus = tiny.model(), tiny.sae(), write_corpus(tmp_path / "planted.jsonl")
    found = sample_labels(model, [sae], [corpus], tokens=2500, features=12)[sae.name]
    shares = Shares.of(found.labels)
    assert shares.features == len(found.labels) == len(found.one_token) <= 12
    assert shares.good > 0.6
    # A planted concept has several words: one of them does not tell it.
    pairs = [(label.token.value, own.value) for label, own in zip(found.labels, found.one_token, strict=True) if label.token and own]
    assert pairs
    assert all(rival <= ours + 0.1 for ours, rival in pairs)
    assert sum(ours for ours, _ in pairs) > sum(rival for _, rival in pairs)
    assert sample_labels(model, [sae], [corpus], tokens=2500, features=12)[sae.name] == found
    fresh, random = of_random_weights(model, [sae], [found.l0], [corpus])
    assert "random weights" in fresh.name
    others = sample_labels(fresh, random, [corpus], tokens=2500, features=12)[random[0].name]
    assert others.l0 == pytest.approx(found.l0, rel=0.3)
    assert Shares.of(others.labels).features == 12


def test_no_text(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    with pytest.raises(BadFile, match="empty"):
        sample_labels(tiny.model(), [tiny.sae()], [Corpus("empty", path)])

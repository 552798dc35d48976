import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from evals.news import CLASSES, planted
from sklearn.metrics import balanced_accuracy_score

from hooke import tiny
from hooke.errors import BadConfig
from hooke.evals import tpp
from hooke.evals.probes import fit_weights
from hooke.evals.tpp import TppConfig

CONFIG = TppConfig(ns=(1, 3), splits=2)


@pytest.fixture(scope="module")
def news():
    return planted(words=1)


@pytest.fixture(scope="module")
def result(model, news):
    return tpp.run(model, [tiny.sae()], news, config=CONFIG)[0]


def naive(model, sae, news, n, split):
    """TPP with every token spliced, one text at a time: its two means."""
    acts = []
    for ids in model.tokenizer.encode(news.texts):
        acts.append(model.capture(torch.tensor([ids]), [sae.site])[sae.site][0, 1:].double())
    codes = [sae.encode(own.float()).dense().double() for own in acts]
    pooled, features = (np.stack([own.mean(0).numpy() for own in rows]) for rows in (acts, codes))
    train, test = news.split(split)
    decoder = sae.W_dec.double().numpy()
    probes = {label: fit_weights(pooled[train], news.truth(label)[train]) for label in CLASSES}

    def accuracy(label, vectors):
        weights, offset = probes[label]
        return balanced_accuracy_score(news.truth(label)[test], vectors @ weights + offset > 0)

    on, off = [], []
    for label in CLASSES:
        truth = news.truth(label)[train]
        effect = (features[train][truth].mean(0) - features[train][~truth].mean(0)) * (decoder @ probes[label][0])
        chosen = [i for i in np.argsort(-effect)[:n] if effect[i] > 0]
        spliced = []
        for i in test:
            kept = codes[i].clone()
            kept[:, chosen] = 0
            error = acts[i] - sae.decode(sae.encode(acts[i].float())).double()
            spliced.append((kept @ sae.W_dec.double() + sae.b_dec.double() + error).mean(0).numpy())
        for other in CLASSES:
            lost = accuracy(other, pooled[test]) - accuracy(other, np.stack(spliced))
            (on if other == label else off).append(lost)
    return np.mean(on), np.mean(off)


@pytest.mark.parametrize("n", [1, 3])
def test_pooled_vectors_say_what_splicing_every_token_says(model, news, result, n):
    expected = np.mean([naive(model, tiny.sae(), news, n, split) for split in (0, 1)], axis=0)
    (row,) = [row for row in result["rows"] if (row["method"], row["n"]) == ("sae", n)]
    assert row["on_target"]["value"] == pytest.approx(expected[0], abs=1e-5)
    assert row["off_target"]["value"] == pytest.approx(expected[1], abs=1e-5)
    assert row["tpp"]["value"] == pytest.approx(expected[0] - expected[1], abs=2e-5)


def test_a_concept_taken_out_spoils_its_own_probe(result):
    by = {(row["method"], row["n"]): row for row in result["rows"]}
    assert by["sae", 1]["tpp"]["low"] > by["random_dictionary", 1]["tpp"]["high"]
    assert by["sae", 1]["on_target"]["value"] > 0.3
    assert all(found["value"] == 1.0 for found in result["probes"].values())
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_only_features_that_help_are_taken_out():
    assert tpp.helpful(np.array([0.1, -2.0, 0.5, 0.0]), 3).tolist() == [2, 0]


def test_the_same_seed_gives_the_same_figures(model, news, result):
    assert tpp.run(model, [tiny.sae()], news, config=CONFIG)[0] == result


def test_a_transcoder_is_skipped_with_the_reason(model, news):
    sae = tiny.sae()
    transcoder = replace(sae, facts=replace(sae.facts, writes=["resid_post.1"]))
    (found,) = tpp.run(model, [transcoder], news, config=CONFIG)
    assert "rows" not in found
    assert "writes another site" in found["skipped"]


@pytest.mark.parametrize("bad", [{"ns": ()}, {"ns": (0,)}, {"splits": 0}, {"context": 1}])
def test_settings_that_cannot_be(bad):
    with pytest.raises(BadConfig, match=next(iter(bad))):
        TppConfig(**bad)

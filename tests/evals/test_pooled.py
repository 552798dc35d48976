from dataclasses import replace

import numpy as np
import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig
from hooke.evals.pooled import pool_texts

TEXTS = ["rain", "the bank says profit is up", "", "goal goal match of the week after the storm in the court"]


def alone(model, sae, text, context):
    """One text by itself, with nothing shared: pooled activations and codes, token count and active features."""
    ids = model.tokenizer.encode([text])[0][:context]
    acts = model.capture(torch.tensor([ids]), [sae.site])[sae.site][0, 1:].float()
    if not len(acts):
        return [np.zeros(sae.d_in)] * 2 + [np.zeros(sae.d_sae)] * 2 + [0, 0]
    codes = sae.encode(acts).dense()
    return [acts.mean(0), acts.max(0).values, codes.mean(0), codes.max(0).values, len(acts), int((codes > 0).sum())]


@pytest.mark.parametrize("batch_tokens", [8, 4096])
@pytest.mark.parametrize("context", [4, 128])
def test_every_text_as_if_it_were_alone(model, batch_tokens, context, monkeypatch):
    monkeypatch.setattr("hooke.evals.pooled._BATCH_TOKENS", batch_tokens)
    sae = tiny.sae()
    found = pool_texts(model, [sae], TEXTS, context=context)
    single = [alone(model, sae, text, context) for text in TEXTS]
    acts, codes = found.acts[sae.facts.input_sites], found.codes[0]
    for got, column in ((acts.mean, 0), (acts.max, 1), (codes.mean.toarray(), 2), (codes.max.toarray(), 3)):
        np.testing.assert_allclose(got, np.stack([np.asarray(row[column]) for row in single]), atol=1e-5)
    assert found.tokens == sum(row[4] for row in single)
    assert found.l0 == [pytest.approx(sum(row[5] for row in single) / found.tokens)]
    assert found.texts[3].startswith("goal goal match")
    assert (found.texts[3] == TEXTS[3]) == (context == 128)


def test_one_pass_serves_all_saes(model, monkeypatch):
    passes = []
    capture = model.capture
    monkeypatch.setattr(model, "capture", lambda ids, sites: passes.append(1) or capture(ids, sites))
    one, told = tiny.sae(), []
    other = replace(one, facts=replace(one.facts, name="tiny/resid_post.0/64b"))
    found = pool_texts(model, [one, other], TEXTS, progress=told.append)
    assert len(passes) == 1
    assert told == [f"Reading {len(TEXTS)} labelled texts"]
    assert (len(found.codes), len(found.random), len(found.acts)) == (2, 2, 1)


def test_a_random_dictionary_is_as_sparse_as_its_sae(model):
    found = pool_texts(model, [tiny.sae()], TEXTS)
    assert found.random_l0[0] == pytest.approx(found.l0[0], abs=0.1)
    assert found.random[0].mean.shape == found.codes[0].mean.shape


def test_for_another_model_only_random_dictionaries(model):
    found = pool_texts(model, [tiny.sae()], TEXTS, l0=[5.0])
    assert (found.codes, found.l0) == ([], [])
    assert found.random_l0[0] == pytest.approx(5, abs=0.1)


def test_texts_without_a_token(model):
    with pytest.raises(BadConfig, match="none of the 2 texts has a token within its first 128"):
        pool_texts(model, [tiny.sae()], ["", ""])

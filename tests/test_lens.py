"""The lens on a planted model: the last layer is the model itself, others are what a plain computation gives; what is planted is found."""

import dataclasses

import numpy as np
import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig, BadFile, LimitReached
from hooke.lens import LensSae, LensText, in_order, read_lens
from hooke.lens.jacobian import JacobianFit, jacobian_rows
from hooke.model import Model
from hooke.names import Site
from hooke.sae import Sae

TEXT = "The bank and the storm"
NAMES = list(tiny.concepts)


def known(sae: Sae) -> LensSae:
    density = np.where(np.arange(sae.d_sae) == tiny.UBIQUITOUS, 1.0, 0.01)
    return LensSae(sae, np.full(sae.d_sae, 8.0), density)


def test_the_last_layer_is_what_the_model_says(model: Model):
    read = read_lens(model, TEXT)
    logits = model.logits(TEXT)[0, 1:]
    last = read.layers[-1]
    assert [read.layers[0].layer, last.layer] == [0, model.n_layers - 1]
    assert max(last.kl) < 1e-6
    assert set(last.rank) == {1}
    for pos, row in enumerate(logits):
        best = row.softmax(-1).topk(5)
        assert last.words[pos] == [model.tokenizer.pieces([token])[0] for token in best.indices.tolist()]
        assert np.allclose(last.probabilities[pos], best.values, atol=1e-4)
    assert all(0 <= layer <= model.n_layers - 1 for layer in read.settled)


def test_a_layer_is_the_head_on_what_stands_there(model: Model):
    read = LensText(model, TEXT).layer(0)
    acts = model.capture(TEXT, "resid_post.0")["resid_post.0"][0, 1:]
    q = model.hf.lm_head(model.hf.model.norm(acts)).log_softmax(-1)
    p = model.logits(TEXT)[0, 1:].log_softmax(-1)
    assert np.allclose(read.kl, (p.exp() * (p - q)).sum(1).detach(), atol=1e-4)
    first = p.argmax(1)
    assert read.rank == [int((row > row[token]).sum()) + 1 for row, token in zip(q, first, strict=True)]


def test_features_are_those_planted_and_carried_where_the_next_layer_has_them_too(model: Model, sae: Sae):
    above = dataclasses.replace(sae, facts=dataclasses.replace(sae.facts, name="tiny/resid_post.1/64", reads=["resid_post.1"]))
    found = read_lens(model, TEXT, [known(above), known(sae)]).saes
    assert [(one.layer, one.sae) for one in found] == [(0, sae.name), (1, above.name)]
    at = {token.strip().lower(): own for token, own in zip(LensText(model, TEXT).tokens, found[0].top, strict=True)}
    assert at["bank"].feature == f"{sae.name}/{NAMES.index('finance')}"
    assert at["storm"].feature == f"{sae.name}/{NAMES.index('weather')}"
    assert at["storm"].relative == pytest.approx(1, abs=0.1)
    low, high = found
    assert (low.born, low.carried, low.dropped) == (None, None, None)
    assert high.carried == high.active
    assert not any(high.born)
    assert high.newest == [None] * len(high.active)
    assert [a - c for a, c in zip(low.active, high.carried, strict=True)] == high.dropped


def test_features_that_continue_nothing_are_born(model: Model, sae: Sae):
    turned = torch.roll(sae.W_dec, 1, 1)
    turned -= (turned * sae.W_dec).sum(1, keepdim=True) * sae.W_dec
    facts = dataclasses.replace(sae.facts, name="tiny/resid_post.1/64", reads=["resid_post.1"])
    above = dataclasses.replace(sae, W_dec=turned, facts=facts)
    mine = sae.encode(LensText(model, TEXT).hidden(0))
    rows = [torch.nn.functional.normalize(one.W_dec, dim=1) for one in (above, sae)]
    high = read_lens(model, TEXT, [known(sae), known(above)]).saes[1]
    codes = above.encode(LensText(model, TEXT).hidden(1))
    for pos in range(len(high.active)):  # pair by pair
        ours, theirs = codes.feature[codes.row == pos].tolist(), mine.feature[mine.row == pos].tolist()
        carried = sum(any(float(rows[0][a] @ rows[1][b]) >= 0.5 for b in theirs) for a in ours)
        assert (high.carried[pos], high.born[pos]) == (carried, len(ours) - carried)


def test_what_is_carried_by_chance_is_what_meets_the_features_of_other_tokens(model: Model, sae: Sae):
    above = dataclasses.replace(sae, facts=dataclasses.replace(sae.facts, name="tiny/resid_post.1/64", reads=["resid_post.1"]))
    text = LensText(model, TEXT)
    high = text.features(known(above), known(sae))
    rows = torch.nn.functional.normalize(sae.W_dec, dim=1)
    mine, below = above.encode(text.hidden(1)), sae.encode(text.hidden(0))
    for pos in range(len(text.tokens)):
        ours, others = mine.feature[mine.row == pos].tolist(), [other for other in range(len(text.tokens)) if other != pos]
        met = [any(float(rows[a] @ rows[b]) >= 0.5 for b in below.feature[below.row == other].tolist()) for a in ours for other in others]
        assert high.by_chance[pos] == pytest.approx(sum(met) / len(others), abs=1e-3)
    assert LensText(model, "bank").features(known(above), known(sae)).by_chance is None


def test_what_cannot_be_read_is_said(model: Model, sae: Sae):
    with pytest.raises(BadConfig, match="no token"):
        read_lens(model, "")
    with pytest.raises(LimitReached, match="at most 128"):
        read_lens(model, "the bank " * 70)
    with pytest.raises(BadConfig, match="from 1 to 20"):
        LensText(model, TEXT).layer(0, 21)
    with pytest.raises(BadConfig, match="one layer"):
        in_order([known(sae), known(sae)])
    elsewhere = dataclasses.replace(sae, facts=dataclasses.replace(sae.facts, reads=["mlp_out.0"]))
    with pytest.raises(BadConfig, match="residual stream"):
        in_order([known(elsewhere)])


# jacobian


def test_rows_of_the_jacobian_are_finite_differences(model: Model):
    ids = torch.tensor(model.tokenizer.encode([TEXT])[0])
    rows, column, step = [3, 11], 5, 1e-2
    found = jacobian_rows(model, ids, rows)
    total = torch.zeros(2)
    for pos in range(1, len(ids)):
        moved = []
        for sign in (1, -1):

            def put(acts, pos=pos, sign=sign):
                acts = acts.clone()
                acts[0, pos, column] += sign * step
                return acts

            with model.edit(Site(0, "resid_post"), put):
                last = model.capture(ids[None], "resid_post.1")["resid_post.1"]
            moved.append(last[0, 1:, rows].sum(0))
        total += (moved[0] - moved[1]) / (2 * step)
    assert found.shape == (1, 2, tiny.D_MODEL)
    assert torch.allclose(found[0, :, column], total / (len(ids) - 1), atol=2e-3)


def test_a_fit_goes_on_where_it_stopped(model: Model, tmp_path):
    texts = [torch.tensor(model.tokenizer.encode([text])[0]) for text in (TEXT, "the judge of the court", "a vote")]
    whole, part = JacobianFit.begun(model), JacobianFit.begun(model)
    for ids in texts:
        whole.add(model, ids, 24)
    part.add(model, texts[0], 24)
    part.save(tmp_path / "fit.safetensors")
    part = JacobianFit.load(tmp_path / "fit.safetensors")
    for ids in texts[part.done :]:
        part.add(model, ids, 24)
    assert torch.equal(part.jacobians, whole.jacobians)
    hidden = torch.randn(3, tiny.D_MODEL, generator=torch.Generator().manual_seed(0))
    by_hand = torch.stack([(whole.sums[0] / whole.texts[:, None]) @ row for row in hidden])
    assert torch.allclose(whole.transported(hidden, 0), by_hand, atol=1e-5)
    assert whole.transported(hidden, 1) is hidden
    assert int(whole.texts.sum()) == 72
    assert sorted(whole.texts.tolist()) == [2] * 24 + [3] * 8  # each has its turn
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadFile):
        JacobianFit.load(tmp_path / "other.safetensors")

"""Shares against their formula; gradients against those of whole windows taken one token at a time."""

import math

import pytest
import torch
from evals import reading

from hooke import tiny
from hooke.codes import Codes
from hooke.errors import HookeError
from hooke.evals.uniformity import _batch, shares, uniformity
from hooke.text.corpus import Window


def test_shares_are_the_entropy_of_what_features_do():
    dense = torch.tensor([[1.0, 1.0, 1.0, 0.0], [3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    W_dec, gradient = torch.eye(4), torch.ones(3, 4)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    expected = [[1.0, 3.0, 1.0], [math.exp(entropy) / 2, math.exp(entropy), 1.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(shares(Codes.from_dense(dense), W_dec, gradient), torch.tensor(expected, dtype=torch.float64))


def test_one_token_is_attributed_to_its_own_features_alone():
    model, sae = tiny.model(), tiny.sae()
    rows = [window.ids for window in reading.windows(model, 4)]
    targets = torch.tensor([20, 30, 40, 50])
    (found,) = _batch(model, [sae], rows, targets, sae.facts.input_sites)
    for i, ids in enumerate(rows):
        kept = {}

        def leaf(acts, kept=kept):
            kept["x"] = acts.detach().requires_grad_()
            return kept["x"]

        with torch.enable_grad(), model.edit(sae.site, leaf):
            logits = model.hf(input_ids=torch.tensor([ids])).logits[0, -1]
            (logits[targets[i]] - logits.mean()).backward()
        codes = sae.encode(kept["x"][0, -1:].detach())
        y = (codes.value * (sae.W_dec[codes.feature] @ kept["x"].grad[0, -1])).double().abs()
        p = y / y.sum()
        effective = float((-(p * p.log()).sum()).exp())
        assert found[i].tolist() == pytest.approx([effective / len(y), effective, 1.0], rel=1e-4)


def test_uniformity_lies_between_its_bounds_and_several_sites_share_a_pass():
    model = tiny.model()
    found = uniformity(model, [tiny.sae(), reading.identity("mlp_out.1")], reading.windows(model, 20), batch=8)
    for figures in found:
        assert figures["tokens"].value == 20
        assert 0 < figures["uniformity"].low <= figures["uniformity"].value <= figures["uniformity"].high <= 1
        assert figures["effective_l0"].value >= 1


def test_windows_without_a_next_token_are_refused():
    with pytest.raises(HookeError, match="no window has a token with another after it"):
        uniformity(tiny.model(), [tiny.sae()], [Window("a", 0, [2, 20])])

"""What people give a model to read: texts and ids in every form come to the same activations, and what is neither is said."""

import re
from typing import Any

import pytest
import torch

from hooke.errors import BadConfig, HookeError, UnknownName
from hooke.model import Model
from hooke.model.inputs import read_tokens
from hooke.names import Site

TEXTS = ["the storm hit the bank", "rain"]
SITE = "resid_post.1"


def test_a_text_or_its_ids_in_any_form_are_the_same_reading(model: Model) -> None:
    rows = model.tokenizer.encode(TEXTS[:1])
    wanted = model.capture(torch.tensor(rows), [SITE])[SITE]
    for form in (TEXTS[0], TEXTS[:1], tuple(TEXTS[:1]), rows, rows[0], torch.tensor(rows[0]), torch.tensor(rows, dtype=torch.int32)):
        assert torch.equal(model.capture(form, SITE)[SITE], wanted)
        assert torch.equal(model.loss(form), model.loss(torch.tensor(rows)))


def test_texts_of_other_lengths_are_padded_and_the_padding_is_said(model: Model) -> None:
    acts, loss, logits = model.capture(TEXTS, ["resid_post.0", SITE]), model.loss(TEXTS), model.logits(TEXTS)
    lengths = [len(row) for row in model.tokenizer.encode(TEXTS)]
    assert acts.keep.tolist() == [[0 < pos < length for pos in range(max(lengths))] for length in lengths]  # 0: beginning of sequence
    for number, (text, length) in enumerate(zip(TEXTS, lengths, strict=True)):
        for site in acts:
            assert torch.allclose(acts[site][number, :length], model.capture(text, site)[site][0], atol=1e-5)
        assert torch.allclose(loss[number, : length - 1], model.loss(text)[0], atol=1e-5)
        assert bool(loss[number, length - 1 :].isnan().all())
        assert torch.allclose(logits[number, :length], model.logits(text)[0], atol=1e-4)
    assert logits.dtype == torch.float32
    assert torch.allclose(model.logits(TEXTS[0]), model.hf(input_ids=torch.tensor(model.tokenizer.encode(TEXTS[:1]))).logits, atol=1e-5)


def test_captured_sites_answer_to_their_names(model: Model) -> None:
    acts = model.capture(TEXTS, ["resid_post.1", "mlp_out.0"])
    for name in ("resid_post.1", "blocks.1.hook_resid_post", Site(1, "resid_post")):
        assert acts[name] is acts["resid_post.1"]
        assert name in acts
    assert set(acts) == {Site(0, "mlp_out"), Site(1, "resid_post")}
    assert len(dict(acts)) == len(acts) == 2
    assert "resid_post.0" not in acts
    assert 12 not in acts
    assert acts.get("resid_post.0") is None
    with pytest.raises(
        UnknownName, match=re.escape("unknown site here 'resid_post.0'. Did you mean 'resid_post.1'? Known: mlp_out.0, resid_")
    ):
        acts["resid_post.0"]
    assert repr(model.capture("rain", "resid_post.1")) == "Activations(resid_post.1: [1, 2, 32])"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there is nothing to read"),
        (torch.zeros(1, 2), "token ids are whole numbers, [batch, pos]; this tensor is torch.float32 [1, 2]"),
        (torch.zeros(1, 2, 3, dtype=torch.int64), "this tensor is torch.int64 [1, 2, 3]"),
        (["rain", None], "item 1 is None. Give a text, several texts"),
        ([[1, 2], ["a"]], "item 1 is ['a']"),
        ([1, 99_999], "token ids run from 1 to 99999; this tokenizer has 0 to"),
        (torch.tensor([[1, -1]]), "token ids run from -1 to 1"),
    ],
)
def test_what_is_neither_text_nor_ids_is_said(model: Model, given: Any, said: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(said)):
        read_tokens(given, model.tokenizer)


def test_a_model_says_what_it_is(model: Model) -> None:
    assert repr(model) == f"Model('tiny': gemma3_text, 2 layers, d_model 32, vocabulary {len(model.tokenizer)}, float32 on cpu)"


def test_every_error_here_is_one_of_ours(model: Model) -> None:
    with pytest.raises(HookeError):
        model.capture("rain", "resid_post.9")

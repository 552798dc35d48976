"""The real Gemma 3 270M and the pack's real SAEs, end to end."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import hooke
from hooke.model import Model
from hooke.model.carried import CARRIED, _join
from hooke.sae import Sae
from hooke.sae.packs import installed_saes

pytestmark = pytest.mark.real

TEXTS = ["Central bank holds rates as inflation cools for third month", "Striker scores twice as underdogs win the cup final"]


@pytest.fixture(scope="module")
def gemma() -> Model:
    return Model.load("gemma-3-270m", dtype="float32")


def ids_of(model: Model) -> torch.Tensor:
    return torch.tensor([ids[:11] for ids in model.tokenizer.encode(TEXTS)])


@pytest.mark.exhaustive
def test_logits_equal_those_of_the_independent_gguf_loader(gemma: Model, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(_join("gemma-3-270m", CARRIED["gemma-3-270m"]))
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    for name, weight in gemma.hf.state_dict().items():
        assert torch.equal(weight, reference.state_dict()[name].bfloat16().float()), name
    with torch.inference_mode():
        expected = reference(ids_of(gemma)).logits
        # The same weights, rounded as ours are: what is left is nothing.
        reference.load_state_dict({name: weight.bfloat16().float() for name, weight in reference.state_dict().items()})
        torch.testing.assert_close(gemma.hf(ids_of(gemma)).logits, reference(ids_of(gemma)).logits, atol=1e-4, rtol=0)
        # And against the unrounded weights no more than bfloat16 rounding explains.
        assert (gemma.hf(ids_of(gemma)).logits - expected).abs().max() < 0.5


def test_capture_equals_hidden_states(gemma: Model) -> None:
    sites = [f"resid_post.{layer}" for layer in (0, 5, 9, 12, 15)]
    acts = gemma.capture(ids_of(gemma), sites)
    with torch.inference_mode():
        states = gemma.hf(ids_of(gemma), output_hidden_states=True).hidden_states
    for site, value in acts.items():
        assert torch.equal(value, states[site.layer + 1]), site


def test_the_pack_rebuilds_what_the_model_does(gemma: Model) -> None:
    rows = [row for row in installed_saes() if row.facts.model == "gemma-3-270m"]
    assert [str(row.facts.site) for row in rows] == ["resid_post.5", "resid_post.9", "resid_post.12", "resid_post.15"]
    ids = ids_of(gemma)
    clean = gemma.loss(ids).mean()
    for row in rows:
        sae = Sae.from_pretrained(row.facts.name)

        def splice(acts: torch.Tensor, sae: hooke.Sae = sae) -> torch.Tensor:
            return torch.cat([acts[:, :1], sae.reconstruct(acts[:, 1:])], 1)

        def erase(acts: torch.Tensor, sae: hooke.Sae = sae) -> torch.Tensor:
            return torch.cat([acts[:, :1], sae.b_dec.expand_as(acts[:, 1:])], 1)

        with gemma.edit(sae.site, splice):
            spliced = gemma.loss(ids).mean()
        with gemma.edit(sae.site, erase):
            erased = gemma.loss(ids).mean()
        assert spliced - clean < 0.5 * (erased - clean), row.facts.name
        assert 0.8 * row.facts.metrics["l0"] > 20

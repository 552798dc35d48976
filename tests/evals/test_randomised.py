import pytest
import torch

from hooke import tiny
from hooke.evals.randomised import random_dictionary, randomised_model


def test_a_model_of_the_same_shape_that_knows_nothing():
    model = tiny.model()
    before = torch.get_rng_state()
    fresh, again, other = (randomised_model(model, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    own = dict(model.hf.named_parameters())
    assert {name: value.shape for name, value in fresh.hf.named_parameters()} == {name: value.shape for name, value in own.items()}
    assert fresh.sites() == model.sites()
    weight = "model.embed_tokens.weight"
    values = [dict(m.hf.named_parameters())[weight] for m in (fresh, again, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert not torch.equal(values[0], own[weight])
    assert "random weights" in fresh.name


@pytest.mark.parametrize("l0", [1.0, 3.5, 20.0])
def test_a_random_dictionary_has_the_sparsity_asked_for(l0):
    generator = torch.Generator().manual_seed(3)
    acts = torch.randn(500, 32, generator=generator) * torch.linspace(1, 30, 32) + 100
    found = random_dictionary(acts, tiny.sae(), l0=l0, seed=1)
    assert float(found.encode(acts).l0.float().mean()) == pytest.approx(l0, abs=0.01)
    assert torch.allclose(found.W_dec.norm(dim=1), torch.ones(found.d_sae))
    assert torch.equal(found.W_enc, found.W_dec.T)
    assert torch.equal(found.W_dec, random_dictionary(acts, tiny.sae(), l0=l0, seed=1).W_dec)

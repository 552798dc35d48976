"""The trunk gives what the library's own model gives, to the bit, and loads nothing that a headline does not need."""

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from hooke.errors import BadFile
from hooke.model import Model
from hooke.model.faster import hasten
from hooke.model.trunk import load_trunk, read_config
from hooke.names import Site

WINDOW = 8
SHAPES = [(1, 1), (1, 2), (3, 7), (2, WINDOW), (2, WINDOW + 1), (1, 40)]


@pytest.fixture(scope="module", params=[1, 2])
def library(request) -> Gemma3ForCausalLM:
    """Random weights; two layers look back over a window, one over everything; queries share keys by fours or twos."""
    torch.manual_seed(0)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    ropes = {kind: {"rope_theta": theta, "rope_type": "default"} for kind, theta in (("full_attention", 1e6), ("sliding_attention", 1e4))}
    config = Gemma3TextConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=request.param,
        head_dim=8, query_pre_attn_scalar=8, sliding_window=WINDOW, layer_types=kinds, rope_parameters=ropes, max_position_embeddings=64,
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, std=0.3 if "norm" in name else 0.2)
    return model.bfloat16().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(library, tmp_path_factory):
    path = tmp_path_factory.mktemp("gemma")
    library.save_pretrained(path)
    return path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("faster", [False, True])
def test_it_computes_what_the_library_computes(library, folder, dtype, faster):
    theirs = Gemma3ForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    ours = load_trunk(folder, read_config(folder), dtype)
    if faster:
        hasten(theirs)
        hasten(ours)
    generator = torch.Generator().manual_seed(1)
    for shape in SHAPES:
        ids = torch.randint(0, 50, shape, generator=generator)
        with torch.inference_mode():
            assert torch.equal(ours.model(ids), theirs.model(ids, use_cache=False).last_hidden_state), shape


def test_models_of_other_arithmetic_are_left_to_the_library(folder, tmp_path):
    text = (folder / "config.json").read_text()
    assert read_config(folder) is not None
    for now, then in (("gelu_pytorch_tanh", "silu"), ('"gemma3_text"', '"gemma2"'), ('"default"', '"linear"')):
        assert now in text
        (tmp_path / "config.json").write_text(text.replace(now, then))
        assert read_config(tmp_path) is None


def test_weights_that_are_not_those_of_the_configuration_are_refused(folder, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text().replace('"hidden_size": 32', '"hidden_size": 24'))
    with pytest.raises(BadFile, match="does not hold the weights of its configuration"):
        load_trunk(tmp_path, read_config(tmp_path), torch.bfloat16)


@pytest.mark.real
def test_the_carried_model_computes_the_same_before_and_after_it_is_whole():
    """Both sides of its window of 512 tokens; and once the whole model is here, it is the whole model that runs."""
    model, sites = Model.load(), ["resid_pre.0", "attn_z.3", "attn_out.5", "resid_mid.6", "mlp_in.9", "mlp_out.9", "resid_post.12"]
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(6, len(model.tokenizer), shape, generator=generator) for shape in ((3, 9), (1, 600))]
    before = [model.capture(ids, sites) for ids in batches]
    assert "hf" not in vars(model)
    with model.edit("resid_post.2", lambda acts: acts * 0):
        assert not torch.equal(model.capture(batches[0], sites)[Site.parse("resid_post.12")], before[0][Site.parse("resid_post.12")])
    assert "hf" in vars(model)
    for ids, found in zip(batches, before, strict=True):
        again = model.capture(ids, sites)
        assert all(torch.equal(again[site], found[site]) for site in found)

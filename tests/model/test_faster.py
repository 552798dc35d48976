"""A model made faster computes what it did."""

import copy
import os

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig

from hooke.model.faster import bound_products, hasten

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "vocab_size": 99,
}


def made(kind: str, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    torch.manual_seed(0)
    config = Gemma3TextConfig(**SMALL, head_dim=16) if kind == "gemma" else LlamaConfig(**SMALL)
    hf = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
    for name, parameter in hf.named_parameters():
        if "norm" in name:
            parameter.copy_(torch.randn_like(parameter) / 4)
    return hf


IDS = torch.randint(0, 99, (3, 17), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["gemma", "llama"])
def test_it_gives_what_it_gave(kind: str) -> None:
    plain = made(kind)
    fast = copy.deepcopy(plain)
    hasten(fast)
    changed = {type(module).__name__ for module in fast.modules()} - {type(module).__name__ for module in plain.modules()}
    assert changed == ({"FasterGemma3RMSNorm", "FasterGemma3MLP"} if kind == "gemma" else {"FasterLlamaMLP"})
    with torch.inference_mode():
        before, after = plain(input_ids=IDS).logits, fast(input_ids=IDS).logits
        exact = copy.deepcopy(plain).float()(input_ids=IDS).logits
    if kind == "llama":  # whose norms are left alone
        assert torch.equal(before, after)
    # No further from what exact arithmetic gives than the library's own bfloat16 is.
    assert (after - exact).norm() <= 1.2 * (before - exact).norm()
    again = copy.deepcopy(fast)
    assert again.state_dict().keys() == plain.state_dict().keys()
    with torch.inference_mode():
        assert torch.equal(again(input_ids=IDS).logits, after)


def test_each_module_alone_agrees_with_the_library() -> None:
    plain = made("gemma")
    fast = copy.deepcopy(plain)
    hasten(fast)
    heads = torch.randn(2, 5, 4, 16).bfloat16().transpose(1, 2)
    with torch.inference_mode():
        for old, new in zip(plain.modules(), fast.modules(), strict=True):
            if type(old) is type(new):
                continue
            x = heads if getattr(old, "weight", torch.zeros(0)).shape == (16,) else torch.randn(2, 5, 64).bfloat16()
            before, after = old(x), new(x)
            assert before.stride() == after.stride()
            near = (before.float() - after.float()).abs() <= 2.0**-7 * before.float().abs()
            assert bool(near.all())
            assert (before != after).float().mean() < 1e-2


def test_float32_and_gradients_take_the_librarys_way() -> None:
    plain, ids = made("gemma", torch.float32), IDS
    fast = copy.deepcopy(plain)
    hasten(fast)
    assert torch.equal(plain(input_ids=ids).logits, fast(input_ids=ids).logits)
    low = made("gemma")
    hasten(low)
    x = torch.randn(1, 4, 64).bfloat16().requires_grad_(True)
    low.model.layers[0].mlp(low.model.layers[0].input_layernorm(x)).sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())


def test_hooks_on_an_activation_are_called() -> None:
    fast, seen = made("gemma"), []
    hasten(fast)
    fast.model.layers[1].mlp.act_fn.register_forward_hook(lambda _, inputs, output: seen.append(output.shape))
    with torch.inference_mode():
        fast(input_ids=IDS)
    assert seen == [(3, 17, 96)]


def test_products_of_few_shapes_are_kept_unless_somebody_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "7")
    bound_products()
    assert os.environ[name] == "7"
    monkeypatch.delenv(name)
    bound_products()
    assert os.environ[name] == "64"

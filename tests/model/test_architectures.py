"""Every row of the table against a forward pass written out by hand, and `verify` against rows that are wrong."""

import dataclasses
import math

import pytest
import torch
import transformers as hf
from model.conftest import CONFIGS
from torch import Tensor, nn

from hooke.errors import ShapeMismatch, UnknownName
from hooke.model.architectures import ARCHITECTURES, Architecture, architecture_of, verify
from hooke.model.hooks import run_until
from hooke.names import SITE_KINDS, Site

OFTEN = ("gemma3_text", "gpt2", "llama")
SELDOM = [pytest.param(name, marks=pytest.mark.exhaustive) for name in CONFIGS if name not in OFTEN]

# ---------------------------------------------------------------- the forward passes by hand, in float64


class ByHand:
    """A causal LM computed from its weights alone: no module of the model is called."""

    def __init__(self, model: hf.PreTrainedModel) -> None:
        self.config = model.config.get_text_config()
        self.weights = {name: value.double() for name, value in model.state_dict().items()}
        self.acts: dict[Site, Tensor] = {}

    def linear(self, x: Tensor, name: str) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        if self.config.model_type == "gpt2":  # Conv1D keeps its weight the other way round
            weight = weight.transpose(0, 1)
        return nn.functional.linear(x, weight, self.weights.get(f"{name}.bias"))

    def rms_norm(self, x: Tensor, name: str) -> Tensor:
        gain = self.weights[f"{name}.weight"] + (1 if "gemma" in self.config.model_type else 0)
        return x / (x.square().mean(-1, keepdim=True) + self.config.rms_norm_eps).sqrt() * gain

    def layer_norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, q: Tensor, k: Tensor, v: Tensor, scale: float, softcap: float | None = None, window: int | None = None) -> Tensor:
        """z, head after head, from q, k and v of shape [batch, token, head, d_head]."""
        k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], 2) for x in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        age = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None, :]
        seen = (age >= 0) & (age < (window or q.shape[1]))
        pattern = scores.masked_fill(~seen, -math.inf).softmax(-1)
        return torch.einsum("bhqk,bkhd->bqhd", pattern, v).flatten(2)

    def keep(self, layer: int, **acts: Tensor) -> None:
        self.acts |= {Site(layer, kind): value for kind, value in acts.items()}


def rotate(x: Tensor, theta: float, d_rotary: int) -> Tensor:
    """Rotary positions on the first `d_rotary` of the head's dimensions, pairing each with the one half a turn further."""
    half = d_rotary // 2
    angle = torch.arange(x.shape[1])[:, None, None].double() * theta ** (-torch.arange(half).double() / half)
    a, b, rest = x[..., :half], x[..., half:d_rotary], x[..., d_rotary:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), rest], -1)


def gated_by_hand(model: hf.PreTrainedModel, tokens: Tensor) -> dict[Site, Tensor]:
    """Llama, Mistral, Qwen 2, Qwen 3, Gemma 2, Gemma 3."""
    run = ByHand(model)
    config, gemma = run.config, "gemma" in run.config.model_type
    stack = "model.language_model." if model.config.model_type == "gemma3" else "model."
    n_heads = config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    x = run.weights[f"{stack}embed_tokens.weight"][tokens] * (math.sqrt(config.hidden_size) if gemma else 1)
    for layer in range(config.num_hidden_layers):
        block = f"{stack}layers.{layer}."
        local = config.layer_types[layer] == "sliding_attention" if gemma else config.model_type == "mistral"
        rope = config.rope_parameters.get(config.layer_types[layer], config.rope_parameters) if gemma else config.rope_parameters
        normed = run.rms_norm(x, f"{block}input_layernorm")
        q, k, v = (run.linear(normed, f"{block}self_attn.{name}_proj").unflatten(-1, (-1, d_head)) for name in "qkv")
        if f"{block}self_attn.q_norm.weight" in run.weights:
            q, k = run.rms_norm(q, f"{block}self_attn.q_norm"), run.rms_norm(k, f"{block}self_attn.k_norm")
        q, k = (rotate(t, rope["rope_theta"], d_head) for t in (q, k))
        scale = (config.query_pre_attn_scalar if gemma else d_head) ** -0.5
        z = run.attention(q, k, v, scale, getattr(config, "attn_logit_softcapping", None), config.sliding_window if local else None)
        attn_out = run.linear(z, f"{block}self_attn.o_proj")
        if gemma:
            attn_out = run.rms_norm(attn_out, f"{block}post_attention_layernorm")
        mid = x + attn_out
        mlp_in = run.rms_norm(mid, f"{block}{'pre_feedforward' if gemma else 'post_attention'}_layernorm")
        gate, up = (run.linear(mlp_in, f"{block}mlp.{name}_proj") for name in ("gate", "up"))
        gate = nn.functional.gelu(gate, approximate="tanh") if gemma else nn.functional.silu(gate)
        mlp_out = run.linear(gate * up, f"{block}mlp.down_proj")
        if gemma:
            mlp_out = run.rms_norm(mlp_out, f"{block}post_feedforward_layernorm")
        run.keep(layer, resid_pre=x, attn_z=z, attn_out=attn_out, resid_mid=mid, mlp_in=mlp_in, mlp_out=mlp_out, resid_post=mid + mlp_out)
        x = mid + mlp_out
    return run.acts


def gpt2_by_hand(model: hf.PreTrainedModel, tokens: Tensor) -> dict[Site, Tensor]:
    run = ByHand(model)
    d_head, eps = run.config.n_embd // run.config.n_head, run.config.layer_norm_epsilon
    x = run.weights["transformer.wte.weight"][tokens] + run.weights["transformer.wpe.weight"][: tokens.shape[1]]
    for layer in range(run.config.n_layer):
        block = f"transformer.h.{layer}."
        qkv = run.linear(run.layer_norm(x, f"{block}ln_1", eps), f"{block}attn.c_attn")
        z = run.attention(*(part.unflatten(-1, (-1, d_head)) for part in qkv.chunk(3, -1)), scale=d_head**-0.5)
        attn_out = run.linear(z, f"{block}attn.c_proj")
        mid = x + attn_out
        mlp_in = run.layer_norm(mid, f"{block}ln_2", eps)
        mlp_out = run.linear(nn.functional.gelu(run.linear(mlp_in, f"{block}mlp.c_fc"), approximate="tanh"), f"{block}mlp.c_proj")
        run.keep(layer, resid_pre=x, attn_z=z, attn_out=attn_out, resid_mid=mid, mlp_in=mlp_in, mlp_out=mlp_out, resid_post=mid + mlp_out)
        x = mid + mlp_out
    return run.acts


def neox_by_hand(model: hf.PreTrainedModel, tokens: Tensor) -> dict[Site, Tensor]:
    run = ByHand(model)
    d_head, eps = run.config.hidden_size // run.config.num_attention_heads, run.config.layer_norm_eps
    rope = run.config.rope_parameters
    d_rotary = int(d_head * rope["partial_rotary_factor"])
    x = run.weights["gpt_neox.embed_in.weight"][tokens]
    for layer in range(run.config.num_hidden_layers):
        block = f"gpt_neox.layers.{layer}."
        qkv = run.linear(run.layer_norm(x, f"{block}input_layernorm", eps), f"{block}attention.query_key_value")
        q, k, v = qkv.unflatten(-1, (-1, 3 * d_head)).chunk(3, -1)  # each head's q, k and v stand side by side
        z = run.attention(*(rotate(t, rope["rope_theta"], d_rotary) for t in (q, k)), v, scale=d_head**-0.5)
        attn_out = run.linear(z, f"{block}attention.dense")
        read = x if run.config.use_parallel_residual else x + attn_out
        mlp_in = run.layer_norm(read, f"{block}post_attention_layernorm", eps)
        mlp_out = run.linear(nn.functional.gelu(run.linear(mlp_in, f"{block}mlp.dense_h_to_4h")), f"{block}mlp.dense_4h_to_h")
        run.keep(layer, resid_pre=x, attn_z=z, attn_out=attn_out, mlp_in=mlp_in, mlp_out=mlp_out, resid_post=x + attn_out + mlp_out)
        if not run.config.use_parallel_residual:
            run.keep(layer, resid_mid=x + attn_out)
        x = x + attn_out + mlp_out
    return run.acts


def by_hand(model: hf.PreTrainedModel, tokens: Tensor) -> dict[Site, Tensor]:
    special = {"gpt2": gpt2_by_hand, "gpt_neox": neox_by_hand}
    return special.get(model.config.model_type, gated_by_hand)(model, tokens)


def captured(model: hf.PreTrainedModel, architecture: Architecture, tokens: Tensor) -> dict[Site, Tensor]:
    sites = architecture.sites(model.config)
    located = {site: architecture.locate(model, site) for site in sites}
    with torch.no_grad():
        return run_until(architecture.base(model), located, sites[-1], input_ids=tokens, use_cache=False)


# ---------------------------------------------------------------- the table


def test_every_site_equals_the_pass_by_hand(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    architecture = architecture_of(lm.config)
    found, expected = captured(lm, architecture, tokens), by_hand(lm, tokens)
    assert set(found) == set(expected) == set(architecture.sites(lm.config))
    for site, value in expected.items():
        assert found[site].shape[-1] == architecture.width(lm.config, site)
        assert (found[site] - value).abs().max() <= 1e-5, site


def test_residuals_equal_what_transformers_reports(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    found = captured(lm, architecture_of(lm.config), tokens)
    with torch.no_grad():
        hidden = lm(input_ids=tokens, output_hidden_states=True).hidden_states  # the last one is after the final norm
    for layer, value in enumerate(hidden[:-1]):
        assert torch.equal(found[Site(layer, "resid_pre")], value)
        assert layer == 0 or torch.equal(found[Site(layer - 1, "resid_post")], value)


def test_the_table_has_a_place_for_every_kind_of_site(lm: hf.PreTrainedModel) -> None:
    architecture = architecture_of(lm.config)
    kinds = set(SITE_KINDS) - ({"resid_mid"} if architecture.parallel(lm.config) else set())
    assert set(architecture.places) == set(SITE_KINDS)
    assert {site.kind for site in architecture.sites(lm.config)} == kinds
    assert architecture.n_layers(lm.config) == 3


def test_sites_come_in_the_order_in_which_they_are_computed(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    architecture = architecture_of(lm.config)
    sites = architecture.sites(lm.config)
    assert sites == sorted(sites, key=architecture.order)
    assert list(captured(lm, architecture, tokens)) == sites  # a dictionary remembers who came first


def test_attn_z_has_the_width_of_the_heads() -> None:
    config = hf.Gemma3TextConfig(hidden_size=640, num_attention_heads=4, head_dim=256)
    row = architecture_of(config)
    assert row.width(config, Site(0, "attn_z")) == 1024
    assert row.width(config, Site(0, "mlp_in")) == 640


def test_the_keys_of_the_table_are_its_rows_names() -> None:
    assert {key: row.model_type for key, row in ARCHITECTURES.items()} == {key: key for key in ARCHITECTURES}


def test_an_unknown_architecture_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownName, match=r"unknown architecture 'mamba'\..* Known: gemma2, gemma3, .*, qwen3\."):
        architecture_of(hf.MambaConfig())


def test_a_parallel_block_has_no_resid_mid(neox: hf.PreTrainedModel) -> None:
    row = architecture_of(neox.config)
    with pytest.raises(UnknownName, match=r"'resid_mid.1'.*use_parallel_residual=True.*Ask for resid_pre.1 or resid_post.1"):
        row.locate(neox, Site(1, "resid_mid"))


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_is_not_there_is_refused(llama: hf.PreTrainedModel, layer: int) -> None:
    with pytest.raises(UnknownName, match="has layers 0 to 2"):
        architecture_of(llama.config).locate(llama, Site(layer, "resid_post"))


def test_an_unknown_kind_is_refused(llama: hf.PreTrainedModel) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'attn_out'"):
        architecture_of(llama.config).locate(llama, Site(0, "atn_out"))


def test_a_model_without_the_rows_modules_is_refused(llama: hf.PreTrainedModel) -> None:
    with pytest.raises(ShapeMismatch, match="a gpt2 model should have a module 'transformer'"):
        ARCHITECTURES["gpt2"].locate(llama, Site(0, "resid_post"))


# ---------------------------------------------------------------- verify


def test_verify_accepts_every_row(lm: hf.PreTrainedModel) -> None:
    verify(lm, architecture_of(lm.config))


def test_verify_accepts_bfloat16(lm: hf.PreTrainedModel) -> None:
    row = architecture_of(lm.config)
    try:
        verify(lm.bfloat16(), row)
        with pytest.raises(ShapeMismatch):
            verify(lm, with_place(row, "attn_out", row.places["mlp_out"]))
    finally:
        lm.float()


@pytest.mark.parametrize("lm", [*OFTEN, *SELDOM], indirect=True)
def test_verify_catches_every_kind_that_points_at_another(lm: hf.PreTrainedModel) -> None:
    row = architecture_of(lm.config)
    kinds = {site.kind for site in row.sites(lm.config)}
    for kind in kinds:
        for other in kinds - {kind}:
            with pytest.raises(ShapeMismatch, match=rf"\b{kind}\.\d"):
                verify(lm, with_place(row, kind, row.places[other]))


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("attn_out", ("self_attn", "output")),  # before the post-norm
        ("mlp_out", ("mlp", "output")),
        ("mlp_in", ("pre_feedforward_layernorm", "input")),  # without the norm
        ("resid_mid", ("post_attention_layernorm", "input")),  # right for Llama
        ("resid_pre", ("input_layernorm", "output")),
        ("resid_post", ("post_feedforward_layernorm", "output")),
        ("attn_z", ("mlp.down_proj", "input")),
        ("attn_z", ("self_attn.o_proj", "output")),
    ],
)
@pytest.mark.parametrize("lm", ["gemma2", "gemma3", "gemma3_text"], indirect=True)
def test_verify_catches_what_is_easily_mistaken_in_gemma(lm: hf.PreTrainedModel, kind: str, place: tuple[str, str]) -> None:
    with pytest.raises(ShapeMismatch, match=rf"\b{kind}\.\d"):
        verify(lm, with_place(architecture_of(lm.config), kind, place))


def test_verify_leaves_the_model_as_it_was(llama: hf.PreTrainedModel) -> None:
    before = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.modules())
    llama.train()
    with pytest.raises(ShapeMismatch):
        verify(llama, with_place(ARCHITECTURES["llama"], "attn_z", ("mlp", "input")))
    assert llama.training
    llama.eval()
    verify(llama, ARCHITECTURES["llama"])
    assert not llama.training
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.modules()) == before


def with_place(row: Architecture, kind: str, place: tuple[str, str]) -> Architecture:
    return dataclasses.replace(row, places={**row.places, kind: place})

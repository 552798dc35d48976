"""Trunk: Gemma 3 up to its last norm, from a folder, without loading the library that has every model; the same numbers to the bit.

Importing `transformers` takes as long as all else that a first headline needs. Modules bear that library's names, and stand in the same
tree, so that `hooke.model.architectures` and `hooke.model.faster` find in one what they know of the other; tests hold the two together.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from hooke.errors import BadFile, LimitReached, ran_out_of_memory
from hooke.files import read_safetensors
from hooke.model.alone import each, inverse_root, linear, places
from hooke.text.tokens import Tokenizer

_KIND = "gemma3_text"


class TextConfig(SimpleNamespace):
    """A ``config.json`` as attributes, with the one method that is asked of configurations."""

    def get_text_config(self) -> "TextConfig":
        """Itself: there is nothing but text."""
        return self


def read_config(folder: Path) -> TextConfig | None:
    """The configuration in `folder` if this module can compute such a model, else None."""
    config = TextConfig(**json.loads((folder / "config.json").read_text("utf-8")))
    known = config.model_type == _KIND and config.hidden_activation == "gelu_pytorch_tanh" and not config.attention_bias
    ropes = config.rope_parameters.values()
    return config if known and all(rope["rope_type"] == "default" for rope in ropes) else None


def marks_of(config: Any) -> tuple[set[int], int | None]:
    """The special tokens that a model's configuration names, and the one that ends a document."""
    text = config.get_text_config()
    ends = text.eos_token_id if isinstance(text.eos_token_id, list) else [i for i in [text.eos_token_id] if i is not None]
    return {*ends, *(i for i in (text.bos_token_id, text.pad_token_id) if isinstance(i, int))}, ends[0] if ends else None


def tokenizer_in(folder: Path, config: TextConfig) -> Tokenizer:
    """The tokenizer in a converted model's folder."""
    special, eos = marks_of(config)
    return Tokenizer.open(folder / "tokenizer.json", config.bos_token_id, special, eos=eos)


def load_trunk(folder: Path, config: TextConfig, dtype: torch.dtype) -> nn.Module:
    """The trunk, as ``model`` of a module with nothing else; weights are memory-mapped where they already have `dtype`."""
    whole = _Whole(config)
    tensors, _ = read_safetensors(folder / "model.safetensors")
    try:
        whole.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        if ran_out_of_memory(error):
            raise LimitReached(f"not enough memory for the weights in {folder}.") from error
        raise BadFile(f"{folder} does not hold the weights of its configuration: {error}.") from error
    return whole.eval().requires_grad_(False)


class _Linear(nn.Linear):
    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out, bias=False, device="meta")

    def reset_parameters(self) -> None:
        """Nothing: the weights come from a file, and torch would load its compiler to fill what is not there."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name for it)
        """The product."""
        return linear(input, self.weight)


class Gemma3RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) · (1 + weight)``, in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        """Rows of `x` brought to one scale."""
        wide = x.float()
        normed = wide * inverse_root(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (normed * (1.0 + self.weight.float())).type_as(x)


class Gemma3MLP(nn.Module):
    """``down(gelu(gate(x)) · up(x))``."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (_Linear(config.hidden_size, config.intermediate_size) for _ in range(2))
        self.down_proj = _Linear(config.intermediate_size, config.hidden_size)
        self.act_fn = nn.GELU(approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        """What the MLP gives."""
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class _Attention(nn.Module):
    """Attention of several query heads on fewer key heads, over all tokens before or over a window of them."""

    def __init__(self, config: TextConfig, kind: str) -> None:
        super().__init__()
        self._head, self._scale = config.head_dim, config.query_pre_attn_scalar**-0.5
        self._shared = config.num_attention_heads // config.num_key_value_heads
        self._window = config.sliding_window if kind == "sliding_attention" else None
        queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj, self.o_proj = _Linear(config.hidden_size, queries), _Linear(queries, config.hidden_size)
        self.k_proj, self.v_proj = (_Linear(config.hidden_size, keys) for _ in range(2))
        self.q_norm, self.k_norm = (Gemma3RMSNorm(config.head_dim, config.rms_norm_eps) for _ in range(2))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """``[batch, pos, d_model]``; `turn` are the cosine and sine of each position's rotation."""
        split = (*x.shape[:-1], -1, self._head)
        q, k, v = (project(x).view(split).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = _rotated(self.q_norm(q), *turn), _rotated(self.k_norm(k), *turn)
        out = each(self._attend, q, k, v)
        return self.o_proj(out.transpose(1, 2).contiguous().reshape(*x.shape[:-1], -1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        count = q.shape[2]
        if self._window is None or count < self._window:
            shared = self._shared > 1
            return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=count > 1, scale=self._scale, enable_gqa=shared)
        step = torch.arange(count, device=q.device)
        ago = step[:, None] - step
        mask = ((ago >= 0) & (ago < self._window)).expand(len(q), 1, -1, -1)
        k, v = (one.repeat_interleave(self._shared, 1) for one in (k, v))
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self._scale)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, -1)
    return (x * cos) + (torch.cat((-high, low), -1) * sin)


class _Block(nn.Module):
    def __init__(self, config: TextConfig, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.self_attn, self.mlp = _Attention(config, kind), Gemma3MLP(config)
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm, self.post_attention_layernorm = (Gemma3RMSNorm(width, eps) for _ in range(2))
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = (Gemma3RMSNorm(width, eps) for _ in range(2))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """``resid_pre`` to ``resid_post``."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), turn))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class _Whole(nn.Module):
    """All there is of a causal language model but its LM head."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config: Any = config
        self.model = _Trunk(config)


class _Trunk(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self._config = config
        rows = torch.empty(config.vocab_size, config.hidden_size, device="meta")
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=rows)
        self.layers = nn.ModuleList(_Block(config, kind) for kind in config.layer_types)
        self.norm = Gemma3RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Tensor:
        """What the LM head reads, ``[batch, pos, d_model]``; there is no cache."""
        x = self.embed_tokens(input_ids)
        x = x * torch.tensor(self._config.hidden_size**0.5, dtype=x.dtype, device=x.device)
        turns = {kind: self._turn(kind, x) for kind in set(self._config.layer_types)}
        for block in self.layers:
            x = block(x, turns[block.kind])
        return self.norm(x)

    def _turn(self, kind: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the rotation at each position, ``[1, 1, pos, d_head]``."""
        config: Any = self._config
        base, width = config.rope_parameters[kind]["rope_theta"], config.head_dim
        slow = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float, device=x.device) / width))
        angle = places(x.shape[1], x.device)[None, None, :, None].float() * slow
        angle = torch.cat((angle, angle), -1)
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)

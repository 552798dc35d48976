"""Faster: the same model with less waiting for memory. Norms and gated MLPs of known kinds, in bfloat16 on a CPU, by our own kernels."""

import os
from functools import cache

import torch
from torch import Tensor, nn

from hooke.kernels.elementwise import gated, rms_norm, table_of

# Modules of the transformers library by what they compute.
_NORMS = ("GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm")
"""``x / sqrt(mean(x²) + eps) · (1 + weight)``, in float32."""
_MLPS = ("GemmaMLP", "Gemma2MLP", "Gemma3MLP", "LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")
"""``down(function(gate(x)) · up(x))``."""


def hasten(hf: nn.Module) -> None:
    """Let the modules of `hf` that are known use our kernels wherever those fit; everywhere else they stay what they were.

    A norm sums its squares in another order, which after rounding shows in about three values of a million; an activation is looked up
    in a table that the library's own function filled. As of any two orders of summing, what deep layers give differs by rounding.
    Parameters, hooks and copies are left alone: only the modules' classes change, to ones derived from them.
    """
    for module in hf.modules():
        name = type(module).__name__
        if name in _NORMS:
            module.__class__ = _derived(type(module), _Norm)
        elif name in _MLPS:
            module.__class__ = _derived(type(module), _GatedMlp)


def bound_products() -> None:
    """Let oneDNN keep the code of a few shapes of matrix products only; a number that the user set stays.

    It keeps what it made for the last 1,024 shapes, about 0.6 MB each, and batches of text have ever new ones: 0.6 GB after two million
    tokens. It asks once, before the first product in bfloat16.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


@cache
def _derived(known: type[nn.Module], own: type) -> type[nn.Module]:
    return type(f"Faster{known.__name__}", (own, known), {"__module__": __name__})


def _fits(x: Tensor) -> bool:
    """Whether the kernels take `x`: plain bfloat16 on the CPU whose gradient nobody will ask for."""
    return type(x) is Tensor and x.dtype == torch.bfloat16 and x.device.type == "cpu" and not (torch.is_grad_enabled() and x.requires_grad)


class _Norm:
    weight: Tensor
    eps: float

    def forward(self, x: Tensor) -> Tensor:
        """What the norm gives; the result lies in memory as `x` does."""
        if not _fits(x) or self.weight.requires_grad:
            return super().forward(x)  # pyright: ignore[reportAttributeAccessIssue]
        # Heads are a transposed view of a projection's rows.
        plain = x if x.is_contiguous() else x.transpose(1, 2) if x.ndim == 4 else x
        if not plain.is_contiguous():
            return super().forward(x)  # pyright: ignore[reportAttributeAccessIssue]
        out = rms_norm(plain.reshape(-1, plain.shape[-1]), 1 + self.weight.float(), self.eps).view(plain.shape)
        return out if plain is x else out.transpose(1, 2)


class _GatedMlp:
    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module
    act_fn: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """What the MLP gives."""
        if not _fits(x) or self.act_fn._forward_hooks or self.act_fn._forward_pre_hooks or next(self.act_fn.parameters(), None) is not None:
            return super().forward(x)  # pyright: ignore[reportAttributeAccessIssue]
        gate, up = self.gate_proj(x), self.up_proj(x)
        if not (_fits(gate) and _fits(up) and gate.is_contiguous() and up.is_contiguous()):
            return self.down_proj(self.act_fn(gate) * up)
        return self.down_proj(gated(_table(self.act_fn), gate, up))


_tables: dict[tuple[type, str], Tensor] = {}


def _table(function: nn.Module) -> Tensor:
    """The table of an activation function; one for all modules of a kind with the same settings."""
    key = type(function), repr(function)
    if key not in _tables:
        with torch.no_grad():
            _tables[key] = table_of(function)
    return _tables[key]

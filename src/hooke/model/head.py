"""Head: what a model's LM head makes of what it reads, a few tokens at a time, because a row of logits is as long as the vocabulary."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hooke.errors import HookeError
from hooke.model.architectures import Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Logits that the LM head gives at a time: 128 MiB in float32 for any vocabulary, and few readings of its weights.
_LOGIT_VALUES = 1 << 25
# Of these, how many each core of a CPU works on from there: its cache holds them, and memory is read and written once.
_CACHED_VALUES = 1 << 18
_FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


def final_norm(hf: "PreTrainedModel", architecture: Architecture) -> nn.Module:
    """What a model makes of its last residual stream before the LM head reads it. Raises `HookeError` where Hooke knows of none."""
    base = architecture.base(hf)
    norm = next((found for name in _FINAL_NORMS if (found := getattr(base, name, None)) is not None), None)
    if norm is None or hf.get_output_embeddings() is None:
        told = f"this {architecture.model_type} has no final norm or no LM head that Hooke knows"
        raise HookeError(f"{told}, so nothing can be said of what it would say next.")
    return norm


class Head:
    """The LM head of a Hugging Face model."""

    def __init__(self, hf: "PreTrainedModel") -> None:
        self._hf = hf

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """What the LM head makes of what it reads, in float32; Gemma 2 squashes its logits, ``c · tanh(logits / c)``."""
        return self._finished(self._raw(hidden))

    @torch.no_grad()
    def log_probs(self, hidden: Float[Tensor, "token d_model"]) -> Iterator[tuple[slice, Float[Tensor, "row vocab"]]]:
        """``ln p`` of every next token in float32, from what the LM head reads: which rows of `hidden`, and theirs, a few at a time."""
        vocab = self._hf.config.get_text_config().vocab_size
        cached = _CACHED_VALUES * torch.get_num_threads() if hidden.device.type == "cpu" else _LOGIT_VALUES
        few, start = max(1, cached // vocab), 0
        for some in hidden.split(max(1, _LOGIT_VALUES // vocab)):
            for raw in self._raw(some).split(few):
                yield slice(start, start + len(raw)), self._finished(raw).log_softmax(-1)
                start += len(raw)

    def _raw(self, hidden: Tensor) -> Tensor:
        head = self._hf.get_output_embeddings()
        assert head is not None
        return head(hidden)

    def _finished(self, raw: Tensor) -> Tensor:
        cap, logits = getattr(self._hf.config.get_text_config(), "final_logit_softcapping", None), raw.float()
        return logits if cap is None else cap * torch.tanh(logits / cap)

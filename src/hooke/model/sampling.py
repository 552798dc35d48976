"""Sampling text from a model: a loop with a key-value cache, and an exact draw that stays fast for very large vocabularies."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel


def generate(
    hf: PreTrainedModel, prompts: Int[Tensor, "batch pos"], tokens: int, *, temperature: float, seed: int, ends: frozenset[int], filler: int
) -> Int[Tensor, "batch total"]:
    """`prompts` continued by up to `tokens` tokens; rows that came to one of `ends` go on with `filler`."""
    generator = torch.Generator(prompts.device).manual_seed(seed)
    stop = torch.tensor(sorted(ends), device=prompts.device)
    out, step, cache = prompts, prompts, None
    done = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    for _ in range(tokens):
        result = hf(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = result.past_key_values
        chosen = draw(result.logits[:, -1], temperature, generator).masked_fill(done, filler)
        out = torch.cat([out, chosen[:, None]], 1)
        done |= torch.isin(chosen, stop)
        if bool(done.all()):
            break
        step = chosen[:, None]
    return out


def draw(logits: Float[Tensor, "batch vocab"], temperature: float, generator: torch.Generator) -> Int[Tensor, " batch"]:
    """One token id a row, with probability ``softmax(logits / temperature)``; at temperature 0 the likeliest.

    Inverse transform in two stages, first a block of the vocabulary, then a token in it: cumulative sums over ``√vocab`` numbers instead
    of all of them (`torch.multinomial` takes ten times as long as the model at 262,144 tokens).
    """
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float()
    weights = (logits - logits.amax(-1, keepdim=True)).div_(temperature).exp_()
    size = max(1, int(weights.shape[1] ** 0.5))
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[1] % size)).unflatten(1, (-1, size))
    block = _inverse(blocks.sum(-1, dtype=torch.float64), generator)
    inside = _inverse(blocks[torch.arange(len(blocks), device=blocks.device), block].double(), generator)
    return block * size + inside


def _inverse(weights: Float[Tensor, "batch _"], generator: torch.Generator) -> Int[Tensor, " batch"]:
    total = weights.cumsum(-1)
    point = torch.rand(len(weights), 1, dtype=weights.dtype, device=weights.device, generator=generator) * total[:, -1:]
    # The first entry whose running total exceeds the point has a positive weight, so nothing impossible is ever drawn.
    return (total <= point).sum(-1).clamp_max(int(weights.shape[1]) - 1)

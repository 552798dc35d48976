"""Sampling text from a model: a loop with a key-value cache, and an exact draw that stays fast for very large vocabularies."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.model.half import HalfWeights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Look = Callable[[Float[Tensor, "batch vocab"], Int[Tensor, " batch"]], None]
"""Hears the logits of a step, and the token that each row goes on with."""
# Values of logits turned into weights at a time on a CPU: 8 MiB of float32, which stay in its cache from the first step to the last.
_PIECE = 1 << 21


def ends_of(hf: "PreTrainedModel") -> frozenset[int]:
    """The tokens that end a text of this model."""
    ends = hf.config.get_text_config().eos_token_id
    return frozenset(end for end in (ends if isinstance(ends, list) else [ends]) if end is not None)


def generate(
    hf: "PreTrainedModel",
    prompts: Int[Tensor, "batch pos"],
    tokens: int,
    *,
    temperature: float,
    seed: int,
    alike: bool = False,
    follow: Int[Tensor, " batch"] | None = None,
    look: Look = lambda logits, chosen: None,
) -> Iterator[Int[Tensor, " batch"]]:
    """What follows `prompts`: up to `tokens` tokens, one for every row at a time; rows that came to an end go on with padding.

    Prompts shorter than the longest are filled up on the right with -1. These places are drawn too, so that no row needs padding: what is
    given begins at the length of the shortest prompt, and tokens of longer ones come as they are. If `alike`, all rows draw with the same
    random numbers. With `follow` a row goes on with what was drawn for the row of that number.
    """
    generator = torch.Generator(prompts.device).manual_seed(seed)
    stop = torch.tensor(sorted(ends_of(hf)), device=prompts.device)
    filler = hf.config.get_text_config().pad_token_id or 0
    done = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    shortest = int((prompts >= 0).sum(1).min())
    given = torch.nn.functional.pad(prompts, (0, tokens), value=-1)
    step, cache, halved = given[:, shortest - 1 : shortest], None, HalfWeights(hf)
    leaders, place = (slice(None), slice(None)) if follow is None else follow.to(prompts.device).unique(return_inverse=True)
    if shortest > 1:
        # Without the LM head, which would multiply positions that lie apart in memory by a copy of itself for each row.
        with halved:
            cache = hf.base_model(input_ids=given[:, : shortest - 1], use_cache=True).past_key_values
    for forced in given[:, shortest:].unbind(1):
        with halved:
            result = hf(input_ids=step, past_key_values=cache, use_cache=True)
        cache, logits = result.past_key_values, result.logits[:, -1]
        drawn = draw(logits[leaders], temperature, generator, alike=alike)[place].masked_fill(done, filler)
        chosen = torch.where(forced < 0, drawn, forced)
        look(logits, chosen)
        yield chosen
        done |= torch.isin(chosen, stop) & (forced < 0)
        if bool(done.all()):
            return
        step = chosen[:, None]


def draw(
    logits: Float[Tensor, "batch vocab"], temperature: float, generator: torch.Generator, *, alike: bool = False
) -> Int[Tensor, " batch"]:
    """One token id a row, with probability ``softmax(logits / temperature)``; at temperature 0 the likeliest.

    If `alike`, all rows draw with the same random numbers.

    Inverse transform in two stages, first a block of the vocabulary, then a token in it: cumulative sums over ``√vocab`` numbers instead
    of all of them (`torch.multinomial` takes ten times as long as the model at 262,144 tokens). A few rows at a time, the same tokens
    are drawn in a third of the time.
    """
    if temperature == 0:
        return logits.argmax(-1)
    points = torch.rand(1 if alike else len(logits), 2, dtype=torch.float64, device=logits.device, generator=generator)
    points = points.expand(len(logits), 2)
    rows = max(1, _PIECE // int(logits.shape[1])) if logits.device.type == "cpu" else len(logits)
    pieces = zip(logits.split(rows), points.split(rows), strict=True)
    return torch.cat([_drawn(some.float(), temperature, point) for some, point in pieces])


def _drawn(logits: Float[Tensor, "batch vocab"], temperature: float, points: Float[Tensor, "batch 2"]) -> Int[Tensor, " batch"]:
    weights = (logits - logits.amax(-1, keepdim=True)).div_(temperature).exp_()
    size = max(1, int(weights.shape[1] ** 0.5))
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[1] % size)).unflatten(1, (-1, size))
    block = _inverse(blocks.sum(-1), points[:, :1])
    inside = _inverse(blocks[torch.arange(len(blocks), device=blocks.device), block], points[:, 1:])
    return block * size + inside


def _inverse(weights: Float[Tensor, "batch _"], point: Float[Tensor, "batch 1"]) -> Int[Tensor, " batch"]:
    total = weights.double().cumsum(-1)
    # The first entry whose running total exceeds the point has a positive weight, so nothing impossible is ever drawn.
    return (total <= point * total[:, -1:]).sum(-1).clamp_max(int(weights.shape[1]) - 1)

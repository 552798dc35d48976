"""Last: what a model predicts after each of some contexts once something is added to their last token, and nothing else is computed.

Attention looks back only, so that a change at the last position changes nothing before it: of a context that was read once, one token has
to be computed again, from the site upwards.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.errors import BadConfig, ShapeMismatch
from hooke.model import Model
from hooke.model.hooks import capturing, editing
from hooke.model.partial import first_block, skipping
from hooke.names import Site


@dataclass(frozen=True)
class LastToken:
    """Contexts of one length that were read once, ready to be continued from a change at their last tokens."""

    model: Model
    """What read them."""
    site: Site
    """Where something is added."""
    ids: Int[Tensor, "batch pos"]
    """The contexts."""
    acts: Float[Tensor, "batch d_site"]
    """What stands at the site at each last token."""
    hidden: Float[Tensor, "batch d_model"]
    """What the LM head reads there when nothing is added."""
    _entry: Float[Tensor, "batch d_model"] | None
    """What the block below the first that runs again gave; None where that is the lowest."""
    _past: list[tuple[Tensor, Tensor]]
    """Keys and values of the tokens before, by block."""
    _tuples: bool
    """Whether the model's blocks return tuples."""

    @classmethod
    @torch.no_grad()
    def read(cls, model: Model, ids: Int[Tensor, "batch pos"], site: Site) -> "LastToken":
        """Read `ids`, of at least two tokens each, once."""
        from transformers import DynamicCache

        if ids.shape[1] < 2:
            raise BadConfig("a context is at least two tokens: what it begins with, and the last one, to which something is added.")
        ids, tuples = ids.to(model.device), list[bool]()
        base, below = model.architecture.base(model.hf), Site(first_block(site) - 1, "resid_post")
        sites = {site, below} if below.layer >= 0 else {site}
        look = model.architecture.block(model.hf, 0).register_forward_hook(lambda _, __, out: tuples.append(isinstance(out, tuple)))
        cache = DynamicCache(config=model.hf.config)
        try:
            base(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
            layers: list[Any] = list(cache.layers)
            past = [(layer.keys.clone(), layer.values.clone()) for layer in layers]
            with capturing({own: model.architecture.locate(model.hf, own) for own in sites}) as found:
                hidden = base(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True).last_hidden_state
        finally:
            look.remove()
        entry = found[below][:, -1] if below in found else None
        return cls(model, site, ids, found[site][:, -1], hidden[:, -1], entry, past, tuples[0])

    @torch.no_grad()
    def hidden_with(self, shifts: Float[Tensor, "row d_site"]) -> Float[Tensor, "row batch d_model"]:
        """What the LM head reads at each last token with each of `shifts` added there."""
        if shifts.shape[1] != self.acts.shape[1]:
            raise ShapeMismatch(f"{self.site} holds {self.acts.shape[1]} values a token; what is to be added has {shifts.shape[1]}.")
        model, count, first = self.model, len(shifts), first_block(self.site)
        added = shifts.to(self.acts).repeat_interleave(len(self.ids), 0)[:, None]
        with contextlib.ExitStack() as stack:
            if self._entry is not None:
                below = self._entry.repeat(count, 1)[:, None]
                blocks = [model.architecture.block(model.hf, i) for i in range(first)]
                stack.enter_context(skipping(blocks, (below,) if self._tuples else below))
            stack.enter_context(editing(model.architecture.locate(model.hf, self.site), lambda acts: acts + added))
            base = model.architecture.base(model.hf)
            out = base(input_ids=self.ids[:, -1:].repeat(count, 1), past_key_values=self._cache(count, first), use_cache=True)
        return out.last_hidden_state[:, -1].view(count, len(self.ids), -1)

    def _cache(self, count: int, first: int) -> object:
        """The tokens before, as often as there are changes; blocks that do not run need to know no more than how many there are."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.hf.config)
        for block, (keys, values) in enumerate(self._past):
            times = count if block >= first else 1
            cache.update(keys.repeat(times, 1, 1, 1), values.repeat(times, 1, 1, 1), block)
        return cache

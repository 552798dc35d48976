"""Partial passes: a batch of text through a model as it is, then again from any site upwards with something else in its place."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.model.hooks import capturing, editing
from hooke.names import Site

# Probabilities of the clean pass held at a time: bounds them at 128 MiB for any vocabulary.
_CLEAN_VALUES = 1 << 25

Edit = Callable[[Float[Tensor, "token d_site"]], Float[Tensor, "token d_site"]]


@dataclass(frozen=True)
class Passes:
    """A batch, what a clean pass over it computed, and passes that start from there."""

    model: Model
    """What runs."""
    ids: Int[Tensor, "batch pos"]
    """Token ids, padded on the right."""
    keep: Bool[Tensor, "batch pos"]
    """Positions that are counted and replaced: neither special tokens, nor padding, nor attention sinks."""
    acts: Mapping[Site, Float[Tensor, "batch pos d_site"]]
    """The clean activations at the wanted sites, and at the outputs of blocks that later passes start from."""
    hidden: Float[Tensor, "batch pos d_model"]
    """What the LM head reads in the clean pass."""
    tuples: bool = False
    """Whether the model's blocks return tuples."""

    @classmethod
    def clean(cls, model: Model, ids: Int[Tensor, "batch pos"], keep: Bool[Tensor, "batch pos"], sites: Sequence[Site]) -> "Passes":
        """Run the batch as it is, remembering the activations at `sites`; of the positions `keep`, attention sinks there are left out."""
        wanted = {*sites, *(Site(first - 1, "resid_post") for first in map(first_block, sites) if first > 0)}
        located = {site: model.architecture.locate(model.hf, site) for site in wanted}
        base, tuples = model.architecture.base(model.hf), []
        look = model.architecture.block(model.hf, 0).register_forward_hook(lambda _, __, out: tuples.append(isinstance(out, tuple)))
        try:
            with torch.no_grad(), capturing(located) as found:
                hidden = base(input_ids=ids, use_cache=False).last_hidden_state
        finally:
            look.remove()
        return cls(model, ids, not_sinks([found[site] for site in sites], keep), found, hidden, tuples[0])

    def rows(self, chosen: Int[Tensor, " row"]) -> "Passes":
        """The same for some rows of the batch."""
        acts = {site: value[chosen] for site, value in self.acts.items()}
        return replace(self, ids=self.ids[chosen], keep=self.keep[chosen], acts=acts, hidden=self.hidden[chosen])

    def at(self, sites: Sequence[Site]) -> Float[Tensor, "token d"]:
        """The clean activations of the counted positions, several sites side by side, in float32."""
        return concat_sites({site: self.acts[site][self.keep] for site in sites}, sites).float()

    @torch.no_grad()
    def hidden_with(self, edits: Mapping[Site, Edit], *, everywhere: bool = False) -> Float[Tensor, "token d_model"]:
        """What the LM head reads at the counted positions once each site holds what its edit makes of those positions' activations.

        What lies below the lowest site is taken from the clean pass. `everywhere` edits special positions too.
        """
        first = min(map(first_block, edits))
        with contextlib.ExitStack() as stack:
            stack.enter_context(skipping([self.model.architecture.block(self.model.hf, i) for i in range(first)], self._entry(first)))
            for site, edit in edits.items():
                stack.enter_context(editing(self.model.architecture.locate(self.model.hf, site), self._put(edit, everywhere)))
            base = self.model.architecture.base(self.model.hf)
            return base(input_ids=self.ids, use_cache=False).last_hidden_state[self.keep]

    @torch.no_grad()
    def hidden_joined(self, edits: Sequence[tuple[Site, Site, Edit]]) -> Float[Tensor, "token d_model"]:
        """The same with several edits at once, given as (site read, site written, edit): each sees what those below it left."""
        locate, first = self.model.architecture.locate, min(first_block(site) for pair in edits for site in pair[:2])
        reads = {read for read, write, _ in edits if read != write}
        with contextlib.ExitStack() as stack:
            stack.enter_context(skipping([self.model.architecture.block(self.model.hf, i) for i in range(first)], self._entry(first)))
            live: dict[Site, Tensor] = {}
            for read, write, edit in edits:
                from_live = edit if read == write else lambda _, read=read, edit=edit: edit(live[read][self.keep])
                stack.enter_context(editing(locate(self.model.hf, write), self._put(from_live, everywhere=False)))
            live = stack.enter_context(capturing({site: locate(self.model.hf, site) for site in reads}))
            base = self.model.architecture.base(self.model.hf)
            return base(input_ids=self.ids, use_cache=False).last_hidden_state[self.keep]

    def _put(self, edit: Edit, everywhere: bool) -> Callable[[Tensor], Tensor]:
        def put(tensor: Tensor) -> Tensor:
            chosen = torch.ones_like(self.keep) if everywhere else self.keep
            out = tensor.clone()
            out[chosen] = edit(tensor[chosen]).to(out)
            return out

        return put

    def _entry(self, first: int) -> object:
        """What the block before `first` gave in the clean pass, in the form that blocks give it."""
        if first == 0:
            return None
        out = self.acts[Site(first - 1, "resid_post")]
        return (out,) if self.tuples else out


def first_block(site: Site) -> int:
    """The first block that has to run again when `site` is edited."""
    return site.layer + 1 if site.kind == "resid_post" else site.layer


@contextlib.contextmanager
def skipping(blocks: Sequence[nn.Module], out: object) -> Iterator[None]:
    """Within, `blocks` compute nothing and give `out`; hooks on them still run."""
    own = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = lambda *_, **__: out
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward


@dataclass(frozen=True)
class Losses:
    """What the model predicts at each counted position, in nats."""

    clean: Float[Tensor, " token"]
    """Cross-entropy of the next token in the clean pass; 0 where there is none."""
    cross_entropy: list[Float[Tensor, " token"]]
    """The same for each other pass."""
    kl: list[Float[Tensor, " token"]]
    """``Σ_v p_clean(v) (ln p_clean(v) − ln p(v))`` for each other pass."""


@torch.no_grad()
def losses(
    model: Model, clean: Float[Tensor, "token d_model"], others: Sequence[Float[Tensor, "token d_model"]], targets: Int[Tensor, " token"]
) -> Losses:
    """Losses of passes from what their LM head reads; probabilities exist for a few tokens at a time. A target of -1 is none."""
    step = max(1, _CLEAN_VALUES // model.hf.config.get_text_config().vocab_size)
    out = torch.zeros(1 + 2 * len(others), len(clean), dtype=torch.float64)
    for start in range(0, len(clean), step):
        some = slice(start, start + step)
        target, found = targets[some], out[:, some]
        own = []
        for rows, log_p in model.head.log_probs(clean[some]):
            p = log_p.exp()
            # The clean entropy by the very operations of the cross term, so that equal predictions give a divergence of exactly 0.
            own.append((p, torch.linalg.vecdot(p, log_p)))
            found[0, rows] = _cross_entropy(log_p, target[rows])
        for i, other in enumerate(others):
            if torch.equal(other[some], clean[some]):  # what changed nothing, as the identity, needs no logits of its own
                found[1 + 2 * i] = found[0]
                continue
            for (rows, log_q), (p, entropy) in zip(model.head.log_probs(other[some]), own, strict=True):
                found[1 + 2 * i, rows] = _cross_entropy(log_q, target[rows])
                found[2 + 2 * i, rows] = (entropy - torch.linalg.vecdot(p, log_q)).double().cpu()
    return Losses(out[0], list(out[1::2]), list(out[2::2]))


def _cross_entropy(log_p: Tensor, target: Tensor) -> Tensor:
    picked = log_p.gather(1, target.clamp_min(0)[:, None])[:, 0]
    return torch.where(target >= 0, -picked, 0).double().cpu()

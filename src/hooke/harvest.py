"""Harvest: a model reading windows of text, and its activations at several sites as one shuffled stream."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadConfig, HookeError
from hooke.model import Model, length_batches
from hooke.names import Site
from hooke.text.corpus import Window

# A position whose norm is this many times the median of its batch is an attention sink, not a thought (methods: 1.2).
_SINK_NORM = 10.0


@dataclass(frozen=True)
class Harvested:
    """Activations of one batch of windows, special tokens left out."""

    acts: dict[Site, Float[Tensor, "token d_site"]]
    """By site, rows in the same order everywhere."""
    window: Int[Tensor, " token"]
    """Which window of the batch each row came from."""
    pos: Int[Tensor, " token"]
    """Its position there, the beginning-of-sequence token being 0."""
    ids: Int[Tensor, " token"]
    """Its token id."""
    windows: list[Window]
    """The windows themselves."""
    left_out: int
    """Positions left out: special tokens and sinks."""


def harvest(
    model: Model, windows: Iterable[Window], sites: Sequence[Site], *, batch_tokens: int = 4096, drop_sinks: bool = True
) -> Iterator[Harvested]:
    """Activations at `sites` for every window, about `batch_tokens` at a time, from one forward pass per batch.

    Special tokens are left out; with `drop_sinks` so are positions whose norm at any site exceeds ten times the batch's median.
    Raises `HookeError` naming the site and document where an activation is not finite.
    """
    special = torch.tensor(sorted(model.tokenizer.special))
    for group in _groups(windows, 8 * batch_tokens):
        for batch in length_batches([len(window.ids) for window in group], batch_tokens):
            chosen = [group[i] for i in batch]
            ids, real = pad([window.ids for window in chosen])
            keep = real & ~torch.isin(ids, special)
            acts = model.capture(ids, sites)
            flat = {site: value[keep] for site, value in acts.items()}
            window, pos = keep.nonzero(as_tuple=True)
            good = _not_sinks(flat) if drop_sinks else torch.ones(len(window), dtype=torch.bool)
            for site, value in flat.items():
                if not bool(value.isfinite().all()):
                    bad = chosen[int(window[~value.isfinite().all(-1)][0])]
                    raise HookeError(
                        f"activations at {site} are not finite in document {bad.doc} of {bad.corpus!r}. Use bfloat16 or float32."
                    )
            yield Harvested(
                {site: value[good] for site, value in flat.items()},
                window[good],
                pos[good],
                ids[keep][good],
                chosen,
                int(real.sum()) - int(good.sum()),
            )


def pad(rows: Sequence[Sequence[int]], filler: int = 0) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """`rows` as one matrix, padded on the right with `filler`, and the mask of what is real."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < lengths[:, None]


def _groups(windows: Iterable[Window], tokens: int) -> Iterator[list[Window]]:
    group, size = [], 0
    for window in windows:
        group.append(window)
        size += len(window.ids)
        if size >= tokens:
            yield group
            group, size = [], 0
    if group:
        yield group


def _not_sinks(acts: dict[Site, Tensor]) -> Bool[Tensor, " token"]:
    good = None
    for value in acts.values():
        norm = value.float().norm(dim=-1)
        calm = norm <= _SINK_NORM * norm.median() if len(norm) else norm > 0
        good = calm if good is None else good & calm
    assert good is not None
    return good


def shuffled(
    harvests: Iterable[Harvested], *, capacity: int, batch: int, reuse: int = 1, seed: int = 0
) -> Iterator[dict[Site, Float[Tensor, "batch d_site"]]]:
    """Batches drawn at random from a buffer of `capacity` tokens that the harvest keeps full; each token is drawn `reuse` times.

    All sites of a token travel together. A forward pass costs several times a training step, so drawing every activation a few times,
    far apart, buys most of what as many fresh ones would. Once fewer tokens than a batch are left, they are left out.
    """
    if not 1 <= batch <= capacity or reuse < 1:
        raise BadConfig(f"batch={batch} must be from 1 to capacity={capacity}, and reuse={reuse} at least 1.")
    rng = np.random.default_rng(seed)
    store: dict[Site, Tensor] = {}
    left = np.zeros(capacity, np.int16)
    for part in itertools.chain(harvests, [None]):
        fresh = 0 if part is None else len(part.pos)
        at = 0
        while at < fresh:
            assert part is not None
            for site, value in part.acts.items():
                if site not in store:
                    store[site] = torch.empty(capacity, value.shape[1], dtype=value.dtype)
            free = np.flatnonzero(left == 0)[: fresh - at]
            for site, value in part.acts.items():
                store[site][torch.from_numpy(free)] = value[at : at + len(free)].cpu()
            left[free] = reuse
            at += len(free)
            if at < fresh:  # full: emit until a quarter is free again
                yield from _draw(store, left, batch, rng, until=capacity * 3 // 4)
    yield from _draw(store, left, batch, rng, until=0)


def _draw(store: dict[Site, Tensor], left: np.ndarray, batch: int, rng: np.random.Generator, until: int) -> Iterator[dict[Site, Tensor]]:
    live = np.flatnonzero(left)
    while len(live) >= max(batch, until + 1):
        slots = rng.choice(live, batch, replace=False, shuffle=False)
        left[slots] -= 1
        picked = torch.from_numpy(slots)
        yield {site: value[picked] for site, value in store.items()}
        live = live[left[live] > 0]

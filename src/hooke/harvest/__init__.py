"""Harvest: a model reading windows of text, and its activations at several sites."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadFile, HookeError
from hooke.metrics import norms, usual_norms
from hooke.model import Model, length_batches, pad
from hooke.model.alone import packed
from hooke.model.architectures import spoilt_weight
from hooke.names import Site
from hooke.text.corpus import Window

__all__ = ["Harvested", "grouped", "harvest", "pad"]

T = TypeVar("T")


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
    sink: Bool[Tensor, " token"]
    """Rows that are attention sinks: none where those are left out."""
    special: int
    """Positions left out because they hold special tokens."""
    sinks: int
    """Positions left out as attention sinks."""

    @property
    def docs(self) -> Int[Tensor, " token"]:
        """Number of the document that each row is of, in its corpus."""
        if not any(window.docs for window in self.windows):
            return torch.tensor([window.doc for window in self.windows])[self.window]
        places = zip(self.window.tolist(), self.pos.tolist(), strict=True)
        return torch.tensor([self.windows[window].doc_at(pos) for window, pos in places])

    @property
    def left_out(self) -> int:
        """Positions left out: special tokens and sinks."""
        return self.special + self.sinks


def harvest(
    model: Model,
    windows: Iterable[Window],
    sites: Sequence[Site],
    *,
    batch_tokens: int = 4096,
    drop_sinks: bool = True,
    skip: int = 0,
    alone: bool = False,
) -> Iterator[Harvested]:
    """Activations at `sites` for every window, about `batch_tokens` at a time, from one forward pass per batch.

    Special tokens are left out; with `drop_sinks` so are attention sinks (`metrics.not_sinks`). The first
    `skip` batches are passed over without running the model; those after them are what they would have been. With `alone` each window is
    computed as if by itself, as far as the model can (`Model.capture` with `lengths`).
    Raises `HookeError` naming the site and document where an activation is not finite.
    """
    for chosen in itertools.islice(batches(windows, batch_tokens, alone), skip, None):
        yield read(model, chosen, sites, drop_sinks, alone)


def read(
    model: Model,
    chosen: list[Window],
    sites: Sequence[Site],
    drop_sinks: bool,
    alone: bool = False,
    judged: Sequence[Site] | None = None,
) -> Harvested:
    """What `harvest` gives for one batch. With `judged` only what is a sink at these sites is one."""
    # A function of its own, so that no suspended generator keeps the model's tensors alive beside the rows that were taken from them.
    ids, wanted = model.padded([window.ids for window in chosen])
    acts = model.capture(ids, sites, **({"lengths": [len(window.ids) for window in chosen]} if alone else {}))
    length = {site: norms(value).cpu() for site, value in acts.items()}
    for site, norm in length.items():
        if not bool(norm[wanted].isfinite().all()):  # or larger than a float32 squared can be, which means the same
            window = chosen[int((wanted & ~norm.isfinite()).nonzero()[0, 0])]
            raise not_finite(model, site, f"document {window.doc} of {window.corpus!r}")
    calm = usual_norms([length[site] for site in judged or acts], wanted)
    good = calm if drop_sinks else wanted
    window, pos = good.nonzero(as_tuple=True)
    rows = window * ids.shape[1] + pos
    return Harvested(
        {site: value.flatten(0, 1).index_select(0, rows.to(value.device)) for site, value in acts.items()},
        window,
        pos,
        ids[good],
        chosen,
        ~calm[good],
        sum(len(window.ids) for window in chosen) - int(wanted.sum()),
        int(wanted.sum()) - len(rows),
    )


def not_finite(model: Model, site: Site, where: str) -> HookeError:
    """The error for activations that are not finite: by a weight that is not, which is named, or by the number format."""
    said = f"activations at {site} are not finite in {where}."
    if name := spoilt_weight(model.hf):
        return BadFile(f"{said} The weight {name!r} of {model.name} holds values that are not finite; its file is damaged.")
    return HookeError(f"{said} Use bfloat16 or float32.")


def batches(windows: Iterable[Window], tokens: int, alone: bool = False) -> Iterator[list[Window]]:
    """The windows of each forward pass of `harvest`. Lengths are sorted within a group only, so that a corpus of any size can be read."""
    for group in grouped(windows, 8 * tokens, lambda window: len(window.ids)):
        for batch in (packed if alone else length_batches)([len(window.ids) for window in group], tokens):
            yield [group[i] for i in batch]


def grouped(items: Iterable[T], least: int, size: Callable[[T], int] = lambda _: 1) -> Iterator[list[T]]:
    """Some `items` at a time, in order: as few as have a `size` of `least` together; what is left at the end may have less.

    >>> list(grouped([5, 1, 1, 4], 2, size=int))
    [[5], [1, 1], [4]]
    """
    group, total = list[T](), 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= least:
            yield group
            group, total = [], 0
    if group:
        yield group

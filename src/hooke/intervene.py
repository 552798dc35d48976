"""Intervene: forward passes of a model in which chosen features of SAEs say something else than they would."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from jaxtyping import Bool
from torch import Tensor

from hooke.errors import BadConfig, ShapeMismatch
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.model.hooks import capturing, inputs_of
from hooke.names import Site
from hooke.sae.edits import Edit, shifted
from hooke.sae.fits import check_fits, other_model

__all__ = ["intervene"]


@contextlib.contextmanager
def intervene(model: Model, *edits: Edit, where: int | Bool[Tensor, "batch total"] | None = None, variant: bool = False) -> Iterator[None]:
    """While inside, every forward pass of `model` goes on from activations with all `edits` made.

    Edits may be of several SAEs and sites; those at one site see the same activations and their changes add up. Special tokens and
    attention sinks keep their activations. `where` narrows it further: from so many positions on (a prompt's length: only what is
    generated after it), or a mask of positions. Positions are counted from the beginning of the text, with a key-value cache or without.
    Raises `BadConfig` where two edits would set the same feature or undo each other, an SAE reads above a site that it writes, or one was
    trained on another model; `variant` says that this is a variant of that (fine-tuned, say). `ShapeMismatch` where it cannot fit at all.
    """
    _refuse_strangers(model, edits, variant=variant)
    _refuse_conflicts(edits)
    if isinstance(where, int) and where < 0:
        raise BadConfig(f"where={where}: positions are counted from 0, the beginning of the text.")
    by_site: dict[Site, list[Edit]] = {}
    for one in edits:
        by_site.setdefault(one.sae.facts.output_sites[0], []).append(one)
    reads = {site: model.architecture.locate(model.hf, site) for one in edits for site in one.sae.facts.input_sites}
    with inputs_of(model.architecture.base(model.hf)) as inputs, capturing(reads) as read, contextlib.ExitStack() as stack:

        def put(site: Site, acts: Tensor) -> Tensor:
            # A site that is both read and written is captured before it is edited.
            text = ~model.is_special(inputs["input_ids"])
            shifts = [_shift(one, read, acts, text) for one in by_site[site]]
            total = torch.stack(shifts).sum(0) if len(shifts) > 1 else shifts[0]
            return shifted(acts, total if where is None else total * _wanted(where, acts, inputs["start"])[..., None])

        for site in by_site:
            stack.enter_context(model.edit(site, functools.partial(put, site), special=False))
        yield


def _shift(one: Edit, read: Mapping[Site, Tensor], acts: Tensor, text: Tensor) -> Tensor:
    """What an edit adds, nothing at attention sinks: no SAE is trained on them, and what features seem to say there means nothing."""
    calm = not_sinks([read[site] for site in one.sae.facts.input_sites], text)
    return one.shift(concat_sites(read, one.sae.facts.input_sites), acts).masked_fill(~calm[..., None], 0)


def _wanted(where: int | Tensor, acts: Tensor, start: int) -> Tensor:
    """Which positions of this pass, the first of which is number `start` of its text, are meant."""
    stop = start + acts.shape[1]
    if isinstance(where, int):
        return (torch.arange(start, stop, device=acts.device) >= where).expand(acts.shape[:2])
    if where.shape[1] < stop or len(where) not in (1, len(acts)):
        raise ShapeMismatch(f"a mask of {list(where.shape)} positions does not cover texts of {[len(acts), stop]}.")
    return where[:, start:stop].to(acts.device).expand(acts.shape[:2])


def _refuse_strangers(model: Model, edits: Sequence[Edit], *, variant: bool) -> None:
    if not edits:
        raise BadConfig("nothing to change: give at least one edit, for example sae.ablate([17]).")
    for one in edits:
        if len(one.sae.facts.output_sites) > 1:
            raise BadConfig(f"cannot edit features of {one.sae.name}: it writes several sites.")
        check_fits(one.sae, model.name, model.width)
        if not variant and (other := other_model(one.sae, model.name)):
            raise BadConfig(f"{other} If this is a variant of that model, say so: intervene(model, ..., variant=True).")
        model.architecture.one_pass(one.sae.facts)


def _refuse_conflicts(edits: Sequence[Edit]) -> None:
    for one, other in combinations(edits, 2):
        if {one.kind, other.kind} <= {"project", "cap"} and one.sae.facts.output_sites == other.sae.facts.output_sites:
            site = one.sae.facts.output_sites[0]
            raise BadConfig(f"{one.kind} and {other.kind} at {site} would undo each other, as directions are not independent. Keep one.")
        both = set(one.features.tolist()) & set(other.features.tolist())
        if one.sae.name == other.sae.name and both and "add" not in (one.kind, other.kind):
            raise BadConfig(f"two edits set feature {min(both)} of {one.sae.name}: {one.kind} and {other.kind}. Keep one of them.")

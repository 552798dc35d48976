"""Pooled texts: each text's activations and codes as one vector each, mean and largest, from one pass of the model for all SAEs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.codes import Codes
from hooke.errors import BadConfig
from hooke.evals.probes import Vectors, require_sklearn
from hooke.evals.randomised import random_dictionary
from hooke.evals.run import check
from hooke.harvest import harvest
from hooke.metrics import concat_sites
from hooke.model import Model
from hooke.names import Site
from hooke.sae import Sae
from hooke.text.corpus import Window

CONTEXT = 128
"""Tokens read of each text, the beginning-of-sequence token included (SAEBench, arXiv 2503.09532)."""
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Pooled:
    """One vector per text, in the texts' order; special tokens are not counted, and a text without any other has zeros."""

    mean: Vectors
    """Over the text's tokens."""
    max: Vectors
    """The largest, column by column."""

    def by(self, name: str) -> Vectors:
        """`mean` or `max`."""
        return {"mean": self.mean, "max": self.max}[name]


@dataclass(frozen=True)
class PooledTexts:
    """What a model and some SAEs made of some texts."""

    acts: dict[tuple[Site, ...], Pooled]
    """Activations, by the sites that an SAE reads."""
    codes: list[Pooled]
    """Codes of each SAE, in the order given; sparse."""
    random: list[Pooled]
    """Codes of a random dictionary in each SAE's place, as wide and as sparse."""
    dictionaries: list[Sae]
    """Those random dictionaries."""
    l0: list[float]
    """Active features per token of each SAE."""
    random_l0: list[float]
    """Those of each random dictionary."""
    texts: list[str]
    """The texts as far as they were read."""
    tokens: int
    """Tokens read, special ones not counted."""


def pool_texts(
    model: Model,
    saes: Sequence[Sae],
    texts: Sequence[str],
    *,
    l0: Sequence[float] | None = None,
    context: int = CONTEXT,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> PooledTexts:
    """Vectors of `texts` (their first `context` tokens): activations, codes of `saes`, and codes of random dictionaries like them.

    One pass of the model serves all; only pooled vectors are kept. The random dictionaries are as sparse as the SAEs are on the first
    batch. With `l0` they have that many active features, and the SAEs themselves are left out: for a model they were not made for.

    Raises `ShapeMismatch` for an SAE of another model, `BadConfig` where an SAE is given twice or the texts have no tokens.
    """
    require_sklearn()  # which brings scipy, for the sparse rows
    if l0 is None:
        check(model, saes)
    progress(f"Reading {len(texts):,} labelled texts" + ("" if l0 is None else " with random weights"))
    ids = [row[:context] for row in model.tokenizer.encode(list(texts))]
    windows = (Window("texts", number, row) for number, row in enumerate(ids))
    gathered = {sae.facts.input_sites: _Gathered(len(ids)) for sae in saes}
    known = saes if l0 is None else []
    chosen: list[Sae] = []
    coded: list[_Gathered] = []
    tokens = 0
    sites = list(dict.fromkeys(site for group in gathered for site in group))
    for part in harvest(model, windows, sites, batch_tokens=_BATCH_TOKENS):
        acts = {group: concat_sites(part.acts, group).float() for group in gathered}
        if not len(part.pos):
            continue
        if not chosen:
            chosen = [*known, *_random_dictionaries(acts, saes, l0, seed)]
            coded = [_Gathered(len(ids)) for _ in chosen]
        doc = torch.tensor([window.doc for window in part.windows])[part.window.cpu()]
        tokens += len(doc)
        for group, value in acts.items():
            gathered[group].add_acts(doc, value)
        for sae, own in zip(chosen, coded, strict=True):
            own.add_codes(doc, sae.encode(acts[sae.facts.input_sites].to(sae.W_enc.device)))
    if not tokens:
        raise BadConfig(f"none of the {len(ids):,} texts has a token within its first {context}.")
    pooled = [own.sparse(sae.d_sae) for sae, own in zip(chosen, coded, strict=True)]
    active = [own.active / tokens for own in coded]
    n = len(known)
    return PooledTexts(
        acts={group: own.dense() for group, own in gathered.items()},
        codes=pooled[:n],
        random=pooled[n:],
        dictionaries=chosen[n:],
        l0=active[:n],
        random_l0=active[n:],
        texts=[model.tokenizer.decode(row) for row in ids],
        tokens=tokens,
    )


def _random_dictionaries(
    acts: Mapping[tuple[Site, ...], Tensor], saes: Sequence[Sae], l0: Sequence[float] | None, seed: int
) -> Iterator[Sae]:
    for number, sae in enumerate(saes):
        own = acts[sae.facts.input_sites].to(sae.W_enc.device)
        wanted = float(sae.encode(own).l0.float().mean()) if l0 is None else l0[number]
        yield random_dictionary(own, sae, l0=wanted, seed=seed + number)


class _Gathered:
    """Pooled vectors on their way in: a text lies whole within one batch."""

    def __init__(self, texts: int) -> None:
        self._texts = texts
        self._rows: list[tuple[np.ndarray, ...]] = []
        self.active = 0

    def add_acts(self, doc: Int[Tensor, " token"], acts: Float[Tensor, "token d"]) -> None:
        order = torch.argsort(doc, stable=True)
        found, counts = torch.unique_consecutive(doc[order], return_counts=True)
        if not len(found):
            return
        values = acts[order.to(acts.device)].cpu().numpy()
        starts = np.concatenate([[0], counts.cumsum(0)[:-1].numpy()])
        mean = np.add.reduceat(values, starts, axis=0) / counts.numpy()[:, None]
        self._rows.append((found.numpy(), mean, np.maximum.reduceat(values, starts, axis=0)))

    def add_codes(self, doc: Int[Tensor, " token"], codes: Codes) -> None:
        self.active += len(codes.feature)
        row, feature, value = (part.cpu().numpy() for part in (codes.row, codes.feature, codes.value))
        key = doc.numpy()[row] * codes.d_sae + feature
        if not len(key):
            return
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        found, values = key[order][starts], value[order]
        counts = np.bincount(doc.numpy(), minlength=self._texts)
        mean = np.add.reduceat(values, starts) / counts[found // codes.d_sae]
        largest = np.maximum.reduceat(values, starts)
        self._rows.append((found, mean.astype(np.float32), largest.astype(np.float32)))

    def dense(self) -> Pooled:
        doc, mean, largest = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        out = np.zeros((2, self._texts, mean.shape[1]), np.float32)
        out[0, doc], out[1, doc] = mean, largest
        return Pooled(out[0], out[1])

    def sparse(self, d_sae: int) -> Pooled:
        from scipy.sparse import csr_matrix

        columns = zip(*self._rows, strict=True) if self._rows else ([np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)])
        key, mean, largest = (np.concatenate(column) for column in columns)
        place, shape = (key // d_sae, key % d_sae), (self._texts, d_sae)
        return Pooled(csr_matrix((mean, place), shape=shape), csr_matrix((largest, place), shape=shape))

"""Reader: a model, SAEs and what their atlas knows, turning texts into the features that stand out in them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke import sanity
from hooke.analysis.background import Background
from hooke.analysis.firings import Firings
from hooke.analysis.labelled_sae import LabelledSae, Ranked
from hooke.analysis.naming import named_by
from hooke.analysis.ranking import diverse
from hooke.analysis.result import Hit, TextResult
from hooke.analysis.topics import weigh_topics
from hooke.atlas import NO_MEANING, Feature
from hooke.atlas.notes import Notes
from hooke.errors import BadConfig, BadFile, unknown
from hooke.harvest import Harvested, batches, grouped
from hooke.harvest import read as read_batch
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.model.alone import in_blocks
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.facts import sites_of
from hooke.sae.fits import check_fits, other_model
from hooke.sae.packs import default_sae
from hooke.text.corpus import Window
from hooke.text.intake import Record
from hooke.text.marks import half_pair

# Long texts are read in windows, each with the beginning-of-sequence token in front; what is beyond the cap is counted, not read.
_WINDOW = 1024
MAX_TOKENS = 16_384
"""Tokens that are read of one text."""
# Tokens that are encoded, and texts that are ranked, at once at least: small pieces would mostly be calls.
_ENCODED, _RANKED = 4096, 64
# Below this share of what an SAE explains on its own held-out text, after so many tokens, it is tried on ordinary text.
_SUSPECT, _SUSPECT_TOKENS = 0.6, 16


@dataclass(frozen=True)
class Options:
    """How to read."""

    top: int = 6
    """Features shown for each text."""
    pool: Literal["max", "mean", "sum"] = "mean"
    """How a feature's activations over a text become one number to rank by."""
    min_label_score: float = 0.0
    """Leave out features whose label scores less, or has no score."""
    batch_tokens: int = 1024
    """Tokens per forward pass, padding included."""
    chunk: int = 256
    """Texts sorted by length together; results come out a chunk at a time."""

    def __post_init__(self) -> None:
        if self.pool not in ("max", "mean", "sum"):
            raise unknown("pooling", self.pool, ("max", "mean", "sum"))
        for name, low, high in (("top", 1, 100_000), ("batch_tokens", 1, 1 << 22), ("chunk", 1, 1 << 20), ("min_label_score", 0, 1)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and low <= value <= high):  # false for NaN, too
                raise BadConfig(f"{name} is {value!r:.60}; it must be from {low} to {high:,}.")


class Reader:
    """Reads texts through one model and some SAEs."""

    def __init__(
        self,
        model: Model,
        saes: Sequence[Sae],
        options: Options,
        progress: Callable[[str], None] = lambda _: None,
        notes: Notes | None = None,
        atlas: Path | None = None,
    ) -> None:
        """Raises `ShapeMismatch` where an SAE is of another width, or does not do what its header promises.

        SAEs that no atlas knows, or whose files name another model, are tried on ordinary text here; the others once they do badly on
        what they are given to read. With `notes`, features bear the labels that were given to them there; `atlas` is the file to use in
        place of those at hand, and has to know every SAE.
        """
        for sae in saes:
            check_fits(sae, model.name, model.width)
        self.model, self.options, self._progress = model, options, progress
        self.labelled_saes = [LabelledSae(sae, notes, atlas) for sae in saes]
        for labelled in self.labelled_saes:
            if labelled.table is None:
                progress(f"No atlas knows {labelled.sae.name}: reading ordinary text to know what is usual")
                self._try(labelled.sae)
                labelled.background = self._background(labelled.sae)
            elif other_model(labelled.sae, model.name):
                self._try(labelled.sae)
            if labelled.likelihood is not None and labelled.likelihood.mean.size != sum(map(model.width, labelled.sites_around)):
                raise BadFile(f"the likelihood kept for {labelled.sae.name} is of a model of another width than {model.name}.")
        self._clear()

    @cached_property
    def _neutral(self) -> sanity.Neutral:
        return sanity.Neutral(self.model)

    def _try(self, sae: Sae) -> None:
        """Raise `ShapeMismatch` where what is wrong with `sae` is known, or where it does badly on ordinary text and names another model.

        Otherwise it may just be poor, or made for other text: that is said with the figures, and it is read all the same.
        """
        found = sanity.fault(sae, self._neutral.acts, self._neutral.alternatives(sae), self._progress)
        other = other_model(sae, self.model.name)
        if found is not None:
            found.refuse(other)
            self._progress(f"Warning: {found.said}")
        elif other:
            self._progress(f"Warning: {other} On ordinary text it {sanity.measure(sae, self._neutral.acts)}.")

    def _background(self, sae: Sae) -> Background:
        acts = self._neutral.acts(sites_of([sae.facts]))
        everyone = torch.ones(1, len(self._neutral.sentence), dtype=torch.bool)
        calm = not_sinks([own[None] for own in acts.values()], everyone)[0]
        codes = sae.encode(concat_sites(acts, sae.facts.input_sites)).silenced(~calm)
        mean = concat_sites(acts, sae.facts.output_sites)[calm].mean(0)
        return Background(codes, self._neutral.sentence, self._neutral.texts, mean)

    @cached_property
    def naming(self) -> list[str]:
        """Where the names of features come from, as sentences."""
        return named_by(self.labelled_saes)

    def _clear(self) -> None:
        self._checked = False
        self._tokens = 0
        # By SAE: Σ‖x − x̂‖² and Σ‖x − μ‖² over everything read.
        self._sums = np.zeros((len(self.labelled_saes), 2))

    @property
    def explained(self) -> list[float | None]:
        """Share of the variance of all texts of the last `read` that each SAE reconstructs; None before there is any."""
        return [1 - float(error / variance) if variance > 0 else None for error, variance in self._sums]

    @classmethod
    def load(
        cls,
        model: str | Path | Model,
        saes: Sequence[str | Path | Sae],
        options: Options,
        *,
        progress: Callable[[str], None] = lambda _: None,
        atlas: Path | None = None,
    ) -> "Reader":
        """The model and SAEs by name (or as they are), with your notes; without SAEs, the installed one that reads news best."""
        refs = saes or [default_sae(model.name if isinstance(model, Model) else str(model))]
        chosen = [ref if isinstance(ref, Sae) else Sae.from_pretrained(ref, progress=progress) for ref in refs]
        loaded = model if isinstance(model, Model) else Model.load(model, progress=progress)
        return cls(loaded, chosen, options, progress, Notes(), atlas)

    def read(self, texts: Iterable[str]) -> Iterator[TextResult]:
        """A result for each text, in order; that of a `Record` keeps its fields."""
        self._clear()
        for chunk in grouped(texts, self.options.chunk):
            for text, result in zip(chunk, self._read_chunk([str(text) for text in chunk]), strict=True):
                yield replace(result, fields=text.fields) if isinstance(text, Record) else result

    def glance(self, texts: Iterable[str], *, around: bool = False) -> "Iterator[Glance]":
        """For each text, in order, everything that was found in it, unranked: for statistics over many texts; `around`, also what tells
        how likely names are right of it.

        What is said of a text is the same to the bit, whatever it is read with and on any number of threads (`hooke.model.alone`).
        """
        self._clear()
        for chunk in grouped(texts, self.options.chunk):
            for parts, _ in self._passages([str(text) for text in chunk], alone=True, around=around):
                ids = [token for part in parts for token in part.ids.tolist()]
                merged = self._merged(parts) if parts else []
                topic = weigh_topics(self.labelled_saes, [merged])[0][0] if ids else None
                acts = merged[0].acts if parts else np.zeros(self.labelled_saes[0].sae.d_in, np.float32)
                yield Glance(ids, merged, topic, acts / max(1, len(ids)))

    def measure(self, texts: Iterable[str], features: Sequence[int]) -> "Iterator[MeasuredText]":
        """For each text, in order, what some features of the first SAE say of it: little more work than the model's own.

        The figures are those of `glance`, to rounding, and as there the same to the bit whatever a text is read with.
        """
        sae, chosen = self.labelled_saes[0].sae, torch.as_tensor(features, dtype=torch.int64)
        for chunk in grouped(texts, self.options.chunk):
            tokens, values = np.zeros(len(chunk), np.int64), np.zeros((len(chunk), len(features)))
            acts = np.zeros((len(chunk), sae.d_in), np.float32)
            for some in grouped(
                self._harvested([str(text) for text in chunk], alone=True, around=False)[0], _ENCODED, lambda one: len(one.ids)
            ):
                read, _, sink, counts, _ = self._joined(some)
                here = concat_sites(read, sae.facts.input_sites)
                found = _summed(in_blocks(lambda rows: sae.activations(rows, chosen), here) * ~sink[:, None], counts).numpy()
                windows = (window for one in some for window in one.windows)
                for window, own, value, act in zip(windows, counts.tolist(), found, _summed(here, counts).numpy(), strict=True):
                    tokens[window.doc] += own
                    acts[window.doc] += act
                    np.maximum(values[window.doc], value / max(1, own), out=values[window.doc])
            for n, own in enumerate(tokens.tolist()):
                yield MeasuredText(own, values[n], acts[n] / max(1, own))

    def _read_chunk(self, texts: Sequence[str]) -> list[TextResult]:
        passages = self._passages(texts)
        # Ranked some at a time: the work for a single text would mostly be calls.
        some = range(0, len(texts), _RANKED)
        return [one for at in some for one in self._results(texts[at : at + _RANKED], passages[at : at + _RANKED])]

    def _passages(self, texts: Sequence[str], *, alone: bool = False, around: bool = True) -> "list[tuple[list[_Part], int]]":
        """For each text what was found in its windows, and how many tokens were too many; see `_harvested`."""
        parts: list[dict[int, _Part]] = [{} for _ in texts]
        read, encoded = self._harvested(texts, alone=alone, around=around)
        for some in grouped(read, _ENCODED, lambda one: len(one.ids)):
            for window, part in self._look(some, around=around):
                parts[window.doc][window.start] = part
        lost = [max(0, len(ids) - len(self._head) - MAX_TOKENS) for ids in encoded]
        return [([own[start] for start in sorted(own)], more) for own, more in zip(parts, lost, strict=True)]

    def _harvested(self, texts: Sequence[str], *, alone: bool, around: bool) -> tuple[Iterator[Harvested], Sequence[Sequence[int]]]:
        """The activations of texts, and their tokens; `alone`, of each by itself; without `around` only at the sites that the SAEs read
        and rebuild."""
        for text in texts:
            if half_pair(text) is not None:
                raise BadFile(f"the text {text[:40]!r} is not valid UTF-8: it holds half of a surrogate pair, which is no character.")
        encoded = self.model.tokenizer.encode(texts)
        windows = self._windows(texts, encoded)
        own = sites_of(labelled.sae.facts for labelled in self.labelled_saes)
        sites = dict.fromkeys([*own, *(site for labelled in self.labelled_saes for site in labelled.sites_around if around)])
        parts = batches(windows, self.options.batch_tokens, alone)
        return (read_batch(self.model, part, list(sites), False, alone, own) for part in parts), encoded

    def _merged(self, parts: "Sequence[_Part]") -> list[Firings]:
        """What each SAE found in a text."""
        lengths = [len(part.ids) for part in parts]
        return [Firings.join([part.fired[k] for part in parts], lengths) for k in range(len(self.labelled_saes))]

    @property
    def _head(self) -> list[int]:
        return [] if self.model.tokenizer.bos is None else [self.model.tokenizer.bos]

    def _windows(self, texts: Sequence[str], encoded: Sequence[Sequence[int]]) -> Iterator[Window]:
        head = self._head
        step = min(_WINDOW, self.model.context) - len(head)
        for number, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
            body = list(ids[len(head) :])
            for at in range(0, min(len(body), MAX_TOKENS), step):
                yield Window(text[:40], number, head + body[at : min(at + step, MAX_TOKENS)], start=at)

    @torch.inference_mode()
    def _look(self, read: Sequence[Harvested], *, around: bool) -> "list[tuple[Window, _Part]]":
        """What was found in each window; `around`, with what tells how likely names are right."""
        acts, ids, sink, counts, text = self._joined(read)
        by_sae = [
            labelled.look(
                concat_sites(acts, labelled.sae.facts.input_sites),
                text,
                len(counts),
                self.options.pool,
                concat_sites(acts, labelled.sae.facts.output_sites),
                sink,
                concat_sites(acts, labelled.sites_around) if around and labelled.sites_around else None,
            )
            for labelled in self.labelled_saes
        ]
        self._tokens += len(ids)
        self._sums += [[sum(f.error for f in fired), sum(f.variance for f in fired)] for fired in by_sae]
        if not self._checked and self._tokens >= _SUSPECT_TOKENS:
            self._check_fit()
        sinks = torch.zeros(len(counts), dtype=torch.int64).index_add_(0, text, sink.long()).tolist()
        windows = (window for one in read for window in one.windows)
        rows = zip(windows, ids.split(counts.tolist()), *by_sae, sinks, strict=True)
        return [(window, _Part(row, list(fired), some)) for window, row, *fired, some in rows]

    def _joined(self, read: Sequence[Harvested]) -> tuple[dict[Site, Tensor], Tensor, Tensor, Tensor, Int[Tensor, " token"]]:
        """Of several batches the activations, the tokens, which are sinks, how many each window has, and the window of each."""
        acts = {site: torch.cat([one.acts[site] for one in read]).float() for site in read[0].acts}
        ids, sink = torch.cat([one.ids for one in read]), torch.cat([one.sink for one in read])
        counts = torch.cat([one.window.bincount(minlength=len(one.windows)) for one in read])
        return acts, ids, sink, counts, torch.repeat_interleave(torch.arange(len(counts)), counts)

    def _check_fit(self) -> None:
        """Try the SAEs that did badly on the first texts on ordinary text: unusual texts are no fault, weights of another place are."""
        self._checked = True
        for labelled, explained in zip(self.labelled_saes, self.explained, strict=True):
            if labelled.table is None or labelled.expected is None or explained is None:
                continue  # tried when it was loaded, or nothing is known to judge by
            if explained < _SUSPECT * labelled.expected:
                self._try(labelled.sae)

    def _results(self, texts: Sequence[str], passages: "Sequence[tuple[list[_Part], int]]") -> list[TextResult]:
        ids = [[token for part in parts for token in part.ids.tolist()] for parts, _ in passages]
        tokens = [self.model.tokenizer.pieces(own, begins=True) for own in ids]
        results = [TextResult(text, [], [], None, [], None, lost) for text, (_, lost) in zip(texts, passages, strict=True)]
        if not (some := [n for n, own in enumerate(tokens) if own]):
            return results
        merged = [self._merged(passages[n][0]) for n in some]
        topical = weigh_topics(self.labelled_saes, merged)
        ranked = [
            labelled.rank([own[k] for own in merged], [tokens[n] for n in some], self.options)
            for k, labelled in enumerate(self.labelled_saes)
        ]
        for n, fired, (topic, topics, _), *by_sae in zip(some, merged, topical, *ranked, strict=True):
            results[n] = replace(
                results[n],
                tokens=tokens[n],
                topic=topic,
                topics=topics,
                explained=float(np.mean([one.explained for one in fired])),
                sinks=sum(part.sinks for part in passages[n][0]),
                **self._lists(by_sae),
            )
        return results

    def _lists(self, ranked: "Sequence[Ranked]") -> dict[str, list[Hit]]:
        """The lists of a text: of what each SAE ranks, the first of all."""
        kinds = ("features", "about", "words")
        pairs = [[(rank, hit.pos, hit) for one in ranked for rank, hit in getattr(one, kind)] for kind in kinds]
        return dict(zip(kinds, self._told_apart([diverse(own, self.options.top) for own in pairs]), strict=True))

    def known(self, texts: Sequence[TextResult], most: int = 4000) -> dict[str, Feature]:
        """What the atlases know, by address, of the features that these texts show; of at most so many, those of *about* first."""
        hits = [hit for kind in ("about", "words", "features") for text in texts for hit in getattr(text, kind)]
        by_name = {labelled.sae.name: labelled for labelled in self.labelled_saes if labelled.atlas is not None}
        wanted = list(dict.fromkeys(hit.feature for hit in hits if hit.sae in by_name))[:most]
        return {name: atlas.feature(name) for name in wanted if (atlas := by_name[name.rpartition("/")[0]].atlas)}

    def _told_apart(self, lists: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The same hits, those of one name in a text, and those that no rule fits, with words that they promote behind it."""
        by_name = {labelled.sae.name: labelled for labelled in self.labelled_saes}
        features: dict[str | None, set[str]] = {}
        for hit in (hit for hits in lists for hit in hits):
            features.setdefault(hit.name, set()).add(hit.feature)

        def told(hit: Hit) -> Hit:
            vague = hit.name == NO_MEANING
            if hit.name is None or (len(features[hit.name]) < 2 and not vague):
                return hit
            promoted = by_name[hit.sae].promoted(hit.index)
            return replace(hit, name=f"{'unclear' if vague else hit.name} → {promoted}") if promoted else hit

        return [[told(hit) for hit in hits] for hits in lists]


@dataclass(frozen=True)
class _Part:
    """What was found in one window of a text."""

    ids: Int[Tensor, " token"]
    """Its tokens, special ones left out."""
    fired: list[Firings]
    """What each SAE found in it."""
    sinks: int
    """How many of its tokens are attention sinks."""


@dataclass(frozen=True)
class Glance:
    """One text, read and not ranked."""

    ids: list[int]
    """The tokens read of it, special ones left out."""
    fired: list[Firings]
    """What each SAE found; empty for a text without tokens."""
    topic: str | None
    """The topic it belongs to, if any."""
    acts: Float[np.ndarray, " d_in"]
    """Mean over its tokens of what the first SAE reads."""

    @property
    def tokens(self) -> int:
        """How many tokens were read of it."""
        return len(self.ids)


@dataclass(frozen=True)
class MeasuredText:
    """One text, and what some features say of it."""

    tokens: int
    """Tokens read of it."""
    values: Float[np.ndarray, " feature"]
    """Mean activation of each feature; of a text read in several windows, the largest of any."""
    acts: Float[np.ndarray, " d_in"]
    """Mean over its tokens of what the first SAE reads."""


def _summed(values: Float[Tensor, "token n"], counts: Int[Tensor, " window"]) -> Float[Tensor, "window n"]:
    """Sums over the tokens of each window, which has so many of them."""
    return torch.nn.functional.embedding_bag(torch.arange(len(values)), values, counts.cumsum(0) - counts, mode="sum")

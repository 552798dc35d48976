"""Builder: an atlas made from a model, its SAEs and text: one pass of the model, then statistics, labels and topics, feature by feature."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hooke.atlas import AtlasWriter, FeatureRecord, SaeEntry
from hooke.atlas.records import Example
from hooke.atlas.store import join_pieces, piece_of
from hooke.builder.background import Driven, Headlines, TopicEvidence, driven_by, heads, neutral_texts
from hooke.builder.cache import Portions, read_codes, read_harvested
from hooke.card import card, identified
from hooke.devices import hand_back_memory
from hooke.engine import in_processes
from hooke.engine.cluster import Cluster
from hooke.errors import BadConfig, LimitReached
from hooke.evals.run import check
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.labeller import Labeller
from hooke.explain.rules.subjects import Subjects
from hooke.explain.rules.token_marks import TokenMarks, token_marks
from hooke.features.cache import ActivationCache
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events
from hooke.features.examples import choose, example_at
from hooke.features.near_misses import NearMissFinder
from hooke.features.neighbours import LogitLens, Nearest, decoder_neighbours, logit_lens, stride_for, together
from hooke.features.statistics import Statistics, statistics
from hooke.files import sole_writer
from hooke.harvest.saving import described
from hooke.metrics import VarianceSum
from hooke.model import Model
from hooke.sae import Sae, digest
from hooke.sae.facts import sites_of
from hooke.shards import Shards
from hooke.shards.kept import Kept
from hooke.text.corpus import Corpus, windows
from hooke.text.meaning import MiniLM, encoder_folder

# Events held at a time, 8 bytes each.
_EVENTS = 1 << 24
_KINDS_OF_MISSES = 4
_EXAMPLES_TO_NAME, _MISSES, _MISSES_TO_TRY = 40, 2, 8
_UNKNOWN_L0 = 100
# Of the neutral texts one in so many is read on its own, for the figures that codes do not give.
_READ_ANEW = 10
# Of the headlines that only the regression of topics learns from, as many of each topic as one in so many of the neutral texts.
_HEADLINES = 10


@dataclass(frozen=True)
class AtlasSettings:
    """What is read, how much is kept of each feature, and how the work is done."""

    tokens: int = 2_000_000
    """Tokens to read, special ones not counted; where there are fewer, all there are."""
    context: int = 128
    """Tokens in a window of text."""
    seed: int = 0
    """Decides the order of documents."""
    examples: int = 20
    """Strongest examples of each feature."""
    per_interval: int = 4
    """Examples drawn from each stretch of its range."""
    misses: int = 32
    """Near misses of each of four kinds that labels are tested on (see `hooke.features.near_misses`)."""
    nearest: int = 10
    """Tokens promoted and suppressed, neighbours, and features that fire together."""
    background: int = 4000
    """Neutral texts that every feature is measured on; topics are learnt from as many headlines of each as a tenth of these, besides the
    typical ones."""
    background_without: tuple[str, ...] = ()
    """Names of corpora that the neutral texts do not come from."""
    subjects: bool = False
    """Whether rules may say what a text is on, which a sentence encoder is asked for (`hooke.explain.rules.subjects`)."""
    epochs: int = 1
    """How often a corpus that runs out begins again, at most."""
    batch_tokens: int = 4096
    """Tokens of a forward pass."""
    chunk_tokens: int = 1 << 15
    """Tokens read between one safe point and the next."""
    workers: int = 0
    """Threads for the statistics, processes for the labels; 0: as many as there are cores."""

    @property
    def misses_kept(self) -> int:
        """How many near misses of each kind are kept: some to look at; more where names are to be made, and tried on the other half."""
        return _MISSES_TO_TRY if self.examples >= _EXAMPLES_TO_NAME else _MISSES


Report = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and how much there is."""


def work_folder(path: Path) -> Path:
    """Where an unfinished atlas of that name keeps what it has read."""
    return path.with_name(path.name + ".work")


def cache_bytes(saes: Sequence[Sae], tokens: int) -> int:
    """About how many bytes of disk the codes of so many tokens take."""
    each = 4.0
    for sae in saes:
        l0 = min(sae.d_sae, sae.facts.metrics.get("l0", sae.facts.k or _UNKNOWN_L0))
        each += 4 + l0 * (6 if sae.d_sae <= 1 << 16 else 8)
    return int(each * tokens)


def build_atlas(
    model: Model,
    saes: Sequence[Sae],
    corpora: Sequence[Corpus],
    path: Path | str,
    settings: AtlasSettings = AtlasSettings(),
    *,
    acts: Shards | None = None,
    progress: Report | None = None,
    cluster: Cluster | None = None,
    kept: str | None = None,
) -> Path:
    """Make the atlas of `saes` at `path` from text of `corpora`, or from what a harvest of that text has kept of it in `acts`.

    From `acts` no text is read a second time but for the neutral texts that its windows do not give; `context`, `seed` and `epochs` are
    then those of the harvest, and text of its other corpora is left aside.

    What the model read is kept in `work_folder` until the atlas is there: stopped at any moment and called again with the same arguments,
    it goes on and comes to the same content. At the address `kept` the same is kept as well, chunk by chunk, so that another machine can
    go on. With `cluster` its workers read. An atlas that was at `path` stays until the new one takes its place.

    Raises `BadConfig` for a work folder of other settings, `ShapeMismatch` for an SAE of another model, `LimitReached` where the disk has
    no room, `Missing` where subjects are asked for and no sentence encoder is installed.
    """
    path, report = Path(path), progress or (lambda *_: None)
    _check(model, saes, corpora, settings, acts)
    asked = {name: getattr(settings, name) for name in ("tokens", "context", "seed", "epochs")}
    portions = Portions(settings.tokens, settings.chunk_tokens, settings.batch_tokens)
    digests = {sae.name: digest(sae) for sae in saes}
    read = [described(corpus) for corpus in corpora]
    identity = {"model": model.name, "dtype": str(model.dtype).removeprefix("torch."), "digests": digests, "read": read, **asked}
    identity |= asdict(portions) if acts is None else {"acts": acts.digest}
    folder = work_folder(path)
    try:
        with sole_writer(folder):
            store = Kept(kept, folder) if kept else None
            cache = _cache(folder, identity, saes, corpora, store)
            if not cache.complete:
                _check_room(folder, cache_bytes(saes, settings.tokens - cache.tokens))
                report("Reading", cache.tokens, settings.tokens)
                texts = windows(corpora, model.tokenizer, length=settings.context, seed=settings.seed, epochs=settings.epochs)

                def told(done: int) -> None:
                    report("Reading", done, settings.tokens)

                if acts is None:
                    read_codes(model, saes, texts, cache, portions, told, cluster)
                else:
                    read_harvested(acts, saes, cache, settings.tokens, told)
            hand_back_memory()
            weights = {corpus.name: corpus.weight for corpus in corpora}
            facts = {"model": model.name, "tokens": cache.tokens, "left_out": cache.left_out, "asked": asked, "corpora": weights}
            _Build(model, digests, saes, cache, settings, report).write(path, facts, corpora)
            cache.remove()
            if store is not None:
                store.put([], gone=lambda _: True)
    finally:
        with contextlib.suppress(OSError):  # what was read stays, to go on from
            folder.rmdir()
    return path


def _cache(folder: Path, identity: dict[str, Any], saes: Sequence[Sae], corpora: Sequence[Corpus], store: Kept | None) -> ActivationCache:
    """What was read so far: in the folder, or as the store has it."""
    widths, names = {sae.name: sae.d_sae for sae in saes}, [corpus.name for corpus in corpora]
    if store is None:
        return ActivationCache(folder, identity, widths, names)
    store.restore()
    return ActivationCache(folder, identity, widths, names, store.put)


def _check(model: Model, saes: Sequence[Sae], corpora: Sequence[Corpus], settings: AtlasSettings, acts: Shards | None) -> None:
    if not saes:
        raise BadConfig("no SAE to make an atlas of.")
    check(model, saes)
    if settings.subjects:
        encoder_folder()
    if settings.tokens < 1 or not 2 <= settings.context <= model.context:
        raise BadConfig(
            f"tokens={settings.tokens} must be at least 1, and context={settings.context} "
            f"from 2 to the {model.context:,} that {model.name} reads."
        )
    if not corpora or len({corpus.name for corpus in corpora}) < len(corpora):
        raise BadConfig(f"an atlas needs one or more corpora, each with a name of its own; these are {len(corpora)}.")
    if acts is not None:
        acts.check(model=model.name, sites=sites_of(sae.facts for sae in saes))
        if not {corpus.name for corpus in corpora} & acts.corpora.keys():
            held = ", ".join(sorted(acts.corpora))
            raise BadConfig(f"the shards at {acts} hold no text of {', '.join(corpus.name for corpus in corpora)}; they have {held}.")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise LimitReached(
            f"the codes of that many tokens take about {needed / 1e9:.1f} GB at {folder}, where {free / 1e9:.1f} GB are free. "
            "Ask for fewer tokens or fewer SAEs at once, or write to another disk."
        )


class _Build:
    """What all SAEs of an atlas share."""

    def __init__(
        self, model: Model, digests: dict[str, str], saes: Sequence[Sae], cache: ActivationCache, settings: AtlasSettings, report: Report
    ) -> None:
        self.model, self.digests, self.saes, self.cache, self.settings, self.report = model, digests, saes, cache, settings, report
        self.workers = settings.workers or os.cpu_count() or 1
        self.text = cache.text()
        self.lens = logit_lens(model)

    def write(self, path: Path, facts: dict[str, Any], corpora: Sequence[Corpus]) -> None:
        """The atlas, whole."""
        settings, model, text = self.settings, self.model, self.text
        headlines = Headlines.encoded(model.tokenizer, settings.background // _HEADLINES)
        neutral = [corpus for corpus in corpora if corpus.name not in settings.background_without]
        self.report("Reading short texts", 0, 1)
        head = heads(text, settings.background_without, settings.background - max(1, settings.background // _READ_ANEW))
        missing = settings.background - int(head.max(initial=-1) + 1)
        ordinary = neutral_texts(neutral or corpora, model.tokenizer, missing, settings.context)
        short = [driven_by(model, self.saes, texts, settings.batch_tokens) for texts in (headlines.windows, ordinary)]
        hand_back_memory()
        self.report("Taking stock of the words", 0, 1)
        pieces = {token: piece_of(model.tokenizer.spelling(token)) for token in range(len(self.lens.shown))}
        self.names = {token: piece if isinstance(piece, str) else piece.decode("utf-8", "replace") for token, piece in pieces.items()}
        reading = _reading(text, pieces, self.workers)
        if self.settings.subjects:
            self.report("Asking what the texts are on", 0, 1)
            reading.on_subjects(Subjects(MiniLM()))
        self.labeller = Labeller(reading)
        self.near = NearMissFinder(text)
        facts = facts | {"windows": text.windows, "documents": len(text.document_tokens), "topics": headlines.names}
        facts |= {"made": card([identified(model)], self.saes, (text.start.tobytes(), text.ids.tobytes()), settings.seed)}
        with AtlasWriter(path, facts) as writer:
            writer.windows(text.text_windows(range(text.windows)))
            writer.pieces(pieces)
            for sae in self.saes:
                counts, maximum = self.cache.scales(sae.name)
                on_headlines, on_neutral = (one[sae.name] for one in short)
                on_neutral = on_neutral.beside(self.cache.codes(sae.name, head >= 0), head[head >= 0])
                topics = TopicEvidence.weigh(headlines, on_headlines, on_neutral, maximum)
                entry = self._entry(sae, topics, on_headlines, on_neutral)
                writer.sae(entry, self._records(sae, counts, topics))
            writer.finish()

    def _entry(self, sae: Sae, topics: TopicEvidence, on_headlines: Driven, on_neutral: Driven) -> SaeEntry:
        facts = {
            "tokens": len(self.text),
            "background_texts": topics.texts,
            "explained": 1 - VarianceSum.of(torch.from_numpy(self.cache.sums(sae.name))).fvu,
            "explained_background": on_neutral.explained,
            "explained_headlines": on_headlines.explained,
            "groups": sae.facts.groups,
        }
        return SaeEntry(sae.name, self.digests[sae.name], sae.d_sae, facts, on_neutral.mean.numpy())

    def _records(self, sae: Sae, counts: np.ndarray, topics: TopicEvidence) -> Iterator[FeatureRecord]:
        """The features of one SAE in order, some at a time."""
        self.report(sae.name, 0, sae.d_sae)
        n, tokens = self.settings.nearest, len(self.text)
        both = together(self.cache.codes(sae.name, np.arange(tokens) % stride_for(counts, tokens) == 0), counts / tokens, n, self.workers)
        near = _Near(*_ends(self.lens, sae, n), decoder_neighbours(sae.W_dec, n), both)
        edges = np.searchsorted(np.cumsum(counts) // _EVENTS, np.arange(counts.sum() // _EVENTS + 2))
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if low < high:
                for record in self._block(self.cache.events(sae.name, counts, low, high), low, near, topics):
                    yield record
                    self.report(sae.name, record.index + 1, sae.d_sae)

    def _block(self, events: Events, low: int, near: "_Near", topics: TopicEvidence) -> Iterator[FeatureRecord]:
        """The features of `events`, the first of which is number `low` of the SAE."""
        settings, text = self.settings, self.text
        found = statistics(events, text, self.workers)
        top, spread = choose(events, text, settings.examples, settings.per_interval, self.workers)
        misses = self.near.find(events, found.token, top, settings.misses, self.workers)
        kept = misses.reshape(len(events), _KINDS_OF_MISSES, -1)[:, :, : settings.misses_kept].reshape(len(events), -1)
        block = _Block(events, low, text, found, (top, spread, misses, kept), near, topics, self.labeller, self.names)
        return in_processes(_Block.record, block, range(len(events)), self.workers)


@dataclass(frozen=True)
class _Block:
    """All that is known of some features in a row, from which each one's record is made."""

    events: Events
    low: int
    """Number of the first of them."""
    text: CorpusTokens
    statistics: Statistics
    chosen: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """Rows of the strongest examples, of those across the range, of all near misses and of those kept."""
    near: "_Near"
    topics: TopicEvidence
    labeller: Labeller
    names: dict[int, str]

    def record(self, i: int) -> FeatureRecord:
        """Of one of them, counted from the first."""
        rows, values = self.events[i]
        found, near, topics, text, low = self.statistics, self.near, self.topics, self.text, self.low
        top, spread, misses, kept = self.chosen
        promoted = near.promoted.of(low + i)
        label, output = self.labeller.label(rows, values, misses[i][misses[i] >= 0], [self.names[token] for token, _ in promoted])
        return FeatureRecord(
            index=low + i,
            count=int(found.count[i]),
            density=float(found.count[i] / len(text)),
            max=float(found.max[i]),
            mean=float(found.mean[i]),
            quantiles=found.quantiles[i],
            histogram=found.histogram[i],
            documents=int(found.documents[i]),
            persistence=float(found.persistence[i]),
            commonest=float(found.commonest[i]),
            purity=(float(found.purity[i, 0]), float(found.purity[i, 1]), float(found.purity[i, 2])),
            tokens=found.tokens(i),
            top=[example_at(row, rows, values, text) for row in top[i].tolist() if row >= 0],
            intervals=[[example_at(row, rows, values, text) for row in part if row >= 0] for part in spread[i].tolist()],
            misses=[_miss(row, text) for row in kept[i].tolist() if row >= 0],
            promoted=promoted,
            suppressed=near.suppressed.of(low + i),
            neighbours=near.neighbours.of(low + i),
            together=near.together.of(low + i),
            label=topics.label(low + i, label),
            output=output,
            background=topics.background[low + i],
            topics=topics.weights[low + i],
        )


@dataclass(frozen=True)
class _Near:
    """What is nearest to each feature of an SAE."""

    promoted: Nearest
    suppressed: Nearest
    neighbours: Nearest
    together: Nearest


def _miss(row: int, text: CorpusTokens) -> Example:
    window = int(text.window[row])
    return Example(window, int(row - text.start[window]), np.zeros(0, np.int64), np.zeros(0, np.float32))


def _ends(lens: LogitLens, sae: Sae, count: int) -> tuple[Nearest, Nearest]:
    """What the logit lens says of an SAE's features; nothing where they do not write to the residual stream."""
    if sae.W_dec.shape[1] != lens.unembedding.shape[1]:
        nothing = Nearest(np.zeros((sae.d_sae, 0), np.int32), np.zeros((sae.d_sae, 0), np.float32))
        return nothing, nothing
    return lens.ends(sae.W_dec, count)


def _reading(text: CorpusTokens, pieces: dict[int, str | bytes], workers: int) -> TokenIndex:
    reading = TokenIndex()
    for window, (own, marks) in enumerate(in_processes(_spelt, (text, pieces), range(text.windows), workers)):
        reading.add(own, text.key(window), marks)
    reading.close()
    return reading


def _spelt(shared: tuple[CorpusTokens, dict[int, str | bytes]], window: int) -> tuple[list[str], TokenMarks]:
    text, pieces = shared
    own = join_pieces(pieces[i] for i in text.tokens_of(window).tolist())
    return own, token_marks(own)

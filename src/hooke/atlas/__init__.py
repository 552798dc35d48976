"""Atlas: one SQLite file with what is known of every feature: how often and how strongly it fires, on what, and its scored label."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hooke.atlas import schema
from hooke.atlas.effects import read_effects, tokens_of, with_texts
from hooke.atlas.feature import Feature, OutputToken, Relative, TokenShare, Written
from hooke.atlas.naming import Name, judged, names_of
from hooke.atlas.open import damage, open_database
from hooke.atlas.packing import unpack
from hooke.atlas.passages import Passages
from hooke.atlas.query import Query, Texts
from hooke.atlas.records import (
    BACKGROUND_STEPS,
    NO_MEANING,
    TOO_RARE,
    Effect,
    Example,
    FeatureRecord,
    Label,
    SaeEntry,
    Score,
    TextWindow,
    TokenCount,
)
from hooke.atlas.store import AtlasWriter
from hooke.errors import BadConfig, BadFile, DigestMismatch, UnknownName, quoted, unknown
from hooke.files import parse_json
from hooke.names import FeatureName

if TYPE_CHECKING:
    from hooke.atlas.notes import Notes
    from hooke.atlas.search import Filters, Search, SearchResult, Where
    from hooke.sae import Sae

__all__ = [
    "BACKGROUND_STEPS",
    "NO_MEANING",
    "TOO_RARE",
    "Atlas",
    "AtlasWriter",
    "Example",
    "Feature",
    "FeatureRecord",
    "FeatureTable",
    "Label",
    "Name",
    "SaeEntry",
    "Score",
    "TextWindow",
    "TokenCount",
    "relative_to",
]

AROUND = 32
"""Tokens shown on each side of an example's peak, unless asked otherwise."""
Progress = Callable[[str], None]
MAX_FOUND = 10_000
"""Features that one search may list."""
# What a file from outside may make of few bytes by naming one thing in many places.
_MAX_NAME, _MAX_FEATURES, _MAX_SAES, _MAX_TOPICS = 300, 1 << 26, 10_000, 10_000


def relative_to(activation: np.ndarray, maximum: np.ndarray) -> np.ndarray:
    """Activations over their features' maxima; 0 for a feature that the atlas' corpus never drove: nothing is known of its scale."""
    return np.divide(activation, maximum, out=np.zeros(np.broadcast(activation, maximum).shape, np.float32), where=maximum > 0)


@dataclass(frozen=True)
class FeatureTable:
    """All features of one SAE, as columns."""

    density: np.ndarray
    max: np.ndarray
    label: list[str | None]
    rule: list[str | None]
    """Kind of rule behind the label."""
    score: list[float | None]
    """Balanced accuracy of that rule on held-out text; 0.5 is chance."""
    evidence: np.ndarray
    """Held-out places where it fired, behind the score."""
    background: np.ndarray
    """``[d_sae, BACKGROUND_STEPS]``: background texts in which the feature reaches more than each step of its maximum."""
    topics: np.ndarray
    """``[d_sae, topics]``: evidence for each topic, in nats, when the feature is fully active."""


class Atlas:
    """An open atlas. Reading only; `AtlasWriter` makes one."""

    def __init__(self, path: Path | str, notes: "Notes | None" = None) -> None:
        """Open the file at `path`. Raises `BadFile` where it is no atlas or was made by another version.

        With `notes`, features come with what a person wrote about them.
        """
        self.path = Path(path)
        self.notes = notes
        self._db = open_database(self.path)
        self._passages = Passages(self._db)
        self.saes: dict[str, SaeEntry] = {}
        self._first: dict[str, int] = {}
        self._names: dict[str, dict[int, Name]] = {}
        self._said: dict[str, tuple[list[int], Texts]] = {}
        self._judged: dict[str, str] = {}
        with damage(self.path):
            self.facts: dict[str, Any] = {key: parse_json(value) for key, value in self._db.execute(schema.GET_FACTS)}
            for name, digest, d_sae, facts, mean, first in self._db.execute(schema.GET_SAES):
                if len(name) > _MAX_NAME or not 0 < d_sae <= _MAX_FEATURES or len(self.saes) >= _MAX_SAES:
                    raise ValueError(f"it has an SAE {quoted(name)} of {d_sae:,} features")
                self.saes[name] = SaeEntry(name, digest, d_sae, dict(parse_json(facts)), np.frombuffer(mean, "<f4"))
                self._first[name] = first
            self.has_contexts = bool(self._db.execute(schema.HAS_CONTEXTS).fetchone()[0])
            """Whether the texts around examples can be searched; a file made small leaves that out."""
            self.topics: list[str] = [str(topic) for topic in self.facts.get("topics", [])]
            if len(self.topics) > _MAX_TOPICS or max(map(len, self.topics), default=0) > _MAX_NAME:
                raise ValueError("its topics have more or longer names than any could")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _repr_html_(self) -> str:
        from hooke.atlas.notebook import contents

        return contents(self.path.name, self.facts, list(self.saes.values()))

    def _entry(self, sae: str) -> SaeEntry:
        if sae not in self.saes:
            raise unknown("SAE", sae, self.saes, f"These are in the atlas {self.path}.")
        return self.saes[sae]

    def check(self, sae: "Sae") -> None:
        """Raise `DigestMismatch` where the atlas was made of other weights than those of `sae`, which has a name it knows."""
        from hooke.sae import digest as sae_digest

        entry = self._entry(sae.name)
        if entry.digest and entry.digest != (found := sae_digest(sae)):
            raise DigestMismatch(
                f"the atlas {self.path} describes another {sae.name}: it was made of weights with digest {entry.digest[:12]}, these have"
                f" {found[:12]}. Its features mean other things; build an atlas of this SAE: hooke atlas build."
            )

    def table(self, sae: str) -> FeatureTable:
        """All features of the SAE called `sae`, as columns."""
        entry = self._entry(sae)
        with damage(self.path):
            columns = list(zip(*self._db.execute(schema.GET_TABLE, self._range(entry)), strict=True))
            if not columns:
                raise BadFile(f"{self.path} holds no feature of {sae}.")
            density, largest, label, rule, score, evidence, background, topics = columns
            n = len(density)
            return FeatureTable(
                np.array(density, np.float32),
                np.array(largest, np.float32),
                list(label),
                list(rule),
                list(score),
                np.array(evidence, np.int64),
                np.frombuffer(b"".join(background), "<u2").reshape(n, BACKGROUND_STEPS).astype(np.float32),
                np.frombuffer(b"".join(topics), "<f2").reshape(n, len(self.topics)).astype(np.float32),
            )

    def names(self, sae: str) -> dict[int, Name]:
        """The names that readers gave to features of the SAE called `sae`, by index; see `hooke.atlas.naming`."""
        entry = self._entry(sae)
        if sae not in self._names:
            self._names[sae] = names_of(entry)
        return self._names[sae]

    def _having(self, sae: str, query: Query) -> dict[int, int]:
        """How many of the words of `query` the names of these features have, by index; features whose name has none are left out."""
        if sae not in self._said:
            names = self.names(sae)
            self._said[sae] = list(names), Texts(name.name for name in names.values())
        indices, texts = self._said[sae]
        return {indices[number]: words for number, words in texts.hits(query).items()}

    def judged(self, sae: str) -> str:
        """How often these names were right on texts nobody chose them on, in a sentence; empty where nobody judged that."""
        if sae not in self._judged:
            self._judged[sae] = judged(self.saes[sae])
        return self._judged[sae]

    def name(self, sae: str, index: int) -> Name | None:
        """The name that a reader gave to one feature; None where nobody read."""
        return self.names(sae).get(index)

    def _range(self, entry: SaeEntry) -> tuple[int, int]:
        first = self._first[entry.name]
        return first, first + entry.d_sae - 1

    def feature(self, name: str | FeatureName, *, around: int = AROUND, brief: bool = False) -> Feature:
        """Everything about one feature, its examples with at most `around` tokens on each side of the peak.

        `brief`: of its examples only the strongest, no intervals and near misses, which takes half the time.
        """
        entry, index, row = self._row(name)
        with damage(self.path):
            written = self.notes.get(entry, index) if self.notes else Written()
            return self._feature(entry, index, row, around, written, brief)

    def promoted(self, name: str | FeatureName) -> list[OutputToken]:
        """The tokens whose logits one feature raises, strongest first: what `feature` says of them, without looking up all else."""
        detail = self._detail(name)
        with damage(self.path):
            return self._outputs(detail["promoted"])

    def tokens(self, name: str | FeatureName) -> list[TokenShare]:
        """The tokens that one feature spends most of its activation on, as `feature` says it, without looking up all else."""
        detail = self._detail(name)
        with damage(self.path):
            return self._shares(detail["tokens"])

    def _detail(self, name: str | FeatureName) -> dict[str, Any]:
        *_, row = self._row(name)
        with damage(self.path):
            return unpack(row[-1], plain=row[-2] == schema.PLAIN_FORM)

    def _row(self, name: str | FeatureName) -> tuple[SaeEntry, int, tuple[Any, ...]]:
        """The SAE of a feature, its index there, and what the file says of it."""
        name = FeatureName.parse(name)
        entry = self._entry(str(name.sae))
        with damage(self.path):
            row = (
                self._db.execute(schema.GET_FEATURE, (self._first[entry.name] + name.index,)).fetchone()
                if name.index < entry.d_sae
                else None
            )
        if row is None:
            raise UnknownName(f"unknown feature {name.index} of {name.sae}: the atlas knows {entry.d_sae:,}, counted from 0.")
        return entry, name.index, row

    def search(
        self,
        query: str = "",
        *,
        filters: "Filters | None" = None,
        where: "Sequence[Where]" = ("label", "context", "output"),
        sort: str = "match",
        limit: int = 20,
    ) -> "SearchResult":
        """Features whose labels, examples' texts or promoted tokens (`where`) have the words of `query`, the best fit first.

        Words must all be there; ``"a phrase"`` stands together, ``wo*`` is a beginning, ``-word`` must not be there. Where nothing has
        all the words, what has some of them is found. Without a query: all features that pass `filters`, the best labelled first.
        `sort` is one of `hooke.atlas.search.SORTS`.
        """
        with damage(self.path):
            return self._search(filters, sort, limit).find(query, where, sort, limit)

    def search_by_meaning(
        self, text: str, *, filters: "Filters | None" = None, sort: str = "match", limit: int = 20, progress: Progress = lambda _: None
    ) -> "SearchResult":
        """Features whose names or labels mean what `text` does, the nearest first; needs ``pip install 'hooke[semantic]'``.

        The first search of an atlas has to read all its labels, which takes a minute or two; what it found is kept in the cache.
        """
        from hooke.atlas.meaning import search_by_meaning

        with damage(self.path):
            labels = {label for (label,) in self._db.execute(schema.GET_LABELS)}
            labels |= {name.name for sae in self.saes for name in self.names(sae).values() if name.name}
            one = self._search(filters, sort, limit)
        return search_by_meaning(one, sorted(labels), text, (sort, limit), progress)

    def _search(self, filters: "Filters | None", sort: str, limit: int) -> "Search":
        from hooke.atlas.search import SORTS, Filters, Search

        if sort not in SORTS:
            raise unknown("sort", sort, SORTS)
        if not 1 <= limit <= MAX_FOUND:
            raise BadConfig(f"limit {limit} cannot be; from 1 to {MAX_FOUND:,} features can be listed.")
        return Search(self, self._db, self._passages, self._having, self._first, filters or Filters())

    def _feature(self, entry: SaeEntry, index: int, row: tuple[Any, ...], around: int, written: Written, brief: bool) -> Feature:
        count, density, largest, *_, background, topics, form, content = row
        affinities = np.frombuffer(topics, "<f2").astype(float).tolist()
        fields: dict[str, Any] = {
            "background": np.frombuffer(background, "<u2").tolist(),
            "topics": dict(zip(self.topics, affinities, strict=True)),
            "written": written,
            "named": self.name(entry.name, index),
            "group": entry.group_of(index),
            "effect": self._effects(entry, index, 1).get(index),
        }
        detail = unpack(content, plain=form == schema.PLAIN_FORM)
        fields |= self._resolved(entry, detail | ({"intervals": [], "misses": []} if brief else {}), around)
        return Feature(name=f"{entry.name}/{index}", density=float(density), max=float(largest), count=count, **fields)

    def effects(self, sae: str, raising: Collection[int] | None = None) -> dict[int, Effect]:
        """What the features of the SAE called `sae` do, by index; empty where that was not measured.

        With `raising` only of features that raise one of these tokens, which takes far less time.
        """
        entry = self._entry(sae)
        with damage(self.path):
            return self._effects(entry, 0, entry.d_sae, raising)

    def _effects(self, entry: SaeEntry, index: int, count: int, raising: Collection[int] | None = None) -> dict[int, Effect]:
        """Of `count` features from `index` on, with texts for token ids."""
        found = read_effects(self._db, self._first[entry.name] + index, count, raising)
        self._passages.pieces.learn({token for effect in found.values() for token in tokens_of(effect)})
        return {index + number: with_texts(effect, self._passages.pieces.text) for number, effect in found.items()}

    def _resolved(self, entry: SaeEntry, detail: dict[str, Any], around: int) -> dict[str, Any]:
        """What `unpack` gives, with texts for token ids, addresses for indices and contexts for examples."""
        lists = [detail["top"], detail["misses"], *detail["intervals"]]
        contexts = iter(self._passages.contexts([example for examples in lists for example in examples], around))
        top, misses, *intervals = ([next(contexts) for _ in examples] for examples in lists)
        return detail | {
            "label": detail["label"] if detail["label"].text else None,
            "quantiles": detail["quantiles"].tolist(),
            "histogram": detail["histogram"].tolist(),
            "purity": list(detail["purity"]),
            "tokens": self._shares(detail["tokens"]),
            "top": top,
            "intervals": intervals,
            "misses": misses,
            **{key: self._outputs(detail[key]) for key in ("promoted", "suppressed")},
            **{key: self._relatives(entry, detail[key]) for key in ("neighbours", "together")},
        }

    def _shares(self, counts: Sequence[TokenCount]) -> list[TokenShare]:
        self._passages.pieces.learn({own.token for own in counts})
        return [TokenShare(self._passages.pieces.text(own.token), own.count, own.share, own.enrichment) for own in counts]

    def _outputs(self, pairs: Sequence[tuple[int, float]]) -> list[OutputToken]:
        self._passages.pieces.learn({token for token, _ in pairs})
        return [OutputToken(self._passages.pieces.text(token), weight) for token, weight in pairs]

    def _relatives(self, entry: SaeEntry, pairs: Sequence[tuple[int, float]]) -> list[Relative]:
        if any(not 0 <= index < entry.d_sae for index, _ in pairs):
            raise ValueError(f"a relative of a feature is not one of {entry.d_sae}")
        first = self._first[entry.name]
        labels = dict(self._db.execute(schema.GET_LABEL_OF, (json.dumps([first + index for index, _ in pairs]),)))
        own = {index: self.notes.get(entry, index).label for index, _ in pairs} if self.notes else {}
        read = {index: name.name for index, _ in pairs if (name := self.name(entry.name, index)) and name.stands_first}
        return [
            Relative(f"{entry.name}/{index}", own.get(index) or read.get(index) or labels.get(first + index), value)
            for index, value in pairs
        ]

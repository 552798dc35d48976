"""Library: the open atlases with your notes, and every feature in them as columns that can be sorted and filtered at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hooke.atlas import NO_MEANING, TOO_RARE, Atlas, Feature, FeatureTable, Name
from hooke.atlas.feature import Relative, Written
from hooke.atlas.notes import Notes
from hooke.atlas.records import SaeEntry
from hooke.atlas.search import WHERE, Filters, SearchHit, SearchResult, Where, chosen
from hooke.atlas.wording import SCALE, Rating, rate
from hooke.errors import BadConfig, unknown
from hooke.explain.kinds import ABOUT_KINDS, kind_of
from hooke.explain.rules.phrasing import reworded, shortened
from hooke.names import FeatureName, SaeName
from hooke.serve.schema import FeaturePage, FeatureRow, NamedBy

if TYPE_CHECKING:
    from hooke.sae import Sae

MAX_ROWS = 500
"""Rows of one answer."""
NOTE = 120
"""Characters of a note in a list."""
SORTS = ("named", "score", "density", "max", "label", "index", "evidence", "layer")
"""What the features can be sorted by; `named`: what a reader named first, subjects before words, the best before others; `score`:
by how far the name can be relied on."""


@dataclass(frozen=True)
class Wanted:
    """Which features, in which order."""

    sae: tuple[str, ...] = ()
    """SAEs, sites or layers; empty: all."""
    kind: tuple[str, ...] = ()
    """Kinds of features, of `hooke.atlas.naming.ABOUT`; empty: all."""
    rating: str = ""
    """Names that fit as often as this, of `hooke.atlas.wording.SCALE`, or more; empty: all."""
    min_score: float | None = None
    """Label scores from here."""
    min_density: float | None = None
    """Shares of tokens from here."""
    max_density: float | None = None
    """Shares of tokens up to here."""
    text: str = ""
    """Stands in the label, in any case of letters."""
    which: str = ""
    """``starred``, ``noted``, or ``list:NAME``; empty: all."""
    sort: str = "named"
    """One of `SORTS`."""
    ascending: bool = False
    """Smallest first."""


@dataclass(frozen=True)
class _Columns:
    """All features of all atlases, one row each."""

    sae: np.ndarray
    index: np.ndarray
    density: np.ndarray
    max: np.ndarray
    score: np.ndarray
    """Of the name, or of the rule."""
    evidence: np.ndarray
    rating: np.ndarray
    """How far the name can be relied on, as a number of `SCALE`."""
    share: np.ndarray
    """The same within that word; names that were tried themselves before those of which the rule was."""
    kind: np.ndarray
    """Number of its kind in `kinds`."""
    kinds: list[str]
    label: list[str | None]
    names: dict[int, Name]
    """By row, what a reader called it, where that is what is shown."""
    rules: list[tuple[float | None, int, str | None]]
    """Score, places and kind of the rule beneath or in the place of that."""
    _orders: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)
    _keys: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def lower(self) -> list[str]:
        return [(label or "").casefold() for label in self.label]

    def rate(self, at: int, own: str) -> Rating:
        """How far the name of a row can be relied on; `own` is the one you gave it."""
        score, n, rule = self.rules[at]
        return rate(self.names.get(at), score, n, rule=rule, own=own)

    def order(self, sort: str, ascending: bool) -> np.ndarray:
        """Rows by `sort`; what has no value comes last either way, ties stand by address, of names by how far they can be relied on."""
        if (sort, ascending) not in self._orders:
            if sort not in self._keys:
                self._keys[sort] = self._key(sort)
            key = self._keys[sort]
            ties = (-self.share, -self.rating) if sort in ("score", "named") else (self.sae,)
            self._orders[sort, ascending] = np.lexsort((*ties, key if ascending else -key))
        return self._orders[sort, ascending]

    def _key(self, sort: str) -> np.ndarray:
        if sort == "label":
            rank = {text: at for at, text in enumerate(sorted(set(self.lower)))}
            return np.array([rank[text] if text else np.nan for text in self.lower], np.float64)
        if sort == "named":
            about = np.isin(self.kind, [at for at, kind in enumerate(self.kinds) if kind in ABOUT_KINDS])
            nameless = np.isin(self.kind, [at for at, kind in enumerate(self.kinds) if kind in ("unclear", "")])
            by_reader = np.zeros(len(self.kind))
            by_reader[list(self.names)] = 2
            return np.where(nameless, np.nan, by_reader + about)
        if sort == "score":
            return np.where(self.rating > 0, self.rating + self.share, np.nan)
        return {"layer": self.sae}.get(sort, getattr(self, sort, self.index)).astype(np.float64)


class Library:
    """Atlases open for reading, and the one file of notes that may be written. Any thread may ask; one is served at a time."""

    def __init__(self, paths: Sequence[Path], notes: Notes | None = None) -> None:
        """Opens every atlas; of two that know the same SAE the first counts."""
        self.notes = notes or Notes()
        self.atlases = [Atlas(path, self.notes) for path in paths]
        self.of: dict[str, Atlas] = {}
        for atlas in self.atlases:
            for name in atlas.saes:
                self.of.setdefault(name, atlas)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of every file."""
        with self._lock:
            self.notes.close()
            for atlas in self.atlases:
                atlas.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One thread at a time: the files' connections are shared."""
        with self._lock:
            yield

    @property
    def saes(self) -> list[SaeEntry]:
        """What is known of every SAE."""
        return [atlas.saes[name] for name, atlas in self.of.items()]

    def entry(self, sae: str) -> SaeEntry:
        """What is known of one SAE."""
        if sae not in self.of:
            raise unknown("SAE", sae, self.of, "These are in the open atlases; `hooke serve --atlas FILE` opens another.")
        return self.of[sae].saes[sae]

    def check(self, saes: Sequence["Sae"]) -> None:
        """Raise `DigestMismatch` where an open atlas was made of other weights than these: what is read would bear wrong names."""
        with self._lock:
            for sae in saes:
                if sae.name in self.of:
                    self.of[sae.name].check(sae)

    def table(self, sae: "Sae") -> FeatureTable:
        """The figures of every feature of `sae`. Raises `DigestMismatch` where its atlas was made of other weights."""
        with self._lock:
            self.of[sae.name].check(sae)
            return self.of[sae.name].table(sae.name)

    def feature(self, name: str, around: int, *, brief: bool = False) -> Feature:
        """Everything of one feature; `brief`: less its intervals and near misses."""
        with self._lock:
            self.entry(str(FeatureName.parse(name).sae))
            found = self.of[str(FeatureName.parse(name).sae)].feature(name, around=around, brief=brief)
        return replace(found, **{key: [_short(one) for one in getattr(found, key)] for key in ("neighbours", "together")})

    def search(self, text: str, sae: tuple[str, ...], where: Sequence[Where], limit: int) -> SearchResult:
        """What every atlas finds, the best of each by turns; those with all the words before those with some."""
        with self._lock:
            known = chosen(list(self.of), sae)
            asked = [atlas for atlas in self.atlases if any(self.of[name] is atlas for name in known)]
            found = [
                atlas.search(text, filters=Filters(tuple(n for n in known if self.of[n] is atlas)), where=where or WHERE, limit=limit)
                for atlas in asked
            ]
        whole = [one for one in found if not one.loosened and one.hits] or found
        hits = [worded(one.hits[rank]) for rank in range(limit) for one in whole if rank < len(one.hits)]
        return SearchResult(hits[:limit], text, bool(found) and all(one.loosened for one in whole))

    @cached_property
    def _columns(self) -> _Columns:
        """Made without the lock, which is taken only to read: to word many labels takes a moment."""
        numbers: dict[str, int] = {}
        parts, labels, rules, shown = [], [], [], {}
        for at, name in enumerate(self.of):
            with self._lock:
                table, names = self.of[name].table(name), self.of[name].names(name)
            n, first = len(table.label), len(labels)
            kinds = [kind_of(names.get(i), rule, label) or "" for i, (rule, label) in enumerate(zip(table.rule, table.label, strict=True))]
            titles: list[str | None] = [label and reworded(label) for label in table.label]
            rules += zip(table.score, table.evidence.tolist(), table.rule, strict=True)
            scores, evidence = np.array([np.nan if s is None else s for s in table.score], np.float32), table.evidence.copy()
            for index, given in names.items():
                if given.stands_first:
                    titles[index], shown[first + index] = given.name, given
                    if given.score is not None:
                        scores[index], evidence[index] = given.score, given.n
            ratings = [rate(shown.get(first + i), *rules[first + i][:2], rule=rules[first + i][2]) for i in range(n)]
            words = np.array([SCALE.index(rating.word) for rating in ratings], np.int8)
            shares = np.array([(rating.share + (not rating.of_rule)) / 2.01 for rating in ratings], np.float32)
            numbered = np.array([numbers.setdefault(kind, len(numbers)) for kind in kinds], np.int16)
            indices = np.full(n, at, np.int32), np.arange(n, dtype=np.int32)
            parts.append((*indices, table.density, table.max, scores, evidence, words, shares, numbered))
            labels += titles
        empty = tuple(np.zeros(0, kind) for kind in (int, int, float, float, float, int, int, float, int))
        columns = map(np.concatenate, zip(empty, *parts, strict=True))
        return _Columns(*columns, kinds=list(numbers), label=labels, names=shown, rules=rules)

    def prepare(self) -> None:
        """Make ready what lists need, each order in its usual direction, so that the first is there at once."""
        for sort in SORTS:
            self._columns.order(sort, sort in ("label", "layer"))

    def figures(self, sae: str) -> tuple[int, int, float]:
        """Of an SAE's features, how many have a name that held up, how many never fired, and how many fire on a token (L0)."""
        columns = self._columns
        mine = columns.sae == list(self.of).index(sae)
        labels = [columns.label[i] for i in np.flatnonzero(mine)]
        named = sum(label not in (None, "", NO_MEANING, TOO_RARE) for label in labels)
        return named, int((columns.max[mine] <= 0).sum()), float(columns.density[mine].sum())

    def beside(self) -> Callable[[str, int], tuple[str | None, float | None]]:
        """Gives of a feature (its SAE and number) your own name for it and the share of tokens it fires on; None for what is not known."""
        with self._lock:
            names = {(entry.name, i): w.label for entry in self.saes for i, w in self.notes.of(entry).items() if w.label}
        first = dict(zip(self.of, self._first, strict=False))

        def told(sae: str, index: int) -> tuple[str | None, float | None]:
            return names.get((sae, index)), float(self._columns.density[first[sae] + index]) if sae in first else None

        return told

    def rows(self, wanted: Wanted, offset: int, limit: int) -> FeaturePage:
        """The features that are `wanted`, `limit` of them from `offset` on."""
        if wanted.sort not in SORTS:
            raise unknown("sort", wanted.sort, SORTS)
        if not 1 <= limit <= MAX_ROWS or offset < 0:
            raise BadConfig(f"limit {limit} cannot be; from 1 to {MAX_ROWS} rows come at a time.")
        columns = self._columns
        with self._lock:
            written = self._written()
            passing = self._passing(wanted, written)
            counts = np.bincount(columns.kind[passing], minlength=len(columns.kinds)).tolist()
            if wanted.kind:
                passing &= np.isin(columns.kind, [at for at, kind in enumerate(columns.kinds) if kind in wanted.kind])
            order = columns.order(wanted.sort, wanted.ascending)
            order = order[passing[order]]
            found = [self._row(int(i), written) for i in order[offset : offset + limit]]
        after = offset + len(found)
        cursor = str(after) if after < len(order) else None
        kinds = sorted(zip(columns.kinds, counts, strict=True), key=lambda pair: -pair[1])
        return FeaturePage(found, len(order), offset, cursor, {kind: n for kind, n in kinds if n and kind})

    def _written(self) -> dict[tuple[int, int], Written]:
        """Everything written, by SAE and index."""
        return {(at, i): w for at, entry in enumerate(self.saes) for i, w in self.notes.of(entry).items()}

    def _passing(self, wanted: Wanted, written: dict[tuple[int, int], Written]) -> np.ndarray:
        c = self._columns
        names = list(self.of)
        passing = np.ones(len(c.index), bool)
        if wanted.sae:
            passing &= np.isin(c.sae, [names.index(name) for name in chosen(names, wanted.sae)])
        if wanted.rating:
            if wanted.rating not in SCALE:
                raise unknown("rating", wanted.rating, SCALE)
            passing &= c.rating >= SCALE.index(wanted.rating)
        if wanted.min_score is not None:
            passing &= c.score >= wanted.min_score
        if wanted.min_density is not None:
            passing &= c.density >= wanted.min_density
        if wanted.max_density is not None:
            passing &= c.density <= wanted.max_density
        if text := wanted.text.strip().casefold():
            mine = np.fromiter((text in label for label in c.lower), bool, len(c.lower))
            for key, w in written.items():
                mine[self._at(key)] |= text in w.label.casefold()
            passing &= mine
        if wanted.which:
            kept = np.zeros(len(passing), bool)
            kept[[self._at(key) for key in self._chosen(wanted.which, written)]] = True
            passing &= kept
        return passing

    def _chosen(self, which: str, written: dict[tuple[int, int], Written]) -> list[tuple[int, int]]:
        if which == "starred":
            return [key for key, w in written.items() if w.star]
        if which == "noted":
            return [key for key, w in written.items() if w.note or w.label]
        if which.startswith("list:"):
            return [(at, i) for at, entry in enumerate(self.saes) for i in self.notes.listed(which[5:], entry)]
        raise unknown("selection", which, ("starred", "noted", "list:NAME"))

    @cached_property
    def _first(self) -> list[int]:
        return np.concatenate([[0], np.cumsum([entry.d_sae for entry in self.saes])]).astype(int).tolist()

    def _at(self, key: tuple[int, int]) -> int:
        return self._first[key[0]] + key[1]

    def _row(self, at: int, written: dict[tuple[int, int], Written]) -> FeatureRow:
        c = self._columns
        sae, index = int(c.sae[at]), int(c.index[at])
        name = self.saes[sae].name
        own = written.get((sae, index), Written())
        score = float(c.score[at])
        return FeatureRow(
            f"{name}/{index}",
            name,
            index,
            SaeName.parse(name).site.layer,
            c.label[at] or None,
            own.label,
            c.kinds[int(c.kind[at])] or None,
            at in c.names,
            c.rate(at, own.label),
            score if np.isfinite(score) else None,
            int(c.evidence[at]),
            float(c.density[at]),
            float(c.max[at]),
            own.star,
            own.note[:NOTE],
        )


def title_of(feature: Feature) -> str | None:
    """What a feature is called, in short."""
    return _title(feature.title, feature.written, feature.named)


def _title(title: str | None, written: Written, named: Name | None) -> str | None:
    whose = written.label or (named and named.stands_first)
    return title if whose or not title else reworded(title)


def worded(hit: SearchHit) -> SearchHit:
    """A hit under its name in short."""
    return replace(hit, title=_title(hit.title, hit.written, hit.named))


def names_of(feature: Feature) -> list[NamedBy]:
    """What a feature is called, by whom, and how far each name can be relied on."""
    found, label, named = [], feature.label, feature.named
    if own := feature.written.label:
        found.append(NamedBy("you", own, rate(None, None, 0, own=own)))
    if named and named.name and named.stands_first:
        found.append(NamedBy(named.reader or "a reader", named.name, rate(named, None, 0)))
    if label and label.text:
        score = label.token or label.document
        nameless = label.text in (NO_MEANING, TOO_RARE)
        rating = rate(None, score.value if score and not nameless else None, score.positives if score else 0)
        found.append(NamedBy("a rule over words", "nothing that fits" if nameless else label.text, rating))
    return found


def _short(other: Relative) -> Relative:
    return replace(other, label=other.label and shortened(other.label))

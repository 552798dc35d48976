"""Search: features by words of their labels, of the texts they fire on and of the tokens they promote, by meaning, and by filters."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hooke.atlas import schema
from hooke.atlas.feature import Context, Written
from hooke.atlas.naming import Name, holds
from hooke.atlas.packing import unpack_numbers
from hooke.atlas.passages import Passages
from hooke.atlas.query import Query, Texts
from hooke.atlas.records import NO_MEANING, TOO_RARE, Example
from hooke.errors import BadConfig, unknown
from hooke.names import meant_by

if TYPE_CHECKING:
    from hooke.atlas import Atlas

Where = Literal["label", "context", "output"]
WHERE: tuple[Where, ...] = ("label", "context", "output")
"""What a search looks through: labels, the text around examples, the tokens that are made likelier."""
SORTS = ("match", *schema.ORDERS)
"""What results may be sorted by; ``match`` is how well they fit the query."""
_DEEP = 1000
_WINDOWS = 2000
_CLOSE, _NEAR = 30, 12
_MOST_SEEN = 1 << 17
_MOST_RANKED, _COMMON = 4096, 1024
# Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): Σ weight / (60 + rank) over the lists a feature is in.
_WEIGHT = {"label": 1.0, "context": 0.7, "output": 0.5}
_DAMPING = 60


Having = Callable[[str, Query], dict[int, int]]
"""Of an SAE's features, by index, how many of the words of a query their names have."""


@dataclass(frozen=True)
class Filters:
    """Which features a search may find."""

    sae: tuple[str, ...] = ()
    """Names of SAEs, sites (``resid_post.12``) or layers (``12``); empty: every SAE."""
    kind: tuple[str, ...] = ()
    """Kinds of rule behind the label; empty: every kind."""
    min_score: float | None = None
    """Label scores from here."""
    min_density: float | None = None
    """Shares of tokens fired on from here."""
    max_density: float | None = None
    """Shares of tokens fired on up to here."""
    starred: bool = False
    """Only features with a star."""


@dataclass(frozen=True)
class SearchHit:
    """A feature that a search found."""

    name: str
    """Address, ``sae/index``."""
    title: str | None
    """What to call it: a label of one's own, else a reader's name, else the atlas' label."""
    kind: str | None
    """Kind of rule behind the atlas' label."""
    score: float | None
    """Its score; 0.5 is chance."""
    evidence: int
    """Held-out places where it fired, behind the score."""
    density: float
    """Share of tokens on which it fires."""
    max: float
    """Largest activation seen."""
    found_in: tuple[str, ...] = ()
    """Where the words were found: ``label``, ``context``, ``output``, ``meaning``."""
    passage: Context | None = None
    """Text it fires on that has the words."""
    written: Written = field(default_factory=Written)
    """What a person wrote about it."""
    named: Name | None = None
    """The name that a reader gave to it."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found, best first."""

    hits: list[SearchHit]
    """The features."""
    query: str
    """What was asked."""
    loosened: bool = False
    """Whether no feature had all the words, and these have some of them."""

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def to_json(self) -> dict[str, Any]:
        """What ``hooke search --json`` prints."""
        return asdict(self)

    def _repr_html_(self) -> str:
        from hooke.atlas.notebook import results

        return results(self)


class Search:
    """One search of one atlas."""

    def __init__(
        self, atlas: "Atlas", db: sqlite3.Connection, passages: Passages, having: Having, first: dict[str, int], filters: Filters
    ) -> None:
        """Over the open file `db` with its `passages`, in which the features of each SAE begin at `first`."""
        self.atlas, self._db, self._passages, self._having, self._first, self._filters = atlas, db, passages, having, first, filters
        self.saes = chosen(atlas.saes, filters.sae)
        self._written = {
            first[name] + i: w for name in self.saes for i, w in (atlas.notes.of(atlas.saes[name]) if atlas.notes else {}).items()
        }
        if filters.starred and atlas.notes is None:
            raise BadConfig("stars are kept in the notes: open the atlas with them, Atlas(path, Notes()).")

    def find(self, text: str, where: Sequence[str], sort: str, limit: int) -> SearchResult:
        """What `text` finds; all that pass the filters where it is empty; what has some of its words where nothing has all."""
        if strange := [one for one in where if one not in WHERE]:
            raise unknown("place to search", strange[0], WHERE)
        if not text.strip():
            return SearchResult(self.listed(sort, limit), text)
        query = Query.parse(text)
        hits = self.words(query, where, sort, limit)
        if hits or len(query.wanted) == 1:
            return SearchResult(hits, text)
        return SearchResult(self.words(query, where, sort, limit, every=False), text, loosened=True)

    def listed(self, sort: str, limit: int) -> list[SearchHit]:
        """Features that pass the filters, sorted."""
        sort = "score" if sort == "match" else sort
        rows = [row for span in self._ranges() for row in self._rows(sort, limit, span)]
        return self._hits(sorted(rows, key=_KEYS[sort])[:limit])

    def words(self, query: Query, where: Sequence[str], sort: str, limit: int, *, every: bool = True) -> list[SearchHit]:
        """Features in whose names, labels, contexts or outputs the words are."""
        deep = _DEEP if sort != "match" or self._narrow() else max(100, 3 * limit)
        ranked: dict[str, _Ranking] = {}
        contexts: dict[int, Example] = {}
        if "label" in where:
            asked = len(query.wanted) if every else 1
            own = [i for i, w in self._written.items() if w.label and query.hits(w.label) >= asked]
            read = sorted(
                (-words, -holds(self.atlas.names(sae)[i]), self._first[sae] + i)
                for sae in self.saes
                for i, words in self._having(sae, query).items()
                if words >= asked
            )
            named = [*own, *(i for *_, i in read)]
            ranked["label"] = [*_numbered(named), *self._words(query.match("label", "output", every=every), deep, set(named))]
        if "output" in where:
            ranked["output"] = self._words(query.match("promoted", every=every), deep)
        if "context" in where:
            ranked["context"] = self._contexts(query, deep, contexts, every=every)
        return self._joined(ranked, contexts, sort, limit, query.unwanted if "label" in where else ())

    def near(self, score: Callable[[Sequence[str]], Any], sort: str, limit: int) -> list[SearchHit]:
        """Features whose labels `score` puts highest; it is given the different labels and gives a number for each."""
        rows = [row for span in self._ranges() for row in self._rows("index", -1, span)]
        titled = [(row[0], title) for row in rows if (title := self._title(row)) not in (None, NO_MEANING, TOO_RARE)]
        texts = sorted({title for _, title in titled if title})
        value = dict(zip(texts, score(texts), strict=True))
        best = sorted((-float(value[title]), feature) for feature, title in titled if title)[: limit if sort == "match" else _DEEP]
        return self._joined({"meaning": best}, {}, sort, limit)

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """First and last feature of each stretch of chosen SAEs."""
        spans = sorted((self._first[name], self._first[name] + self.atlas.saes[name].d_sae - 1) for name in self.saes)
        low, high = spans[0]
        for start, end in spans[1:]:
            if start > high + 1:
                yield low, high
                low = start
            high = max(high, end)
        yield low, high

    def _narrow(self) -> bool:
        return self._filters != Filters(sae=self._filters.sae)

    def _rows(self, order: str, limit: int, span: tuple[int, int]) -> list[tuple[Any, ...]]:
        """Rows of the features in `span` that pass the filters, in order."""
        low, high = span
        if self._filters.starred:
            return self._among(order, limit, [feature for feature in self._written if low <= feature <= high])
        return self._db.execute(schema.LIST[order], self._values(limit) | {"low": low, "high": high}).fetchall()

    def _among(self, order: str, limit: int, features: Iterable[int]) -> list[tuple[Any, ...]]:
        """Rows of those `features` that pass the filters, in order."""
        if self._filters.starred:
            features = [feature for feature in features if feature in self._written and self._written[feature].star]
        values = self._values(limit) | {"among": json.dumps(sorted(features))}
        return self._db.execute(schema.LIST_AMONG[order], values).fetchall()

    def _values(self, limit: int) -> dict[str, Any]:
        f = self._filters
        kinds = json.dumps(f.kind) if f.kind else None
        return {"most_density": f.max_density, "least_density": f.min_density, "score": f.min_score, "kinds": kinds, "limit": limit}

    def _words(self, match: str, limit: int, known: Collection[int] = ()) -> "_Ranking":
        """Features that the index finds and that are not `known` already, best first.

        A word that more than `_MOST_RANKED` features have says little of any: of these some of each SAE come, all as good as each other.
        """
        spans = list(self._ranges())
        among = [{"match": match, "low": low, "high": high} for low, high in spans]
        counts = [self._db.execute(schema.COUNT_SOME, own | {"limit": _MOST_RANKED + 1}).fetchone()[0] for own in among]
        if sum(counts) <= _MOST_RANKED:
            rows = [row for own in among for row in self._db.execute(schema.FIND_WORDS, own | {"limit": limit})]
            return [(float(len(known) + rank), row) for rank, (row,) in enumerate(rows) if row not in known]
        each, found = _COMMON // len(self.saes) + 1, []
        for name in self.saes:
            low, high = self._first[name], self._first[name] + self.atlas.saes[name].d_sae - 1
            found += self._db.execute(schema.FIND_SOME, {"match": match, "low": low, "high": high, "limit": each})
        return [(float(len(known)), row) for (row,) in found if row not in known]

    def _contexts(self, query: Query, limit: int, contexts: dict[int, Example], *, every: bool) -> "_Ranking":
        """Features with many examples in windows that have the words; of the foremost, those first that have them near their peaks.

        The windows that fit best are read, until they name `_MOST_SEEN` features.
        """
        lists, windows, read = [np.zeros(0, np.uint32)], set[int](), 0
        for window, features in self._db.execute(schema.FIND_WINDOWS, {"match": query.match("body", every=every), "limit": _WINDOWS}):
            lists.append(unpack_numbers(features))
            windows.add(window)
            read += len(lists[-1])
            if read >= _MOST_SEEN:
                break
        seen = np.concatenate(lists)
        inside = np.concatenate([seen[(low <= seen) & (seen <= high)] for low, high in self._ranges()])
        features, times = np.unique(inside, return_counts=True)
        if self._narrow():
            passing = np.isin(features, [row[0] for row in self._among("index", -1, features.tolist())])
            features, times = features[passing], times[passing]
        order = np.argsort(-times, kind="stable")[:limit]
        found = list(zip((-times[order]).tolist(), features[order].tolist(), strict=True))
        fits = self._closeness([feature for _, feature in found[:_CLOSE]], windows, query, contexts)
        close = sorted((-fits[feature], feature) for _, feature in found[:_CLOSE])
        return [*close, *((_DAMPING + times / _DEEP, feature) for times, feature in found[_CLOSE:])]

    def _closeness(self, features: Sequence[int], windows: set[int], query: Query, contexts: dict[int, Example]) -> dict[int, int]:
        """Words of the query near the peaks of each feature's strongest examples in these windows, summed; the first of its examples
        that has most goes into `contexts`."""
        found = self._passages.strongest(features, windows)
        owners = [feature for feature, examples in found.items() for _ in examples]
        examples = [example for own in found.values() for example in own]
        total, best = dict.fromkeys(features, 0), dict.fromkeys(features, 0)
        shown = list(self._passages.contexts(examples, _NEAR, bare=True))
        words = Texts("".join(context.tokens) for context in shown).hits(query)
        for number, hits in sorted(words.items()):
            feature, context = owners[number], shown[number]
            hits += 2 * query.hits(context.tokens[context.peak])
            total[feature] += hits
            if hits > best[feature]:
                best[feature], contexts[feature] = hits, examples[number]
        return total

    def _joined(
        self, ranked: dict[str, "_Ranking"], contexts: dict[int, Example], sort: str, limit: int, unwanted: tuple[str, ...] = ()
    ) -> list[SearchHit]:
        """The lists as one; of what fits as well, the better labelled first. What is called by an `unwanted` word is none of it."""
        points: dict[int, float] = defaultdict(float)
        where: dict[int, tuple[str, ...]] = {}
        for name, features in ranked.items():
            rank = 0
            for at, (distance, feature) in enumerate(features):
                rank = at if at and distance > features[at - 1][0] else rank
                points[feature] += _WEIGHT.get(name, 1.0) / (_DAMPING + rank)
                where[feature] = (*where.get(feature, ()), name)
        rows = self._among("score", -1, points)
        if unwanted:
            named = Texts(self._title(row) or "" for row in rows).hits(Query(unwanted))
            rows = [row for number, row in enumerate(rows) if number not in named]
        rows.sort(key=(lambda row: -points[row[0]]) if sort == "match" else _KEYS[sort])
        return self._hits(rows[:limit], where, contexts)

    def _hits(
        self, rows: Sequence[tuple[Any, ...]], where: dict[int, tuple[str, ...]] | None = None, contexts: dict[int, Example] | None = None
    ) -> list[SearchHit]:
        hits = []
        told = [row[0] for row in rows if row[0] in (contexts or {})]
        passages = dict(zip(told, self._passages.contexts([contexts[feature] for feature in told], _NEAR) if contexts else (), strict=True))
        for row in rows:
            feature, _, kind, score, evidence, density, largest = row
            written = self._written.get(feature, Written())
            hits.append(
                SearchHit(
                    self._name(feature),
                    self._title(row),
                    kind,
                    score,
                    int(evidence),
                    float(density),
                    float(largest),
                    (where or {}).get(feature, ()),
                    passages.get(feature),
                    written,
                    self._named(feature),
                )
            )
        return hits

    def _title(self, row: tuple[Any, ...]) -> str | None:
        written, read = self._written.get(row[0]), self._named(row[0])
        return (written.label if written else "") or (read.name if read and read.stands_first else "") or row[1]

    def _name(self, feature: int) -> str:
        return "{}/{}".format(*self._address(feature))

    def _named(self, feature: int) -> Name | None:
        return self.atlas.name(*self._address(feature))

    def _address(self, feature: int) -> tuple[str, int]:
        """Its SAE and its number there."""
        name = max((name for name in self.atlas.saes if self._first[name] <= feature), key=lambda name: self._first[name])
        return name, feature - self._first[name]


# Features by how far they are from what was asked, nearest first.
_Ranking = list[tuple[float, int]]


def _numbered(features: Iterable[int]) -> _Ranking:
    return [(float(rank), feature) for rank, feature in enumerate(dict.fromkeys(features))]


# Rows of `schema.LIST`, in the order in which the file sorts them, for lists that are put together here.
_KEYS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "score": lambda row: (row[3] is None, -(row[3] or 0), -row[4], row[0]),
    "dense": lambda row: (-row[5], row[0]),
    "rare": lambda row: (row[5], row[0]),
    "strong": lambda row: (-row[6], row[0]),
    "index": lambda row: row[0],
}


def chosen(saes: Iterable[str], asked: Iterable[str]) -> list[str]:
    """The names among `saes` that a name, a site or a layer in `asked` means; all where nothing is asked."""
    names = list(saes)
    found = set()
    for want in asked:
        own = set(meant_by(want, names))
        if not own:
            raise unknown("SAE", want, names, "Give a name, a site such as resid_post.12, or a layer such as 12.")
        found |= own
    return [name for name in names if name in found] if found else names

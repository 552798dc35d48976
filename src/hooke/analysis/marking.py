"""Marking: names to have judged beside texts or behind words, a file of what was said, and a likelihood learnt from it."""

import json
import math
import random
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.likelihood import Likelihood, Marks, fit
from hooke.analysis.reader import Reader
from hooke.analysis.standings import CANDIDATES, first
from hooke.analysis.wording import Words, behind_words
from hooke.atlas import NO_MEANING, TOO_RARE, Name
from hooke.atlas.naming import TRIES
from hooke.atlas.wording import LIKELY
from hooke.errors import BadConfig, BadFile
from hooke.explain.llm.marks import SAID, SAID_BEHIND, Beside
from hooke.explain.llm.use import TRIED
from hooke.files import atomic_write, parse_json
from hooke.harvest import harvest
from hooke.metrics import concat_sites
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Window
from hooke.text.unpack import DAMAGE, unpacked

EACH = 6
"""Names judged beside a text."""
FEWEST = 200
"""Of fewer marks nothing is learnt."""
_FOLDS = 5
_FIRST = 3
_FEWEST_TRUE = 3
_GOOD, _USELESS, _ = _SAID = tuple(SAID.values())
_SENSIBLE = SAID_BEHIND["s"]
_ALL = (*_SAID, *SAID_BEHIND.values())
_MOST_LINE, _MOST_BYTES = 1 << 20, 1 << 30


def digest(text: str) -> str:
    """What stands for a text in a file of marks."""
    return sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Marked:
    """What was said of names beside one text, and behind words of it."""

    text: str
    """`digest` of the text."""
    said: Mapping[int, str] = field(default_factory=dict)
    """By feature, of the values of `SAID` and `SAID_BEHIND`."""
    source: str = ""
    """Where the text is from, if that is known."""


def read_marks(path: Path) -> tuple[dict[int, str], list[Marked]]:
    """The names that were judged, by feature, and what was said, text by text. Raises `BadFile`."""
    number = 1
    try:
        with path.open("rb") as file:
            stream = unpacked(file)[0]
            head = parse_json(stream.readline(_MOST_LINE))
            names = {int(index): str(name) for index, name in head["names"].items()}
            rows, left = list[Marked](), _MOST_BYTES
            while line := stream.readline(_MOST_LINE):
                number, left, row = number + 1, left - len(line), parse_json(line)
                said = {index: value for value in _ALL for index in row.get(value, ())}
                if left < 0 or not said.keys() <= names.keys() or not isinstance(row["text"], str):
                    raise ValueError("it is too large, or speaks of names that its first line does not have")
                rows.append(Marked(row["text"], said, str(row.get("source", ""))))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError, *DAMAGE) as error:
        raise BadFile(f"{path} is not a file of marks or is damaged, at line {number}: {str(error)[:200]}.") from error
    return names, rows


def write_marks(path: Path, names: Mapping[int, str], rows: Iterable[Marked]) -> None:
    """Write marks at `path`, whole or not at all; `read_marks` gives them back."""

    def line(row: Marked) -> dict[str, Any]:
        by_said = {value: sorted(index for index, own in row.said.items() if own == value) for value in _ALL}
        return {"source": row.source, "text": row.text, **by_said}

    said = [{"names": {str(index): names[index] for index in sorted(names)}}]
    said += [{key: value for key, value in line(row).items() if value} for row in rows if row.said]
    with atomic_write(path) as out:
        out.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in said).encode())


def kept_marks(path: Path, reader: Reader) -> dict[str, dict[int, str]]:
    """What the file at `path`, if there is one, says by `digest` of a text and feature, of names that are what they were when they were
    judged."""
    if not path.is_file():
        return {}
    (names, rows), named = read_marks(path), reader.labelled_saes[0].named
    return {row.text: {index: own for index, own in row.said.items() if named(index)["name"] == names[index]} for row in rows}


def keep_marks(path: Path, reader: Reader, said: Mapping[str, Mapping[int, str]]) -> None:
    """Write what `kept_marks` gives back."""
    named = reader.labelled_saes[0].named
    names = {index: str(named(index)["name"]) for own in said.values() for index in own}
    write_marks(path, names, [Marked(text, own) for text, own in said.items()])


def to_judge(reader: Reader, texts: Sequence[str], features: Container[int], known: Mapping[str, Mapping[int, str]]) -> list[Beside]:
    """For each text `EACH` of the names that would come first beside it, by lot of a dozen; less those that are `known` by its `digest`."""
    labelled, out = reader.labelled_saes[0], list[Beside]()
    for text, glance in zip(texts, reader.glance(texts), strict=True):
        names = dict[str, int]()
        if glance.fired:
            seen = labelled.standings(glance.fired[:1], [glance.tokens])
            rank = seen.about_rank
            for at in sorted(first(rank, seen.text, CANDIDATES), key=lambda at: -rank[at]):
                index = int(seen.feature[at])
                if index in features and (name := _read_name(labelled, index)):
                    names.setdefault(name, index)
        named = sorted((index, name) for name, index in names.items())
        drawn = random.Random(digest(text)).sample(named, min(EACH, len(named)))  # noqa: S311 (no secret)
        out.append(Beside(text, tuple(pair for pair in drawn if pair[0] not in known.get(digest(text), {}))))
    return out


def to_judge_behind(reader: Reader, texts: Sequence[str], features: Container[int], known: Mapping[str, Mapping[int, str]]) -> list[Beside]:
    """For texts the names by a reader that stand, or might, behind words of theirs; less those that are `known` by a text's `digest`.

    Each name is asked about in the first `TRIED` texts that it stands in, one that stands in many in as many as the root of their
    number. What is known changes nothing else, so that sheets stay as they are while answers come in.
    """
    found, often = list[tuple[str, Words, list[tuple[int, int, str]]]](), Counter[int]()
    for text, result in zip(texts, reader.read(texts), strict=True):
        words = Words(result.tokens)
        own = [
            (words.at[hit.pos], hit.index, name)
            for hit, name in behind_words(result.words, words, to_try=True)
            if hit.index in features and hit.named_by == "reader" and hit.own_label is None and hit.pos < len(words.at)
        ]
        often.update(index for _, index, _ in own)
        found.append((text, words, sorted(own)))
    left, out = {index: max(TRIED, math.isqrt(n)) for index, n in often.items()}, list[Beside]()
    for text, words, own in found:
        lot = [entry for entry in own if left[entry[1]] > 0]
        for _, index, _ in lot:
            left[index] -= 1
        asked = [entry for entry in lot if entry[1] not in known.get(digest(text), {})]
        if lot:
            names = tuple((index, f"«{words.whole(number)}»: {name}") for number, index, name in asked)
            out.append(Beside(text, names, words.set_off({number for number, _, _ in asked})))
    return out


def tries(marked: Iterable[Mapping[int, str]]) -> dict[int, "Tried"]:
    """What comes of what was said text by text, by feature."""
    counts = dict[int, Counter[str]]()
    for said in marked:
        for index, value in said.items():
            counts.setdefault(index, Counter())[value] += 1
    return {index: Tried.of(own) for index, own in counts.items()}


class Tried(NamedTuple):
    """How a name came off."""

    right: int
    """Of so many texts it is true: sensible behind a word of them, or good or useless beside them."""
    tried: int
    """Of so many that it was judged on: behind words, once there are `TRIES` of these (that is where it is read then), else all."""
    telling: bool | None
    """Whether it is good of most texts that it is true of, beside them; None where those are fewer than `_FEWEST_TRUE`."""
    judged: int
    """On so many it was judged in all."""

    @classmethod
    def of(cls, counts: Counter[str]) -> "Tried":
        """From how often which of the values of `SAID` and `SAID_BEHIND` was said."""
        beside, behind = counts[_GOOD] + counts[_USELESS], sum(counts[value] for value in SAID_BEHIND.values())
        telling = 2 * counts[_GOOD] >= beside if beside >= _FEWEST_TRUE else None
        if behind >= TRIES:
            return cls(counts[_SENSIBLE], behind, telling, counts.total())
        return cls(beside + counts[_SENSIBLE], counts.total(), telling, counts.total())


def with_tries(names: Mapping[int, Name], marked: Iterable[Mapping[int, str]]) -> dict[int, Name]:
    """Of `names` those that were judged text by text, with the `tries` that makes; not those that were tried on more before. Whether a
    name is telling stays as it was where marks do not say."""
    return {
        index: replace(names[index], right=own.right, tried=own.tried, telling=names[index].telling if own.telling is None else own.telling)
        for index, own in tries(marked).items()
        if index in names and names[index].name and own.judged >= names[index].tried
    }


class TooFew(BadConfig):
    """There are too few marks to learn from."""


@dataclass(frozen=True)
class Learnt:
    """A likelihood, and how good it is on texts left out, a fifth at a time."""

    likelihood: Likelihood
    texts: int
    """Texts that it was learnt from."""
    marks: int
    """And marks."""
    calibration: list[tuple[int, int, float]]
    """Tenths: what was said (so many in ten, and more), of how many names, and the share that was right."""
    before: "FirstNames"
    """The first three names of a text in the order without it."""
    after: "FirstNames"
    """With it, the unlikely left out."""
    better: bool
    """Whether it says more than the share of names that are good."""


@dataclass(frozen=True)
class FirstNames:
    """How good the first names of texts are."""

    said: Mapping[str, float]
    """The share of which each was said."""
    none: float
    """Share of texts without a good one."""
    shown: float
    """How many names a text has, on average."""


def learn(reader: Reader, marked: Mapping[str, Mapping[int, str]]) -> Learnt:
    """A likelihood of the reader's first SAE from what was said of its names, as `kept_marks` has them, by text and feature.

    Marks behind words, and of features that are silent in the text, count for nothing. Raises `TooFew` where what is left is too little.
    """
    labelled = reader.labelled_saes[0]
    beside = {text: {index: value for index, value in said.items() if value in _SAID} for text, said in marked.items()}
    marked = {text: said for text, said in beside.items() if said}
    rows = _Rows.of(labelled, reader, marked)
    good = int(rows.right.sum())
    if len(rows.right) < FEWEST or min(good, len(rows.right) - good) < FEWEST // 10:
        raise TooFew(
            f"too few marks to learn from: {len(rows.right):,}, {good:,} of them good. {FEWEST} are needed, with {FEWEST // 10} good"
            " ones and as many others. Have more texts judged."
        )
    named = {index: str(labelled.named(index)["name"]) for index in sorted(set(rows.feature.tolist()))}
    sites = sites_before(labelled.sae.site)
    of_names, of_texts = mean_acts(reader.model, list(named.values()), sites), mean_acts(reader.model, list(marked), sites)

    def fitted(some: np.ndarray) -> Likelihood:
        marks = Marks(rows.feature[some], rows.text[some], rows.seen[some], rows.right[some])
        return fit(named, sites, of_names, of_texts, marks)

    likely = np.zeros(len(rows.right))
    for fold in range(_FOLDS):
        out = rows.text % _FOLDS == fold
        if out.any():
            likely[out] = fitted(~out).of(rows.feature[out], rows.seen[out], rows.text[out], of_texts)
    before, after = _first_names(rows, rows.standing, 0.0), _first_names(rows, likely, LIKELY)
    better = _surprise(rows.right, likely) < _surprise(rows.right, np.full(len(likely), rows.right.mean()))
    everything = fitted(np.ones(len(rows.right), bool))
    return Learnt(everything, len(marked), len(rows.right), _calibration(rows.right, likely), before, after, better)


def _read_name(labelled: LabelledSae, index: int) -> str | None:
    """What a feature is called by a reader or its rule; nothing where neither knows, or a person has a label for it."""
    name = labelled.named(index)["name"]
    return None if index in labelled.own_labels or name in (NO_MEANING, TOO_RARE) else name


def sites_before(site: Site) -> list[Site]:
    """Where texts' activations are read for features at `site`: the residual stream there, and at five and nine twelfths of the way."""
    return [Site(layer, "resid_post") for layer in sorted({round(site.layer * part / 12) for part in (5, 9, 12)})]


def mean_acts(model: Model, texts: Sequence[str], sites: Sequence[Site]) -> np.ndarray:
    """``[text, d]``: mean activations of texts at `sites`, side by side."""
    sums = torch.zeros(len(texts), sum(model.width(site) for site in sites))
    windows = (Window("", n, list(ids)[: model.context]) for n, ids in enumerate(model.tokenizer.encode(list(texts))))
    for read in harvest(model, windows, list(sites), batch_tokens=1024, drop_sinks=False):
        owner = torch.tensor([window.doc for window in read.windows])[read.window]
        sums.index_add_(0, owner, concat_sites(read.acts, list(sites)).float() / owner.bincount()[owner, None])
    return sums.numpy()


@dataclass(frozen=True)
class _Rows:
    """Marks as arrays, a row each, those of a text together."""

    feature: np.ndarray
    text: np.ndarray
    said: np.ndarray
    seen: np.ndarray
    standing: np.ndarray
    """By which names stood in order before."""

    @property
    def right(self) -> np.ndarray:
        return self.said == _GOOD

    @classmethod
    def of(cls, labelled: LabelledSae, reader: Reader, marked: Mapping[str, Mapping[int, str]]) -> "_Rows":
        parts = list[tuple[np.ndarray, ...]]()
        for number, (said, glance) in enumerate(zip(marked.values(), reader.glance(marked), strict=True)):
            if not said or not glance.fired:
                continue
            seen = labelled.standings(glance.fired[:1], [glance.tokens])
            at = np.flatnonzero(np.isin(seen.feature, list(said)))
            own = np.array([said[index] for index in seen.feature[at].tolist()], object)
            parts.append((seen.feature[at], np.full(len(at), number), own, seen.evidence[at], seen.about_rank[at]))
        if not parts:
            return cls(np.zeros(0, int), np.zeros(0, int), np.zeros(0, object), np.zeros((0, 4)), np.zeros(0))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _first_names(rows: _Rows, order: np.ndarray, least: float) -> FirstNames:
    by = np.lexsort((-order, rows.text))
    place = np.arange(len(by)) - np.searchsorted(rows.text[by], rows.text[by])
    shown = by[(place < _FIRST) & ((order[by] >= least) | (place == 0))]
    texts = np.unique(rows.text[shown])
    none = 1 - np.isin(texts, rows.text[shown][rows.right[shown]]).mean()
    return FirstNames({value: float((rows.said[shown] == value).mean()) for value in _SAID}, float(none), len(shown) / len(texts))


def _calibration(right: np.ndarray, likely: np.ndarray) -> list[tuple[int, int, float]]:
    tenth = np.minimum((10 * likely).astype(int), 9)
    return [(own, int((tenth == own).sum()), float(right[tenth == own].mean())) for own in range(10) if (tenth == own).any()]


def _surprise(right: np.ndarray, likely: np.ndarray) -> float:
    """Mean surprise, in nats, of who believes `likely`."""
    sure = np.clip(likely, 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(right, sure, 1 - sure)).mean())

"""Called: what to call a finding, so that it is true of most of the texts behind it, and how that is known."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy import sparse

from hooke.analysis.judge import Judge
from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.reader import Reader
from hooke.atlas import NO_MEANING, TOO_RARE
from hooke.atlas.sensitive import by_name
from hooke.atlas.wording import NO_LABEL, Rating, rate
from hooke.differences.excerpts import pieces_of
from hooke.differences.items import MOSTLY, Items
from hooke.differences.reading import Pile
from hooke.explain.rules.vocabulary import grammatical
from hooke.text.figures import tenths
from hooke.text.marks import stripped

_MARKED = 60
"""Texts in which it is looked which words are marked, evenly spread over those that carry a finding."""
_WORDS = 3
_NEAR = 12
"""Tokens on either side that a word may reach to."""
_AT_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NAMELESS = "nobody has a name for it; these are the words that it marks most"
_RIGHT = ("usually fits", "sometimes fits")
"""Ratings by which a name counts as mostly right where no names were judged beside texts."""


def likelihoods(pile: Pile, labelled: Sequence[LabelledSae]) -> Any:
    """``[text, feature]``, compressed columns: how likely the name of each feature is right of each text in which it fires; nothing of
    features whose names were not judged beside texts."""
    value = pile.value
    judged, judges = np.zeros(value.shape[1], bool), [Judge(one) for one in labelled]
    for judge, offset in zip(judges, pile.offsets, strict=True):
        judged[offset + judge.features] = True
    entry = np.flatnonzero(judged[value.indices])
    text = np.repeat(np.arange(value.shape[0]), np.diff(value.indptr))[entry]
    order = np.argsort(value.indices[entry], kind="stable")
    entry, text = entry[order], text[order]
    feature = value.indices[entry]
    likely = np.zeros(len(entry), np.float32)
    bounds = [*np.flatnonzero(np.diff(feature, prepend=-1)).tolist(), len(entry)]
    for start, end in itertools.pairwise(bounds):
        own, texts = entry[start:end], text[start:end]
        number = int(np.searchsorted(pile.offsets, feature[start], side="right")) - 1
        share = pile.count[own] / pile.tokens[texts]
        peaks = pile.strongest[own].astype(np.float32)
        index = int(feature[start]) - pile.offsets[number]
        likely[start:end] = judges[number].likely(index, peaks, value.data[own], share, pile.place[number][texts])
    return sparse.csc_matrix((likely, (text, feature)), shape=value.shape)


@dataclass(frozen=True)
class Called:
    """What to call a finding."""

    feature: str
    """A feature's address; a topic's name; a word."""
    name: str
    """What to call it: its name if that is mostly right here, else the words that it marks most, in quotation marks."""
    group: str | None
    """Of a feature: ``about`` or ``words``."""
    known_as: str | None = None
    """Of a feature: what it is called elsewhere; None where nobody has a name for it."""
    fits: float | None = None
    """Of a feature: the share of these texts of which that name is likely right; None where nobody judged it beside texts."""
    rated: str = ""
    """Of a feature: how far that name can be relied on here, in a sentence."""
    meant: bool = True
    """Whether the name can be taken to say what most of these texts have."""
    sensitive: bool = False
    """Whether its name speaks of what is private, protected or offensive."""


class Naming:
    """What to call the columns of a comparison."""

    def __init__(self, items: Items, pile: Pile, likely: Any, texts: Sequence[str], reader: Reader) -> None:
        """`likely` is what `likelihoods` gives."""
        self._items, self._pile, self._labelled, self._likely = items, pile, reader.labelled_saes, likely
        self.tokenizer = reader.model.tokenizer
        """What the texts were read with."""

        def read(n: int) -> Sequence[str]:
            return pieces_of(self.tokenizer, texts[n])

        self._pieces = lru_cache(1024)(read)

    def of(self, column: int, texts: Int[np.ndarray, " text"]) -> Called:
        """What to call an item, by the `texts` that have it."""
        items = self._items
        if items.kind[column] != "feature":
            return Called(items.key[column], items.key[column], None, sensitive=by_name(items.key[column]))
        at = int(items.feature[column])
        number = int(np.searchsorted(self._pile.offsets, at, side="right")) - 1
        labelled, index = self._labelled[number], at - self._pile.offsets[number]
        known, group = labelled.named(index), "about" if labelled.tells_about(index) else "words"
        title = stripped(labelled.title(index))[:200]
        fits = self._fits(at, texts)
        if known["own_label"]:
            return Called(known["feature"], title, group, title, None, "the name is your own", True, known["sensitive"])
        by_rule, nameless = known["named_by"] == "rule", not title or title in (NO_MEANING, TOO_RARE, NO_LABEL)
        named = None if by_rule else labelled.names.get(index)
        rating = rate(named, known["label_score"], known["label_evidence"], rule=known["label_method"])
        if fits is not None:
            right, wrong = fits > MOSTLY, fits <= MOSTLY
        else:
            # Where names were judged beside texts, one that a rule gave was not: that its words are what texts are about nobody knows.
            unread = by_rule and group == "about" and labelled.likelihood is not None
            # Elsewhere tried is not tried here: where names are judged by the text, the others are not taken to be known.
            right, wrong = labelled.likelihood is None and rating.word in _RIGHT, rating.poor or unread
        shown = self._marks(at, texts) if wrong or nameless else title
        rated = (
            _NAMELESS if nameless else _here(title, fits, shown != title) if fits is not None else _elsewhere(title, rating, shown != title)
        )
        known_as = None if nameless else title
        return Called(known["feature"], shown, group, known_as, fits, rated, right and not nameless, known["sensitive"])

    def _fits(self, at: int, texts: np.ndarray) -> float | None:
        """The share of `texts` of which the name of the feature is likely right."""
        own = slice(self._likely.indptr[at], self._likely.indptr[at + 1])
        if own.start == own.stop or not len(texts):
            return None
        return float(self._likely.data[own][np.isin(self._likely.indices[own], texts)].sum() / len(texts))

    def _marks(self, at: int, texts: np.ndarray) -> str:
        """The words on which the feature is strongest in most of `texts`, in quotation marks."""
        some = _spread(texts, _MARKED)
        found: Counter[str] = Counter()
        spelt: dict[str, str] = {}
        for n, entry in zip(some.tolist(), self._pile.entries(at, some).tolist(), strict=True):
            if word := self._word(n, int(self._pile.peak[entry])):
                found[word.casefold()] += 1
                spelt.setdefault(word.casefold(), word)
        # Words of grammar, and what is no word, say little of what is marked where there are others.
        most = sorted(found, key=lambda word: (word in grammatical() or not word[0].isalnum(), -found[word]))[:_WORDS]
        return ", ".join(f"“{spelt[word]}”" for word in most) or NO_LABEL

    def _word(self, n: int, pos: int) -> str:
        """The word of a text that a token is of; a token without letters and digits as it is."""
        own = self._pieces(n)
        if pos >= len(own):
            return ""
        before, after = ("".join(own[max(0, pos - _NEAR) : pos]), "".join(own[pos : pos + _NEAR]))
        start, end = len(before) + len(own[pos]) - len(own[pos].lstrip()), len(before) + len(own[pos])
        for word in _AT_WORD.finditer(before + after):
            if word.start() < end and word.end() > start:
                return stripped(word[0])[:40]
        return stripped(own[pos].strip())[:40]


def _elsewhere(title: str, rating: Rating, marks: bool) -> str:
    """How far a name can be relied on that nobody judged beside texts like these, in a sentence; `marks`: it is not used."""
    if rating.of_rule:
        said = f"nobody tried on texts: {rating.figure}, where 0.5 is chance"
    else:
        said = "nobody tried" if not rating.figure else f"tried elsewhere, {rating.word}{rating.behind}"
    if marks:
        return f"elsewhere called {title}, which {said}"
    return f"the name, {said}" if rating.figure and not rating.of_rule else f"a name that {said}"


def _here(title: str, fits: float, marks: bool) -> str:
    """How far a name can be relied on of some texts, in a sentence; `marks`: it is not used."""
    said = f"{tenths(fits)} of these texts"
    return f"elsewhere called {title}, which is likely right of only {said}" if marks else f"the name is likely right of {said}"


def _spread(texts: np.ndarray, most: int) -> np.ndarray:
    """At most so many of `texts`, evenly spread."""
    return texts if len(texts) <= most else texts[np.linspace(0, len(texts) - 1, most).astype(np.int64)]

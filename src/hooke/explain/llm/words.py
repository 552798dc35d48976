"""Words that names quote: whether a feature called “the word 'bank'” fires on that word, counted where it is clearly active."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hooke.atlas.feature import Context, Feature, TokenShare
from hooke.atlas.records import INTERVALS
from hooke.explain.llm.sheet import CLEARLY, where_it_fires
from hooke.text.marks import marked
from hooke.text.words import words_of

FEWEST = 8
"""Of fewer places nothing is said."""
MOST_WORDS = 10
"""Words that are told of a feature."""
_HALF = 0.5
_QUOTE = re.compile(r"""(?<!\w)(?:'([^'"]+?)'|"([^"]+?)"|“([^”]+?)”|‘([^’]+?)’|«([^»]+?)»)(?!\w)""")
_LEAD = re.compile(
    r"(?:\b(?:the|an?|and|or|of|to|words?|verbs?|nouns?|adjectives?|pronouns?|prepositions?|names?|titles?|numbers?|signs?|marks?|forms?|"
    r"letters?|syllables?|prefix(?:es)?|suffix(?:es)?|endings?|possessive|plural|capital|small|plain)\b|[\s,/&])*",
    re.IGNORECASE,
)
"""What may stand before a word in quotation marks, if that is to be what the feature fires on, and not what it fires beside."""
_MORE = re.compile(r"\s*(?:,|and\b|or\b)|.*\b(?:languages?|foreign)\b")
"""Where the rest of a name is so, it fires on more than is quoted."""
_PIECE = re.compile(r"\b(?:letters?|parts?|pieces?|syllables?|inside|in an? word|compounds|start\w*|begin\w*|end\w*|prefix\w*|suffix\w*)\b")
_IRREGULAR = """be is are was were am been being 's 're 'm|have has had 've|do does did done|go goes went gone|say said|get got gotten\
|make made|take took taken|give gave given|see saw seen|know knew known|think thought|come came|find found|tell told|feel felt\
|leave left|keep kept|let|begin began begun|show shown|hear heard|run ran|hold held|bring brought|write wrote written\
|stand stood|lose lost|pay paid|meet met|lead led|speak spoke spoken|read|grow grew grown|win won|buy bought|send sent\
|build built|fall fell fallen|sell sold|teach taught|catch caught|choose chose chosen|drive drove driven|break broke broken\
|eat ate eaten|drink drank drunk|rise rose risen|wear wore worn|throw threw thrown|draw drew drawn|fly flew flown\
|sing sang sung|sit sat|sleep slept|spend spent|swim swam|fight fought|seek sought|strike struck|deal dealt|mean meant|man men\
|woman women|child children|foot feet|person people|mouse mice|tooth teeth"""
_FORMS = {word: frozenset(forms) for forms in map(str.split, _IRREGULAR.split("|")) for word in forms}


@dataclass(frozen=True)
class Quoted:
    """What a name says that its feature fires on."""

    words: frozenset[str]
    """Any of these words, or a form of it."""
    pieces: bool = False
    """Whether a part of a word is enough."""

    def on(self, word: str) -> bool:
        """Whether `word`, in lower case, is what was quoted."""
        if self.pieces:
            return any(piece in word for piece in self.words)
        return word in self.words or bool(self._forms.fullmatch(word))

    @cached_property
    def _forms(self) -> re.Pattern[str]:
        """Inflected words: *dropped*, *carried*, *leaving*; not whatever begins alike."""
        own = (
            f"{re.escape(word[:-1])}(?:{re.escape(word[-1])}{{0,2}}|i)" for word in sorted(self.words) if len(word) > 2 and word.isalpha()
        )
        return re.compile(f"(?:{'|'.join(own) or '(?!)'})(?:s|es|ed|d|ing|ings|er|ers|ern|al|ial|ly)")


def quoted(name: str) -> Quoted | None:
    """What `name` says in quotation marks that its feature fires on; None where it quotes nothing, or words that stand elsewhere.

    >>> sorted(quoted("the words 'home' and 'house'").words)
    ['home', 'house']
    >>> sorted(quoted("'the' after 'into' and 'to'").words)
    ['the']
    >>> quoted("verbs before 'by'") is quoted("rocket launches") is None
    True
    """
    words, at, pieces = set[str](), 0, bool(_PIECE.search(_QUOTE.sub("", name).lower()))
    for match in _QUOTE.finditer(name):
        if not _LEAD.fullmatch(name[at : match.start()]):
            break
        text = next(filter(None, match.groups())).lower()
        own = re.findall(r"\w+|[^\w\s]", text)
        pieces |= text.startswith("-") or text.endswith("-")
        words.update(word for word in own if word != "-" or len(own) == 1)
        at = match.end()
    if not words or _MORE.match(name[at:]):
        return None
    forms = frozenset[str]().union(*(_FORMS.get(word, frozenset()) for word in words))
    return Quoted(frozenset(words) | forms, pieces)


@dataclass(frozen=True)
class Heard:
    """How much of what a feature fires on is what its name quotes."""

    feature: int
    """Its index."""
    name: str
    """What it is called."""
    places: int
    """Places looked at where it is clearly active."""
    right: int
    """At how many of them stands what the name quotes."""
    of_places: float | None
    """Share of all such places, estimated; None where too few were looked at."""
    of_activation: float | None
    """Of its activation on the tokens that take most of it, the share on what the name quotes; None where no tokens are known."""
    words: list[tuple[str, int]]
    """The words it fires on at those places, with how often, most first; where too few are known, the tokens it fires on."""

    @property
    def share(self) -> float | None:
        """The mean of both shares, each of which is uncertain in its own way; None where neither is known."""
        known = [share for share in (self.of_places, self.of_activation) if share is not None]
        return sum(known) / len(known) if known else None

    @property
    def belied(self) -> bool:
        """Whether the name does not hold: less than half of what the feature fires on is what it quotes."""
        return self.share is not None and self.share < _HALF


def heard(feature: Feature, index: int, name: str, counted: Mapping[str, int] | None = None) -> Heard | None:
    """How much of what `feature` fires on is what its `name` quotes, by its atlas; None where the name quotes nothing.

    With `counted`, how often it was clearly active on which word of some text, these places decide, once there are `FEWEST`.
    """
    said = quoted(name)
    if said is None:
        return None
    if counted is not None and (places := sum(counted.values())) >= FEWEST:
        right = sum(n for word, n in counted.items() if said.on(word))
        return Heard(index, name, places, right, right / places, None, _most(counted))
    found = [place for place in where_it_fires(feature) if place.activation >= CLEARLY * feature.max]
    words = [_word_at(place) for place in found]
    right = [said.on(word) for word in words]
    of_places = _weighed(feature, found, right) if len(found) >= FEWEST else None
    on = {token.text: token for token in feature.tokens if _may_be(said, token)}
    total = sum(token.share for token in feature.tokens)
    of_activation = sum(token.share for token in on.values()) / total if total else None
    counts = Counter(words) if len(found) >= FEWEST else _by_word(feature.tokens)
    return Heard(index, name, len(found), sum(right), of_places, of_activation, _most(counts))


def complaint(own: Heard) -> str:
    """What a reader is told of a name that its words belie, on two lines of an evidence sheet."""
    words = ", ".join(f"{marked(word.strip()) or repr(word)} {count}" for word, count in own.words)
    return f"FIRES ON {words}\nNOT {marked(own.name)}"


def _word_at(place: Context) -> str:
    words, at = words_of(place.tokens)
    return words[at[place.peak]]


def _weighed(feature: Feature, places: Sequence[Context], right: Sequence[bool]) -> float:
    """The share of places that are right: an atlas keeps as many from a stretch of the range in which a feature fires often as from one
    in which it seldom does, so that each counts for as many as its stretch has."""
    size, least = len(feature.histogram), CLEARLY * len(feature.histogram)
    stretch = [min(int(place.activation / feature.max * INTERVALS), INTERVALS - 1) for place in places]
    often = Counter[int]()
    for at, count in enumerate(feature.histogram):
        often[at * INTERVALS // size] += count if at >= least else 0
    weight = [often[own] / stretch.count(own) for own in stretch]
    if not sum(weight):
        weight = [1.0] * len(places)
    return sum(own for own, fits in zip(weight, right, strict=True) if fits) / sum(weight)


def _may_be(said: Quoted, token: TokenShare) -> bool:
    """Whether a token is what was quoted, or a piece of it."""
    text = token.text.strip().lower()
    return said.on(text) or (len(text) > 1 and any(word.startswith(text) or word.endswith(text) for word in said.words))


def _by_word(tokens: Sequence[TokenShare]) -> Counter[str]:
    counts = Counter[str]()
    for token in tokens:
        counts[token.text.strip().lower() or token.text] += token.count
    return counts


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_WORDS]

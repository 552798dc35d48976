"""Schema: what the server answers of models, SAEs, features and notes, as plain values; the interface's schema is made from these."""

from dataclasses import dataclass, field
from typing import Any

from hooke.atlas.feature import Context, Feature, Kind, Relative, Written
from hooke.atlas.search import SearchHit
from hooke.atlas.wording import Rating


@dataclass(frozen=True)
class ModelState:
    """The model behind the page."""

    name: str | None
    """Its name; None where the server was started without one."""
    state: str
    """``none``, ``loading``, ``ready`` or ``failed``."""
    detail: str
    """What it is doing, or why it failed."""
    saes: list[str]
    """The SAEs that a text can be read with."""
    default: list[str]
    """Those it is read with unless others are asked for."""


@dataclass(frozen=True)
class About:
    """What this server is and what it can do."""

    version: str
    """Hooke's version."""
    model: ModelState
    """The model."""
    atlases: list[dict[str, Any]]
    """Each atlas: ``file``, ``model``, ``tokens``, ``documents``, ``topics``, ``corpora``, and ``contexts``: whether the texts around its
    features' examples can be searched."""
    features: int
    """Features in all of them."""
    limits: dict[str, int]
    """The most of everything that can be asked for."""
    ratings: dict[str, str]
    """How far names can be relied on, each kind of rating with its whole rule in words: ``here`` (beside a text that was read), ``tried``
    (on short texts), ``fits`` (by score) and ``rule`` (of a rule beneath the name)."""
    meaning: bool
    """Whether features can be found by meaning: whether the sentence encoder is installed."""
    pages: dict[str, bool]
    """Which pages there are; those of later versions stand at false."""


@dataclass(frozen=True)
class SaeRow:
    """One SAE."""

    name: str
    """Its address."""
    model: str
    """The model it was made for."""
    site: str
    """Where it reads."""
    layer: int
    """The block."""
    d_sae: int
    """Number of features."""
    l0: float | None
    """Features active on a token of its atlas' text, on average."""
    explained: float | None
    """Share of the variance of its atlas' text that it explains; else what its card says."""
    explained_headlines: float | None
    """The same on news headlines."""
    tokens: int | None
    """Tokens read for its atlas."""
    labelled: bool
    """Whether an atlas knows its features."""
    named: int | None
    """Features with a name that held up."""
    dead: int | None
    """Features that never fired in the atlas' text."""
    digest: str
    """Of its weights, as the atlas has it; empty where none does."""
    ready: bool
    """Whether the model reads texts with it now."""


@dataclass(frozen=True)
class SaeDetail:
    """One SAE's page."""

    sae: SaeRow
    """Its row in the list."""
    kinds: dict[str, int]
    """How many of its features are subjects, words, grammar ..."""
    ratings: dict[str, int]
    """How many have a name that usually fits, sometimes fits or better, was tested at all."""
    facts: dict[str, Any]
    """What its file says: how it decides what fires, where it reads and writes, what was measured and how it was trained; empty where it
    is not at hand."""


@dataclass(frozen=True)
class FeatureRow:
    """One feature in a list."""

    name: str
    """Address, ``sae/index``."""
    sae: str
    """The SAE."""
    index: int
    """Its column."""
    layer: int
    """The SAE's layer."""
    label: str | None
    """A reader's name for it, else the rule in short."""
    own_label: str
    """Your own name; empty where there is none."""
    kind: str | None
    """What it is: topic, entity, event, frame, word, grammar, form or unclear."""
    by_reader: bool
    """Whether a reader gave the name, and not a rule."""
    rating: Rating
    """How far the name can be relied on."""
    score: float | None
    """How well the name, or the rule in its place or beneath it, tells where it fires; 0.5 is chance."""
    evidence: int
    """Places behind the score."""
    density: float
    """Share of tokens it fires on."""
    max: float
    """Largest activation seen."""
    star: bool
    """Whether you starred it."""
    note: str
    """The note that you wrote on it, its beginning; empty where there is none."""


@dataclass(frozen=True)
class FeaturePage:
    """Some rows of a list."""

    rows: list[FeatureRow]
    """The rows."""
    total: int
    """Rows that pass the filters."""
    offset: int
    """Where these rows begin."""
    cursor: str | None
    """Gives the next rows; None at the end."""
    kinds: dict[str, int]
    """Rows by kind of label, the filter on kinds aside."""


@dataclass(frozen=True)
class NamedBy:
    """A name of a feature."""

    by: str
    """Whose it is."""
    name: str
    """The name."""
    rating: Rating
    """How far it can be relied on."""


@dataclass(frozen=True)
class FeatureHead:
    """A feature's page: everything but the examples by stretch and the near misses."""

    name: str
    """Address."""
    sae: str
    """The SAE."""
    index: int
    """Its column."""
    d_sae: int
    """Features of the SAE."""
    digest: str
    """Of the SAE's weights."""
    tokens_read: int | None
    """Tokens of text behind these figures."""
    title: str | None
    """The label to show."""
    kind: Kind | None
    """Whether it *reads*, *writes*, does *both*, or is *unclear*; None where what it does was not measured."""
    sensitive: bool
    """Whether it is on private, protected or offensive matters, so that its texts are shown on demand."""
    feature: Feature
    """What ``hooke feature --json`` prints, less ``intervals`` and ``misses``."""
    names: list[NamedBy]
    """What it is called, by whom: you, a reader, a rule."""
    lists: list[str]
    """Lists of yours that it is in."""
    etag: str
    """Of what you wrote, for If-Match."""


@dataclass(frozen=True)
class Stretch:
    """Examples from one stretch of a feature's range."""

    low: float
    """Activations from here."""
    high: float
    """To here."""
    share: float | None
    """Share of all its firings that lie in this stretch; None where nothing was counted."""
    passages: list[Context]
    """Some places, drawn by lot."""


@dataclass(frozen=True)
class Examples:
    """Where a feature fires, by strength."""

    stretches: list[Stretch]
    """Strongest first."""


@dataclass(frozen=True)
class NearMisses:
    """Places where a feature might have fired and did not."""

    passages: list[Context]
    """Same token, or the most alike text."""


@dataclass(frozen=True)
class Fresh:
    """What a feature does in the short texts that come with Hooke, read by the model that runs."""

    texts: int
    """Texts read."""
    tokens: int
    """Tokens in them."""
    fired: int
    """Texts in which it fires."""
    firings: int
    """Tokens on which it does."""
    stretches: list[Stretch]
    """Some of these texts by their strongest place, strongest first; shares are of all tokens on which it fires."""
    misses: list[Context]
    """Texts with a token on which it often fires, and in which it is silent."""


@dataclass(frozen=True)
class Neighbours:
    """Related features."""

    alike: list[Relative]
    """By what they write (cosine)."""
    together: list[Relative]
    """By the tokens they fire on (Jaccard)."""


@dataclass(frozen=True)
class FoundHit(SearchHit):
    """A feature that a search found, and how far its name can be relied on."""

    rating: Rating = field(kw_only=True)
    """Of the name it is shown under."""
    by_name: bool = field(kw_only=True)
    """Whether that name has one of the words; if not, its rule has."""


@dataclass(frozen=True)
class SearchPage:
    """What a search found."""

    query: str
    """What was asked."""
    hits: list[FoundHit]
    """The features, best first."""
    loosened: bool
    """Whether nothing had all the words, and these have some."""
    counts: dict[str, int]
    """Hits by where the words were found: ``label``, ``context``, ``output``."""


@dataclass(frozen=True)
class Note:
    """What you wrote about one feature."""

    name: str
    """Address."""
    written: Written
    """Star, note and label."""
    lists: list[str]
    """Lists it is in."""
    etag: str
    """For If-Match: changes whenever what is written does."""


@dataclass(frozen=True)
class ListSummary:
    """One of your lists."""

    name: str
    """Its name."""
    features: int
    """Features in it that the open atlases know."""


@dataclass(frozen=True)
class Lists:
    """Your lists."""

    starred: int
    """Features with a star."""
    noted: int
    """Features with a note or a name of yours."""
    lists: list[ListSummary]
    """The lists that you made."""


@dataclass(frozen=True)
class Saved:
    """A text that an address stands for."""

    id: str
    """What stands in the address."""
    text: str
    """The text."""


@dataclass(frozen=True)
class Tokenized:
    """Tokens as text."""

    tokens: list[list[str]]
    """Of each text; special tokens are left out."""

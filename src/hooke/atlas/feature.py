"""What an atlas says of one feature, with every token as text: the record behind a feature's page."""

from dataclasses import dataclass, field
from typing import Any, Literal

from hooke.atlas.naming import Name
from hooke.atlas.records import INTERVALS, Effect, Label
from hooke.atlas.sensitive import by_name, by_tokens
from hooke.files import plain

READS = 0.8
"""Balanced accuracy from which on a name is said to tell where a feature fires."""
Kind = Literal["reads", "writes", "both", "unclear"]


@dataclass(frozen=True)
class Context:
    """A stretch of text around a place where a feature fired, or, of a near miss, where it might have and did not."""

    tokens: list[str]
    """What each token adds to the text; they concatenate to it."""
    values: list[float]
    """The feature's activation on each token; 0 where it is silent."""
    peak: int
    """Index in `tokens` of the strongest token (of a near miss: of the token in question)."""
    corpus: str
    """Name of the corpus."""
    doc: int
    """Number of the document there."""
    start: int
    """Token of the document at which `tokens` begin."""

    @property
    def activation(self) -> float:
        """The activation at the peak; 0 for a near miss."""
        return self.values[self.peak]

    def near(self, before: int = 12, after: int = 12) -> "Context":
        """The same with at most so many tokens on each side of the peak."""
        low, high = max(0, self.peak - before), self.peak + after + 1
        return Context(self.tokens[low:high], self.values[low:high], self.peak - low, self.corpus, self.doc, self.start + low)


@dataclass(frozen=True)
class TokenShare:
    """A token of the vocabulary as one feature sees it."""

    text: str
    """The token."""
    count: int
    """Times the feature fired on it."""
    share: float
    """Share of the feature's summed activation that falls on it."""
    enrichment: float
    """Weighted log-odds of the token where the feature fires against everywhere."""


@dataclass(frozen=True)
class OutputToken:
    """A token whose logit a feature moves."""

    text: str
    """The token."""
    weight: float
    """By how much its decoder row moves the logit, per unit of activation."""


@dataclass(frozen=True)
class Relative:
    """Another feature of the same SAE, and how it is related."""

    name: str
    """Its address."""
    label: str | None
    """Its label."""
    value: float
    """Cosine of the decoder rows, or Jaccard index of the tokens fired on."""


@dataclass(frozen=True)
class Written:
    """What a person wrote about a feature."""

    star: bool = False
    """Whether it is starred."""
    note: str = ""
    """A note."""
    label: str = ""
    """A label of one's own, shown in place of the atlas'; empty where there is none."""


@dataclass(frozen=True)
class Feature:
    """One feature, in full."""

    name: str
    """Address, ``sae/index``."""
    density: float
    """Share of tokens on which it fires."""
    max: float
    """Largest activation seen."""
    label: Label | None
    """The atlas' name for it; None where nobody looked."""
    output: Label | None = None
    """What it makes likelier, in words."""
    group: str | None = None
    """The group that it was trained in, such as ``about`` or ``word``; None where the SAE has no groups."""
    count: int | None = None
    """Tokens on which it fired."""
    mean: float | None = None
    """Mean activation where it fired."""
    quantiles: list[float] = field(default_factory=list)
    """Of its activations where it fired, at `hooke.atlas.records.QUANTILES`."""
    histogram: list[int] = field(default_factory=list)
    """Counts of its activations in equal bins from 0 to `max`."""
    documents: int | None = None
    """Documents in which it fired."""
    persistence: float | None = None
    """Mean share of a document's tokens on which it fires, over the documents in which it does."""
    commonest: float | None = None
    """Share of the tokens it fires on that are one and the same token."""
    purity: list[float] = field(default_factory=list)
    """Share of its summed activation on its first, its five and its twenty strongest tokens."""
    tokens: list[TokenShare] = field(default_factory=list)
    """The tokens it spends most of its activation on, most first."""
    top: list[Context] = field(default_factory=list)
    """Where it fired most, strongest first."""
    intervals: list[list[Context]] = field(default_factory=list)
    """Places from each of equal stretches of its range, weakest stretch first."""
    misses: list[Context] = field(default_factory=list)
    """Near misses: places with the same token, or in the most alike text, on which it is silent."""
    promoted: list[OutputToken] = field(default_factory=list)
    """Tokens whose logits its decoder row raises most."""
    suppressed: list[OutputToken] = field(default_factory=list)
    """Tokens whose logits it lowers most."""
    neighbours: list[Relative] = field(default_factory=list)
    """Features with the most alike decoder rows."""
    together: list[Relative] = field(default_factory=list)
    """Features that fire on the same tokens."""
    background: list[int] = field(default_factory=list)
    """Background texts in which it reaches more than 0, 1/8, 2/8 ... 7/8 of its maximum."""
    topics: dict[str, float] = field(default_factory=dict)
    """Evidence for each topic, in nats, when it is fully active."""
    written: Written = field(default_factory=Written)
    """What a person wrote about it."""
    named: Name | None = None
    """The name that a reader gave to it; None where nobody read."""
    effect: Effect | None = None
    """What it does when it is added; None where that was not measured."""

    @property
    def kind(self) -> Kind | None:
        """Whether its name tells where it fires (*reads*), it puts words of its own in (*writes*), *both*, or neither; None: not measured.

        A name tells where it fires when it, or the rule behind it, reaches `READS` on held-out text.
        """
        if self.effect is None:
            return None
        scores = [self.named.score if self.named else None, self.label.score.value if self.label and self.label.score else None]
        reads, writes = any(score is not None and score >= READS for score in scores), self.effect.full.writes
        return "both" if reads and writes else "reads" if reads else "writes" if writes else "unclear"

    @property
    def title(self) -> str | None:
        """What to call it: a label of one's own, else a reader's name that may stand first, else the rule's wording."""
        read = self.named.name if self.named and self.named.stands_first else ""
        return self.written.label or read or (self.label.text if self.label else None)

    @property
    def sensitive(self) -> bool:
        """Whether it is on private, protected or offensive matters, by its name or by the tokens it fires on."""
        return by_name(self.title) or by_tokens((token.text, token.share) for token in self.tokens)

    def stretch(self, interval: int) -> tuple[float, float]:
        """The activations between which the examples ``intervals[interval]`` peak."""
        return self.max * interval / INTERVALS, self.max * (interval + 1) / INTERVALS

    def to_json(self) -> dict[str, Any]:
        """What ``hooke feature --json`` prints; a number that is not known is null."""
        said = {"name": self.name, "title": self.title, "kind": self.kind, "sensitive": self.sensitive}
        return said | plain(self)

    def _repr_html_(self) -> str:
        from hooke.atlas.notebook import fragment

        return fragment(self)

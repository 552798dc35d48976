"""Records: what an atlas holds of one SAE, of each of its features and of the text they were seen in, as plain values."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hooke.sae.facts import check_groups, group_of

NO_MEANING = "no consistent meaning found"
"""The label of a feature that was looked at and resists a name."""
TOO_RARE = "too rare to name"
"""The label of a feature that fired too seldom to be looked at."""
BACKGROUND_STEPS = 8
"""Background counts are kept of texts in which a feature reaches more than 0, 1/8, 2/8 ... 7/8 of its maximum."""
HISTOGRAM_BINS = 50
"""Equal bins between 0 and a feature's maximum that its activations are counted in."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles kept of a feature's activations, of the tokens on which it fires."""
CHANCE_WRITES = 0.05
"""A feature writes where at most this share of random steps does as much."""
INTERVALS = 5
"""Equal stretches between 0 and the maximum from each of which some examples are drawn."""


def document_key(corpus: str, doc: int | None) -> int:
    """A number for a document that is the same wherever it is read: ``crc32("corpus:document")``; odd: it is of the score half."""
    return zlib.crc32(f"{corpus}:{doc}".encode())


@dataclass(frozen=True)
class TextWindow:
    """A stretch of text that the model read at one go."""

    id: int
    """Its number in the atlas, from 0."""
    corpus: str
    """Name of the corpus."""
    doc: int
    """Number of the document there."""
    start: int
    """Token of the document at which the window begins."""
    ids: np.ndarray
    """Token ids in reading order, special tokens left out."""


@dataclass(frozen=True)
class Example:
    """A place where a feature fired, or, of a near miss, where it might have and did not."""

    window: int
    """`TextWindow.id`."""
    peak: int
    """Index in the window's `ids` of the strongest token (of a near miss: of the token in question)."""
    at: np.ndarray
    """Indices in `ids` on which it fired, near the peak, ascending; empty for a near miss."""
    values: np.ndarray
    """Its activation on each of `at`."""

    @property
    def activation(self) -> float:
        """The activation at the peak; 0 for a near miss."""
        return float(self.values.max(initial=0))


@dataclass(frozen=True)
class TokenCount:
    """A token of the vocabulary as one feature sees it."""

    token: int
    """Token id."""
    count: int
    """Times the feature fired on it."""
    share: float
    """Share of the feature's summed activation that falls on it."""
    enrichment: float
    """Weighted log-odds of the token where the feature fires against everywhere (methods 4.5)."""


@dataclass(frozen=True)
class Score:
    """How well a label tells where a feature fires from where it does not, on text that the label was not made from."""

    value: float
    """Balanced accuracy, (TPR + TNR) / 2; 0.5 is chance."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    positives: int
    """Places in the score half where the feature was clearly active."""
    negatives: int
    """Places where it was silent: near misses and random ones alike."""


@dataclass(frozen=True)
class Label:
    """A name for a feature, and how far to trust it."""

    text: str
    """Short wording."""
    kind: str
    """What kind of rule it is (``token``, ``word``, ``previous``, ``context``, ``pattern`` ...); ``none`` where nothing was found."""
    rule: dict[str, Any] = field(default_factory=dict)
    """The rule itself, as `hooke.explain` reads it back to run it on any text."""
    token: Score | None = None
    """How well it finds the tokens; None where there was too little to measure."""
    document: Score | None = None
    """How well it finds the documents."""
    near: float | None = None
    """Balanced accuracy against near misses alone."""
    control: float | None = None
    """What the same search scores for this feature once its places are shuffled: chance, if the search is honest."""
    strong: float | None = None
    """Balanced accuracy where only activations above half the maximum count as active; `token` counts from a quarter up."""

    @property
    def score(self) -> Score | None:
        """What stands beside the name: how well it finds the tokens; of a rule that only speaks of whole texts, the documents."""
        return self.token or self.document


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    """The mean."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Moved:
    """A token that a feature makes likelier or less likely, measured in contexts that it was not chosen in."""

    token: int
    """Token id."""
    before: float
    """Mean probability that the model by itself gives it."""
    after: float
    """The same with the feature added."""
    rise: Estimate
    """Change of its log probability, in nats."""
    text: str = ""
    """The token, where it was looked up."""


@dataclass(frozen=True)
class DoseEffect:
    """What a model expects next when so much of a feature is added to the last token of neutral contexts."""

    dose: float
    """In units of the feature's own maximum."""
    kl: Estimate
    """By how much expectations move: KL(p ‖ p̂) in nats, p without and p̂ with the feature."""
    kl_random: tuple[float, float]
    """The same of random steps as long: their median, and what one in twenty of them reaches."""
    kl_p: float
    """Share of random steps that move as much or more, (1 + those) / (1 + all)."""
    gain: Estimate
    """Probability that goes over to the tokens raised most."""
    gain_random: tuple[float, float]
    """The same of random steps as long, each with the tokens that it raises most: median, and one in twenty."""
    gain_p: float
    """Share of random steps whose gain is as large or larger."""
    frozen: float | None = None
    """Share of features of a dictionary that never learnt directions whose KL, a step as long, is as large; None where none was tried."""
    raised: tuple[Moved, ...] = ()
    """Tokens raised most, by q ln(q/p)."""
    lowered: tuple[Moved, ...] = ()
    """Tokens lowered most, by p ln(p/q)."""

    @property
    def held(self) -> tuple[list[Moved], list[Moved]]:
        """Of the tokens raised and of those lowered, those that the contexts which did not choose them move the same way for sure.

        Both in the mean of the logarithms, with its interval, and in the mean probability, which one context can decide.
        """
        raised = [one for one in self.raised if one.rise.low > 0 and one.after > one.before]
        return raised, [one for one in self.lowered if one.rise.high < 0 and one.after < one.before]

    @property
    def writes(self) -> bool:
        """Whether it puts words of its own in, and more of them than all but one in twenty random steps as long."""
        return self.gain.low > 0 and self.gain_p <= CHANCE_WRITES


@dataclass(frozen=True)
class Effect:
    """What a feature does, by dose."""

    doses: tuple[DoseEffect, ...]
    """Ascending."""

    @property
    def full(self) -> DoseEffect:
        """At the feature's own maximum, or the dose next to it that was measured."""
        return min(self.doses, key=lambda one: abs(one.dose - 1))

    @property
    def turns(self) -> float | None:
        """The dose past which less goes over to its own words again, the intervals apart; None where every further dose adds to them."""
        most = max((one for one in self.doses if one.dose > 0), key=lambda one: one.gain.mean, default=None)
        falls = most is not None and any(one.dose > most.dose and one.gain.high < most.gain.low for one in self.doses)
        return most.dose if most is not None and falls else None


@dataclass(frozen=True)
class FeatureRecord:
    """Everything an atlas keeps of one feature."""

    index: int
    """Its column in the codes."""
    count: int
    """Tokens on which it fired."""
    density: float
    """Share of tokens on which it fired."""
    max: float
    """Largest activation seen."""
    mean: float
    """Mean activation where it fired."""
    quantiles: np.ndarray
    """Of its activations where it fired, at `QUANTILES`."""
    histogram: np.ndarray
    """Counts in `HISTOGRAM_BINS` equal bins from 0 to `max`; they sum to `count`."""
    documents: int
    """Documents in which it fired."""
    persistence: float
    """Mean share of a document's tokens on which it fires, over the documents in which it does."""
    commonest: float
    """Share of the tokens it fires on that are one and the same token."""
    purity: tuple[float, float, float]
    """Share of its summed activation that falls on its first, its five and its twenty strongest tokens."""
    tokens: list[TokenCount]
    """The tokens it spends most of its activation on, most first."""
    top: list[Example]
    """Where it fired most, strongest first, at most two a document."""
    intervals: list[list[Example]]
    """Places drawn from each of `INTERVALS` stretches of its range, weakest stretch first."""
    misses: list[Example]
    """Near misses: places with the same token, or in the most alike text, on which it is silent."""
    promoted: list[tuple[int, float]]
    """Tokens whose logits its decoder row raises most, with how much (final norm's gain folded in, mean over the vocabulary taken out)."""
    suppressed: list[tuple[int, float]]
    """Tokens whose logits it lowers most."""
    neighbours: list[tuple[int, float]]
    """Features of the same SAE with the most alike decoder rows, and the cosine."""
    together: list[tuple[int, float]]
    """Features that fire on the same tokens, and the Jaccard index."""
    label: Label
    """Its name."""
    output: Label | None
    """What it makes likelier, in words."""
    background: np.ndarray
    """``[BACKGROUND_STEPS]``: background texts in which it reaches more than each step of its maximum."""
    topics: np.ndarray
    """``[topics]``: evidence for each topic, in nats, when it is fully active."""
    effect: Effect | None = None
    """What it does when it is added; None where that was not measured."""


@dataclass(frozen=True)
class SaeEntry:
    """One SAE in an atlas."""

    name: str
    """Address, ``collection/site/variant``."""
    digest: str
    """`hooke.sae.digest` of its tensors; empty where it is not known (files of schema 1)."""
    d_sae: int
    """Number of features."""
    facts: dict[str, Any]
    """``tokens``, ``background_texts``, ``explained`` ... as measured when the atlas was built; ``groups`` as the SAE's file has them."""
    mean: np.ndarray
    """Mean activation at the site."""

    def group_of(self, feature: int) -> str | None:
        """The group that `feature` belongs to (`hooke.sae.SaeFacts.groups`), if any."""
        groups = self.facts.get("groups", {})
        check_groups(groups)
        return group_of(groups, feature)

"""What differs between groups of texts, as plain values: the one shape behind the table, the JSON, the CSV and the page."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

Kind = Literal["feature", "topic", "word"]


@dataclass(frozen=True)
class Excerpt:
    """A piece of a text that has what is spoken of; addresses and long numbers are masked."""

    text: int
    """Which text it is from."""
    group: str
    """Its group."""
    before: str
    """What stands in front."""
    token: str
    """The token on which the feature is strongest, or the word; empty where it is the whole text."""
    after: str
    """What follows."""


@dataclass(frozen=True)
class Finding:
    """One thing that texts of one group have more often than those of another."""

    kind: Kind
    """What sort of thing."""
    feature: str
    """A feature's address; a topic's name; a word."""
    name: str
    """What to call it: of a feature its name, if that is mostly right of these texts, else the words that it marks most, in “ ”."""
    groups: dict[str, float]
    """Share of each group's texts that have it; of a feature, in which it fires, however weakly."""
    effect: float
    """Share in the group `a` minus share in `b`."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    q: float
    """Share of false ones expected among the findings that are as clear as this or clearer."""
    again: float
    """Chance that as many fresh texts would show it again, with this sign and p below 0.04."""
    replicated: bool | None
    """Whether, listed on one half of the texts alone, it held on the untouched half; None: that half did not list it."""
    texts: list[int]
    """The 20 texts that have it most, of the group that has it more often."""
    a: str
    """The group that is held against `b`."""
    b: str
    """The other, or ``the others``."""
    auc: float
    """Chance that a text of `a` has more of it than one of `b`; 0.5 is no difference."""
    log_odds: float | None
    """Of a word: log-odds ratio with an informative prior; None for others."""
    separation: float | None
    """Share of `a` among the 100 texts with most of it, minus that among texts without; None where there are no such."""
    usual: bool
    """Whether most texts have it, so that "has it" means more of it than the median text."""
    by_name: bool
    """Of a feature: whether "has it" means that its name is more likely right of the text than not, and not only that it fires."""
    group: str | None
    """Of a feature: ``about`` (what a text is about) or ``words`` (its words, grammar, form)."""
    known_as: str | None
    """Of a feature: what it is called elsewhere; None where nobody has a name for it."""
    fits: float | None
    """Of a feature: the share of the texts that have it, of the group that has it more often, of which `known_as` is likely right; None
    where that name was not judged beside texts."""
    rated: str
    """Of a feature: how far `known_as` can be relied on here, in a sentence."""
    meant: bool
    """Whether `name` can be taken to say what most of these texts have; for topics and words it always can."""
    beyond_words: bool | None
    """Whether at least half of the difference is left, clearly, when what plain words tell is taken off; None for words."""
    holds: dict[str, bool | None]
    """By confounder: whether the difference stays when that is held fixed; None where that cannot be told."""
    like: str | None = None
    """An earlier finding that stands in much the same texts."""
    sensitive: bool = False
    """Whether its name speaks of what is private, protected or offensive."""
    excerpts: list[Excerpt] = field(default_factory=list)
    """Pieces of texts that have it."""


@dataclass(frozen=True)
class Confounder:
    """Something else in which the groups may differ, and what becomes of the findings when it is held fixed."""

    name: str
    """Its name."""
    said: str
    """What was measured and how it was held fixed."""
    groups: dict[str, float]
    """Its mean, or its share, in each group."""
    unit: Literal["tokens", "share"]
    """What those are."""
    kept: int | None
    """Findings that keep sign and p < 0.05; None where groups and confounder cannot be told apart."""
    of: int
    """Findings that were tried."""


@dataclass(frozen=True)
class Replication:
    """What one half of the texts chose, tried on the other."""

    chosen: int
    """Differences that the first half alone lists."""
    held: int
    """Those with the same sign and q below the level on the other half."""


@dataclass(frozen=True)
class Needed:
    """How many texts would show a difference of some size."""

    low: float
    """Share of the one group's texts that have a thing."""
    high: float
    """Share of the other's."""
    texts: int
    """Texts that either group must have, none of them belonging together, for four samples in five to show it."""


@dataclass(frozen=True, repr=False)
class Differences:
    """Everything one comparison found."""

    by: str
    """The field that makes the groups."""
    groups: list[dict[str, Any]]
    """Each group's ``name`` and number of ``texts``."""
    tested: int
    """Differences that were tested."""
    smallest_detectable: float
    """Difference of shares, beside a share of 5 %, that this sample shows four times in five if it is there."""
    findings: list[Finding]
    """Those with q below the level that as many fresh texts would show again three times in four; best first, by the end of the interval
    that is nearer to no difference."""
    unlisted: int
    """Differences with q below the level that fresh texts would show again less often than that."""
    replication: Replication
    """How many of the differences that one half chose held on the other."""
    confounders: list[Confounder]
    """Tested one by one."""
    baselines: dict[str, dict[str, float]]
    """How well each way of reading tells the groups apart on texts it has not seen: ``auc`` and its interval."""
    limits: list[str]
    """Sentences that must stand beside the result."""
    notes: list[str]
    """What was left out, and why."""
    made: dict[str, Any]
    """With what it was made: model, SAEs, digests, seed, versions."""
    level: float = 0.05
    """Share of false findings that was allowed."""
    needed: list[Needed] = field(default_factory=list)
    """Larger samples, and what they would show."""
    nearest: list[Finding] = field(default_factory=list)
    """Where nothing is found, what comes nearest to it; chance alone lets some lean so far. Held against nothing else."""

    def __repr__(self) -> str:
        names = " · ".join(f"{group['name']} {group['texts']}" for group in self.groups)
        return f"Differences({names}: {len(self.findings)} of {self.tested})"

    def to_json(self) -> dict[str, Any]:
        """The JSON document of ``hooke diff --json``."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

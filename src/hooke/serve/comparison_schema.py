"""What goes over the wire where groups of texts are held against each other, as plain values."""

from dataclasses import dataclass, field

from hooke.differences.result import Differences, Finding
from hooke.report.differences_wording import Lead


@dataclass
class TableRequest:
    """A file of records to look into."""

    content: str
    """What is in it."""
    name: str = ""
    """Its name; the suffix says how it is read (.jsonl, .csv, .tsv), else its first line does."""
    text: str = ""
    """The field that holds the text; empty: the likeliest."""


@dataclass(frozen=True)
class FieldSeen:
    """A field of a file's records."""

    name: str
    """Its name."""
    filled: int
    """Records that have something in it."""
    different: int
    """Different things that stand in it."""
    most: dict[str, int]
    """The commonest of these, with the records that have each."""
    number: bool
    """Whether all of them are numbers or dates, so that they make a trend."""


@dataclass(frozen=True)
class Table:
    """What is in a file."""

    records: int
    """Records with a text."""
    text: str
    """The field that holds the text."""
    names: list[str]
    """Every field of the first record, in order."""
    fields: list[FieldSeen]
    """Those beside the text."""
    by: str
    """The field that most likely makes groups; empty where none does."""


@dataclass
class NamedTexts:
    """Texts of one kind."""

    name: str
    """What to call them."""
    texts: list[str]
    """The texts."""


@dataclass
class CompareRequest:
    """Groups of texts: piles, or else a file of records with a field that says which group each is of."""

    piles: list[NamedTexts] = field(default_factory=list)
    """Two piles or more; empty where a file is sent."""
    content: str = ""
    """What is in the file."""
    name: str = ""
    """The file's name."""
    text: str = ""
    """Its field that holds the text."""
    by: str = ""
    """Its field that makes the groups, or with `trend` a number or a date."""
    trend: bool = False
    """Whether `by` is a number or a date in the place of groups."""
    groups: list[str] = field(default_factory=list)
    """Compare only these; empty: all."""
    family: str = ""
    """Its field of what belongs together."""
    pair: str = ""
    """Its field that joins two texts, one of each group."""
    source: str = ""
    """Its field of where a text is from, to be held fixed."""
    saes: list[str] = field(default_factory=list)
    """The SAEs to look through; empty: the default one."""
    seed: int = 0
    """Of the halves and what is dealt out."""


@dataclass(frozen=True)
class Side:
    """What one group's texts have more often than others'."""

    name: str
    """The group."""
    other: str
    """What it is held against."""
    findings: list[Finding]
    """Differences above 0, best first; those in much the same texts as an earlier one left out."""
    total: int
    """How many there are with these."""


@dataclass(frozen=True)
class Compared:
    """A finished comparison."""

    id: str
    """Stands in the address; the server knows it until it ends, or until others push it out."""
    able: str
    """The smallest difference that could have been seen, in a sentence."""
    in_short: list[Lead]
    """What each group has more of, in sentences, by names that are mostly right of the texts behind them."""
    summary: list[str]
    """What was found on the whole, in sentences."""
    sides: list[Side]
    """What is compared, each way round."""
    nearest: list[Side]
    """Where nothing is found, what comes nearest to it, each way round."""
    command: str
    """The same in a terminal."""
    schema_version: int
    """Of `result`, as ``hooke diff --json`` writes it."""
    result: Differences
    """Everything."""


@dataclass(frozen=True)
class WholeText:
    """A text behind a row."""

    text: str
    """The text."""
    group: str
    """Its group."""

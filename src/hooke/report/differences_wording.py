"""How differences between groups are put into words: the same in the terminal and on a page."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hooke.differences.result import Confounder, Differences, Finding
from hooke.text.figures import count, figure, share, tenths
from hooke.text.marks import stripped

SECTIONS = (
    ("What the texts are about, as the model reads them", "feature", "about"),
    ("How they are worded, as the model reads them", "feature", "words"),
    ("Topics", "topic", None),
    ("Plain words", "word", None),
)
"""Heading, kind and group of each list of findings."""
_MINUS = "−"


MARKS = (
    "+ says more than plain words: with what they tell taken off, half of the difference is left. A hollow dot: goes away when"
    " something else is held fixed, or did not hold on the untouched half."
)
"""What the marks on the page mean."""


NEAREST = "What comes nearest to a difference"
"""Heading of what is shown where nothing is found."""
NOT_SURE = "None of these counts as a difference: of so many things tried, some lean as far by chance alone."
"""What must stand beside it."""


def sides(result: Differences, *, nearest: bool = False) -> Iterator[tuple[str, str, list[Finding]]]:
    """What is compared, each way round: a group, what it is held against, and what its texts have more often, as differences above 0;
    of the findings, or of what comes `nearest` to them."""
    order, findings = [group["name"] for group in result.groups], result.nearest if nearest else result.findings
    for a, b in sorted({(finding.a, finding.b) for finding in findings}, key=lambda pair: order.index(pair[0])):
        own = [finding for finding in findings if (finding.a, finding.b) == (a, b)]
        yield a, b, [finding for finding in own if finding.effect > 0]
        yield b, a, [_turned(finding) for finding in own if finding.effect <= 0]


def _turned(finding: Finding) -> Finding:
    return replace(finding, a=finding.b, b=finding.a, effect=-finding.effect, low=-finding.high, high=-finding.low, auc=1 - finding.auc)


def listed(findings: list[Finding], kind: str, group: str | None, most: int) -> tuple[list[Finding], int]:
    """The first of one kind, those like an earlier one left out and what is known to be mostly right before the rest; and how many there
    are in all."""
    own = [finding for finding in findings if finding.kind == kind and finding.group == group]
    return sorted((finding for finding in own if finding.like is None), key=lambda one: not one.meant)[:most], len(own)


def able(result: Differences) -> str:
    """The smallest effect that could have been seen, in a sentence."""
    return ahead(result.smallest_detectable, count(result.tested, "test"))


def ahead(smallest: float, tests: str) -> str:
    """`able`, of what is known before anything is read: how many `tests` that may be at most."""
    other = share(round(min(1.0, 0.05 + smallest), 2))
    return (
        f"What this sample can show: a thing that {share(0.05)} of one group's texts have is found, four times in five, if about {other} of"
        f" the other's have it ({tests}). Smaller differences may be there and not be seen."
    )


def headline(result: Differences) -> str:
    """What was found, in one sentence."""
    names = [stripped(group["name"]) for group in result.groups]
    said = f"{', '.join(names[:-1])} and {names[-1]}"
    n = len(result.findings)
    if not n:
        return f"No difference between {said} can be told from chance."
    kinds = [kind for kind in ("feature", "topic", "word") if any(finding.kind == kind for finding in result.findings)]
    many = [f"{kind}s" for kind in kinds]
    what = f"one {kinds[0]} is" if n == 1 else f"{figure(n)} {' and '.join(filter(None, [', '.join(many[:-1]), many[-1]]))} are"
    return f"{said} differ: {what} more frequent on one side than chance lets expect."


_LEADS = (("about", "is more often about"), ("words", "is worded with more of"), (None, "has more often the words"))


@dataclass(frozen=True)
class Lead:
    """What one group's texts have more of than the others', in a sentence."""

    group: str
    """The group."""
    lead: str
    """How its sentence goes on."""
    said: list[str]
    """The first few things, with the shares of texts that have them."""

    @property
    def rest(self) -> str:
        """The sentence behind the group's name."""
        return f" {self.lead} {'; '.join(self.said)}."


def foremost(result: Differences, most: int = 3) -> Iterator[Lead]:
    """What each group has more of than the others, its subjects before its wording: only what nothing speaks against and what is called
    by a name that is mostly right of the texts behind it."""
    known = {group["name"] for group in result.groups}
    for name, other, findings in sides(result):
        sure = [one for one in findings if one.like is None and one.meant and not doubtful(one)] if name in known else []
        for group, lead in _LEADS:
            some: dict[str, Finding] = {}  # by name: two features may have one
            for one in sure:
                if (None if one.kind == "word" else "about" if one.kind == "topic" else one.group) == group:
                    some.setdefault(stripped(one.name), one)
            if some:
                yield Lead(name, lead, [f"{said} ({_against(one, name, other, result)})" for said, one in list(some.items())[:most]])


def _against(finding: Finding, name: str, other: str, result: Differences) -> str:
    first, second = (share(round(share_of(finding, result, side), 2)) for side in (name, other))
    fires = finding.kind == "feature" and not finding.by_name
    how = ("more than usual in " if finding.usual else "fires in ") if fires else ""
    return f"{how}{first} of texts, {second} of {'the others' if other not in finding.groups else stripped(other)}"


def right_of(finding: Finding) -> str:
    """Of how many of the texts that have it a feature's name is right, as far as is known, in a few words."""
    if finding.known_as != finding.name:
        return ""  # it is not used
    return "not tried" if finding.fits is None else tenths(finding.fits)


def counted(finding: Finding) -> str:
    """What it means that a text has it."""
    if finding.kind == "topic":
        return "counted are texts on this topic"
    if finding.kind == "word":
        return "counted are texts with this word"
    if finding.by_name:
        return "counted are texts of which the name is more likely right than not"
    if finding.usual:
        return "it fires in most texts, so counted are those where it is stronger than in the median text"
    return "counted are texts in which it fires, however weakly"


def share_of(finding: Finding, result: Differences, name: str) -> float:
    """The share of a group's texts that has it; of several groups taken together, all but `finding.a`, by their sizes."""
    if name in finding.groups:
        return finding.groups[name]
    others = [group for group in result.groups if group["name"] not in (finding.a, finding.b)]
    return sum(group["texts"] * finding.groups[group["name"]] for group in others) / sum(group["texts"] for group in others)


def summary(result: Differences) -> list[str]:
    """What was found on the whole, in sentences."""
    n = len(result.findings)
    if not n:
        nothing = f"None of {count(result.tested, 'test')} stands out. That does not show that there is no difference."
        return [nothing, *_needed(result), *_unlisted(result), *_told_apart(result)]
    said = [
        f"{count(n, 'difference')} of {figure(result.tested)} tested stand{'s' if n == 1 else ''} out (q below {result.level:g}: about"
        f" {share(result.level)} of them, at most, are expected to be chance), each with a chance of three in four or better to be"
        " seen again in as many fresh texts.",
        *_doubtful(result),
        *_unlisted(result),
    ]
    chosen, held = result.replication.chosen, result.replication.held
    if chosen:
        part = f"{figure(held)} ({share(round(held / chosen, 2))})"
        said.append(f"One half of the texts, taken alone, found {figure(chosen)}; {part} of these held on the untouched half.")
    else:
        said.append("One half of the texts alone is too few to find any, so none was confirmed on the other half.")
    told = [finding for finding in result.findings if finding.beyond_words is not None]
    if beyond := sum(finding.beyond_words is True for finding in told):
        part = f"{figure(beyond)} of {figure(len(told))} features and topics"
        said.append(f"{part} say more than plain words do (marked +): with what words tell taken off, half of the difference is left.")
    elif told:
        said.append("No feature or topic says clearly more than plain words: with what they tell taken off, little is left of any.")
    return said


def _needed(result: Differences) -> list[str]:
    """How many texts would have shown what, if that is known."""
    if not result.needed:
        return []
    first, *others = result.needed
    takes = f"a thing that {share(first.low)} of one group's texts have and {share(first.high)} of the other's takes about"
    more = "".join(f"; one that {share(one.high)} of the other's have, about {figure(_rounded(one.texts))}" for one in others)
    return [f"To be found four times in five, {takes} {figure(_rounded(first.texts))} texts in each{more}."]


def _told_apart(result: Differences) -> list[str]:
    """What it means where nothing is found and a way of reading tells the groups apart all the same, if one does."""
    some = [name for name, row in result.baselines.items() if row.get("low", 0) > 0.5]
    what = (
        f"{' and '.join(some)} tell{'s' if len(some) == 1 else ''} unseen texts apart a little better than a coin all the same (see below)"
    )
    chance = (
        "one such interval in forty lies above a coin's 50 by chance alone, or the groups differ in much that is too small to be listed"
    )
    return [f"{what[0].upper()}{what[1:]}: {chance}."] if some else []


def _rounded(texts: int) -> int:
    """To two digits, upwards."""
    unit = 10 ** max(0, len(str(texts)) - 2)
    return -(-texts // unit) * unit


def _doubtful(result: Differences) -> list[str]:
    """How many of those listed something else may explain, if any."""
    n = sum(doubtful(finding) for finding in result.findings)
    more = "goes away when something else is held fixed, or did not hold on the untouched half"
    return [f"{figure(n)} of these {'is' if n == 1 else 'are'} doubtful: {'it' if n == 1 else 'each'} {more}."] if n else []


def doubtful(finding: Finding) -> bool:
    """Whether a finding's mark is hollow."""
    return finding.replicated is False or bool(fragile(finding))


def _unlisted(result: Differences) -> list[str]:
    """What is left out of the list, if anything is."""
    n = result.unlisted
    more = f"{count(n, 'more difference')} {'has' if n == 1 else 'have'} q below {result.level:g}, but fresh texts would show"
    return [f"{more} {'it' if n == 1 else 'them'} again too seldom; more texts would tell."] if n else []


def effect(finding: Finding) -> str:
    """The difference with its interval, in hundredths: ``+49 [+41, +55]``."""
    return f"{points(finding.effect)} [{points(finding.low)}, {points(finding.high)}]"


def points(value: float) -> str:
    """Hundredths with a sign.

    >>> points(0.031), points(-0.5), points(0.004)
    ('+3', '−50', '+0.4')
    """
    text = f"{100 * abs(value):.0f}" if abs(value) >= 0.0095 else f"{100 * abs(value):.1f}"
    return ("+" if value > 0 else _MINUS if value < 0 else "") + text


def q(value: float) -> str:
    """A q value.

    >>> q(0.0312), q(1e-9)
    ('0.031', '<0.001')
    """
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def held(finding: Finding) -> str:
    """Whether it held on the untouched half."""
    return {True: "held", False: "did not hold", None: "not tried"}[finding.replicated]


def fragile(finding: Finding) -> list[str]:
    """The confounders that take it away."""
    return [name for name, holds in finding.holds.items() if holds is False]


_MEASURED = {
    "length": "tokens of a text",
    "source": "texts of sources that several groups have",
    "duplicates": "texts that repeat an earlier one",
    "boilerplate": "texts with words that many share",
    "position": "features only at a text's beginning or end",
}


def of_confounder(confounder: Confounder) -> str:
    """What was measured of a confounder, and its means in the groups."""
    write = figure if confounder.unit == "tokens" else share
    means = (f"{name} {write(round(value, 3 if confounder.unit == 'share' else 1))}" for name, value in confounder.groups.items())
    return f"{_MEASURED.get(confounder.name, confounder.unit)}: {', '.join(means)}"


def kept(confounder: Confounder) -> str:
    """What becomes of the findings."""
    if confounder.kept is None:
        return "cannot be told apart from the groups" if confounder.name == "source" else "nothing to try"
    what = " features" if confounder.name == "position" else ""
    return f"{figure(confounder.kept)} of {figure(confounder.of)}{what} stay"


TOLD_APART = "Of 100 pairs of texts, one of each group, so many are told apart rightly; tossing a coin gets 50."
"""What the figures of `auc` are."""


def auc(row: dict[str, float]) -> str:
    """Of 100 pairs, one text of each group, how many a way of reading tells apart: its AUC, with its interval if it has one.

    >>> auc({"auc": 0.5}), auc({"auc": 0.614, "low": 0.4, "high": 0.8})
    ('50 of 100', '61 of 100 [40, 80]')
    """
    return f"{100 * row['auc']:.0f} of 100" + (f" [{100 * row['low']:.0f}, {100 * row['high']:.0f}]" if "low" in row else "")

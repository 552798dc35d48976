"""Differences between groups as one HTML page: a forest plot of what stands out, the texts behind each row opened in place."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from hooke.differences.result import Differences, Excerpt, Finding
from hooke.report import differences_wording as wording
from hooke.report.document import document, masthead, veiled
from hooke.text.figures import count, share, value_text
from hooke.text.marks import stripped
from hooke.text.markup import Child, Markup, tag

MAX_ROWS = 40
"""Rows of each list."""
_WIDTH, _HEIGHT = 200, 18
_LEAST = -0.1  # where the plot begins


def page(result: Differences) -> str:
    """A whole HTML page: no script, no outside address."""
    names = [stripped(group["name"]) for group in result.groups]
    return document(
        f"{' · '.join(names)[:80]} · differences · Hooke",
        files("hooke.report").joinpath("differences.css").read_text("utf-8"),
        tag("header", masthead(_heading(names), None), _summary(result)),
        tag(
            "main",
            _nearest(result) if result.nearest else None,
            [_side(result, *side) for side in wording.sides(result)],
            _confounders(result),
            _baselines(result),
            _limits(result),
        ),
    )


def _heading(names: list[str]) -> Iterator[Markup | str]:
    yield "What differs: "
    for i, name in enumerate(names):
        yield ", " if i else ""
        yield tag("bdi", name)


def _summary(result: Differences) -> Markup:
    groups = " · ".join(f"{stripped(group['name'])}: {count(group['texts'], 'text')}" for group in result.groups)
    return tag(
        "div",
        tag("p", tag("bdi", groups), class_="soft"),
        tag("p", wording.able(result), class_="able"),
        tag("p", tag("strong", tag("bdi", wording.headline(result)))),
        [tag("p", tag("b", tag("bdi", stripped(lead.group))), tag("bdi", lead.rest)) for lead in wording.foremost(result)],
        [tag("p", sentence) for sentence in wording.summary(result)],
        [tag("p", note, class_="soft") for note in (*result.notes, *([wording.MARKS] if result.findings else []))],
        class_="summary",
    )


def _nearest(result: Differences) -> Markup:
    """What is shown where nothing is found: every mark is hollow."""
    lists: list[Markup] = []
    for name, _, own in wording.sides(result, nearest=True):
        if own:
            lists.append(tag("h3", "Leaning to ", tag("bdi", stripped(name))))
            lists.append(tag("div", _axis(), [_row(one, result) for one in own], class_="rows"))
    return tag("section", tag("h2", wording.NEAREST), tag("p", wording.NOT_SURE), lists)


def _side(result: Differences, name: str, other: str, findings: list[Finding]) -> Markup:
    lists = []
    for heading, kind, group in wording.SECTIONS:
        own, total = wording.listed(findings, kind, group, MAX_ROWS)
        if own:
            more = f"{count(total, 'finding')}, those in much the same texts shown once" if total > len(own) else count(total, "finding")
            lists.append(tag("h3", heading, " ", tag("small", more, class_="soft")))
            lists.append(tag("div", _axis(), [_row(finding, result) for finding in own], class_="rows"))
    return tag(
        "section",
        tag("h2", "More often in ", tag("bdi", stripped(name)), " than in ", tag("bdi", stripped(other))),
        lists or tag("p", "Nothing stands out."),
    )


def _axis() -> Markup:
    ticks = tag("span", [tag("span", text) for text in ("0", "+50", "+100")], class_="ticks")
    return tag("div", tag("span"), tag("span", "share of texts"), ticks, tag("span", "points"), class_="axis soft")


def _row(finding: Finding, result: Differences) -> Markup:
    shares = [
        tag("span", tag("b", share(round(finding.groups[group["name"]], 3))), " ", tag("bdi", stripped(group["name"])))
        for group in result.groups
    ]
    marks = []
    if finding.beyond_words:
        marks.append(tag("span", "+", class_="beyond", title="says more than plain words do"))
    return tag(
        "details",
        tag(
            "summary",
            tag("span", tag("bdi", stripped(finding.name)[:120]), marks, class_="name"),
            tag(
                "span",
                shares[:2] if len(shares) == 2 else [tag("b", share(round(wording.share_of(finding, result, finding.a), 3)))],
                class_="shares",
            ),
            _forest(finding),
            tag("span", wording.effect(finding), class_="effect"),
        ),
        tag("div", _facts(finding, shares), _texts(finding), class_="opened"),
        class_="row" + (" weak" if wording.doubtful(finding) or result.nearest else ""),
    )


def _forest(finding: Finding) -> Markup:
    """The interval as a line and the difference as a dot, from a little below 0 to 1."""

    def x(value: float) -> str:
        return f"{_WIDTH * (max(_LEAST, min(1.0, value)) - _LEAST) / (1 - _LEAST):.1f}"

    middle = _HEIGHT / 2
    return tag(
        "svg",
        tag("path", d=f"M{x(0.0)} 0V{_HEIGHT}", class_="zero"),
        tag("path", d=f"M{x(finding.low)} {middle}H{x(finding.high)}", class_="span"),
        tag("circle", cx=x(finding.effect), cy=middle, r=4),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"difference {wording.effect(finding)} points",
        class_="forest",
    )


def _facts(finding: Finding, shares: list[Markup]) -> Markup:
    said = [f"q {wording.q(finding.q)}", f"chance that fresh texts show it again: {share(round(finding.again, 2))}"]
    said += [f"on the untouched half: {wording.held(finding)}", f"AUC {finding.auc:.2f}"]
    if finding.log_odds is not None:
        said.append(f"log-odds {finding.log_odds:+.2f}".replace("-", "−"))
    said.append(wording.counted(finding))
    if finding.kind == "feature":
        said += [finding.feature, finding.rated]
    if weak := wording.fragile(finding):
        said.append(f"goes away with {', '.join(weak)} held fixed")
    return tag("p", list(itertools.chain.from_iterable((part, " · ") for part in shares)), " · ".join(said), class_="soft small")


def _texts(finding: Finding) -> Markup:
    lists = [
        tag("div", tag("h4", tag("bdi", stripped(group))), tag("ul", [_excerpt(one) for one in own]))
        for group, own in itertools.groupby(finding.excerpts, key=lambda one: one.group)
    ]
    if finding.sensitive and lists:
        return veiled(*lists)
    return tag("div", lists, class_="texts")


def _excerpt(one: Excerpt) -> Markup:
    return tag("li", tag("bdi", one.before, tag("mark", one.token) if one.token else None, one.after))


def _confounders(result: Differences) -> Markup:
    rows = [
        (
            [tag("b", one.name), " ", tag("span", one.said, class_="soft small")],
            tag("bdi", wording.of_confounder(one)),
            wording.kept(one),
        )
        for one in result.confounders
    ]
    return _table("What else may explain it", ("what else differs", "in the groups", "findings with that held fixed"), rows)


def _baselines(result: Differences) -> Markup:
    said = f"How well each way tells the groups' texts apart, learnt on one half and tried on the other. {wording.TOLD_APART}"
    rows = [(name, wording.auc(row)) for name, row in result.baselines.items()]
    return _table("Other ways of reading", ("read by", "pairs told apart"), rows, said)


def _table(heading: str, head: Sequence[str], rows: Iterable[Sequence[Child]], said: str | None = None) -> Markup:
    top = tag("tr", [tag("th", name, scope="col") for name in head])
    body = [tag("tr", [tag("td", cell) for cell in row]) for row in rows]
    return tag("section", tag("h2", heading), tag("p", said, class_="soft") if said else None, tag("table", top, body))


def _limits(result: Differences) -> Markup:
    made = [tag("li", f"{name}: {value_text(value)}") for name, value in result.made.items()]
    return tag(
        "section",
        tag("h2", "What this does not say"),
        tag("ul", [tag("li", limit) for limit in result.limits]),
        tag("details", tag("summary", "How it was made"), tag("ul", made, class_="small soft")),
    )

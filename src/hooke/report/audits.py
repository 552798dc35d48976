"""An audit in a terminal and as one HTML page: what was found in sentences, every target with its effect and interval, limits beside it."""

import math
from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hooke.audits import Audit, AuditRow
from hooke.report.document import document, masthead
from hooke.text.figures import count, share, value_text
from hooke.text.marks import marked, stripped
from hooke.text.markup import Markup, tag

NONE_SHOWN = "no difference shown"
_HEAD = ("measured", "difference [95 %]", "size (d)", "q", "wordings that agree")
_KEY = (
    "The difference is the first group's mean minus the other's, with its 95 % interval. d: how many spreads of single words (or pairs) it"
    " is wide. q: below 0.05, at most about one in twenty of such findings is expected to be chance."
)
_STYLE = """main{display:grid;gap:1.5rem;margin-top:1rem}main>*{min-width:0}section>ul{padding-left:1.1rem;max-width:78ch}
table{max-width:70rem}.wide{overflow-x:auto}.found li{margin:.35rem 0}.none{opacity:.75}summary+ul{overflow-wrap:anywhere}"""


def print_audit(audit: Audit, console: Console) -> None:
    """The whole result."""
    console.print(Text(marked(audit.title), style="bold"))
    console.print(Text(_about(audit)))
    for model in dict.fromkeys(row.model for row in audit.rows):
        rows = [row for row in audit.rows if row.model == model]
        console.print()
        console.print(Text(marked(model), style="bold"))
        for row in rows:
            console.print(Padding(Text(f"- {marked(sentence(row, audit))}"), (0, 0, 0, 2), expand=False))
        table = Table(*_HEAD, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(marked(cell)) for cell in _cells(row)))
        console.print(Padding(table, (1, 0, 0, 2), expand=False))
    console.print()
    for limit in (*audit.limits, _KEY):
        console.print(Text(limit, style="dim"))


def page(audit: Audit) -> str:
    """A whole HTML page: no script, no outside address."""
    models = [_model(model, audit) for model in dict.fromkeys(row.model for row in audit.rows)]
    made = [tag("li", f"{name}: {value_text(value)}") for name, value in audit.made.items()]
    limits = tag(
        "section",
        tag("h2", "What this does not say"),
        tag("ul", [tag("li", limit) for limit in audit.limits]),
        tag("details", tag("summary", "How it was made"), tag("ul", made, class_="small soft")),
    )
    title = stripped(audit.title)
    header = tag("header", masthead(tag("bdi", title), _about(audit)))
    return document(f"{title[:60]} · audit · Hooke", _STYLE, header, tag("main", models, limits))


def _model(model: str, audit: Audit) -> Markup:
    rows = [row for row in audit.rows if row.model == model]
    head = tag("tr", [tag("th", name, scope="col") for name in _HEAD])
    body = [tag("tr", [tag("td", cell) for cell in _cells(row)]) for row in rows]
    return tag(
        "section",
        tag("h2", tag("bdi", stripped(model))),
        tag(
            "ul",
            [tag("li", tag("bdi", stripped(sentence(row, audit))), class_="none" if row.verdict == NONE_SHOWN else None) for row in rows],
            class_="found",
        ),
        tag("div", tag("table", head, body), class_="wide"),
        tag("p", _KEY, class_="small soft"),
        [_by_wording(row) for row in rows if len(row.wordings) > 1],
    )


def _by_wording(row: AuditRow) -> Markup:
    lines = [tag("li", f"{_signed(effect)}  ", tag("bdi", stripped(name))) for name, effect in row.wordings.items()]
    return tag("details", tag("summary", f"{row.target}, wording by wording"), tag("ul", lines))


def _about(audit: Audit) -> str:
    units = count(audit.units, "pair" if audit.paired else "word")
    return f"The same sentences for {audit.groups[0]} and for {audit.groups[1]}: {count(audit.texts, 'text')} of {units}."


def sentence(row: AuditRow, audit: Audit) -> str:
    """What was found of one target, as one would say it."""
    ends = sorted((abs(row.low), abs(row.high)))
    if row.verdict == NONE_SHOWN:
        return f"{_measured(row)}: no difference shown. What cannot be excluded: {_span(row, audit)}."
    more, less = audit.groups if row.effect > 0 else audit.groups[::-1]
    size, low, high = (_size(row, value) for value in (abs(row.effect), *ends))
    said = {
        "next": f"{_measured(row)}: {size} times as likely with {more} as with {less} ({low} to {high} times)",
        "loss": f"{_measured(row)}: higher with {more} than with {less}, by {size} nats a token ({low} to {high})",
        "feature": f"{_measured(row)}: more active with {more} than with {less}, by {size} ({low} to {high})",
        "topic": f"{_measured(row)}: given to more texts with {more} than with {less}, by {size} of all ({low} to {high})",
    }[row.kind]
    agree, of = _agreeing(row), len(row.wordings)
    if of < 2:
        return f"{said}."
    of_what = "kinds of pair" if audit.paired else "wordings"
    doubt = "; it depends on them" if "depends" in row.verdict else ""
    return f"{said}, in {f'all {of}' if agree == of else f'{agree} of {of}'} {of_what}{doubt}."


def _measured(row: AuditRow) -> str:
    return {
        "next": f"“{row.what.strip()}” as the next word",
        "loss": "The model's surprise",
        "feature": f"Feature {row.what}",
        "topic": f"The topic {row.what}",
    }[row.kind]


def _size(row: AuditRow, value: float) -> str:
    if row.kind == "next":
        return _times(math.exp(min(value, 50.0)))
    return share(round(value, 3)) if row.kind == "topic" else _bare(value)


def _span(row: AuditRow, audit: Audit) -> str:
    """What the interval of a difference that is not shown holds."""
    first, other = audit.groups
    if row.kind == "next":
        return f"{_times(math.exp(row.low))} to {_times(math.exp(row.high))} times as likely with {first} as with {other}"
    unit = " nats a token" if row.kind == "loss" else ""
    return f"{_signed(row.low)} to {_signed(row.high)}{unit} (above 0 is higher with {first})"


def _times(value: float) -> str:
    """A ratio to two digits.

    >>> _times(10.38), _times(1.234), _times(0.8)
    ('10', '1.2', '0.80')
    """
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _agreeing(row: AuditRow) -> int:
    return sum((effect > 0) == (row.effect > 0) for effect in row.wordings.values())


def _cells(row: AuditRow) -> Iterator[str]:
    yield row.target
    yield f"{_signed(row.effect)} [{_signed(row.low)}, {_signed(row.high)}]"
    yield _signed(row.size)
    yield "<0.001" if row.q < 0.001 else f"{row.q:.2g}"
    yield f"{_agreeing(row)} of {len(row.wordings)}"


def _bare(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + _bare(abs(value))

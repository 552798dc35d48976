"""An audit in a terminal and as one HTML page: every target with its effect, its interval and what may be said, limits beside it."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hooke.audits import Audit, AuditRow
from hooke.report.document import document, masthead
from hooke.text.figures import count
from hooke.text.marks import marked, stripped
from hooke.text.markup import tag

_HEAD = ("target", "difference [95 %]", "d", "q", "same sign", "what may be said")
_STYLE = "main{display:grid;gap:1.5rem;margin-top:1rem}section>ul{padding-left:1.1rem;max-width:78ch}table{max-width:70rem}"


def print_audit(audit: Audit, console: Console) -> None:
    """The whole result."""
    console.print(Text(marked(audit.title), style="bold"))
    console.print(Text(_about(audit)))
    for model in dict.fromkeys(row.model for row in audit.rows):
        table = Table(*_HEAD, box=None, padding=(0, 2, 0, 0), title=marked(model), title_justify="left")
        for row in audit.rows:
            if row.model == model:
                table.add_row(*(Text(marked(cell)) for cell in _cells(row, audit)))
        console.print(table)
    for limit in audit.limits:
        console.print(Text(limit, style="dim"))


def page(audit: Audit) -> str:
    """A whole HTML page: no script, no outside address."""
    tables = [
        tag(
            "section",
            tag("h2", tag("bdi", stripped(model))),
            tag(
                "table",
                tag("tr", [tag("th", name, scope="col") for name in _HEAD]),
                [tag("tr", [tag("td", cell) for cell in _cells(row, audit)]) for row in audit.rows if row.model == model],
            ),
            [
                tag(
                    "details",
                    tag("summary", f"By wording: {row.target}"),
                    tag("ul", [tag("li", f"{_signed(effect)}  ", tag("bdi", stripped(name))) for name, effect in row.wordings.items()]),
                )
                for row in audit.rows
                if row.model == model and len(row.wordings) > 1
            ],
        )
        for model in dict.fromkeys(row.model for row in audit.rows)
    ]
    limits = tag("section", tag("h2", "What this does not say"), tag("ul", [tag("li", limit) for limit in audit.limits]))
    title = stripped(audit.title)
    header = tag("header", masthead(tag("bdi", title), _about(audit)))
    return document(f"{title[:60]} · audit · Hooke", _STYLE, header, tag("main", tables, limits))


def _about(audit: Audit) -> str:
    units = count(audit.units, "pair" if audit.paired else "filler")
    first, other = audit.groups
    return f"{first} against {other}: {count(audit.texts, 'text')} of {units}. A difference above 0 is higher for {first}."


def _cells(row: AuditRow, audit: Audit) -> list[str]:
    agree = sum((effect > 0) == (row.effect > 0) for effect in row.wordings.values())
    q = "<0.001" if row.q < 0.001 else f"{row.q:.2g}"
    difference = f"{_signed(row.effect)} [{_signed(row.low)}, {_signed(row.high)}]"
    return [row.target, difference, _signed(row.size), q, f"{agree} of {len(row.wordings)} wordings", row.verdict]


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) >= 0.1 else f"{value:+.3f}"

"""Differences between groups in a terminal: what could be seen, what was, and what else may explain it."""

import re

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hooke.differences.result import Differences, Finding
from hooke.report import differences_wording as wording
from hooke.text.figures import share
from hooke.text.marks import marked, stripped

_MOST = 8
_NAME, _GROUP = 48, 24


def print_differences(result: Differences, console: Console, most: int = _MOST) -> None:
    """The whole result; of each list the first `most` rows."""
    console.print(Text(" · ".join(f"{marked(group['name'])} {group['texts']:,} texts" for group in result.groups), style="dim"))
    console.print(_text(wording.able(result), "dim"))
    console.print(_text(wording.headline(result), "bold"))
    for lead in wording.foremost(result):
        console.print(Text.assemble((f"  {marked(lead.group)}", "bold"), _text(lead.rest)))
    for sentence in wording.summary(result):
        console.print(_text(sentence))
    for note in result.notes:
        console.print(_text(note, "dim"))
    if result.nearest:
        console.print()
        console.print(Text(wording.NEAREST, style="bold"))
        console.print(Text(wording.NOT_SURE))
    for name, other, findings in wording.sides(result, nearest=not result.findings):
        console.print()
        console.print(Text(f"More often in {marked(name)} than in {marked(other)}", style="bold" if result.findings else ""))
        if not findings:
            console.print(Text("  nothing"))
        for heading, kind, group in wording.SECTIONS:
            own, total = wording.listed(findings, kind, group, most)
            if own:
                console.print(Text(f"{heading} ({total:,})", style="italic"))
                console.print(Padding(_table(own, [one["name"] for one in result.groups]), (0, 0, 0, 2), expand=False))
    console.print()
    console.print(_confounders(result))
    console.print(_baselines(result))
    for limit in result.limits:
        console.print(Text(limit, style="dim"))


def _text(said: str, style: str = "") -> Text:
    """`said` without the narrow spaces of a page, at which a terminal breaks lines."""
    return Text(re.sub(r"(?<=\d)\u202f(?=\d)", ",", said).replace("\u202f", ""), style=style)


def _table(findings: list[Finding], groups: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for name in groups:
        table.add_column(marked(name)[:_GROUP], justify="right")
    named = any(finding.kind == "feature" for finding in findings)
    for name in ("difference, points", "q", "other half", *(["name right of"] if named else []), ""):
        table.add_column(name, no_wrap=True)
    for finding in findings:
        mark = "+ " if finding.beyond_words else ""
        weak = wording.fragile(finding)
        shares = [_text(share(round(finding.groups[name], 3))) for name in groups]
        name = Text(stripped(finding.name)[:_NAME])
        if finding.kind == "feature":
            name.append(f"  {finding.feature.rpartition('/')[2]}", style="dim")
        last = Text(f"{mark}{'not with ' + ', '.join(weak) + ' fixed' if weak else ''}", style="dim")
        right = [Text(wording.right_of(finding), style="" if finding.meant else "dim")] if named else []
        table.add_row(name, *shares, wording.effect(finding), wording.q(finding.q), wording.held(finding), *right, last)
    return table


def _confounders(result: Differences) -> Table:
    table = Table("What else differs", "", "with that held fixed", box=None, padding=(0, 2, 0, 0), title_justify="left")
    for confounder in result.confounders:
        table.add_row(confounder.name, _text(wording.of_confounder(confounder)), _text(wording.kept(confounder)))
    return table


def _baselines(result: Differences) -> Table:
    table = Table("Telling the groups apart on unseen texts", "pairs", box=None, padding=(0, 2, 0, 0), caption=wording.TOLD_APART)
    table.caption_justify, table.caption_style = "left", "dim"
    for name, row in result.baselines.items():
        table.add_row(name, wording.auc(row))
    return table

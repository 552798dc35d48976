"""An analysis as text in a terminal: each text with its features, then the topics, then what limits them."""

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult
from hooke.analysis.wording import (
    NO_LABEL,
    YOURS,
    about,
    clipped,
    count,
    explained,
    fields,
    named,
    number,
    past_maximum,
    percent,
    score,
    site,
    steps,
    trust,
)
from hooke.atlas import NO_MEANING
from hooke.explain.rules.phrasing import reworded
from hooke.text.marks import marked, stripped

WIDE = 120
"""Columns from which a feature fits on one line."""
MAX_CHARACTERS = 400
"""Characters of a text that are shown; the rest is counted."""

_BAR = "#b06f00"  # at least 4:1 on white and on black
_EIGHTHS = " ▏▎▍▌▋▊▉"
_INDENT = 5
_PEAK = 16


def print_table(analysis: Analysis, console: Console, top: int) -> None:
    """Print the analysis with the first `top` features of each text; nothing from outside can steer the terminal."""
    # Widths are taken over all texts; 15 columns are the bar's and the percentage's, 2 stand between neighbours.
    hits = [hit for text in analysis.texts for hit in about(text)[:top]]
    widths = [min(max((part(hit).cell_len for hit in hits), default=0), WIDE // 3) for part in (_score, _peak, _address)]
    left = console.width - _INDENT - 15 - sum(width + 2 for width in widths) - 2
    widths.insert(0, max(12, min(left, max((_name(hit).cell_len for hit in hits), default=0))))
    for place, text in enumerate(analysis.texts, 1):
        _text(console, place, text, analysis.topical)
        first = about(text)[:top]
        if not first:
            rows: Table | Text = Text("no feature stands out", style="dim italic")
        else:
            rows = _wide(first, widths) if console.width >= WIDE else _narrow(first)
        console.print(Padding(rows, (0, 0, 0, _INDENT), expand=False))
        console.print(Padding(_words(text.words[:top]), (0, 0, 1, _INDENT), expand=False) if text.words else "")
    if analysis.topical:
        _topics(console, analysis)
    _limits(console, analysis)


def _text(console: Console, place: int, text: TextResult, topical: bool) -> None:
    """The text with its number, and a line about it as a whole."""
    topic = "fits no topic" if text.topic is None else stripped(text.topic)
    own = next((percent(entry.score) for entry in text.topics if entry.topic == text.topic), None)
    said = [*([f"{topic} {own}" if own else topic] if topical else []), explained(text.explained)]
    if text.sinks:
        said.append(f"{count(text.sinks, 'attention sink')} left out")
    if text.truncated:
        said.append(f"{count(text.truncated, 'token')} past the model's context left out")
    grid = Table.grid()
    grid.add_column(width=_INDENT, no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(f"{place:>{_INDENT - 1}} ", _headline(text))
    if own_fields := fields(text):
        grid.add_row("", Text(own_fields, style="dim"))
    grid.add_row("", Text(" · ".join(said), style="dim italic" if text.topic is None else "dim"))
    console.print(grid)


def _headline(text: TextResult) -> Text:
    """The text, underlined where its first feature fires."""
    shown = Text(style="bold", overflow="fold")
    fired = steps(about(text)[0]) if about(text) else {}
    tokens = text.tokens if "".join(text.tokens) == text.text else [text.text]
    fired = fired if len(tokens) == len(text.tokens) else {}
    left = MAX_CHARACTERS
    for pos, token in enumerate(tokens):
        piece = marked(token[:left])
        bare = piece.lstrip(" ")
        shown.append(piece[: len(piece) - len(bare)])
        shown.append(bare, style="underline" if pos in fired else None)
        left -= len(token)
        if left <= 0 and (left < 0 or pos + 1 < len(tokens)):
            shown.append(f" … ({count(len(text.text), 'character')})", style="not bold dim")
            break
    return shown


def _wide(hits: Iterable[Hit], widths: Sequence[int]) -> Table:
    """One line a feature; columns of one width in every text, so that they stand under each other."""
    grid = _bars(8, gap=2)
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    for hit in hits:
        grid.add_row(_bar(hit.relative, 8), _strength(hit), _name(hit), _score(hit), _peak(hit), _address(hit))
    return grid


def _narrow(hits: Iterable[Hit]) -> Table:
    """Two lines a feature."""
    grid = _bars(6, gap=1)
    grid.add_column(overflow="fold")
    for hit in hits:
        first = Text.assemble(_name(hit), ("  on ", "dim"), _peak(hit))
        second = Text.assemble(_score(hit), (" · ", "dim"), _address(hit))
        grid.add_row(_bar(hit.relative, 6), _strength(hit), Text("\n").join([first, second]))
    return grid


def _bars(width: int, gap: int) -> Table:
    """A grid that begins with a bar and its percentage."""
    grid = Table.grid(padding=(0, gap, 0, 0))
    grid.add_column(width=width, no_wrap=True)
    grid.add_column(width=5, no_wrap=True, justify="right")
    return grid


def _bar(share: float, width: int) -> Text:
    """A bar of `width` columns, drawn in eighths."""
    eighths = round(clipped(share) * width * 8)
    full, part = divmod(eighths, 8)
    return Text("█" * full + (_EIGHTHS[part] if part else ""), style=_BAR)


def _strength(hit: Hit) -> Text:
    return Text(percent(hit.relative), style="bold" if past_maximum(hit) else "")


def _label(label: str | None) -> Text:
    if label is None:
        return Text(NO_LABEL, style="dim italic")
    return Text(stripped(label)[:200], style="dim" if label == NO_MEANING else "")


def _name(hit: Hit) -> Text:
    return _label(None if hit.title is None else named(hit))


def _words(hits: Sequence[Hit]) -> Text:
    """The features of a text's words, on one line."""
    return Text.assemble(("words: ", "dim italic"), (" · ".join(dict.fromkeys(named(hit) for hit in hits)), "dim"), overflow="fold")


def _score(hit: Hit) -> Text:
    """How far the name is to be trusted, in a word and as a figure."""
    value = hit.name_score if hit.name_score is not None else hit.label_score
    if hit.own_label:
        return Text.assemble((YOURS[0], "bold"), (f" {YOURS[1]}", "dim"))
    if value is None or not math.isfinite(value):
        return Text("" if hit.title is None else trust(hit), style="dim")
    evidence = f" n {number(hit.label_evidence)}" if hit.name_score is None else ""
    return Text.assemble((f"{trust(hit):<6}", "bold"), (f" {value:.2f}{evidence}", "dim"))


def _peak(hit: Hit) -> Text:
    token = marked(hit.token).strip(" ") or "␣"
    return Text(f"“{token if len(token) < _PEAK - 1 else token[: _PEAK - 3] + '…'}”")


def _address(hit: Hit) -> Text:
    return Text(stripped(hit.feature), style="dim")


def _topics(console: Console, analysis: Analysis) -> None:
    rest = sum(text.topic is None for text in analysis.texts)
    largest = max([1, rest, *(len(topic.texts) for topic in analysis.topics)])
    known = {hit.feature: hit for text in analysis.texts for hit in text.features}
    grid = _bars(8, gap=2)
    grid.add_column(overflow="fold")
    for topic in analysis.topics:
        grid.add_row(_bar(len(topic.texts) / largest, 8), str(len(topic.texts)), _topic(topic, known))
    if rest:
        grid.add_row(_bar(rest / largest, 8), str(rest), Text("fit no topic", style="italic"))
    console.print(Text(f"Topics of {count(len(analysis.texts), 'text')}", style="bold"))
    console.print(Padding(grid, (0, 0, 1, 2), expand=False))


def _topic(topic: TopicResult, known: dict[str, Hit]) -> Text:
    """A topic's name, and under it the three features that carried it most."""
    lines = [Text(stripped(topic.topic), style="bold")]
    for feature in topic.features[:3]:
        hit = known.get(str(feature.get("feature")))
        evidence = feature.get("label_evidence", hit.label_evidence if hit else None)
        method = feature.get("label_method", hit.label_method if hit else None)
        own = feature.get("own_label")
        value, behind = YOURS if own else score(feature.get("label_score"), evidence, method)
        behind = f"  {value} {behind}".rstrip() + f" · {count(int(feature.get('texts') or 0), 'text')}"
        label = feature.get("label")
        lines.append(Text.assemble(_label(own or (label and reworded(str(label)))), (behind, "dim")))
    return Text("\n").join(lines)


def _limits(console: Console, analysis: Analysis) -> None:
    """What was looked through, how to read it, and what it cannot say."""
    lines = []
    for sae in analysis.saes:
        name, where = stripped(str(sae.get("name"))), stripped(site(sae.get("site")))
        shares = f"explains {percent(sae.get('explained'))} here, {percent(sae.get('expected'))} on its card"
        lines.append(f"{stripped(analysis.model)} through {name} ({where}): {shares}")
    if analysis.topical:
        lines.append(
            "First what a text is about, then its words. Bar: peak activation over the feature's maximum. Strong, fair, weak: how well the"
            " name tells, on n held-out examples, where the feature fires; 1 is always, 0.5 is chance. Of names that were read and"
            " not tried, it is said of the feature's tested rule."
        )
    grid = Table.grid()
    grid.add_column(width=2, no_wrap=True)
    grid.add_column(overflow="fold")
    for line in [*lines, *map(marked, analysis.limits)]:
        grid.add_row(Text("·"), Text(line))
    console.print(Text("What this rests on, and what it cannot say", style="bold"))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))
